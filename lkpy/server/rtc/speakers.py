"""Who is speaking (LiveKit ``pkg/sfu/audio/audiolevel.go``, ``pkg/rtc/room.go``). Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from livekit.protocol import models

from lkpy.server.rtc.options import AudioOptions

QUANTIZATION = 8
"""Levels are told in eighths, so that small changes are no news."""
STALE_WINDOWS = 2
"""Windows without packets after which a level is forgotten."""


def linear(level: float) -> float:
    """A level in -dBov as a linear one, 0 to 1."""
    return float(10 ** (-level / 20))


@dataclass(slots=True)
class _Level:
    smoothed: float = 0.0
    silent_windows: int = 0


class Speakers:
    """Levels of a room's participants, by sid."""

    def __init__(self, options: AudioOptions) -> None:
        self._options = options
        # Exponential smoothing with the centre of mass of a plain average; 0: none.
        self._factor = 2 / (options.smooth_intervals + 1) if options.smooth_intervals else 1.0
        self._threshold = linear(options.active_level)
        self._levels: dict[str, _Level] = {}
        self._told: dict[str, float] = {}

    @property
    def idle(self) -> bool:
        """Nobody is heard and nobody has to be told so."""
        return not self._levels and not self._told

    def level(self, sid: str) -> float | None:
        """What was last told of a participant who speaks."""
        return self._told.get(sid)

    def silence(self, sid: str) -> None:
        """A participant has no microphone any more; the next window tells so."""
        self._levels.pop(sid, None)

    def forget(self, sid: str) -> None:
        """A participant left; nobody is told any more whether it speaks."""
        self._levels.pop(sid, None)
        self._told.pop(sid, None)

    def window(self, observed: Mapping[str, tuple[int, int]]) -> list[models.SpeakerInfo]:
        """Take one window: loudest level (-dBov) and active milliseconds per sid. Returns the
        changes, loudest first, those who fell silent last."""
        for sid in observed.keys() - self._levels.keys():
            self._levels[sid] = _Level()
        for sid, level in list(self._levels.items()):
            if sid in observed:
                level.silent_windows = 0
                level.smoothed = self._smoothed(level.smoothed, *observed[sid])
                continue
            # Without packets (DTX) a level stands for a while.
            level.silent_windows += 1
            if level.silent_windows >= STALE_WINDOWS:
                del self._levels[sid]
        return self._changes()

    def _smoothed(self, before: float, loudest: int, active_ms: int) -> float:
        interval = self._options.update_interval_ms
        if active_ms <= 0 or active_ms * 100 < self._options.min_percentile * interval:
            return 0.0
        # The less of the window was active, the quieter it counts.
        heard = linear(loudest - 20 * math.log10(active_ms / interval))
        return before + (heard - before) * self._factor

    def _changes(self) -> list[models.SpeakerInfo]:
        speaking = {
            sid: math.ceil(level.smoothed * QUANTIZATION) / QUANTIZATION
            for sid, level in self._levels.items()
            if level.smoothed >= self._threshold
        }
        changed = [
            models.SpeakerInfo(sid=sid, level=level, active=True)
            for sid, level in sorted(speaking.items(), key=lambda item: -item[1])
            if self._told.get(sid) != level
        ]
        changed += [
            models.SpeakerInfo(sid=sid, level=0, active=False)
            for sid in self._told
            if sid not in speaking
        ]
        self._told = speaking
        return changed
