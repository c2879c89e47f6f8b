"""The data half of a participant: what its client sends, and its place among those who receive."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from livekit.protocol import models, rtc

from lkpy.engine.api import (
    DataChannelClosed,
    DataChannelOpened,
    DataChannelOverflow,
    DataReceived,
)
from lkpy.server.rtc.data_channels import DataChannels
from lkpy.server.rtc.data_packets import Sender
from lkpy.server.rtc.room_data import RoomData
from lkpy.server.rtc.transport_manager import TransportManager
from lkpy.server.telemetry.events import MessageDropped, Telemetry, TransportChanged

if TYPE_CHECKING:
    from lkpy.server.rtc.participant import Participant

logger = logging.getLogger(__name__)

DataEvent: TypeAlias = DataChannelOpened | DataChannelClosed | DataChannelOverflow | DataReceived


class ParticipantData:
    """Owns the data channels of one participant."""

    def __init__(
        self,
        owner: Participant,
        room: RoomData,
        transports: TransportManager,
        telemetry: Telemetry,
        take: Callable[[models.DataPacket], bool],
    ) -> None:
        self.reader = room.log.reader()
        """What the participant has been given of the room's reliable packets."""
        self.overflows = 0
        """Reliable messages that the engine dropped because the client reads too slowly."""
        self._owner = owner
        self._room = room
        self._transports = transports
        self._telemetry = telemetry
        self._take = take
        """Takes packets that are for the server and for nobody else."""
        self._channels = DataChannels()
        self._bare = owner.is_one_shot
        """The client knows no packets: it gets the data in them."""

    @property
    def last_sequence(self) -> int:
        """Of the last reliable packet that the client sent; 0 before."""
        return self._channels.last_sequence

    @property
    def waits_for_channel(self) -> bool:
        """It has had no channel for packets yet, and may still get one."""
        if self._bare or not self.reader.joining:
            return False
        return self._owner.active_since is None or self._transports.primary.takes_data

    def outgoing(self, *, reliable: bool) -> tuple[int, int] | None:
        """Where data for this participant goes: its primary connection's channel."""
        if self._bare:
            return None
        return self._channels.outgoing(self._transports.primary.id, reliable=reliable)

    def outgoing_bare(self) -> tuple[int, int] | None:
        """Where user data goes without its packet, for clients that know no packets."""
        if not self._bare:
            return None
        return self._channels.bare(self._transports.primary.id)

    def handle_event(self, event: DataEvent) -> None:
        """Take what the engine tells of the participant's channels."""
        match event:
            case DataReceived():
                self._received(event)
            case DataChannelOverflow():
                self._overflowed(event)
            case _:
                self._changed(event)

    def _received(self, event: DataReceived) -> None:
        owner = self._owner
        if not owner.claims.permission.can_publish_data:
            return
        sender = Sender(owner.sid, owner.identity, owner.hidden, owner.claims.is_agent)
        packet = self._channels.receive(event, sender, self._room.nonces, self._take)
        if packet is not None:
            self._room.broadcast(owner, packet)

    def _overflowed(self, event: DataChannelOverflow) -> None:
        self.overflows += 1
        self._telemetry.tell(MessageDropped("data_channel"))
        if self.overflows % 100 == 1:
            waiting = event.buffered
            logger.warning(
                "reliable data dropped: %d bytes are waiting",
                waiting,
                extra=self._owner.log_fields(),
            )

    def _changed(self, event: DataChannelOpened | DataChannelClosed) -> None:
        before = self.outgoing(reliable=True)
        if isinstance(event, DataChannelOpened):
            self._channels.opened(event)
        else:
            self._channels.closed(event)
        self._room.changed(self._owner)
        channel = self.outgoing(reliable=True)
        if channel == before:
            return
        if before is not None:
            self.reader.interrupted(self._room.log.next)
        if channel is None:
            self._owner.data_failed()
        else:
            target = self._transports.primary.target
            self._telemetry.tell(TransportChanged(self._owner, target, "fully_established"))
            self._room.catch_up(self._owner)

    def sync(self, state: rtc.SyncState) -> None:
        """The client came back and says what it has received. Channels that the server makes are
        opened again if they are gone."""
        self.reader.told(self._owner.now(), state.datachannel_receive_states)
        if not self.reader.joining and self.outgoing(reliable=True) is None:
            self._transports.open_channels()
