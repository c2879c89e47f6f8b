"""Readers of message channels are woken a few at a time.

A message for a whole room is written to thousands of channels at once, which costs little. Each
reader then sends to its socket, which costs more; woken all together they would run in one turn of
the event loop, and nothing else of the process before the last of them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from weakref import WeakKeyDictionary

from lkpy.limits import WAKES_PER_TURN


class _Wakes:
    """The readers of one event loop that wait to be woken, in order."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: deque[asyncio.Event] = deque()
        self._left = WAKES_PER_TURN
        """Readers that may still be woken in this turn."""
        self.pressed = False
        """Somebody writes faster than a reader reads."""

    def wake(self, event: asyncio.Event) -> None:
        if self._left == WAKES_PER_TURN:
            self._loop.call_soon(self._turn)
        if self._left > 0 and not self._waiting:
            self._left -= 1
            event.set()
        else:
            self._waiting.append(event)

    def _turn(self) -> None:
        self._left = WAKES_PER_TURN
        waiting = min(len(self._waiting), WAKES_PER_TURN)
        for _ in range(waiting):
            self._waiting.popleft().set()
        if waiting:
            self._left -= waiting
            self._loop.call_soon(self._turn)

    @property
    def behind(self) -> bool:
        return bool(self._waiting)


_of_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, _Wakes] = WeakKeyDictionary()


def _here() -> _Wakes:
    loop = asyncio.get_running_loop()
    wakes = _of_loop.get(loop)
    if wakes is None:
        wakes = _of_loop[loop] = _Wakes(loop)
    return wakes


def behind() -> bool:
    """Whether readers on the running loop wait to be woken."""
    return _here().behind


def press() -> None:
    """Somebody writes faster than a reader on the running loop reads: whoever does work over many
    lets the others go first. Nothing without a loop, where nobody could."""
    with suppress(RuntimeError):
        _here().pressed = True


def pressed() -> bool:
    """Whether that was said since the last :func:`release`."""
    with suppress(RuntimeError):
        return _here().pressed
    return False


def release() -> None:
    """The readers had their turn."""
    _here().pressed = False


def wake(event: asyncio.Event) -> None:
    """Set ``event`` on the running loop, at once or some turns later; in the order of the calls."""
    _here().wake(event)
