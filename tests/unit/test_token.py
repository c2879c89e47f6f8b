"""Tokens: what is minted verifies, what was changed does not."""

from __future__ import annotations

import json

import jwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from livekit.protocol import models
from livekit.protocol import room as room_pb

from lkpy.auth.describe import describe
from lkpy.auth.grants import Grants, GrantsError, SipGrant, VideoGrant
from lkpy.auth.token import TokenError, mint, refresh, unverified_claims, verify

KEYS = {"key": "s" * 32, "other": "o" * 32}
NOW = 1_700_000_000.0
FULL = Grants(
    identity="alice",
    name="Alice",
    kind="agent",
    kind_details=("cloud_agent",),
    video=VideoGrant(
        room_join=True,
        room="lobby",
        can_publish=False,
        can_publish_data=True,
        can_publish_sources=("camera", "screen_share_audio"),
        hidden=True,
    ),
    sip=SipGrant(call=True),
    room_config=room_pb.RoomConfiguration(max_participants=3),
    room_preset="small",
    metadata="m",
    attributes={"a": "b"},
)


def signed(grants: Grants = FULL, **kwargs: float) -> str:
    return mint(grants, api_key="key", api_secret=KEYS["key"], now=NOW, **kwargs)


def test_what_is_minted_verifies() -> None:
    verified = verify(signed(ttl_s=60), KEYS, now=NOW)
    assert verified.api_key == "key"
    assert verified.grants.to_claims() == FULL.to_claims()
    assert verified.grants.identity == "alice"
    assert verified.grants.expires_at == NOW + 60
    assert verified.grants.not_before == NOW


def test_livekits_own_tokens_verify() -> None:
    from livekit import api

    token = (
        api.AccessToken("key", KEYS["key"])
        .with_identity("bob")
        .with_kind("agent")
        .with_grants(api.VideoGrants(room_join=True, room="r", can_update_own_metadata=True))
        .with_attributes({"k": "v"})
        .to_jwt()
    )
    claims = unverified_claims(token)
    grants = verify(token, KEYS, now=float(claims["exp"]) - 5).grants
    assert grants.identity == "bob"
    assert grants.participant_kind() == models.ParticipantInfo.Kind.AGENT
    assert grants.video is not None
    assert grants.video.get_can_update_own_metadata()
    assert grants.attributes == {"k": "v"}


def test_livekits_verifier_takes_ours() -> None:
    from livekit import api

    token = mint(FULL, api_key="key", api_secret=KEYS["key"], now=4_000_000_000 - 60)
    claims = api.TokenVerifier("key", KEYS["key"], leeway=_years(80)).verify(token)
    assert claims.identity == "alice"
    assert claims.video is not None
    assert claims.video.can_publish is False
    assert claims.video.hidden


def _years(count: int):
    import datetime

    return datetime.timedelta(days=366 * count)


@pytest.mark.parametrize(("offset", "accepted"), [(59, True), (60, False), (61, False)])
def test_expiry_has_a_minute_of_leeway(offset: int, accepted: bool) -> None:
    token = signed(ttl_s=100)
    if accepted:
        verify(token, KEYS, now=NOW + 100 + offset)
    else:
        with pytest.raises(TokenError, match="token is expired"):
            verify(token, KEYS, now=NOW + 100 + offset)


@pytest.mark.parametrize(("offset", "accepted"), [(59, True), (60, True), (61, False)])
def test_not_before_has_a_minute_of_leeway(offset: int, accepted: bool) -> None:
    token = signed(ttl_s=1000)
    if accepted:
        verify(token, KEYS, now=NOW - offset)
    else:
        with pytest.raises(TokenError, match="token is not valid yet"):
            verify(token, KEYS, now=NOW - offset)


def test_the_secret_of_another_key_is_not_enough() -> None:
    forged = mint(FULL, api_key="other", api_secret=KEYS["key"], now=NOW)
    with pytest.raises(TokenError, match="signature is invalid"):
        verify(forged, KEYS, now=NOW)


def test_pyjwt_reads_what_is_minted() -> None:
    read = jwt.decode_complete(signed(), KEYS["key"], ["HS256"], {"verify_exp": False})
    assert read["header"] == {"alg": "HS256", "typ": "JWT"}
    assert read["payload"]["video"] == FULL.to_claims()["video"]


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=20), st.text(st.characters(codec="utf-8"), max_size=20), st.data())
def test_signatures_are_pyjwts(secret: str, identity: str, data: st.DataObject) -> None:
    """Whatever the secret: what PyJWT signs verifies, and no other signature does."""
    secret = f"{secret}."
    claims = {"iss": "key", "sub": identity, "exp": NOW + 60, "video": {"roomJoin": True}}
    token = jwt.encode(claims, secret, algorithm="HS256")
    assert verify(token, {"key": secret}, now=NOW).grants.identity == identity
    head, payload, signature = token.split(".")
    raw = bytearray(jwt.utils.base64url_decode(signature))
    raw[data.draw(st.integers(0, 31))] ^= data.draw(st.integers(1, 255))
    for wrong in (bytes(raw), bytes(raw[:31]), b"", bytes(32)):
        forged = f"{head}.{payload}.{jwt.utils.base64url_encode(wrong).decode()}"
        with pytest.raises(TokenError, match="signature is invalid"):
            verify(forged, {"key": secret}, now=NOW)


@pytest.mark.parametrize("signature", ["a", "a+b/", "ä", "====", " "])
def test_a_signature_is_base64url(signature: str) -> None:
    token = f"{signed().rpartition('.')[0]}.{signature}"
    with pytest.raises(TokenError, match="the signature is not base64url"):
        verify(token, KEYS, now=NOW)


@pytest.mark.parametrize("algorithm", ["none", "None", "nOnE", "HS384", "HS512"])
def test_only_hs256(algorithm: str) -> None:
    if algorithm.lower() == "none":
        head, payload, _ = signed().split(".")
        head = jwt.utils.base64url_encode(f'{{"alg":"{algorithm}"}}'.encode()).decode()
        token = f"{head}.{payload}."
    else:
        token = jwt.encode({"iss": "key", "exp": NOW + 60}, "k" * 64, algorithm=algorithm)
    with pytest.raises(TokenError) as refused:
        verify(token, KEYS, now=NOW)
    known = algorithm in ("none", "HS384", "HS512")
    detail = f": token signature is invalid: signing method {algorithm} is invalid" if known else ""
    assert refused.value.message == "invalid authorization token" + detail


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "key", "sub": 5},
        {"iss": "key", "jti": []},
        {"iss": "key", "exp": float("nan")},
        {"iss": "key", "exp": "soon"},
        {"iss": "key", "nbf": True},
        {"iss": ["key"]},
    ],
)
def test_registered_claims_of_the_wrong_type_are_no_token(claims: dict[str, object]) -> None:
    payload = jwt.utils.base64url_encode(json.dumps(claims).encode()).decode()
    head, _, signature = signed().split(".")
    with pytest.raises(TokenError, match=r"^invalid authorization token$"):
        verify(f"{head}.{payload}.{signature}", KEYS, now=NOW)


def test_only_base64url_without_padding() -> None:
    head, payload, signature = signed().split(".")
    for broken in (f"{head}=.{payload}.{signature}", f" {head}.{payload}.{signature}"):
        with pytest.raises(TokenError, match=r"^invalid authorization token$"):
            verify(broken, KEYS, now=NOW)


def test_times_written_as_text_and_everything_wrong_at_once() -> None:
    claims = {"iss": "key", "exp": str(NOW + 60), "attributes": {"a": None}}
    token = jwt.encode(claims, KEYS["key"], algorithm="HS256")
    assert verify(token, KEYS, now=NOW).grants.attributes == {"a": ""}
    claims = {"iss": "key", "exp": NOW - 90, "nbf": NOW + 90}
    with pytest.raises(TokenError, match=r"token is expired, token is not valid yet$"):
        verify(jwt.encode(claims, KEYS["key"], algorithm="HS256"), KEYS, now=NOW)


def test_a_huge_token_is_refused_unread() -> None:
    with pytest.raises(TokenError, match=r"^invalid authorization token$"):
        verify("a." + "b" * 2_000_000 + ".c", KEYS, now=NOW)


@pytest.mark.parametrize(
    "claims",
    [
        {"video": []},
        {"video": {"roomJoin": 1}},
        {"video": {"canPublishSources": [1]}},
        {"video": {"room": 5}},
        {"attributes": {"a": 1}},
        {"attributes": []},
        {"metadata": {}},
        {"kindDetails": "x"},
        {"exp": "soon"},
        {"exp": True},
        {"roomConfig": {"max_participants": "many"}},
        {"sip": {"call": "yes"}},
    ],
)
def test_claims_of_the_wrong_type(claims: dict[str, object]) -> None:
    with pytest.raises(GrantsError):
        Grants.from_claims(claims)


def test_unset_permissions() -> None:
    grant = VideoGrant.from_claims({})
    assert grant.get_can_publish()
    assert grant.get_can_subscribe()
    assert grant.get_can_publish_data()
    assert not grant.get_can_update_own_metadata()
    assert not grant.get_can_subscribe_metrics()
    grant = VideoGrant.from_claims({"canPublish": False})
    assert not grant.get_can_publish_data()
    assert VideoGrant.from_claims({"canPublish": False, "canPublishData": True}).can_publish_data


def test_sources() -> None:
    grant = VideoGrant(can_publish_sources=("camera", "hologram"))
    permission = grant.to_permission()
    assert list(permission.can_publish_sources) == [
        models.TrackSource.CAMERA,
        models.TrackSource.UNKNOWN,
    ]


def test_unknown_kinds_are_standard() -> None:
    assert Grants(kind="robot").participant_kind() == models.ParticipantInfo.Kind.STANDARD
    assert Grants(kind_details=("robot", "simulation")).participant_kind_details() == [
        models.ParticipantInfo.KindDetail.SIMULATION
    ]


def test_refreshed_tokens_keep_what_matters() -> None:
    short = verify(signed(ttl_s=30), KEYS, now=NOW).grants
    renewed = verify(
        refresh(short, api_key="key", api_secret=KEYS["key"], now=NOW + 20), KEYS, now=NOW + 20
    ).grants
    assert renewed.expires_at == NOW + 20 + 600
    assert (renewed.identity, renewed.name, renewed.metadata) == ("alice", "Alice", "m")
    assert renewed.video == FULL.video
    assert renewed.room_preset == "small"
    assert renewed.room_config == FULL.room_config
    assert renewed.kind_details == ()
    assert renewed.sip is None
    long = verify(signed(ttl_s=3600), KEYS, now=NOW).grants
    token = refresh(long, api_key="key", api_secret=KEYS["key"], now=NOW + 20)
    assert verify(token, KEYS, now=NOW).grants.expires_at == NOW + 3600
    claims = unverified_claims(token)
    assert claims["identity"] == claims["sub"] == "alice", "both, as livekit-server writes them"


def test_a_token_in_words() -> None:
    grants = verify(signed(ttl_s=3661), KEYS, now=NOW).grants
    text = "\n".join(describe(grants, api_key="key", now=NOW))
    assert "API key 'key' to identity 'alice', name 'Alice', kind agent" in text
    assert "1 h 1 min from now" in text
    assert "May join room 'lobby'" in text
    assert "can subscribe and send data" in text
    assert "cannot publish (camera, screen_share_audio only) or change its own metadata" in text
    assert "hidden" in text
    expired = "\n".join(describe(grants, api_key="key", now=NOW + 10_000))
    assert "Expired 1 h 45 min ago" in expired
