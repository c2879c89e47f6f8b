"""The connections of workers: what they must not do, and how they end."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from livekit.protocol import agent

from lkpy.auth.grants import Grants, VideoGrant
from tests.control_plane import Harness, running, until
from tests.patience import PATIENCE_S


@pytest.fixture
async def server():
    async with running() as harness:
        yield harness


async def connect(server: Harness) -> aiohttp.ClientWebSocketResponse:
    token = server.token_for(Grants(video=VideoGrant(agent=True)))
    headers = {"Authorization": f"Bearer {token}"}
    return await server.http.ws_connect(server.url("/agent"), headers=headers, max_msg_size=0)


def frame(**message: object) -> bytes:
    return agent.WorkerMessage(**message).SerializeToString()


async def registered(server: Harness) -> aiohttp.ClientWebSocketResponse:
    socket = await connect(server)
    await socket.send_bytes(frame(register=agent.RegisterWorkerRequest(agent_name="helper")))
    answer = agent.ServerMessage.FromString(await socket.receive_bytes(timeout=PATIENCE_S))
    assert answer.register.worker_id
    return socket


async def close_code(socket: aiohttp.ClientWebSocketResponse) -> int | None:
    """Read to the end."""
    while True:
        message = await socket.receive(timeout=PATIENCE_S)
        if message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED):
            return socket.close_code


def workers(server: Harness) -> int:
    return len(server.server._workers)


async def test_who_does_not_register_has_to_go(
    server: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lkpy.server.http.agent_service.AGENT_REGISTER_S", 0.05)
    socket = await connect(server)
    assert await close_code(socket) == 1008
    assert workers(server) == 0


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"\xff\xff\xff", 1008),
        (frame(), 1008),
        (frame(register=agent.RegisterWorkerRequest()), 1008),
        (bytes(2 * 1024 * 1024 + 1), 1009),
        (
            frame(
                availability=agent.AvailabilityResponse(
                    participant_attributes={str(number): "" for number in range(40_000)}
                )
            ),
            1008,
        ),
        ("not json", 1008),
        ("[" * 60_000, 1008),
    ],
    ids=["garbage", "nothing", "again", "too long", "too many values", "no json", "too deep"],
)
async def test_what_ends_a_connection(server: Harness, sent: bytes | str, code: int) -> None:
    socket = await registered(server)
    other = await registered(server)
    await (socket.send_str(sent) if isinstance(sent, str) else socket.send_bytes(sent))
    assert await close_code(socket) == code
    await until(lambda: workers(server) == 1)
    await other.send_bytes(frame(ping=agent.WorkerPing(timestamp=1)))
    answer = agent.ServerMessage.FromString(await other.receive_bytes(timeout=PATIENCE_S))
    assert answer.pong.last_timestamp == 1


async def test_who_reads_too_slowly_loses_its_connection(
    server: Harness, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("lkpy.server.http.agent_service.AGENT_MESSAGES", 2)
    socket = await registered(server)
    ping = frame(ping=agent.WorkerPing(timestamp=1))
    with caplog.at_level("WARNING"):
        for _ in range(5_000):
            # Not one task switch: they arrive together.
            await socket._writer.send_frame(ping, aiohttp.WSMsgType.BINARY)
        await close_code(socket)
        await until(lambda: workers(server) == 0)
    assert any("reads too slowly" in record.message for record in caplog.records)


async def test_a_worker_that_goes_is_forgotten(server: Harness) -> None:
    socket = await registered(server)
    assert workers(server) == 1
    await socket.close()
    await until(lambda: workers(server) == 0)


async def test_a_server_that_stops_lets_its_workers_go() -> None:
    async with running() as server:
        socket = await registered(server)
        _, code = await asyncio.gather(server.server.stop(), close_code(socket))
        assert code == 1000
        assert workers(server) == 0
