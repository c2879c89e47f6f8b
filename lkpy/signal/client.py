"""A client of the signal connection: what an SDK does on ``/rtc/v1`` and ``/rtc``.

``SignalClient.connect`` returns once the server's first response is there. After that,
``receive`` yields responses and ``send`` writes requests. Refusals carry the server's own words.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlencode

import aiohttp
from livekit.protocol import models, rtc

from lkpy.errors import Blame, Code, LkpyError
from lkpy.limits import PING_INTERVAL_S, PING_TIMEOUT_S
from lkpy.server_url import http_url, unreachable_reason, ws_url
from lkpy.signal import codec, join_request

PROTOCOL_VERSION: Final = 16
"""Signal protocol version announced: that of livekit-client 2."""
MAX_RESPONSE_BYTES = 16 * 1024 * 1024
"""A JoinResponse lists every participant of a room."""

_STATUS_CODES: dict[int, Code] = {
    400: Code.INVALID_ARGUMENT,
    401: Code.UNAUTHENTICATED,
    403: Code.PERMISSION_DENIED,
    404: Code.NOT_FOUND,
    429: Code.RESOURCE_EXHAUSTED,
    503: Code.UNAVAILABLE,
}


class SignalError(LkpyError):
    """The connection was refused or could not be made."""

    def __init__(
        self, code: Code, message: str, *, status: int | None = None, hint: str | None = None
    ) -> None:
        super().__init__(code, message, blame=Blame.PEER, hint=hint)
        self.status = status


class SinglePeerConnectionUnsupported(SignalError):
    """The server has no ``/rtc/v1``: use ``/rtc`` with two peer connections."""

    def __init__(self) -> None:
        super().__init__(Code.NOT_FOUND, "the server has no /rtc/v1", status=404)


@dataclass(frozen=True, slots=True)
class SignalOptions:
    """What a client announces when it joins."""

    auto_subscribe: bool = True
    adaptive_stream: bool = False
    client_info: models.ClientInfo = field(
        default_factory=lambda: models.ClientInfo(protocol=PROTOCOL_VERSION)
    )
    publisher_offer: rtc.SessionDescription | None = None
    add_tracks: tuple[rtc.AddTrackRequest, ...] = ()


class SignalClient:
    """One signal connection. Use :meth:`connect`; close with :meth:`close`."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, join: rtc.JoinResponse) -> None:
        self.join = join
        self.on_round_trip: Callable[[float], None] | None = None
        """Called with seconds from ping to pong."""
        self._socket = socket
        self._pinger: asyncio.Task[None] | None = None
        self._last_pong = time.monotonic()

    @classmethod
    async def connect(
        cls,
        session: aiohttp.ClientSession,
        url: str,
        token: str,
        options: SignalOptions,
        *,
        single: bool = True,
        timeout_s: float = 15.0,
    ) -> Self:
        """Join. Raises :class:`SignalError`, whose message is the server's body if it sent one."""
        path, query = request = _request(options, single=single)
        headers = {"Authorization": f"Bearer {token}"}
        try:
            async with asyncio.timeout(timeout_s):
                socket = await session.ws_connect(
                    f"{ws_url(url)}{path}?{query}",
                    headers=headers,
                    max_msg_size=MAX_RESPONSE_BYTES,
                    compress=0,
                )
                try:
                    join = await _first_response(socket)
                except BaseException:
                    await socket.close()
                    raise
        except aiohttp.WSServerHandshakeError as error:
            if single and error.status == 404:
                body = await _reason(session, url, request, headers)
                if "requested room does not exist" not in body:
                    raise SinglePeerConnectionUnsupported from None
                raise SignalError(Code.NOT_FOUND, body, status=404) from None
            # livekit-server repeats a token that it refuses; it does not belong in a log.
            body = (await _reason(session, url, request, headers)).replace(token, "<token>")
            raise SignalError(
                _STATUS_CODES.get(error.status, Code.INTERNAL),
                body or f"the server refused with HTTP status {error.status}",
                status=error.status,
            ) from None
        except TimeoutError:
            message = f"no answer from the server within {timeout_s:g} s"
            raise SignalError(Code.DEADLINE_EXCEEDED, message) from None
        except (aiohttp.ClientError, OSError) as error:
            raise SignalError(
                Code.UNAVAILABLE, f"cannot connect: {unreachable_reason(error)}"
            ) from None
        client = cls(socket, join)
        client._pinger = asyncio.create_task(client._ping())
        return client

    async def send(self, request: rtc.SignalRequest) -> None:
        """Write one request; silently dropped once the connection is closed."""
        if not self._socket.closed:
            try:
                await self._socket.send_bytes(request.SerializeToString())
            except (ConnectionError, aiohttp.ClientError):
                return

    async def receive(self) -> rtc.SignalResponse | None:
        """Return the next response, or None when the connection has ended."""
        while True:
            message = await self._socket.receive()
            if message.type in (aiohttp.WSMsgType.BINARY, aiohttp.WSMsgType.TEXT):
                response = codec.decode(message.data, rtc.SignalResponse)
                if response.WhichOneof("message") != "pong_resp":
                    return response
                self._pong(response.pong_resp)
            elif message.type in (
                aiohttp.WSMsgType.CLOSE,
                aiohttp.WSMsgType.CLOSING,
                aiohttp.WSMsgType.CLOSED,
                aiohttp.WSMsgType.ERROR,
            ):
                return None

    async def leave(self) -> None:
        """Tell the server that this participant goes."""
        reason = models.DisconnectReason.CLIENT_INITIATED
        action = rtc.LeaveRequest.Action.DISCONNECT
        await self.send(rtc.SignalRequest(leave=rtc.LeaveRequest(reason=reason, action=action)))

    async def close(self) -> None:
        """Close the connection. Idempotent."""
        if self._pinger is not None:
            self._pinger.cancel()
        await self._socket.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def _ping(self) -> None:
        interval = self.join.ping_interval or PING_INTERVAL_S
        patience = self.join.ping_timeout or PING_TIMEOUT_S
        self._last_pong = time.monotonic()
        while not self._socket.closed:
            ping = rtc.Ping(timestamp=time.monotonic_ns() // 1000)
            await self.send(rtc.SignalRequest(ping_req=ping))
            await asyncio.sleep(interval)
            if time.monotonic() - self._last_pong > patience:
                await self._socket.close(message=b"ping timeout")

    def _pong(self, pong: rtc.Pong) -> None:
        self._last_pong = time.monotonic()
        if self.on_round_trip is not None:
            self.on_round_trip(self._last_pong - pong.last_ping_timestamp / 1e6)


async def _first_response(socket: aiohttp.ClientWebSocketResponse) -> rtc.JoinResponse:
    message = await socket.receive()
    if message.type not in (aiohttp.WSMsgType.BINARY, aiohttp.WSMsgType.TEXT):
        raise SignalError(Code.UNAVAILABLE, "the server closed the connection before it answered")
    response = codec.decode(message.data, rtc.SignalResponse)
    kind = response.WhichOneof("message")
    if kind == "join":
        return response.join
    if kind == "leave":
        reason = models.DisconnectReason.Name(response.leave.reason)
        raise SignalError(Code.ABORTED, f"the server sent us away: {reason}")
    raise SignalError(Code.MALFORMED, f"the first response is {kind!r}, not a JoinResponse")


async def _reason(
    session: aiohttp.ClientSession, url: str, request: tuple[str, str], headers: dict[str, str]
) -> str:
    """Ask ``…/validate`` why: the body of a refused upgrade is not available to a client."""
    path, query = request
    where = f"{http_url(url)}{path}/validate?{query}"
    try:
        async with session.get(
            where, headers=headers, timeout=aiohttp.ClientTimeout(total=5)
        ) as response:
            body = (await response.content.read(2000)).decode("utf-8", "replace").strip()
            return "" if response.ok else body
    except (aiohttp.ClientError, TimeoutError, OSError):
        return ""


def _request(options: SignalOptions, *, single: bool) -> tuple[str, str]:
    """The path and the query."""
    if single:
        return "/rtc/v1", urlencode(_single_query(options))
    return "/rtc", urlencode(_dual_query(options))


def _single_query(options: SignalOptions) -> dict[str, str]:
    request = rtc.JoinRequest(
        client_info=options.client_info,
        connection_settings=rtc.ConnectionSettings(
            auto_subscribe=options.auto_subscribe,
            adaptive_stream=options.adaptive_stream,
            subscriber_allow_pause=True,
        ),
        add_track_requests=options.add_tracks,
    )
    if options.publisher_offer is not None:
        request.publisher_offer.CopyFrom(options.publisher_offer)
    return {"join_request": join_request.wrap(request)}


def _dual_query(options: SignalOptions) -> dict[str, str]:
    info = options.client_info
    return {
        "protocol": str(info.protocol),
        "version": info.version,
        "os": info.os,
        "auto_subscribe": "1" if options.auto_subscribe else "0",
        "adaptive_stream": "1" if options.adaptive_stream else "0",
    }
