"""A run from start to finish: server, workers, barrier, samples, result."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Coroutine, Mapping
from typing import Any, Protocol

from lkpy import descriptors
from lkpy.sim import plan as planning
from lkpy.sim import slo, target
from lkpy.sim.embedded import EmbeddedServer
from lkpy.sim.judge import health, verdict
from lkpy.sim.judge.health import Health
from lkpy.sim.judge.liveness import PATIENCE_S, ServerWatch
from lkpy.sim.media import making
from lkpy.sim.metrics import Summary, merged
from lkpy.sim.result import Event, RunResult, Sample, total
from lkpy.sim.samples import Gathered
from lkpy.sim.scenario import Scenario
from lkpy.sim.server_stats import ServerSampler
from lkpy.sim.target import Target
from lkpy.sim.worker import CLOSE_TIMEOUT_S
from lkpy.sim.workers import WorkerProcess

READY_TIMEOUT_S = 60.0
BARRIER_S = 0.5
"""From the start order to the first action: every process must have read it by then."""
RESULT_TIMEOUT_S = 10.0
CLIENTS_PER_PROCESS = 60
_STEADY_AFTER_S = 2.0
"""Between the last planned join and the window in which CPU per packet is measured."""
_EXPLAINED_S = PATIENCE_S + 2.0
"""Silences that began this shortly before the server was found dead need no other explanation."""


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
        self._server: EmbeddedServer | None = None
        self._watch: ServerWatch | None = None
        self._gathered = Gathered(scenario, self._plan, self._processes)
        self._received: dict[int, float] = {}
        self._interrupted = asyncio.Event()
        self._failures: list[str] = []
        self._faults: list[str] = []
        self._died = ""

    def interrupt(self) -> None:
        """Stop as if the scenario ended now."""
        self._interrupted.set()

    def abort(self) -> None:
        """End all processes at once; whoever cancels :meth:`run` then need not wait for them."""
        for worker in self._workers:
            worker.kill()
        if self._server is not None:
            self._server.kill()

    async def run(self) -> RunResult:
        """Carry out the run. Raises :class:`~lkpy.errors.LkpyError` when it cannot begin."""
        result = RunResult(
            scenario=self._scenario,
            plan=self._plan,
            target=self._given or Target(url="", embedded=True),
            processes=self._processes,
            started_at=time.time(),
        )
        async with contextlib.AsyncExitStack() as stack:
            if await self._unless_interrupted(self._prepare(stack, result)):
                await self._measure(result)
            self._conclude(result)
        return result

    async def _unless_interrupted(self, step: Coroutine[Any, Any, bool]) -> bool:
        """Take a step; an interruption cancels it at once."""
        task = asyncio.create_task(step)
        stop = asyncio.create_task(self._interrupted.wait())
        try:
            await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            return False
        finally:
            for waiting in (task, stop):
                waiting.cancel()
            await asyncio.gather(task, stop, return_exceptions=True)

    # -- before the run ---------------------------------------------------------------------

    async def _prepare(self, stack: contextlib.AsyncExitStack, result: RunResult) -> bool:
        """Make ready all that a run needs; tell whether it can begin."""
        clients = -(-len(self._plan.clients) // self._processes)
        # Our children inherit the limit: the workers, and a server of ours.
        if shortage := health.descriptor_shortage(clients, descriptors.raise_limit()):
            self._faults.append(shortage)
            return False
        if self._given is None:
            self._progress.phase("starting the embedded server")
            self._server = await stack.enter_async_context(EmbeddedServer(mode=self._mode))
            result.target = self._server.target
        tokens = result.target.client_tokens(self._scenario, self._plan)
        await target.check(result.target, tokens[0])
        published = [track for group in self._scenario.groups for track in group.publish]
        await making.make(published, self._making)
        stack.push_async_callback(self._close_workers)
        count = f"{self._processes} process{'es' if self._processes > 1 else ''}"
        self._progress.phase(f"preparing {len(self._plan.clients)} clients in {count}")
        return await self._start_workers(result.target, tokens)

    def _making(self, done: int, wanted: int) -> None:
        self._progress.phase(f"making media: {done} of {wanted} clips, once for this machine")

    # -- workers ----------------------------------------------------------------------------

    async def _start_workers(self, chosen: Target, tokens: Mapping[int, str]) -> bool:
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
            await self._first_of(READY_TIMEOUT_S, worker.ready, worker.ended)
            if not worker.ready.is_set():
                self._failures.append(
                    worker.crash() or f"worker {worker.index} was not ready in time"
                )
        return not self._failures

    async def _first_of(self, timeout_s: float, *events: asyncio.Event) -> None:
        waits = [asyncio.create_task(event.wait()) for event in events]
        await asyncio.wait(waits, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)

    # -- the run ----------------------------------------------------------------------------

    async def _measure(self, result: RunResult) -> None:
        start_at = time.monotonic() + BARRIER_S
        result.started_at = time.time() + BARRIER_S
        for worker in self._workers:
            await worker.send({"type": "start", "at": start_at})
        pid = self._server.pid if self._server is not None else None
        sampler = ServerSampler(result.target, pid, ask=self._server_stats)
        sampling = asyncio.create_task(sampler.run(start_at))
        self._watch = ServerWatch(result.target, self._server)
        watching = asyncio.create_task(self._watch.run())
        try:
            await self._until_end(watching, start_at)
        finally:
            now = time.monotonic() - start_at
            result.elapsed = min(max(now, 0.0), self._plan.duration)
            if self._died:
                result.server_died_at = result.elapsed
                if self._server is not None:
                    self._server.kill()  # a stopped one would not hear anything else
            for task in (sampling, watching):
                task.cancel()
            await asyncio.gather(sampling, watching, return_exceptions=True)
        if self._interrupted.is_set() or self._failures or self._died:
            await self._stop_early()
        result.server_samples = sampler.samples
        self._measure_cpu(result, sampler)

    async def _until_end(self, watching: asyncio.Task[str], start_at: float) -> None:
        """Wait for the end: all results, an interruption, or what makes going on pointless."""
        finished = {asyncio.create_task(worker.finished.wait()) for worker in self._workers}
        stop = asyncio.create_task(self._interrupted.wait())
        deadline = start_at + self._plan.duration + CLOSE_TIMEOUT_S + RESULT_TIMEOUT_S
        running = set(finished)
        try:
            while running and not self._interrupted.is_set():
                done, _ = await asyncio.wait(
                    {*running, stop, watching},
                    timeout=max(0.0, deadline - time.monotonic()),
                    return_when=asyncio.FIRST_COMPLETED,
                )
                running -= done
                # A worker that dies ends the run: what the others do is no longer the scenario.
                self._failures.extend(crash for w in self._workers if (crash := w.crash()))
                if watching in done:
                    self._died = watching.result()
                if not done:
                    for worker in self._workers:
                        if not worker.finished.is_set():
                            self._faults.append(
                                f"generator process {worker.index} did not end: is it stopped?"
                            )
                            worker.kill()
                if self._failures or self._died or not done:
                    return
        finally:
            for task in (*finished, stop):
                task.cancel()
            await asyncio.gather(*finished, stop, return_exceptions=True)

    async def _stop_early(self) -> None:
        self._progress.phase("stopping")
        for worker in self._workers:
            await worker.send({"type": "stop"})
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(RESULT_TIMEOUT_S):
                for worker in self._workers:
                    await worker.finished.wait()

    async def _close_workers(self) -> None:
        await asyncio.gather(*(worker.close() for worker in self._workers))

    # -- what comes in ----------------------------------------------------------------------

    def _message(self, index: int, message: dict[str, Any]) -> None:
        if message["type"] == "sample":
            self._heard(index, message)
            sample = self._gathered.sample(message)
            if sample is not None:
                for event in self._gathered.silences(sample):
                    self._progress.event(event)
                self._progress.sample(sample, self._gathered.rates(sample))
        elif message["type"] == "event":
            for event in self._gathered.failure(message):
                self._progress.event(event)

    def _heard(self, index: int, message: Mapping[str, Any]) -> None:
        """Media and answers to joins are signs of the server's life."""
        groups = message["groups"].values()
        received = sum(counters["packets"] + counters["joined"] for counters in groups)
        if received > self._received.get(index, 0.0) and self._watch is not None:
            self._watch.heard()
        self._received[index] = received

    # -- the verdict ------------------------------------------------------------------------

    def _measure_cpu(self, result: RunResult, sampler: ServerSampler) -> None:
        """Set CPU per packet over the part of the run in which everybody is there."""
        begin = max((action.at for action in self._plan.actions), default=0.0) + _STEADY_AFTER_S
        inside = [s for s in self._gathered.complete if begin <= s.at <= result.elapsed]
        if len(inside) < 2:
            return
        first, last = inside[0], inside[-1]
        cpu = sampler.cpu_between(first.at, last.at)
        packets = total(last, "packets") - total(first, "packets")
        if cpu is not None and packets > 0:
            result.cpu_per_packet = cpu / packets
            result.measured_packets = int(packets)

    def _conclude(self, result: RunResult) -> None:
        gathered = self._gathered
        result.samples = gathered.complete
        if result.server_died_at is not None:
            gathered.judge.forget_after(result.server_died_at - _EXPLAINED_S)
        waited = {round(sample.at): sample.waited for sample in result.server_samples}
        excused = gathered.judge.excuse(waited, result.elapsed)
        result.silences = gathered.judge.found
        result.events, result.events_dropped = gathered.all_events()
        for worker in self._workers:
            # A worker that died left what it had told last.
            figures = worker.figures
            if figures is None:
                continue
            for name, data in figures["groups"].items():
                result.groups.setdefault(name, Summary()).merge(Summary.from_dict(data))
            process = Health.from_dict(figures["health"])
            result.health.append(process)
            self._faults.extend(
                f"generator process {worker.index}: {fault}" for fault in process.faults()
            )
            result.server_info = result.server_info or figures["server"]
        self._count_silences(result)
        result.whole = merged(result.groups.values())
        result.verdicts = slo.evaluate(self._scenario.judged_slos(), result.lookup)
        result.status, result.reasons = verdict.conclude(
            verdict.Findings(
                failures=self._failures,
                interrupted=self._interrupted.is_set(),
                server_died=self._died,
                faults=self._faults,
                doubts=verdict.doubts(result.samples, result.server_samples, excused),
                breached=bool(slo.breached(result.verdicts)),
            )
        )

    def _count_silences(self, result: RunResult) -> None:
        """Add to the groups' counts what no worker could know for itself."""
        failed = set(self._gathered.failed)
        for silence in result.silences:
            client = self._plan.clients[silence.client]
            group = result.groups.setdefault(self._scenario.groups[client.group].name, Summary())
            group.add("silences")
            if client.number not in failed:
                failed.add(client.number)
                group.add("errors")
