"""What a running server is doing: rooms, tasks, a profile. For developers, and without tokens.

The paths are those of livekit-server (``pkg/service/server.go``); what Go's profiler has no
counterpart for in Python is not there.
"""

from __future__ import annotations

import asyncio
import cProfile
import gc
import io
import marshal
import pstats
import sys
import threading
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Protocol

from aiohttp import web
from google.protobuf import json_format
from google.protobuf.message import Message
from livekit.protocol import models

from lkpy.errors import LkpyError
from lkpy.limits import PROFILE_DEFAULT_S, PROFILE_MAX_S
from lkpy.server.http.local import from_this_machine
from lkpy.server.http.service import path_of, text
from lkpy.server.telemetry.redact import redact_arguments
from lkpy.stats.v1 import stats_pb2

_PPROF = "/debug/pprof/"
_TOP = 100
"""Lines of a table."""


class DebugRoom(Protocol):
    """What is shown of a room."""

    def to_proto(self) -> models.Room:
        """The room's record."""

    def participants(self) -> Iterable[models.ParticipantInfo]:
        """Everybody in it."""


class DebugService:
    """The debug routes. One profile at a time."""

    def __init__(
        self,
        rooms: Callable[[], Iterable[DebugRoom]],
        collect: Callable[[], Awaitable[stats_pb2.Snapshot]],
    ) -> None:
        self._rooms = rooms
        self._collect = collect
        self._profiling = False
        self.routes: dict[str, Callable[[web.Request], Awaitable[web.StreamResponse]]] = {
            "/debug/rooms": self._show_rooms,
            "/debug/goroutine": self._show_tasks,
            _PPROF: self._index,
            _PPROF + "cmdline": self._cmdline,
            _PPROF + "goroutine": self._show_tasks,
            _PPROF + "heap": self._heap,
            _PPROF + "profile": self._profile,
        }

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Any debug path, for somebody at this machine: what is told here helps whoever looks for a
        way in. livekit-server answers everybody."""
        if not from_this_machine(request):
            return text(403, "debug routes answer this machine only\n")
        handler = self.routes.get(path_of(request))
        return text(404, "404 page not found\n") if handler is None else await handler(request)

    async def _show_rooms(self, _request: web.Request) -> web.StreamResponse:
        try:
            snapshot = await self._collect()
        except LkpyError as error:
            # An engine that does not answer is a reason to look at rooms, not to hide them.
            rooms = [_room(room, {}) for room in self._rooms()]
            return web.json_response(rooms, headers={"X-Statistics": error.message})
        counted = {who.sid: who for room in snapshot.rooms for who in room.participants}
        return web.json_response([_room(room, counted) for room in self._rooms()])

    async def _show_tasks(self, _request: web.Request) -> web.StreamResponse:
        return text(200, tasks_dump())

    async def _index(self, _request: web.Request) -> web.StreamResponse:
        lines = [f"{path}\n" for path in self.routes]
        return text(200, "".join(lines) + "profile takes ?seconds= and, for a table, ?debug=1\n")

    async def _cmdline(self, _request: web.Request) -> web.StreamResponse:
        return text(200, "\0".join(redact_arguments(sys.orig_argv)))

    async def _heap(self, _request: web.Request) -> web.StreamResponse:
        kinds = Counter(type(item).__qualname__ for item in gc.get_objects())
        lines = [f"{count:10} {kind}\n" for kind, count in kinds.most_common(_TOP)]
        return text(200, "tracked objects by type\n" + "".join(lines))

    async def _profile(self, request: web.Request) -> web.StreamResponse:
        """CPU of the event loop's thread: for ``python -m pstats``, or as a table."""
        seconds = _seconds(request.query.get("seconds", ""))
        if seconds is None:
            return text(400, f"seconds must be a number from 0 to {PROFILE_MAX_S:g}\n")
        if self._profiling:
            return text(500, "Could not enable CPU profiling: cpu profiling already in use\n")
        self._profiling = True
        profile = cProfile.Profile()
        try:
            profile.enable()
            await asyncio.sleep(seconds)
        except ValueError as error:
            return text(500, f"Could not enable CPU profiling: {error}\n")
        finally:
            profile.disable()
            self._profiling = False
        if request.query.get("debug", "0") != "0":
            return text(200, _table(profile))
        profile.create_stats()
        return web.Response(
            body=marshal.dumps(profile.stats),
            content_type="application/octet-stream",
            headers={"Content-Disposition": 'attachment; filename="profile"'},
        )


def tasks_dump() -> str:
    """Every task with where it waits, and every thread with what it runs."""
    out = io.StringIO()
    for task in sorted(asyncio.all_tasks(), key=lambda task: task.get_name()):
        out.write(f"task {task.get_name()} {task.get_coro()}\n")
        task.print_stack(file=out)
        out.write("\n")
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    for ident, frame in sys._current_frames().items():
        out.write(f"thread {names.get(ident, ident)}\n")
        out.writelines(traceback.format_stack(frame))
        out.write("\n")
    return out.getvalue()


def _room(room: DebugRoom, counted: Mapping[str, stats_pb2.Participant]) -> dict[str, object]:
    info = room.to_proto()
    return {
        "Name": info.name,
        "Sid": info.sid,
        "CreatedAt": info.creation_time,
        "Participants": {
            person.identity: _participant(person, counted.get(person.sid))
            for person in room.participants()
        },
    }


def _participant(
    info: models.ParticipantInfo, counted: stats_pb2.Participant | None
) -> dict[str, object]:
    shown: dict[str, object] = {
        "ID": info.sid,
        "State": models.ParticipantInfo.State.Name(info.state),
        "Tracks": {track.sid: json_format.MessageToDict(track) for track in info.tracks},
    }
    if counted is not None:
        shown["Transports"] = [_figures(transport) for transport in counted.transports]
        shown["DownTracks"] = [_figures(down_track) for down_track in counted.subscribed]
    return shown


def _figures(message: Message) -> dict[str, object]:
    return json_format.MessageToDict(message, always_print_fields_with_no_presence=True)


def _seconds(given: str) -> float | None:
    if not given:
        return PROFILE_DEFAULT_S
    try:
        seconds = float(given)
    except ValueError:
        return None
    return seconds if 0 <= seconds <= PROFILE_MAX_S else None


def _table(profile: cProfile.Profile) -> str:
    out = io.StringIO()
    pstats.Stats(profile, stream=out).sort_stats("cumulative").print_stats(_TOP)
    return out.getvalue()
