"""Rooms that did not come to be leave nothing behind: clients may name any number of them."""

from __future__ import annotations

import pytest

from lkpy.auth.grants import Grants, VideoGrant
from lkpy.ids import RoomName
from tests.control_plane import Harness, receive, running


@pytest.fixture
async def server():
    async with running({"limit": {"max_metadata_size": 10}}) as harness:
        yield harness


def places(server: Harness) -> set[str]:
    return set(server.server._router._rooms)


async def test_a_resume_in_a_room_that_is_gone(server: Harness) -> None:
    for number in range(3):
        token = server.token(room_join=True, room=f"gone-{number}")
        socket = await server.join(token, path="/rtc", params={"reconnect": "1", "sid": "PA_1"})
        assert (await receive(socket)).HasField("leave")
        await socket.close()
    assert not places(server)


async def test_a_join_that_fails(server: Harness) -> None:
    video = VideoGrant(room_join=True, room="never")
    token = server.token_for(Grants(identity="alice", video=video, metadata="x" * 11))
    assert (await server.refused("/rtc", token))[0] == 500
    assert not places(server)


async def test_a_creation_that_fails(server: Harness) -> None:
    request = {"name": "never", "room_preset": "unknown"}
    status, _ = await server.twirp("CreateRoom", request, server.token(room_create=True))
    assert status == 400
    assert not places(server)


async def test_a_live_room_keeps_its_place(server: Harness) -> None:
    """Whoever fails to enter it costs the others nothing."""
    await receive(await server.join(server.token()))
    video = VideoGrant(room_join=True, room="lobby")
    token = server.token_for(Grants(identity="bob", video=video, metadata="x" * 11))
    assert (await server.refused("/rtc", token))[0] == 500
    assert places(server) == {RoomName("lobby")}
