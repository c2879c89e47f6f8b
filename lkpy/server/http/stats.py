"""Live statistics: ``GET /lkpy/v1/stats`` once, or its WebSocket every interval."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from collections.abc import Awaitable, Callable

from aiohttp import WSCloseCode, hdrs, web
from google.protobuf import json_format

from lkpy.auth.token import Verified
from lkpy.errors import Code, LkpyError
from lkpy.limits import STATS_INTERVAL_DEFAULT_MS, STATS_INTERVAL_MAX_MS, STATS_INTERVAL_MIN_MS
from lkpy.server.http.auth import PermissionDenied
from lkpy.stats.v1 import stats_pb2

_PROTOBUF = "application/x-protobuf"
_JSON = "application/json"
_NOT_LOCAL = ("X-Forwarded-For", "X-Real-IP", "Forwarded", "Origin")

Collect = Callable[[], Awaitable[stats_pb2.Snapshot]]


class StatsService:
    """Serves snapshots to holders of roomList and roomAdmin, and in development to this machine.

    A snapshot is collected once for all streams that are due at the same time.
    """

    def __init__(self, collect: Collect, *, open_to_loopback: bool) -> None:
        self._collect = collect
        self._open_to_loopback = open_to_loopback
        self._sockets: set[web.WebSocketResponse] = set()
        self._collecting: asyncio.Task[stats_pb2.Snapshot] | None = None

    async def serve(self, request: web.Request, token: Verified | None) -> web.StreamResponse:
        """One snapshot, or a stream of them after an upgrade."""
        self._authorise(request, token)
        as_json = _wants_json(request)
        if request.headers.get(hdrs.UPGRADE, "").lower() == "websocket":
            return await self._stream(request, _interval_s(request), as_json)
        if request.method not in ("GET", "HEAD"):
            return web.Response(status=405, headers={"Allow": "GET"})
        body = _encode(await self._snapshot(), as_json)
        if isinstance(body, str):
            return web.Response(text=body, content_type=_JSON)
        return web.Response(body=body, content_type=_PROTOBUF)

    async def close(self) -> None:
        """End all streams."""
        await asyncio.gather(
            *(socket.close(code=WSCloseCode.GOING_AWAY) for socket in list(self._sockets)),
            return_exceptions=True,
        )

    def _authorise(self, request: web.Request, token: Verified | None) -> None:
        video = None if token is None else token.grants.video
        if video is not None and video.room_list and video.room_admin:
            return
        if token is None and self._open_to_loopback and _from_loopback(request):
            return
        raise PermissionDenied

    async def _stream(
        self, request: web.Request, interval_s: float, as_json: bool
    ) -> web.StreamResponse:
        socket = web.WebSocketResponse(heartbeat=30.0, timeout=1.0)
        await socket.prepare(request)
        self._sockets.add(socket)
        sender = asyncio.create_task(self._send(socket, interval_s, as_json))
        # Whoever watches says nothing: reading only notices the end.
        reader = asyncio.create_task(_drain(socket))
        try:
            await asyncio.wait([sender, reader], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sender, reader):
                task.cancel()
            await asyncio.gather(sender, reader, return_exceptions=True)
            self._sockets.discard(socket)
            with contextlib.suppress(ConnectionError):
                await socket.close()
        return socket

    async def _send(self, socket: web.WebSocketResponse, interval_s: float, as_json: bool) -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                body = _encode(await self._snapshot(), as_json)
                if isinstance(body, str):
                    await socket.send_str(body)
                else:
                    await socket.send_bytes(body)
                await asyncio.sleep(interval_s)

    async def _snapshot(self) -> stats_pb2.Snapshot:
        if self._collecting is None or self._collecting.done():
            self._collecting = asyncio.create_task(_run(self._collect))
        return await asyncio.shield(self._collecting)


async def _run(collect: Collect) -> stats_pb2.Snapshot:
    return await collect()


async def _drain(socket: web.WebSocketResponse) -> None:
    async for _ in socket:
        pass


def _encode(snapshot: stats_pb2.Snapshot, as_json: bool) -> bytes | str:
    if not as_json:
        return snapshot.SerializeToString()
    return json_format.MessageToJson(
        snapshot,
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=True,
        indent=None,
    )


def _wants_json(request: web.Request) -> bool:
    wanted = request.query.get("format", "")
    if wanted:
        return wanted == "json"
    return _JSON in request.headers.get(hdrs.ACCEPT, "")


def _interval_s(request: web.Request) -> float:
    text = request.query.get("interval", "") or str(STATS_INTERVAL_DEFAULT_MS)
    if not (text.isascii() and text.isdigit() and len(text) < 9) or not (
        STATS_INTERVAL_MIN_MS <= int(text) <= STATS_INTERVAL_MAX_MS
    ):
        raise LkpyError(
            Code.INVALID_ARGUMENT,
            f"interval is milliseconds, from {STATS_INTERVAL_MIN_MS} to {STATS_INTERVAL_MAX_MS}",
        )
    return int(text) / 1000


def _from_loopback(request: web.Request) -> bool:
    """Whether the request came from this machine, through no proxy and from no web page."""
    if any(name in request.headers for name in _NOT_LOCAL):
        return False
    try:
        return ipaddress.ip_address(request.remote or "").is_loopback
    except ValueError:
        return False
