"""Which media worker a room goes to. Pure.

A room stays where it was placed, so the choice is by how much each worker has to do: what the
engine counted last, and what rooms placed since then will be if they are as the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from lkpy.engine.api import StatsCollected


@dataclass(slots=True)
class _Load:
    objects: int = 0
    """Transports, layers and down tracks when it was last measured."""
    rooms: int = 0
    """Rooms then, and those placed since."""
    placed: int = 0
    """Rooms placed since."""


class WorkerLoads:
    """The load of each worker of one engine."""

    def __init__(self, workers: int) -> None:
        self._loads = [_Load() for _ in range(workers)]
        self._per_room = 1.0
        """Objects that a room has on average."""

    def measured(self, stats: Sequence[StatsCollected], rooms: Iterable[int]) -> None:
        """Take what the engine counted, and the worker of every room."""
        counted = [0] * len(self._loads)
        for worker in rooms:
            counted[worker] += 1
        self._loads = [_Load(rooms=count) for count in counted]
        for found in stats:
            self._loads[found.worker.worker].objects = (
                len(found.transports) + len(found.layers) + len(found.down_tracks)
            )
        everything = sum(load.objects for load in self._loads)
        self._per_room = max(1.0, everything / max(1, sum(counted)))

    def place(self, trouble: Callable[[int], int] = lambda _: 0) -> int:
        """The worker for one more room: of those with the least ``trouble`` the least loaded, of
        equals the one with fewest rooms."""

        def key(number: int) -> tuple[int, float, int]:
            load = self._loads[number]
            return trouble(number), load.objects + load.placed * self._per_room, load.rooms

        chosen = min(range(len(self._loads)), key=key)
        self._loads[chosen].rooms += 1
        self._loads[chosen].placed += 1
        return chosen
