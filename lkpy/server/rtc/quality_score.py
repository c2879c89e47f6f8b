"""How good one stream is, from 5 s of packets at a time (livekit-server
``pkg/sfu/connectionquality/scorer.go``). Pure; told ``now``.

Of LiveKit's three scores the one by bitrate and the delays of the one by packets are switched off
in its server (``pkg/sfu/receiver.go``, ``downtrack.go``), so they are not here.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

from livekit.protocol import models

MAX_SCORE, MIN_SCORE = 100.0, 30.0
MAX_MOS = 4.5
_GOOD, _POOR, _LOST = 80.0, 40.0, 20.0
"""Scores at and below which the quality is GOOD, POOR and LOST."""
_RISE, _FALL = 0.4, 0.8
"""Share of a better and of a worse window in the smoothed score: slow to trust, quick to warn."""
_LAYER_WEIGHT = 35.0
"""One missing spatial layer drops the quality by a level."""
_UNMUTED_SHARE = 0.5
"""Of a window that has to be unmuted for it to count."""
_RATE_STEP = 2
"""Packets per second are counted in steps of this."""
_MODE_READINGS = 10
_MODE_INTERVAL_S = 120.0

Quality = models.ConnectionQuality
_RANK = {Quality.LOST: 0, Quality.POOR: 1, Quality.GOOD: 2, Quality.EXCELLENT: 3}


@dataclass(frozen=True, slots=True)
class Window:
    """What happened to a stream since the last window."""

    packets: int
    """That arrived (publisher), or were sent (subscriber)."""
    lost: int
    layer_distance: float = 0.0
    """Spatial layers by which the stream falls short of what is wanted."""
    silent: bool = False
    """Nothing at all came from the peer, not even RTCP."""


def loss_weight(mime_type: str, *, fec: bool = False) -> float:
    """Points per percent of packets lost. FEC and redundancy hide some of it."""
    mime = mime_type.lower()
    if mime == "audio/opus":
        return 8.0 / 1.5 if fec else 8.0
    if mime == "audio/red":
        return 4.0 / 1.5 if fec else 4.0
    return 10.0 if mime.startswith("video/") else 0.0


def quality_of(score: float) -> models.ConnectionQuality:
    """The level of a score."""
    if score > _GOOD:
        return Quality.EXCELLENT
    if score > _POOR:
        return Quality.GOOD
    return Quality.POOR if score > _LOST else Quality.LOST


def mos_of(score: float) -> float:
    """A score as a mean opinion score, 1.0 to 4.5 (ITU-T G.107)."""
    if score <= 0:
        return 1.0
    if score >= MAX_SCORE:
        return MAX_MOS
    return 1.0 + 0.035 * score + 0.000007 * score * (score - 60.0) * (100.0 - score)


def is_lower(one: models.ConnectionQuality, other: models.ConnectionQuality) -> bool:
    """Whether ``one`` is worse than ``other``."""
    return _RANK[one] < _RANK[other]


class QualityScore:
    """The smoothed score of one stream."""

    def __init__(self, now: float, weight: float) -> None:
        self.score = MAX_SCORE
        self._weight = weight
        self._updated_at = now
        self._muted = False
        self._unmuted_at: float | None = None
        self._rates: Counter[int] = Counter()
        self._usual_rate = 0
        self._usual_rate_at = now - _MODE_INTERVAL_S

    def mute(self, now: float, *, muted: bool) -> None:
        """The stream was muted or unmuted; a muted one is excellent unless it was lost."""
        if muted == self._muted:
            return
        self._muted = muted
        if not muted:
            self._unmuted_at = now
        elif self.score != _LOST:
            self.score = MAX_SCORE

    def update(self, now: float, window: Window) -> None:
        """Take one window that ends ``now``."""
        since, self._updated_at = self._updated_at, now
        if self._muted or now <= since:
            return
        if self._unmuted_at is not None and now - self._unmuted_at <= _UNMUTED_SHARE * (
            now - since
        ):
            return
        if window.packets == 0:
            self.score = _LOST if window.silent else _POOR
            return
        loss = 100.0 * max(0, window.lost) / window.packets
        score = min(
            MAX_SCORE - loss * self._adjusted_weight(now, window.packets / (now - since)),
            MAX_SCORE - max(0.0, window.layer_distance) * _LAYER_WEIGHT,
        )
        share = _FALL if score < self.score else _RISE
        # Without a floor a bad moment would be held against the stream for long.
        self.score = max(MIN_SCORE, share * max(0.0, score) + (1.0 - share) * self.score)

    def _adjusted_weight(self, now: float, rate: float) -> float:
        """Loss counts less while a stream sends less than it usually does (DTX, still screens)."""
        self._rates[int(rate / _RATE_STEP + 0.5)] += 1
        if self._rates.total() > _MODE_READINGS and now - self._usual_rate_at > _MODE_INTERVAL_S:
            self._usual_rate = self._rates.most_common(1)[0][0]
            self._usual_rate_at = now
        if not self._usual_rate:
            return self._weight
        return math.sqrt(min(1.0, rate / (self._usual_rate * _RATE_STEP))) * self._weight
