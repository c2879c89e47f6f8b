"""Live statistics: ``GET /lkpy/v1/stats`` once, or its WebSocket every interval."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import WSCloseCode, hdrs, web
from google.protobuf import json_format
from google.protobuf.message import Message

from lkpy.auth.grants import Grants, VideoGrant
from lkpy.auth.token import Verified
from lkpy.errors import Code, LkpyError
from lkpy.limits import STATS_INTERVAL_DEFAULT_MS, STATS_INTERVAL_MAX_MS, STATS_INTERVAL_MIN_MS
from lkpy.server.http import proto_json
from lkpy.server.http.auth import PermissionDenied
from lkpy.server.http.local import from_this_machine
from lkpy.stats.v1 import stats_pb2

_PROTOBUF = "application/x-protobuf"
_JSON = "application/json"
_SAID_MAX = 1024
"""Bytes of a message from somebody who has nothing to say."""

Collect = Callable[[], Awaitable[stats_pb2.Snapshot]]


@dataclass(frozen=True, slots=True)
class Sight:
    """What of a snapshot somebody may see: no more than the same token is told by LiveKit's API."""

    everything: bool = False
    rooms: bool = False
    """All rooms without their participants, and the server: as ListRooms."""
    room: str | None = None
    """This room with its participants: as ListParticipants."""

    @classmethod
    def of(cls, grants: Grants) -> Sight:
        """What a token allows."""
        video = grants.video or VideoGrant()
        return cls(
            everything=grants.stats,
            rooms=video.room_list,
            room=video.room if video.room_admin and video.room else None,
        )

    def __bool__(self) -> bool:
        return self.everything or self.rooms or self.room is not None

    def of_snapshot(self, snapshot: stats_pb2.Snapshot) -> stats_pb2.Snapshot:
        """The part of it that may be seen."""
        if self.everything:
            return snapshot
        seen = stats_pb2.Snapshot(timestamp_ms=snapshot.timestamp_ms)
        server = snapshot.server
        if self.rooms:
            seen.server.CopyFrom(server)
            seen.workers.extend(snapshot.workers)
        else:
            # What a participant of the room is told too (``ServerInfo``).
            seen.server.node_id, seen.server.version = server.node_id, server.version
            seen.server.region, seen.server.state = server.region, server.state
        for room in snapshot.rooms:
            if room.name == self.room:
                seen.rooms.append(room)
            elif self.rooms:
                seen.rooms.add(
                    sid=room.sid,
                    name=room.name,
                    created_at_ms=room.created_at_ms,
                    max_participants=room.max_participants,
                )
        return seen


_EVERYTHING = Sight(everything=True)


class StatsService:
    """Serves snapshots to holders of tokens (:class:`Sight`), and in development to this machine.

    A snapshot is collected once for all streams that are due at the same time.
    """

    def __init__(self, collect: Collect, *, open_to_loopback: bool) -> None:
        self._collect = collect
        self._open_to_loopback = open_to_loopback
        self._sockets: set[web.WebSocketResponse] = set()
        self._collecting: asyncio.Task[stats_pb2.Snapshot] | None = None

    async def serve(self, request: web.Request, token: Verified | None) -> web.StreamResponse:
        """One snapshot, or a stream of them after an upgrade."""
        sight = self._authorise(request, token)
        as_json = _wants_json(request)
        if request.headers.get(hdrs.UPGRADE, "").lower() == "websocket":
            return await self._stream(request, _interval_s(request), as_json, sight)
        if request.method not in ("GET", "HEAD"):
            return web.Response(status=405, headers={"Allow": "GET"})
        body = await _encode(sight.of_snapshot(await self._snapshot()), as_json)
        if isinstance(body, str):
            return web.Response(text=body, content_type=_JSON)
        return web.Response(body=body, content_type=_PROTOBUF)

    async def close(self) -> None:
        """End all streams."""
        await asyncio.gather(
            *(socket.close(code=WSCloseCode.GOING_AWAY) for socket in list(self._sockets)),
            return_exceptions=True,
        )

    def _authorise(self, request: web.Request, token: Verified | None) -> Sight:
        if token is not None and (sight := Sight.of(token.grants)):
            return sight
        if token is None and self._open_to_loopback and from_this_machine(request):
            return _EVERYTHING
        raise PermissionDenied

    async def _stream(
        self, request: web.Request, interval_s: float, as_json: bool, sight: Sight
    ) -> web.StreamResponse:
        socket = web.WebSocketResponse(heartbeat=30.0, timeout=1.0, max_msg_size=_SAID_MAX)
        await socket.prepare(request)
        self._sockets.add(socket)
        sender = asyncio.create_task(self._send(socket, interval_s, as_json, sight))
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

    async def _send(
        self, socket: web.WebSocketResponse, interval_s: float, as_json: bool, sight: Sight
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                body = await _encode(sight.of_snapshot(await self._snapshot()), as_json)
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


async def _encode(snapshot: stats_pb2.Snapshot, as_json: bool) -> bytes | str:
    if not as_json:
        return snapshot.SerializeToString()
    return (await proto_json.in_slices(snapshot, _stats_dict)).decode()


def _stats_dict(message: Message) -> dict[str, Any]:
    return json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
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
