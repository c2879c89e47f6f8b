"""A room's inbox: everything that happens to a room goes through it, in order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from lkpy.limits import ROOM_INBOX, ROOM_INBOX_RESERVE

Message = Callable[[], None]


class Inbox:
    """A bounded queue of things to do on the room's task."""

    def __init__(self, size: int = ROOM_INBOX, reserve: int = ROOM_INBOX_RESERVE) -> None:
        self._messages: deque[Message] = deque()
        self._size = size
        self._reserve = reserve
        self._filled = asyncio.Event()
        self._drained = asyncio.Event()
        self._closed = False

    def __len__(self) -> int:
        return len(self._messages)

    def post(self, message: Message) -> bool:
        """Queue what should not be lost, and whose number is bounded by what exists. It has a
        reserve beyond the inbox's size; False: that was full too, or nobody takes any more."""
        if self._closed or len(self._messages) >= self._size + self._reserve:
            return False
        self._messages.append(message)
        self._filled.set()
        return True

    def offer(self, message: Message) -> bool:
        """Queue what may be lost; False: the inbox was full."""
        return len(self._messages) < self._size and self.post(message)

    async def put(self, message: Message) -> bool:
        """Queue, after waiting for room: slows the writer down. False: nobody takes any more."""
        while len(self._messages) >= self._size and not self._closed:
            self._drained.clear()
            await self._drained.wait()
        return self.post(message)

    async def take(self, timeout_s: float | None) -> Message | None:
        """The next message, or None after ``timeout_s`` or :meth:`close`."""
        if not self._messages and not self._closed:
            self._filled.clear()
            try:
                async with asyncio.timeout(timeout_s):
                    await self._filled.wait()
            except TimeoutError:
                return None
        if self._closed:
            return None
        message = self._messages.popleft()
        if len(self._messages) < self._size:
            self._drained.set()
        return message

    def close(self) -> None:
        """Forget what waits and wake everybody who does. Idempotent."""
        self._closed = True
        self._messages.clear()
        self._filled.set()
        self._drained.set()
