"""The one task of a room: everything that happens to the room is done there, in order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, TypeVar

from lkpy.clock import Clock
from lkpy.errors import Blame, Code, LkpyError
from lkpy.limits import ROOM_CLOSE_S
from lkpy.server.rtc.inbox import Inbox
from lkpy.server.rtc.timers import Timers
from lkpy.server.telemetry.log import about
from lkpy.slices import Slices

logger = logging.getLogger(__name__)

T = TypeVar("T")


class RoomTask:
    """An inbox, timers, and the loop that serves both until :meth:`stop`. What a message or a
    timer has left to :attr:`slices` is done before the next of either, also after :meth:`stop`."""

    def __init__(self, name: str, clock: Clock) -> None:
        self.inbox = Inbox()
        self.timers = Timers()
        self.slices = Slices(self.wake)
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
        self.slices.begin()
        while not self.stopped.is_set():
            if self.slices.waiting or self.slices.spent:
                await self.slices.rest()
            elif (due := self.timers.due(self._clock.now())) is not None:
                self._do(due)
            elif (message := await self._next_message()) is not None:
                if self.slices.spent:
                    await self.slices.rest()
                self._do(message)
        await self._end()

    async def _end(self) -> None:
        """What the last message has left to do. It ends, however busy the process is."""
        deadline = self._clock.now() + ROOM_CLOSE_S
        while self.slices.waiting:
            if self._clock.now() < deadline:
                await self.slices.rest()
            else:
                self.slices.hurry()

    async def _next_message(self) -> Callable[[], None] | None:
        """A message, or None when a timer is due before one comes."""
        if len(self.inbox):
            return await self.inbox.take(None)
        self.slices.end()
        deadline = self.timers.next_deadline()
        message = await self.inbox.take(
            None if deadline is None else max(0.0, deadline - self._clock.now())
        )
        self.slices.begin()
        return message

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
