"""Accepting connections: a bounded number in a turn, a pause when there are no descriptors left."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from lkpy.limits import HTTP_ACCEPTED_PER_TURN
from lkpy.server.http import site
from lkpy.server.http.site import Acceptor
from tests.control_plane import running, until


class Counted(asyncio.Protocol):
    """A protocol that tells a list of its connection."""

    def __init__(self, made: list[asyncio.BaseTransport]) -> None:
        self._made = made

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._made.append(transport)


@contextlib.contextmanager
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@contextlib.contextmanager
def clients(server: socket.socket, count: int) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(socket.create_connection(server.getsockname()))
        yield


async def test_a_bounded_number_in_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    count = 3 * HTTP_ACCEPTED_PER_TURN
    with listening() as server:
        made: list[asyncio.BaseTransport] = []
        server.listen(count)
        with clients(server, count):
            accepted: list[int] = []
            accept = Acceptor._accept

            def counted(acceptor: Acceptor) -> None:
                before = len(acceptor._connecting)
                accept(acceptor)
                accepted.append(len(acceptor._connecting) - before)

            monkeypatch.setattr(Acceptor, "_accept", counted)
            acceptor = Acceptor(server, lambda: Counted(made))
            await until(lambda: len(made) == count)
            assert max(accepted) == HTTP_ACCEPTED_PER_TURN
            acceptor.close()
            acceptor.close()
        for transport in made:
            transport.close()


async def test_without_descriptors_it_is_tried_again_later(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(site, "HTTP_ACCEPT_PAUSE_S", 0.01)

    class Exhausted(socket.socket):
        left = 3

        def accept(self) -> tuple[socket.socket, Any]:
            if self.left:
                self.left -= 1
                raise OSError(errno.EMFILE, "too many open files")
            return super().accept()

    with Exhausted() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        made: list[asyncio.BaseTransport] = []
        acceptor = Acceptor(server, lambda: Counted(made))
        with clients(server, 1):
            await until(lambda: bool(made))
        assert caplog.messages.count("cannot accept connections") == 3
        acceptor.close()
        made[0].close()


async def test_closed_during_a_pause_it_stays_closed() -> None:
    with listening() as server:
        made: list[asyncio.BaseTransport] = []
        acceptor = Acceptor(server, lambda: Counted(made))
        acceptor._pause = asyncio.get_running_loop().call_later(0.0, acceptor._resume)
        acceptor.close()
        await asyncio.sleep(0.01)
        assert server.fileno() < 0


async def test_a_server_that_stops_ends_idle_connections() -> None:
    async with running() as server:
        port = int(server.server.url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        # Served later, so that one was accepted.
        assert (await server.get("/"))[0] == 200
    with contextlib.suppress(ConnectionError):
        assert await reader.read() == b""
    writer.close()
