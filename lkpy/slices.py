"""Work over many, in slices of :data:`lkpy.limits.SLICE_S`: between two of them the rest of the
process has its turn.

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

from lkpy.limits import SLICE_S, SLICE_STEPS

logger = logging.getLogger(__name__)

T = TypeVar("T")


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
        """A slice begins: the others had their turn."""
        self._until = self._clock() + SLICE_S

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
        await asyncio.sleep(0)
        self.begin()
        self._advance()

    def hurry(self) -> None:
        """Do all that is left at once."""
        while self._waiting:
            self._step()


async def paced(items: Iterable[T], *, most: int | None = None) -> AsyncIterator[T]:
    """The items one by one; the others have their turn after each slice, and after ``most`` items
    at the latest. Whatever is looked at may change meanwhile."""
    until, done = time.perf_counter() + SLICE_S, 0
    for item in items:
        if time.perf_counter() >= until or done == most:
            await asyncio.sleep(0)
            until, done = time.perf_counter() + SLICE_S, 0
        done += 1
        yield item
