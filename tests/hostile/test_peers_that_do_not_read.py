"""Peers that join and do not read: they are gone in time, with memory and descriptor."""

from __future__ import annotations

import asyncio
import os
import pathlib
import socket
from collections import Counter
from urllib.parse import urlencode

import pytest
from livekit.protocol import rtc

from lkpy.errors import LkpyError
from lkpy.signal.join_request import wrap
from tests.control_plane import Harness, receive, running, until

DEADLINE_S = 0.3


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("lkpy.server.http.signal_socket.WS_SEND_TIMEOUT_S", DEADLINE_S)
    async with running() as harness:
        yield harness


def descriptors() -> int:
    return len(list(pathlib.Path("/proc/self/fd").iterdir()))


async def joined_and_deaf(server: Harness, identity: str) -> socket.socket:
    """A client that joins, and whose kernel takes little for it."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(client, ("127.0.0.1", int(server.server.url.rpartition(":")[2])))
    query = urlencode(
        {"access_token": server.token(identity), "join_request": wrap(rtc.JoinRequest())}
    )
    head = (
        f"GET /rtc/v1?{query} HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    await loop.sock_sendall(client, head.encode())
    room = server.media.rooms.get
    await until(lambda: (r := room("lobby")) is not None and identity in r.sinks)
    return client


def is_reset(client: socket.socket) -> bool:
    """The server has given the connection up: what was sent is forgotten in its kernel too."""
    client.setblocking(False)
    try:
        while client.recv(65536):
            pass
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True
    return False


FILLER = rtc.SignalResponse(refresh_token=os.urandom(256 * 1024).hex())


async def test_whoever_takes_nothing_is_gone(server: Harness, told: Counter[str]) -> None:
    """Also while there are fewer messages for it than may wait."""
    before = descriptors()
    clients = [await joined_and_deaf(server, f"deaf{number}") for number in range(3)]
    room = server.media.rooms["lobby"]
    for sink in room.sinks.values():
        for _ in range(40):
            sink.write(FILLER)
    await asyncio.wait_for(server.server._rtc.sockets.wait_empty(), 60)
    assert descriptors() <= before + len(clients)
    assert all(sink.closed for sink in room.sinks.values())
    assert all(map(is_reset, clients))
    assert told["not_reading"] == len(clients)
    assert (await receive(await server.join(server.token("bob")))).HasField("join")


async def test_whoever_the_room_ends_is_gone(server: Harness, told: Counter[str]) -> None:
    """The room has more to say than the client takes, and ends the connection."""
    before = descriptors()
    client = await joined_and_deaf(server, "deaf")
    sink = server.media.rooms["lobby"].sinks["deaf"]
    for _ in range(40):
        sink.write(FILLER)
    # It sends as much as the kernel takes.
    await until(lambda: any(s._socket.unsent for s in server.server._rtc.sockets._sockets))
    sink.close("removed")
    sockets = server.server._rtc.sockets
    await asyncio.wait_for(sockets.wait_empty(), 60)
    await until(lambda: not sockets.closing and descriptors() <= before + 1)
    assert is_reset(client)
    assert told["not_reading"] == 1


async def test_whoever_is_200_messages_behind_is_gone(server: Harness, told: Counter[str]) -> None:
    before = descriptors()
    client = await joined_and_deaf(server, "deaf")
    sink = server.media.rooms["lobby"].sinks["deaf"]
    for _ in range(200):
        sink.write(FILLER)
    with pytest.raises(LkpyError, match="full"):
        sink.write(FILLER)
    sockets = server.server._rtc.sockets
    await asyncio.wait_for(sockets.wait_empty(), 60)
    await until(lambda: not sockets.closing and descriptors() <= before + 1)
    assert told["overflow"] == 1
    client.close()


async def test_a_peer_that_reads_slowly_stays(
    server: Harness, told: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What counts is that it reads: all of it takes longer than the deadline."""
    monkeypatch.setattr("lkpy.server.http.signal_socket.WS_SEND_TIMEOUT_S", 1.0)
    client = await joined_and_deaf(server, "slow")
    sink = server.media.rooms["lobby"].sinks["slow"]
    for _ in range(8):
        sink.write(FILLER)
    received = 0
    loop = asyncio.get_running_loop()
    while received < 8 * 512 * 1024:
        received += len(await asyncio.wait_for(loop.sock_recv(client, 65536), 60))
        await asyncio.sleep(0.005)
    assert not told
    assert not sink.closed
    client.close()
