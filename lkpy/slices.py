"""Work over many, in slices of :data:`lkpy.limits.SLICE_S`: between two of them the rest of the
process has its turn. One turn of the event loop has one slice for all who work so.

Time that passes is counted, since that is what the others wait. A busy machine makes slices
smaller, but none does less than :data:`lkpy.limits.SLICE_STEPS`: few are never cut in two. A fast
one does not fill queues with what a slice holds: a slice ends when one is half full
(:func:`lkpy.wakes.press`).
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

from lkpy.limits import SLICE_S, SLICE_STEPS, SLICE_WAITS
from lkpy.wakes import behind, pressed, release

logger = logging.getLogger(__name__)

T = TypeVar("T")


class _Turns:
    """What the present turn of a loop has left for slices."""

    def __init__(self, loop: asyncio.AbstractEventLoop | None) -> None:
        self._loop = loop
        self._used = 0.0

    @property
    def left(self) -> float:
        return SLICE_S - self._used

    def use(self, seconds: float) -> None:
        if self._loop is not None and seconds > 0:
            if not self._used:
                self._loop.call_soon(self._over)
            self._used += seconds

    def _over(self) -> None:
        self._used = 0.0


_of_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, _Turns] = WeakKeyDictionary()


def _turns() -> _Turns:
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return _Turns(None)
    turns = _of_loop.get(loop)
    if turns is None:
        turns = _of_loop[loop] = _Turns(loop)
    return turns


async def _next_slice() -> None:
    """Let the others have their turn, those first who wait for a slice too."""
    await asyncio.sleep(0)
    while True:
        await asyncio.sleep(0)
        if _turns().left > 0:
            return


class Slices:
    """What one task has still to do before its next message.

    The others have their turn between two slices, the task's own messages do not: so nothing that
    the task owns changes under work that is half done, and whatever comes next finds it done."""

    def __init__(
        self, wake: Callable[[], None], clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._wake = wake
        self._clock = clock
        self._began = self._until = 0.0
        self._waiting: deque[Iterator[Callable[[], None]]] = deque()

    def begin(self) -> None:
        """Others had their turn: what this one has left may be used."""
        self._began = self._clock()
        self._until = self._began + _turns().left

    def end(self) -> None:
        """The task is about to wait."""
        now = self._clock()
        _turns().use(now - self._began)
        self._began = now

    @property
    def spent(self) -> bool:
        """The others should have their turn."""
        return self._clock() >= self._until or pressed()

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
        """Let the others have their turn, then do a slice of what is left. Those to whom the last
        slice has written read first: what is written faster than it is read fills their queues."""
        self.end()
        await _next_slice()
        turns = 0
        while behind() and turns < SLICE_WAITS:
            await asyncio.sleep(0)
            turns += 1
        release()
        self.begin()
        self._advance()

    def hurry(self) -> None:
        """Do all that is left at once."""
        while self._waiting:
            self._step()


async def paced(items: Iterable[T], *, most: int | None = None) -> AsyncIterator[T]:
    """The items one by one; the others have their turn after each slice, and after ``most`` items
    at the latest. Whatever is looked at may change meanwhile."""
    began, done = time.perf_counter(), 0
    until = began + _turns().left
    for item in items:
        now = time.perf_counter()
        if now >= until or done == most:
            _turns().use(now - began)
            await _next_slice()
            began, done = time.perf_counter(), 0
            until = began + _turns().left
        done += 1
        yield item
