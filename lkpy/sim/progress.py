"""How a run's progress is shown: a live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from lkpy.sim import units
from lkpy.sim.result import Event, Sample, total

PLAIN_INTERVAL_S = 10
"""Seconds between two plain lines."""
_MAX_EVENTS = 20


class PlainProgress:
    """One line per step, and one per ten seconds of the run."""

    def __init__(self, clients: int, duration: float, stream: TextIO = sys.stderr) -> None:
        self._clients = clients
        self._duration = duration
        self._stream = stream
        self._events = 0
        self._phase = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        return None

    def _line(self, text: str) -> None:
        print(text, file=self._stream, flush=True)

    def phase(self, text: str) -> None:
        """A step before or after the measured part."""
        if text != self._phase:
            self._phase = text
            self._line(text)

    def sample(self, sample: Sample, rates: Mapping[str, float]) -> None:
        """One second has been measured."""
        if sample.at % PLAIN_INTERVAL_S == 0 or sample.at == 1:
            self._line(
                f"{sample.at:4d} s of {self._duration:.0f}  {summary(sample, rates, self._clients)}"
            )

    def event(self, event: Event) -> None:
        """Something went wrong."""
        self._events += 1
        if self._events <= _MAX_EVENTS:
            self._line(f"{event.at:6.1f} s  {event.client}: {event.text}")


class QuietProgress(PlainProgress):
    """Says nothing."""

    def _line(self, text: str) -> None:
        return


class LiveProgress(PlainProgress):
    """A bar that follows the run, with the figures of the last second."""

    def __init__(self, clients: int, duration: float, console: Console) -> None:
        super().__init__(clients, duration)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[figures]}"),
            console=console,
            transient=True,
        )
        self._task: TaskID = self._progress.add_task("starting", total=duration, figures="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def _line(self, text: str) -> None:
        self._progress.console.print(text, style="yellow", markup=False, highlight=False)

    def phase(self, text: str) -> None:
        """A step before or after the measured part."""
        self._progress.update(self._task, description=text)

    def sample(self, sample: Sample, rates: Mapping[str, float]) -> None:
        """One second has been measured."""
        self._progress.update(
            self._task,
            completed=sample.at,
            description=f"{sample.at:3d} of {self._duration:.0f} s",
            figures=summary(sample, rates, self._clients),
        )


def summary(sample: Sample, rates: Mapping[str, float], clients: int) -> str:
    """Return a second's figures in one line."""
    text = f"{total(sample, 'connected'):.0f}/{clients} connected"
    text += f"  {rates['packets']:,.0f} packets/s  {units.format_bitrate(rates['bytes'] * 8)}"
    if lost := total(sample, "lost"):
        text += f"  {lost:.0f} lost"
    if errors := total(sample, "errors"):
        text += f"  {errors:.0f} failed"
    return text


def make(clients: int, duration: float, console: Console, *, quiet: bool) -> PlainProgress:
    """Return the display that fits where standard error goes."""
    if quiet:
        return QuietProgress(clients, duration)
    if console.is_terminal and not os.environ.get("CI") and os.environ.get("TERM") != "dumb":
        return LiveProgress(clients, duration, console)
    return PlainProgress(clients, duration, sys.stderr)
