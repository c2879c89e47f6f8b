"""What the workers tell, put together: seconds, failures and silences of the whole run. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lkpy.sim.judge import silence
from lkpy.sim.judge.silence import Second, Silence, SilenceJudge, SilentTrack
from lkpy.sim.plan import Plan
from lkpy.sim.result import Event, Sample, total
from lkpy.sim.scenario import Scenario
from lkpy.sim.worker import SAMPLE_COUNTERS
from lkpy.text import one_line

MAX_EVENTS = 1000
MAX_EVENT_TEXT = 500


class Gathered:
    """Samples and events of all processes; times are seconds of the run."""

    def __init__(self, scenario: Scenario, plan: Plan, processes: int) -> None:
        self.failed: set[int] = set()
        """Numbers of the clients that told of a failure of theirs."""
        self.judge = SilenceJudge(silence.planned_tracks(scenario, plan))
        self._failures: list[Event] = []
        self._dropped = 0
        self._plan = plan
        self._processes = processes
        self._samples: dict[int, Sample] = {}

    @property
    def complete(self) -> list[Sample]:
        """The seconds of which every process has told, in order."""
        samples = sorted(self._samples.items())
        return [sample for _, sample in samples if sample.processes == self._processes]

    def sample(self, message: Mapping[str, Any]) -> Sample | None:
        """Add a process's second; return the whole second if it was the last to tell of it."""
        at = int(message["at"])
        sample = self._samples.setdefault(at, Sample(at))
        for group, counters in message["groups"].items():
            into = sample.groups.setdefault(group, dict.fromkeys(SAMPLE_COUNTERS, 0.0))
            for name, value in counters.items():
                into[name] += value
        sample.cpu.append(float(message["cpu"]))
        sample.lag = max(sample.lag, float(message["lag"]))
        sample.waited = max(sample.waited, float(message["waited"]))
        sample.silent.extend(SilentTrack(*entry) for entry in message["silent"])
        sample.idle.update(message["idle"])
        sample.processes += 1
        return sample if sample.processes == self._processes else None

    def silences(self, sample: Sample) -> list[Event]:
        """Judge a whole second; return the errors that it brings."""
        second = Second(sample.at, sample.lag, sample.silent, sample.idle)
        found = self.judge.second(second)
        # A run may last for days: what was judged is not kept for each of its seconds.
        sample.silent_tracks = len(sample.silent)
        sample.silent, sample.idle = [], {}
        return [self._event(silence) for silence in found]

    def _event(self, found: Silence) -> Event:
        clients = self._plan.clients
        text = silence.words(found, clients[found.publisher].identity)
        return Event(found.began, clients[found.client].identity, text)

    def failure(self, message: Mapping[str, Any]) -> list[Event]:
        """Take a client's failure; return its event unless there were too many."""
        self.failed.add(int(message["number"]))
        # The text may be the server's: it is shown on a terminal.
        text = one_line(message["text"])[:MAX_EVENT_TEXT]
        event = Event(message["at"], message["client"], text)
        if len(self._failures) >= MAX_EVENTS:
            self._dropped += 1
            return []
        self._failures.append(event)
        return [event]

    def all_events(self) -> tuple[list[Event], int]:
        """Return failures and silences in order of time, and how many more there were."""
        events = [*self._failures, *map(self._event, self.judge.found)]
        events.sort(key=lambda event: event.at)
        return events[:MAX_EVENTS], self._dropped + max(0, len(events) - MAX_EVENTS)

    def rates(self, sample: Sample) -> dict[str, float]:
        """Return what a second added to the running counters."""
        previous = self._samples.get(sample.at - 1, Sample(0))
        return {
            name: total(sample, name) - total(previous, name)
            for name in ("packets", "bytes", "packets_sent", "lost")
        }
