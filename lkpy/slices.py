"""Work over many, in slices of :data:`lkpy.limits.SLICE_S`: between two of them the rest of the
process has its turn. One turn of the event loop has one slice for all who work so.

Time that passes is counted, since that is what the others wait. A busy machine makes slices
smaller, but none does less than :data:`lkpy.limits.SLICE_STEPS`: few are never cut in two.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from functools import partial
from typing import TypeVar
from weakref import WeakKeyDictionary

from lkpy.limits import SLICE_S, SLICE_STEPS

logger = logging.getLogger(__name__)

T = TypeVar("T")


class _Turns:
    """When the slice of the loop's present turn ends."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._until: float | None = None

    def until(self, now: float) -> float:
        if self._until is None:
            self._until = now + SLICE_S
            self._loop.call_soon(self._over)
        return self._until

    def _over(self) -> None:
        self._until = None


_of_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, _Turns] = WeakKeyDictionary()


def _until(now: float) -> float:
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return now + SLICE_S
    turns = _of_loop.get(loop)
    if turns is None:
        turns = _of_loop[loop] = _Turns(loop)
    return turns.until(now)


async def _next_slice(clock: Callable[[], float]) -> float:
    """Let the others have their turn, those first who wait for a slice too. When this one ends."""
    await asyncio.sleep(0)
    while True:
        await asyncio.sleep(0)
        now = clock()
        until = _until(now)
        if now < until:
            return until


class Slices:
    """What one task has still to do before its next message.

    The others have their turn between two slices, the task's own messages do not: so nothing that
    the task owns changes under work that is half done, and whatever comes next finds it done."""

    def __init__(
        self, wake: Callable[[], None], clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._wake = wake
        self._clock = clock
        self._until = 0.0
        self._waiting: deque[Iterator[Callable[[], None]]] = deque()

    def begin(self) -> None:
        """Others had their turn: what this turn has left is free to be used."""
        self._until = _until(self._clock())

    @property
    def spent(self) -> bool:
        """The others should have their turn."""
        return self._clock() >= self._until

    @property
    def waiting(self) -> bool:
        """There is work left."""
        return bool(self._waiting)

    def for_each(self, items: Iterable[T], action: Callable[[T], None]) -> None:
        """Do ``action`` with every item: now as far as the slice goes if nothing waits, the rest
        before the task's next message. An action that fails is logged and costs its item only."""
        begins = not self._waiting
        self._waiting.append(partial(action, item) for item in items)
        if begins:
            self._advance()
            if self._waiting:
                self._wake()

    def then(self, action: Callable[[], None]) -> None:
        """Do ``action`` after all that waits."""
        self.for_each((None,), lambda _: action())

    def _advance(self) -> None:
        steps = 0
        while self._waiting and (steps < SLICE_STEPS or not self.spent):
            self._step()
            steps += 1

    def _step(self) -> None:
        step = next(self._waiting[0], None)
        if step is None:
            self._waiting.popleft()
            return
        try:
            step()
        except Exception:
            logger.exception("a step of work over many failed")

    async def rest(self) -> None:
        """Let the others have their turn, then do a slice of what is left."""
        self._until = await _next_slice(self._clock)
        self._advance()

    def hurry(self) -> None:
        """Do all that is left at once."""
        while self._waiting:
            self._step()


async def paced(items: Iterable[T], *, most: int | None = None) -> AsyncIterator[T]:
    """The items one by one; the others have their turn after each slice, and after ``most`` items
    at the latest. Whatever is looked at may change meanwhile."""
    until, done = _until(time.perf_counter()), 0
    for item in items:
        if time.perf_counter() >= until or done == most:
            until, done = await _next_slice(time.perf_counter), 0
        done += 1
        yield item
