"""The server API over Twirp: RoomService, agent dispatches, and services without their workers."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import Any

import jwt
import pytest
from google.protobuf.message import Message
from livekit.protocol import agent_dispatch, models, rtc
from livekit.protocol import room as room_pb

from tests.conformance import media
from tests.conformance.kit import TIMEOUT_S, Lobby, TwirpError, until

CODED = "twirp error unknown: "
"""Before the message of errors that the API itself does not make."""
Reason = models.DisconnectReason
Permission = models.ParticipantPermission
EVERYTHING = Permission(can_subscribe=True, can_publish=True, can_publish_data=True)
CREATE = {"roomCreate": True, "roomList": True}
BIG_METADATA = "m" * (512 * 1024 + 1)
BIG_ATTRIBUTES = {"k": "v" * 64 * 1024}


async def refused(lobby: Lobby, method: str, request: Any, **options: Any) -> tuple[int, str, str]:
    """Status, code and message of a call that must fail."""
    with pytest.raises(TwirpError) as error:
        await lobby.call(method, request, Message, **options)
    return error.value.status, error.value.code, error.value.message


def not_found(message: str) -> tuple[int, str, str]:
    return 404, "not_found", CODED + message


NO_ROOM = not_found("requested room does not exist")
NO_PARTICIPANT = not_found("participant does not exist")
NO_RESPONSE = (503, "unavailable", CODED + "no response from servers")
DENIED = (401, "unauthenticated", "permissions denied")


async def create(lobby: Lobby, **values: Any) -> models.Room:
    request = room_pb.CreateRoomRequest(name=lobby.room, **values)
    return await lobby.call("CreateRoom", request, models.Room, **CREATE)


async def update(lobby: Lobby, identity: str, **values: Any) -> models.ParticipantInfo:
    request = room_pb.UpdateParticipantRequest(room=lobby.room, identity=identity, **values)
    return await lobby.call("UpdateParticipant", request, models.ParticipantInfo)


# -- Twirp ------------------------------------------------------------------------------------


async def post(lobby: Lobby, path: str, body: bytes, content_type: str) -> tuple[int, Any]:
    token = lobby.target.token("api", **CREATE)
    status, text, headers = await lobby.get(
        path, token, method="POST", data=body, headers={"Content-Type": content_type}
    )
    assert headers["Content-Type"] == "application/json"
    return status, json.loads(text)


@pytest.mark.row(90)
async def test_json_has_every_field_and_protobuf_is_protobuf(lobby: Lobby) -> None:
    await create(lobby)
    path = "/twirp/livekit.RoomService/ListRooms"
    body = json.dumps({"names": [lobby.room], "unknown": 1}).encode()
    status, answer = await post(lobby, path, body, "application/json; charset=utf-8")
    assert status == 200
    (room,) = answer["rooms"]
    assert room["name"] == lobby.room
    zeros = ("max_participants", "num_participants", "num_publishers")
    assert [room[name] for name in zeros] == [0, 0, 0]
    assert (room["metadata"], room["active_recording"], room["version"]) == ("", False, None)
    assert room["creation_time_ms"].isdigit(), "64-bit numbers are strings"
    request = room_pb.ListRoomsRequest(names=[lobby.room])
    listed = await lobby.call("ListRooms", request, room_pb.ListRoomsResponse, **CREATE)
    assert listed.rooms[0].sid == room["sid"]


@pytest.mark.row(90)
@pytest.mark.parametrize(
    ("method", "content_type", "body", "status", "code", "message"),
    [
        (
            "ListRooms",
            "application/json",
            b"{bad",
            400,
            "malformed",
            "the json request could not be decoded",
        ),
        (
            "ListRooms",
            "application/json",
            b"",
            400,
            "malformed",
            "the json request could not be decoded",
        ),
        (
            "ListRooms",
            "application/protobuf",
            b"\xff\xff",
            400,
            "malformed",
            "the protobuf request could not be decoded",
        ),
        (
            "ListRooms",
            "text/plain",
            b"{}",
            404,
            "bad_route",
            'unexpected Content-Type: "text/plain"',
        ),
        (
            "Nope",
            "application/json",
            b"{}",
            404,
            "bad_route",
            'no handler for path "/twirp/livekit.RoomService/Nope"',
        ),
    ],
)
async def test_bad_calls(
    lobby: Lobby,
    method: str,
    content_type: str,
    body: bytes,
    status: int,
    code: str,
    message: str,
) -> None:
    path = f"/twirp/livekit.RoomService/{method}"
    answered, error = await post(lobby, path, body, content_type)
    assert (answered, error["code"], error["msg"]) == (status, code, message)
    if code == "bad_route":
        assert error["meta"] == {"twirp_invalid_route": f"POST {path}"}


@pytest.mark.row(90)
@pytest.mark.parametrize(
    ("method", "grant"),
    [
        ("CreateRoom", {"roomList": True}),
        ("ListRooms", {"roomCreate": True}),
        ("DeleteRoom", {"roomList": True}),
        ("ListParticipants", {"roomAdmin": True, "room": "another"}),
        ("GetParticipant", {"roomCreate": True}),
        ("RemoveParticipant", {"roomCreate": True}),
        ("MutePublishedTrack", {"roomCreate": True}),
        ("UpdateParticipant", {"roomAdmin": True, "room": "another"}),
        ("UpdateSubscriptions", {"roomCreate": True}),
        ("SendData", {"roomCreate": True}),
        ("UpdateRoomMetadata", {"roomCreate": True}),
        ("PerformRpc", {"roomCreate": True}),
        ("ForwardParticipant", {"roomCreate": True}),
        ("MoveParticipant", {"roomCreate": True}),
    ],
)
async def test_every_method_has_its_grant(lobby: Lobby, method: str, grant: dict[str, Any]) -> None:
    request = {"room": lobby.room, "identity": "x"}
    assert await refused(lobby, method, request, **grant) == DENIED
    assert await refused(lobby, method, request, token=lobby.target.token("no video")) == DENIED


# -- rooms ------------------------------------------------------------------------------------


@pytest.mark.row(91, 124)
async def test_create_room(lobby: Lobby) -> None:
    room = await create(
        lobby,
        empty_timeout=31,
        departure_timeout=32,
        max_participants=33,
        metadata="about",
        node_id="ND_of_nobody",
        min_playout_delay=10,
        max_playout_delay=20,
        sync_streams=True,
        replay_enabled=True,
        tags={"a": "b"},
    )
    assert room.sid.startswith("RM_")
    assert (room.name, room.metadata) == (lobby.room, "about")
    assert (room.empty_timeout, room.departure_timeout, room.max_participants) == (31, 32, 33)
    assert room.creation_time == room.creation_time_ms // 1000
    assert room.turn_password
    assert {"audio/opus", "video/vp8"} <= {codec.mime.lower() for codec in room.enabled_codecs}
    assert (room.num_participants, room.active_recording) == (0, False)


@pytest.mark.row(91)
async def test_a_live_room_is_not_changed(lobby: Lobby) -> None:
    first = await create(lobby, metadata="first")
    again = await create(lobby, metadata="second", max_participants=3, empty_timeout=4)
    assert again == first
    await lobby.signal("alice")
    assert (await create(lobby, metadata="third")).metadata == "first"


@pytest.mark.row(91)
async def test_what_a_room_cannot_be(lobby: Lobby) -> None:
    async def wrong(**values: Any) -> tuple[int, str, str]:
        request = room_pb.CreateRoomRequest(**{"name": lobby.room} | values)
        return await refused(lobby, "CreateRoom", request, **CREATE)

    long = await wrong(name="n" * 257)
    assert long == (
        400,
        "invalid_argument",
        CODED + "room name length exceeds limits: max length 256",
    )
    preset = await wrong(room_preset="nobody-has-this")
    assert preset == (
        400,
        "invalid_argument",
        CODED + "unknown room configuration in create room request",
    )
    metadata = (400, "invalid_argument", "metadata size exceeds limits 524288")
    assert await wrong(metadata=BIG_METADATA) == metadata
    assert await wrong(agents=[{"metadata": BIG_METADATA}]) == metadata
    attributes = (400, "invalid_argument", "attribute size exceeds limits 65536")
    assert await wrong(agents=[{"attributes": BIG_ATTRIBUTES}]) == attributes
    names = {"names": [lobby.room]}
    assert not (await lobby.call("ListRooms", names, room_pb.ListRoomsResponse, **CREATE)).rooms


@pytest.mark.row(92)
async def test_list_rooms(lobby: Lobby) -> None:
    room = await create(lobby)
    names = room_pb.ListRoomsRequest(names=[lobby.room, "nobody-is-here"])
    listed = await lobby.call("ListRooms", names, room_pb.ListRoomsResponse, **CREATE)
    assert [found.sid for found in listed.rooms] == [room.sid]
    everything = await lobby.call("ListRooms", {}, room_pb.ListRoomsResponse, **CREATE)
    assert room.sid in {found.sid for found in everything.rooms}


@pytest.mark.row(93, 120)
async def test_delete_room(lobby: Lobby) -> None:
    alice = await lobby.signal("alice")
    sid = alice.join.room.sid
    await lobby.call("DeleteRoom", {"room": lobby.room}, room_pb.DeleteRoomResponse, **CREATE)
    assert (await alice.expect("leave")).reason == Reason.ROOM_DELETED
    await alice.ended()
    assert await refused(lobby, "DeleteRoom", {"room": lobby.room}, **CREATE) == NO_ROOM
    again = await lobby.signal("alice")
    assert again.join.room.sid != sid


@pytest.mark.row(93)
async def test_delete_a_room_that_nobody_entered(lobby: Lobby) -> None:
    await create(lobby)
    await lobby.call("DeleteRoom", {"room": lobby.room}, room_pb.DeleteRoomResponse, **CREATE)
    names = {"names": [lobby.room]}
    assert not (await lobby.call("ListRooms", names, room_pb.ListRoomsResponse, **CREATE)).rooms


@pytest.mark.row(100, 60)
async def test_update_room_metadata(lobby: Lobby) -> None:
    alice = await lobby.signal("alice")
    request = room_pb.UpdateRoomMetadataRequest(room=lobby.room, metadata="new")
    room = await lobby.call("UpdateRoomMetadata", request, models.Room)
    assert (room.sid, room.metadata) == (alice.join.room.sid, "new")
    told = await alice.expect("room_update", lambda u: u.room.metadata == "new", timeout_s=1)
    assert told.room.sid == room.sid
    bob = await lobby.signal("bob")
    assert bob.join.room.metadata == "new"


@pytest.mark.row(100)
async def test_metadata_of_no_room_and_too_much_of_it(lobby: Lobby) -> None:
    request = {"room": lobby.room, "metadata": "x"}
    assert await refused(lobby, "UpdateRoomMetadata", request) == NO_ROOM
    big = {"room": lobby.room, "metadata": BIG_METADATA}
    # Sizes are looked at before the token is.
    assert await refused(lobby, "UpdateRoomMetadata", big, roomList=True) == (
        400,
        "invalid_argument",
        "metadata size exceeds limits 524288",
    )


# -- participants -----------------------------------------------------------------------------


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
        CODED + "remote unmute not enabled",
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
    assert await move("other", granted="other") == (500, "unknown", CODED + "not implemented")


# -- data and RPC -----------------------------------------------------------------------------


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
) -> rtc.ParticipantUpdate:
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
    assert 0 < request.response_timeout_ms <= 10_000

    error = models.RpcError(code=1400, message="Method not supported", data="add")
    call = refused(lobby, "PerformRpc", rpc(lobby))
    failed, _ = await asyncio.gather(call, handle(alice, error=error))
    assert failed == (
        400,
        "invalid_argument",
        CODED + "RpcError 1400: Method not supported: add",
    )
    call = refused(lobby, "PerformRpc", rpc(lobby, response_timeout_ms=300))
    failed, _ = await asyncio.gather(call, handle(alice))
    assert failed == (408, "canceled", CODED + "RpcError 1502: Response timeout")


@pytest.mark.row(101)
async def test_rpc_that_nobody_acknowledges(lobby: Lobby) -> None:
    alice = await media.join(lobby, "alice", single=True)
    await alice.ready()
    started = asyncio.get_running_loop().time()
    assert await refused(lobby, "PerformRpc", rpc(lobby)) == (
        408,
        "canceled",
        CODED + "RpcError 1501: Connection timeout",
    )
    assert 1.8 < asyncio.get_running_loop().time() - started < 3.5


@pytest.mark.row(101)
async def test_rpc_that_cannot_be_made(lobby: Lobby) -> None:
    assert await refused(lobby, "PerformRpc", rpc(lobby, destination_identity="")) == (
        400,
        "invalid_argument",
        CODED + "destination identity is required",
    )
    alice = await media.join(lobby, "alice", single=True)
    await alice.ready()
    assert await refused(lobby, "PerformRpc", rpc(lobby, payload="x" * 15_361)) == (
        400,
        "invalid_argument",
        CODED + "RpcError 1402: Request payload too large",
    )


@pytest.mark.row(101)
async def test_the_recipient_of_an_rpc_leaves(lobby: Lobby) -> None:
    alice = await media.join(lobby, "alice", single=True)
    await alice.ready()
    call = asyncio.create_task(refused(lobby, "PerformRpc", rpc(lobby)))
    await handle(alice)
    await alice.signal.send(leave=rtc.LeaveRequest())
    # livekit-server's bus tries once more what is unavailable, and then finds nobody.
    assert await asyncio.wait_for(call, TIMEOUT_S) in (
        (503, "unavailable", CODED + "RpcError 1503: Recipient disconnected"),
        NO_PARTICIPANT,
        NO_RESPONSE,
    )


# -- agent dispatches -------------------------------------------------------------------------


async def dispatches(lobby: Lobby, **request: Any) -> list[agent_dispatch.AgentDispatch]:
    listed = await lobby.call(
        "ListDispatch",
        {"room": lobby.room} | request,
        agent_dispatch.ListAgentDispatchResponse,
        service="AgentDispatchService",
    )
    return list(listed.agent_dispatches)


@pytest.mark.row(103)
async def test_agent_dispatches(lobby: Lobby) -> None:
    request = agent_dispatch.CreateAgentDispatchRequest(
        room=lobby.room,
        agent_name="helper",
        metadata="m",
        deployment="blue",
        attributes={"k": "v"},
        restart_policy=agent_dispatch.JobRestartPolicy.JRP_NEVER,
    )
    service = {"service": "AgentDispatchService"}
    created = await lobby.call("CreateDispatch", request, agent_dispatch.AgentDispatch, **service)
    assert created.id.startswith("AD_")
    assert (created.room, created.agent_name, created.metadata) == (lobby.room, "helper", "m")
    assert (created.deployment, dict(created.attributes)) == ("blue", {"k": "v"})
    assert created.restart_policy == agent_dispatch.JobRestartPolicy.JRP_NEVER
    assert created.state.created_at > 10**18, "nanoseconds"
    assert not created.state.jobs
    # The room came into being, open to agents without a name.
    assert {d.agent_name for d in await dispatches(lobby)} == {"", "helper"}
    assert [d.id for d in await dispatches(lobby, dispatch_id=created.id)] == [created.id]
    assert await dispatches(lobby, dispatch_id="AD_nobody") == []
    target = {"room": lobby.room, "dispatch_id": created.id}
    deleted = await lobby.call("DeleteDispatch", target, agent_dispatch.AgentDispatch, **service)
    assert deleted.id == created.id
    assert {d.agent_name for d in await dispatches(lobby)} == {""}
    gone = await refused(lobby, "DeleteDispatch", target, **service)
    assert gone == not_found("dispatch ID not found")


@pytest.mark.row(103, 91)
async def test_agents_of_a_room_are_dispatches(lobby: Lobby) -> None:
    await create(
        lobby,
        agents=[
            {"agent_name": "one", "metadata": "m"},
            {"agent_name": "impossible", "deployment": "a_b"},
        ],
    )
    (dispatch,) = await dispatches(lobby)
    assert (dispatch.agent_name, dispatch.metadata) == ("one", "m")


@pytest.mark.row(103, 83)
async def test_agents_of_the_token_that_opens_a_room(lobby: Lobby) -> None:
    config = {"agents": [{"agentName": "from-token", "metadata": "m"}]}
    await lobby.signal("alice", claims={"roomConfig": config})
    (dispatch,) = await dispatches(lobby)
    assert (dispatch.agent_name, dispatch.metadata) == ("from-token", "m")


@pytest.mark.row(103)
async def test_dispatches_that_cannot_be(lobby: Lobby) -> None:
    async def wrong(method: str = "CreateDispatch", **values: Any) -> tuple[int, str, str]:
        request = {"room": lobby.room} | values
        return await refused(lobby, method, request, service="AgentDispatchService")

    assert await wrong("ListDispatch") == NO_RESPONSE
    for values, message in (
        ({"deployment": "a_b"}, "deployment contains reserved character '_'"),
        ({"deployment": "a b"}, "deployment contains whitespace or control byte at position 1"),
        ({"deployment": "x" * 65}, "deployment exceeds 64 bytes"),
        ({"metadata": BIG_METADATA}, "metadata size exceeds limits"),
        ({"attributes": BIG_ATTRIBUTES}, "attribute size exceeds limits"),
    ):
        assert await wrong(**values) == (400, "invalid_argument", CODED + message)
    for method in ("CreateDispatch", "ListDispatch", "DeleteDispatch"):
        assert await wrong(method, room="another") == DENIED


# -- services without their workers -----------------------------------------------------------


def not_connected(service: str) -> tuple[int, str, str]:
    return 500, "internal", f"{CODED}{service} not connected (redis required)"


@pytest.mark.row(104)
async def test_egress(lobby: Lobby) -> None:
    async def call(method: str, **request: Any) -> tuple[int, str, str]:
        return await refused(lobby, method, request, service="Egress", roomRecord=True)

    for method in ("UpdateLayout", "UpdateStream", "ListEgress", "StopEgress"):
        assert await call(method) == not_connected("egress")
    starts = ("RoomComposite", "Participant", "TrackComposite", "Track")
    for method in ["StartEgress", *(f"Start{name}Egress" for name in starts)]:
        assert await call(method, room_name=lobby.room) == NO_ROOM
        assert await refused(lobby, method, {}, service="Egress", roomCreate=True) == DENIED
    assert await refused(lobby, "ListEgress", {}, service="Egress", roomCreate=True) == DENIED


@pytest.mark.row(107)
async def test_ingress(lobby: Lobby) -> None:
    async def call(method: str, request: Any, **grant: Any) -> tuple[int, str, str]:
        grant = grant or {"ingressAdmin": True}
        return await refused(lobby, method, request, service="Ingress", **grant)

    for kind in ("RTMP_INPUT", "WHIP_INPUT", "URL_INPUT"):
        assert await call("CreateIngress", {"input_type": kind}) == not_connected("ingress")
    assert await call("ListIngress", {}) == not_connected("ingress")
    if lobby.target.ours:
        # livekit-server panics in these two.
        for method in ("UpdateIngress", "DeleteIngress"):
            assert await call(method, {}) == not_connected("ingress")
    for method in ("CreateIngress", "UpdateIngress", "ListIngress", "DeleteIngress"):
        assert await call(method, {}, roomCreate=True) == DENIED
    kind = (400, "invalid_argument", CODED + "invalid ingress type")
    assert await call("CreateIngress", {"input_type": 7}, roomCreate=True) == kind


@pytest.mark.row(108, 109, 88)
async def test_sip(lobby: Lobby) -> None:
    async def call(
        method: str, request: dict[str, Any], *, sip: Any, **video: Any
    ) -> tuple[int, str, str]:
        token = lobby.target.token("api", claims={"sip": sip}, **video)
        return await refused(lobby, method, request, service="SIP", token=token)

    admin, caller = {"admin": True}, {"call": True}
    if (await call("ListSIPInboundTrunk", {}, sip=admin))[0] == 404:
        pytest.skip("the server was built without SIP")
    for method in (
        "ListSIPInboundTrunk",
        "CreateSIPInboundTrunk",
        "DeleteSIPTrunk",
        "ListSIPDispatchRule",
    ):
        assert await call(method, {}, sip=admin) == not_connected("sip")
        assert await call(method, {}, sip=caller) == DENIED
    assert await call("CreateSIPParticipant", {}, sip=caller) == not_connected("sip")
    assert await call("CreateSIPParticipant", {}, sip=admin) == DENIED
    transfer: dict[str, Any] = {}
    wrong = (400, "invalid_argument", CODED + "Missing room name")
    assert await call("TransferSIPParticipant", transfer, sip=None) == wrong
    transfer |= {"room_name": lobby.room, "participant_identity": "alice"}
    assert await call("TransferSIPParticipant", transfer, sip=caller) == DENIED
    transfer |= {"transfer_to": "tel:+1234"}
    room_admin = {"roomAdmin": True, "room": lobby.room}
    absent = await call("TransferSIPParticipant", transfer, sip=caller, **room_admin)
    assert absent == NO_PARTICIPANT


@pytest.mark.row(110)
@pytest.mark.parametrize("service", ["Connector", "CloudAgent", "PhoneNumberService", "Simulation"])
async def test_services_that_servers_do_not_have(lobby: Lobby, service: str) -> None:
    status, _, message = await refused(lobby, "Anything", {}, service=service)
    assert (status, message.strip()) == (404, "404 page not found")
