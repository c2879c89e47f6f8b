"""A room's inbox: everything that happens to a room goes through it, in order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from lkpy.limits import ROOM_INBOX

Message = Callable[[], None]


class Inbox:
    """A bounded queue of things to do on the room's task."""

    def __init__(self, size: int = ROOM_INBOX) -> None:
        self._messages: deque[Message] = deque()
        self._size = size
        self._filled = asyncio.Event()
        self._drained = asyncio.Event()

    def __len__(self) -> int:
        return len(self._messages)

    def post(self, message: Message) -> None:
        """Queue what must not be lost: its number is bounded by what exists."""
        self._messages.append(message)
        self._filled.set()

    def offer(self, message: Message) -> bool:
        """Queue what may be lost; False: the inbox was full."""
        if len(self._messages) >= self._size:
            return False
        self.post(message)
        return True

    async def put(self, message: Message) -> None:
        """Queue, after waiting for room: slows the writer down."""
        while len(self._messages) >= self._size:
            self._drained.clear()
            await self._drained.wait()
        self.post(message)

    async def take(self, timeout_s: float | None) -> Message | None:
        """The next message, or None after ``timeout_s``."""
        if not self._messages:
            self._filled.clear()
            try:
                async with asyncio.timeout(timeout_s):
                    await self._filled.wait()
            except TimeoutError:
                return None
        message = self._messages.popleft()
        if len(self._messages) < self._size:
            self._drained.set()
        return message
