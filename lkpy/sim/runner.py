"""A run from start to finish: server, workers, barrier, samples, result."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from lkpy.sim import plan as planning
from lkpy.sim import slo, target, units
from lkpy.sim.embedded import EmbeddedServer
from lkpy.sim.health import Health
from lkpy.sim.media import cache
from lkpy.sim.metrics import Summary, merged
from lkpy.sim.plan import Plan
from lkpy.sim.scenario import PublishAudio, Scenario
from lkpy.sim.server_stats import ServerSample, ServerSampler
from lkpy.sim.target import Target
from lkpy.sim.worker import CLOSE_TIMEOUT_S, SAMPLE_COUNTERS
from lkpy.sim.workers import WorkerProcess

READY_TIMEOUT_S = 60.0
BARRIER_S = 0.5
"""From the start order to the first action: every process must have read it by then."""
RESULT_TIMEOUT_S = 10.0
MAX_EVENTS = 1000
MAX_EVENT_TEXT = 500
CLIENTS_PER_PROCESS = 60
_STEADY_AFTER_S = 2.0
"""Between the last planned join and the window in which CPU per packet is measured."""


class Status(enum.StrEnum):
    """How a run ended."""

    PASSED = "passed"
    BREACHED = "breached"
    INVALID = "invalid"
    INTERRUPTED = "interrupted"
    FAILED = "failed"


EXIT_CODES: dict[Status, int] = {
    Status.PASSED: 0,
    Status.FAILED: 1,
    Status.INVALID: 4,
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


class Progress(Protocol):
    """Told how the run goes. All times are seconds from the start of the run."""

    def phase(self, text: str) -> None:
        """A step before or after the measured part."""

    def sample(self, sample: Sample, rates: Mapping[str, float]) -> None:
        """One second has been measured."""

    def event(self, event: Event) -> None:
        """Something went wrong."""


def default_processes(clients: int) -> int:
    """Half the cores, since the server is often on the same machine; no more than are useful."""
    cores = os.cpu_count() or 1
    return max(1, min(cores // 2, -(-clients // CLIENTS_PER_PROCESS)))


class Runner:
    """Runs one scenario. :meth:`interrupt` ends it early, with its report."""

    def __init__(
        self,
        scenario: Scenario,
        given: Target | None,
        progress: Progress,
        *,
        processes: int | None = None,
        mode: str = "",
        server_stats: bool = True,
    ) -> None:
        self._scenario = scenario
        self._plan = planning.make(scenario)
        self._given = given
        self._progress = progress
        self._processes = processes or default_processes(len(self._plan.clients))
        self._mode = mode or scenario.target.mode
        self._server_stats = server_stats
        self._workers: list[WorkerProcess] = []
        self._samples: dict[int, Sample] = {}
        self._interrupted = asyncio.Event()
        self._failures: list[str] = []
        self._result: RunResult | None = None

    def interrupt(self) -> None:
        """Stop as if the scenario ended now."""
        self._interrupted.set()

    async def run(self) -> RunResult:
        """Carry out the run. Raises :class:`~lkpy.errors.LkpyError` when it cannot begin."""
        async with contextlib.AsyncExitStack() as stack:
            chosen, pid = self._given, None
            if chosen is None:
                self._progress.phase("starting the embedded server")
                server = await stack.enter_async_context(EmbeddedServer(mode=self._mode))
                chosen, pid = server.target, server.pid
            tokens = chosen.client_tokens(self._scenario, self._plan)
            await target.check(chosen, tokens[0])
            await asyncio.to_thread(self._make_media)
            result = self._result = RunResult(
                scenario=self._scenario,
                plan=self._plan,
                target=chosen,
                processes=self._processes,
                started_at=time.time(),
            )
            stack.push_async_callback(self._close_workers)
            count = f"{self._processes} process{'es' if self._processes > 1 else ''}"
            self._progress.phase(f"preparing {len(self._plan.clients)} clients in {count}")
            if await self._prepare(chosen, tokens):
                await self._measure(result, chosen, pid)
            self._conclude(result)
            return result

    def _make_media(self) -> None:
        """Encode what is not cached yet, once, before the workers all want it."""
        for group in self._scenario.groups:
            for track in group.publish:
                self._progress.phase("making media")
                if isinstance(track, PublishAudio):
                    cache.audio_clip(track)
                else:
                    cache.video_clips(track)

    # -- workers ----------------------------------------------------------------------------

    async def _prepare(self, chosen: Target, tokens: Mapping[int, str]) -> bool:
        """Start the workers; tell whether all are ready to begin."""
        # Workers get tokens, never the secret that signs them.
        public = self._scenario.model_dump(mode="json", by_alias=True, exclude={"target"})
        for index in range(self._processes):
            worker = WorkerProcess(index, self._message)
            self._workers.append(worker)
            mine = {str(n): t for n, t in tokens.items() if n % self._processes == index}
            job = {
                "type": "job",
                "scenario": public,
                "index": index,
                "processes": self._processes,
                "url": chosen.url,
                "host": chosen.host,
                "port": chosen.port,
                "mode": self._mode,
                "tokens": mine,
            }
            await worker.start(job)
        for worker in self._workers:
            await self._first_of(READY_TIMEOUT_S, worker.ready, worker.ended, self._interrupted)
            if not worker.ready.is_set() and not self._interrupted.is_set():
                self._failures.append(
                    worker.crash() or f"worker {worker.index} was not ready in time"
                )
        return not self._failures and not self._interrupted.is_set()

    async def _first_of(self, timeout_s: float, *events: asyncio.Event) -> None:
        waits = [asyncio.create_task(event.wait()) for event in events]
        await asyncio.wait(waits, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)

    async def _measure(self, result: RunResult, chosen: Target, pid: int | None) -> None:
        start_at = time.monotonic() + BARRIER_S
        result.started_at = time.time() + BARRIER_S
        for worker in self._workers:
            await worker.send({"type": "start", "at": start_at})
        sampler = ServerSampler(chosen, pid, ask=self._server_stats)
        sampling = asyncio.create_task(sampler.run(start_at))
        ended = [asyncio.create_task(worker.ended.wait()) for worker in self._workers]
        stop = asyncio.create_task(self._interrupted.wait())
        limit = BARRIER_S + self._plan.duration + CLOSE_TIMEOUT_S + RESULT_TIMEOUT_S
        # A worker that dies ends the run: what the others measure is no longer the scenario.
        running = set(ended)
        deadline = time.monotonic() + limit
        while running and not self._interrupted.is_set() and not self._failures:
            done, _ = await asyncio.wait(
                {*running, stop},
                timeout=max(0.0, deadline - time.monotonic()),
                return_when=asyncio.FIRST_COMPLETED,
            )
            running -= done
            self._failures.extend(crash for w in self._workers if (crash := w.crash()))
            if not done:
                self._failures.append(f"no result within {limit:.0f} s")
        result.elapsed = min(time.monotonic() - start_at, self._plan.duration)
        sampling.cancel()
        if self._interrupted.is_set() or self._failures:
            await self._stop_early()
        stop.cancel()
        for task in ended:
            task.cancel()
        await asyncio.gather(*ended, stop, sampling, return_exceptions=True)
        result.server_samples = sampler.samples
        self._measure_cpu(result, sampler)

    async def _stop_early(self) -> None:
        self._progress.phase("stopping")
        for worker in self._workers:
            await worker.send({"type": "stop"})
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT_S + RESULT_TIMEOUT_S):
                for worker in self._workers:
                    await worker.ended.wait()

    async def _close_workers(self) -> None:
        await asyncio.gather(*(worker.close() for worker in self._workers))

    # -- what comes in ----------------------------------------------------------------------

    def _message(self, index: int, message: dict[str, Any]) -> None:
        if message["type"] == "sample":
            self._add_sample(message)
        elif message["type"] == "event" and self._result is not None:
            # The text may be the server's: it is shown on a terminal.
            text = units.printable(message["text"])[:MAX_EVENT_TEXT]
            event = Event(message["at"], message["client"], text)
            if len(self._result.events) < MAX_EVENTS:
                self._result.events.append(event)
                self._progress.event(event)
            else:
                self._result.events_dropped += 1

    def _add_sample(self, message: Mapping[str, Any]) -> None:
        at = int(message["at"])
        sample = self._samples.setdefault(at, Sample(at))
        for group, counters in message["groups"].items():
            into = sample.groups.setdefault(group, dict.fromkeys(SAMPLE_COUNTERS, 0.0))
            for name, value in counters.items():
                into[name] += value
        sample.cpu.append(float(message["cpu"]))
        sample.lag = max(sample.lag, float(message["lag"]))
        sample.processes += 1
        if sample.processes == self._processes:
            self._progress.sample(sample, self._rates(sample))

    def _rates(self, sample: Sample) -> dict[str, float]:
        previous = self._samples.get(sample.at - 1, Sample(0))
        return {
            name: total(sample, name) - total(previous, name)
            for name in ("packets", "bytes", "packets_sent", "lost")
        }

    # -- the verdict ------------------------------------------------------------------------

    def _measure_cpu(self, result: RunResult, sampler: ServerSampler) -> None:
        """Set CPU per packet over the part of the run in which everybody is there."""
        begin = max((action.at for action in self._plan.actions), default=0.0) + _STEADY_AFTER_S
        times = sorted(at for at, s in self._samples.items() if s.processes == self._processes)
        inside = [at for at in times if begin <= at <= result.elapsed]
        if len(inside) < 2:
            return
        first, last = inside[0], inside[-1]
        cpu = sampler.cpu_between(first, last)
        packets = total(self._samples[last], "packets") - total(self._samples[first], "packets")
        if cpu is not None and packets > 0:
            result.cpu_per_packet = cpu / packets
            result.measured_packets = int(packets)

    def _conclude(self, result: RunResult) -> None:
        result.samples = [
            sample
            for _, sample in sorted(self._samples.items())
            if sample.processes == self._processes
        ]
        for worker in self._workers:
            if worker.result is None:
                continue
            for name, data in worker.result["groups"].items():
                result.groups.setdefault(name, Summary()).merge(Summary.from_dict(data))
            result.health.append(Health.from_dict(worker.result["health"]))
            result.server_info = result.server_info or worker.result["server"]
        result.whole = merged(result.groups.values())
        result.verdicts = slo.evaluate(self._scenario.parsed_slos(), result.lookup)
        faults = [
            f"generator process {index}: {fault}"
            for index, health in enumerate(result.health)
            for fault in health.faults()
        ]
        result.reasons = [*self._failures, *faults]
        if self._interrupted.is_set():
            result.status = Status.INTERRUPTED
        elif self._failures:
            result.status = Status.FAILED
        elif faults:
            result.status = Status.INVALID
        elif slo.breached(result.verdicts):
            result.status = Status.BREACHED
        else:
            result.status = Status.PASSED


def total(sample: Sample, name: str) -> float:
    """Return a counter summed over the groups of a sample."""
    return sum(counters[name] for counters in sample.groups.values())
