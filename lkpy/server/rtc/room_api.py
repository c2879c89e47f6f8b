"""What the server API does to a live room and its participants (livekit-server
``pkg/service/roommanager.go``). Every call runs on the room's task."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol, TypeVar

from livekit.protocol import models, rtc
from livekit.protocol import room as room_pb

from lkpy.errors import Code, LkpyError
from lkpy.ids import ParticipantIdentity
from lkpy.server.rtc.data_packets import Routed
from lkpy.server.rtc.options import RoomOptions
from lkpy.server.rtc.participant import Participant
from lkpy.server.rtc.permissions import set_permission
from lkpy.server.rtc.room_data import RoomData

T = TypeVar("T")

PARTICIPANT_NOT_FOUND = "participant does not exist"


class ApiRoom(Protocol):
    """The room, as its API sees it."""

    data: RoomData
    options: RoomOptions

    async def call(self, function: Callable[[], T]) -> T:
        """Run ``function`` on the room's task. Raises ``unavailable`` when the room has closed."""

    def participant(self, identity: ParticipantIdentity) -> Participant | None:
        """Who has this identity."""

    def close_participant(self, participant: Participant, reason: models.DisconnectReason) -> None:
        """End a participant's session and tell the others."""

    def set_metadata(self, metadata: str) -> None:
        """Change the room's metadata and tell everybody."""

    def to_proto(self) -> models.Room:
        """The room as clients see it."""


class RoomApi:
    """Calls about one room. Whoever is named and is not there is ``not_found``."""

    def __init__(self, room: ApiRoom) -> None:
        self._room = room

    async def remove_participant(
        self, identity: ParticipantIdentity, reason: models.DisconnectReason
    ) -> None:
        """Send one participant away."""
        await self._call(identity, lambda who: self._room.close_participant(who, reason))

    async def mute_published_track(
        self, identity: ParticipantIdentity, sid: str, muted: bool
    ) -> models.TrackInfo | None:
        """Mute or unmute and tell the publisher; None when it has no such track."""

        def mute(participant: Participant) -> models.TrackInfo | None:
            info = participant.publishing.mute(sid, muted=muted)
            if info is None:
                return None
            participant.signals.mute(sid, muted=muted)
            copy = models.TrackInfo()
            copy.CopyFrom(info)
            return copy

        return await self._call(identity, mute)

    async def update_participant(
        self, request: room_pb.UpdateParticipantRequest
    ) -> models.ParticipantInfo:
        """Change name, metadata and attributes as far as they are given, then the permission as a
        whole. Raises ``invalid_argument`` when the participant's attributes get too large."""
        update = rtc.UpdateParticipantMetadata(
            name=request.name, metadata=request.metadata, attributes=request.attributes
        )

        def change(participant: Participant) -> models.ParticipantInfo:
            before = participant.claims.described
            limits = self._room.options.limits
            reason, message = participant.claims.update_metadata(update, limits, from_admin=True)
            if reason != rtc.RequestResponse.Reason.OK:
                raise LkpyError(Code.INVALID_ARGUMENT, message)
            if participant.claims.is_told(before, update):
                participant.info_changed()
            if request.HasField("permission"):
                set_permission(participant, request.permission)
            return participant.to_proto()

        return await self._call(ParticipantIdentity(request.identity), change)

    async def update_subscriptions(self, request: room_pb.UpdateSubscriptionsRequest) -> None:
        """Subscribe a participant to tracks, or unsubscribe it, as if it had asked itself."""
        update = rtc.UpdateSubscription(
            track_sids=request.track_sids,
            subscribe=request.subscribe,
            participant_tracks=request.participant_tracks,
        )
        await self._call(
            ParticipantIdentity(request.identity), lambda who: who.subscribing.update(update)
        )

    async def send_data(self, request: room_pb.SendDataRequest) -> None:
        """Send a user packet from the server."""
        await self._room.call(lambda: self._room.data.send(request))

    async def perform_rpc(self, request: room_pb.PerformRpcRequest) -> str:
        """Call a method of a participant. Returns what it answers, raises what it fails with."""

        def begin(participant: Participant) -> asyncio.Future[str]:
            packet, result = participant.rpc.begin(request)
            to = frozenset({participant.identity})
            self._room.data.broadcast(
                None, Routed(packet.SerializeToString(), True, to, frozenset())
            )
            return result

        return await (await self._call(ParticipantIdentity(request.destination_identity), begin))

    async def update_metadata(self, metadata: str) -> models.Room:
        """Change the room's metadata; returns the room that has it."""

        def update() -> models.Room:
            self._room.set_metadata(metadata)
            return self._room.to_proto()

        return await self._room.call(update)

    async def _call(self, identity: ParticipantIdentity, function: Callable[[Participant], T]) -> T:
        def call() -> T:
            participant = self._room.participant(identity)
            if participant is None:
                raise LkpyError(Code.NOT_FOUND, PARTICIPANT_NOT_FOUND)
            return function(participant)

        return await self._room.call(call)
