"""One participant's WebSocket: frames to requests, responses to frames."""

from __future__ import annotations

import asyncio
import contextlib
import logging

from aiohttp import WSCloseCode, WSMsgType, web
from livekit.protocol import rtc

from lkpy.clock import Clock
from lkpy.errors import LkpyError
from lkpy.limits import (
    STREAM_FLUSH_S,
    WS_PING_INTERVAL_S,
    WS_PING_TICK_S,
    WS_WRITE_TIMEOUT_S,
    Limits,
)
from lkpy.server.http.websocket import SharedDeflate, WebSocket
from lkpy.server.routing.signal_client import SignalConnection
from lkpy.signal.codec import Encoding, FrameError, SharedEncoder, decode, encode

logger = logging.getLogger(__name__)


class SocketRegistry:
    """The open signal sockets, and what they share: an update for a whole room is serialised
    once, and there is one compressor."""

    def __init__(self) -> None:
        self.encoder = SharedEncoder()
        self.deflate = SharedDeflate()
        self._sockets: set[SignalSocket] = set()
        self._past_requests = 0
        self._past_responses = 0
        self._empty = asyncio.Event()
        self._empty.set()

    def add(self, socket: SignalSocket) -> None:
        """Know a socket until :meth:`discard`."""
        self._sockets.add(socket)
        self._empty.clear()

    def discard(self, socket: SignalSocket) -> None:
        """Forget a socket. Idempotent."""
        if socket in self._sockets:
            self._sockets.remove(socket)
            self._past_requests += socket.requests
            self._past_responses += socket.responses
        if not self._sockets:
            self._empty.set()

    def __len__(self) -> int:
        return len(self._sockets)

    def messages(self) -> tuple[int, int]:
        """Requests received and responses sent by every socket that ever was; pings and their
        answers do not count."""
        return (
            self._past_requests + sum(socket.requests for socket in self._sockets),
            self._past_responses + sum(socket.responses for socket in self._sockets),
        )

    async def wait_empty(self) -> None:
        """Return once every socket has ended."""
        await self._empty.wait()


class SignalSocket:
    """Two pumps between a WebSocket and a signal connection.

    Responses are sent in the encoding of the last frame received. Pings are answered here, on the
    node that holds the socket.
    """

    def __init__(
        self, connection: SignalConnection, deflate: SharedDeflate, limits: Limits, clock: Clock
    ) -> None:
        self._connection = connection
        self._clock = clock
        self._socket = WebSocket(
            deflate, max_msg_size=limits.signal_message_size_limit, timeout=WS_WRITE_TIMEOUT_S
        )
        self._encoding = Encoding.BINARY
        self.requests = 0
        self.responses = 0
        # Two tasks send: responses, and answers to pings. A frame must not enter another.
        self._sending = asyncio.Lock()
        self._pinged_at = 0.0
        """When there was last a ping, ours or the client's, on the event loop's clock."""

    async def run(
        self, request: web.Request, first: rtc.SignalResponse, registry: SocketRegistry
    ) -> web.StreamResponse:
        """Upgrade, send the first response, then pump until either side ends."""
        registry.add(self)
        try:
            await self._socket.prepare(request)
            self._pinged_at = asyncio.get_running_loop().time()
            await self._pump(first, registry.encoder)
        finally:
            registry.discard(self)
        return self._socket

    async def _pump(self, first: rtc.SignalResponse, encoder: SharedEncoder) -> None:
        writer = asyncio.create_task(self._write_responses(first, encoder))
        pumps = [
            writer,
            asyncio.create_task(self._read_requests()),
            asyncio.create_task(self._keep_alive()),
        ]
        responses = self._connection.responses
        responses.on_close(
            lambda: asyncio.get_running_loop().call_later(STREAM_FLUSH_S, writer.cancel)
        )
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            if responses.closed and not self._socket.closed:
                # The room ended it, and what it said last (`leave`) is still on its way.
                await asyncio.wait([writer])
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            with contextlib.suppress(ConnectionError):
                await self._socket.close(code=WSCloseCode.OK)
            await self._socket.linger()

    async def _write_responses(self, first: rtc.SignalResponse, encoder: SharedEncoder) -> None:
        with contextlib.suppress(ConnectionError):
            await self._send(encode(first, self._encoding))
            self.responses += 1
            async for response in self._connection.responses:
                await self._send(encoder.encode(response, self._encoding))
                self.responses += 1

    async def _read_requests(self) -> None:
        async for message in self._socket:
            if message.type is WSMsgType.ERROR:
                return
            try:
                request = decode(message.data, rtc.SignalRequest)
            except FrameError as error:
                logger.info("closing a signal connection: %s", error.code)
                return
            self._encoding = Encoding.TEXT if message.type is WSMsgType.TEXT else Encoding.BINARY
            try:
                await self._handle(request)
            except (LkpyError, ConnectionError):
                return

    async def _handle(self, request: rtc.SignalRequest) -> None:
        kind = request.WhichOneof("message")
        if kind == "ping":
            await self._answer(rtc.SignalResponse(pong=self._now_ms()))
        elif kind == "ping_req":
            sent = request.ping_req.timestamp
            pong = rtc.Pong(last_ping_timestamp=sent, timestamp=self._now_ms())
            await self._answer(rtc.SignalResponse(pong_resp=pong))
            # The room learns that the client is there.
            self._connection.requests.write(request)
        elif kind is not None:
            self._connection.requests.write(request)
            self.requests += 1

    async def _answer(self, response: rtc.SignalResponse) -> None:
        await self._send(encode(response, self._encoding))
        self._pinged_at = asyncio.get_running_loop().time()

    async def _send(self, frame: bytes | str) -> None:
        async with self._sending:
            if isinstance(frame, bytes):
                await self._socket.send_bytes(frame)
            else:
                await self._socket.send_str(frame)

    async def _keep_alive(self) -> None:
        """Keep proxies from closing an idle connection: ping a client that sends no pings itself.

        On ticks that all sockets share: an idle server wakes once for many of them.
        """
        loop = asyncio.get_running_loop()
        with contextlib.suppress(ConnectionError):
            while True:
                due = self._pinged_at + WS_PING_INTERVAL_S
                if due > loop.time():
                    due += WS_PING_TICK_S - due % WS_PING_TICK_S
                    await asyncio.sleep(due - loop.time())
                    continue
                async with self._sending:
                    async with asyncio.timeout(WS_WRITE_TIMEOUT_S):
                        await self._socket.ping()
                    self._pinged_at = loop.time()

    def _now_ms(self) -> int:
        return int(self._clock.wall() * 1000)
