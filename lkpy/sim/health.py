"""Whether the load generator kept up. If it did not, its figures say nothing about the server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from lkpy.sim.histogram import Histogram

LAG_P99_LIMIT_S = 0.100
"""An event loop that is this late cannot time packets, and answers STUN and NACK late."""
LATE_P99_LIMIT_S = 0.100
"""Frames sent this late are a network of their own."""
CPU_LIMIT = 0.97
"""Cores used by one generator process: it has one thread, so 1.0 is saturation."""
DROP_LIMIT = 0.001
"""Part of the packets that this machine's socket buffers may drop."""
SKIPPED_LIMIT = 0.01
"""Part of the frames that may be skipped because sending fell behind."""


@dataclass(slots=True)
class Health:
    """How one generator process did."""

    lag: Histogram = field(default_factory=Histogram)
    """Event loop wake-ups: seconds after they were due."""
    late: Histogram = field(default_factory=Histogram)
    """Frames: seconds after they were due."""
    cpu_s: float = 0.0
    wall_s: float = 0.0
    packets: int = 0
    """RTP packets received."""
    socket_drops: int = 0
    """Datagrams the kernel dropped because a client's receive buffer was full."""
    frames_skipped: int = 0
    samples_dropped: int = 0
    """Per-second samples not reported because the parent did not read them."""

    @property
    def cpu(self) -> float:
        """Cores used."""
        return self.cpu_s / self.wall_s if self.wall_s else 0.0

    def faults(self) -> list[str]:
        """Return why this process' figures are not to be trusted; empty when they are."""
        found = []
        lag = self.lag.percentile(99) or 0.0
        late = self.late.percentile(99) or 0.0
        if lag > LAG_P99_LIMIT_S:
            found.append(f"event loop lag p99 is {lag * 1000:.0f} ms")
        if late > LATE_P99_LIMIT_S:
            found.append(f"frames were sent up to {late * 1000:.0f} ms late (p99)")
        if self.cpu > CPU_LIMIT:
            found.append(f"it used {self.cpu:.2f} of one core")
        if self.packets and self.socket_drops > DROP_LIMIT * (self.packets + self.socket_drops):
            found.append(f"its socket buffers dropped {self.socket_drops} packets")
        if self.late.count and self.frames_skipped > SKIPPED_LIMIT * self.late.count:
            found.append(f"it skipped {self.frames_skipped} frames")
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form."""
        return {
            "lag": self.lag.to_dict(),
            "late": self.late.to_dict(),
            "cpu_s": self.cpu_s,
            "wall_s": self.wall_s,
            "packets": self.packets,
            "socket_drops": self.socket_drops,
            "frames_skipped": self.frames_skipped,
            "samples_dropped": self.samples_dropped,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Rebuild from :meth:`to_dict`."""
        rest = {key: data[key] for key in data if key not in ("lag", "late")}
        return cls(
            lag=Histogram.from_dict(data["lag"]), late=Histogram.from_dict(data["late"]), **rest
        )


def socket_drops(table: str, inodes: frozenset[int]) -> int:
    """Return the drops of the sockets ``inodes`` in the text of ``/proc/net/udp`` (Linux)."""
    total = 0
    for line in table.splitlines()[1:]:
        columns = line.split()
        if len(columns) >= 13 and columns[9].isdigit() and int(columns[9]) in inodes:
            total += int(columns[12])
    return total
