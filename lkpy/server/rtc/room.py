"""A room: one task, and the participants that only this task touches."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Protocol, TypeVar

from livekit.protocol import models, rtc

from lkpy.auth.grants import Grants
from lkpy.clock import Clock
from lkpy.engine.api import AudioLevels, DataReceived, Event, StatsCollected
from lkpy.engine.hub import EngineHub
from lkpy.errors import LkpyError
from lkpy.ids import ParticipantIdentity, RoomID, RoomName
from lkpy.limits import TOKEN_REFRESH_S
from lkpy.server.rtc.active_speakers import ActiveSpeakers
from lkpy.server.rtc.announcements import Announcements
from lkpy.server.rtc.connection_quality import ConnectionQuality
from lkpy.server.rtc.ice_preference import IcePreferences
from lkpy.server.rtc.leavers import Leavers
from lkpy.server.rtc.options import NodeInfo, RoomOptions, RoomSettings
from lkpy.server.rtc.participant import Participant, Reason, State
from lkpy.server.rtc.room_api import RoomApi
from lkpy.server.rtc.room_data import RoomData
from lkpy.server.rtc.room_data_tracks import RoomDataTracks
from lkpy.server.rtc.room_sessions import RoomSessions
from lkpy.server.rtc.room_state import RoomState
from lkpy.server.rtc.room_stats import RoomStats
from lkpy.server.rtc.room_task import RoomTask
from lkpy.server.rtc.room_tracks import RoomTracks
from lkpy.server.rtc.room_updates import RoomUpdates
from lkpy.server.rtc.room_whip import RoomWhip
from lkpy.server.rtc.roster import Roster
from lkpy.server.rtc.session import MessageSink, MessageSource, StartSession
from lkpy.server.rtc.signals import Action
from lkpy.server.rtc.simulation import ResumeFaults
from lkpy.server.telemetry.events import (
    NO_TELEMETRY,
    MessageDropped,
    ParticipantActive,
    ParticipantLeft,
    RoomEnded,
    RoomStarted,
    Telemetry,
    TrackUnpublished,
)
from lkpy.server.telemetry.log import fields
from lkpy.stats.v1 import stats_pb2

logger = logging.getLogger(__name__)

T = TypeVar("T")

RefreshToken = Callable[[Grants, str], str]
"""Grants and the API key to sign with → a token."""


_END_REASONS = {
    models.DisconnectReason.ROOM_DELETED: models.RoomEndReason.ROOM_END_API_DELETE,
    models.DisconnectReason.ROOM_CLOSED: models.RoomEndReason.ROOM_END_IDLE_TIMEOUT,
    models.DisconnectReason.SERVER_SHUTDOWN: models.RoomEndReason.ROOM_END_SERVER_SHUTDOWN,
}
"""By what those who are still there are told (``pkg/rtc/types/interfaces.go`` RoomCloseReason)."""


class RoomObserver(Protocol):
    """Who keeps records of rooms. Called on the room's task; must not wait."""

    def room_updated(self, room: Room, /) -> None:
        """The room's record changed."""

    def participant_changed(self, room: Room, info: models.ParticipantInfo, /) -> None:
        """A participant came or changed."""

    def participant_left(self, room: Room, info: models.ParticipantInfo, /) -> None:
        """A participant left."""

    def room_closed(self, room: Room, /) -> None:
        """The room ended by itself or was closed."""


class Room:
    """Participants and what they share. Public methods may be called from any task of the loop."""

    def __init__(
        self,
        info: models.Room,
        *,
        options: RoomOptions,
        node: NodeInfo,
        hub: EngineHub,
        clock: Clock,
        worker: int,
        observer: RoomObserver,
        refresh_token: RefreshToken,
        telemetry: Telemetry = NO_TELEMETRY,
        settings: RoomSettings | None = None,
    ) -> None:
        self.hub = hub
        self.clock = clock
        self.options = options
        self.settings = settings or RoomSettings()
        self.telemetry = telemetry
        self.worker = worker
        self.region = node.region
        self.name = RoomName(info.name)
        self.sid = RoomID(info.sid)
        self._task = RoomTask(info.name, clock)
        self.timers = self._task.timers
        self.slices = self._task.slices
        self.closed: asyncio.Event = self._task.stopped
        self._state = RoomState(info, clock.now())
        self._observer = observer
        self._refresh_token = refresh_token
        self._participants: dict[ParticipantIdentity, Participant] = {}
        self.tracks = RoomTracks(self)
        self.data_tracks = RoomDataTracks(self)
        self.ice_preferences = IcePreferences()
        self.resume_faults = ResumeFaults()
        self.data = RoomData(hub, self._participants, self.timers, clock, telemetry)
        self.roster = Roster()
        self._announcements = Announcements(
            self.members,
            self.timers,
            self.slices,
            clock,
            target_size=options.update_batch_target_size,
        )
        self._updates = RoomUpdates(self._state.info, self.timers, clock, self._tell)
        self._speakers = ActiveSpeakers(
            options.audio, self.members, self.timers, self.slices, clock
        )
        self.tell_speakers = self._speakers.tell_all
        self._quality = ConnectionQuality(self.members, self.slices, clock, telemetry)
        self.tracks.greetings += [self._speakers.tell, self._quality.tell]
        self._stats = RoomStats(clock)
        self.api = RoomApi(self)
        self.whip = RoomWhip(self)
        self._sessions = RoomSessions(self, node, self._task.inbox)
        self._leavers = Leavers(self.timers, self.slices, clock)

    def start(self) -> None:
        """Begin the room's task."""
        self._end_if_nobody_comes()
        self._task.start()
        self.telemetry.tell(RoomStarted(self))

    def members(self) -> Iterable[Participant]:
        """Everybody in the room."""
        return list(self._participants.values())

    @property
    def size(self) -> int:
        """Participants, whatever their kind."""
        return len(self._participants)

    @property
    def info(self) -> models.Room:
        """The room's record, which changes in place."""
        return self._state.info

    @property
    def info_told(self) -> models.Room:
        """The record as those who are here know it."""
        return self._updates.seen

    @property
    def full(self) -> bool:
        """Nobody more who counts may enter."""
        return self._state.full

    # -- joining ----------------------------------------------------------------------------------

    async def join(self, session: StartSession, sink: MessageSink, source: MessageSource) -> None:
        """Join step 8: take a participant in. Returns after the first response is in ``sink``;
        raises :class:`LkpyError` when it is refused."""
        await self._task.call(lambda: self._sessions.start(session, sink, source))

    def admit(self, participant: Participant) -> None:
        """Somebody is in the room from now on."""
        self._participants[participant.identity] = participant
        self.roster.entered(participant.sid, participant.record)
        self.count(participant)
        self.data.changed(participant)
        self._refresh_token_later(participant)

    def deliver(self, participant: Participant, event: Event) -> None:
        """Take an engine event; what a peer can send without end may be lost, the rest may not."""
        handle = partial(self._handle_event, participant, event)
        may_be_lost = isinstance(event, DataReceived | AudioLevels)
        queue = self._task.inbox.offer if may_be_lost else self._task.inbox.post
        if not queue(handle) and not self.closed.is_set():
            self.telemetry.tell(MessageDropped("room_inbox"))

    def _handle_event(self, participant: Participant, event: Event) -> None:
        if participant.closed:
            return
        if isinstance(event, AudioLevels):
            self._speakers.hear(participant, event)
        else:
            participant.handle_event(event)

    # -- leaving ----------------------------------------------------------------------------------

    def close_participant(
        self,
        participant: Participant,
        reason: models.DisconnectReason,
        action: rtc.LeaveRequest.Action | None = Action.DISCONNECT,
    ) -> None:
        """End a participant's session and tell the others."""
        if participant.closed:
            return
        gone = participant.close(reason, action)
        self._leavers.add(participant)
        data_tracks = participant.data_tracks.clear()
        if self._participants.get(participant.identity) is participant:
            del self._participants[participant.identity]
        urgent = self._state.left(self.clock.now(), participant)
        self._sessions.ended(participant, reason)
        self.roster.left(participant.sid)
        self.data.left(participant)
        self.resume_faults.forget(participant.identity)
        self._speakers.forget(participant.sid)
        if not self.closed.is_set():
            self.tracks.forget(track.sid for track in gone)
            self.data_tracks.forget(data_tracks)
            self._counted(urgent=urgent)
            if reason == Reason.DUPLICATE_IDENTITY:
                self._announcements.replaced(participant)
            else:
                self._announcements.announce(participant)
        for track in gone:
            self.telemetry.tell(TrackUnpublished(self, participant, track.info))
        self._observer.participant_left(self, participant.to_proto())
        self.telemetry.tell(ParticipantLeft(self, participant))
        logger.info(
            "participant left",
            extra=fields(
                room=self.name,
                participant=participant.identity,
                pID=participant.sid,
                reason=models.DisconnectReason.Name(reason),
            ),
        )

    def media_lost(self, worker: int) -> None:
        """The media worker failed: everybody has to join afresh, on ``worker``."""
        self.worker = worker
        # Not by the inbox, which may be full of what the worker's end has caused.
        self.timers.set("media lost", self.clock.now(), self._send_back)
        self._task.wake()

    def _send_back(self) -> None:
        def send_back(participant: Participant) -> None:
            self.close_participant(participant, Reason.STATE_MISMATCH, Action.RECONNECT)

        self.slices.for_each(self.members(), send_back)

    def _end_if_nobody_comes(self) -> None:
        """Who is here changed, and with it when the room is to end."""
        at = self._state.expires_at()
        if at is None:
            self.timers.cancel("idle")
        else:
            close = partial(self._close, Reason.ROOM_CLOSED, Action.DISCONNECT)
            self.timers.set("idle", at, close)

    async def close(
        self,
        reason: models.DisconnectReason,
        action: rtc.LeaveRequest.Action = Action.DISCONNECT,
    ) -> None:
        """Send everybody away and end; ``action`` is what they shall do. Idempotent."""
        if not self.closed.is_set():
            with contextlib.suppress(LkpyError):
                # It may have ended by itself meanwhile.
                await self._task.call(lambda: self._close(reason, action))
        await self._task.join()

    def _close(self, reason: models.DisconnectReason, action: rtc.LeaveRequest.Action) -> None:
        """Nobody enters any more from now on, and nothing else happens to those who are here but
        that they leave: in the order in which they came, and others have their turn meanwhile."""
        if self.closed.is_set():
            return
        self._task.stop()
        self.slices.for_each(
            self.members(), lambda participant: self.close_participant(participant, reason, action)
        )
        ended = _END_REASONS.get(reason, models.RoomEndReason.ROOM_END_UNKNOWN)
        self.slices.then(partial(self._ended, ended))

    def _ended(self, reason: models.RoomEndReason) -> None:
        self.telemetry.tell(RoomEnded(self, reason))
        self._observer.room_closed(self)
        self._leavers.forget_all()

    # -- updates ----------------------------------------------------------------------------------

    def state_changed(self, participant: Participant) -> None:
        """A participant's state changed: the others hear of it, of those who only watch later."""
        self._observer.participant_changed(self, participant.to_proto())
        self._announcements.announce(participant)
        self.data.changed(participant)
        if participant.state == State.ACTIVE:
            self.telemetry.tell(ParticipantActive(self, participant))
            if participant.session.auto_subscribe:
                participant.subscribing.want(self.tracks.sids)
            self.data_tracks.entered(participant)

    def info_changed(self, participant: Participant) -> None:
        """Metadata, permissions or tracks changed: everybody hears of it at once."""
        self._observer.participant_changed(self, participant.to_proto())
        self._announcements.announce(participant, immediate=True)

    def claims_changed(self, participant: Participant) -> None:
        """A participant's claims changed: everybody hears of it, and its token says so."""
        self.count(participant)
        self.info_changed(participant)
        self.refresh_token(participant)

    def microphone_closed(self, participant: Participant) -> None:
        """It does not speak any more."""
        self._speakers.silence(participant.sid)

    def count(self, participant: Participant) -> None:
        """A participant came, or what it counts as changed."""
        self._counted(urgent=self._state.count(participant))

    def _counted(self, *, urgent: bool) -> None:
        self._end_if_nobody_comes()
        self._observer.room_updated(self)
        self._updates.changed(urgent=urgent)

    def _tell(self, response: rtc.SignalResponse) -> None:
        self._announcements.send(self.members(), [response])

    def refresh_token(self, participant: Participant) -> None:
        """Give a participant a token that says what it may do now."""
        grants, key = participant.claims.current_grants(), participant.session.api_key
        token = self._refresh_token(grants, key)
        participant.signals.send(rtc.SignalResponse(refresh_token=token))

    def _refresh_token_later(self, participant: Participant) -> None:
        def again() -> None:
            self._refresh_token_later(participant)
            self.refresh_token(participant)

        self.timers.set((participant.sid, "token"), self.clock.now() + TOKEN_REFRESH_S, again)

    # -- the API ----------------------------------------------------------------------------------

    async def call(self, function: Callable[[], T]) -> T:
        """Run ``function`` on the room's task. Raises ``unavailable`` when the room has closed."""
        return await self._task.call(function)

    def participant(self, identity: ParticipantIdentity) -> Participant | None:
        """Who has this identity."""
        return self._participants.get(identity)

    def has(self, identity: ParticipantIdentity) -> bool:
        """Whether somebody with this identity is in the room."""
        return identity in self._participants

    def set_metadata(self, metadata: str) -> None:
        """Change the room's metadata and tell everybody."""
        self._state.info.metadata = metadata
        self._observer.room_updated(self)
        self._updates.changed(urgent=True)

    def to_proto(self) -> models.Room:
        """The room as clients see it."""
        info = models.Room()
        info.CopyFrom(self._state.info)
        return info

    def participants(self) -> list[models.ParticipantInfo]:
        """Everybody in the room."""
        return [participant.to_proto() for participant in self._participants.values()]

    def measure(self, stats: Sequence[StatsCollected]) -> None:
        """Score everybody's connection quality; call it once per window."""
        self._task.inbox.offer(partial(self._quality.measure, stats))

    async def snapshot(self, stats: Sequence[StatsCollected]) -> stats_pb2.Room:
        """The room with its participants and tracks, for the statistics route. It is as it was at
        the beginning, or changed a little meanwhile."""
        participants = list(self._participants.values())
        return await self._stats.room(self._state.info, participants, self._speakers.level, stats)
