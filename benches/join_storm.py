"""Joins all at once, and what becomes of them: a server process, real sockets, one JSON row a line.

    python benches/join_storm.py [count …] [--rooms R] [--dual] [--browsers] [--turns N]

Clients join as browsers do, without media: with one peer connection, whose offer they send along,
or with ``--dual`` two. Who is refused with ``Retry-After`` comes back then, or with ``--browsers``
when livekit-client does, which does not read it. Who fails otherwise comes back after a second.

A row says how many sessions began in each second, and in each half second for which the server's
Python thread ran, which does not depend on what else the machine does; how many requests were
refused and how (``failed``: what was neither refused in so many words nor served); and the server's
CPU per successful join. That is signalling; ``benches/whole_joins.py`` has ICE, DTLS and media.

With ``LIVEKIT_SERVER``, the path of livekit-server's program, that runs in turns with ours, each
``--turns`` times, and a last row has the ratio of the medians.
"""

from __future__ import annotations

import argparse
import bisect
import itertools
import json
import os
import pathlib
import random
import re
import select
import socket
import statistics
import sys
import threading
import time
import zlib
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from livekit.protocol import rtc

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benches.server_process import Server, livekit, rest, started  # noqa: E402
from benches.signalling import join_url  # noqa: E402

COUNTS = (100, 300, 600, 1000, 2000)
BACK_OFF_S = (0.3, 1.2, 2.7, 4.8, 7.0)
"""livekit-client's pauses, to all but the first of which it adds up to a second."""
_GIVE_UP_S = 60.0


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


@dataclass
class Client:
    """One that joins, as cheap as can be: of the answer only the first frame is read. The
    connection stays when it worked."""

    request: bytes
    socket: socket.socket | None = None
    asked: float = 0.0
    received: bytearray = field(default_factory=bytearray)
    refused: int = 0
    joined: bool = False


@dataclass
class Storm:
    """What happened so far."""

    address: tuple[str, int]
    browsers: bool
    began: float = field(default_factory=time.time)
    joined: list[float] = field(default_factory=list)
    """Unix seconds, by the server's clock: a client that is busy hears of it later."""
    refused: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    slowest_refusal: float = 0.0

    def __post_init__(self) -> None:
        self._poll = select.epoll()
        self._open: dict[int, Client] = {}
        self._later: list[tuple[float, int, Client]] = []
        self._numbers = itertools.count()

    def run(self, clients: Sequence[Client]) -> None:
        """Until all have joined, or for a minute."""
        until = time.monotonic() + _GIVE_UP_S
        for client in clients:
            self._ask(client)
        while len(self.joined) < len(clients) and time.monotonic() < until:
            for number, _ in self._poll.poll(0.01):
                self._read(self._open[number])
            now = time.monotonic()
            due = [entry for entry in self._later if entry[0] <= now]
            self._later = [entry for entry in self._later if entry[0] > now]
            for _, _, client in sorted(due):
                self._ask(client)

    def close(self) -> None:
        for client in list(self._open.values()):
            self._drop(client)
        self._poll.close()

    def _ask(self, client: Client) -> None:
        client.asked = time.monotonic()
        client.received.clear()
        try:
            # On this machine both are done at once.
            client.socket = socket.create_connection(self.address, timeout=_GIVE_UP_S)
            client.socket.sendall(client.request)
            client.socket.setblocking(False)
        except OSError as error:
            self._fail(client, type(error).__name__)
            return
        self._open[client.socket.fileno()] = client
        self._poll.register(client.socket, select.EPOLLIN)

    def _read(self, client: Client) -> None:
        assert client.socket is not None
        try:
            data = client.socket.recv(1 << 16)
        except OSError as error:
            data = b""
            reason = type(error).__name__
        else:
            reason = "closed"
        if not data:
            self._drop(client)
            if not client.joined:
                self._fail(client, reason)
            return
        if client.joined:
            return
        client.received += data
        head, end, rest_of_it = bytes(client.received).partition(b"\r\n\r\n")
        if end:
            self._answered(client, head, rest_of_it)

    def _answered(self, client: Client, head: bytes, rest_of_it: bytes) -> None:
        status = int(head[9:12])
        after = re.search(rb"(?i)\r\nretry-after: *(\d+)", head)
        if status == 101:
            message = _message(rest_of_it)
            if message is not None:
                join = rtc.SignalResponse.FromString(message).join
                self.joined.append(join.participant.joined_at_ms / 1000)
                client.joined = True
            return
        self._drop(client)
        if status != 503 or not after:
            self._fail(client, str(status))
            return
        self.refused += 1
        self.slowest_refusal = max(self.slowest_refusal, time.monotonic() - client.asked)
        wait = float(after[1])
        if self.browsers:
            wait = BACK_OFF_S[min(client.refused, len(BACK_OFF_S) - 1)]
            wait += random.random() if client.refused else 0.0
        client.refused += 1
        self._again(client, wait)

    def _fail(self, client: Client, why: str) -> None:
        self.failed[why] += 1
        self._again(client, 1.0)

    def _again(self, client: Client, wait_s: float) -> None:
        self._later.append((time.monotonic() + wait_s, next(self._numbers), client))

    def _drop(self, client: Client) -> None:
        if client.socket is not None and client.socket.fileno() >= 0:
            self._open.pop(client.socket.fileno(), None)
            client.socket.close()


def _message(frame: bytes) -> bytes | None:
    """The payload of the first frame (RFC 6455 5.2, RFC 7692 7.2.2); None: not all is there."""
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
    if not frame[0] & 0x40:
        return payload
    return zlib.decompressobj(wbits=-15).decompress(payload + b"\x00\x00\xff\xff")


def request(url: str, *, browser: bool) -> bytes:
    """What a client sends to join."""
    agent = "User-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n" if browser else ""
    parts = urlsplit(url)
    return (
        f"GET {parts.path}?{parts.query} HTTP/1.1\r\nHost: {parts.netloc}\r\n{agent}"
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
        "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n"
    ).encode()


def storm(
    server: Server, count: int, rooms: int, *, single: bool = True, browsers: bool = False
) -> dict[str, Any]:
    """One row."""
    # Signing is the client's work: done before.
    urls = [join_url(server, f"{count}-{number % rooms}", single=single) for number in range(count)]
    clients = [Client(request(url, browser=browsers)) for url in urls]
    parts = urlsplit(urls[0])
    before, work = server.cpu(), Work(server)
    result = Storm((parts.hostname or "", parts.port or 0), browsers)
    result.run(clients)
    spent = server.cpu() - before
    work.stop()
    result.close()
    joined = len(result.joined)
    wall = max(result.joined, default=time.time()) - result.began
    return {
        "name": f"{count} joins at once, {rooms} rooms, {'single' if single else 'dual'}",
        "server": "lkpy" if server.target.ours else "livekit-server",
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


def measure(
    running: AbstractContextManager[Server], count: int, options: argparse.Namespace
) -> dict[str, Any]:
    """A row of a server that has done nothing yet but one join: the first one imports and
    compiles."""
    with running as server:
        storm(server, 1, 1, single=not options.dual)
        rest(server)
        rooms = options.rooms or max(1, count // 20)
        row = storm(server, count, rooms, single=not options.dual, browsers=options.browsers)
        print(json.dumps(row), flush=True)
        return row


def main() -> None:
    parser = argparse.ArgumentParser(description="Joins all at once.")
    parser.add_argument("count", nargs="*", type=int, default=COUNTS)
    parser.add_argument("--rooms", type=int, default=0, help="0: one for every 20 clients")
    parser.add_argument("--dual", action="store_true", help="two peer connections")
    parser.add_argument("--browsers", action="store_true", help="come back as livekit-client does")
    parser.add_argument("--turns", type=int, default=0, help="rows of each server; 0: as needed")
    options = parser.parse_args()
    other = os.environ.get("LIVEKIT_SERVER")
    for count in options.count:
        ours: list[dict[str, Any]] = []
        theirs: list[dict[str, Any]] = []
        for _ in range(options.turns or (3 if other else 1)):
            ours.append(measure(started(), count, options))
            if other:
                theirs.append(measure(livekit(other), count, options))
        if theirs:
            print(json.dumps(compared(count, ours, theirs)), flush=True)


def compared(
    count: int, ours: list[dict[str, Any]], theirs: list[dict[str, Any]]
) -> dict[str, Any]:
    """The medians of ours as multiples of the other's."""

    def ratio(figure: str) -> float:
        mine, its = (statistics.median(row[figure] for row in rows) for rows in (ours, theirs))
        return round(mine / its, 2)

    return {
        "name": f"{count} joins at once, ours beside livekit-server's",
        "joins_per_s_ratio": ratio("joins_per_s"),
        "cpu_ratio": ratio("cpu_ms_per_join"),
    }


if __name__ == "__main__":
    main()
