"""RoomService over Twirp, in JSON by hand and in protobuf by LiveKit's own client."""

from __future__ import annotations

import pytest
from livekit import api
from livekit.protocol import models, rtc

from tests.control_plane import KEY, SECRET, Harness, receive, running

"""Before every message that does not come from an API method itself, as livekit-server has it."""
DENIED = (401, {"code": "unauthenticated", "msg": "permissions denied"})
ADMIN = {"room_admin": True, "room": "lobby"}


@pytest.fixture
async def server():
    async with running() as harness:
        yield harness


@pytest.fixture
async def livekit(server: Harness):
    async with api.LiveKitAPI(server.server.url, KEY, SECRET) as client:
        yield client


async def test_official_client(server: Harness, livekit: api.LiveKitAPI) -> None:
    created = await livekit.room.create_room(
        api.CreateRoomRequest(name="lobby", max_participants=3, metadata="m", empty_timeout=7)
    )
    assert (created.max_participants, created.metadata, created.empty_timeout) == (3, "m", 7)
    assert created.departure_timeout == 20
    rooms = await livekit.room.list_rooms(api.ListRoomsRequest())
    assert [room.sid for room in rooms.rooms] == [created.sid]

    socket = await server.join(server.token("alice"))
    await receive(socket)
    people = await livekit.room.list_participants(api.ListParticipantsRequest(room="lobby"))
    assert [person.identity for person in people.participants] == ["alice"]
    target = api.RoomParticipantIdentity(room="lobby", identity="alice")
    assert (await livekit.room.get_participant(target)).identity == "alice"

    muted = await livekit.room.mute_published_track(
        api.MuteRoomTrackRequest(room="lobby", identity="alice", track_sid="TR_1", muted=True)
    )
    assert muted.track.muted
    await livekit.room.send_data(api.SendDataRequest(room="lobby", data=b"hi", topic="t"))
    assert server.media.rooms["lobby"].sent[0].data == b"hi"

    await livekit.room.remove_participant(target)
    assert (await receive(socket)).leave.reason == models.DisconnectReason.PARTICIPANT_REMOVED
    with pytest.raises(api.TwirpError) as gone:
        await livekit.room.get_participant(target)
    assert gone.value.code == "not_found"
    assert gone.value.message == "participant does not exist"


async def test_deleting_a_room_sends_everybody_away(
    server: Harness, livekit: api.LiveKitAPI
) -> None:
    socket = await server.join(server.token("alice"))
    await receive(socket)
    await livekit.room.delete_room(api.DeleteRoomRequest(room="lobby"))
    assert (await receive(socket)).leave.reason == models.DisconnectReason.ROOM_DELETED
    assert (await livekit.room.list_rooms(api.ListRoomsRequest())).rooms == []
    with pytest.raises(api.TwirpError) as absent:
        await livekit.room.delete_room(api.DeleteRoomRequest(room="lobby"))
    assert absent.value.message == "requested room does not exist"
    assert absent.value.status == 404


async def test_creating_a_live_room_changes_nothing(server: Harness) -> None:
    token = server.token(room_create=True)
    _, first = await server.twirp("CreateRoom", {"name": "lobby", "metadata": "a"}, token)
    _, again = await server.twirp("CreateRoom", {"name": "lobby", "metadata": "b"}, token)
    assert first == again
    assert first["metadata"] == "a"


async def test_json_names_are_snake_case_and_zeros_are_printed(server: Harness) -> None:
    status, room = await server.twirp("CreateRoom", {"name": "x"}, server.token(room_create=True))
    assert status == 200
    assert room["num_participants"] == 0
    assert room["max_participants"] == 0
    assert room["creation_time_ms"].isdigit()


async def test_list_rooms_by_name(server: Harness) -> None:
    creator = server.token(room_create=True, room_list=True)
    for name in ("a", "b"):
        await server.twirp("CreateRoom", {"name": name}, creator)
    _, answer = await server.twirp("ListRooms", {"names": ["b", "absent"]}, creator)
    assert [room["name"] for room in answer["rooms"]] == ["b"]


@pytest.mark.parametrize(
    ("method", "body", "grant"),
    [
        ("CreateRoom", {"name": "lobby"}, {"room_list": True}),
        ("ListRooms", {}, {"room_create": True}),
        ("DeleteRoom", {"room": "lobby"}, {"room_list": True}),
        ("ListParticipants", {"room": "lobby"}, {"room_admin": True, "room": "other"}),
        ("GetParticipant", {"room": "lobby"}, {"room_join": True, "room": "lobby"}),
        ("RemoveParticipant", {"room": "lobby"}, {"room_admin": True}),
        ("MutePublishedTrack", {"room": "lobby"}, {"room_admin": True, "room": "other"}),
        ("SendData", {"room": "lobby"}, {"room_join": True, "room": "lobby"}),
        ("UpdateParticipant", {"room": "lobby"}, {"room_admin": True, "room": "other"}),
        ("UpdateSubscriptions", {"room": "lobby"}, {"room_admin": True}),
        ("UpdateRoomMetadata", {"room": "lobby"}, {"room_create": True}),
        ("PerformRpc", {"room": "lobby"}, {"room_join": True, "room": "lobby"}),
        ("MoveParticipant", {"room": "lobby", "destination_room": "b"}, ADMIN),
        ("ForwardParticipant", {"room": "lobby", "destination_room": "b"}, ADMIN),
    ],
)
async def test_each_method_has_its_grant(
    server: Harness, method: str, body: object, grant: dict[str, object]
) -> None:
    assert await server.twirp(method, body) == DENIED
    assert await server.twirp(method, body, server.token(**grant)) == DENIED


async def test_absent_targets(server: Harness) -> None:
    token = server.token(**ADMIN)
    target = {"room": "lobby", "identity": "ghost"}
    nobody = (503, {"code": "unavailable", "msg": "no response from servers"})
    mute = target | {"track_sid": "TR_1"}
    rpc = {"room": "lobby", "destination_identity": "ghost"}
    assert await server.twirp("MutePublishedTrack", mute | {"muted": True}, token) == nobody
    assert await server.twirp("MutePublishedTrack", mute | {"muted": False}, token) == nobody
    assert await server.twirp("UpdateSubscriptions", target, token) == nobody
    assert await server.twirp("SendData", {"room": "lobby", "data": "aGk="}, token) == nobody
    assert await server.twirp("PerformRpc", rpc, token) == nobody
    absent = (404, {"code": "not_found", "msg": "participant does not exist"})
    assert await server.twirp("GetParticipant", target, token) == absent
    assert await server.twirp("RemoveParticipant", target, token) == absent
    assert await server.twirp("UpdateParticipant", target, token) == absent
    assert await server.twirp("UpdateRoomMetadata", target, token) == (
        404,
        {"code": "not_found", "msg": "requested room does not exist"},
    )
    assert await server.twirp("ListParticipants", {"room": "lobby"}, token) == (
        200,
        {"participants": []},
    )


async def test_participants_are_asked_of_their_room_if_configured() -> None:
    async with running({"api": {"enable_psrpc_for_get_list_participants": True}}) as server:
        token, target = server.token(**ADMIN), {"room": "lobby", "identity": "alice"}
        nobody = (503, {"code": "unavailable", "msg": "no response from servers"})
        assert await server.twirp("ListParticipants", target, token) == nobody
        assert await server.twirp("GetParticipant", target, token) == nobody
        await server.twirp("CreateRoom", {"name": "lobby"}, server.token(room_create=True))
        listed = await server.twirp("ListParticipants", target, token)
        assert listed == (200, {"participants": []})
        status, _ = await server.twirp("GetParticipant", target, token)
        assert status == 404


async def test_remote_unmute_is_off_unless_configured(server: Harness) -> None:
    call = {"room": "lobby", "identity": "alice", "track_sid": "TR_1", "muted": False}
    await receive(await server.join(server.token()))
    assert await server.twirp("MutePublishedTrack", call, server.token(**ADMIN)) == (
        412,
        {"code": "failed_precondition", "msg": "remote unmute not enabled"},
    )
    async with running({"room": {"enable_remote_unmute": True}}) as allowing:
        await receive(await allowing.join(allowing.token()))
        status, answer = await allowing.twirp("MutePublishedTrack", call, allowing.token(**ADMIN))
        assert (status, answer["track"]["muted"]) == (200, False)


async def test_muting_an_unknown_track_answers_without_a_track(server: Harness) -> None:
    await receive(await server.join(server.token()))
    call = {"room": "lobby", "identity": "alice", "track_sid": "nope", "muted": True}
    assert await server.twirp("MutePublishedTrack", call, server.token(**ADMIN)) == (
        200,
        {"track": None},
    )


BIG_METADATA = "m" * (512 * 1024 + 1)
BIG_ATTRIBUTES = {"k": "v" * 64 * 1024}


@pytest.mark.parametrize(
    ("method", "body", "argument", "limit"),
    [
        ("CreateRoom", {"metadata": BIG_METADATA}, "metadata size exceeds limits", 524288),
        (
            "CreateRoom",
            {"agents": [{"metadata": BIG_METADATA}]},
            "metadata size exceeds limits",
            524288,
        ),
        (
            "CreateRoom",
            {"agents": [{"attributes": BIG_ATTRIBUTES}]},
            "attribute size exceeds limits",
            65536,
        ),
        ("UpdateRoomMetadata", {"metadata": BIG_METADATA}, "metadata size exceeds limits", 524288),
        ("UpdateParticipant", {"name": "n" * 257}, "name length exceeds limits", 256),
        ("UpdateParticipant", {"metadata": BIG_METADATA}, "metadata size exceeds limits", 524288),
        (
            "UpdateParticipant",
            {"attributes": BIG_ATTRIBUTES},
            "attribute size exceeds limits",
            65536,
        ),
    ],
)
async def test_sizes(
    server: Harness, method: str, body: dict[str, object], argument: str, limit: int
) -> None:
    token = server.token(room_create=True, **ADMIN)
    assert await server.twirp(method, body, token) == (
        400,
        {
            "code": "invalid_argument",
            "msg": f"{argument} {limit}",
            "meta": {"argument": argument},
        },
    )


@pytest.mark.parametrize(
    ("method", "body", "message"),
    [
        (
            "CreateRoom",
            {"name": "r" * 257},
            "room name length exceeds limits: max length 256",
        ),
        (
            "CreateRoom",
            {"name": "r", "room_preset": "nope"},
            "unknown room configuration in create room request",
        ),
        (
            "SendData",
            {"room": "lobby", "nonce": "aGk="},
            "nonce should be 16-bytes or not present, got: 2 bytes",
        ),
        ("PerformRpc", {"room": "lobby"}, "destination identity is required"),
    ],
)
async def test_bad_arguments(server: Harness, method: str, body: object, message: str) -> None:
    token = server.token(room_create=True, **ADMIN)
    expected = (400, {"code": "invalid_argument", "msg": message})
    assert await server.twirp(method, body, token) == expected


@pytest.mark.parametrize("method", ["ForwardParticipant", "MoveParticipant"])
async def test_participants_are_not_moved(server: Harness, method: str) -> None:
    def call(to: str) -> tuple[dict[str, str], str]:
        body = {"room": "lobby", "identity": "alice", "destination_room": to}
        return body, server.token(**ADMIN, destination_room=to)

    problem = "destination room cannot be the same as source room"
    assert await server.twirp(method, *call("lobby")) == (
        400,
        {"code": "invalid_argument", "msg": problem + " ", "meta": {"argument": problem}},
    )
    status, answer = await server.twirp(method, *call("other"))
    assert (status, answer["code"]) == (503, "unavailable")
    await receive(await server.join(server.token()))
    assert await server.twirp(method, *call("other")) == (
        500,
        {"code": "unknown", "msg": "not implemented"},
    )


async def test_a_room_that_should_be_recorded_is_there_but_the_call_fails(server: Harness) -> None:
    token = server.token(room_create=True, room_list=True)
    call = {"name": "r", "egress": {"room": {}}}
    status, answer = await server.twirp("CreateRoom", call, token)
    assert (status, answer["code"]) == (503, "unavailable")
    status, room = await server.twirp("CreateRoom", call, token)
    assert (status, room["name"]) == (200, "r")
    other = {"name": "s", "egress": {"participant": {}}}
    assert (await server.twirp("CreateRoom", other, token))[0] == 200


async def test_calls_about_a_participant_reach_its_room(
    server: Harness, livekit: api.LiveKitAPI
) -> None:
    await receive(await server.join(server.token()))
    updated = await livekit.room.update_participant(
        api.UpdateParticipantRequest(room="lobby", identity="alice", name="Alice")
    )
    assert updated.name == "Alice"
    await livekit.room.update_subscriptions(
        api.UpdateSubscriptionsRequest(room="lobby", identity="alice", track_sids=["TR_1"])
    )
    assert server.media.rooms["lobby"].subscribed[0].track_sids == ["TR_1"]
    room = await livekit.room.update_room_metadata(
        api.UpdateRoomMetadataRequest(room="lobby", metadata="m")
    )
    assert room.metadata == "m"
    rpc = {"room": "lobby", "destination_identity": "alice", "method": "add", "payload": "1"}
    answer = await server.twirp("PerformRpc", rpc, server.token(**ADMIN))
    assert answer == (200, {"payload": "add(1)"})


async def test_a_preset_fills_what_the_request_leaves_out() -> None:
    presets = {"room_configurations": {"small": {"max_participants": 4, "empty_timeout": 9}}}
    async with running({"room": presets}) as server:
        call = {"name": "r", "room_preset": "small", "empty_timeout": 5}
        _, room = await server.twirp("CreateRoom", call, server.token(room_create=True))
        assert (room["max_participants"], room["empty_timeout"]) == (4, 5)


@pytest.mark.parametrize(
    ("verb", "method", "content_type", "body", "status", "code"),
    [
        ("POST", "ListRooms", "application/json", b"{bad", 400, "malformed"),
        ("POST", "ListRooms", "application/json", b"[" * 5000, 400, "malformed"),
        ("POST", "ListRooms", "application/json", b"[]", 400, "malformed"),
        ("POST", "ListRooms", "application/json", b"", 400, "malformed"),
        ("POST", "ListRooms", "application/protobuf", b"\xff\xff", 400, "malformed"),
        ("POST", "ListRooms", "text/plain", b"{}", 404, "bad_route"),
        ("GET", "ListRooms", "application/json", b"", 404, "bad_route"),
        ("POST", "Nope", "application/json", b"{}", 404, "bad_route"),
    ],
)
async def test_bad_calls(
    server: Harness,
    verb: str,
    method: str,
    content_type: str,
    body: bytes,
    status: int,
    code: str,
) -> None:
    url = server.url(f"/twirp/livekit.RoomService/{method}")
    headers = {"Content-Type": content_type}
    async with server.http.request(verb, url, data=body, headers=headers) as response:
        assert response.status == status
        answer = await response.json()
    assert answer["code"] == code
    if code == "bad_route":
        route = answer["meta"]["twirp_invalid_route"]
        assert route == f"{verb} /twirp/livekit.RoomService/{method}"


async def test_timeout_header(server: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    import asyncio

    await receive(await server.join(server.token()))

    async def never(_request: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(server.media.rooms["lobby"], "send_data", never)
    headers = {
        "X-Twirp-Timeout-Ms": "20",
        "Authorization": f"Bearer {server.token(**ADMIN)}",
    }
    url = server.url("/twirp/livekit.RoomService/SendData")
    async with server.http.post(url, json={"room": "lobby"}, headers=headers) as response:
        assert response.status == 408
        assert (await response.json())["code"] == "deadline_exceeded"


@pytest.mark.parametrize("value", ["9" * 13, "9" * 400, "9" * 5000, "-1", "1e3", "soon", ""])
async def test_timeout_header_that_bounds_nothing(server: Harness, value: str) -> None:
    headers = {
        "X-Twirp-Timeout-Ms": value,
        "Authorization": f"Bearer {server.token(room_list=True)}",
    }
    url = server.url("/twirp/livekit.RoomService/ListRooms")
    async with server.http.post(url, json={}, headers=headers) as response:
        assert response.status == 200


async def test_store_follows_the_room(server: Harness) -> None:
    socket = await server.join(server.token())
    await receive(socket)
    admin = server.token(**ADMIN)
    _, answer = await server.twirp("ListParticipants", {"room": "lobby"}, admin)
    assert len(answer["participants"]) == 1
    await socket.send_bytes(rtc.SignalRequest(leave=rtc.LeaveRequest()).SerializeToString())
    await receive(socket)
    _, answer = await server.twirp("ListParticipants", {"room": "lobby"}, admin)
    assert answer["participants"] == []
    await server.media.rooms["lobby"].close(models.DisconnectReason.ROOM_CLOSED)
    _, answer = await server.twirp("ListRooms", {}, server.token(room_list=True))
    assert answer["rooms"] == []
    socket = await server.join(server.token())
    assert (await receive(socket)).HasField("join")


async def test_protobuf_answers_are_protobuf(server: Harness) -> None:
    headers = {
        "Content-Type": "application/protobuf",
        "Authorization": f"Bearer {server.token(room_create=True)}",
    }
    body = api.CreateRoomRequest(name="p").SerializeToString()
    url = server.url("/twirp/livekit.RoomService/CreateRoom")
    async with server.http.post(url, data=body, headers=headers) as response:
        assert response.content_type == "application/protobuf"
        assert models.Room.FromString(await response.read()).name == "p"
