"""A WebSocket whose compression keeps nothing between messages, as LiveKit negotiates it, and whose
client can read that it has sent too much.

A deflate state is a quarter of a megabyte (RFC 1951 window and hash chains), which for most
participants would be more than everything else about them. Without context takeover every message
stands alone, so all sockets share one state.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import fcntl
import socket
import struct
import termios
from collections import OrderedDict
from typing import Any, cast

from aiohttp import hdrs, web
from aiohttp.compression_utils import ZLibCompressor
from aiohttp.http_websocket import WebSocketError

from lkpy.limits import WS_LINGER_S
from lkpy.server.http.handshake import DEFLATE

_LEVEL = 1
_RAW_WINDOW_BITS = -15
_CORKED = 16 * 1024
_SENT_AT_ONCE = 32 * 1024
"""asyncio and aiohttp make a writer wait when 64 KiB are."""
_RESET = struct.pack("ii", 1, 0)
"""``SO_LINGER`` of no time: closing resets the connection (``socket(7)``)."""


class SharedDeflate:
    """One deflate state for all sockets of a server; what aiohttp's writer takes for its own.

    Messages are compressed one after the other on the loop's thread: each ends with a full flush,
    after which nothing refers to it (``server_no_context_takeover``, RFC 7692 7.1.1.1). So a
    message is the same bytes for everybody, and one that goes to a whole room is compressed once.
    """

    def __init__(self, remembered: int = 16) -> None:
        # With a chunk size, long messages would be compressed in a thread, beside others' messages.
        self._deflate = ZLibCompressor(
            level=_LEVEL, wbits=_RAW_WINDOW_BITS, max_sync_chunk_size=None
        )
        self._remembered = remembered
        self._done: OrderedDict[int, tuple[bytes, bytes]] = OrderedDict()
        """Messages and what became of them, by the message's identity."""
        self._message = b""

    def compress_sync(self, message: bytes) -> bytes:
        """Take a message; its bytes come with :meth:`flush`."""
        self._message = message
        return b""

    async def compress(self, message: bytes) -> bytes:
        """The same: aiohttp awaits for messages that it would give to a thread."""
        return self.compress_sync(message)

    def flush(self, mode: int) -> bytes:
        """The message, compressed."""
        message = self._message
        known = self._done.get(id(message))
        # Holding the message keeps its id from being used again.
        if known is not None:
            return known[1]
        compressed = self._deflate.compress_sync(message) + self._deflate.flush(mode)
        self._done[id(message)] = (message, compressed)
        if len(self._done) > self._remembered:
            self._done.popitem(last=False)
        return compressed


class Cork:
    """What is written in one turn of the event loop goes to the transport in one piece: who joins
    is told six things in one turn, and the kernel's part is a third of what sending one costs.

    It is what aiohttp's writer takes for its transport.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._parts: list[bytes] = []
        self._loop = asyncio.get_running_loop()
        self.size = 0
        """Bytes that wait for the end of the turn."""

    def write(self, data: bytes) -> None:
        """Send soon, in order."""
        self._parts.append(data)
        self.size += len(data)
        if self.size > _CORKED:
            # The transport tells aiohttp when a peer takes nothing, of what it knows.
            self.flush()
        elif len(self._parts) == 1:
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Send now."""
        if not self._parts:
            return
        data = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts.clear()
        self.size = 0
        if not self._transport.is_closing():
            self._transport.write(data)

    def is_closing(self) -> bool:
        """Of the transport."""
        return self._transport.is_closing()

    def get_extra_info(self, name: str, default: object = None) -> object:
        """Of the transport."""
        return self._transport.get_extra_info(name, default)


class WebSocket(web.WebSocketResponse):
    """A WebSocket that compresses with a :class:`SharedDeflate` when the client can inflate.

    The handshake must have passed :func:`lkpy.server.http.handshake.canonical`.
    """

    def __init__(self, deflate: SharedDeflate, *, max_msg_size: int, timeout: float) -> None:
        super().__init__(compress=True, max_msg_size=max_msg_size, timeout=timeout)
        self._deflate = deflate
        self._lingers = False
        self._transport: asyncio.Transport | None = None
        self._cork: Cork | None = None

    def _pre_start(self, request: web.BaseRequest) -> Any:  # noqa: ANN401 - aiohttp's own
        protocol, writer = super()._pre_start(request)
        # uvloop's transports are no subclasses.
        self._transport = cast("asyncio.Transport", request.transport)
        self._cork = Cork(self._transport)
        writer.transport = cast("asyncio.Transport", self._cork)
        if writer.compress:
            self.headers[hdrs.SEC_WEBSOCKET_EXTENSIONS] = DEFLATE
            # aiohttp makes one of its own where there is none.
            writer._compressobj = self._deflate  # type: ignore[assignment]
        return protocol, writer

    def flush(self) -> None:
        """Give the transport everything that was sent."""
        if self._cork is not None:
            self._cork.flush()

    def _close_transport(self) -> None:
        self.flush()
        # Closing with bytes unread resets the connection, and the close frame is lost with it.
        if isinstance(self.exception(), WebSocketError):
            self._lingers = True
        else:
            super()._close_transport()

    @property
    def unsent(self) -> int:
        """Bytes that the peer has not taken, beyond what the kernel keeps for it."""
        transport = self._transport
        corked = 0 if self._cork is None else self._cork.size
        return 0 if transport is None else transport.get_write_buffer_size() + corked

    @property
    def untaken(self) -> int:
        """Bytes that the peer has not acknowledged, the kernel's too (``tcp(7)``, SIOCOUTQ). The
        kernel takes more only when a good part of what it has is gone."""
        transport = self._transport
        connection = None if transport is None else transport.get_extra_info("socket")
        if connection is None:
            return 0
        queued = array.array("i", [0])
        with contextlib.suppress(OSError):
            fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, queued)
        return self.unsent + queued[0]

    def may_wait(self, size: int) -> bool:
        """Whether sending a message of so many bytes may have to wait for the peer."""
        return self.unsent + size > _SENT_AT_ONCE

    def forget_failure(self) -> None:
        """Of what ended the connection keep no more than what it was: where it happened refers to
        the connection, and both would stay until Python looks for such circles."""
        failure = self.exception()
        if failure is not None:
            failure.__traceback__ = None

    def abort(self) -> None:
        """End the connection now, and forget what the peer has not taken, in the kernel too. Does
        nothing to one that has ended."""
        transport = self._transport
        if transport is None or (transport.is_closing() and not self.unsent):
            return
        connection = transport.get_extra_info("socket")
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        transport.abort()

    async def linger(self) -> None:
        """Give a client whose frame broke the rules the time to read the close code."""
        if self._lingers:
            await asyncio.sleep(WS_LINGER_S)
            super()._close_transport()
