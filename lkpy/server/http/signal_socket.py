"""One participant's WebSocket: frames to requests, responses to frames."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from functools import partial

from aiohttp import WSCloseCode, WSMsgType, web
from livekit.protocol import rtc

from lkpy.clock import Clock
from lkpy.errors import LkpyError
from lkpy.limits import (
    STREAM_FLUSH_S,
    WS_PING_INTERVAL_S,
    WS_PING_TICK_S,
    WS_SEND_TIMEOUT_S,
    WS_WRITE_TIMEOUT_S,
    Limits,
)
from lkpy.server.http.request_rate import RequestRate, cost
from lkpy.server.http.websocket import SharedDeflate, WebSocket
from lkpy.server.routing.signal_client import SignalConnection
from lkpy.server.rtc.session import StartSession
from lkpy.server.rtc.signals import knows_newer_messages
from lkpy.server.telemetry.events import NO_TELEMETRY, SignalLimited, Telemetry
from lkpy.server.telemetry.log import fields
from lkpy.signal.codec import Encoding, FrameError, SharedEncoder, decode, encode
from lkpy.signal.request_bounds import SMALL, too_much, violation

logger = logging.getLogger(__name__)


class SocketRegistry:
    """The open signal sockets, and what they share: an update for a whole room is serialised
    once, and there is one compressor."""

    def __init__(self) -> None:
        self.encoder = SharedEncoder()
        self.deflate = SharedDeflate()
        self._sockets: set[SignalSocket] = set()
        self.closing: set[SignalSocket] = set()
        """Those that are over, whose last bytes are still on their way."""
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
    node that holds the socket; so are requests that hold more than a request may. Whoever sends
    more than its share is read more slowly, and whoever does not read loses the connection.
    """

    def __init__(
        self,
        connection: SignalConnection,
        start: StartSession,
        deflate: SharedDeflate,
        limits: Limits,
        clock: Clock,
        telemetry: Telemetry = NO_TELEMETRY,
    ) -> None:
        self._connection = connection
        self._start = start
        self._clock = clock
        self._telemetry = telemetry
        self._socket = WebSocket(
            deflate, max_msg_size=limits.signal_message_size_limit, timeout=WS_WRITE_TIMEOUT_S
        )
        self._encoding = Encoding.BINARY
        self._rate = RequestRate(clock.now())
        self.requests = 0
        self.responses = 0
        # Two tasks send: responses, and answers to pings. A frame must not enter another.
        self._sending = asyncio.Lock()
        self._pinged_at = 0.0
        """When there was last a ping, ours or the client's, on the event loop's clock."""
        self._about = partial(
            fields, room=start.room, participant=start.identity, connID=start.connection_id
        )

    async def run(
        self, request: web.Request, first: rtc.SignalResponse, registry: SocketRegistry
    ) -> web.StreamResponse:
        """Upgrade, send the first response, then pump until either side ends."""
        registry.add(self)
        try:
            await self._socket.prepare(request)
            self._pinged_at = asyncio.get_running_loop().time()
            await self._pump(first, registry)
        finally:
            registry.discard(self)
        return self._socket

    async def _pump(self, first: rtc.SignalResponse, registry: SocketRegistry) -> None:
        writer = asyncio.create_task(self._write_responses(first, registry.encoder))
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
            self._report(await asyncio.gather(*pumps, return_exceptions=True))
            await self._finish(registry)

    def _report(self, outcomes: list[BaseException | None]) -> None:
        """Say why a connection ended that neither side ended."""
        for outcome in outcomes:
            if isinstance(outcome, TimeoutError):
                self._cut("not_reading")
                self._socket.abort()
            elif outcome is not None and not isinstance(
                outcome, asyncio.CancelledError | ConnectionError
            ):
                logger.error("a signal connection failed", exc_info=outcome, extra=self._about())
        if self._connection.responses.reason == "full":
            self._cut("overflow")

    def _cut(self, reason: str) -> None:
        self._telemetry.tell(SignalLimited(reason))
        logger.warning("ending a signal connection", extra=self._about(reason=reason))

    async def _finish(self, registry: SocketRegistry) -> None:
        """Close the socket, and see that it is gone soon: a peer that does not read would keep it
        for as long as it likes, with all that waits to be sent."""
        registry.closing.add(self)
        loop = asyncio.get_running_loop()
        deadline = loop.call_later(WS_SEND_TIMEOUT_S, self._give_up, registry)
        with contextlib.suppress(ConnectionError):
            await self._socket.close(code=WSCloseCode.OK)
        self._socket.flush()
        await self._socket.linger()
        self._socket.forget_failure()
        if not self._socket.unsent:
            deadline.cancel()
            registry.closing.discard(self)

    def _give_up(self, registry: SocketRegistry) -> None:
        registry.closing.discard(self)
        if self._socket.unsent:
            self._cut("not_reading")
        self._socket.abort()

    async def _write_responses(self, first: rtc.SignalResponse, encoder: SharedEncoder) -> None:
        await self._send(encode(first, self._encoding))
        self.responses += 1
        async for response in self._connection.responses:
            await self._send(encoder.encode(response, self._encoding))
            self.responses += 1

    async def _read_requests(self) -> None:
        async for message in self._socket:
            if message.type is WSMsgType.ERROR:
                return
            self._encoding = Encoding.BINARY
            if message.type is WSMsgType.TEXT:
                self._encoding = Encoding.TEXT
            try:
                request = await self._take(message.data)
            except FrameError:
                self._cut("malformed")
                return
            except LkpyError:
                # The room ended the connection.
                return
            if not await self._hold_back(cost(request, message.data)):
                return

    async def _take(self, frame: bytes | str) -> rtc.SignalRequest:
        """Decode a request and do what it asks for, unless it is too much."""
        why = too_much(frame, rtc.SignalRequest)
        if why:
            request = rtc.SignalRequest()
        else:
            request = decode(frame, rtc.SignalRequest)
            why = violation(request) if len(frame) > SMALL else ""
        if why:
            await self._refuse(why, request)
        else:
            await self._handle(request)
        return request

    async def _refuse(self, message: str, request: rtc.SignalRequest) -> None:
        """Do nothing of a request that is too much, and say so."""
        self._telemetry.tell(SignalLimited("refused"))
        logger.warning("refused a signal request", extra=self._about(error=message))
        answer = rtc.RequestResponse(
            reason=rtc.RequestResponse.Reason.LIMIT_EXCEEDED, message=message
        )
        kind = request.WhichOneof("message")
        if kind is not None:
            answer.request_id = getattr(getattr(request, kind), "request_id", 0)
        if knows_newer_messages(self._start.client):
            await self._answer(rtc.SignalResponse(request_response=answer))

    async def _hold_back(self, units: float) -> bool:
        """Read nothing more until the client's share allows it. False: it never gets enough."""
        now = self._clock.now()
        wait_s = self._rate.take(now, units)
        if wait_s > 0:
            if self._rate.is_abused(now):
                self._cut("too_fast")
                return False
            self._telemetry.tell(SignalLimited("held_back"))
            await asyncio.sleep(wait_s)
        return True

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
        """Raises :class:`TimeoutError` when the client takes nothing any more."""
        async with self._sending:
            if self._socket.may_wait(len(frame)):
                await self._write_patiently(frame)
            else:
                # Most of the time: without the cost of a task.
                await self._write(frame)

    async def _write_patiently(self, frame: bytes | str) -> None:
        """As long as the client takes some of what waits: a slow one may need minutes for a large
        room."""
        writing = asyncio.ensure_future(self._write(frame))
        before: int | None = None
        try:
            while True:
                # At first only until the frame is among what waits.
                wait_s = 0.0 if before is None else WS_SEND_TIMEOUT_S
                await asyncio.wait([writing], timeout=wait_s)
                if writing.done():
                    return writing.result()
                untaken = self._socket.untaken
                if before is not None and untaken >= before:
                    raise TimeoutError("the client takes nothing")
                before = untaken
        finally:
            writing.cancel()

    async def _write(self, frame: bytes | str) -> None:
        if isinstance(frame, bytes):
            await self._socket.send_bytes(frame)
        else:
            await self._socket.send_str(frame)

    async def _keep_alive(self) -> None:
        """Keep proxies from closing an idle connection: ping a client that sends no pings itself.

        On ticks that all sockets share: an idle server wakes once for many of them.
        """
        loop = asyncio.get_running_loop()
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
