"""Data packets of a room: who gets which, and what is kept for those who cannot take it yet."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from livekit.protocol import models
from livekit.protocol import room as room_pb

from lkpy.clock import Clock
from lkpy.engine.api import SendData
from lkpy.engine.hub import EngineHub
from lkpy.server.rtc.data_packets import NonceFilter, Routed, Sender, route, unwrap
from lkpy.server.rtc.reliable_log import ReliableLog
from lkpy.server.telemetry.events import NO_TELEMETRY, DataStreamBegan, Telemetry

if TYPE_CHECKING:
    from lkpy.server.rtc.participant import Participant

_ACTIVE = models.ParticipantInfo.State.ACTIVE


class RoomData:
    """Only the room's task touches it."""

    def __init__(
        self,
        hub: EngineHub,
        members: Callable[[], Iterable[Participant]],
        clock: Clock,
        telemetry: Telemetry = NO_TELEMETRY,
    ) -> None:
        self.nonces = NonceFilter()
        self.log = ReliableLog()
        self._hub = hub
        self._members = members
        self._clock = clock
        self._telemetry = telemetry

    def broadcast(self, sender: Participant | None, packet: Routed) -> None:
        """Send a data packet to whom it is for, but its sender: one command for all.

        Those who have no channel yet find a reliable packet in the log when they have one."""
        if packet.stream is not None:
            self._telemetry.tell(DataStreamBegan(packet.stream, len(packet.identities)))
        if packet.reliable:
            self.log.add(self._clock.now(), "" if sender is None else sender.sid, packet)
        channels: list[tuple[int, int]] = []
        bare: list[tuple[int, int]] = []
        for participant in self._members():
            if (
                participant is sender
                or not packet.reaches(participant.sid, participant.identity)
                or (packet.only_active and participant.state != _ACTIVE)
            ):
                continue
            channel = participant.data.outgoing(reliable=packet.reliable)
            if channel is not None:
                channels.append(channel)
            elif (channel := participant.data.outgoing_bare()) is not None:
                bare.append(channel)
        source = 0 if sender is None else sender.transports.publisher.id
        if channels:
            self._hub.submit(SendData(tuple(channels), packet.payload, source=source))
        if bare and (payload := unwrap(packet)) is not None:
            self._hub.submit(SendData(tuple(bare), payload, source=source))

    def catch_up(self, participant: Participant) -> None:
        """The participant can be written: give it what it missed."""
        channel = participant.data.outgoing(reliable=True)
        if channel is None:
            return
        missed = self.log.catch_up(
            self._clock.now(), participant.data.reader, participant.sid, participant.identity
        )
        for packet in missed:
            self._hub.submit(SendData((channel,), packet.payload))

    def send(self, request: room_pb.SendDataRequest) -> None:
        """Send a user packet from the server."""
        user = models.UserPacket(
            payload=request.data,
            destination_sids=request.destination_sids,
            destination_identities=request.destination_identities,
            nonce=request.nonce,
        )
        if request.HasField("topic"):
            user.topic = request.topic
        reliable = request.kind == models.DataPacket.RELIABLE
        sender = Sender("", "", hidden=True)
        packet = route(
            models.DataPacket(user=user), reliable=reliable, sender=sender, nonces=self.nonces
        )
        if packet is not None:
            self.broadcast(None, packet)
