"""Access tokens: which are refused and with which words, and what the claims of others do."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from typing import Any

import jwt
import pytest
from livekit.protocol import models, rtc
from livekit.protocol import room as room_pb

from tests.conformance.kit import Lobby, Refused, Target, TwirpError

Kind = models.ParticipantInfo.Kind
NOT_ALLOWED = rtc.RequestResponse.Reason.NOT_ALLOWED


def forged(target: Target, header: dict[str, Any], claims: dict[str, Any]) -> str:
    """A token with any header and claims, correctly signed."""

    def segment(value: bytes) -> str:
        return base64.urlsafe_b64encode(value).rstrip(b"=").decode()

    signed = f"{segment(json.dumps(header).encode())}.{segment(json.dumps(claims).encode())}"
    signature = hmac.digest(target.secret.encode(), signed.encode(), hashlib.sha256)
    return f"{signed}.{segment(signature)}"


def claims_of(lobby: Lobby, **changes: Any) -> dict[str, Any]:
    return {
        "iss": lobby.target.key,
        "sub": "alice",
        "exp": int(time.time()) + 600,
        "video": {"roomJoin": True, "room": lobby.room},
    } | changes


async def answer(lobby: Lobby, token: str) -> tuple[int, str]:
    status, body, _ = await lobby.get("/rtc/validate", token)
    return status, body


# -- verification -------------------------------------------------------------------------------


@pytest.mark.row(77, 6)
@pytest.mark.parametrize(
    "token",
    ["abc", "a.b", "..", "a.b.c", "." * 1000, "eyJhbGciOiJIUzI1NiJ9.e30", "a" * 60_000],
)
async def test_what_is_no_token(lobby: Lobby, token: str) -> None:
    assert await answer(lobby, token) == (401, "invalid authorization token")


@pytest.mark.row(77, 6)
@pytest.mark.parametrize(
    "changes", [{"iss": 5}, {"sub": 5}, {"jti": []}, {"nbf": "soon"}, {"exp": True}]
)
async def test_registered_claims_have_their_types(lobby: Lobby, changes: dict[str, Any]) -> None:
    token = forged(lobby.target, {"alg": "HS256"}, claims_of(lobby, **changes))
    assert await answer(lobby, token) == (401, "invalid authorization token")


@pytest.mark.row(77, 6)
@pytest.mark.parametrize("header", [{}, {"alg": 5}, {"alg": "hs256"}, {"alg": "XX"}])
async def test_algorithms_that_do_not_exist(lobby: Lobby, header: dict[str, Any]) -> None:
    token = forged(lobby.target, header, claims_of(lobby))
    assert await answer(lobby, token) == (401, "invalid authorization token")


@pytest.mark.row(77, 6)
@pytest.mark.parametrize("algorithm", ["none", "HS384", "HS512"])
async def test_other_algorithms(lobby: Lobby, algorithm: str) -> None:
    key = None if algorithm == "none" else lobby.target.secret
    token = jwt.encode(claims_of(lobby), key, algorithm=algorithm)
    status, body = await answer(lobby, token)
    assert status == 401
    # Some versions of livekit-server repeat the token before the reason.
    assert body.endswith(f": token signature is invalid: signing method {algorithm} is invalid")


@pytest.mark.row(77, 6)
async def test_signature_and_issuer(lobby: Lobby) -> None:
    status, body = await answer(lobby, lobby.target.token("a", "r", secret="x" * 32))
    assert status == 401
    assert body.endswith(": token signature is invalid: signature is invalid")
    for issuer in ("other", "", None):
        status, body = await answer(lobby, lobby.target.token("a", "r", claims={"iss": issuer}))
        assert status == 401
        assert body.startswith("invalid API key")


@pytest.mark.row(77, 6)
@pytest.mark.parametrize(
    ("times", "detail"),
    [
        ({"exp": None}, "token is missing required claim: exp claim is required"),
        ({"exp": 0}, "token is expired"),
        ({"exp": -61}, "token is expired"),
        ({"nbf": 65}, "token is not valid yet"),
        ({"exp": -90, "nbf": 90}, "token is expired, token is not valid yet"),
        ({"exp": -50}, ""),
        ({"nbf": 50}, ""),
        ({"iat": 3600}, ""),
    ],
)
async def test_times(lobby: Lobby, times: dict[str, int | None], detail: str) -> None:
    """Offsets from now in seconds; a minute of difference between clocks is forgiven."""
    now = int(time.time())
    claims = {name: offset and now + offset for name, offset in times.items()}
    status, body = await answer(lobby, lobby.target.token("a", lobby.room, claims=claims))
    if detail:
        assert status == 401
        assert body.endswith(f": token has invalid claims: {detail}")
    else:
        assert (status, body) == (200, "success")


@pytest.mark.row(77, 82)
@pytest.mark.parametrize(
    "changes",
    [
        {"video": []},
        {"video": {"roomJoin": "yes"}},
        {"video": {"roomJoin": True, "canPublishSources": "camera"}},
        {"attributes": {"a": 1}},
        {"metadata": 5},
        {"kindDetails": "x"},
        {"roomConfig": {"maxParticipants": "x"}},
        {"sip": []},
    ],
)
async def test_grants_have_their_types(lobby: Lobby, changes: dict[str, Any]) -> None:
    status, body = await answer(lobby, lobby.target.token("a", "r", claims=changes))
    assert status == 401
    assert ": token is malformed: " in body


@pytest.mark.row(78)
async def test_identity(lobby: Lobby) -> None:
    signal = await lobby.signal("alice", claims={"jti": "other", "identity": "another"})
    assert signal.join.participant.identity == "alice"
    signal = await lobby.signal(claims={"jti": "legacy", "identity": "another"})
    assert signal.join.participant.identity == "legacy"


# -- what a token allows ------------------------------------------------------------------------


@pytest.mark.row(79)
@pytest.mark.parametrize(
    ("video", "expected"),
    [
        ({}, (True, True, True, False)),
        ({"canPublish": False}, (False, True, False, False)),
        ({"canPublish": False, "canPublishData": True}, (False, True, True, False)),
        ({"canPublish": True, "canPublishData": False}, (True, True, False, False)),
        ({"canSubscribe": False}, (True, False, True, False)),
        ({"canUpdateOwnMetadata": True}, (True, True, True, True)),
        ({"canPublish": None}, (True, True, True, False)),
    ],
)
async def test_permissions_that_are_unset(
    lobby: Lobby, video: dict[str, bool], expected: tuple[bool, ...]
) -> None:
    permission = (await lobby.signal("alice", **video)).join.participant.permission
    assert (
        permission.can_publish,
        permission.can_subscribe,
        permission.can_publish_data,
        permission.can_update_metadata,
    ) == expected


@pytest.mark.row(80)
async def test_sources(lobby: Lobby) -> None:
    signal = await lobby.signal("alice", canPublishSources=["microphone"])
    permission = signal.join.participant.permission
    assert list(permission.can_publish_sources) == [models.TrackSource.MICROPHONE]
    for cid, source, kind in (
        ("c1", models.TrackSource.CAMERA, models.TrackType.VIDEO),
        ("c2", models.TrackSource.MICROPHONE, models.TrackType.AUDIO),
    ):
        await signal.send(add_track=rtc.AddTrackRequest(cid=cid, type=kind, source=source))
    assert (await signal.expect("track_published")).cid == "c2"
    refused = await signal.expect("request_response")
    assert refused.reason == NOT_ALLOWED
    assert refused.add_track.cid == "c1"


@pytest.mark.row(79)
async def test_no_publishing(lobby: Lobby) -> None:
    signal = await lobby.signal("alice", canPublish=False)
    request = rtc.AddTrackRequest(cid="c1", type=models.TrackType.AUDIO)
    await signal.send(add_track=request)
    assert (await signal.expect("request_response")).reason == NOT_ALLOWED


@pytest.mark.row(81)
@pytest.mark.parametrize("allowed", [False, True])
async def test_own_metadata(lobby: Lobby, allowed: bool) -> None:
    signal = await lobby.signal("alice", canUpdateOwnMetadata=allowed)
    await signal.send(update_metadata=rtc.UpdateParticipantMetadata(metadata="mine", request_id=7))
    response = await signal.expect("request_response")
    assert response.request_id == 7
    assert (response.reason == NOT_ALLOWED) is not allowed
    if allowed:
        await signal.expect_participant("alice", lambda p: p.metadata == "mine")


@pytest.mark.row(82)
async def test_claims_about_the_participant(lobby: Lobby) -> None:
    claims = {
        "name": "Alice",
        "metadata": "m",
        "attributes": {"a": "b"},
        "kind": "agent",
        "kindDetails": ["cloud_agent", "hologram"],
    }
    participant = (await lobby.signal("alice", claims=claims)).join.participant
    assert (participant.name, participant.metadata) == ("Alice", "m")
    assert dict(participant.attributes) == {"a": "b"}
    assert participant.kind == Kind.AGENT
    assert list(participant.kind_details) == [models.ParticipantInfo.KindDetail.CLOUD_AGENT]
    unknown = (await lobby.signal("bob", claims={"kind": "robot"})).join.participant
    assert unknown.kind == Kind.STANDARD


@pytest.mark.row(83)
async def test_the_room_of_a_token(lobby: Lobby) -> None:
    config = {
        "emptyTimeout": 7,
        "departureTimeout": 8,
        "maxParticipants": 1,
        "metadata": "about",
        "unknown": 1,
    }
    room = (await lobby.signal("alice", claims={"roomConfig": config})).join.room
    assert (room.empty_timeout, room.departure_timeout) == (7, 8)
    assert (room.max_participants, room.metadata) == (1, "about")
    with pytest.raises(Refused) as refused:
        await lobby.signal("bob", claims={"roomConfig": {"maxParticipants": 9}})
    assert refused.value.status == 500


@pytest.mark.row(84)
async def test_an_unknown_preset(lobby: Lobby) -> None:
    claims = {"roomPreset": "nobody-has-this"}
    assert await answer(lobby, lobby.target.token("alice", lobby.room, claims=claims)) == (
        200,
        "success",
    )
    with pytest.raises(Refused) as refused:
        await lobby.signal("alice", claims=claims)
    assert refused.value.status == 500


@pytest.mark.row(85)
async def test_hidden(lobby: Lobby) -> None:
    alice = await lobby.signal("alice")
    hidden = await lobby.signal("ghost", hidden=True)
    assert hidden.join.participant.permission.hidden
    assert [p.identity for p in hidden.join.other_participants] == ["alice"]
    bob = await lobby.signal("bob")
    assert [p.identity for p in bob.join.other_participants] == ["alice"]
    await alice.expect_participant("bob")
    seen = {p.identity for update in alice.all("update") for p in update.participants}
    assert "ghost" not in seen


@pytest.mark.row(85)
async def test_recorder(lobby: Lobby) -> None:
    signal = await lobby.signal("recorder", recorder=True, hidden=True)
    assert signal.join.participant.permission.recorder


@pytest.mark.row(86)
async def test_agent(lobby: Lobby) -> None:
    participant = (await lobby.signal("worker", agent=True)).join.participant
    assert participant.permission.agent


@pytest.mark.row(79)
async def test_joining_does_not_administer(lobby: Lobby) -> None:
    await lobby.signal("alice")
    token = lobby.target.token("alice", lobby.room)
    request = room_pb.ListParticipantsRequest(room=lobby.room)
    with pytest.raises(TwirpError) as refused:
        await lobby.call("ListParticipants", request, room_pb.ListParticipantsResponse, token=token)
    assert (refused.value.status, refused.value.code) == (401, "unauthenticated")
