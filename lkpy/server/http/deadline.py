"""Connections that dribble their request: aiohttp waits for headers and bodies for ever."""

from __future__ import annotations

import asyncio
from typing import cast

from aiohttp import web

from lkpy.limits import HTTP_BACKLOG, HTTP_HEADER_TIMEOUT_S

_END_OF_HEADER = b"\r\n\r\n"


class HeaderDeadline(asyncio.Protocol):
    """Closes a connection whose first request header is not there in time, and is out of the way
    as soon as it is. Between requests the keep-alive timeout of aiohttp takes over."""

    def __init__(self, inner: asyncio.Protocol, seconds: float) -> None:
        self._inner = inner
        self._seconds = seconds
        self._tail = b""
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the clock."""
        # uvloop's transports are no subclasses.
        self._transport = cast("asyncio.Transport", transport)
        self._timer = asyncio.get_running_loop().call_later(self._seconds, self._transport.abort)
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Look for the end of the header on the way."""
        seen = self._tail + data
        if _END_OF_HEADER in seen:
            self._stop()
            if self._transport is not None:
                self._transport.set_protocol(self._inner)
        else:
            self._tail = seen[1 - len(_END_OF_HEADER) :]
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        """Pass on."""
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        """Pass on."""
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        """Pass on."""
        self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        self._stop()
        self._inner.connection_lost(exc)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()


class DeadlineSite(web.SockSite):
    """A listening socket whose connections have a :class:`HeaderDeadline`."""

    async def start(self) -> None:
        """Listen."""
        await web.BaseSite.start(self)
        # There is one since the runner was set up, without which nobody can make a site.
        accept = cast("web.Server", self._runner.server)
        self._server = await asyncio.get_running_loop().create_server(
            lambda: HeaderDeadline(accept(), HTTP_HEADER_TIMEOUT_S),
            sock=self._sock,
            backlog=self._backlog,
        )
        # That is also how many asyncio accepts before it does anything else; more may wait.
        self._sock.listen(HTTP_BACKLOG)
