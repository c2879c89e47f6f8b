"""One collection of engine statistics, by the ids that it is about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from lkpy.engine.api import (
    DataDownTrackStats,
    DataTrackStats,
    DownTrackStats,
    LayerStats,
    StatsCollected,
    TransportStats,
)


class StatsIndex:
    """Figures of transports, receivers' layers, down tracks and data tracks."""

    _latest: ClassVar[tuple[Sequence[StatsCollected], StatsIndex] | None] = None

    @classmethod
    def of(cls, stats: Sequence[StatsCollected]) -> StatsIndex:
        """The index of ``stats``; made once although every room of the server asks for it."""
        if cls._latest is None or cls._latest[0] is not stats:
            cls._latest = (stats, cls(stats))
        return cls._latest[1]

    def __init__(self, stats: Sequence[StatsCollected]) -> None:
        self.transports: dict[int, TransportStats] = {}
        self.layers: dict[int, list[LayerStats]] = {}
        self.down_tracks: dict[int, DownTrackStats] = {}
        self.data_tracks: dict[int | None, DataTrackStats] = {}
        self.data_down_tracks: dict[int | None, DataDownTrackStats] = {}
        for worker in stats:
            self.transports.update((t.transport, t) for t in worker.transports)
            self.down_tracks.update((d.down_track, d) for d in worker.down_tracks)
            self.data_tracks.update((t.data_track, t) for t in worker.data_tracks)
            self.data_down_tracks.update((d.data_down_track, d) for d in worker.data_down_tracks)
            for layer in worker.layers:
                self.layers.setdefault(layer.receiver, []).append(layer)
