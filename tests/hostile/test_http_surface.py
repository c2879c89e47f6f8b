"""What the HTTP ports offer to whom: rows W2, W3, W10 to W12."""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import AsyncIterator

import psutil
import pytest

from lkpy.limits import HTTP_HEADER_MAX
from lkpy.server.http.guard import Unauthenticated
from lkpy.server.http.service import text
from lkpy.server.http.side_listener import SideListener
from tests.control_plane import Harness, receive, running
from tests.patience import PATIENCE_S
from tests.ports import free_port


@pytest.fixture
async def server() -> AsyncIterator[Harness]:
    async with running() as harness:
        yield harness


# -- W2, W3 ----------------------------------------------------------------------------------------


def _bomb(size: int) -> bytes:
    """Zeros, deflated as a message of permessage-deflate."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    zeros = bytes(1 << 20)
    body = b"".join(packer.compress(zeros) for _ in range(size >> 20))
    return (body + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]


async def test_row_w2_a_frame_that_inflates_to_a_gibibyte(server: Harness) -> None:
    bomb = _bomb(1 << 30)
    assert len(bomb) < 2 << 20, "small enough for a frame"
    mask = b"\0" * 4
    frame = b"\xc2\xff" + len(bomb).to_bytes(8, "big") + mask + bomb
    port = int(server.server.url.rpartition(":")[2])
    head = (
        f"GET /rtc?access_token={server.token()}&protocol=16 HTTP/1.1\r\nHost: x\r\n"
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
        "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head.encode())
    assert b"permessage-deflate" in await reader.readuntil(b"\r\n\r\n")
    process = psutil.Process()
    before, began = process.memory_info().rss, time.process_time()
    writer.write(frame)
    await asyncio.wait_for(reader.read(), PATIENCE_S)
    assert time.process_time() - began < 1
    assert process.memory_info().rss - before < 64 << 20
    writer.close()


# -- W10, W11 --------------------------------------------------------------------------------------


async def test_row_w10_any_page_may_ask_and_the_token_decides(server: Harness) -> None:
    """Nothing that a browser sends by itself counts: there are no cookies."""
    origin = {"Origin": "https://evil.example", "Cookie": f"access_token={server.token()}"}
    for path in ("/", "/rtc/validate", "/rtc/v1/validate", "/lkpy/v1/stats", "/whip/v1"):
        async with server.http.get(server.url(path), headers=origin) as response:
            assert "Set-Cookie" not in response.headers
            assert "Access-Control-Allow-Credentials" not in response.headers
            assert response.status in (200, 204) if path in ("/", "/whip/v1") else 401
    async with server.http.get(server.url("/rtc/validate"), headers=origin) as response:
        assert response.status == 401


async def test_row_w11_a_reported_address_is_a_label(server: Harness) -> None:
    """As in LiveKit the headers of proxies name the client's address. It is told on, and nothing
    is decided by it."""
    for header in ("CF-Connecting-IP", "X-Forwarded-For", "X-Real-IP"):
        socket = await server.join(server.token(), headers={header: "127.0.0.1"})
        await receive(socket)
        assert server.media.rooms["lobby"].sessions[-1].client.address == "127.0.0.1"
    async with running({"development": True}) as other:
        for header in ("CF-Connecting-IP", "X-Forwarded-For", "X-Real-IP", "Forwarded"):
            for path in ("/debug/rooms", "/lkpy/v1/stats"):
                url = other.url(path)
                async with other.http.get(url, headers={header: "127.0.0.1"}) as response:
                    assert response.status in (401, 403)


# -- W12 and the ports beside the main one ---------------------------------------------------------


async def test_row_w12_the_main_port_has_no_metrics_and_no_debug_routes() -> None:
    ports = free_port(), free_port()
    config = {"prometheus": {"port": ports[0]}, "debug_handler": {"port": ports[1]}}
    async with running(config) as server:
        for path in ("/metrics", "/debug/rooms", "/debug/pprof/profile", "/debug/pprof/cmdline"):
            assert (await server.get(path))[0] == 404


async def test_row_w12_debug_routes_of_their_own_port_answer_this_machine_only() -> None:
    port = free_port()
    async with running({"debug_handler": {"port": port}}) as server:
        url = f"http://127.0.0.1:{port}/debug/rooms"
        async with server.http.get(url) as response:
            assert response.status == 200
        for headers in ({"Host": f"evil.example:{port}"}, {"Origin": "https://evil.example"}):
            async with server.http.get(url, headers=headers) as response:
                assert response.status == 403


async def _hello(_request: object) -> object:
    return text(200, "hello")


async def test_the_ports_beside_serve_get_and_head_only(server: Harness) -> None:
    side = SideListener(_hello, ["127.0.0.1"], 0, Unauthenticated())  # type: ignore[arg-type]
    await side.start()
    try:
        url = f"http://127.0.0.1:{side.port}/metrics"
        for method, status in (("GET", 200), ("HEAD", 200), ("POST", 405), ("PATCH", 405)):
            async with server.http.request(method, url) as response:
                assert response.status == status
        async with server.http.post(url, data=bytes(10 << 20)) as response:
            assert response.status == 405
    finally:
        await side.stop()


async def test_the_ports_beside_have_the_same_bounds() -> None:
    """And what they hold is counted with the main port's."""
    port = free_port()
    async with running({"prometheus": {"port": port}}) as server:
        held = server.server._unauthenticated
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /metrics HTTP/1.1\r\nX: " + b"a" * 30_000)
        async with asyncio.timeout(PATIENCE_S):
            while held.held < 30_000:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.01)
        async with server.http.get(f"http://127.0.0.1:{port}/metrics") as response:
            metrics = await response.text()
        (line,) = [x for x in metrics.splitlines() if x.startswith("lkpy_http_unauthenticated_b")]
        assert 30_000 <= float(line.split()[-1]) <= HTTP_HEADER_MAX
        writer.write(b"a" * 60_000)
        assert b" 431 " in await asyncio.wait_for(reader.readline(), PATIENCE_S)
        writer.close()
        async with server.http.get(f"http://127.0.0.1:{port}/metrics") as response:
            metrics = await response.text()
        (line,) = [x for x in metrics.splitlines() if x.startswith("lkpy_http_refused_total")]
        assert 'reason="header too large"' in line
        assert line.endswith(" 1")
