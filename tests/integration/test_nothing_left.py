"""Whoever leaves takes everything along, at once: nothing of it waits for a search for garbage."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from collections.abc import Iterator

import pytest
from livekit.protocol import models, rtc

from lkpy.engine.fake import FakeEngine
from lkpy.server.app import Server
from lkpy.server.media import EnginePlane
from tests.control_plane import Harness, MediaDouble, config_of, receive, serving
from tests.patience import PATIENCE_S
from tests.room_kit import JOIN_OFFER, microphone


@pytest.fixture
def no_search() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.set_debug(0)
    gc.garbage.clear()
    gc.enable()


async def join(server: Harness, identity: str):
    request = rtc.JoinRequest(
        client_info=models.ClientInfo(sdk="JS", protocol=16, version="2.15.0"),
        connection_settings=rtc.ConnectionSettings(auto_subscribe=True),
        publisher_offer=rtc.SessionDescription(type="offer", sdp=JOIN_OFFER, id=1),
        add_track_requests=[microphone()],
    )
    socket = await server.join(server.token(identity), join=request)
    assert (await receive(socket)).WhichOneof("message") == "join"
    return socket


async def until(socket, kind: str) -> None:
    while (await receive(socket)).WhichOneof("message") != kind:
        pass


def ours() -> Counter[str]:
    """What a search finds of our own kinds."""
    gc.set_debug(gc.DEBUG_SAVEALL)
    gc.collect()
    gc.set_debug(0)
    found = Counter(
        type(each).__qualname__ for each in gc.garbage if type(each).__module__.startswith("lkpy.")
    )
    gc.garbage.clear()
    return found


@pytest.mark.parametrize("comes_twice", [False, True], ids=["leaves", "is replaced"])
async def test_of_somebody_who_left(
    monkeypatch: pytest.MonkeyPatch, no_search: None, comes_twice: bool
) -> None:
    monkeypatch.setattr("lkpy.server.rtc.leavers.PARTICIPANT_FORGET_S", 0.05)
    plane = EnginePlane(config_of(), engine=FakeEngine(auto_connect=True))
    async with serving(Server(config_of(), plane), MediaDouble()) as harness:
        stays = await join(harness, "stays")
        server = harness.server

        async def one_comes_and_goes(identity: str) -> None:
            socket = await join(harness, identity)
            await until(socket, "answer")
            if comes_twice:
                old, socket = socket, await join(harness, identity)
                await until(old, "leave")
                await old.close()
            await socket.send_bytes(rtc.SignalRequest(leave=rtc.LeaveRequest()).SerializeToString())
            await until(socket, "leave")
            await socket.close()

        async def settled(ended: int) -> None:
            room = server._manager.rooms[0]
            async with asyncio.timeout(PATIENCE_S):
                while server.ended < ended or server.present > 1 or len(room._leavers):  # noqa: ASYNC110
                    await asyncio.sleep(0.02)

        # What is made once only.
        await one_comes_and_goes("first")
        await settled(1 + comes_twice)
        ours()
        for number in range(5):
            await one_comes_and_goes(f"p{number}")
        await settled(6 * (1 + comes_twice))
        assert not ours()
        await stays.close()
