"""The guard of HTTP connections: however a stream is cut, aiohttp gets its requests in order, each
as it was sent, and what is held is counted and given back."""

from __future__ import annotations

import asyncio
from typing import cast

from hypothesis import given, settings
from hypothesis import strategies as st

from lkpy.limits import HTTP_HEADER_MAX
from lkpy.server.http import guard
from lkpy.server.http.guard import Connection, Unauthenticated


class Transport:
    """Delivers what is sent while it is read."""

    def __init__(self) -> None:
        self.paused = False
        self.ended = False
        self.written = b""
        self.waiting = bytearray()

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def is_closing(self) -> bool:
        return self.ended

    def write(self, data: bytes) -> None:
        self.written += data

    def close(self) -> None:
        self.ended = True

    abort = close

    def deliver(self, connection: Connection, size: int) -> None:
        """A read of at most ``size`` bytes."""
        if self.paused or self.ended or not self.waiting:
            return
        buffer = connection.get_buffer(-1)
        size = min(size, len(self.waiting), len(buffer))
        buffer[:size] = self.waiting[:size]
        del self.waiting[:size]
        connection.buffer_updated(size)


class Inner(asyncio.Protocol):
    """aiohttp: keeps what it was given."""

    def __init__(self) -> None:
        self.got = b""

    def data_received(self, data: bytes) -> None:
        self.got += data


HEADERS = st.integers(0, 5).map(lambda count: b"".join(b"X-%d: y\r\n" % n for n in range(count)))
REQUESTS = st.lists(
    st.tuples(HEADERS, st.binary(max_size=60), st.booleans()), min_size=1, max_size=5
)


def connected() -> tuple[Connection, Inner, Transport, Unauthenticated]:
    shared, inner, transport = Unauthenticated(), Inner(), Transport()
    connection = Connection(inner, shared)
    connection.connection_made(cast("asyncio.Transport", transport))
    return connection, inner, transport, shared


def serve(
    requests: list[tuple[bytes, bytes, bool]], cuts: list[int]
) -> tuple[bytes, bytes, Transport, Unauthenticated]:
    """Send everything at once, read it in pieces of these sizes, and answer as a service does."""
    connection, inner, transport, shared = connected()
    expected = b""
    for headers, body, _ in requests:
        expected += b"POST / HTTP/1.1\r\nContent-Length: %d\r\n" % len(body)
        expected += headers + b"\r\n" + body
    transport.waiting += expected
    turn = 0

    def read() -> None:
        nonlocal turn
        transport.deliver(connection, cuts[turn % len(cuts)])
        turn += 1

    done = 0
    for headers, body, known in requests:
        head = b"POST / HTTP/1.1\r\nContent-Length: %d\r\n" % len(body) + headers + b"\r\n"
        while len(inner.got) < done + len(head):
            assert not transport.paused
            read()
        # Nothing of the body, and no other request, before somebody has looked at this one.
        assert len(inner.got) == done + len(head)
        assert len(head) <= shared.held <= len(head) + guard._READ.nbytes
        connection.began(len(body))
        if known:
            connection.accept()
            assert shared.held == 0
        else:
            connection.read_unauthenticated()
        while len(inner.got) < done + len(head) + len(body):
            read()
        done += len(head) + len(body)
        assert len(inner.got) == done
        read()
        assert len(inner.got) == done, "the next request waits for the answer to this one"
        connection.answered()
    return expected, inner.got, transport, shared


async def _served(requests: list[tuple[bytes, bytes, bool]], cuts: list[int]) -> None:
    expected, got, transport, shared = serve(requests, cuts)
    assert got == expected
    assert (shared.held, shared.connections) == (0, 0)
    assert transport.written == b""
    assert not transport.ended


@settings(max_examples=150, deadline=None)
@given(REQUESTS, st.lists(st.integers(1, 80), min_size=1, max_size=8))
def test_requests_pass_one_at_a_time(
    requests: list[tuple[bytes, bytes, bool]], cuts: list[int]
) -> None:
    asyncio.run(_served(requests, cuts))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(["a", "b", "in", "long", "end", "answer", "gone"]), max_size=60))
def test_what_is_held_is_counted(steps: list[str]) -> None:
    """Many connections in any order: the count is that of the connections, and never above."""

    async def run() -> None:
        shared = Unauthenticated(maximum=3 * HTTP_HEADER_MAX)
        open_ones: list[tuple[Connection, Transport]] = []
        for step in steps:
            if step in ("a", "b") or not open_ones:
                connection, transport = Connection(Inner(), shared), Transport()
                connection.connection_made(cast("asyncio.Transport", transport))
                start = b"GET / HTTP/1.1\r\nX: " if step == "a" else b"GET /rtc?a="
                transport.waiting += start + b"a" * 30_000
                open_ones.append((connection, transport))
            connection, transport = open_ones[len(steps) % len(open_ones)]
            if step == "in":
                transport.waiting += b"a" * 16_000
            elif step == "long":
                transport.waiting += b"a" * 80_000
            elif step == "end":
                transport.waiting += b" HTTP/1.1\r\n\r\n"
            elif step == "answer" and transport.paused:
                connection.began(0)
                connection.accept()
                connection.answered()
            elif step == "gone":
                connection.connection_lost(None)
                open_ones.remove((connection, transport))
            for each, its in open_ones:
                for _ in range(8):
                    its.deliver(each, 1 << 14)
            assert 0 <= shared.held <= 3 * HTTP_HEADER_MAX
            assert shared.held == sum(shared._holders.values())
            assert set(shared._long) <= set(shared._holders)
        for connection, _ in open_ones:
            connection.connection_lost(None)
        assert (shared.held, shared.connections) == (0, 0)

    asyncio.run(run())
