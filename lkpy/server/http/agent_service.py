"""``/agent``: the connections of workers, which have agents do what rooms ask for (livekit-server
``pkg/service/agentws.go``, ``agenthandler.go``)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence

from aiohttp import WSCloseCode, WSMsgType, web
from livekit.protocol import agent, models

from lkpy.auth.token import Verified
from lkpy.clock import Clock
from lkpy.errors import Code, LkpyError
from lkpy.ids import AGENT_WORKER_PREFIX, new_id
from lkpy.limits import (
    AGENT_MESSAGES,
    AGENT_REGISTER_S,
    WS_PING_INTERVAL_S,
    WS_SEND_TIMEOUT_S,
    Limits,
)
from lkpy.server.agents.registration import register
from lkpy.server.agents.worker import Worker
from lkpy.server.agents.workers import Workers
from lkpy.server.http import handshake
from lkpy.server.http.join import NO_PERMISSION
from lkpy.server.http.service import text
from lkpy.server.telemetry.events import NO_TELEMETRY, MessageDropped, Telemetry
from lkpy.server.telemetry.log import fields
from lkpy.signal.codec import Encoding, decode, encode
from lkpy.signal.request_bounds import too_much

logger = logging.getLogger(__name__)


class AgentService:
    """Admits workers and pumps their messages."""

    def __init__(
        self,
        workers: Workers,
        server_info: models.ServerInfo,
        limits: Limits,
        clock: Clock,
        telemetry: Telemetry = NO_TELEMETRY,
    ) -> None:
        self._workers = workers
        self._server_info = server_info
        self._limits = limits
        self._clock = clock
        self._telemetry = telemetry
        self._sockets: set[_WorkerSocket] = set()

    async def serve(self, request: web.Request, token: Verified | None) -> web.StreamResponse:
        """Serve one worker until it is gone."""
        if not handshake.wants_upgrade(request.headers):
            return web.Response(status=404)
        if token is None or token.grants.video is None or not token.grants.video.agent:
            return text(401, NO_PERMISSION)
        refused = handshake.refusal(request)
        if refused is not None:
            return refused
        socket = _WorkerSocket(self._limits, self._clock, self._telemetry)
        self._sockets.add(socket)
        try:
            await socket.run(request, token.api_key, self._workers, self._server_info)
        finally:
            self._sockets.discard(socket)
        return socket.response

    async def close(self) -> None:
        """End every connection. Workers look for another server."""
        await asyncio.gather(*(socket.end("server is stopping") for socket in self._sockets))


class _WorkerSocket:
    """One worker's connection. It is answered in the encoding of its last frame."""

    def __init__(self, limits: Limits, clock: Clock, telemetry: Telemetry) -> None:
        self.response = web.WebSocketResponse(
            # Workers are not offered compression (gorilla's default).
            compress=False,
            max_msg_size=limits.agent_signal_message_size_limit,
            timeout=WS_SEND_TIMEOUT_S,
        )
        self._clock = clock
        self._telemetry = telemetry
        self._encoding = Encoding.BINARY
        self._messages: asyncio.Queue[agent.ServerMessage] = asyncio.Queue(AGENT_MESSAGES)
        self._ending = asyncio.Event()
        self._why = ""
        self._ended = asyncio.Event()

    async def run(
        self, request: web.Request, api_key: str, workers: Workers, server_info: models.ServerInfo
    ) -> None:
        """Upgrade, then read and write until either side ends."""
        try:
            await self.response.prepare(handshake.canonical(request))
            await self._pump(api_key, workers, server_info)
        finally:
            self._ended.set()

    async def _pump(self, api_key: str, workers: Workers, server_info: models.ServerInfo) -> None:
        pumps = [
            asyncio.create_task(self._read(api_key, workers, server_info)),
            asyncio.create_task(self._write()),
            asyncio.create_task(self._ending.wait()),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            outcomes = await asyncio.gather(*pumps, return_exceptions=True)
            await self._finish(outcomes)

    async def _finish(self, outcomes: Sequence[BaseException | bool | None]) -> None:
        for outcome in outcomes:
            if isinstance(outcome, LkpyError):
                logger.warning("ending a worker's connection", extra=fields(error=outcome.message))
                return await self._close(outcome.message, WSCloseCode.POLICY_VIOLATION)
            if isinstance(outcome, TimeoutError):
                logger.warning("a worker takes nothing any more")
            elif isinstance(outcome, Exception) and not isinstance(outcome, ConnectionError):
                logger.error("a worker's connection failed", exc_info=outcome)
        await self._close(self._why, WSCloseCode.OK)

    async def end(self, why: str) -> None:
        """Say goodbye; returns when it is said. Idempotent."""
        self._why = why
        self._ending.set()
        await self._ended.wait()

    async def _close(self, why: str, code: int) -> None:
        with contextlib.suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(WS_SEND_TIMEOUT_S):
                # A close frame has room for 123 bytes (RFC 6455 5.5).
                await self.response.close(code=code, message=why.encode()[:123])

    # -- what it says -----------------------------------------------------------------------------

    async def _read(self, api_key: str, workers: Workers, server_info: models.ServerInfo) -> None:
        """Raises :class:`LkpyError` for what a worker does not send."""
        try:
            async with asyncio.timeout(AGENT_REGISTER_S):
                worker = await self._register(api_key, workers, server_info)
        except TimeoutError:
            why = f"no registration within {AGENT_REGISTER_S:g} s"
            raise LkpyError(Code.DEADLINE_EXCEEDED, why) from None
        if worker is None:
            return
        try:
            while (message := await self._next()) is not None:
                worker.handle(message)
        finally:
            workers.remove(worker)

    async def _register(
        self, api_key: str, workers: Workers, server_info: models.ServerInfo
    ) -> Worker | None:
        """Until then it may send pings and its registration, and nothing else."""
        message = await self._next()
        if message is None:
            return None
        if message.WhichOneof("message") != "register":
            kind = message.WhichOneof("message")
            raise LkpyError(Code.INVALID_ARGUMENT, f"{kind} before the registration")
        registration = register(message.register, api_key)
        if message.register.endpoints:
            logger.info("HTTP endpoints of a worker are not served")
        identifier = new_id(AGENT_WORKER_PREFIX)
        registered = agent.RegisterWorkerResponse(worker_id=identifier, server_info=server_info)
        self._send(agent.ServerMessage(register=registered))
        return workers.add(registration, self._send, identifier)

    async def _next(self) -> agent.WorkerMessage | None:
        """The next message that is no ping; None when there are no more."""
        async for frame in self.response:
            if frame.type is WSMsgType.ERROR:
                return None
            self._encoding = Encoding.TEXT if frame.type is WSMsgType.TEXT else Encoding.BINARY
            why = too_much(frame.data, agent.WorkerMessage)
            if why:
                raise LkpyError(Code.INVALID_ARGUMENT, f"a message has {why}")
            message = decode(frame.data, agent.WorkerMessage)
            if message.WhichOneof("message") != "ping":
                return message
            now_ms = int(self._clock.wall() * 1000)
            pong = agent.WorkerPong(last_timestamp=message.ping.timestamp, timestamp=now_ms)
            self._send(agent.ServerMessage(pong=pong))
        return None

    # -- what it is told --------------------------------------------------------------------------

    def _send(self, message: agent.ServerMessage) -> None:
        try:
            self._messages.put_nowait(message)
        except asyncio.QueueFull:
            if not self._ending.is_set():
                self._telemetry.tell(MessageDropped("agent_worker"))
                logger.warning("a worker reads too slowly: its connection ends")
            self._why = "messages are not read"
            self._ending.set()

    async def _write(self) -> None:
        """Raises :class:`TimeoutError` when the worker takes nothing any more."""
        while True:
            message: agent.ServerMessage | None = None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(WS_PING_INTERVAL_S):
                    message = await self._messages.get()
            async with asyncio.timeout(WS_SEND_TIMEOUT_S):
                if message is None:
                    # Keeps proxies from closing an idle connection.
                    await self.response.ping()
                    continue
                frame = encode(message, self._encoding)
                if isinstance(frame, bytes):
                    await self.response.send_bytes(frame)
                else:
                    await self.response.send_str(frame)
