"""Frames of one turn of the event loop are one write; none is lost when the connection ends."""

from __future__ import annotations

import asyncio
from typing import cast

import aiohttp
from aiohttp import web

from lkpy.limits import WS_WRITE_TIMEOUT_S
from lkpy.server.http import websocket
from lkpy.server.http.handshake import canonical
from lkpy.server.http.websocket import Cork, SharedDeflate, WebSocket
from tests.patience import PATIENCE_S
from tests.ports import free_port


class Transport:
    """What was written, write by write."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.ended = False

    def write(self, data: bytes) -> None:
        assert not self.ended
        self.writes.append(data)

    def is_closing(self) -> bool:
        return self.ended


def corked() -> tuple[Cork, Transport]:
    transport = Transport()
    return Cork(cast("asyncio.Transport", transport)), transport


async def test_one_write_a_turn() -> None:
    cork, transport = corked()
    for turn in (b"abc", b"de"):
        for letter in turn:
            cork.write(bytes([letter]))
        assert cork.size == len(turn)
        await asyncio.sleep(0)
        assert cork.size == 0
    assert transport.writes == [b"abc", b"de"]


async def test_much_is_written_at_once() -> None:
    """So that the transport knows what its peer does not take."""
    cork, transport = corked()
    half = bytes(websocket._CORKED // 2 + 1)
    for _ in range(3):
        cork.write(half)
    assert [len(data) for data in transport.writes] == [2 * len(half)]
    await asyncio.sleep(0)
    assert [len(data) for data in transport.writes] == [2 * len(half), len(half)]


async def test_a_flush_is_now_and_an_end_is_the_end() -> None:
    cork, transport = corked()
    cork.write(b"a")
    cork.flush()
    assert transport.writes == [b"a"]
    cork.write(b"b")
    transport.ended = True
    await asyncio.sleep(0)
    assert transport.writes == [b"a"]
    assert cork.size == 0


async def test_the_last_frames_arrive() -> None:
    """Also those that are sent just before the transport is closed."""

    async def serve(request: web.Request) -> WebSocket:
        socket = WebSocket(SharedDeflate(), max_msg_size=1 << 20, timeout=WS_WRITE_TIMEOUT_S)
        await socket.prepare(canonical(request))
        for number in range(20):
            await socket.send_bytes(bytes([number]) * 100)
        assert socket.unsent >= 1
        await socket.close()
        return socket

    application = web.Application()
    application.router.add_get("/", serve)
    port = free_port()
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        async with aiohttp.ClientSession() as http, asyncio.timeout(PATIENCE_S):
            url = f"http://127.0.0.1:{port}/"
            for compress in (0, 15):
                async with http.ws_connect(url, compress=compress) as socket:
                    received = [message.data async for message in socket]
                assert received == [bytes([number]) * 100 for number in range(20)]
                assert socket.close_code == 1000
    finally:
        await runner.cleanup()
