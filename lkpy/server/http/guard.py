"""What a connection may hold before anybody knows who it is: bytes and time, counted where they
arrive.

aiohttp bounds a header's fields, not a header, and reads for as long as somebody sends. The guard
stands between the socket and aiohttp. It gives aiohttp one request at a time, header first; a body
is read when the service says so, which is after it has looked at the token. A WebSocket leaves the
guard behind.

Requests to join wait at a :class:`Door` until somebody has time for them: aiohttp hears of those
that are let in. It knows nothing either of a connection on which nothing has come yet.
"""

from __future__ import annotations

import asyncio
import enum
import logging
import re
from collections import Counter
from collections.abc import Callable
from typing import Protocol, cast

from aiohttp import web

from lkpy.limits import (
    HTTP_HEADER_MAX,
    HTTP_HEADER_TIMEOUT_S,
    HTTP_LINE_MAX,
    HTTP_PATH_MAX,
    HTTP_UNAUTHENTICATED_MAX,
    HTTP_WRITE_TIMEOUT_S,
)
from lkpy.server.telemetry.log import fields

logger = logging.getLogger(__name__)

_END_OF_HEADER = b"\r\n\r\n"
_READ = memoryview(bytearray(16 * 1024))
"""Takes every read of every connection: what it holds is handed on before the next one."""
_LONG_LINE = re.compile(rb"GET //?rtc(?:/v1)?(?:/validate)?\?")
"""Requests whose line may be longer than other headers altogether: it has the ``join_request``."""
_END_OF_PATH = re.compile(rb"[?\n]")
_TO_DOOR = re.compile(rb"GET //?rtc(?:/v1)?(?:/validate)?[? ]")
_BROWSER = re.compile(rb"(?i)\nuser-agent:[ \t]*mozilla/")
_SENT_AWAY = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: %s\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\nContent-Length: 22\r\n"
    b"Vary: Origin\r\nAccess-Control-Allow-Origin: *\r\nAccess-Control-Expose-Headers: *\r\n"
    b"Connection: close\r\n\r\ntoo many joins at once"
)
"""RFC 9110 10.2.3. A page of any site may read it, as it may what ``/rtc/validate`` answers."""


class Refusal(enum.StrEnum):
    """Why a connection was ended here: a label of ``lkpy_http_refused_total``."""

    HEADER_TOO_LARGE = "header too large"
    PATH_TOO_LONG = "path too long"
    BODY_TOO_LARGE = "body too large"
    TOO_MUCH_HELD = "too much held"
    SLOW_HEADER = "slow header"
    SLOW_READER = "slow reader"
    PIPELINED = "too much sent ahead"


_ANSWERS = {
    Refusal.HEADER_TOO_LARGE: b"431 Request Header Fields Too Large",
    Refusal.PATH_TOO_LONG: b"414 Request-URI Too Long",
    Refusal.BODY_TOO_LARGE: b"413 Request Entity Too Large",
    Refusal.TOO_MUCH_HELD: b"503 Service Unavailable",
}
"""Others are ended without a word."""


class Door(Protocol):
    """Decides which requests to join are looked at, and when."""

    def arrive(self, visitor: Connection, size: int, *, browser: bool) -> None:
        """A header of ``size`` bytes is there: :meth:`Connection.let_in` or
        :meth:`Connection.send_away`, now or later."""

    def leave(self, visitor: Connection) -> None:
        """The visitor is gone. Idempotent."""


class Unauthenticated:
    """What all connections together hold for clients that have shown no token yet.

    When it is too much, somebody loses their connection: first whoever sends a line longer than
    :data:`~lkpy.limits.HTTP_HEADER_MAX`, then whoever came first, since an honest client is through
    with this in a moment.
    """

    def __init__(self, maximum: int = HTTP_UNAUTHENTICATED_MAX) -> None:
        self.held = 0
        """Bytes."""
        self.refused: Counter[Refusal] = Counter()
        self._maximum = maximum
        self._holders: dict[Connection, int] = {}
        self._long: dict[Connection, None] = {}

    def hold(self, connection: Connection, size: int) -> None:
        """Count bytes that a connection holds from now on, and make room for them."""
        held = self._holders.get(connection, 0) + size
        self._holders[connection] = held
        if held > HTTP_HEADER_MAX:
            self._long[connection] = None
        self.held += size
        while self.held > self._maximum:
            next(iter(self._long or self._holders)).refuse(Refusal.TOO_MUCH_HELD)

    def release(self, connection: Connection) -> None:
        """Forget what a connection held. Idempotent."""
        self.held -= self._holders.pop(connection, 0)
        self._long.pop(connection, None)

    @property
    def connections(self) -> int:
        """That hold something."""
        return len(self._holders)


class _Phase(enum.Enum):
    HEADER = enum.auto()
    """Of the next request, of which nothing may have come yet."""
    DOOR = enum.auto()
    """The header of a request to join is there; aiohttp has not seen it."""
    HELD = enum.auto()
    """The header is there; nothing more is read until the service has looked at it."""
    BODY = enum.auto()
    ANSWER = enum.auto()
    """The request is there. What comes now belongs to the next one and waits."""
    DISCARD = enum.auto()
    """A body that nobody wants: read, so that the client can read why, and forgotten."""
    LEFT = enum.auto()
    """A WebSocket, or ended."""


class Connection(asyncio.BufferedProtocol):
    """One connection, in front of aiohttp's protocol for it."""

    def __init__(
        self,
        make: Callable[[], asyncio.Protocol],
        unauthenticated: Unauthenticated,
        door: Door | None = None,
    ) -> None:
        """``make``: aiohttp's protocol, once there is something for it."""
        self._make = make
        self._inner: asyncio.Protocol | None = None
        self._shared = unauthenticated
        self._door = door
        self._head = bytearray()
        """What has come of a header that goes to the door."""
        self.was_let_in = False
        """The door has let this request in."""
        self._phase = _Phase.HEADER
        self._transport: asyncio.Transport | None = None
        self._seen = 0
        """Bytes of this header."""
        self._line = 0
        """Bytes of its first line while that lasts; its length afterwards."""
        self._in_line = True
        self._start = b""
        """The first bytes of the line, up to the longest path."""
        self._tail = b""
        self._ahead = bytearray()
        """Read and not given to aiohttp."""
        self._body: int | None = 0
        """Bytes of the body to come; None: as many as aiohttp finds in its chunks."""
        self.request: web.BaseRequest | None = None
        """The last that a handler of ours had; others are answered by aiohttp itself."""
        self._owned = False
        """Who sends this is known, or has said everything."""
        self._header_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None

    # -- what the service says -------------------------------------------------------------------

    def accept(self) -> None:
        """The client is known: read the body, and count no more."""
        self._owned = True
        self._shared.release(self)
        self._read_body()

    def accept_nothing(self) -> None:
        """The answer needs no body: what came of one is not read, and nothing is counted."""
        self._shared.release(self)
        if self._body == 0:
            self._read_body()

    def read_unauthenticated(self) -> None:
        """Read a body that has the token in it, or that LiveKit looks at before it looks for one:
        header and body together may have :data:`~lkpy.limits.HTTP_HEADER_MAX` bytes."""
        self._read_body()

    def room_for(self, body: int) -> bool:
        """Whether a body of so many bytes may be read from somebody unknown."""
        return self._seen + body <= HTTP_HEADER_MAX

    def answered(self) -> None:
        """The request has its answer; the next may come, unless :attr:`body_is_missing`."""
        if self._phase is _Phase.LEFT:
            return
        self._shared.release(self)
        if self.body_is_missing:
            self._phase = _Phase.DISCARD
            self._ahead.clear()
            self._resume()
            return
        ahead = bytes(self._ahead)
        self._ahead.clear()
        self._next_header()
        self._resume()
        if ahead:
            self._received(ahead)

    @property
    def body_is_missing(self) -> bool:
        """Whether there may be more of the body to come: the end of one in chunks is aiohttp's to
        know, and what it has read beyond is the next request's. The answer has to close the
        connection."""
        return self._phase in (_Phase.HELD, _Phase.BODY) and self._body != 0

    def leave(self) -> None:
        """The connection is a WebSocket from now on: be out of its way."""
        if self._phase is _Phase.LEFT or self._transport is None:
            return
        self._end()
        inner = self._aiohttp()
        self._transport.set_protocol(inner)
        self._resume()
        if self._ahead:
            inner.data_received(bytes(self._ahead))
            self._ahead.clear()

    def began(self, body: int | None) -> None:
        """aiohttp has made a request of the header; ``body``: its length, None if it is chunked."""
        self._stop_header_timer()
        self._body = body
        if self._phase is _Phase.HEADER:  # aiohttp saw an end of the header that we did not
            self._phase = _Phase.HELD

    # -- what the door says ----------------------------------------------------------------------

    def let_in(self) -> None:
        """Give the request to aiohttp."""
        if self._phase is not _Phase.DOOR:
            return
        self._phase, self.was_let_in = _Phase.HELD, True
        self._pause()
        head = bytes(self._head)
        self._head.clear()
        self._give(head, len(head) + len(self._ahead))

    def send_away(self, retry_after: str) -> None:
        """Answer 503 and end the connection."""
        if self._phase is not _Phase.DOOR or self._transport is None:
            return
        self._end()
        self._transport.write(_SENT_AWAY % retry_after.encode())
        self._transport.close()

    def shut(self) -> None:
        """The server stops. Connections that aiohttp knows it ends itself."""
        if self._inner is None and self._transport is not None:
            self._transport.abort()

    # -- bytes -----------------------------------------------------------------------------------

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes go."""
        return _READ

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes came."""
        self._received(bytes(_READ[:nbytes]))

    def _received(self, data: bytes) -> None:
        match self._phase:
            case _Phase.HEADER:
                self._header(data)
            case _Phase.BODY:
                self._part_of_body(data)
            case _Phase.DOOR | _Phase.HELD | _Phase.ANSWER:
                self._ahead += data
                self._pause()
                if len(self._ahead) > HTTP_HEADER_MAX:
                    self.refuse(Refusal.PIPELINED)
            case _:
                pass

    def _header(self, data: bytes) -> None:
        if not self._seen:
            data = data.lstrip(b"\r\n")  # RFC 9112 2.2
            if not data:
                return
            self._start_header_timer()
        searched = self._tail + data
        end = searched.find(_END_OF_HEADER)
        head = data if end < 0 else data[: end + len(_END_OF_HEADER) - len(self._tail)]
        self._tail = searched[1 - len(_END_OF_HEADER) :]
        began = not self._seen
        self._count_line(head)
        self._seen += len(head)
        if (reason := self._is_too_large()) is not None:
            return self.refuse(reason)
        to_door = bool(self._head)
        if began and self._door is not None:
            to_door = _TO_DOOR.match(self._start) is not None
        if to_door:
            self._head += head
        if end >= 0:
            self._stop_header_timer()
            self._ahead += data[len(head) :]
            if to_door:
                return self._knock()
            self._phase = _Phase.HELD
            self._pause()
        if to_door:
            self._hold(len(data))
        else:
            self._give(head, len(data))

    def _knock(self) -> None:
        """The door counts what waits there. Whoever goes away meanwhile is seen to, so it is read
        on."""
        self._phase = _Phase.DOOR
        self._shared.release(self)
        if self._door is not None:
            browser = _BROWSER.search(self._head, self._line - 1) is not None
            self._door.arrive(self, len(self._head) + len(self._ahead), browser=browser)

    def _give(self, data: bytes, size: int) -> None:
        """Pass on to aiohttp, and count ``size`` bytes."""
        self._hold(size)
        # What all hold together may be too much, and this connection the one that loses.
        if self._phase is not _Phase.LEFT:
            self._aiohttp().data_received(data)

    def _aiohttp(self) -> asyncio.Protocol:
        if self._inner is None:
            self._inner = self._make()
            if self._transport is not None:
                self._inner.connection_made(self._transport)
        return self._inner

    def _count_line(self, head: bytes) -> None:
        if self._in_line:
            self._start += head[: HTTP_PATH_MAX - len(self._start)]
            newline = head.find(b"\n")
            self._in_line = newline < 0
            self._line += len(head) if newline < 0 else newline + 1

    def _is_too_large(self) -> Refusal | None:
        if len(self._start) >= HTTP_PATH_MAX and not _END_OF_PATH.search(self._start):
            return Refusal.PATH_TOO_LONG
        if _LONG_LINE.match(self._start):
            too_large = self._line > HTTP_LINE_MAX or self._seen - self._line > HTTP_HEADER_MAX
        else:
            too_large = self._seen > HTTP_HEADER_MAX
        return Refusal.HEADER_TOO_LARGE if too_large else None

    def _read_body(self) -> None:
        if self._phase is not _Phase.HELD:
            return
        ahead = bytes(self._ahead)
        self._ahead.clear()
        self._phase = _Phase.ANSWER if self._body == 0 else _Phase.BODY
        self._resume()
        if ahead:
            self._received(ahead)

    def _part_of_body(self, data: bytes) -> None:
        if self._body is None:
            part, rest = data, b""
        else:
            part, rest = data[: self._body], data[self._body :]
            self._body -= len(part)
        self._seen += len(part)
        if not self._owned:
            if self._seen > HTTP_HEADER_MAX:
                return self.refuse(Refusal.BODY_TOO_LARGE)
            self._hold(len(part))
            if self._phase is _Phase.LEFT:
                return
        if self._body == 0:
            self._phase = _Phase.ANSWER
        self._aiohttp().data_received(part)
        if rest:
            self._received(rest)

    def _hold(self, size: int) -> None:
        self._shared.hold(self, size)

    def _next_header(self) -> None:
        self._phase = _Phase.HEADER
        self._seen = self._line = 0
        self._body = 0
        self._in_line, self._owned, self.was_let_in = True, False, False
        self._start = self._tail = b""

    # -- the end ---------------------------------------------------------------------------------

    def refuse(self, reason: Refusal) -> None:
        """End the connection, with an answer where there is one."""
        if self._phase is _Phase.LEFT:
            return
        answering = self._phase in (_Phase.ANSWER, _Phase.DISCARD)
        self._end()
        self._shared.refused[reason] += 1
        # Browsers open connections that they never use.
        level = logging.INFO if self._seen else logging.DEBUG
        logger.log(level, "ended an HTTP connection", extra=fields(reason=reason))
        if self._transport is None:
            return
        answer = _ANSWERS.get(reason)
        if answer is not None and not answering:
            head = b"HTTP/1.1 " + answer + b"\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
            self._transport.write(head)
            self._transport.close()
        else:
            self._transport.abort()

    def _end(self) -> None:
        if self._phase is _Phase.DOOR and self._door is not None:
            self._door.leave(self)
        self._phase = _Phase.LEFT
        self._head.clear()
        self._shared.release(self)
        self._stop_header_timer()
        self._stop_write_timer()

    # -- time ------------------------------------------------------------------------------------

    def _start_header_timer(self) -> None:
        if self._header_timer is None:
            self._header_timer = asyncio.get_running_loop().call_later(
                HTTP_HEADER_TIMEOUT_S, self.refuse, Refusal.SLOW_HEADER
            )

    def _stop_header_timer(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _stop_write_timer(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    # -- the protocol ----------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the clock."""
        # uvloop's transports are no subclasses.
        self._transport = cast("asyncio.Transport", transport)
        self._start_header_timer()

    def eof_received(self) -> bool | None:
        """Pass on."""
        return None if self._inner is None else self._inner.eof_received()

    def pause_writing(self) -> None:
        """Whoever does not read its answer loses it."""
        if self._inner is not None:
            self._inner.pause_writing()
        self._write_timer = asyncio.get_running_loop().call_later(
            HTTP_WRITE_TIMEOUT_S, self.refuse, Refusal.SLOW_READER
        )

    def resume_writing(self) -> None:
        """Pass on."""
        self._stop_write_timer()
        if self._inner is not None:
            self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Hold nothing any more."""
        self._end()
        self._transport = None
        if self._inner is not None:
            self._inner.connection_lost(exc)

    def _pause(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def _resume(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()


def guarding(request: web.BaseRequest) -> Connection | None:
    """The guard of the connection that a request came on; None if that has ended."""
    transport = request.transport
    protocol = None if transport is None else transport.get_protocol()
    return protocol if isinstance(protocol, Connection) else None


def began(request: web.BaseRequest) -> Connection | None:
    """The same, told that its request is being handled."""
    connection = guarding(request)
    if connection is not None:
        connection.request = request
        connection.began(request.content_length if request.body_exists else 0)
    return connection


def closing(connection: Connection, response: web.StreamResponse) -> web.StreamResponse:
    """The same response, after which the connection is closed if it cannot go on."""
    if connection.body_is_missing:
        response.force_close()
    return response
