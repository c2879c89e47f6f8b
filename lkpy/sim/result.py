"""What a run yields: samples, events, silences, and everything measured."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from lkpy.sim import slo
from lkpy.sim.judge.health import Health
from lkpy.sim.judge.silence import Silence, SilentTrack
from lkpy.sim.metrics import Summary
from lkpy.sim.plan import Plan
from lkpy.sim.scenario import Scenario
from lkpy.sim.server_stats import ServerSample
from lkpy.sim.target import Target


class Status(enum.StrEnum):
    """How a run ended."""

    PASSED = "passed"
    BREACHED = "breached"
    SERVER_DIED = "server_died"
    INVALID = "invalid"
    INTERRUPTED = "interrupted"
    FAILED = "failed"


EXIT_CODES: dict[Status, int] = {
    Status.PASSED: 0,
    Status.FAILED: 1,
    Status.INVALID: 4,
    # A server that dies under its load has failed the test. 3 is for one that was never there:
    # whoever tries again after a 3 must not do so after this.
    Status.SERVER_DIED: 99,
    Status.BREACHED: 99,
    Status.INTERRUPTED: 130,
}


@dataclass(frozen=True, slots=True)
class Event:
    """Something that went wrong, and when (seconds from the start)."""

    at: float
    client: str
    text: str


@dataclass
class Sample:
    """Counters of one second, summed over processes."""

    at: int
    groups: dict[str, dict[str, float]] = field(default_factory=dict)
    cpu: list[float] = field(default_factory=list)
    lag: float = 0.0
    """Longest wait for the event loop of any process, in seconds."""
    waited: float = 0.0
    """Part of the second for which the process worst off waited for a processor."""
    silent: list[SilentTrack] = field(default_factory=list)
    """Tracks that were due and did not come."""
    idle: dict[str, str] = field(default_factory=dict)
    """Published tracks of which nothing was sent, and why: ``paused`` by the server or
    ``stopped``."""
    silent_tracks: int = 0
    """How many were silent, also after ``silent`` was judged and emptied."""
    processes: int = 0


@dataclass
class RunResult:
    """Everything measured. Reports are made from it."""

    scenario: Scenario
    plan: Plan
    target: Target
    processes: int
    started_at: float
    elapsed: float = 0.0
    status: Status = Status.FAILED
    reasons: list[str] = field(default_factory=list)
    groups: dict[str, Summary] = field(default_factory=dict)
    whole: Summary = field(default_factory=Summary)
    verdicts: list[slo.Verdict] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    events_dropped: int = 0
    silences: list[Silence] = field(default_factory=list)
    server_died_at: float | None = None
    """Second of the run in which the server was found dead."""
    health: list[Health] = field(default_factory=list)
    server_samples: list[ServerSample] = field(default_factory=list)
    server_info: dict[str, str] = field(default_factory=dict)
    cpu_per_packet: float | None = None
    """Server CPU seconds per packet that clients received, in the steady part of the run."""
    measured_packets: int = 0

    @property
    def exit_code(self) -> int:
        """The process' exit status."""
        return EXIT_CODES[self.status]

    def lookup(
        self, group: str | None, metric: str, statistic: str | None
    ) -> tuple[float | None, int]:
        """Answer an SLO's question."""
        if metric == "cpu_per_packet":
            return self.cpu_per_packet, self.measured_packets
        summary = self.whole if group is None else self.groups.get(group, Summary())
        return summary.value(metric, statistic)


def total(sample: Sample, name: str) -> float:
    """Return a counter summed over the groups of a sample."""
    return sum(counters[name] for counters in sample.groups.values())
