"""The pure parts of a room: speakers, layers, data packets, claims, counts, updates, timers."""

from __future__ import annotations

import math

import pytest
from livekit.protocol import models, rtc

from lkpy.auth.grants import Grants, VideoGrant
from lkpy.engine.api import MediaKind, RtpCodec, RtpEncoding
from lkpy.errors import Code, LkpyError
from lkpy.limits import MAX_RELEASED_TRACKS, UPDATE_CHUNK, Limits
from lkpy.server.routing.channel import MessageChannel
from lkpy.server.rtc.claims import Claims
from lkpy.server.rtc.data_packets import DataStream, NonceFilter, Sender, route
from lkpy.server.rtc.media_sections import MediaSectionTrack
from lkpy.server.rtc.options import AudioOptions
from lkpy.server.rtc.published_tracks import Added, PublishedTracks, Refusal
from lkpy.server.rtc.quality import (
    WantedLayers,
    number_layers,
    quality_for_size,
    spatial_layer,
    temporal_layer,
    wanted_layers,
)
from lkpy.server.rtc.room_state import RoomState
from lkpy.server.rtc.signals import Action, SignalSender
from lkpy.server.rtc.speakers import Speakers, linear
from lkpy.server.rtc.subscriber_permissions import SubscriberPermissions
from lkpy.server.rtc.subscriptions import (
    ActionKind,
    Availability,
    Resolution,
    Subscriptions,
)
from lkpy.server.rtc.timers import Timers
from lkpy.server.rtc.updates import UpdateQueue, responses

LOW, MEDIUM, HIGH, OFF = (
    models.VideoQuality.LOW,
    models.VideoQuality.MEDIUM,
    models.VideoQuality.HIGH,
    models.VideoQuality.OFF,
)
Reason = rtc.RequestResponse.Reason

# -- speakers -------------------------------------------------------------------------------------


def levels(speakers: Speakers, **observed: tuple[int, int]) -> dict[str, float]:
    return {s.sid: s.level for s in speakers.window(observed)}


def test_level_is_smoothed_and_quantised() -> None:
    speakers = Speakers(AudioOptions())
    first = linear(20) * 2 / 3
    second = first + (linear(20) - first) * 2 / 3
    assert levels(speakers, a=(20, 400)) == {"a": math.ceil(first * 8) / 8}
    told = math.ceil(second * 8) / 8
    assert levels(speakers, a=(20, 400)) == ({} if told == 0.125 else {"a": told})


@pytest.mark.parametrize(
    ("loudest", "active_ms", "speaks"),
    [
        (0, 160, True),
        (0, 159, False),
        (35, 400, False),
        (30, 400, True),
        (30, 200, False),
        (0, 0, False),
    ],
)
def test_who_speaks(loudest: int, active_ms: int, speaks: bool) -> None:
    """Active for 40 % of the window, and loud enough after weighting and smoothing."""
    assert bool(levels(Speakers(AudioOptions()), a=(loudest, active_ms))) is speaks


def test_a_quiet_window_silences_at_once_and_no_packets_after_two() -> None:
    speakers = Speakers(AudioOptions(smooth_intervals=0))
    assert levels(speakers, a=(0, 400), b=(0, 400)) == {"a": 1.0, "b": 1.0}
    assert levels(speakers, a=(127, 0)) == {"a": 0.0}, "b sends nothing: it may come back"
    assert levels(speakers) == {"b": 0.0}
    assert not speakers.idle, "a is not forgotten yet"
    assert levels(speakers) == {}
    assert speakers.idle


def test_whose_microphone_is_closed_is_silent_with_the_next_window() -> None:
    speakers = Speakers(AudioOptions(smooth_intervals=0))
    speakers.window({"a": (0, 400)})
    speakers.silence("a")
    assert not speakers.idle
    assert levels(speakers) == {"a": 0.0}
    assert speakers.idle


def test_who_leaves_is_forgotten() -> None:
    speakers = Speakers(AudioOptions(smooth_intervals=0))
    speakers.window({"a": (0, 400)})
    speakers.forget("a")
    assert speakers.idle
    assert levels(speakers) == {}


def test_loudest_first_and_the_silent_last() -> None:
    speakers = Speakers(AudioOptions(smooth_intervals=0))
    speakers.window({"gone": (0, 400)})
    changes = speakers.window({"quiet": (20, 400), "loud": (3, 400), "gone": (127, 0)})
    assert [(s.sid, s.active) for s in changes] == [
        ("loud", True),
        ("quiet", True),
        ("gone", False),
    ]


# -- layers ---------------------------------------------------------------------------------------


def layers(
    *qualities: models.VideoQuality, heights: tuple[int, ...] = ()
) -> list[models.VideoLayer]:
    heights = heights or (0,) * len(qualities)
    return [
        models.VideoLayer(quality=quality, height=height, width=height * 16 // 9)
        for quality, height in zip(qualities, heights, strict=True)
    ]


@pytest.mark.parametrize(
    ("published", "expected"),
    [
        ((LOW, MEDIUM, HIGH), (0, 1, 2)),
        ((LOW, MEDIUM), (0, 1, 1)),
        ((LOW, HIGH), (0, 1, 1)),
        ((MEDIUM, HIGH), (0, 0, 1)),
        ((HIGH,), (0, 0, 0)),
        ((MEDIUM,), (0, 0, 0)),
        ((), (0, 1, 2)),
    ],
)
def test_spatial_layer(
    published: tuple[models.VideoQuality, ...], expected: tuple[int, int, int]
) -> None:
    """The table of livekit-server's VideoQualityToSpatialLayer."""
    assert tuple(spatial_layer(q, layers(*published)) for q in (LOW, MEDIUM, HIGH)) == expected
    assert spatial_layer(OFF, layers(*published)) == -1


@pytest.mark.parametrize(
    ("published", "encodings", "expected"),
    [
        ((), 1, (0, 1, 2)),
        ((), 2, (0, 1, 1)),
        ((HIGH,), 1, (0, 0, 0)),
        ((HIGH,), 2, (0, 1, 1)),
        ((LOW,), 3, (0, 1, 2)),
        ((MEDIUM, HIGH), 3, (0, 1, 2)),
        ((LOW, MEDIUM, HIGH), 2, (0, 1, 2)),
        ((OFF, OFF, HIGH), 3, (0, 1, 2)),
        ((HIGH, LOW, MEDIUM), 3, (0, 1, 2)),
    ],
)
def test_more_encodings_than_were_announced(
    published: tuple[models.VideoQuality, ...], encodings: int, expected: tuple[int, int, int]
) -> None:
    found = tuple(spatial_layer(q, layers(*published), encodings) for q in (LOW, MEDIUM, HIGH))
    assert found == expected


@pytest.mark.parametrize("quality", [7, -1, 1000])
def test_a_quality_that_nobody_knows_is_the_best(quality: int) -> None:
    wish = rtc.UpdateTrackSettings(quality=quality)
    info = models.TrackInfo(layers=layers(LOW, MEDIUM, HIGH))
    assert wanted_layers(wish, info, "video/vp8", 3) == WantedLayers(2, 3, muted=False)
    assert wanted_layers(wish, models.TrackInfo()) == WantedLayers(2, 3, muted=False)


@pytest.mark.parametrize(
    ("size", "heights", "wanted", "expected"),
    [
        ((1280, 720), (180, 360, 720), (320, 180), LOW),
        ((1280, 720), (180, 360, 720), (355, 200), LOW),
        ((1280, 720), (180, 360, 720), (391, 220), MEDIUM),
        ((1280, 720), (180, 360, 720), (800, 450), HIGH),
        ((1280, 720), (180, 360, 720), (4000, 4000), HIGH),
        ((1280, 720), (360, 360, 720), (320, 180), MEDIUM),
        ((1280, 720), (), (320, 180), LOW),
        ((1280, 720), (), (640, 360), MEDIUM),
        ((720, 1280), (), (180, 320), LOW),
        ((720, 1280), (), (400, 711), MEDIUM),
        ((0, 0), (), (1, 1), HIGH),
        ((1280, 720), (720,), (1, 1), LOW),
    ],
)
def test_quality_for_size(
    size: tuple[int, int], heights: tuple[int, ...], wanted: tuple[int, int], expected: int
) -> None:
    qualities = (LOW, MEDIUM, HIGH)[: len(heights)]
    info = models.TrackInfo(
        width=size[0], height=size[1], layers=layers(*qualities, heights=heights)
    )
    assert quality_for_size(info, *wanted) == expected


@pytest.mark.parametrize(
    ("fps", "layer"), [(0, 3), (5, 0), (8, 0), (9, 1), (16, 1), (17, 2), (30, 2), (60, 3)]
)
def test_temporal_layer(fps: int, layer: int) -> None:
    assert temporal_layer(models.TrackInfo(), fps) == layer


def test_screens_have_half_the_frames() -> None:
    screen = models.TrackInfo(source=models.TrackSource.SCREEN_SHARE)
    assert temporal_layer(screen, 8) == 1


def test_layers_are_numbered_from_the_lowest() -> None:
    published = layers(MEDIUM, HIGH)
    number_layers(published, ["q", "h"])
    assert [(layer.spatial_layer, layer.rid) for layer in published] == [(0, "q"), (1, "h")]
    number_layers(published, [""])
    assert [layer.rid for layer in published] == ["", ""]


# -- data packets ---------------------------------------------------------------------------------

ALICE = Sender("PA_a", "alice")
GHOST = Sender("PA_g", "ghost", hidden=True)
AGENT = Sender("PA_x", "agent", agent=True)


def passed_on(packet: models.DataPacket, sender: Sender) -> models.DataPacket | None:
    routed = route(packet, reliable=True, sender=sender, nonces=NonceFilter())
    return None if routed is None else models.DataPacket.FromString(routed.payload)


@pytest.mark.parametrize(
    "packet",
    [
        models.DataPacket(user=models.UserPacket(payload=b"x", participant_identity="forged")),
        models.DataPacket(chat_message=models.ChatMessage(message="x")),
        models.DataPacket(rpc_request=models.RpcRequest(id="1", method="m")),
        models.DataPacket(rpc_ack=models.RpcAck(request_id="1")),
        models.DataPacket(rpc_response=models.RpcResponse(request_id="1")),
        models.DataPacket(stream_header=models.DataStream.Header(stream_id="s")),
        models.DataPacket(stream_chunk=models.DataStream.Chunk(stream_id="s")),
        models.DataPacket(stream_trailer=models.DataStream.Trailer(stream_id="s")),
        models.DataPacket(encrypted_packet=models.EncryptedPacket(encrypted_value=b"x")),
        models.DataPacket(sip_dtmf=models.SipDTMF(code=1)),
        models.DataPacket(),
    ],
    ids=lambda packet: packet.WhichOneof("value") or "unknown",
)
@pytest.mark.parametrize("sender", [ALICE, GHOST, AGENT], ids=lambda sender: sender.identity)
def test_the_sender_is_stamped(packet: models.DataPacket, sender: Sender) -> None:
    forged = models.DataPacket()
    forged.CopyFrom(packet)
    forged.participant_sid = "PA_forged"
    out = passed_on(forged, sender)
    assert out is not None
    assert out.WhichOneof("value") == packet.WhichOneof("value")
    assert out.participant_sid == sender.sid
    identity = "" if sender.hidden else sender.identity
    assert out.participant_identity == identity
    if packet.HasField("user"):
        assert out.user.participant_identity == identity


@pytest.mark.parametrize("sender", [ALICE, AGENT], ids=lambda sender: sender.identity)
def test_only_agents_speak_for_others(sender: Sender) -> None:
    chat = models.DataPacket(
        chat_message=models.ChatMessage(message="x"), participant_identity="bob"
    )
    text = models.DataPacket(
        stream_header=models.DataStream.Header(text_header=models.DataStream.TextHeader()),
        participant_identity="bob",
    )
    file = models.DataPacket(
        stream_header=models.DataStream.Header(byte_header=models.DataStream.ByteHeader()),
        participant_identity="bob",
    )
    outs = [passed_on(packet, sender) for packet in (chat, text, file)]
    assert all(outs)
    who = "bob" if sender.agent else "alice"
    assert [out.participant_identity for out in outs if out] == [who, who, sender.identity]
    assert outs[0].chat_message.generated is sender.agent  # type: ignore[union-attr]
    assert outs[1].stream_header.text_header.generated is sender.agent  # type: ignore[union-attr]


def test_transcriptions_come_from_agents_and_metrics_from_nobody() -> None:
    said = models.DataPacket(transcription=models.Transcription(track_id="TR_1"))
    assert passed_on(said, ALICE) is None
    assert passed_on(said, AGENT) is not None
    measured = models.DataPacket()
    measured.metrics.SetInParent()
    assert passed_on(measured, AGENT) is None


def test_nonces_repeat_within_a_bound() -> None:
    nonces = NonceFilter(size=3)
    names = [bytes([number]) * 16 for number in (1, 1, 2, 3, 4, 1)]
    seen = [nonces.is_repeated(nonce) for nonce in names]
    assert seen == [False, True, False, False, False, False]
    assert not any(nonces.is_repeated(b"no UUID") for _ in range(2))


def test_a_packet_that_grew_too_large_is_dropped() -> None:
    packet = models.DataPacket(user=models.UserPacket(payload=bytes(65_530)))
    assert passed_on(packet, ALICE) is None
    stream = DataStream()
    received = stream.receive(
        b"\xff", reliable=True, sender=ALICE, nonces=NonceFilter(), take=lambda _: False
    )
    assert received is None


# -- publishing and subscribing -------------------------------------------------------------------


def section(cid: str, kind: MediaKind = MediaKind.AUDIO) -> MediaSectionTrack:
    codecs = (RtpCodec(111, "audio/opus", 48_000, 2),)
    return MediaSectionTrack("0", kind, cid, "", codecs, (), (RtpEncoding(0),))


def published(*cids: str) -> PublishedTracks:
    tracks = PublishedTracks(("audio/opus", "video/VP8"), lambda source: True)
    for cid in cids:
        tracks.add(rtc.AddTrackRequest(cid=cid, name=cid, type=models.TrackType.AUDIO))
    return tracks


@pytest.mark.parametrize(
    ("cids", "sections", "names"),
    [
        (("a", "b"), ("b", "a"), ["b", "a"]),
        (("a", "b"), ("x", "y"), ["a", "b"]),
        (("a", "b"), ("x", "x"), ["a", "a"]),
        (("a",), ("x", "y"), ["a", None]),
        (("a", "b"), ("", ""), ["a", "a"]),
        ((), ("a",), [None]),
    ],
)
def test_sections_find_their_tracks(
    cids: tuple[str, ...], sections: tuple[str, ...], names: list[str | None]
) -> None:
    """In an offer every section is looked up before any is published."""
    tracks = published(*cids)
    found = [tracks.lookup(cid, MediaKind.AUDIO) for cid in sections]
    assert [None if info is None else info.name for info in found] == names


def test_twenty_tracks_may_be_pending() -> None:
    tracks = published(*(str(number) for number in range(20)))
    refused = tracks.add(rtc.AddTrackRequest(cid="more", type=models.TrackType.AUDIO))
    assert isinstance(refused, Refusal)
    assert refused.reason == Reason.LIMIT_EXCEEDED
    assert refused.message == ("too many pending tracks, rejecting new track, numPendingTracks: 20")
    assert tracks.publish(section("3"), lambda info: 1) is not None
    assert isinstance(
        tracks.add(rtc.AddTrackRequest(cid="more", type=models.TrackType.AUDIO)), Added
    )


def test_tracks_that_wait_under_names_in_use_count_too() -> None:
    tracks = published(*(str(number) for number in range(20)))
    assert tracks.publish(section("3"), lambda info: 1) is not None
    again = tracks.add(rtc.AddTrackRequest(cid="3", type=models.TrackType.AUDIO))
    assert again == Refusal(Reason.QUEUED, "")
    assert tracks.is_full
    assert tracks.pending == 20


@pytest.mark.parametrize(("has_media", "more"), [(False, 2), (True, 3)])
def test_three_tracks_wait_under_one_name(has_media: bool, more: int) -> None:
    tracks = published("a")
    if has_media:
        assert tracks.publish(section("a"), lambda info: 1) is not None
    request = rtc.AddTrackRequest(cid="a", type=models.TrackType.AUDIO)
    assert [tracks.add(request) for _ in range(more)] == [Refusal(Reason.QUEUED, "")] * more
    assert tracks.add(request) == Refusal(
        Reason.LIMIT_EXCEEDED,
        "too many pending queued tracks, rejecting new track, numPendingTracksQueued: 3",
    )


def test_a_track_that_made_room_is_not_taken_for_another() -> None:
    tracks = published("a", "b", "c")
    sids = {info.name: info.sid for cid in "abc" for info in [tracks.lookup(cid, MediaKind.AUDIO)]}
    again = rtc.AddTrackRequest(cid="a", type=models.TrackType.AUDIO)
    assert tracks.add(again) == Refusal(Reason.QUEUED, "")
    assert tracks.release({sids["a"], "TR_gone"}) == [sids["a"]]
    assert tracks.release({sids["a"]}) == []
    assert tracks.pending == 2
    assert tracks.publish(section("a"), lambda info: 1) is None
    other = tracks.lookup("x", MediaKind.AUDIO)
    assert other is not None
    assert other.name == "b"
    # Asked for again, it is one like any.
    assert isinstance(tracks.add(again), Added)
    assert tracks.publish(section("a"), lambda info: 1) is not None


def test_names_of_tracks_that_made_room_are_bounded() -> None:
    tracks = published()
    for number in range(MAX_RELEASED_TRACKS + 5):
        request = rtc.AddTrackRequest(cid=str(number), type=models.TrackType.AUDIO)
        added = tracks.add(request)
        assert isinstance(added, Added)
        tracks.release([added.info.sid])
    assert len(tracks._released) == MAX_RELEASED_TRACKS


@pytest.mark.parametrize(
    ("asked", "mimes"),
    [
        ([], [""]),
        ([""], ["video/VP8"]),
        (["vp8"], ["video/vp8"]),
        (["video/VP8"], ["video/VP8"]),
        (["vp9", "vp8"], ["video/vp9", "video/vp8"]),
        (["av1", "vp8"], ["video/VP8"]),
        (["vp9", "VP9"], ["video/vp9"]),
    ],
)
def test_codecs_of_a_request(asked: list[str], mimes: list[str]) -> None:
    """What is not enabled becomes the first that is; nothing is named twice."""
    tracks = PublishedTracks(("audio/opus", "video/VP8", "video/VP9"), lambda source: True)
    codecs = [rtc.SimulcastCodec(codec=codec, cid="c") for codec in asked]
    request = rtc.AddTrackRequest(
        cid="c",
        type=models.TrackType.VIDEO,
        simulcast_codecs=codecs,
        layers=layers(HIGH, LOW, heights=(720, 180)),
    )
    added = tracks.add(request)
    assert isinstance(added, Added)
    assert [codec.mime_type for codec in added.info.codecs] == mimes
    assert [layer.quality for layer in added.info.layers] == [LOW, HIGH]
    svc = mimes[0] == "video/vp9"
    # Without codecs in the request it shows in the media section.
    assert added.info.simulcast is (bool(asked) and not svc)
    mode = models.VideoLayer.Mode
    assert added.info.codecs[0].video_layer_mode == (
        mode.MULTIPLE_SPATIAL_LAYERS_PER_STREAM if svc else mode.ONE_SPATIAL_LAYER_PER_STREAM
    )


def test_a_missing_permission_stops_the_clock_of_what_is_not_found() -> None:
    subscriptions = Subscriptions()
    subscriptions.want(0.0, "TR_a", True)
    answers = {0.0: "NOT_FOUND", 50.0: "NOT_ALLOWED", 70.0: "NOT_FOUND", 120.0: "NOT_FOUND"}
    for now, name in answers.items():
        found = Resolution(Availability[name])
        assert list(subscriptions.reconcile(now, lambda sid, found=found: found)) == []
    missing = Resolution(Availability.NOT_FOUND)
    gone = subscriptions.reconcile(131.0, lambda sid: missing)
    assert [action.kind for action in gone] == [ActionKind.GIVE_UP]


def test_a_change_of_permission_is_told_once() -> None:
    subscriptions = Subscriptions()
    subscriptions.want(0.0, "TR_a", True)
    kinds = []
    for allowed in (True, True, False, False, True):
        availability = Availability.READY if allowed else Availability.NOT_ALLOWED
        found = Resolution(availability, allowed)
        actions = subscriptions.reconcile(0.0, lambda sid, found=found: found)
        kinds.append([action.kind.name for action in actions])
    assert kinds == [
        ["ALLOWED", "SUBSCRIBE"],
        [],
        ["UNSUBSCRIBE", "DISALLOWED"],
        [],
        ["ALLOWED", "SUBSCRIBE"],
    ]


def test_a_subscription_waits_for_one_that_ends_but_not_for_ever() -> None:
    subscriptions = Subscriptions()

    def step(now: float) -> list[str]:
        ready = Resolution(Availability.READY)
        return [a.kind.name + a.sid for a in subscriptions.reconcile(now, lambda sid: ready)]

    subscriptions.want(0.0, "a", True)
    assert step(0.0) == ["SUBSCRIBEa"]
    subscriptions.want(1.0, "a", False)
    subscriptions.want(1.0, "b", True)
    assert step(1.0) == ["UNSUBSCRIBEa"]
    assert subscriptions.retry_at() == pytest.approx(1.2)
    assert step(1.2) == ["SUBSCRIBEb"]


def test_what_is_not_bound_is_told_when_the_client_had_its_time() -> None:
    subscriptions = Subscriptions()
    subscriptions.want(0.0, "a", True)
    ready = Resolution(Availability.READY)

    def step(now: float, active_since: float | None) -> list[str]:
        actions = subscriptions.reconcile(now, lambda sid: ready, active_since=active_since)
        return [action.kind.name for action in actions]

    assert step(0.0, None) == ["SUBSCRIBE"]
    assert step(20.0, None) == []
    assert step(34.0, 20.0) == []
    assert step(36.0, 20.0) == ["NOT_BOUND"]
    assert subscriptions.unsettled() == ["a"]
    subscriptions.bound("a")
    assert step(39.0, 20.0) == []
    assert subscriptions.unsettled() == []
    subscriptions.closed("a")
    assert subscriptions.unsettled() == ["a"]


# -- subscriber permissions -----------------------------------------------------------------------


def test_who_may_subscribe() -> None:
    permissions = SubscriberPermissions()
    sids = {"PA_bob": "bob"}
    entry = rtc.TrackPermission
    assert permissions.allows("TR_a", "bob")
    permissions.update(rtc.SubscriptionPermission(), sids.get)
    assert not permissions.allows("TR_a", "bob")
    permissions.update(
        rtc.SubscriptionPermission(
            track_permissions=[
                entry(participant_sid="PA_bob", track_sids=["TR_a"]),
                entry(participant_sid="PA_gone", all_tracks=True),
                entry(participant_identity="carol", participant_sid="PA_bob", all_tracks=True),
            ]
        ),
        sids.get,
    )
    allowed = {
        (sid, identity)
        for sid in ("TR_a", "TR_b")
        for identity in ("bob", "carol", "dave")
        if permissions.allows(sid, identity)
    }
    assert allowed == {("TR_a", "bob"), ("TR_a", "carol"), ("TR_b", "carol")}
    with pytest.raises(LkpyError) as refused:
        permissions.update(
            rtc.SubscriptionPermission(track_permissions=[entry(all_tracks=True)]), sids.get
        )
    assert refused.value.code is Code.INVALID_ARGUMENT
    assert permissions.allows("TR_b", "carol"), "nothing has changed"
    permissions.update(rtc.SubscriptionPermission(all_participants=True), sids.get)
    assert permissions.allows("TR_b", "dave")


# -- claims ---------------------------------------------------------------------------------------


def claims(kind: str = "", **video: object) -> Claims:
    grant = VideoGrant(room_join=True, room="lobby", **video)  # type: ignore[arg-type]
    return Claims(Grants(identity="a", name="Token", kind=kind, video=grant), "")


@pytest.mark.parametrize(
    ("kind", "video", "dependent", "recorder"),
    [
        ("", {}, False, False),
        ("agent", {}, True, False),
        ("", {"agent": True}, True, False),
        ("egress", {}, True, True),
        ("", {"recorder": True}, True, True),
        ("ingress", {}, False, False),
        ("sip", {}, False, False),
    ],
)
def test_who_is_there_for_others(
    kind: str, video: dict[str, object], dependent: bool, recorder: bool
) -> None:
    made = claims(kind, **video)
    assert (made.is_dependent, made.is_recorder) == (dependent, recorder)


def test_sources() -> None:
    camera, screen = models.TrackSource.CAMERA, models.TrackSource.SCREEN_SHARE
    assert claims().may_publish(screen)
    only = claims(can_publish_sources=("camera",))
    assert only.may_publish(camera)
    assert not only.may_publish(screen)
    assert not claims(can_publish=False, can_publish_sources=("camera",)).may_publish(camera)


def test_own_metadata_merges_and_deletes() -> None:
    made = claims(can_update_own_metadata=True)
    update = rtc.UpdateParticipantMetadata
    made.update_metadata(update(metadata="m", attributes={"a": "1", "b": "2"}), Limits())
    made.update_metadata(update(name="n", attributes={"a": "", "c": "3"}), Limits())
    assert (made.metadata, made.name, made.attributes) == ("m", "n", {"b": "2", "c": "3"})
    assert made.current_grants().attributes == {"b": "2", "c": "3"}


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ({"metadata": "x" * 11}, "exceeds metadata size limit"),
        ({"name": "x" * 11}, "exceeds name length limit"),
        ({"attributes": {"k": "x" * 10}}, "exceeds attributes size limit"),
    ],
)
def test_own_metadata_has_limits(field: dict[str, object], message: str) -> None:
    made = claims(can_update_own_metadata=True)
    limits = Limits(max_metadata_size=10, max_participant_name_length=10, max_attributes_size=10)
    request = rtc.UpdateParticipantMetadata(**field)  # type: ignore[arg-type]
    assert made.update_metadata(request, limits) == (Reason.LIMIT_EXCEEDED, message)
    assert (made.name, made.metadata, made.attributes) == ("Token", "", {})
    assert claims().update_metadata(request, Limits())[0] == Reason.NOT_ALLOWED


# -- the room's record ----------------------------------------------------------------------------


class Member:
    def __init__(self, sid: str, *, dependent: bool = False, publisher: bool = False) -> None:
        self.sid = sid
        self.is_dependent = dependent
        self.is_publisher = publisher
        self.is_recorder = dependent


def test_when_nobody_is_there_the_room_knows_when_it_ends() -> None:
    state = RoomState(models.Room(empty_timeout=10, departure_timeout=2), 100.0)
    assert state.expires_at() == 110.0
    agent = Member("agent", dependent=True)
    state.count(agent)
    assert state.expires_at() == 110.0
    state.left(105.0, agent)
    assert state.expires_at() == 110.0, "nobody who counts was here"
    state.count(agent)
    somebody = Member("somebody")
    state.count(somebody)
    assert state.expires_at() is None
    state.left(1000.0, somebody)
    assert state.expires_at() == 1002.0


def test_counts_follow_each_member() -> None:
    state = RoomState(models.Room(max_participants=2), 0.0)
    publisher, agent = Member("p"), Member("a", dependent=True)
    assert not state.count(publisher)
    assert state.count(agent), "the agent records"
    publisher.is_publisher = True
    assert not state.count(publisher)
    assert not state.count(publisher), "it is counted once"
    assert (state.info.num_participants, state.info.num_publishers) == (1, 1)
    assert not state.full
    state.count(Member("q"))
    assert state.full
    assert state.left(1.0, agent)
    assert not state.info.active_recording
    assert not state.left(1.0, publisher)
    assert not state.left(1.0, publisher), "it left once"
    assert (state.info.num_participants, state.info.num_publishers) == (1, 0)


# -- updates, timers, signals ---------------------------------------------------------------------


def test_updates_are_split_by_size() -> None:
    infos = [
        models.ParticipantInfo(identity=str(n), metadata="x" * (UPDATE_CHUNK // 3))
        for n in range(7)
    ]
    huge = models.ParticipantInfo(identity="huge", metadata="x" * UPDATE_CHUNK * 2)
    messages = responses([*infos, huge])
    sizes = [len(m.update.participants) for m in messages]
    assert sizes == [2, 2, 2, 1, 1]
    assert responses([]) == []


def test_timers_move_and_are_cancelled_by_owner() -> None:
    timers, called = Timers(), []
    timers.set(("a", 1), 5.0, lambda: called.append("first"))
    timers.set(("a", 1), 7.0, lambda: called.append("moved"))
    timers.set(("b", 1), 6.0, lambda: called.append("b"))
    timers.set_if_absent(("b", 1), 1.0, lambda: called.append("never"))
    assert timers.next_deadline() == 6.0
    assert timers.due(5.9) is None
    while (due := timers.due(10.0)) is not None:
        due()
    assert called == ["b", "moved"]
    timers.set(("a", 2), 1.0, lambda: None)
    timers.set("room", 2.0, lambda: None)
    timers.cancel_of("a")
    assert timers.next_deadline() == 2.0


@pytest.mark.parametrize(
    ("protocol", "action", "expected"),
    [
        (16, Action.RESUME, rtc.LeaveRequest(action=Action.RESUME, reason=14)),
        (16, Action.DISCONNECT, rtc.LeaveRequest(action=Action.DISCONNECT, reason=14)),
        (12, Action.RECONNECT, rtc.LeaveRequest(can_reconnect=True, reason=14)),
        (12, Action.DISCONNECT, rtc.LeaveRequest(reason=14)),
        (12, Action.RESUME, None),
    ],
)
def test_leave_by_protocol(
    protocol: int, action: rtc.LeaveRequest.Action, expected: rtc.LeaveRequest | None
) -> None:
    sink: MessageChannel[rtc.SignalResponse] = MessageChannel("responses")
    signals = SignalSender(sink, models.ClientInfo(protocol=protocol))
    signals.leave(models.DisconnectReason.CONNECTION_TIMEOUT, action)
    assert len(sink) == 0, "nothing goes before the first response"
    signals.open(rtc.SignalResponse())
    signals.leave(models.DisconnectReason.CONNECTION_TIMEOUT, action)
    assert [m.leave for m in list(sink._messages)[1:]] == ([] if expected is None else [expected])


@pytest.mark.parametrize(("protocol", "kind"), [(7, "track_unpublished"), (6, "mute")])
def test_forced_unpublish_by_protocol(protocol: int, kind: str) -> None:
    sink: MessageChannel[rtc.SignalResponse] = MessageChannel("responses")
    signals = SignalSender(sink, models.ClientInfo(protocol=protocol))
    signals.open(rtc.SignalResponse())
    signals.track_unpublished("TR_1")
    assert sink._messages[-1].WhichOneof("message") == kind


def test_deadlines_that_are_moved_leave_nothing_behind() -> None:
    timers, called = Timers(), []
    timers.set("soon", 1.0, lambda: called.append("soon"))
    for number in range(10_000):
        timers.set("far", 1e9 + number, lambda: called.append("far"))
    assert len(timers._heap) < 100
    assert timers.next_deadline() == 1.0
    while (due := timers.due(2e9)) is not None:
        due()
    assert called == ["soon", "far"]


def test_waiting_updates_are_replaced() -> None:
    queue = UpdateQueue()

    def info(version: int) -> models.ParticipantInfo:
        return models.ParticipantInfo(sid="PA_a", version=version)

    assert not queue.push(info(1), immediate=False)
    assert not queue.push(info(2), immediate=False)
    assert not queue.push(info(1), immediate=False)
    assert queue.push(info(3), immediate=True)
    assert queue.take() == []


def test_one_update_waits_per_identity() -> None:
    def info(sid: str, version: int) -> models.ParticipantInfo:
        return models.ParticipantInfo(sid=sid, identity="alice", version=version)

    queue = UpdateQueue()
    assert queue.supersede(info("PA_1", 1)) is None
    queue.push(info("PA_1", 7), immediate=False)
    assert queue.supersede(info("PA_1", 8)) is None, "the same session goes on"
    ended = queue.supersede(info("PA_2", 1))
    assert ended is not None
    assert (ended.sid, ended.state) == ("PA_1", models.ParticipantInfo.State.DISCONNECTED)
    assert queue.push(info("PA_2", 1), immediate=True)
    queue.push(info("PA_2", 2), immediate=False)
    queue.drop(info("PA_1", 9))
    assert [waiting.sid for waiting in queue.take()] == ["PA_2"]
    queue.push(info("PA_2", 3), immediate=False)
    queue.drop(info("PA_2", 4))
    assert not queue
