"""An event loop that knows for how long it was not polling: the CPU time of its longest turn.

CPU time and not wall-clock time, so that other processes on the machine do not count. One turn runs
everything that is ready, so this is what a ping of anybody would have waited.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass
class Cost:
    """What something took."""

    cpu_s: float = 0.0
    longest_s: float = 0.0
    """The longest turn of the loop."""


class ProbeLoop(asyncio.SelectorEventLoop):
    """Use it with :func:`run`; :meth:`begin_probe` to :meth:`end_probe` is measured."""

    def __init__(self) -> None:
        super().__init__()
        self._cost: Cost | None = None

    def begin_probe(self) -> None:
        """Measure from the next turn on."""
        self._cost = Cost()

    def end_probe(self) -> Cost:
        """What the turns since :meth:`begin_probe` took; the one that is running does not count."""
        cost, self._cost = self._cost, None
        return cost or Cost()

    def _run_once(self) -> None:
        began, before = self._cost, 0.0
        if began is not None:
            before = time.thread_time()
        super()._run_once()  # type: ignore[misc]
        took = time.thread_time() - before if began is not None else 0.0
        if began is not None and began is self._cost:
            began.cpu_s += took
            began.longest_s = max(began.longest_s, took)


def probe() -> ProbeLoop:
    """The loop that is running."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, ProbeLoop)
    return loop


def run(main: Coroutine[Any, Any, T]) -> T:
    """As :func:`asyncio.run`, on a :class:`ProbeLoop`."""
    with asyncio.Runner(loop_factory=ProbeLoop) as runner:
        return runner.run(main)
