"""Joins all at once, and what becomes of them: a server process, real sockets, one JSON row a line.

    python benches/join_storm.py [count …] [--rooms R]

Clients join as browsers do, without media; who is refused with ``Retry-After`` comes back then,
who fails otherwise after a second. A row says how many sessions began in each second, and in each
half second for which the server's Python thread ran, which does not depend on what else the machine
does; how many requests were refused and how (``failed``: what was neither refused in so many words
nor served); and the server's CPU per successful join.
"""

from __future__ import annotations

import argparse
import asyncio
import bisect
import json
import pathlib
import re
import sys
import threading
import time
import zlib
from collections import Counter
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import urlsplit

from livekit.protocol import rtc

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benches.server_process import Server, started  # noqa: E402
from benches.signalling import join_url, settled  # noqa: E402

COUNTS = (100, 300, 600, 1000, 2000)
_GIVE_UP_S = 60.0


@dataclass
class Storm:
    """What happened so far."""

    began: float = field(default_factory=time.time)
    joined: list[float] = field(default_factory=list)
    """Unix seconds."""
    refused: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    slowest_refusal: float = 0.0


class Work:
    """The seconds that the server's Python thread ran, as time goes by. Joins in each second of
    those do not depend on what else the machine does."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._samples = [(time.time(), server.cpu().python)]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample)
        self._thread.start()

    def _sample(self) -> None:
        while not self._stop.wait(0.01):
            self._samples.append((time.time(), self._server.cpu().python))

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def at(self, when: float) -> float:
        """Seconds that it had run by then, since the beginning."""
        index = bisect.bisect_right(self._samples, (when, 0.0)) - 1
        return self._samples[max(index, 0)][1] - self._samples[0][1]

    def steps(self, moments: list[float], step_s: float = 0.5) -> list[int]:
        """How many of ``moments`` were in each full ``step_s`` of work."""
        counts = Counter(int(self.at(when) / step_s) for when in moments)
        return [counts[number] for number in range(max(counts, default=-1) + 1)]


def per_second(moments: list[float], began: float) -> list[int]:
    """How many of ``moments`` were in each second."""
    counts = Counter(int(max(0.0, when - began)) for when in moments)
    return [counts[second] for second in range(max(counts, default=-1) + 1)]


class Client(asyncio.Protocol):
    """One attempt to join, as cheap as can be: the request is there, of the answer only the first
    frame is read. The connection stays when it worked."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._received = bytearray()
        self.answer: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()
        """Status, and the value of ``Retry-After`` or the first message."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.Transport", transport).write(self._request)

    def data_received(self, data: bytes) -> None:
        if self.answer.done():
            return
        self._received += data
        head, end, rest = bytes(self._received).partition(b"\r\n\r\n")
        if not end:
            return
        status = int(head[9:12])
        if status != 101:
            after = re.search(rb"(?i)\r\nretry-after: *(\d+)", head)
            self.answer.set_result((status, after[1] if after else b""))
        elif (message := _message(rest)) is not None:
            self.answer.set_result((status, message))

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.answer.done():
            self.answer.set_exception(exc or ConnectionResetError("closed"))


def _message(frame: bytes) -> bytes | None:
    """The payload of a compressed frame (RFC 6455 5.2, RFC 7692 7.2.2); None: not all is there."""
    if len(frame) < 10:
        return None
    start, length = 2, frame[1]
    if length == 126:
        start, length = 4, int.from_bytes(frame[2:4], "big")
    elif length == 127:
        start, length = 10, int.from_bytes(frame[2:10], "big")
    if len(frame) < start + length:
        return None
    payload = frame[start : start + length]
    return zlib.decompress(payload + b"\x00\x00\xff\xff\x01\x00\x00\xff\xff", wbits=-15)


def request(url: str) -> bytes:
    """What a browser sends to join."""
    parts = urlsplit(url)
    return (
        f"GET {parts.path}?{parts.query} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
        "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n"
    ).encode()


async def client(address: tuple[str, int], sent: bytes, storm: Storm) -> asyncio.BaseTransport:
    """Join, again and again until it works."""
    loop = asyncio.get_running_loop()
    while True:
        asked, wait = time.monotonic(), 1.0
        try:
            transport, attempt = await loop.create_connection(lambda: Client(sent), *address)
            status, value = await attempt.answer
        except OSError as error:
            storm.failed[type(error).__name__] += 1
        else:
            if status == 101:
                join = rtc.SignalResponse.FromString(value).join
                # The server's time: a client that is busy hears of it later.
                storm.joined.append(join.participant.joined_at_ms / 1000)
                return transport
            transport.close()
            if status == 503 and value:
                storm.refused += 1
                storm.slowest_refusal = max(storm.slowest_refusal, time.monotonic() - asked)
                wait = float(value)
            else:
                storm.failed[str(status)] += 1
        await asyncio.sleep(wait)


async def storm(server: Server, count: int, rooms: int) -> dict[str, object]:
    """One row."""
    # Signing is the client's work: done before.
    urls = [join_url(server, f"{count}-{number % rooms}") for number in range(count)]
    requests = [request(url) for url in urls]
    address = urlsplit(urls[0])
    before, result, work = server.cpu(), Storm(), Work(server)
    where = (address.hostname or "", address.port or 0)
    clients = [asyncio.create_task(client(where, sent, result)) for sent in requests]
    done, _ = await asyncio.wait(clients, timeout=_GIVE_UP_S)
    spent = server.cpu() - before
    work.stop()
    for task in clients:
        task.cancel()
    for connection in await asyncio.gather(*clients, return_exceptions=True):
        if isinstance(connection, asyncio.BaseTransport):
            connection.close()
    joined = len(done)
    wall = max(result.joined, default=time.time()) - result.began
    return {
        "name": f"{count} joins at once, {rooms} rooms",
        "joined": joined,
        "wall_s": round(wall, 2),
        "joins_per_s": round(joined / wall, 1),
        "per_second": per_second(result.joined, result.began),
        "per_half_second_of_work": work.steps(result.joined),
        "refused": result.refused,
        "slowest_refusal_ms": round(1000 * result.slowest_refusal),
        "failed": dict(result.failed),
        "cpu_ms_per_join": round(1000 * spent.total / max(joined, 1), 2),
    }


async def main() -> None:
    parser = argparse.ArgumentParser(description="Joins all at once.")
    parser.add_argument("count", nargs="*", type=int, default=COUNTS)
    parser.add_argument("--rooms", type=int, default=0, help="0: one for every 20 clients")
    options = parser.parse_args()
    for count in options.count:
        with started() as server:
            # The first join of a process imports and compiles.
            await storm(server, 1, 1)
            await settled(server)
            row = await storm(server, count, options.rooms or max(1, count // 20))
            print(json.dumps(row), flush=True)
            await settled(server)


if __name__ == "__main__":
    asyncio.run(main())
