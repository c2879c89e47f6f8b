"""The guard of HTTP connections: however a stream is cut, aiohttp gets its requests in order, each
as it was sent, and what is held is counted and given back."""

from __future__ import annotations

import asyncio
import itertools
from typing import cast

import pytest
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

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert not self.got

    def data_received(self, data: bytes) -> None:
        self.got += data


HEADERS = st.integers(0, 5).map(lambda count: b"".join(b"X-%d: y\r\n" % n for n in range(count)))
REQUESTS = st.lists(
    st.tuples(HEADERS, st.binary(max_size=60), st.booleans()), min_size=1, max_size=5
)


def connected() -> tuple[Connection, Inner, Transport, Unauthenticated]:
    shared, inner, transport = Unauthenticated(), Inner(), Transport()
    connection = Connection(lambda: inner, shared)
    connection.connection_made(cast("asyncio.Transport", transport))
    return connection, inner, transport, shared


class Doorman:
    """A door at which everybody waits until the test says otherwise."""

    def __init__(self) -> None:
        self.waiting: dict[Connection, int] = {}

    def arrive(self, visitor: Connection, size: int, *, browser: bool) -> None:
        assert visitor not in self.waiting
        self.waiting[visitor] = size
        self.browser = browser

    def leave(self, visitor: Connection) -> None:
        self.waiting.pop(visitor, None)


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
                connection, transport = Connection(Inner, shared), Transport()
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


# -- the door --------------------------------------------------------------------------------------

PATHS = [b"/rtc", b"/rtc/v1", b"//rtc", b"/rtc/validate", b"/rtc/v1/validate"]
START = len(b"GET //rtc/v1/validate?")
"""Bytes by which a request to join is known."""


def at_door() -> tuple[Connection, list[Inner], Transport, Unauthenticated, Doorman]:
    """A connection, and the protocols that were made for it."""
    shared, made, transport, door = Unauthenticated(), [], Transport(), Doorman()

    def make() -> Inner:
        made.append(Inner())
        return made[-1]

    connection = Connection(make, shared, door)
    connection.connection_made(cast("asyncio.Transport", transport))
    return connection, made, transport, shared, door


def read_all(connection: Connection, transport: Transport, cuts: list[int]) -> None:
    for cut in itertools.cycle(cuts):
        before = len(transport.waiting)
        transport.deliver(connection, cut)
        if len(transport.waiting) == before:
            return


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(PATHS), HEADERS, st.booleans()), min_size=1, max_size=4),
    st.lists(st.integers(START, 150), min_size=1, max_size=8),
)
def test_requests_to_join_wait_at_the_door(
    requests: list[tuple[bytes, bytes, bool]], cuts: list[int]
) -> None:
    """aiohttp sees each as it was sent, when it was let in; the door counts it meanwhile."""

    async def run() -> None:
        connection, made, transport, shared, door = at_door()
        expected = b""
        for path, headers, query in requests:
            head = b"GET " + path + (b"?a=b" if query else b"") + b" HTTP/1.1\r\n" + headers
            transport.waiting += head + b"\r\n"
            before = expected
            expected += head + b"\r\n"
            read_all(connection, transport, cuts)
            assert door.waiting == {connection: len(head) + 2}
            assert (shared.held, shared.connections) == (0, 0)
            assert b"".join(inner.got for inner in made) == before
            assert not transport.paused, "a client that goes away is seen to"
            door.leave(connection)
            connection.let_in()
            assert connection.was_let_in
            assert made[0].got == expected
            assert shared.held == len(head) + 2
            connection.began(0)
            connection.accept()
            connection.answered()
            assert (shared.held, transport.paused, connection.was_let_in) == (0, False, False)
        assert len(made) == 1

    asyncio.run(run())


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(PATHS), st.lists(st.integers(START, 150), min_size=1, max_size=8))
def test_who_is_sent_away_was_never_heard_of(path: bytes, cuts: list[int]) -> None:
    async def run() -> None:
        connection, made, transport, shared, door = at_door()
        transport.waiting += b"GET " + path + b"?a=b HTTP/1.1\r\nHost: x\r\n\r\n"
        read_all(connection, transport, cuts)
        connection.send_away("17")
        connection.let_in()
        head, _, body = transport.written.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 17\r\n")
        assert b"Content-Length: %d\r\n" % len(body) in head
        assert body == b"too many joins at once"
        assert transport.ended
        connection.connection_lost(None)
        assert (made, door.waiting, shared.held) == ([], {}, 0)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("headers", "browser"),
    [
        (b"User-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n", True),
        (b"Host: x\r\nuser-agent:mozilla/5.0\r\n", True),
        (b"User-Agent: livekit-rust\r\n", False),
        (b"X-User-Agent: Mozilla/5.0\r\n", False),
        (b"Referer: User-Agent: Mozilla/5.0\r\n", False),
        (b"", False),
    ],
)
async def test_browsers_are_known(headers: bytes, browser: bool) -> None:
    connection, _, transport, _, door = at_door()
    transport.waiting += b"GET /rtc?user-agent:mozilla/ HTTP/1.1\r\n" + headers + b"\r\n"
    transport.deliver(connection, 1000)
    assert door.browser is browser


async def test_who_goes_away_waits_no_longer() -> None:
    connection, made, transport, _, door = at_door()
    transport.waiting += b"GET /rtc?a=b HTTP/1.1\r\n\r\n"
    transport.deliver(connection, 1000)
    assert connection in door.waiting
    transport.waiting += b"a" * (2 * HTTP_HEADER_MAX)
    transport.deliver(connection, 1 << 14)
    assert transport.paused, "what is sent ahead is not read on"
    connection.connection_lost(None)
    assert (made, door.waiting) == ([], {})


async def test_other_requests_know_no_door() -> None:
    for line in (
        b"GET /rtcx",
        b"POST /rtc",
        b"GET / HTTP/1.1\r\nX: GET /rtc?",
        b"GET /r",
        b"OPTION",
    ):
        connection, made, transport, _, door = at_door()
        transport.waiting += line + b"\r\n\r\n"
        transport.deliver(connection, 1000)
        assert not door.waiting
        assert made[0].got == line + b"\r\n\r\n"


async def test_a_connection_on_which_nothing_came_is_ended_when_the_server_stops() -> None:
    connection, made, transport, *_ = at_door()
    connection.shut()
    assert (made, transport.ended) == ([], True)
    connection, made, transport, *_ = at_door()
    transport.waiting += b"GET / HTTP/1.1\r\n\r\n"
    transport.deliver(connection, 1000)
    connection.shut()
    assert (len(made), transport.ended) == (1, False), "aiohttp ends those that it knows"
