"""Runs with real worker processes, against a server that admits clients but has no media."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Mapping

import pytest

from lkpy.sim import loader
from lkpy.sim.report import document
from lkpy.sim.result import Event, RunResult, Sample, Status
from lkpy.sim.runner import Runner
from lkpy.sim.scenario import Scenario
from lkpy.sim.target import Target
from tests.control_plane import KEY, SECRET, Harness, running
from tests.patience import PATIENCE_S

TEXT = """\
version: 1
name: bare
duration: {duration}
defaults: {{join_timeout: 1s}}
groups:
  - {{name: audience, count: 3, ramp: 200ms}}
slo:
  - joined == {joined}
  - errors == 3  # no client gets media here
"""


def scenario(duration: str = "2s", joined: int = 3) -> Scenario:
    return loader.parse(TEXT.format(duration=duration, joined=joined), "bare.yaml", {})


class Notes:
    """A progress display that remembers."""

    def __init__(self) -> None:
        self.phases: list[str] = []
        self.samples: list[Sample] = []
        self.events: list[Event] = []
        self.measured = asyncio.Event()

    def phase(self, text: str) -> None:
        self.phases.append(text)

    def sample(self, sample: Sample, rates: Mapping[str, float]) -> None:
        assert set(rates) >= {"packets", "bytes"}
        self.samples.append(sample)
        self.measured.set()

    def event(self, event: Event) -> None:
        self.events.append(event)


@pytest.fixture
async def server() -> AsyncIterator[Harness]:
    async with running() as harness:
        yield harness


def runner(server: Harness, notes: Notes, made: Scenario, processes: int = 2) -> Runner:
    given = Target(url=server.server.url, api_key=KEY, api_secret=SECRET)
    return Runner(made, given, notes, processes=processes)


async def run(server: Harness, made: Scenario) -> tuple[RunResult, Notes]:
    notes = Notes()
    return await runner(server, notes, made).run(), notes


async def test_every_client_is_accounted_for(server: Harness) -> None:
    result, notes = await run(server, scenario())
    assert result.whole.counts["clients"] == 3
    assert result.whole.counts["joined"] == 3
    assert result.whole.counts["connected"] == 0
    assert result.whole.distributions["join"].count == 3
    assert sorted(event.client for event in notes.events) == [f"audience-{n}" for n in range(3)]
    assert all("media did not connect within 1 s" in event.text for event in result.events)
    assert [sample.at for sample in result.samples] == [1, 2] or len(result.samples) == 1
    assert len(result.health) == 2
    # A machine too busy to simulate three clients says so, which is right as well.
    lagged = any(health.faults() for health in result.health)
    assert result.status is (Status.INVALID if lagged else Status.PASSED)
    assert document.build(result)["exit_code"] == (4 if lagged else 0)


async def test_a_breach_is_told(server: Harness) -> None:
    result, _ = await run(server, scenario(joined=4))
    lagged = any(health.faults() for health in result.health)
    told = (Status.INVALID, 4) if lagged else (Status.BREACHED, 99)
    assert (result.status, result.exit_code) == told
    assert [(v.observed, v.passed) for v in result.verdicts] == [(3.0, False), (3.0, True)]


async def test_errors_count_unless_the_scenario_allows_them(server: Harness) -> None:
    text = TEXT.replace("  - errors == 3  # no client gets media here\n", "")
    made = loader.parse(text.format(duration="2s", joined=3), "bare.yaml", {})
    result, _ = await run(server, made)
    assert [(v.slo.text, v.observed, v.passed) for v in result.verdicts] == [
        ("joined == 3", 3.0, True),
        ("errors == 0", 3.0, False),
    ]
    assert result.status in (Status.BREACHED, Status.INVALID)


async def test_an_interrupted_run_has_its_figures(server: Harness) -> None:
    notes = Notes()
    started = runner(server, notes, scenario(duration="60s"))
    task = asyncio.create_task(started.run())
    await asyncio.wait_for(notes.measured.wait(), PATIENCE_S)
    started.interrupt()
    result = await asyncio.wait_for(task, PATIENCE_S)
    assert (result.status, result.exit_code) == (Status.INTERRUPTED, 130)
    assert result.whole.counts["joined"] == 3
    assert result.elapsed < 30


async def test_a_run_can_be_interrupted_before_it_begins(server: Harness) -> None:
    started = runner(server, Notes(), scenario())
    started.interrupt()
    result = await asyncio.wait_for(started.run(), PATIENCE_S)
    assert result.status is Status.INTERRUPTED
    assert result.whole.counts == {}


async def test_a_crashed_worker_ends_the_run_and_is_named(server: Harness) -> None:
    notes = Notes()
    started = runner(server, notes, scenario(duration="60s"))
    task = asyncio.create_task(started.run())
    await asyncio.wait_for(notes.measured.wait(), PATIENCE_S)
    process = started._workers[1]._process
    assert process is not None
    async with asyncio.timeout(30):
        while started._workers[1].figures is None:  # noqa: ASYNC110 - what a worker told has no event
            await asyncio.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    result = await asyncio.wait_for(task, PATIENCE_S)
    assert (result.status, result.exit_code) == (Status.FAILED, 1)
    assert any("worker 1 was killed by signal 9" in reason for reason in result.reasons)
    # What it had told until then is still there, beside what the other process measured.
    assert result.whole.counts["clients"] == 3
    assert result.whole.counts["joined"] == 3


async def test_no_worker_survives_its_run(server: Harness) -> None:
    notes = Notes()
    started = runner(server, notes, scenario())
    await started.run()
    assert all(w._process is not None and w._process.returncode == 0 for w in started._workers)
