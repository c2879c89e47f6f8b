"""One side of a signal connection: a stream of the bus seen as a sink and a source."""

from __future__ import annotations

from typing import Generic, TypeVar, cast

from google.protobuf.message import Message

from lkpy.errors import LkpyError
from lkpy.server.routing.channel import MessageChannel
from lkpy.server.routing.local_bus import Batch, SignalStream
from lkpy.server.routing.relay import RelayBatch, RelayReader, RelayWriter

Out = TypeVar("Out", bound=Message)
In = TypeVar("In", bound=Message)


class RelaySink(Generic[Out]):
    """Writes messages to the other side's channel through the stream."""

    def __init__(self, stream: SignalStream) -> None:
        self._stream = stream
        self._writer: RelayWriter[Out] = RelayWriter()
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether either side closed it."""
        return self._closed or not self._stream.open

    def write(self, message: Out) -> None:
        """Send one message. Raises :class:`LkpyError` when the other side is gone or too slow."""
        self._stream.send(cast("Batch", self._writer.batch(message)))

    def close(self, reason: str = "") -> None:
        """Send the closing batch, then end the stream: what was written before is still read."""
        if self._closed:
            return
        self._closed = True
        if self._stream.open:
            self._stream.send(cast("Batch", self._writer.batch(close=True)))
        self._stream.close(reason)


class RelayEndpoint(Generic[Out, In]):
    """``sink`` for what this side says, ``source`` for what it hears."""

    def __init__(self, stream: SignalStream, name: str) -> None:
        self.sink: RelaySink[Out] = RelaySink(stream)
        self.source: MessageChannel[In] = MessageChannel(name)
        self._stream = stream
        self._reader: RelayReader[In] = RelayReader()
        stream.attach(self._receive, self.source.close)

    def _receive(self, batch: Batch) -> None:
        try:
            for message in self._reader.accept(cast("RelayBatch[In]", batch)):
                self.source.write(message)
        except LkpyError as error:
            # The writer learns it by the raised error, the reader by the end of its source.
            self._stream.close(error.message)
            raise
        if batch.close:
            self.source.close()
