"""Clients that send a byte now and then: they lose their connections, others notice nothing."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from aiohttp import web

from lkpy.server.http.guard import Unauthenticated
from lkpy.server.http.side_listener import SideListener
from tests.control_plane import Harness, receive, running
from tests.patience import PATIENCE_S

HEADER_S = 0.3


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("lkpy.server.http.guard.HTTP_HEADER_TIMEOUT_S", HEADER_S)
    monkeypatch.setattr("lkpy.server.http.body.HTTP_BODY_TIMEOUT_S", HEADER_S)
    async with running() as harness:
        yield harness


async def connect(server: Harness) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", int(server.server.url.rpartition(":")[2]))


async def dribble(server: Harness, text: bytes) -> bytes:
    """Send a byte every few milliseconds until the server has had enough; what it answered."""
    reader, writer = await connect(server)
    answer = asyncio.create_task(reader.read())
    try:
        for index in range(len(text)):
            writer.write(text[index : index + 1])
            await asyncio.wait([answer], timeout=0.02)
            if answer.done():
                break
        return await asyncio.wait_for(answer, PATIENCE_S)
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def test_many_slow_headers(server: Harness) -> None:
    """All are closed in time, and meanwhile a join works."""
    slow = [asyncio.create_task(dribble(server, b"GET / HTTP/1.1\r\n" * 50)) for _ in range(50)]
    socket = await server.join(server.token())
    assert (await receive(socket)).HasField("join")
    assert await asyncio.wait_for(asyncio.gather(*slow), PATIENCE_S) == [b""] * 50
    assert not socket.closed


async def test_a_connection_without_a_request(server: Harness) -> None:
    reader, writer = await connect(server)
    with contextlib.suppress(ConnectionError):
        assert await asyncio.wait_for(reader.read(), PATIENCE_S) == b""
    writer.close()


async def test_a_slow_body(server: Harness) -> None:
    head = (
        b"POST /twirp/livekit.RoomService/ListRooms HTTP/1.1\r\nHost: h\r\n"
        b"Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
    )
    reader, writer = await connect(server)
    writer.write(head + b"{")
    status = await asyncio.wait_for(reader.readline(), PATIENCE_S)
    assert status == b"HTTP/1.1 408 Request Timeout\r\n"
    writer.close()


async def test_a_header_in_pieces_is_read(server: Harness) -> None:
    text = b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
    for cut in (1, 20, len(text) - 3, len(text) - 1):
        reader, writer = await connect(server)
        writer.write(text[:cut])
        await writer.drain()
        await asyncio.sleep(0.01)
        writer.write(text[cut:])
        assert (await asyncio.wait_for(reader.read(), PATIENCE_S)).endswith(b"OK")
        writer.close()


async def test_sockets_live_longer_than_the_deadline(server: Harness) -> None:
    socket = await server.join(server.token())
    await receive(socket)
    with pytest.raises(TimeoutError):
        await socket.receive(timeout=2 * HEADER_S)
    assert not socket.closed


async def test_a_side_port_without_a_request(server: Harness) -> None:
    """Its connections are descriptors of the same process."""
    side = SideListener(_nothing, ["127.0.0.1"], 0, Unauthenticated())
    await side.start()
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", side.port)
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), PATIENCE_S) == b""
        writer.close()
    finally:
        await side.stop()


async def _nothing(_request: web.Request) -> web.Response:
    return web.Response()
