"""The relay between the node that holds a socket and the room's node: ordering and framing, pure.

Messages travel in batches with a cumulative sequence number; the last batch may close the stream
(protocol ``rpc/signal.proto``, livekit-server ``pkg/routing/signal.go``). A batch may arrive again
after a resend, so what was seen is trimmed; a gap cannot be repaired and ends the stream.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from google.protobuf.message import Message

from lkpy.errors import Code, LkpyError

M = TypeVar("M", bound=Message)


class RelayGap(LkpyError):
    """Messages were lost between two batches."""

    def __init__(self, expected: int, received: int) -> None:
        super().__init__(
            Code.DATA_LOSS, f"signal messages dropped: expected {expected}, received {received}"
        )


@dataclass(frozen=True, slots=True)
class RelayBatch(Generic[M]):
    """``seq`` is the number of the first message (the first of a stream is 1)."""

    seq: int
    messages: tuple[M, ...]
    close: bool = False


class RelayWriter(Generic[M]):
    """Numbers outgoing messages."""

    def __init__(self) -> None:
        self._next = 1

    def batch(self, *messages: M, close: bool = False) -> RelayBatch[M]:
        """Frame messages, in order, as the next batch."""
        batch = RelayBatch(self._next, messages, close)
        self._next += len(messages)
        return batch


class RelayReader(Generic[M]):
    """Accepts batches in order, once each."""

    def __init__(self) -> None:
        self._next = 1

    def accept(self, batch: RelayBatch[M]) -> tuple[M, ...]:
        """The messages of ``batch`` that were not seen before. Raises :class:`RelayGap`."""
        if batch.seq > self._next:
            raise RelayGap(self._next, batch.seq)
        seen = self._next - batch.seq
        fresh = batch.messages[seen:]
        self._next += len(fresh)
        return fresh
