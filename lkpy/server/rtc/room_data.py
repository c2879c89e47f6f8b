"""Data packets of a room: who gets which, and what is kept for those who cannot take it yet."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from livekit.protocol import models
from livekit.protocol import room as room_pb

from lkpy.clock import Clock
from lkpy.engine.api import SendData
from lkpy.engine.hub import EngineHub
from lkpy.errors import LkpyError
from lkpy.ids import ParticipantIdentity
from lkpy.server.rtc.data_packets import NonceFilter, Routed, Sender, route, unwrap
from lkpy.server.rtc.reliable_log import ReliableLog
from lkpy.server.rtc.timers import Timers
from lkpy.server.telemetry.events import (
    NO_TELEMETRY,
    DataStreamBegan,
    MessageDropped,
    Telemetry,
)

if TYPE_CHECKING:
    from lkpy.server.rtc.participant import Participant

logger = logging.getLogger(__name__)

_ACTIVE = models.ParticipantInfo.State.ACTIVE

Channel = tuple[int, int]
"""Transport and stream."""


class _Channels:
    """The channels of those who get a kind of packet, by participant sid."""

    def __init__(self) -> None:
        self._of: dict[str, Channel] = {}
        self._all: tuple[Channel, ...] | None = None

    def set(self, sid: str, channel: Channel | None) -> None:
        """Where the participant is reached; None: nowhere."""
        if self._of.get(sid) == channel:
            return
        self._all = None
        if channel is None:
            del self._of[sid]
        else:
            self._of[sid] = channel

    def but(self, sid: str) -> tuple[Channel, ...]:
        """Everybody's but one participant's."""
        if sid not in self._of:
            if self._all is None:
                self._all = tuple(self._of.values())
            return self._all
        others = self._of.copy()
        del others[sid]
        return tuple(others.values())

    def among(self, sids: Iterable[str]) -> tuple[Channel, ...]:
        """Those of some participants, as far as they have any."""
        return tuple(self._of[sid] for sid in sids if sid in self._of)


class RoomData:
    """Only the room's task touches it.

    Who can be reached is kept as it changes, so that a packet costs no look at everybody."""

    def __init__(
        self,
        hub: EngineHub,
        members: Mapping[ParticipantIdentity, Participant],
        timers: Timers,
        clock: Clock,
        telemetry: Telemetry = NO_TELEMETRY,
    ) -> None:
        self.nonces = NonceFilter()
        self.log = ReliableLog()
        self._hub = hub
        self._members = members
        self._identities: dict[str, ParticipantIdentity] = {}
        """Of members, by sid."""
        self._timers = timers
        self._clock = clock
        self._telemetry = telemetry
        kinds = itertools.product((True, False), repeat=2)
        self._channels = {kind: _Channels() for kind in kinds}
        """By whether packets are reliable, and whether only the active get them."""
        self._bare = {active: _Channels() for active in (True, False)}
        self._joining: dict[str, Participant] = {}
        """Members that will have their first channel, by sid."""

    def changed(self, participant: Participant) -> None:
        """A member entered, or its channels or its state changed."""
        self._identities[participant.sid] = participant.identity
        active = participant.state == _ACTIVE
        for (reliable, only_active), channels in self._channels.items():
            channel = participant.data.outgoing(reliable=reliable)
            channels.set(participant.sid, channel if active or not only_active else None)
        for only_active, channels in self._bare.items():
            channel = participant.data.outgoing_bare()
            channels.set(participant.sid, channel if active or not only_active else None)
        if participant.data.waits_for_channel:
            self._joining[participant.sid] = participant
        else:
            self._joining.pop(participant.sid, None)

    def left(self, participant: Participant) -> None:
        """A member left. Idempotent."""
        self._identities.pop(participant.sid, None)
        self._joining.pop(participant.sid, None)
        for channels in (*self._channels.values(), *self._bare.values()):
            channels.set(participant.sid, None)

    def broadcast(self, sender: Participant | None, packet: Routed) -> None:
        """Send a data packet to whom it is for, but its sender: one command for all.

        Those who have no channel yet find a reliable packet in the log when they have one. What
        the engine refuses is lost, as what a full channel refuses."""
        if packet.stream is not None:
            self._telemetry.tell(DataStreamBegan(packet.stream, len(packet.identities)))
        sid = "" if sender is None else sender.sid
        if packet.reliable:
            self._log(sid, packet)
        source = 0 if sender is None else sender.transports.publisher.id
        channels = self._receivers(self._channels[packet.reliable, packet.only_active], packet, sid)
        if channels:
            self._submit(SendData(channels, packet.payload, source=source))
        bare = self._receivers(self._bare[packet.only_active], packet, sid)
        if bare and (payload := unwrap(packet)) is not None:
            self._submit(SendData(bare, payload, source=source))

    def _receivers(self, channels: _Channels, packet: Routed, sender: str) -> tuple[Channel, ...]:
        if not packet.identities and not packet.sids:
            return channels.but(sender)
        named = (self._members.get(ParticipantIdentity(name)) for name in packet.identities)
        sids: dict[str, None] = dict.fromkeys(who.sid for who in named if who is not None)
        sids |= dict.fromkeys(sid for sid in packet.sids if sid in self._identities)
        sids.pop(sender, None)
        return channels.among(sids)

    def _submit(self, command: SendData) -> None:
        try:
            self._hub.submit(command)
        except LkpyError as error:
            self._telemetry.tell(MessageDropped("engine_data"))
            logger.warning("data is not sent: %s", error.message)

    def _log(self, sender: str, packet: Routed) -> None:
        if not packet.sequence and not packet.only_active:
            for sid, participant in self._joining.items():
                if sid == sender or not packet.reaches(sid, participant.identity):
                    continue
                if not participant.data.reader.hold(self.log.next, packet):
                    self._telemetry.tell(MessageDropped("joining_data"))
        self.log.add(self._clock.now(), sender, packet)
        self._trim_later()

    def _trim_later(self) -> None:
        at = self.log.trims_at
        if at is not None:
            self._timers.set_if_absent("data log", at, self._trim)

    def _trim(self) -> None:
        self.log.trim(self._clock.now())
        self._trim_later()

    def catch_up(self, participant: Participant) -> None:
        """The participant can be written: give it what it missed."""
        channel = participant.data.outgoing(reliable=True)
        if channel is None:
            return
        self._joining.pop(participant.sid, None)
        missed = self.log.catch_up(
            self._clock.now(), participant.data.reader, participant.sid, participant.identity
        )
        for packet in missed:
            self._submit(SendData((channel,), packet.payload))

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
