"""Whatever permission is given, the participant has it and its next token says so."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from livekit.protocol import models, rtc

from lkpy.auth.grants import Grants, VideoGrant
from lkpy.auth.token import mint, verify
from lkpy.limits import Limits, attributes_size
from lkpy.server.rtc.claims import Claims

KEYS = {"key": "a secret that is longer than 32 characters"}
NOW = 1_700_000_000.0
flags = st.fixed_dictionaries(
    {},
    optional={
        field.name: st.booleans()
        for field in models.ParticipantPermission.DESCRIPTOR.fields
        if field.name != "can_publish_sources"
    },
)
sources = st.lists(st.sampled_from(models.TrackSource.values()), unique=True)
texts = st.text(alphabet="abé", max_size=4)


def claims(**values: object) -> Claims:
    video = VideoGrant(room_join=True, room="lobby", room_admin=True)
    return Claims(Grants(identity="alice", video=video, **values), "")


@given(flags, sources)
def test_a_permission_survives_the_token(values: dict[str, bool], allowed: list[int]) -> None:
    known = claims()
    permission = models.ParticipantPermission(**values, can_publish_sources=allowed)
    changed = permission != known.permission
    assert known.set_permission(permission) is changed
    assert known.permission == permission
    assert not known.set_permission(permission)
    token = mint(known.current_grants(), api_key="key", api_secret=KEYS["key"], now=NOW)
    video = verify(token, KEYS, now=NOW).grants.video
    assert video is not None
    assert video.to_permission() == permission
    assert (video.room, video.room_join, video.room_admin) == ("lobby", True, True)
    for source in models.TrackSource.values():
        allowed_now = permission.can_publish and (not allowed or source in allowed)
        assert known.may_publish(source) is allowed_now


@given(st.lists(st.dictionaries(texts, texts, max_size=3), max_size=8))
def test_attributes_stay_within_their_limit(updates: list[dict[str, str]]) -> None:
    limits = Limits(max_attributes_size=12)
    known = claims()
    expected: dict[str, str] = {}
    for update in updates:
        request = rtc.UpdateParticipantMetadata(attributes=update)
        reason, _ = known.update_metadata(request, limits, from_admin=True)
        merged = {k: v for k, v in {**expected, **update}.items() if v}
        if reason == rtc.RequestResponse.Reason.OK:
            expected = merged
        else:
            assert attributes_size(merged) > 12
        assert known.attributes == expected
        assert attributes_size(known.attributes) <= 12
