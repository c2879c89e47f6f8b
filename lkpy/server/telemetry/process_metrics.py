"""What the operating system tells of the process and its network interfaces."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import psutil

from lkpy.server.telemetry.exposition import Counter, Gauge, Instrument


class ProcessMetrics:
    """The usual ``process_*`` families; only they carry no labels of the node."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self.cpu = Counter(
            "process_cpu_seconds_total", (), "Total user and system CPU time spent in seconds."
        )
        self.resident = Gauge("process_resident_memory_bytes", (), "Resident memory size in bytes.")
        self.virtual = Gauge("process_virtual_memory_bytes", (), "Virtual memory size in bytes.")
        self.descriptors = Gauge("process_open_fds", (), "Number of open file descriptors.")
        self.most_descriptors = Gauge(
            "process_max_fds", (), "Maximum number of open file descriptors."
        )
        self.started = Gauge(
            "process_start_time_seconds",
            (),
            "Start time of the process since unix epoch in seconds.",
        )
        self.started.set(to=self._process.create_time())

    def instruments(self) -> Iterator[Instrument]:
        """Everything that is told here."""
        for value in vars(self).values():
            if isinstance(value, Instrument):
                yield value

    def update(self) -> None:
        """Ask the operating system."""
        with self._process.oneshot():
            cpu, memory = self._process.cpu_times(), self._process.memory_info()
            self.cpu.set(to=cpu.user + cpu.system)
            self.resident.set(to=memory.rss)
            self.virtual.set(to=memory.vms)
            # Not every system has both.
            with contextlib.suppress(AttributeError, psutil.Error):
                self.descriptors.set(to=self._process.num_fds())
                soft_limit, _ = self._process.rlimit(psutil.RLIMIT_NOFILE)
                self.most_descriptors.set(to=soft_limit)


class InterfaceMetrics:
    """Packets that this machine sent since the server began, but those to itself (livekit-server
    ``pkg/telemetry/prometheus/node_linux.go`` asks the queueing disciplines for the same)."""

    def __init__(self) -> None:
        self.packets = Gauge(
            "livekit_node_packet_total",
            ("type",),
            "System level packet count. Count starts at 0 when service is first started.",
        )
        self._began = _sent()

    def update(self) -> None:
        """Ask the operating system."""
        sent, dropped = _sent()
        self.packets.set("out", to=sent - self._began[0])
        self.packets.set("dropped", to=dropped - self._began[1])


def _sent() -> tuple[int, int]:
    counters = psutil.net_io_counters(pernic=True, nowrap=False)
    others = [each for name, each in counters.items() if not name.startswith("lo")]
    return sum(each.packets_sent for each in others), sum(each.dropout for each in others)
