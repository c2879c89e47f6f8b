"""What the room manager and the server API need of a live room
(:class:`lkpy.server.rtc.room.Room`)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from livekit.protocol import models, rtc
from livekit.protocol import room as room_pb

from lkpy.ids import ParticipantID, ParticipantIdentity
from lkpy.sdp import IceFragment
from lkpy.server.rtc.session import MessageSink, MessageSource, StartSession


class ManagedRoomApi(Protocol):
    """What the server API does to a room. Whoever is named and is not there is ``not_found``."""

    async def remove_participant(
        self, identity: ParticipantIdentity, reason: models.DisconnectReason
    ) -> None:
        """Send one participant away."""

    async def mute_published_track(
        self, identity: ParticipantIdentity, sid: str, muted: bool
    ) -> models.TrackInfo | None:
        """Mute or unmute; None when the participant has no such track."""

    async def update_participant(
        self, request: room_pb.UpdateParticipantRequest
    ) -> models.ParticipantInfo:
        """Change metadata and permission."""

    async def update_subscriptions(self, request: room_pb.UpdateSubscriptionsRequest) -> None:
        """Subscribe or unsubscribe a participant."""

    async def send_data(self, request: room_pb.SendDataRequest) -> None:
        """Send a user packet from the server."""

    async def perform_rpc(self, request: room_pb.PerformRpcRequest) -> str:
        """Call a method of a participant; returns what it answers."""

    async def update_metadata(self, metadata: str) -> models.Room:
        """Change the room's metadata."""


class ManagedRoomWhip(Protocol):
    """What WHIP clients do to their sessions. Who is named and is not there is ``not_found``."""

    async def trickle(
        self,
        identity: ParticipantIdentity,
        sid: ParticipantID,
        ice_session: str,
        fragment: IceFragment,
    ) -> None:
        """Take candidates for an ICE session."""

    async def restart(
        self, identity: ParticipantIdentity, sid: ParticipantID, fragment: IceFragment
    ) -> IceFragment:
        """Restart ICE; returns our end."""

    async def delete(self, identity: ParticipantIdentity, sid: ParticipantID) -> None:
        """End the session."""


class ManagedRoom(Protocol):
    """A room that participants can enter."""

    closed: asyncio.Event

    @property
    def api(self) -> ManagedRoomApi:
        """For calls from outside."""

    @property
    def whip(self) -> ManagedRoomWhip:
        """For WHIP clients."""

    def start(self) -> None:
        """Begin the room's task."""

    async def join(self, session: StartSession, sink: MessageSink, source: MessageSource) -> None:
        """Take a participant in, or resume one."""

    @property
    def size(self) -> int:
        """Participants, whatever their kind."""

    def has(self, identity: ParticipantIdentity) -> bool:
        """Whether somebody with this identity is in the room."""

    def participants(self) -> Sequence[models.ParticipantInfo]:
        """Everybody in the room."""

    def to_proto(self) -> models.Room:
        """The room as clients see it."""

    async def close(
        self, reason: models.DisconnectReason, action: rtc.LeaveRequest.Action = ...
    ) -> None:
        """Send everybody away; ``action`` is what they shall do. Idempotent."""
