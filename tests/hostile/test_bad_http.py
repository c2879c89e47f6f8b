"""Hostile HTTP and WebSocket input: each attempt is refused, and the server keeps serving."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import logging
import os
import time
import zlib
from urllib.parse import urlsplit

import aiohttp
import pytest
from livekit.protocol import models, rtc

from lkpy.auth.grants import Grants, VideoGrant
from lkpy.server.telemetry import log
from tests.control_plane import SECRET, Harness, receive, running
from tests.patience import PATIENCE_S


@pytest.fixture
async def server():
    """Whatever a test did, somebody else can join afterwards."""
    async with running() as harness:
        yield harness
        healthy = await harness.join(harness.token("healthy"))
        assert (await receive(healthy)).join.participant.identity == "healthy"


async def exchange(server: Harness, *chunks: bytes) -> bytes:
    """Send raw bytes and read until the server closes or answers."""
    port = urlsplit(server.server.url).port
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for chunk in chunks:
            writer.write(chunk)
            with contextlib.suppress(ConnectionError):
                await writer.drain()
        with contextlib.suppress(ConnectionError):
            return await asyncio.wait_for(reader.read(65536), PATIENCE_S)
        return b""
    finally:
        writer.close()


def upgrade(server: Harness, path: str = "/rtc", **params: str) -> bytes:
    params = {"access_token": server.token("mallory"), **params}
    query = "&".join(f"{key}={value}" for key, value in params.items())
    return (
        f"GET {path}?{query} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    ).encode()


@pytest.mark.parametrize(
    "request_bytes",
    [
        os.urandom(2000),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 500,
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon here\r\n\r\n",
        b"GET /" + b"a" * 1_200_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"a" * 1_200_000 + b"\r\n\r\n",
    ],
)
async def test_what_is_no_http(server: Harness, request_bytes: bytes) -> None:
    answer = await exchange(server, request_bytes)
    assert not answer or answer.split(b" ")[1] in (b"400", b"414", b"431")


@pytest.mark.parametrize(
    "headers",
    [
        {"Connection": "Upgrade", "Upgrade": "websocket"},
        {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"},
        {
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "99",
            "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
        },
        {
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "short",
        },
    ],
)
async def test_bad_upgrades(server: Harness, headers: dict[str, str]) -> None:
    params = {"access_token": server.token("mallory")}
    url = server.url("/rtc")
    async with server.http.get(url, params=params, headers=headers) as response:
        assert response.status in (400, 426)


async def test_a_gzip_bomb_in_the_url(server: Harness) -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = b"".join(packer.compress(b"\0" * 1_000_000) for _ in range(300)) + packer.flush()
    wrapped = rtc.WrappedJoinRequest(
        compression=rtc.WrappedJoinRequest.Compression.GZIP, join_request=bomb
    )
    value = base64.urlsafe_b64encode(wrapped.SerializeToString()).decode()
    started = time.process_time()
    refused = await server.refused("/rtc/v1", server.token("mallory"), join_request=value)
    assert refused == (400, "join request too large")
    assert time.process_time() - started < 0.5


@pytest.mark.parametrize("cut", [1, 10, 40])
async def test_truncated_join_requests(server: Harness, cut: int) -> None:
    from lkpy.signal.join_request import wrap

    value = wrap(rtc.JoinRequest(metadata="x" * 500), compress=False)
    status, body = await server.refused(
        "/rtc/v1", server.token("mallory"), join_request=value[: -4 * cut]
    )
    assert status == 400
    assert body in ("cannot unmarshal wrapped join request", "cannot unmarshal join request")


@pytest.mark.parametrize(
    "frame",
    [
        b"\x82\x05hello",  # not masked
        b"\x83\x80\0\0\0\0",  # opcode 3 is reserved
        b"\xf2\x80\0\0\0\0",  # reserved bits
        b"\x80\x80\0\0\0\0",  # continuation of nothing
        b"\x09\x80\0\0\0\0",  # a fragmented ping
        b"\x89\xfe\x01\x00\0\0\0\0" + b"\0" * 256,  # a ping of 256 bytes
        b"\x82\xff" + b"\xff" * 8 + b"\0" * 4,  # 2^64 - 1 bytes to come
        b"\x88\x81\0\0\0\0\x03",  # a close code of one byte
        b"\x81\x82\0\0\0\0\xff\xfe",  # text that is not UTF-8
    ],
)
async def test_broken_websocket_frames(server: Harness, frame: bytes) -> None:
    port = urlsplit(server.server.url).port
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(upgrade(server))
    assert b"101" in await reader.readuntil(b"\r\n\r\n")
    writer.write(frame)
    # The server says goodbye, then closes: reading ends.
    await asyncio.wait_for(reader.read(), PATIENCE_S)
    writer.close()


async def test_a_message_too_large_in_fragments(server: Harness) -> None:
    port = urlsplit(server.server.url).port
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(upgrade(server))
    await reader.readuntil(b"\r\n\r\n")
    size = 64 * 1024
    head = b"\xff" + size.to_bytes(8, "big") + b"\0" * 4
    writer.write(b"\x02" + head + b"\0" * size)
    for _ in range(32):
        writer.write(b"\x00" + head + b"\0" * size)
    goodbye = bytearray()
    # What the server has not read when it closes turns the end into a reset.
    with contextlib.suppress(ConnectionError):
        while chunk := await asyncio.wait_for(reader.read(65536), PATIENCE_S):
            goodbye += chunk
    assert (1009).to_bytes(2, "big") in goodbye
    writer.close()


async def test_a_flood_of_connections_that_say_nothing(server: Harness) -> None:
    port = urlsplit(server.server.url).port
    idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(200)]
    for _, writer in idle[:100]:
        writer.write(b"GET /rtc HTTP/1.1\r\nHost:")
    socket = await server.join(server.token("alice"))
    assert (await receive(socket)).HasField("join")
    for _, writer in idle:
        writer.close()


async def test_secrets_stay_out_of_the_logs() -> None:
    root, ours = logging.getLogger(), logging.getLogger("lkpy")
    before = (root.handlers[:], root.level, ours.level)
    stream = io.StringIO()
    log.configure(level="debug", as_json=True, stream=stream)
    try:
        async with running() as server:
            grants = Grants(
                identity="alice",
                video=VideoGrant(room_join=True, room="lobby", can_update_own_metadata=True),
                metadata="METADATA-CANARY",
                attributes={"k": "ATTRIBUTE-CANARY"},
            )
            token = server.token_for(grants)
            join = rtc.JoinRequest(client_info=models.ClientInfo(sdk="JS"), metadata="OWN-CANARY")
            socket = await server.join(token, join=join)
            await receive(socket)
            await socket.send_bytes(b"\xff\xff\xff")
            await socket.receive()
            await server.refused("/rtc", token + "x")
            await server.refused("/rtc", server.token("crash"))
            await server.get("/rtc/validate", token[:-3])
            await server.join(token, path="/rtc")
    finally:
        root.handlers[:], root_level, our_level = before
        root.setLevel(root_level)
        ours.setLevel(our_level)
    text = stream.getvalue()
    assert "refused a token" in text
    assert "starting a session failed" in text
    for secret in ("CANARY", SECRET, token.split(".")[1], token.split(".")[2], "127.0.0.1"):
        assert secret not in text, secret


async def test_sockets_that_vanish_mid_join(server: Harness) -> None:
    for _ in range(20):
        port = urlsplit(server.server.url).port
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(upgrade(server))
        writer.transport.abort()
    with contextlib.suppress(aiohttp.ClientError):
        await server.get("/")
    await asyncio.wait_for(server.server._rtc.sockets.wait_empty(), PATIENCE_S)
