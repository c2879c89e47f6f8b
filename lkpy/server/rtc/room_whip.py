"""What a WHIP client does to its session after it began (livekit-server
``pkg/service/roommanager_service.go``). Every call runs on the room's task."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from livekit.protocol import models

from lkpy.errors import Code, LkpyError
from lkpy.ids import ParticipantID, ParticipantIdentity
from lkpy.sdp import IceFragment
from lkpy.server.rtc.participant import Participant
from lkpy.server.rtc.room_api import PARTICIPANT_NOT_FOUND

T = TypeVar("T")


class WhipRoom(Protocol):
    """The room, as its WHIP sessions see it."""

    async def call(self, function: Callable[[], T]) -> T:
        """Run ``function`` on the room's task. Raises ``unavailable`` when the room has closed."""

    def participant(self, identity: ParticipantIdentity) -> Participant | None:
        """Who has this identity."""

    def close_participant(
        self, participant: Participant, reason: models.DisconnectReason, action: None = None
    ) -> None:
        """End a participant's session and tell the others."""


class RoomWhip:
    """The WHIP sessions of one room. What is not there, or not WHIP, is ``not_found``."""

    def __init__(self, room: WhipRoom) -> None:
        self._room = room

    async def trickle(
        self,
        identity: ParticipantIdentity,
        sid: ParticipantID,
        ice_session: str,
        fragment: IceFragment,
    ) -> None:
        """Take candidates for the ICE session that is named as in :meth:`restart`'s answer. Raises
        ``failed_precondition`` when that is over, :class:`lkpy.sdp.SdpError` for a fragment that
        does not belong to it."""

        def take(participant: Participant) -> None:
            publisher = participant.transports.publisher
            if ice_session != publisher.ice_ufrag:
                raise LkpyError(
                    Code.FAILED_PRECONDITION,
                    f"ice session mismatch, expected: {publisher.ice_ufrag}, got: {ice_session}",
                )
            publisher.trickle(fragment)

        await self._call(identity, sid, take)

    async def restart(
        self, identity: ParticipantIdentity, sid: ParticipantID, fragment: IceFragment
    ) -> IceFragment:
        """Restart ICE; returns our end, whose ``ufrag`` names the ICE session. Raises
        :class:`lkpy.sdp.SdpError` for a fragment that does not belong to the session."""
        return await self._call(
            identity, sid, lambda who: who.transports.publisher.restart_with(fragment)
        )

    async def delete(self, identity: ParticipantIdentity, sid: ParticipantID) -> None:
        """End the session ``sid``, if that is the one that the identity has."""

        def end() -> None:
            participant = self._find(identity)
            if participant.sid == sid:
                reason = models.DisconnectReason.CLIENT_INITIATED
                self._room.close_participant(participant, reason, None)

        await self._room.call(end)

    async def _call(
        self,
        identity: ParticipantIdentity,
        sid: ParticipantID,
        function: Callable[[Participant], T],
    ) -> T:
        def call() -> T:
            participant = self._find(identity)
            if participant.sid != sid:
                raise LkpyError(Code.NOT_FOUND, PARTICIPANT_NOT_FOUND)
            return function(participant)

        return await self._room.call(call)

    def _find(self, identity: ParticipantIdentity) -> Participant:
        participant = self._room.participant(identity)
        if participant is None or not participant.is_one_shot:
            raise LkpyError(Code.NOT_FOUND, PARTICIPANT_NOT_FOUND)
        return participant
