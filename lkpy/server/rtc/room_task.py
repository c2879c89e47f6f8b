"""The one task of a room: everything that happens to the room is done there, in order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, TypeVar

from lkpy.clock import Clock
from lkpy.errors import Blame, Code, LkpyError
from lkpy.server.rtc.inbox import Inbox
from lkpy.server.rtc.timers import Timers
from lkpy.server.telemetry.log import about

logger = logging.getLogger(__name__)

T = TypeVar("T")

_BURST = 64
"""Messages after which the rest of the process has its turn."""


class RoomTask:
    """An inbox, timers, and the loop that serves both until :meth:`stop`."""

    def __init__(self, name: str, clock: Clock) -> None:
        self.inbox = Inbox()
        self.timers = Timers()
        self.stopped = asyncio.Event()
        self._name = name
        self._clock = clock
        self._task: asyncio.Task[None] | None = None
        self._calls: set[asyncio.Future[Any]] = set()
        """Calls that wait for their turn; they fail when the room ends first."""

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name=f"room {self._name}")

    def stop(self) -> None:
        """End after the message in hand; calls that wait fail. Idempotent."""
        self.stopped.set()
        for call in self._calls:
            if not call.done():
                call.set_exception(_closed())
        self.inbox.close()

    def wake(self) -> None:
        """Look at the timers."""
        self.inbox.post(lambda: None)

    async def join(self) -> None:
        """Wait for the end, unless it is this very task that asks."""
        if self._task is not None and self._task is not asyncio.current_task():
            await asyncio.gather(self._task, return_exceptions=True)

    def every(self, key: str, period_s: float, action: Callable[[], None]) -> None:
        """Do ``action`` once per period."""

        def run() -> None:
            self.every(key, period_s, action)
            action()

        self.timers.set(key, self._clock.now() + period_s, run)

    async def call(self, function: Callable[[], T]) -> T:
        """Run ``function`` on the task and return what it returns or raises."""
        if self.stopped.is_set():
            raise _closed()
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._calls.add(future)
        future.add_done_callback(self._calls.discard)

        def run() -> None:
            if future.done():
                return
            try:
                result = function()
            except LkpyError as error:
                _fail(future, error)
            except Exception as error:
                _fail(future, LkpyError(Code.INTERNAL, "internal error", blame=Blame.US))
                raise error from None
            else:
                if not future.done():
                    future.set_result(result)

        try:
            await self.inbox.put(run)
            return await future
        finally:
            # Whoever does not wait any more does not want it done either.
            future.cancel()

    async def _run(self) -> None:
        about(room=self._name).begin()
        handled = 0
        while not self.stopped.is_set():
            while (due := self.timers.due(self._clock.now())) is not None:
                self._do(due)
            deadline = self.timers.next_deadline()
            message = await self.inbox.take(
                None if deadline is None else max(0.0, deadline - self._clock.now())
            )
            if message is not None:
                self._do(message)
            handled += 1
            if handled % _BURST == 0:
                await asyncio.sleep(0)

    def _do(self, message: Callable[[], None]) -> None:
        """A fault while handling one message is logged and costs that message only."""
        try:
            message()
        except Exception:
            logger.exception("room task failed")


def _fail(future: asyncio.Future[T], error: LkpyError) -> None:
    if not future.done():
        future.set_exception(error)


def _closed() -> LkpyError:
    return LkpyError(Code.UNAVAILABLE, "room is closed", blame=Blame.CLIENT)
