"""How sessions enter a room: joins, resumes, and the signal connection that each is read from.

Join step 8. There is one session per identity, and one signal connection per session.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterable
from functools import partial
from typing import Protocol

from livekit.protocol import models, rtc

from lkpy.errors import Code, LkpyError
from lkpy.server.rtc.claims import Claims
from lkpy.server.rtc.client_info import supports_reconnect_response
from lkpy.server.rtc.departures import Departures
from lkpy.server.rtc.engine_session import EngineSession
from lkpy.server.rtc.handlers import handle_request
from lkpy.server.rtc.ice_preference import IcePreference
from lkpy.server.rtc.inbox import Inbox
from lkpy.server.rtc.join_response import join_response, reconnect_response
from lkpy.server.rtc.options import NodeInfo
from lkpy.server.rtc.participant import Participant, Reason
from lkpy.server.rtc.participant_room import ParticipantRoom
from lkpy.server.rtc.roster import Roster
from lkpy.server.rtc.session import MessageSink, MessageSource, StartSession
from lkpy.server.rtc.signal_reader import SignalReader
from lkpy.server.rtc.signals import Action, refuse_resume
from lkpy.server.rtc.updates import responses
from lkpy.server.telemetry.events import ParticipantJoined, TelemetryRoom
from lkpy.server.telemetry.log import fields

logger = logging.getLogger(__name__)

_FAST_START = 8
"""Protocol version from which tracks are subscribed before the first offer."""


class SessionRoom(ParticipantRoom, TelemetryRoom, Protocol):
    """The room, as its sessions see it."""

    roster: Roster

    @property
    def info(self) -> models.Room:
        """The room's record."""

    @property
    def full(self) -> bool:
        """Nobody more who counts may enter."""

    @property
    def info_told(self) -> models.Room:
        """The record as those who are here know it."""

    def members(self) -> Iterable[Participant]:
        """Everybody in the room."""

    def admit(self, participant: Participant) -> None:
        """Somebody is in the room from now on."""

    def refresh_token(self, participant: Participant) -> None:
        """Give a participant a token that says what it may do now."""


class RoomSessions:
    """Owns the readers of signal connections, and who left lately. Runs on the room's task."""

    def __init__(self, room: SessionRoom, node: NodeInfo, inbox: Inbox) -> None:
        self._room = room
        self._node = node
        self._inbox = inbox
        self._readers: dict[str, SignalReader] = {}
        """By participant sid."""
        self._departures = Departures()
        self._sif_trailer = secrets.token_urlsafe(32).encode()

    def start(self, session: StartSession, sink: MessageSink, source: MessageSource) -> None:
        """Resume or join. Raises :class:`LkpyError` when the room takes nobody in."""
        if sink.closed:
            # Whoever asked has given up; a session would be nobody's.
            source.close("abandoned")
            return
        old = self._room.participant(session.identity)
        if not session.reconnect:
            if old is not None:
                self._room.close_participant(old, Reason.DUPLICATE_IDENTITY)
            self._read(self._join(session, sink), source)
        elif old is not None and not old.connectivity.beyond_repair:
            old.signals.swap(sink)
            self._read(old, source)
            self._resume(old, session.reconnect_reason)
        else:
            if old is not None:
                self._room.close_participant(old, Reason.STATE_MISMATCH, Action.RECONNECT)
            refuse_resume(sink, session.client)
            source.close("resume refused")

    def ended(self, participant: Participant, reason: models.DisconnectReason) -> None:
        """A session is over: nothing of its signal connection is handled any more."""
        reader = self._readers.pop(participant.sid, None)
        if reader is not None:
            reader.stop()
        self._departures.add(self._room.clock.now(), participant, reason)

    def _join(self, session: StartSession, sink: MessageSink) -> Participant:
        room = self._room
        claims = Claims(session.grants, session.name)
        if room.full and not claims.is_dependent:
            raise LkpyError(Code.RESOURCE_EXHAUSTED, "room has exceeded its max participants")
        others = room.roster.others()
        codecs = tuple(room.info.enabled_codecs)
        engine = EngineSession(room.hub)
        try:
            participant = Participant(session, claims, sink, room, codecs, engine)
        except BaseException:
            engine.close()
            raise
        room.admit(participant)
        try:
            self._enter(participant, others)
        except BaseException:
            room.close_participant(participant, Reason.JOIN_FAILURE)
            raise
        return participant

    def _enter(self, participant: Participant, others: bytes) -> None:
        room = self._room
        join = join_response(
            room=room.info_told,
            participant=participant.to_proto(),
            others=others,
            node=self._node,
            ice_servers=room.options.ice_servers(participant.sid),
            publish_codecs=participant.publish_codecs,
            configuration=participant.configuration,
            subscriber_primary=participant.subscriber_primary,
            sif_trailer=self._sif_trailer,
            any_path=participant.ice.preference is IcePreference.ANY,
        )
        participant.enter(join, subscribe=self._subscribed_first(participant))
        if participant.closed:
            return
        room.refresh_token(participant)
        room.state_changed(participant)
        room.telemetry.tell(ParticipantJoined(room, participant))

    def _subscribed_first(self, participant: Participant) -> Iterable[str]:
        """Tracks for the first description."""
        tracks, session = self._room.tracks, participant.session
        if session.one_shot is not None:
            return session.one_shot.choose(tracks.described)
        fast_start = session.single_pc or participant.client.protocol >= _FAST_START
        return tracks.sids if fast_start and session.auto_subscribe else ()

    def _resume(self, participant: Participant, reason: models.ReconnectReason) -> None:
        """The first frame, who left meanwhile, everybody who is here, and the room."""
        room = self._room
        now, identity = room.clock.now(), participant.identity
        if room.resume_faults.drops_at_once(now, identity):
            participant.signals.close("simulated disconnect")
            return
        participant.connectivity.resumed(reason)
        first: list[rtc.SignalResponse] = []
        target = room.options.update_batch_target_size
        if supports_reconnect_response(participant.client):
            reconnect = reconnect_response(
                node=self._node,
                ice_servers=room.options.ice_servers(participant.sid),
                configuration=participant.configuration,
                last_message_seq=participant.data.last_sequence,
            )
            first.append(rtc.SignalResponse(reconnect=reconnect))
            first += responses(self._departures.seen_by(participant), target)
        if participant.hidden:
            here = [p.to_proto() for p in room.members() if p is participant or not p.hidden]
            first += responses(here, target)
        else:
            first += room.roster.updates(target)
        first.append(rtc.SignalResponse(room_update=rtc.RoomUpdate(room=room.info)))
        participant.resume(first)
        room.refresh_token(participant)
        if room.resume_faults.drops_after_messages(now, identity):
            participant.signals.close("simulated disconnect")
        logger.info(
            "participant resumed",
            extra=fields(room=room.name, participant=identity, pID=participant.sid),
        )

    def _read(self, participant: Participant, source: MessageSource) -> None:
        """Take the participant's signal requests from ``source``, and from nowhere else."""
        known = self._readers.get(participant.sid)
        if known is not None:
            known.stop()
        if participant.closed:
            source.close()
            return
        self._readers[participant.sid] = SignalReader(
            source,
            self._inbox,
            heard=participant.connectivity.signal_received,
            handle=partial(handle_request, participant),
            ended=participant.connectivity.signal_closed,
        )
