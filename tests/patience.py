"""How long tests wait for what must happen, whatever else the machine does meanwhile.

A test that waits for something gives it :data:`PATIENCE_S`: it costs nothing when the thing
happens, and a busy machine is no failure. A test that must see that something does *not* happen
lets time :func:`pass_time`. How soon something happens is asserted under virtual time, or against
what the machine itself took (:class:`Lateness`).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self, TypeAlias

from aiortc import RTCPeerConnection

PATIENCE_S = 60.0
"""For one thing to happen that is seconds away on an idle machine."""

Probe: TypeAlias = Callable[[], Awaitable[object]]
"""Asks the server something cheap: how late it answers is how late it runs."""

_CLOSE_S = 10.0
_STEP_S = 0.02
_ON_TIME_S = 0.05
"""A step that is late by less ran on time."""


async def close_aiortc(*connections: RTCPeerConnection) -> None:
    """Close peer connections of aiortc, which now and then waits for ever for a task of its own
    whose cancellation was lost (``asyncio.wait_for`` of Python 3.11). What it keeps then ends with
    the process."""
    for connection in connections:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(connection.close(), _CLOSE_S)


async def pass_time(seconds: float, probe: Probe | None = None) -> None:
    """Let ``seconds`` pass in which this process, and the one that ``probe`` asks, ran on time.

    On an idle machine it is a sleep. Time in which nobody could run does not count.
    """
    passed = 0.0
    async with asyncio.timeout(seconds + PATIENCE_S):
        while passed < seconds:
            took = await _step(min(_STEP_S, seconds), probe)
            if took - _STEP_S < _ON_TIME_S:
                passed += took


class Lateness:
    """How late this process ran inside the context, and the one that ``probe`` asks.

    Times that a test measures may be longer by :attr:`total_s`, and gaps by :attr:`worst_s`,
    without anything being wrong.
    """

    def __init__(self, probe: Probe | None = None) -> None:
        self.worst_s = 0.0
        """The longest that one step was late."""
        self.total_s = 0.0
        """All that steps were late by."""
        self._probe = probe
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            late = await _step(_STEP_S, self._probe) - _STEP_S
            self.worst_s = max(self.worst_s, late)
            self.total_s += late


async def _step(seconds: float, probe: Probe | None) -> float:
    began = time.monotonic()
    await asyncio.sleep(seconds)
    if probe is not None:
        await probe()
    return time.monotonic() - began
