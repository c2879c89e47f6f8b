"""More joins than a node can take, and clients that give up: others are served, and nothing is left
of those who went away."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
import yarl
from livekit.protocol import models, rtc

from lkpy.engine.commands import CreateTransport
from lkpy.engine.fake import FakeEngine
from lkpy.server.app import Server
from lkpy.server.media import EnginePlane
from lkpy.server.routing import admission
from tests.control_plane import Harness, MediaDouble, config_of, receive, running, serving, until
from tests.patience import PATIENCE_S
from tests.room_kit import JOIN_OFFER
from tests.room_kit import running as room_running


async def test_an_abandoned_attempt_leaves_nothing() -> None:
    """No transport, no token, and nobody hears of it."""
    async with room_running() as world:
        alice = await world.join("alice")
        world.engine.forget()
        tokens, heard = len(world.tokens), len(alice.responses)
        for _ in range(3):
            bob = world.client("bob")
            join = asyncio.create_task(world.room.join(bob.start, bob.sink, bob.source))
            bob.sink.close("no first response")
            bob.source.close("no first response")
            await world.settle()
            await join
        assert world.engine.of(CreateTransport) == []
        assert len(world.tokens) == tokens
        assert alice.responses[heard:] == []
        assert [p.identity for p in world.room.participants()] == ["alice"]


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
async def server(engine: FakeEngine):
    config = config_of()
    plane = EnginePlane(config, engine=engine)
    async with serving(Server(config, plane), MediaDouble()) as harness:
        yield harness


async def attempt(server: Harness, identity: str) -> aiohttp.ClientWebSocketResponse | None:
    """The socket of one attempt to join; None: it was sent away."""
    request = rtc.JoinRequest(
        client_info=models.ClientInfo(sdk=models.ClientInfo.JS, protocol=16),
        publisher_offer=rtc.SessionDescription(type="offer", sdp=JOIN_OFFER, id=1),
    )
    try:
        socket = await server.join(server.token(identity), join=request)
    except aiohttp.WSServerHandshakeError as error:
        after = (error.headers or {}).get("Retry-After", "")
        if error.status == 503 and after.isdigit() and int(after) >= 1:
            return None
        raise
    assert (await receive(socket)).HasField("join")
    return socket


async def test_those_who_are_too_many_are_told_when_to_come_back(
    server: Harness, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever comes back is served, and no session was begun for nobody."""
    gate = server.server._rtc.admission.gate
    monkeypatch.setattr(gate, "_waiting_max", 10)
    names = [f"p{number}" for number in range(120)]
    refused, sockets = 0, []
    while names:
        answers = await asyncio.gather(*(attempt(server, name) for name in names))
        names = [name for name, socket in zip(names, answers, strict=True) if socket is None]
        refused += len(names)
        # A socket that nobody holds is closed.
        sockets += answers
    assert refused
    room = server.server._manager.room("lobby")
    assert room is not None
    assert len(room.participants()) == 120
    assert len(engine.of(CreateTransport)) == 120


async def test_refused_before_the_token_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where browsers ask why an upgrade failed."""
    async with running() as server:
        gate = server.server._rtc.admission.gate
        monkeypatch.setattr(gate, "_starting_max", 0)
        monkeypatch.setattr(gate, "_waiting_max", 0)
        for path in ("/rtc", "/rtc/v1", "/rtc/validate", "/rtc/v1/validate"):
            async with server.http.get(server.url(path), params={"access_token": "no"}) as answer:
                assert answer.status == 503
                assert await answer.text() == "too many joins at once"
                assert int(answer.headers["Retry-After"]) >= 1
                # livekit-client reads it, from whatever page.
                assert answer.headers["Access-Control-Allow-Origin"] == "*"
        # The guard does not know this path; the service does.
        async with server.http.get(yarl.URL(server.url("/%72tc"), encoded=True)) as answer:
            assert answer.status == 503
            assert int(answer.headers["Retry-After"]) >= 1
        assert (await server.get("/"))[0] == 200


async def test_refused_before_there_is_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """aiohttp makes nothing for those who are sent away."""
    async with running() as server:
        assert (await server.get("/"))[0] == 200
        monkeypatch.setattr(server.server._rtc.admission.gate, "_waiting_max", 0)
        monkeypatch.setattr(server.server._rtc.admission.gate, "_starting_max", 0)
        monkeypatch.setattr("aiohttp.web_server.Server.__call__", lambda *_: pytest.fail("made"))
        address = ("127.0.0.1", int(server.server.url.rpartition(":")[2]))
        for _ in range(3):
            reader, writer = await asyncio.open_connection(*address)
            writer.write(b"GET /rtc?access_token=a HTTP/1.1\r\nHost: x\r\n\r\n")
            async with asyncio.timeout(PATIENCE_S):
                answer = await reader.read()
            assert answer.startswith(b"HTTP/1.1 503 ")
            writer.close()


async def test_a_client_that_goes_away_before_its_turn_has_no_session(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(admission, "ADMISSION_STARTING", 1)
    async with running() as server:
        joins = server.server._rtc.admission
        async with joins.turn(lambda: False):
            attempt = asyncio.create_task(server.join(server.token("bob")))
            await until(lambda: joins.gate.waiting == 1)
            attempt.cancel()
            await asyncio.gather(attempt, return_exceptions=True)
            # Its connection is closed when another that was begun later is served.
            assert (await server.get("/"))[0] == 200
        await until(lambda: joins.gate.waiting + joins.gate.starting == 0)
        assert not server.media.rooms


async def test_a_client_that_goes_away_in_line_is_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(admission, "ADMISSION_AHEAD", 0)
    async with running() as server:
        joins = server.server._rtc.admission
        attempt = asyncio.create_task(server.join(server.token("bob")))
        await until(lambda: len(joins.line) == 1)
        assert joins.waiting == 1
        assert joins.line.held > 100
        attempt.cancel()
        await asyncio.gather(attempt, return_exceptions=True)
        await until(lambda: joins.waiting == 0)
        assert joins.line.held == 0


async def test_one_that_does_not_answer_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lkpy.server.http.rtc_service.SIGNAL_FIRST_RESPONSE_S", 0.02)
    async with running() as server:
        await server.refused("/rtc", server.token("silent"))
        assert len(server.media.rooms["lobby"].sessions) == 1
