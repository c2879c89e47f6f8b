"""Whether the load generator kept up. If it did not, its figures say nothing about the server."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import resource
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from lkpy.sim.histogram import Histogram

LAG_P99_LIMIT_S = 0.100
"""An event loop that is this late cannot time packets, and answers STUN and NACK late."""
LATE_P99_LIMIT_S = 0.100
"""Frames sent this late are a network of their own."""
STALL_LIMIT_S = 1.0
"""An event loop that stands still for this long once has missed whatever happened meanwhile."""
STALL_S = 0.100
"""Waits from this length on are added up as stalled time."""
CPU_LIMIT = 0.97
"""Cores used by one generator process: it has one thread, so 1.0 is saturation."""
SATURATED_LIMIT = 0.1
"""Part of a run's seconds that a process may be saturated; joining takes a few."""
SATURATED_LEAST = 3
DROP_LIMIT = 0.001
"""Part of the packets that this machine's socket buffers may drop."""
SKIPPED_LIMIT = 0.01
"""Part of the frames that may be skipped because sending fell behind."""
DESCRIPTORS_PER_CLIENT = 4
"""The signal connection, two media sockets, and one that is being opened or closed."""
DESCRIPTORS_AT_REST = 64
_OWN_ERRNOS = frozenset(
    {
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOMEM,
        errno.ENOBUFS,
        errno.EADDRNOTAVAIL,
    }
)
"""What this machine lacks: no server can cause these."""


@dataclass(slots=True)
class Health:
    """How one generator process did."""

    lag: Histogram = field(default_factory=Histogram)
    """Ticks: seconds after they were due. Those swallowed by a late one count too, each with its
    own wait, or a long stall would be one sample among thousands."""
    late: Histogram = field(default_factory=Histogram)
    """Frames: seconds after they were due."""
    ticks_missed: int = 0
    """Ticks that were swallowed by a late one."""
    stalled_s: float = 0.0
    """Time in which the event loop stood still, in waits of 100 ms and more."""
    lag_max_s: float = 0.0
    """The longest wait."""
    lag_max_at: float = 0.0
    """Second of the run at which it ended."""
    seconds: int = 0
    saturated: int = 0
    """Of the ``seconds`` sampled, those in which the process used a whole core."""
    exhausted: dict[str, int] = field(default_factory=dict)
    """Clients that failed by what this machine lacks, by the words for it."""
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

    def ticked(self, at: float, late: float, interval: float) -> None:
        """Count a tick that came ``late`` seconds after it was due, at second ``at`` of the run."""
        self.lag.record(late)
        missed = int(late / interval)
        self.ticks_missed += missed
        for swallowed in range(1, missed + 1):
            self.lag.record(late - swallowed * interval)
        if late >= STALL_S:
            self.stalled_s += late
        if late > self.lag_max_s:
            self.lag_max_s, self.lag_max_at = late, at

    def used(self, cores: float) -> None:
        """Count a second in which the process used ``cores``."""
        self.seconds += 1
        self.saturated += cores >= CPU_LIMIT

    def faults(self) -> list[str]:
        """Return why this process' figures are not to be trusted; empty when they are."""
        found = []
        lag = self.lag.percentile(99) or 0.0
        late = self.late.percentile(99) or 0.0
        if lag > LAG_P99_LIMIT_S:
            found.append(f"event loop lag p99 is {lag * 1000:.0f} ms")
        if late > LATE_P99_LIMIT_S:
            found.append(f"frames were sent up to {late * 1000:.0f} ms late (p99)")
        if self.lag_max_s >= STALL_LIMIT_S:
            found.append(
                f"it stood still for {self.lag_max_s:.1f} s, until second {self.lag_max_at:.0f} "
                f"({self.ticks_missed} ticks missed in all)"
            )
        if self.cpu > CPU_LIMIT:
            found.append(f"it used {self.cpu:.2f} of one core")
        elif self.saturated > max(SATURATED_LEAST, SATURATED_LIMIT * self.seconds):
            found.append(f"it used a whole core in {self.saturated} of {self.seconds} s")
        for words, clients in self.exhausted.items():
            found.append(f"{words} ({clients} client{'s' if clients > 1 else ''} failed by it)")
        if self.packets and self.socket_drops > DROP_LIMIT * (self.packets + self.socket_drops):
            found.append(f"its socket buffers dropped {self.socket_drops} packets")
        if self.late.count and self.frames_skipped > SKIPPED_LIMIT * self.late.count:
            found.append(f"it skipped {self.frames_skipped} frames")
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form."""
        plain = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        return {**plain, "lag": self.lag.to_dict(), "late": self.late.to_dict()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Rebuild from :meth:`to_dict`."""
        rest = {key: data[key] for key in data if key not in ("lag", "late")}
        return cls(
            lag=Histogram.from_dict(data["lag"]), late=Histogram.from_dict(data["late"]), **rest
        )


def own_fault(error: BaseException | None) -> str | None:
    """Return the words for what this machine lacked, if that is behind ``error``."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, OSError) and error.errno in _OWN_ERRNOS:
            return (error.strerror or str(error)).lower()
        error = error.__cause__ or error.__context__
    return None


def descriptor_shortage(clients: int, limit: int) -> str | None:
    """Say that ``clients`` of one process need more open files than ``limit``."""
    needed = clients * DESCRIPTORS_PER_CLIENT + DESCRIPTORS_AT_REST
    if limit == resource.RLIM_INFINITY or needed <= limit:
        return None
    return (
        f"{clients} clients in a process may need {needed} open files (descriptors), and the hard "
        f"limit is {limit} (ulimit -Hn): raise it, or use more --processes"
    )


class ProcessorWait:
    """How long the threads of a process were ready to run while no processor was free (Linux)."""

    def __init__(self, pid: int | None = None) -> None:
        self._tasks = Path(f"/proc/{pid if pid is not None else 'self'}/task")
        self._before: dict[str, int] = {}
        self.read()

    def read(self) -> float:
        """Return the wait of the thread that waited longest since the last call, in seconds."""
        now: dict[str, int] = {}
        with contextlib.suppress(OSError):  # another system, or the process has ended
            for task in self._tasks.iterdir():
                with contextlib.suppress(OSError, ValueError, IndexError):
                    # Nanoseconds on a processor, nanoseconds waiting for one, times on one.
                    now[task.name] = int((task / "schedstat").read_text().split()[1])
        waits = (wait - self._before.get(name, wait) for name, wait in now.items())
        longest = max(waits, default=0) / 1e9
        self._before = now
        return longest


def socket_drops(table: str, inodes: frozenset[int]) -> int:
    """Return the drops of the sockets ``inodes`` in the text of ``/proc/net/udp`` (Linux)."""
    total = 0
    for line in table.splitlines()[1:]:
        columns = line.split()
        if len(columns) >= 13 and columns[9].isdigit() and int(columns[9]) in inodes:
            total += int(columns[12])
    return total
