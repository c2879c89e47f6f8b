"""What is measured, under which name, and how clients' figures become a group's.

Names follow W3C webrtc-stats where it has one. Times are seconds here; reports add units.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from lkpy.sim.histogram import Histogram

STATISTICS = ("p50", "p90", "p95", "p99", "mean", "min", "max")


class Dimension(enum.StrEnum):
    """What a figure measures; decides its unit."""

    TIME = "time"
    RATIO = "ratio"
    BITRATE = "bitrate"
    COUNT = "count"
    NUMBER = "number"


class Kind(enum.StrEnum):
    """Whether a metric is a distribution over samples or one number."""

    DISTRIBUTION = "distribution"
    SCALAR = "scalar"


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric's definition, shown in reports and ``lkpy help``."""

    name: str
    kind: Kind
    dimension: Dimension
    description: str
    scope: Literal["group", "run"] = "group"


def _distribution(name: str, dimension: Dimension, description: str) -> Metric:
    return Metric(name, Kind.DISTRIBUTION, dimension, description)


def _count(name: str, description: str) -> Metric:
    return Metric(name, Kind.SCALAR, Dimension.COUNT, description)


_ALL = (
    _distribution("join", Dimension.TIME, "WebSocket connect to JoinResponse"),
    _distribution("ice", Dimension.TIME, "client start to the first nominated ICE pair"),
    _distribution("dtls", Dimension.TIME, "client start to DTLS done"),
    _distribution("ttfp", Dimension.TIME, "client start to the first RTP packet received"),
    _distribution(
        "ttff",
        Dimension.TIME,
        "client start to the first whole key frame or Opus packet, per track",
    ),
    _distribution("publish", Dimension.TIME, "AddTrack sent to TrackPublished"),
    _distribution(
        "subscribe", Dimension.TIME, "track announced to this client to its first packet"
    ),
    _distribution("signal_rtt", Dimension.TIME, "signal ping to pong"),
    _distribution("jitter", Dimension.TIME, "RFC 3550 6.4.1 interarrival jitter, per stream"),
    _distribution("bitrate", Dimension.BITRATE, "RTP received per client while connected"),
    _distribution("fraction_lost", Dimension.RATIO, "packets lost before recovery, per client"),
    _distribution("residual_loss", Dimension.RATIO, "packets never received, per client"),
    _distribution("fps", Dimension.NUMBER, "complete video frames per second, per stream"),
    _count("clients", "clients planned"),
    _count("joined", "clients that got a JoinResponse"),
    _count("connected", "clients whose media connection came up"),
    _count("errors", "clients that failed, or lost their connection or a track for over a second"),
    _count("silences", "times a track that should flow brought nothing for over a second"),
    _count("tracks", "tracks that delivered media; again for each time that a client joins"),
    _count("packets", "RTP packets received, without retransmissions"),
    _count("packets_sent", "RTP packets sent, without retransmissions"),
    _count("packets_lost", "RFC 3550 A.3: expected minus received"),
    _count("packets_recovered", "lost packets that a retransmission brought"),
    _count("packets_residual", "packets that never came"),
    _count("nack", "packets asked for again by NACK"),
    _count("pli", "key frames asked for"),
    _count("decrypt_errors", "sampled packets whose SRTP authentication failed"),
    Metric(
        "cpu_per_packet",
        Kind.SCALAR,
        Dimension.TIME,
        "server CPU time per forwarded packet",
        scope="run",
    ),
)

METRICS: dict[str, Metric] = {metric.name: metric for metric in _ALL}
DISTRIBUTIONS = tuple(m.name for m in _ALL if m.kind is Kind.DISTRIBUTION)
COUNTS = tuple(m.name for m in _ALL if m.kind is Kind.SCALAR and m.scope == "group")


@dataclass(slots=True)
class Summary:
    """Figures of a set of clients; merging two gives the figures of their union."""

    counts: dict[str, int] = field(default_factory=dict)
    distributions: dict[str, Histogram] = field(default_factory=dict)

    def add(self, name: str, times: int = 1) -> None:
        """Increase a count."""
        self.counts[name] = self.counts.get(name, 0) + times

    def record(self, name: str, value: float) -> None:
        """Add a sample to a distribution."""
        histogram = self.distributions.get(name)
        if histogram is None:
            histogram = self.distributions[name] = Histogram()
        histogram.record(value)

    def merge(self, other: Summary) -> None:
        """Add everything ``other`` holds."""
        for name, times in other.counts.items():
            self.add(name, times)
        for name, histogram in other.distributions.items():
            self.distributions.setdefault(name, Histogram()).merge(histogram)

    def value(self, metric: str, statistic: str | None) -> tuple[float | None, int]:
        """Return (value in base units, samples) of a metric."""
        if METRICS[metric].kind is Kind.SCALAR:
            count = self.counts.get(metric, 0)
            return float(count), count
        histogram = self.distributions.get(metric)
        if histogram is None or statistic is None:
            return None, 0
        return histogram.statistic(statistic), histogram.count

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form."""
        return {
            "counts": self.counts,
            "distributions": {k: v.to_dict() for k, v in self.distributions.items()},
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Rebuild a summary from :meth:`to_dict`."""
        return cls(
            counts={str(k): int(v) for k, v in data["counts"].items()},
            distributions={k: Histogram.from_dict(v) for k, v in data["distributions"].items()},
        )


def merged(summaries: Iterable[Summary]) -> Summary:
    """Return the union of ``summaries``."""
    result = Summary()
    for summary in summaries:
        result.merge(summary)
    return result
