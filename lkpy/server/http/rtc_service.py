"""The signalling routes: ``/rtc``, ``/rtc/v1`` and their dry runs."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import Protocol

from aiohttp import web
from livekit.protocol import rtc

from lkpy.auth.token import Verified
from lkpy.clock import Clock
from lkpy.errors import Blame, Code, LkpyError
from lkpy.ids import NodeID, RoomName
from lkpy.limits import SIGNAL_FIRST_RESPONSE_S, Limits
from lkpy.server.http import form, handshake, join
from lkpy.server.http.service import text
from lkpy.server.http.signal_socket import SignalSocket, SocketRegistry
from lkpy.server.routing.admission import Admission, Overloaded
from lkpy.server.routing.router import Router
from lkpy.server.routing.signal_client import SignalConnection
from lkpy.server.rtc.session import StartSession
from lkpy.server.telemetry.events import (
    NO_TELEMETRY,
    SignalConnected,
    SignalFailed,
    Telemetry,
)
from lkpy.server.telemetry.log import fields

logger = logging.getLogger(__name__)


class Allocator(join.Allocator, Protocol):
    """The part of the room allocator that this needs."""

    def select_room_node(self, name: RoomName, wanted: NodeID | None = None) -> NodeID:
        """Place the room."""


class RTCService:
    """Admits participants and connects their sockets to their rooms."""

    def __init__(
        self,
        router: Router,
        allocator: Allocator,
        limits: Limits,
        clock: Clock,
        *,
        connect_attempts: int = 3,
        telemetry: Telemetry = NO_TELEMETRY,
    ) -> None:
        """``connect_attempts``: how often the connection to a room's node is tried."""
        self._router = router
        self._allocator = allocator
        self._limits = limits
        self._clock = clock
        self._connect_attempts = connect_attempts
        self._telemetry = telemetry
        self.admission = Admission(clock, telemetry)
        self.sockets = SocketRegistry()

    async def v0(self, request: web.Request, token: Verified | None) -> web.StreamResponse:
        """``/rtc``: the query form, or a join request."""
        return await self._serve(request, token, required=False)

    async def v1(self, request: web.Request, token: Verified | None) -> web.StreamResponse:
        """``/rtc/v1``: a join request."""
        return await self._serve(request, token, required=True)

    async def refusal(self) -> web.Response | None:
        """The answer to any join while there are too many, before anything is looked at."""
        try:
            await self.admission.check()
        except Overloaded as error:
            return overloaded(error)
        return None

    async def v0_validate(self, request: web.Request, token: Verified | None) -> web.StreamResponse:
        """``/rtc/validate``: why a join would be refused, which a browser cannot read from a
        failed upgrade."""
        await self._validate(request, token, required=False, strict=True)
        return text(200, "success")

    async def v1_validate(self, request: web.Request, token: Verified | None) -> web.StreamResponse:
        """``/rtc/v1/validate``."""
        await self._validate(request, token, required=True, strict=True)
        return text(200, "success")

    async def _validate(
        self, request: web.Request, token: Verified | None, *, required: bool, strict: bool
    ) -> StartSession:
        values = await form.values(request)
        return join.validate(
            request,
            values,
            token,
            self._allocator,
            self._limits,
            required=required,
            strict=strict,
        )

    async def _serve(
        self, request: web.Request, token: Verified | None, *, required: bool
    ) -> web.StreamResponse:
        """Join step 1: validate, start the session, and only then upgrade."""
        if not handshake.wants_upgrade(request.headers):
            return web.Response(status=404)
        began = self._clock.now()
        try:
            start = await self._validate(request, token, required=required, strict=False)
        except LkpyError:
            self._telemetry.tell(SignalFailed("signal_validation_failed"))
            raise
        refused = handshake.refusal(request)
        if refused is not None:
            return refused
        about = partial(
            fields, room=start.room, participant=start.identity, connID=start.connection_id
        )
        try:
            async with self.admission.turn(partial(_is_gone, request)):
                connection, first = await self._connect(start)
        except Overloaded as error:
            return overloaded(error)
        except LkpyError as error:
            self._telemetry.tell(SignalFailed("signal_failed"))
            logger.warning("could not connect participant", extra=about(error=error.message))
            raise
        latency_s = self._clock.now() - began
        self._telemetry.tell(SignalConnected(start.client.protocol, latency_s))
        try:
            return await self._pump(request, start, connection, first)
        finally:
            connection.close("signal connection ended")
            logger.debug("signal connection ended", extra=about())

    async def _pump(
        self,
        request: web.Request,
        start: StartSession,
        connection: SignalConnection,
        first: rtc.SignalResponse,
    ) -> web.StreamResponse:
        """Join step 9: upgrade, send the first response, then pump until either side ends."""
        socket = SignalSocket(
            connection, start, self.sockets.deflate, self._limits, self._clock, self._telemetry
        )
        return await socket.run(handshake.canonical(request), first, self.sockets)

    async def _connect(self, start: StartSession) -> tuple[SignalConnection, rtc.SignalResponse]:
        """Start the session and wait for the room's first response."""
        connection = self._open(start)
        try:
            return connection, await _first_response(connection)
        except BaseException:
            connection.close("no first response")
            raise

    def _open(self, start: StartSession) -> SignalConnection:
        """Connect to the room's node; again when nobody answers there, which another node may."""
        left = self._connect_attempts
        while True:
            self._allocator.select_room_node(start.room)
            try:
                return self._router.start_participant_signal(start)
            except LkpyError as error:
                left -= 1
                if error.code is not Code.UNAVAILABLE or not left:
                    raise


def overloaded(error: Overloaded) -> web.Response:
    """503 that says when to come back (RFC 9110 10.2.3)."""
    response = text(error.http_status, error.message)
    response.headers["Retry-After"] = error.retry_after
    return response


def _is_gone(request: web.Request) -> bool:
    return request.transport is None or request.transport.is_closing()


async def _first_response(connection: SignalConnection) -> rtc.SignalResponse:
    try:
        async with asyncio.timeout(SIGNAL_FIRST_RESPONSE_S):
            return await anext(connection.responses)
    except StopAsyncIteration:
        # The reason stays in the room's log: clients get the same answer whatever it was.
        raise LkpyError(Code.INTERNAL, "connection closed by media", blame=Blame.US) from None
    except TimeoutError:
        raise LkpyError(
            Code.INTERNAL, "timed out while waiting for signal response", blame=Blame.US
        ) from None
