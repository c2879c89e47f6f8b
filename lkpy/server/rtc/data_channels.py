"""The data channels of one participant: which stream is which, what comes from the client."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from livekit.protocol import models

from lkpy.engine.api import DataChannelClosed, DataChannelOpened, DataReceived
from lkpy.server.rtc.data_packets import DataStream, NonceFilter, Routed, Sender, wrap_unlabeled
from lkpy.server.rtc.transport_manager import DATA_TRACK, LOSSY, RELIABLE

_LABELS = (RELIABLE, LOSSY, DATA_TRACK)


@dataclass(frozen=True, slots=True)
class Channel:
    """An open data channel."""

    transport: int
    stream_id: int
    label: str
    reliable: bool


class DataChannels:
    """Open channels by transport and stream."""

    def __init__(self) -> None:
        self._incoming = DataStream()
        self._channels: dict[tuple[int, int], Channel] = {}
        self._by_label: dict[tuple[int, str], tuple[int, int]] = {}
        """The last one opened of each label counts, as with LiveKit."""

    @property
    def last_sequence(self) -> int:
        """Of the last reliable packet that the client sent; 0 before."""
        return self._incoming.last_sequence

    def opened(self, event: DataChannelOpened) -> None:
        """A channel is usable."""
        key = event.transport, event.stream_id
        self._channels[key] = Channel(*key, event.label, event.max_retransmits is None)
        self._by_label[event.transport, event.label] = key

    def closed(self, event: DataChannelClosed) -> None:
        """A channel is gone."""
        channel = self._channels.pop((event.transport, event.stream_id), None)
        if channel is not None:
            label = channel.transport, channel.label
            if self._by_label.get(label) == (event.transport, event.stream_id):
                del self._by_label[label]

    def receive(
        self,
        event: DataReceived,
        sender: Sender,
        nonces: NonceFilter,
        take: Callable[[models.DataPacket], bool],
    ) -> Routed | None:
        """Take a message from the client; None: nobody else gets it, for one because ``take``
        took it for the server. Channels that are not LiveKit's carry bare user data."""
        channel = self._channels.get((event.transport, event.stream_id))
        if channel is None:
            return None
        if channel.label not in (RELIABLE, LOSSY):
            return wrap_unlabeled(event.payload, sender)
        reliable = channel.label == RELIABLE
        return self._incoming.receive(
            event.payload, reliable=reliable, sender=sender, nonces=nonces, take=take
        )

    def outgoing(self, transport: int, *, reliable: bool) -> tuple[int, int] | None:
        """Where to send on ``transport``: its ``_reliable`` or ``_lossy`` channel."""
        return self._by_label.get((transport, RELIABLE if reliable else LOSSY))

    def bare(self, transport: int) -> tuple[int, int] | None:
        """Where to send bare user data on ``transport``: the first channel that was opened and is
        not LiveKit's."""
        for key, channel in self._channels.items():
            if channel.transport == transport and channel.label not in _LABELS:
                return key
        return None
