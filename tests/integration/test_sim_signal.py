"""The signal client against a server, and what each refusal is called."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web
from livekit.protocol import models, rtc

from lkpy.errors import Code
from lkpy.signal.client import (
    SignalClient,
    SignalError,
    SignalOptions,
    SinglePeerConnectionUnsupported,
)
from lkpy.sim import target
from lkpy.sim.target import Target, TargetError
from tests.control_plane import KEY, SECRET, Harness, running
from tests.patience import PATIENCE_S

OPTIONS = SignalOptions(
    client_info=models.ClientInfo(protocol=16, version="1.2.3"),
    publisher_offer=rtc.SessionDescription(type="offer", sdp="v=0", id=7),
)


@pytest.fixture
async def server() -> AsyncIterator[Harness]:
    async with running() as harness:
        yield harness


@pytest.mark.parametrize("single", [True, False])
async def test_joining_both_ways(server: Harness, single: bool) -> None:
    client = await SignalClient.connect(
        server.http, server.server.url, server.token(), OPTIONS, single=single
    )
    async with client:
        assert client.join.participant.identity == "alice"
        session = server.media.rooms["lobby"].sessions[0]
        assert session.single_pc == single
        assert session.auto_subscribe
        assert session.client.version == "1.2.3"
        assert (session.publisher_offer is not None) == single


async def test_requests_arrive_and_the_end_is_told(server: Harness) -> None:
    client = await SignalClient.connect(server.http, server.server.url, server.token(), OPTIONS)
    async with client:
        await client.send(rtc.SignalRequest(add_track=rtc.AddTrackRequest(cid="mic")))
        room = server.media.rooms["lobby"]
        await asyncio.wait_for(room.received.wait(), PATIENCE_S)
        assert room.requests[0].add_track.cid == "mic"
        await client.leave()
        async with asyncio.timeout(PATIENCE_S):
            while await client.receive() is not None:
                pass
    await client.send(rtc.SignalRequest(ping=1))  # a closed connection swallows it


async def test_round_trips_are_measured(server: Harness) -> None:
    trips: list[float] = []
    client = await SignalClient.connect(server.http, server.server.url, server.token(), OPTIONS)
    client.on_round_trip = trips.append
    async with client:
        reader = asyncio.create_task(client.receive())
        async with asyncio.timeout(PATIENCE_S):
            while not trips:  # noqa: ASYNC110 - the callback is what is tested
                await asyncio.sleep(0.01)
        reader.cancel()
    assert 0 < trips[0] < 5


@pytest.mark.parametrize(
    ("token", "code"),
    [
        ("", Code.UNAUTHENTICATED),
        ("not.a.token", Code.UNAUTHENTICATED),
        ("nobody", Code.INVALID_ARGUMENT),
        ("no room", Code.UNAUTHENTICATED),
    ],
)
async def test_refusals_carry_the_servers_words(server: Harness, token: str, code: Code) -> None:
    made = {"nobody": server.token(""), "no room": server.token(room_list=True)}.get(token, token)
    with pytest.raises(SignalError) as caught:
        await SignalClient.connect(server.http, server.server.url, made, OPTIONS)
    assert caught.value.code is code
    assert caught.value.status in (400, 401)
    assert len(caught.value.message) > 5
    assert not made or made not in caught.value.message


async def test_nobody_there() -> None:
    async with aiohttp.ClientSession() as http:
        with pytest.raises(SignalError, match="cannot connect") as caught:
            await SignalClient.connect(http, "ws://127.0.0.1:1", "t", OPTIONS)
    assert caught.value.code is Code.UNAVAILABLE


@pytest.fixture
async def old_server() -> AsyncIterator[str]:
    """A server without ``/rtc/v1``, which never answers on ``/rtc``."""

    async def silent(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.receive()
        return socket

    app = web.Application()
    app.router.add_get("/rtc", silent)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"ws://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def test_a_server_without_v1_is_told_from_a_missing_room(old_server: str) -> None:
    async with aiohttp.ClientSession() as http:
        with pytest.raises(SinglePeerConnectionUnsupported):
            await SignalClient.connect(http, old_server, "t", OPTIONS)


async def test_silence_ends(old_server: str) -> None:
    async with aiohttp.ClientSession() as http:
        with pytest.raises(SignalError, match="no answer") as caught:
            await SignalClient.connect(http, old_server, "t", OPTIONS, single=False, timeout_s=0.2)
    assert caught.value.code is Code.DEADLINE_EXCEEDED


async def test_the_check_before_a_run(server: Harness) -> None:
    good = Target(url=server.server.url, api_key=KEY, api_secret=SECRET)
    await target.check(good, server.token())
    with pytest.raises(TargetError, match="refuses our token") as caught:
        await target.check(good, "not.a.token")
    assert "not.a.token" not in caught.value.message


async def test_the_check_of_something_else(old_server: str) -> None:
    with pytest.raises(TargetError, match="no /rtc/validate"):
        await target.check(Target(url=old_server), "t")
