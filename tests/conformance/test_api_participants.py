"""The server API: calls about participants, data and RPC."""

from __future__ import annotations

import asyncio
import time
import uuid
from typing import Any

import jwt
import pytest
from livekit.protocol import models, rtc
from livekit.protocol import room as room_pb

from tests.conformance import media
from tests.conformance.api_kit import (
    BIG_ATTRIBUTES,
    BIG_METADATA,
    DENIED,
    NO_PARTICIPANT,
    NO_RESPONSE,
    refused,
    update,
)
from tests.conformance.kit import Lobby, until
from tests.patience import PATIENCE_S

Reason = models.DisconnectReason

# -- participants --------------------------------------------------------------------------------


@pytest.mark.row(94)
async def test_list_and_get_participants(lobby: Lobby) -> None:
    room = {"room": lobby.room}
    nobody = await lobby.call("ListParticipants", room, room_pb.ListParticipantsResponse)
    assert not nobody.participants, "also of a room that does not exist"
    alice = await lobby.signal("alice", claims={"name": "Al", "metadata": "m"})
    await lobby.signal("ghost", hidden=True)
    listed = await lobby.call("ListParticipants", room, room_pb.ListParticipantsResponse)
    assert {p.identity for p in listed.participants} == {"alice", "ghost"}
    target = room | {"identity": "alice"}
    info = await lobby.call("GetParticipant", target, models.ParticipantInfo)
    assert info.sid == alice.join.participant.sid
    assert (info.name, info.metadata, info.identity) == ("Al", "m", "alice")
    assert await refused(lobby, "GetParticipant", room | {"identity": "bob"}) == NO_PARTICIPANT


@pytest.mark.row(95, 120)
async def test_remove_participant(lobby: Lobby) -> None:
    alice, bob = await lobby.signal("alice"), await lobby.signal("bob")
    target = room_pb.RoomParticipantIdentity(room=lobby.room, identity="alice")
    await lobby.call("RemoveParticipant", target, room_pb.RemoveParticipantResponse)
    leave = await alice.expect("leave")
    assert leave.reason == Reason.PARTICIPANT_REMOVED
    assert leave.action == rtc.LeaveRequest.Action.DISCONNECT
    await alice.ended()
    gone = await bob.expect_participant(
        "alice", lambda p: p.state == models.ParticipantInfo.State.DISCONNECTED
    )
    assert gone.disconnect_reason == Reason.PARTICIPANT_REMOVED
    assert await refused(lobby, "RemoveParticipant", target) == NO_PARTICIPANT


@pytest.mark.row(96)
async def test_mute_published_track(lobby: Lobby) -> None:
    alice = await media.join(lobby, "alice", single=True)
    bob = await lobby.signal("bob")
    track, _ = await alice.publish()
    await bob.expect_participant("alice", lambda p: len(p.tracks) == 1)
    request = room_pb.MuteRoomTrackRequest(
        room=lobby.room, identity="alice", track_sid=track.sid, muted=True
    )
    muted = await lobby.call("MutePublishedTrack", request, room_pb.MuteRoomTrackResponse)
    assert (muted.track.sid, muted.track.muted) == (track.sid, True)
    told = await alice.signal.expect("mute")
    assert (told.sid, told.muted) == (track.sid, True)
    await bob.expect_participant("alice", lambda p: p.tracks[0].muted)

    request.muted = False
    assert await refused(lobby, "MutePublishedTrack", request) == (
        412,
        "failed_precondition",
        "remote unmute not enabled",
    )
    request.track_sid, request.muted = "TR_nothing", True
    unknown = await lobby.call("MutePublishedTrack", request, room_pb.MuteRoomTrackResponse)
    assert not unknown.HasField("track")


@pytest.mark.row(97, 123, 59)
async def test_update_participant(lobby: Lobby) -> None:
    alice, bob = await lobby.signal("alice"), await lobby.signal("bob")
    await alice.expect("refresh_token")
    info = await update(lobby, "alice", name="Al", metadata="m", attributes={"a": "1", "b": "2"})
    assert (info.name, info.metadata) == ("Al", "m")
    assert dict(info.attributes) == {"a": "1", "b": "2"}
    for signal in (alice, bob):
        told = await signal.expect_participant("alice", lambda p: p.version == info.version)
        assert told == info
    while True:
        claims = jwt.decode(
            await alice.expect("refresh_token"), options={"verify_signature": False}
        )
        if claims.get("attributes") == {"a": "1", "b": "2"}:
            break
    assert (claims["sub"], claims["name"], claims["metadata"]) == ("alice", "Al", "m")
    assert claims["video"]["room"] == lobby.room

    changed = await update(lobby, "alice", attributes={"a": "", "c": "3"})
    assert changed.version > info.version
    assert (changed.name, dict(changed.attributes)) == ("Al", {"b": "2", "c": "3"})
    assert (await update(lobby, "alice", name="Al")).version == changed.version
    assert (await update(lobby, "alice", permission=changed.permission)).version == changed.version


@pytest.mark.row(97)
async def test_what_a_participant_cannot_be(lobby: Lobby) -> None:
    await lobby.signal("alice")

    async def wrong(identity: str = "alice", **values: Any) -> tuple[int, str, str]:
        request = {"room": lobby.room, "identity": identity} | values
        return await refused(lobby, "UpdateParticipant", request)

    assert await wrong("bob", name="x") == NO_PARTICIPANT
    for values, message in (
        ({"name": "n" * 257}, "name length exceeds limits 256"),
        ({"metadata": BIG_METADATA}, "metadata size exceeds limits 524288"),
        ({"attributes": BIG_ATTRIBUTES}, "attribute size exceeds limits 65536"),
    ):
        assert await wrong(**values) == (400, "invalid_argument", message)


@pytest.mark.row(98, 46)
async def test_update_subscriptions(lobby: Lobby) -> None:
    alice = await media.join(lobby, "alice", single=True)
    bob = await media.join(lobby, "bob", single=False)
    audio, _ = await alice.publish()
    await bob.receives(audio.sid)

    async def subscribe(subscribe: bool, **tracks: Any) -> None:
        request = room_pb.UpdateSubscriptionsRequest(
            room=lobby.room, identity="bob", subscribe=subscribe, **tracks
        )
        await lobby.call("UpdateSubscriptions", request, room_pb.UpdateSubscriptionsResponse)

    await subscribe(False, track_sids=[audio.sid])
    await until(lambda: audio.sid not in bob.mids.values(), "an offer without the track")
    tracks = models.ParticipantTracks(participant_sid=alice.sid, track_sids=[audio.sid])
    await subscribe(True, participant_tracks=[tracks])
    await until(lambda: audio.sid in bob.mids.values(), "an offer with the track")
    absent = {"room": lobby.room, "identity": "carol", "track_sids": [audio.sid]}
    assert await refused(lobby, "UpdateSubscriptions", absent) == NO_RESPONSE


@pytest.mark.row(102)
@pytest.mark.parametrize("method", ["ForwardParticipant", "MoveParticipant"])
async def test_participants_are_not_moved(lobby: Lobby, method: str) -> None:
    await lobby.signal("alice")

    async def move(to: str, granted: str, identity: str = "alice") -> tuple[int, str, str]:
        request = {"room": lobby.room, "identity": identity, "destination_room": to}
        grant = {"roomAdmin": True, "room": lobby.room, "destinationRoom": granted}
        return await refused(lobby, method, request, **grant)

    assert await move("other", granted="another") == DENIED
    same = await move(lobby.room, granted=lobby.room)
    assert same[:2] == (400, "invalid_argument")
    assert same[2].strip() == "destination room cannot be the same as source room"
    assert await move("other", granted="other") == (500, "unknown", "not implemented")


# -- data and RPC --------------------------------------------------------------------------------


@pytest.mark.row(99, 152, 158)
async def test_send_data(lobby: Lobby) -> None:
    alice = await media.join(lobby, "alice", single=True)
    bob = await media.join(lobby, "bob", single=False)
    await alice.ready()
    await bob.ready()

    async def send(data: bytes, **values: Any) -> None:
        request = room_pb.SendDataRequest(room=lobby.room, data=data, **values)
        await lobby.call("SendData", request, room_pb.SendDataResponse)

    def payloads(participant: media.Participant) -> list[bytes]:
        return [p.user.payload for p in participant.received if p.WhichOneof("value") == "user"]

    nonce = uuid.uuid4().bytes
    await send(b"one", topic="t", nonce=nonce)
    await send(b"again", nonce=nonce)
    await send(b"for bob", destination_identities=["bob"])
    await send(b"for alice", destination_sids=[alice.sid])
    await send(b"last")
    for participant, own in ((alice, b"for alice"), (bob, b"for bob")):
        await until(lambda p=participant: b"last" in payloads(p), "the last packet")
        assert payloads(participant) == [b"one", own, b"last"]
    first = await bob.packet("user")
    assert first.user.topic == "t"
    assert (first.participant_identity, first.user.participant_identity) == ("", "")
    assert first.kind == models.DataPacket.RELIABLE
    bob.received.clear()
    await send(b"lossy", kind=models.DataPacket.LOSSY)
    assert (await bob.packet("user")).kind == models.DataPacket.LOSSY


@pytest.mark.row(99)
async def test_data_that_cannot_be_sent(lobby: Lobby) -> None:
    call = {"room": lobby.room, "data": "aGk="}
    assert await refused(lobby, "SendData", call) == NO_RESPONSE
    assert await refused(lobby, "SendData", call | {"nonce": "aGk="}) == (
        400,
        "invalid_argument",
        "nonce should be 16-bytes or not present, got: 2 bytes",
    )


def rpc(lobby: Lobby, **values: Any) -> room_pb.PerformRpcRequest:
    values = {"destination_identity": "alice", "method": "add", "payload": "1"} | values
    return room_pb.PerformRpcRequest(room=lobby.room, **values)


async def handle(
    participant: media.Participant, *, acknowledge: bool = True, **response: Any
) -> models.RpcRequest:
    """Take an RPC request, and answer it as an SDK does."""
    packet = await participant.packet("rpc_request")
    participant.received.remove(packet)
    to, request = [packet.participant_identity], packet.rpc_request
    if acknowledge:
        ack = models.RpcAck(request_id=request.id)
        await participant.send_data(models.DataPacket(rpc_ack=ack, destination_identities=to))
    if response:
        answer = models.RpcResponse(request_id=request.id, **response)
        packet = models.DataPacket(rpc_response=answer, destination_identities=to)
        await participant.send_data(packet)
    return request


@pytest.mark.row(101)
@pytest.mark.parametrize("single", [False, True], ids=["dual", "single"])
async def test_perform_rpc(lobby: Lobby, single: bool) -> None:
    alice = await media.join(lobby, "alice", single=single)
    await alice.ready()
    call = lobby.call("PerformRpc", rpc(lobby), room_pb.PerformRpcResponse)
    answer, request = await asyncio.gather(call, handle(alice, payload="2"))
    assert answer.payload == "2"
    assert (request.method, request.payload, request.version) == ("add", "1", 1)
    assert 10_000 < request.response_timeout_ms <= 15_000

    error = models.RpcError(code=1400, message="Method not supported", data="add")
    call = refused(lobby, "PerformRpc", rpc(lobby))
    failed, _ = await asyncio.gather(call, handle(alice, error=error))
    assert failed == (
        400,
        "invalid_argument",
        "RpcError 1400: Method not supported: add",
    )
    call = refused(lobby, "PerformRpc", rpc(lobby, response_timeout_ms=300))
    failed, _ = await asyncio.gather(call, handle(alice))
    assert failed == (408, "canceled", "RpcError 1502: Response timeout")


@pytest.mark.row(101)
async def test_rpc_that_nobody_acknowledges(lobby: Lobby) -> None:
    alice = await media.join(lobby, "alice", single=True)
    await alice.ready()
    async with lobby.lateness() as late:
        began = time.monotonic()
        assert await refused(lobby, "PerformRpc", rpc(lobby)) == (
            408,
            "canceled",
            "RpcError 1501: Connection timeout",
        )
        took = time.monotonic() - began
    assert 6.8 < took < 8.5 + late.total_s


@pytest.mark.row(101)
async def test_rpc_that_cannot_be_made(lobby: Lobby) -> None:
    assert await refused(lobby, "PerformRpc", rpc(lobby, destination_identity="")) == (
        400,
        "invalid_argument",
        "destination identity is required",
    )
    alice = await media.join(lobby, "alice", single=True)
    await alice.ready()
    assert await refused(lobby, "PerformRpc", rpc(lobby, payload="x" * 15_361)) == (
        400,
        "invalid_argument",
        "RpcError 1402: Request payload too large",
    )


@pytest.mark.row(101)
async def test_the_recipient_of_an_rpc_leaves(lobby: Lobby) -> None:
    alice = await media.join(lobby, "alice", single=True)
    await alice.ready()
    call = asyncio.create_task(refused(lobby, "PerformRpc", rpc(lobby)))
    await handle(alice)
    await alice.signal.send(leave=rtc.LeaveRequest())
    # livekit-server's bus tries once more what is unavailable, and then finds nobody.
    assert await asyncio.wait_for(call, PATIENCE_S) in (
        (503, "unavailable", "RpcError 1503: Recipient disconnected"),
        NO_PARTICIPANT,
        NO_RESPONSE,
    )
