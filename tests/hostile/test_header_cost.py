"""What one header, query or form of anybody costs: less than 20 ms of the loop and four times its
size in memory, whatever it is made of (rows W1, W3, W4)."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import time
import tracemalloc
from collections.abc import AsyncIterator

import pytest
from livekit.protocol import rtc

from lkpy.auth.grants import Grants, VideoGrant
from tests.control_plane import Harness, running
from tests.patience import PATIENCE_S

LONG, SHORT = 1_000_000, 60_000
CPU_S = 0.06
"""Three times the bound: connecting, and the client's own share, are in it."""
EVERYTHING_ELSE = 2 << 20
"""Bytes of the client's buffers and of what a request makes whatever its size."""

UPGRADE = (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)
Compression = rtc.WrappedJoinRequest.Compression
EMPTY_TRACK = bytes(
    [rtc.JoinRequest.DESCRIPTOR.fields_by_name["add_track_requests"].number << 3 | 2, 0]
)


def get(line: bytes, headers: bytes = b"", method: bytes = b"GET") -> bytes:
    head = method + b" " + line + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    return head + headers + b"\r\n"


def form(body: bytes) -> bytes:
    kind = b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n" % len(body)
    return get(b"/rtc/validate", kind, b"POST") + body


def joins(payload: bytes, *, compressed: bool = False) -> bytes:
    wrapped = rtc.WrappedJoinRequest(
        join_request=gzip.compress(payload) if compressed else payload,
        compression=Compression.GZIP if compressed else Compression.NONE,
    )
    value = base64.urlsafe_b64encode(wrapped.SerializeToString())
    return b"/rtc/v1/validate?join_request=" + value


def attributes(text: bytes) -> bytes:
    return b"/rtc/validate?attributes=" + base64.urlsafe_b64encode(text)


UNKNOWN: dict[str, bytes] = {
    "names": get(b"/rtc?" + b"a&" * (LONG // 2)),
    "parameters": get(b"/rtc?" + b"a=b&" * (LONG // 4)),
    "parameters of another path": get(b"/?" + b"a&" * (SHORT // 2)),
    "escapes": get(b"/rtc?a=" + b"%41" * (LONG // 3)),
    "escapes of no text": get(b"/rtc?a=" + b"%FF" * (LONG // 3)),
    "spaces": get(b"/rtc?a=" + b"+" * LONG),
    "slashes": get(b"/" * SHORT),
    "slashes of a path of ours": get(b"/rtc" + b"/" * LONG),
    "dots": get(b"/" + b"/." * (SHORT // 2)),
    "escaped path": get(b"/" + b"%2e/" * (SHORT // 4)),
    "the longest path": get(b"/" * 2000),
    "the longest path of dots": get(b"/." * 1000),
    "a list": get(b"/rtc", b"Upgrade: websocket\r\nConnection: " + b"," * SHORT + b"\r\n"),
    "extensions": get(b"/rtc", UPGRADE + b"Sec-WebSocket-Extensions: " + b"," * SHORT + b"\r\n"),
    "cookies": get(b"/", b"Cookie: " + b"a=b;" * (SHORT // 4) + b"\r\n"),
    "fields": get(b"/", b"".join(b"x%d: 1\r\n" % number for number in range(120))),
    "a form": form(b"a&" * (SHORT // 2)),
    "a form of escapes": form(b"%41" * (SHORT // 3)),
    "a preflight": get(
        b"/",
        b"Origin: x\r\nAccess-Control-Request-Method: GET\r\n"
        b"Access-Control-Request-Headers: " + b"a," * (SHORT // 2) + b"\r\n",
        b"OPTIONS",
    ),
}
KNOWN: dict[str, tuple[bytes, bytes]] = {
    "empty messages": (joins(EMPTY_TRACK * 390_000), b""),
    "empty messages, compressed": (joins(EMPTY_TRACK * 390_000, compressed=True), b""),
    "attributes": (attributes(b"{" + b'"":"",' * 120_000 + b'"":""}'), b""),
    "lists for attributes": (attributes(b"[" + b"[]," * 240_000 + b"[]]"), b""),
    "deep attributes": (attributes(b"[" * 700_000), b""),
    "capabilities": (b"/rtc/validate?capabilities=" + b"," * LONG, b""),
    "a browser": (b"/rtc/validate", b"User-Agent: " + b"Mozilla/5.0 (" * 4000 + b"\r\n"),
    "many browsers": (b"/rtc/validate", b"User-Agent: " + b"Chrome/1." * 6000 + b"\r\n"),
}


@pytest.fixture
async def server() -> AsyncIterator[Harness]:
    async with running() as harness:
        # What is made at the first request is not its cost.
        await answer_to(harness, get(b"/"))
        yield harness


async def answer_to(server: Harness, request: bytes) -> bytes:
    port = int(server.server.url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with contextlib.suppress(ConnectionError):
        writer.write(request)
        async with asyncio.timeout(PATIENCE_S):
            return await reader.read(100_000)
    return b""


async def check(server: Harness, request: bytes) -> None:
    began = time.process_time()
    answer = await answer_to(server, request)
    assert time.process_time() - began < CPU_S
    assert not answer or answer.startswith(b"HTTP/1.1 ")
    tracemalloc.start()
    try:
        await answer_to(server, request)
        assert tracemalloc.get_traced_memory()[1] < 4 * len(request) + EVERYTHING_ELSE
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", list(UNKNOWN))
async def test_row_w1_of_somebody_unknown(server: Harness, name: str) -> None:
    await check(server, UNKNOWN[name])


@pytest.mark.parametrize("name", list(KNOWN))
async def test_row_w4_of_somebody_with_a_token(server: Harness, name: str) -> None:
    video = VideoGrant(room_join=True, room="lobby", can_update_own_metadata=True)
    token = server.token_for(Grants(identity="mallory", video=video))
    line, headers = KNOWN[name]
    await check(server, get(line, headers + b"Authorization: Bearer " + token.encode() + b"\r\n"))


@pytest.mark.parametrize(
    "query",
    [b"&".join(b"p%d=x" % number for number in range(200)), b"sdk=js&protocol=16&a=" + b"b" * 9000],
)
async def test_a_usual_query_is_read(server: Harness, query: bytes) -> None:
    headers = b"Authorization: Bearer " + server.token().encode() + b"\r\n"
    answer = await answer_to(server, get(b"/rtc/validate?" + query, headers))
    assert b"200 OK" in answer
    assert answer.endswith(b"success")
