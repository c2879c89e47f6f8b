"""What is counted of workers and of the jobs that rooms have for them."""

from __future__ import annotations

from collections.abc import Iterator

from lkpy.server.telemetry.events import AgentJobRequested, AgentWorkersChanged, TelemetryEvent
from lkpy.server.telemetry.exposition import Counter, Gauge, Instrument


class AgentMetrics:
    """A listener."""

    def __init__(self) -> None:
        self.workers = Gauge("lkpy_agent_workers", (), "Workers that are registered.")
        self.jobs = Counter(
            "lkpy_agent_jobs_total",
            ("outcome",),
            "Jobs that were assigned, or for which there was no worker or no answer.",
        )

    def instruments(self) -> Iterator[Instrument]:
        """Everything that is counted here."""
        yield self.workers
        yield self.jobs

    def __call__(self, event: TelemetryEvent) -> None:
        """Count."""
        match event:
            case AgentWorkersChanged():
                self.workers.set(to=event.count)
            case AgentJobRequested():
                self.jobs.add(event.outcome)
            case _:
                pass
