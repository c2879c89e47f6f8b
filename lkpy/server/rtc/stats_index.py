"""One collection of engine statistics, by the ids that it is about."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import ClassVar

from lkpy.engine.api import (
    DataDownTrackStats,
    DataTrackStats,
    DownTrackStats,
    LayerStats,
    StatsCollected,
    TransportStats,
)
from lkpy.slices import paced


class StatsIndex:
    """Figures of transports, receivers' layers, down tracks and data tracks."""

    _latest: ClassVar[deque[tuple[Sequence[StatsCollected], StatsIndex]]] = deque(maxlen=2)
    """A quality window and a snapshot may be under way at the same time."""

    @classmethod
    def of(cls, stats: Sequence[StatsCollected]) -> StatsIndex:
        """The index of ``stats``; made once although every room of the server asks for it."""
        for known, index in cls._latest:
            if known is stats:
                return index
        index = cls()
        for _ in index._take(stats):
            pass
        cls._latest.append((stats, index))
        return index

    @classmethod
    async def prepare(cls, stats: Sequence[StatsCollected]) -> None:
        """Make the index that :meth:`of` returns, in slices."""
        index = cls()
        async for _ in paced(index._take(stats)):
            pass
        cls._latest.append((stats, index))

    def __init__(self) -> None:
        self.transports: dict[int, TransportStats] = {}
        self.layers: dict[int, list[LayerStats]] = {}
        self.down_tracks: dict[int, DownTrackStats] = {}
        self.data_tracks: dict[int | None, DataTrackStats] = {}
        self.data_down_tracks: dict[int | None, DataDownTrackStats] = {}

    def _take(self, stats: Sequence[StatsCollected]) -> Iterator[None]:
        """One step per object."""
        for worker in stats:
            for transport in worker.transports:
                self.transports[transport.transport] = transport
                yield
            for down_track in worker.down_tracks:
                self.down_tracks[down_track.down_track] = down_track
                yield
            for data_track in worker.data_tracks:
                self.data_tracks[data_track.data_track] = data_track
                yield
            for data_down_track in worker.data_down_tracks:
                self.data_down_tracks[data_down_track.data_down_track] = data_down_track
                yield
            for layer in worker.layers:
                self.layers.setdefault(layer.receiver, []).append(layer)
                yield
