"""One observation of the whole server, for the statistics route and for the node's record."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import psutil

from lkpy import __version__
from lkpy.clock import Clock
from lkpy.engine.api import StatsCollected
from lkpy.errors import Blame, Code, LkpyError
from lkpy.limits import STATS_INTERVAL_MIN_MS
from lkpy.slices import paced
from lkpy.stats.v1 import stats_pb2

COLLECT_TIMEOUT_S = 2.0
"""A worker that has not answered by then is stuck."""


class ObservedRoom(Protocol):
    """What this needs of a room."""

    async def snapshot(self, stats: Sequence[StatsCollected], /) -> stats_pb2.Room:
        """The room with its participants and tracks."""


class ObservedNode(Protocol):
    """What this needs of the node's record."""

    @property
    def id(self) -> str:
        """Node id."""

    @property
    def region(self) -> str:
        """Region, if one is configured."""

    @property
    def started_at(self) -> float:
        """Unix seconds."""

    @property
    def state(self) -> str:
        """``serving`` or ``shutting_down``."""


@dataclass(slots=True)
class _Totals:
    """Counters of the process at one time; rates are differences of two."""

    at: float
    cpu_s: float
    bytes_in: int = 0
    bytes_out: int = 0
    packets_in: int = 0
    packets_out: int = 0


class SnapshotCollector:
    """Asks the engine and the rooms, and remembers the last totals for the rates."""

    def __init__(
        self,
        node: ObservedNode,
        rooms: Callable[[], Iterable[ObservedRoom]],
        collect_engine: Callable[[], Awaitable[Sequence[StatsCollected]]],
        clock: Clock,
        *,
        events_unhandled: Callable[[], int] = lambda: 0,
    ) -> None:
        self._node = node
        self._rooms = rooms
        self._collect_engine = collect_engine
        self._clock = clock
        self._events_unhandled = events_unhandled
        self._process = psutil.Process()
        self._before = self._now()
        self._rates = stats_pb2.Server()

    async def collect(self) -> stats_pb2.Snapshot:
        """Observe now. Raises ``unavailable`` when the engine does not answer."""
        try:
            async with asyncio.timeout(COLLECT_TIMEOUT_S):
                engine = await self._collect_engine()
        except TimeoutError as error:
            raise LkpyError(
                Code.UNAVAILABLE, "media engine does not answer", blame=Blame.US
            ) from error
        snapshot = stats_pb2.Snapshot(workers=[_worker(stats) for stats in engine])
        async for room in paced(list(self._rooms())):
            snapshot.rooms.append(await room.snapshot(engine))
        snapshot.timestamp_ms = int(self._clock.wall() * 1000)
        self._update_rates(await self._totals(engine))
        snapshot.server.CopyFrom(await self._server(snapshot.rooms))
        return snapshot

    async def _server(self, rooms: Sequence[stats_pb2.Room]) -> stats_pb2.Server:
        server = stats_pb2.Server(
            node_id=self._node.id,
            version=__version__,
            region=self._node.region,
            started_at_ms=int(self._node.started_at * 1000),
            memory_bytes=self._process.memory_info().rss,
            num_cpus=os.cpu_count() or 1,
            rooms=len(rooms),
            events_unhandled=self._events_unhandled(),
            state="serving" if self._node.state == "serving" else "draining",
        )
        async for person in paced(person for room in rooms for person in room.participants):
            server.participants += 1
            server.tracks += len(person.published)
            server.down_tracks += len(person.subscribed)
            server.stalled_tracks += sum(track.stalled_s > 0 for track in person.published)
            server.stalled_down_tracks += sum(track.stalled_s > 0 for track in person.subscribed)
        server.MergeFrom(self._rates)
        return server

    def _update_rates(self, now: _Totals) -> None:
        before = self._before
        elapsed = now.at - before.at
        # Two observers at once would otherwise divide by next to nothing.
        if elapsed < STATS_INTERVAL_MIN_MS / 2000:
            return
        self._before = now
        # Totals of transports that closed are gone, so a difference may be negative.
        self._rates = stats_pb2.Server(
            cpu_cores=max(0.0, now.cpu_s - before.cpu_s) / elapsed,
            bitrate_in_bps=max(0, now.bytes_in - before.bytes_in) * 8 / elapsed,
            bitrate_out_bps=max(0, now.bytes_out - before.bytes_out) * 8 / elapsed,
            packets_in_pps=max(0, now.packets_in - before.packets_in) / elapsed,
            packets_out_pps=max(0, now.packets_out - before.packets_out) / elapsed,
        )

    async def _totals(self, engine: Sequence[StatsCollected]) -> _Totals:
        totals = self._now()
        async for transport in paced(t for stats in engine for t in stats.transports):
            totals.bytes_in += transport.bytes_received
            totals.bytes_out += transport.bytes_sent
            totals.packets_in += transport.packets_received
            totals.packets_out += transport.packets_sent
        return totals

    def _now(self) -> _Totals:
        cpu = self._process.cpu_times()
        return _Totals(self._clock.now(), cpu.user + cpu.system)


def _worker(stats: StatsCollected) -> stats_pb2.Worker:
    worker = stats.worker
    return stats_pb2.Worker(
        worker=worker.worker,
        transports=worker.transports,
        datagrams_received=worker.datagrams_received,
        datagrams_sent=worker.datagrams_sent,
        datagrams_dropped=worker.datagrams_dropped,
        send_calls=worker.send_calls,
        send_would_block=worker.send_would_block,
        commands_dropped=worker.commands_dropped,
        events_dropped=worker.events_dropped,
        panics=worker.panics,
        cpu_seconds=worker.cpu_seconds,
        drops_by_reason=worker.drops_by_reason,
    )
