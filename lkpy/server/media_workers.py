"""What becomes of rooms whose media worker fails.

A worker that fails takes the transports of its rooms along. The rooms themselves lose nothing:
their participants are told to join afresh, and find them as they were.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Protocol

from lkpy.engine.api import WorkerFailed, WorkerStalled
from lkpy.server.telemetry.events import MediaWorkerFailed, MediaWorkerStalled, Telemetry
from lkpy.server.telemetry.log import fields
from lkpy.server.worker_loads import WorkerLoads

logger = logging.getLogger(__name__)


class WorkerRoom(Protocol):
    """A room, as its media worker sees it."""

    worker: int

    @property
    def name(self) -> str:
        """Room name."""

    def media_lost(self, worker: int) -> None:
        """All transports are gone; the next ones are made on ``worker``."""


class MediaWorkers:
    """Which workers may be given rooms. Takes what the engine says of them."""

    def __init__(
        self, loads: WorkerLoads, rooms: Callable[[], Iterable[WorkerRoom]], telemetry: Telemetry
    ) -> None:
        self._loads = loads
        self._rooms = rooms
        self._telemetry = telemetry
        self._ended: set[int] = set()
        self._stalled: set[int] = set()

    @property
    def trouble(self) -> str:
        """Why this node should not be given more to do; empty while all is well."""
        ended = [f"media worker {worker} has ended" for worker in sorted(self._ended)]
        stalled = [f"media worker {worker} is stalled" for worker in sorted(self._stalled)]
        return ", ".join(ended + stalled)

    def place(self) -> int:
        """The worker for one more room: the least loaded of those that turn, if there are any."""
        return self._loads.place(lambda n: 2 * (n in self._ended) + (n in self._stalled))

    def handle(self, event: WorkerFailed | WorkerStalled) -> None:
        """Take an event of the engine."""
        if isinstance(event, WorkerFailed):
            self._failed(event)
        else:
            self._changed(event)

    def _failed(self, event: WorkerFailed) -> None:
        rooms = [room for room in self._rooms() if room.worker == event.worker]
        logger.error(
            "media worker failed",
            extra=fields(
                worker=event.worker,
                reason=event.reason,
                replaced=event.replaced,
                rooms=[room.name for room in rooms],
            ),
        )
        self._stalled.discard(event.worker)
        if not event.replaced:
            self._ended.add(event.worker)
        self._telemetry.tell(MediaWorkerFailed(event.worker, event.replaced))
        for room in rooms:
            room.media_lost(event.worker if event.replaced else self.place())

    def _changed(self, event: WorkerStalled) -> None:
        rooms = [room.name for room in self._rooms() if room.worker == event.worker]
        described = fields(worker=event.worker, elapsed_ms=event.elapsed_ms, rooms=rooms)
        if event.stalled:
            self._stalled.add(event.worker)
            logger.error("media worker is stalled", extra=described)
        else:
            self._stalled.discard(event.worker)
            logger.warning("media worker goes on", extra=described)
        self._telemetry.tell(MediaWorkerStalled(event.worker, event.stalled))
