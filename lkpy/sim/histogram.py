"""Mergeable log-linear histograms: constant relative error, sparse, exact count/sum/min/max.

Values fall into buckets of 1/64 of a power of two, so a percentile is off by less than 0.8 %
of its value (half a bucket). Merging adds bucket counts: the result does not depend on order,
which is what lets many processes measure one distribution.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Self

SUB_BUCKETS = 64
"""Buckets per power of two."""
_ZERO = -(1 << 30)


class Histogram:
    """A distribution of non-negative numbers."""

    __slots__ = ("count", "counts", "maximum", "minimum", "total")

    def __init__(self) -> None:
        self.counts: dict[int, int] = {}
        self.count = 0
        self.total = 0.0
        self.minimum = math.inf
        self.maximum = -math.inf

    def record(self, value: float, times: int = 1) -> None:
        """Add ``value``; negative values count as zero."""
        value = max(value, 0.0)
        bucket = _bucket(value)
        self.counts[bucket] = self.counts.get(bucket, 0) + times
        self.count += times
        self.total += value * times
        self.minimum = min(self.minimum, value)
        self.maximum = max(self.maximum, value)

    def merge(self, other: Histogram) -> None:
        """Add everything ``other`` has seen."""
        for bucket, times in other.counts.items():
            self.counts[bucket] = self.counts.get(bucket, 0) + times
        self.count += other.count
        self.total += other.total
        self.minimum = min(self.minimum, other.minimum)
        self.maximum = max(self.maximum, other.maximum)

    @property
    def mean(self) -> float | None:
        """Arithmetic mean, exact; None without samples."""
        return self.total / self.count if self.count else None

    def percentile(self, percent: float) -> float | None:
        """Return the smallest value that at least ``percent`` % of samples do not exceed."""
        if not self.count:
            return None
        rank = max(1, math.ceil(self.count * percent / 100))
        if rank >= self.count:
            return self.maximum
        seen = 0
        for bucket in sorted(self.counts):
            seen += self.counts[bucket]
            if seen >= rank:
                return min(max(_middle(bucket), self.minimum), self.maximum)
        return self.maximum

    def statistic(self, name: str) -> float | None:
        """Return ``min``, ``mean``, ``max`` or a percentile such as ``p95``."""
        if not self.count:
            return None
        if name == "mean":
            return self.mean
        if name == "min":
            return self.minimum
        if name == "max":
            return self.maximum
        return self.percentile(float(name.removeprefix("p")))

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form."""
        return {
            "count": self.count,
            "sum": self.total,
            "min": self.minimum if self.count else None,
            "max": self.maximum if self.count else None,
            "buckets": sorted(self.counts.items()),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Rebuild a histogram from :meth:`to_dict`."""
        histogram = cls()
        histogram.counts = {int(bucket): int(times) for bucket, times in data["buckets"]}
        histogram.count = int(data["count"])
        histogram.total = float(data["sum"])
        if histogram.count:
            histogram.minimum = float(data["min"])
            histogram.maximum = float(data["max"])
        return histogram

    @classmethod
    def of(cls, values: Iterable[float]) -> Self:
        """Return a histogram of ``values``."""
        histogram = cls()
        for value in values:
            histogram.record(value)
        return histogram


def _bucket(value: float) -> int:
    if value <= 0.0:
        return _ZERO
    mantissa, exponent = math.frexp(value)
    return exponent * SUB_BUCKETS + int((mantissa - 0.5) * 2 * SUB_BUCKETS)


def _middle(bucket: int) -> float:
    if bucket == _ZERO:
        return 0.0
    exponent, sub = divmod(bucket, SUB_BUCKETS)
    return math.ldexp(0.5 + (sub + 0.5) / (2 * SUB_BUCKETS), exponent)
