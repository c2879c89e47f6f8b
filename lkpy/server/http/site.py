"""Listening sockets whose connections are guarded."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import weakref
from collections.abc import Callable
from typing import Any, cast

from aiohttp import web

from lkpy.limits import (
    HTTP_ACCEPT_PAUSE_S,
    HTTP_ACCEPTED_PER_TURN,
    HTTP_BACKLOG,
    HTTP_HEADER_MAX,
    HTTP_LINE_MAX,
    HTTP_LINGER_S,
)
from lkpy.server.http.guard import Connection, Door, Unauthenticated
from lkpy.server.telemetry.log import fields

logger = logging.getLogger(__name__)

_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_ABORTED = (BlockingIOError, InterruptedError, ConnectionAbortedError)


class Acceptor:
    """Takes connections off a socket, a bounded number in each turn of the event loop. uvloop takes
    one, so that in a storm a connection waits for as many turns as there are before it; asyncio
    takes all, so that those under way wait."""

    def __init__(self, sock: socket.socket, make: Callable[[], asyncio.BaseProtocol]) -> None:
        self._socket = sock
        self._make = make
        self._loop = asyncio.get_running_loop()
        self._connecting: set[asyncio.Task[Any]] = set()
        self._pause: asyncio.TimerHandle | None = None
        sock.setblocking(False)
        sock.listen(HTTP_BACKLOG)
        self._loop.add_reader(sock.fileno(), self._accept)

    def _accept(self) -> None:
        for _ in range(HTTP_ACCEPTED_PER_TURN):
            try:
                connection, _ = self._socket.accept()
            except _ABORTED:
                return
            except OSError as error:
                if error.errno not in _EXHAUSTED:
                    raise
                logger.warning("cannot accept connections", extra=fields(error=str(error)))
                self._loop.remove_reader(self._socket.fileno())
                self._pause = self._loop.call_later(HTTP_ACCEPT_PAUSE_S, self._resume)
                return
            connection.setblocking(False)
            task = self._loop.create_task(self._connect(connection))
            self._connecting.add(task)
            task.add_done_callback(self._connecting.discard)

    async def _connect(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._make, connection)
        except OSError:
            # It has gone already.
            connection.close()

    def _resume(self) -> None:
        self._pause = None
        self._loop.add_reader(self._socket.fileno(), self._accept)

    def close(self) -> None:
        """Accept no more. Idempotent."""
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()


class GuardedSite(web.SockSite):
    """A listening socket whose connections are guarded."""

    def __init__(
        self,
        runner: web.AppRunner,
        sock: socket.socket,
        unauthenticated: Unauthenticated,
        door: Door | None = None,
    ) -> None:
        """``door``: where requests to join wait."""
        super().__init__(runner, sock)
        self._unauthenticated = unauthenticated
        self._door = door
        self._connections: weakref.WeakSet[Connection] = weakref.WeakSet()
        self._acceptor: Acceptor | None = None

    async def start(self) -> None:
        """Listen."""
        await web.BaseSite.start(self)
        # There is one since the runner was set up, without which nobody can make a site.
        make = cast("web.Server", self._runner.server)

        def connection() -> Connection:
            made = Connection(make, self._unauthenticated, self._door)
            self._connections.add(made)
            return made

        self._acceptor = Acceptor(self._sock, connection)

    async def stop(self) -> None:
        """Listen no more, and end the connections of which aiohttp knows nothing."""
        if self._acceptor is not None:
            self._acceptor.close()
        await super().stop()
        for connection in list(self._connections):
            connection.shut()


def runner(application: web.Application, **options: Any) -> web.AppRunner:  # noqa: ANN401
    """An aiohttp runner for guarded sites: bodies are not inflated, as Go's server does not, and a
    client whose body is not wanted has a moment to read why."""
    return web.AppRunner(
        application,
        access_log=None,
        handle_signals=False,
        auto_decompress=False,
        lingering_time=HTTP_LINGER_S,
        max_line_size=HTTP_LINE_MAX,
        max_field_size=HTTP_HEADER_MAX,
        **options,
    )
