"""A media worker fails under rooms with people in them."""

from __future__ import annotations

import logging

import aiohttp
import pytest
from livekit.protocol import models, rtc

from lkpy.engine.api import WorkerStalled
from lkpy.engine.fake import FakeEngine
from lkpy.server.app import Server
from lkpy.server.media import EnginePlane
from tests.control_plane import Harness, MediaDouble, config_of, receive, serving
from tests.ports import free_port
from tests.room_kit import JOIN_OFFER, microphone

Reason, Action = models.DisconnectReason, rtc.LeaveRequest.Action


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine(auto_connect=True, workers=2)


@pytest.fixture
def metrics_port() -> int:
    return free_port()


@pytest.fixture
async def server(engine: FakeEngine, metrics_port: int):
    config = config_of({"prometheus": {"port": metrics_port}})
    plane = EnginePlane(config, engine=engine)
    async with serving(Server(config, plane), MediaDouble()) as harness:
        yield harness


async def join(
    server: Harness, identity: str, room: str = "lobby"
) -> aiohttp.ClientWebSocketResponse:
    request = rtc.JoinRequest(
        client_info=models.ClientInfo(sdk="JS", protocol=16, version="2.15.0"),
        connection_settings=rtc.ConnectionSettings(auto_subscribe=True),
        publisher_offer=rtc.SessionDescription(type="offer", sdp=JOIN_OFFER, id=1),
        add_track_requests=[microphone()],
    )
    token = server.token(identity, room_join=True, room=room)
    socket = await server.join(token, join=request)
    assert (await receive(socket)).WhichOneof("message") == "join"
    return socket


async def leave_of(socket: aiohttp.ClientWebSocketResponse) -> rtc.LeaveRequest:
    while (response := await receive(socket)).WhichOneof("message") != "leave":
        pass
    return response.leave


async def metrics(server: Harness, port: int) -> list[str]:
    async with server.http.get(f"http://127.0.0.1:{port}/metrics") as response:
        lines = (await response.text()).splitlines()
    wanted = [line for line in lines if line.startswith("lkpy_engine_worker")]
    return [line.replace(',node_type="SERVER"', "") for line in wanted]


def places(engine: FakeEngine) -> set[int]:
    return {transport.worker for transport in engine.transports.values()}


async def test_everybody_is_told_to_join_afresh_and_finds_the_room(
    server: Harness,
    engine: FakeEngine,
    metrics_port: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    sockets = [await join(server, name) for name in ("alice", "bob")]
    other = await join(server, "carol", "elsewhere")
    with caplog.at_level(logging.ERROR):
        engine.fail_worker(0, reason="panic: index out of bounds")
        for socket in sockets:
            leave = await leave_of(socket)
            assert (leave.reason, leave.action) == (Reason.STATE_MISMATCH, Action.RECONNECT)
    [said] = [record for record in caplog.records if record.message == "media worker failed"]
    assert said.lkpy_fields == {
        "worker": 0,
        "reason": "panic: index out of bounds",
        "replaced": True,
        "rooms": ["lobby"],
    }
    assert places(engine) == {1}
    [failures] = [m for m in await metrics(server, metrics_port) if "failures" in m]
    assert 'replaced="true"' in failures
    assert failures.endswith(" 1")
    await join(server, "alice")
    assert places(engine) == {0, 1}
    assert (await server.get("/"))[0] == 200
    assert not other.closed


async def test_a_worker_that_has_ended_gets_no_rooms_and_the_node_says_so(
    server: Harness, engine: FakeEngine
) -> None:
    socket = await join(server, "alice")
    assert places(engine) == {0}
    engine.fail_worker(0, replaced=False)
    assert (await leave_of(socket)).action == Action.RECONNECT
    await join(server, "alice")
    await join(server, "bob", "elsewhere")
    assert places(engine) == {1}
    assert await server.get("/") == (406, "Not Ready\nmedia worker 0 has ended")
    assert await server.get("/lkpy/v1/ready") == (503, "media worker 0 has ended")


async def test_a_stalled_worker_is_said_until_it_goes_on(
    server: Harness, engine: FakeEngine, metrics_port: int
) -> None:
    engine.inject(WorkerStalled(0, True, 5_250))
    assert await server.get("/") == (406, "Not Ready\nmedia worker 0 is stalled")
    assert any(m.endswith(" 1") for m in await metrics(server, metrics_port) if "stalled" in m)
    await join(server, "alice")
    assert places(engine) == {1}
    engine.inject(WorkerStalled(0, False, 9_000))
    assert (await server.get("/"))[0] == 200
    assert all(m.endswith(" 0") for m in await metrics(server, metrics_port) if "stalled" in m)
