"""The server API over Twirp: its forms and errors, and calls about rooms."""

from __future__ import annotations

import json
from typing import Any

import pytest
from livekit.protocol import models
from livekit.protocol import room as room_pb

from tests.conformance.api_kit import (
    BIG_ATTRIBUTES,
    BIG_METADATA,
    CREATE,
    DENIED,
    NO_ROOM,
    create,
    refused,
)
from tests.conformance.kit import Lobby

Reason = models.DisconnectReason

# -- Twirp ---------------------------------------------------------------------------------------


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


# -- rooms ---------------------------------------------------------------------------------------


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
        "room name length exceeds limits: max length 256",
    )
    preset = await wrong(room_preset="nobody-has-this")
    assert preset == (
        400,
        "invalid_argument",
        "unknown room configuration in create room request",
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
    told = await alice.expect("room_update", lambda u: u.room.metadata == "new")
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
