"""The data channels of one participant: which stream is which, what waits for them to open."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from livekit.protocol import models

from lkpy.engine.api import DataChannelClosed, DataChannelOpened, DataReceived
from lkpy.limits import RELIABLE_CATCH_UP_BYTES, RELIABLE_CATCH_UP_S
from lkpy.server.rtc.data_packets import DataStream, NonceFilter, Routed, Sender
from lkpy.server.rtc.transport_manager import LOSSY, RELIABLE

DATA_TRACK = "_data_track"


@dataclass(frozen=True, slots=True)
class Channel:
    """An open data channel."""

    transport: int
    stream_id: int
    label: str
    reliable: bool


class DataChannels:
    """Open channels by transport and stream, and reliable packets that came too early."""

    def __init__(self) -> None:
        self._incoming = DataStream()
        self._channels: dict[tuple[int, int], Channel] = {}
        self._held: deque[tuple[float, Routed]] = deque()
        self._held_bytes = 0

    @property
    def last_sequence(self) -> int:
        """Of the last reliable packet that the client sent; 0 before."""
        return self._incoming.last_sequence

    def opened(self, event: DataChannelOpened) -> None:
        """A channel is usable."""
        channel = Channel(
            event.transport, event.stream_id, event.label, event.max_retransmits is None
        )
        self._channels[event.transport, event.stream_id] = channel

    def closed(self, event: DataChannelClosed) -> None:
        """A channel is gone."""
        self._channels.pop((event.transport, event.stream_id), None)

    def receive(self, event: DataReceived, sender: Sender, nonces: NonceFilter) -> Routed | None:
        """Take a message from the client; None: nobody else gets it. Channels that are not
        LiveKit's carry bare user data."""
        channel = self._channels.get((event.transport, event.stream_id))
        if channel is None or channel.label == DATA_TRACK:
            return None
        payload = event.payload
        if channel.label not in (RELIABLE, LOSSY):
            user = models.UserPacket(payload=payload)
            payload = models.DataPacket(user=user).SerializeToString()
        return self._incoming.receive(
            payload, reliable=channel.reliable, sender=sender, nonces=nonces
        )

    def outgoing(self, transport: int, *, reliable: bool) -> tuple[int, int] | None:
        """Where to send on ``transport``: its ``_reliable`` or ``_lossy`` channel."""
        label = RELIABLE if reliable else LOSSY
        for key, channel in self._channels.items():
            if channel.label == label and channel.transport == transport:
                return key
        return None

    def hold(self, now: float, packet: Routed) -> None:
        """Keep a reliable packet for a participant whose channel is not open yet; the oldest go
        when they are too old or too many."""
        self._held.append((now, packet))
        self._held_bytes += len(packet.payload)
        while self._held and (
            self._held_bytes > RELIABLE_CATCH_UP_BYTES
            or now - self._held[0][0] > RELIABLE_CATCH_UP_S
        ):
            self._held_bytes -= len(self._held.popleft()[1].payload)

    def release(self, now: float) -> list[Routed]:
        """What was held and is not too old, in order."""
        held = [packet for at, packet in self._held if now - at <= RELIABLE_CATCH_UP_S]
        self._held.clear()
        self._held_bytes = 0
        return held
