"""A bounded queue of signal messages: what one side writes and the other reads."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Generic, Self, TypeVar

from google.protobuf.message import Message

from lkpy.errors import Code, LkpyError
from lkpy.limits import MESSAGE_CHANNEL_SIZE
from lkpy.wakes import press, wake

M = TypeVar("M", bound=Message)


class ChannelClosed(LkpyError):
    """The other side is gone."""

    def __init__(self, reason: str) -> None:
        super().__init__(Code.UNAVAILABLE, f"channel closed: {reason or 'no reason given'}")


class ChannelFull(LkpyError):
    """The reader is too slow; the channel has been closed with its messages."""

    def __init__(self, name: str) -> None:
        super().__init__(Code.RESOURCE_EXHAUSTED, f"{name} channel is full")


class MessageChannel(Generic[M]):
    """One direction of a signal connection. Implements both ``MessageSink`` and ``MessageSource``.

    Writing never waits. A reader that falls behind by ``size`` messages loses the connection
    (livekit-server ``pkg/routing/messagechannel.go``): a client resumes, a gap in the messages
    could not be repaired. Messages written before :meth:`close` are still read.
    """

    def __init__(self, name: str, *, size: int = MESSAGE_CHANNEL_SIZE) -> None:
        self._name = name
        self._size = size
        self._messages: deque[M] = deque()
        self._wake = asyncio.Event()
        self._waited_for = False
        """The reader waits and nobody has woken it."""
        self._closed = False
        self._reason = ""
        self._on_close: Callable[[], object] | None = None
        self._first: Callable[[M], bool] | None = None

    def write(self, message: M) -> None:
        """Queue a message. Raises :class:`ChannelClosed` or :class:`ChannelFull`."""
        if self._closed:
            raise ChannelClosed(self._reason)
        if self._first is not None and self._first(message):
            return
        waiting = len(self._messages)
        if waiting >= self._size:
            self._messages.clear()
            self.close("full")
            raise ChannelFull(self._name)
        if waiting >= self._size // 2:
            press()
        self._messages.append(message)
        if self._waited_for:
            self._waited_for = False
            wake(self._wake)

    def close(self, reason: str = "") -> None:
        """End the stream after what is queued. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self._reason = reason
        self._wake.set()
        self._first = None
        callback, self._on_close = self._on_close, None
        if callback is not None:
            callback()

    def on_close(self, callback: Callable[[], object]) -> None:
        """Call back once, when the channel closes or now if it has. There is one callback."""
        if self._closed:
            callback()
        else:
            self._on_close = callback

    def offer_first(self, taker: Callable[[M], bool]) -> None:
        """Offer every message, those that wait included, to ``taker`` as soon as it is written.
        What it takes is not queued and wakes nobody. There is one taker."""
        self._first = taker
        self._messages = deque(message for message in self._messages if not taker(message))

    @property
    def closed(self) -> bool:
        """Whether either side closed it."""
        return self._closed

    @property
    def reason(self) -> str:
        """Why it was closed."""
        return self._reason

    def __len__(self) -> int:
        return len(self._messages)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> M:
        while not self._messages:
            if self._closed:
                raise StopAsyncIteration
            self._wake.clear()
            self._waited_for = True
            await self._wake.wait()
        return self._messages.popleft()
