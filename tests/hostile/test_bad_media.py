"""Rubbish on the media port: counted, answered by nothing, and nobody else notices."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest
from livekit import rtc

from tests.interop.conftest import RunningServer, run_server
from tests.patience import PATIENCE_S

MAGIC = 0x2112A442


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with run_server(tmp_path_factory.mktemp("media")) as running:
        yield running


async def stats(server: RunningServer) -> dict[str, Any]:
    """What the server says of itself."""
    url = f"{server.http_url}/lkpy/v1/stats?format=json"
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        assert response.status == 200
        return await response.json()


async def media_address(server: RunningServer) -> tuple[str, int]:
    """The candidate that a participant is offered."""
    room = rtc.Room()
    found: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    await room.connect(server.url, server.token("media", "scout"))
    try:
        for report in (await room.get_rtc_stats()).publisher_stats:
            if report.WhichOneof("stats") == "remote_candidate" and not found.done():
                candidate = report.remote_candidate.candidate
                if candidate.protocol == "udp" and candidate.address == "127.0.0.1":
                    found.set_result(candidate.port)
    finally:
        await room.disconnect()
    assert found.done(), "no loopback candidate was offered"
    return "127.0.0.1", found.result()


def stun(length: int, username: bytes) -> bytes:
    """A binding request that claims ``length`` bytes of attributes."""
    attribute = struct.pack("!HH", 0x0006, len(username)) + username
    return struct.pack("!HHI", 0x0001, length, MAGIC) + bytes(12) + attribute


def rubbish(seed: int) -> Iterator[bytes]:
    """Every kind of first byte, with lengths that lie."""
    generator = random.Random(seed)
    for _ in range(400):
        yield generator.randbytes(generator.randrange(0, 1400))
    for length in (0, 4, 40, 0xFFFF):
        yield stun(length, b"nobody:here")
        yield stun(length, b"nobody:here")[: 20 + length % 7]
    for extension_words in (0, 3, 0xFFFF):
        header = struct.pack("!BBHII", 0x9F, 96, 1, 2, 3) + bytes(60)
        yield header + struct.pack("!HH", 0xBEDE, extension_words) + bytes(20)
    for length in (0, 1, 0xFFFF):
        yield struct.pack("!BBHI", 0x81, 205, length, 1) + bytes(12)
    for kind in (20, 22, 23, 63):
        yield bytes([kind]) + b"\xfe\xfd" + bytes(8) + b"\xff\xff" + generator.randbytes(40)


async def test_rubbish_is_counted_and_others_go_on(server: RunningServer) -> None:
    address = await media_address(server)
    alice, bob = rtc.Room(), rtc.Room()
    received: asyncio.Queue[rtc.DataPacket] = asyncio.Queue()
    bob.on("data_received", received.put_nowait)
    await alice.connect(server.url, server.token("media", "alice"))
    await bob.connect(server.url, server.token("media", "bob"))
    try:
        before = (await stats(server))["workers"][0]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as attacker:
            attacker.setblocking(False)
            sent = list(rubbish(1))
            for datagram in sent:
                attacker.sendto(datagram, address)
            await alice.local_participant.publish_data(b"still here", reliable=True)
            assert bytes((await asyncio.wait_for(received.get(), PATIENCE_S)).data) == b"still here"
            with pytest.raises(BlockingIOError):
                attacker.recv(2048)
        after = (await stats(server))["workers"][0]
        dropped = int(after["datagrams_dropped"]) - int(before["datagrams_dropped"])
        assert dropped >= len([datagram for datagram in sent if datagram]) * 0.99
        assert int(after["panics"]) == 0
        assert after["transports"] == before["transports"]
    finally:
        await alice.disconnect()
        await bob.disconnect()
