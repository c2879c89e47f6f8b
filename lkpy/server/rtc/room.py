"""A room: one task with an inbox, and the participants that only this task touches."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar

from livekit.protocol import models, rtc
from livekit.protocol import room as room_pb

from lkpy.auth.grants import Grants
from lkpy.clock import Clock
from lkpy.engine.api import AudioLevels, DataReceived, Event, SendData, StatsCollected
from lkpy.engine.hub import EngineHub
from lkpy.errors import Blame, Code, LkpyError
from lkpy.ids import ParticipantIdentity, RoomID, RoomName
from lkpy.limits import (
    RECONCILE_INTERVAL_S,
    ROOM_IDLE_CHECK_S,
    ROOM_UPDATE_INTERVAL_S,
    SUBSCRIBER_UPDATE_INTERVAL_S,
    TOKEN_REFRESH_S,
)
from lkpy.server.rtc.data_packets import NonceFilter, Routed, Sender, route
from lkpy.server.rtc.inbox import Inbox
from lkpy.server.rtc.join_response import join_response
from lkpy.server.rtc.options import NodeInfo, RoomOptions
from lkpy.server.rtc.participant import Participant, Reason, State
from lkpy.server.rtc.published_tracks import MediaTrack
from lkpy.server.rtc.room_stats import RoomStats
from lkpy.server.rtc.session import MessageSink, MessageSource, StartSession
from lkpy.server.rtc.signals import Action, SignalSender, leave
from lkpy.server.rtc.speakers import Speakers
from lkpy.server.rtc.timers import Timers
from lkpy.server.rtc.updates import UpdateQueue, responses
from lkpy.stats.v1 import stats_pb2

logger = logging.getLogger(__name__)

T = TypeVar("T")
RefreshToken = Callable[[Grants, str], str]
"""Grants and the API key to sign with → a token."""

_FAST_START = 8
"""Protocol version from which tracks are subscribed before the first offer."""


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
    ) -> None:
        self.hub = hub
        self.clock = clock
        self.options = options
        self.worker = worker
        self.timers = Timers()
        self.closed = asyncio.Event()
        self.name = RoomName(info.name)
        self.sid = RoomID(info.sid)
        self._info = models.Room()
        self._info.CopyFrom(info)
        self._node = node
        self._observer = observer
        self._refresh_token = refresh_token
        self._participants: dict[ParticipantIdentity, Participant] = {}
        self._tracks: dict[str, tuple[Participant, MediaTrack]] = {}
        self._inbox = Inbox()
        self._task: asyncio.Task[None] | None = None
        self._pumps: set[asyncio.Task[None]] = set()
        self._calls: set[asyncio.Future[Any]] = set()
        """Calls that wait for their turn; they fail when the room ends first."""
        self._updates = UpdateQueue()
        self._speakers = Speakers(options.audio)
        self._heard: dict[str, tuple[int, int]] = {}
        self._nonces = NonceFilter()
        self._stats = RoomStats(clock)
        self._sif_trailer = secrets.token_urlsafe(32).encode()
        self._opened_at = clock.now()
        self._last_left_at: float | None = None

    # -- the task ---------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin the room's task."""
        now = self.clock.now()
        self._every("idle", now, ROOM_IDLE_CHECK_S, self._check_idle)
        self._every("reconcile", now, RECONCILE_INTERVAL_S, self._reconcile)
        self._every("token", now, TOKEN_REFRESH_S, self._refresh_tokens)
        self._task = asyncio.get_running_loop().create_task(self._run(), name=f"room {self.sid}")

    async def _run(self) -> None:
        while not self.closed.is_set():
            now = self.clock.now()
            while (due := self.timers.due(now)) is not None:
                self._do(due)
            deadline = self.timers.next_deadline()
            message = await self._inbox.take(
                None if deadline is None else max(0.0, deadline - self.clock.now())
            )
            if message is not None:
                self._do(message)

    def _do(self, message: Callable[[], None]) -> None:
        """A fault while handling one message is logged and costs that message only."""
        try:
            message()
        except Exception:
            logger.exception("room task failed", extra={"room": self.name})

    def _every(self, key: str, now: float, period_s: float, action: Callable[[], None]) -> None:
        def run() -> None:
            self._every(key, self.clock.now(), period_s, action)
            action()

        self.timers.set(key, now + period_s, run)

    async def _call(self, function: Callable[[], T]) -> T:
        """Run ``function`` on the room's task and return what it returns or raises."""
        if self.closed.is_set():
            raise _closed()
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        def run() -> None:
            if future.done():
                return
            try:
                future.set_result(function())
            except LkpyError as error:
                future.set_exception(error)
            except Exception as error:
                future.set_exception(
                    LkpyError(Code.INTERNAL, f"internal error: {error}", blame=Blame.US)
                )
                raise

        await self._inbox.put(run)
        self._calls.add(future)
        future.add_done_callback(self._calls.discard)
        return await future

    # -- joining ----------------------------------------------------------------------------------

    async def join(self, session: StartSession, sink: MessageSink, source: MessageSource) -> None:
        """Join step 8: take a participant in. Returns after the first response is in ``sink``;
        raises :class:`LkpyError` when it is refused."""
        participant = await self._call(lambda: self._join(session, sink))
        if participant is not None:
            pump = asyncio.get_running_loop().create_task(self._pump(participant, source))
            self._pumps.add(pump)
            pump.add_done_callback(self._pumps.discard)

    def _join(self, session: StartSession, sink: MessageSink) -> Participant | None:
        old = self._participants.get(session.identity)
        if session.reconnect:
            # Sessions are not resumed: the client is told to join afresh, and its old session goes.
            signals = SignalSender(sink, session.client)
            signals.open(leave(session.client, Reason.STATE_MISMATCH, Action.RECONNECT))
            signals.close("resume refused")
            if old is not None:
                self.close_participant(old, Reason.STATE_MISMATCH, Action.RECONNECT)
            return None
        if old is not None:
            self.close_participant(old, Reason.DUPLICATE_IDENTITY)
        participant = Participant(session, sink, self, tuple(self._info.enabled_codecs))
        limit = self._info.max_participants
        if limit and not participant.is_dependent and self._count() >= limit:
            participant.transports.close()
            raise LkpyError(Code.RESOURCE_EXHAUSTED, "room has exceeded its max participants")
        others = [p.to_proto() for p in self._participants.values() if not p.hidden]
        self._participants[session.identity] = participant
        self._count_changed()
        fast_start = session.single_pc or participant.client.protocol >= _FAST_START
        join = join_response(
            room=self._info,
            participant=participant.to_proto(),
            others=others,
            node=self._node,
            ice_servers=self.options.ice_servers,
            publish_codecs=participant.publish_codecs,
            configuration=participant.configuration,
            subscriber_primary=participant.subscriber_primary,
            sif_trailer=self._sif_trailer,
        )
        participant.enter(
            join,
            lambda: self._token(participant),
            subscribe=self._tracks if fast_start and session.auto_subscribe else (),
        )
        self.state_changed(participant)
        return participant

    async def _pump(self, participant: Participant, source: MessageSource) -> None:
        """Bring a participant's signal requests to the room's task, in order."""
        async for request in source:
            if participant.closed:
                break
            await self._inbox.put(partial(self._handle, participant, request))
        if not self.closed.is_set():
            self._inbox.post(participant.signal_closed)
        source.close()

    def _handle(self, participant: Participant, request: rtc.SignalRequest) -> None:
        if not participant.closed:
            participant.handle_request(request)

    def deliver(self, participant: Participant, event: Event) -> None:
        """Take an engine event; what a peer can send without end may be lost, the rest may not."""

        def handle() -> None:
            if isinstance(event, AudioLevels):
                self._hear(participant, event)
            elif not participant.closed:
                participant.handle_event(event)

        if isinstance(event, DataReceived | AudioLevels):
            self._inbox.offer(handle)
        else:
            self._inbox.post(handle)

    # -- leaving ----------------------------------------------------------------------------------

    def close_participant(
        self,
        participant: Participant,
        reason: models.DisconnectReason,
        action: rtc.LeaveRequest.Action = Action.DISCONNECT,
    ) -> None:
        """End a participant's session and tell the others."""
        if participant.closed:
            return
        was_publisher = participant.is_publisher
        gone = participant.close(reason, action)
        if self._participants.get(participant.identity) is participant:
            del self._participants[participant.identity]
        self._forget_tracks(track.sid for track in gone)
        self._speakers.forget(participant.sid)
        if not participant.is_dependent:
            self._last_left_at = self.clock.now()
        self._count_changed()
        self._update(participant, immediate=was_publisher)
        self._observer.participant_left(self, participant.to_proto())
        logger.info(
            "participant left",
            extra={
                "room": self.name,
                "participant": participant.identity,
                "pID": participant.sid,
                "reason": models.DisconnectReason.Name(reason),
            },
        )

    def _check_idle(self) -> None:
        if self._count() > 0:
            return
        now = self.clock.now()
        if self._last_left_at is None:
            idle, limit = now - self._opened_at, self._info.empty_timeout
        else:
            idle, limit = now - self._last_left_at, self._info.departure_timeout
        if idle >= limit > 0:
            self._close(Reason.ROOM_CLOSED)

    async def close(self, reason: models.DisconnectReason) -> None:
        """Send everybody away and end. Idempotent."""
        if not self.closed.is_set():
            self._close(reason)
        if self._task is not None and self._task is not asyncio.current_task():
            self._inbox.post(lambda: None)
            await asyncio.gather(self._task, return_exceptions=True)

    def _close(self, reason: models.DisconnectReason) -> None:
        for participant in list(self._participants.values()):
            self.close_participant(participant, reason)
        self.closed.set()
        self._inbox.post(lambda: None)
        for pump in self._pumps:
            pump.cancel()
        for call in list(self._calls):
            if not call.done():
                call.set_exception(_closed())
        self._observer.room_closed(self)

    # -- updates ----------------------------------------------------------------------------------

    def state_changed(self, participant: Participant) -> None:
        """A participant's state changed: the others hear of it, those who only watch in batches."""
        self._observer.participant_changed(self, participant.to_proto())
        if participant.state == State.ACTIVE:
            if participant.session.auto_subscribe:
                participant.subscribing.want(self._tracks)
            self._update(participant, immediate=participant.is_publisher)
        elif participant.state == State.JOINED:
            self._update(participant, immediate=False)

    def info_changed(self, participant: Participant) -> None:
        """Metadata, permissions or tracks changed: everybody hears of it at once."""
        for track in participant.publishing.tracks:
            for other in self._participants.values():
                other.subscribing.refresh(track)
        self._observer.participant_changed(self, participant.to_proto())
        self._update(participant, immediate=True, to_self=True)

    def _update(self, participant: Participant, *, immediate: bool, to_self: bool = False) -> None:
        info = participant.to_proto()
        if participant.hidden:
            if to_self:
                self._send_each([participant], responses([info]))
            return
        if self._updates.push(info, immediate=immediate):
            receivers = [p for p in self._participants.values() if to_self or p is not participant]
            self._send_each(receivers, responses([info]))
        elif self._updates:
            self.timers.set("updates", self._next_batch(), self._flush_updates)

    def _next_batch(self) -> float:
        """Batches go out at fixed beats, so that each waits three seconds at the most."""
        since = (self.clock.now() - self._opened_at) % SUBSCRIBER_UPDATE_INTERVAL_S
        return self.clock.now() + SUBSCRIBER_UPDATE_INTERVAL_S - since

    def _flush_updates(self) -> None:
        infos = self._updates.take()
        self._send_each(self._participants.values(), responses(infos))

    def _send_each(
        self, receivers: Iterable[Participant], messages: Sequence[rtc.SignalResponse]
    ) -> None:
        """The same message objects go to everybody, so that they are serialised once."""
        for receiver in receivers:
            for message in messages:
                receiver.signals.send(message)

    def _count(self) -> int:
        return sum(not p.is_dependent for p in self._participants.values())

    def _count_changed(self) -> None:
        recording = any(p.is_recorder for p in self._participants.values())
        changed = recording != self._info.active_recording
        self._info.active_recording = recording
        self._info.num_participants = self._count()
        self._info.num_publishers = sum(p.is_publisher for p in self._participants.values())
        self._observer.room_updated(self)
        if changed:
            self._send_room_update()
        else:
            deadline = self.clock.now() + ROOM_UPDATE_INTERVAL_S
            self.timers.set_if_absent("room update", deadline, self._send_room_update)

    def _send_room_update(self) -> None:
        update = rtc.SignalResponse(room_update=rtc.RoomUpdate(room=self._info))
        self._send_each(self._participants.values(), [update])

    def _token(self, participant: Participant) -> str:
        return self._refresh_token(participant.current_grants(), participant.session.api_key)

    def _refresh_tokens(self) -> None:
        for participant in self._participants.values():
            participant.send_refresh_token(self._token(participant))

    # -- tracks -----------------------------------------------------------------------------------

    def find_track(self, sid: str) -> tuple[Participant, MediaTrack] | None:
        """A track that the room knows."""
        return self._tracks.get(sid)

    def track_published(self, participant: Participant, track: MediaTrack) -> None:
        """Join step 13: the others hear of a track, and those who want everything get it."""
        self._tracks[track.sid] = (participant, track)
        self._count_changed()
        self._observer.participant_changed(self, participant.to_proto())
        self._update(participant, immediate=True, to_self=True)
        for other in self._participants.values():
            if other is participant:
                continue
            if other.state == State.ACTIVE and other.session.auto_subscribe:
                other.subscribing.want([track.sid])
            else:
                other.subscribing.reconcile([track.sid])

    def track_unpublished(self, participant: Participant, track: MediaTrack) -> None:
        """The others hear that a track is gone, and receive it no more."""
        self._forget_tracks([track.sid])
        if track.info.source == models.TrackSource.MICROPHONE:
            self._speakers.forget(participant.sid)
        self._count_changed()
        self._observer.participant_changed(self, participant.to_proto())
        self._update(participant, immediate=True, to_self=True)

    def _forget_tracks(self, sids: Iterable[str]) -> None:
        gone = [sid for sid in sids if self._tracks.pop(sid, None) is not None]
        if gone:
            for other in self._participants.values():
                other.subscribing.lost(gone)

    def subscribed(
        self, participant: Participant, publisher: Participant, track: MediaTrack
    ) -> None:
        """A track flows: its publisher hears of the first one who sees it, the subscriber of what
        is said meanwhile."""
        if not track.seen and not participant.hidden:
            track.seen = True
            publisher.signals.send(
                rtc.SignalResponse(track_subscribed=rtc.TrackSubscribed(track_sid=track.sid))
            )
        level = self._speakers.level(publisher.sid)
        if level is not None:
            participant.signals.speakers(
                [models.SpeakerInfo(sid=publisher.sid, level=level, active=True)]
            )

    def _reconcile(self) -> None:
        for participant in self._participants.values():
            participant.subscribing.reconcile()

    # -- speakers ---------------------------------------------------------------------------------

    def _hear(self, participant: Participant, event: AudioLevels) -> None:
        for receiver, loudest, active_ms in event.levels:
            track = participant.publishing.tracks.by_receiver(receiver)
            if (
                track is None
                or track.info.muted
                or track.info.source != models.TrackSource.MICROPHONE
            ):
                continue
            known = self._heard.get(participant.sid)
            if known is None or loudest < known[0]:
                self._heard[participant.sid] = (loudest, active_ms)
        window_s = self.options.audio.update_interval_ms / 1000
        self.timers.set_if_absent("speakers", self.clock.now() + window_s, self._speak)

    def _speak(self) -> None:
        """End a window: tell each participant of the changes that concern it."""
        heard, self._heard = self._heard, {}
        changes = self._speakers.window(heard)
        if changes:
            for participant in self._participants.values():
                participant.signals.speakers(
                    [
                        change
                        for change in changes
                        if change.sid == participant.sid
                        or participant.subscribing.receives_from(change.sid)
                    ]
                )
        if not self._speakers.idle:
            window_s = self.options.audio.update_interval_ms / 1000
            self.timers.set_if_absent("speakers", self.clock.now() + window_s, self._speak)

    # -- data -------------------------------------------------------------------------------------

    def broadcast(self, sender: Participant | None, packet: Routed) -> None:
        """Send a data packet to whom it is for, but its sender: one command for all."""
        channels: list[tuple[int, int]] = []
        now = self.clock.now()
        for participant in self._participants.values():
            if participant is sender or not packet.reaches(participant.sid, participant.identity):
                continue
            if not packet.reliable and participant.state != State.ACTIVE:
                continue
            channel = participant.outgoing_channel(reliable=packet.reliable)
            if channel is not None:
                channels.append(channel)
            elif packet.reliable:
                participant.data.hold(now, packet)
        if channels:
            self.hub.submit(SendData(tuple(channels), packet.payload))

    # -- the API ----------------------------------------------------------------------------------

    async def remove_participant(
        self, identity: ParticipantIdentity, reason: models.DisconnectReason
    ) -> None:
        """Close one participant. Raises ``not_found``."""
        await self._call(lambda: self.close_participant(self._get(identity), reason))

    async def mute_published_track(
        self, identity: ParticipantIdentity, sid: str, muted: bool
    ) -> models.TrackInfo | None:
        """Mute or unmute and tell the publisher; None when it has no such track."""

        def mute() -> models.TrackInfo | None:
            participant = self._get(identity)
            info = participant.publishing.mute(sid, muted=muted)
            if info is not None:
                participant.signals.mute(sid, muted=muted)
            return info

        return await self._call(mute)

    async def send_data(self, request: room_pb.SendDataRequest) -> None:
        """Send a user packet from the server."""

        def send() -> None:
            user = models.UserPacket(
                payload=request.data,
                destination_sids=request.destination_sids,
                destination_identities=request.destination_identities,
                nonce=request.nonce,
            )
            if request.HasField("topic"):
                user.topic = request.topic
            packet = models.DataPacket(user=user)
            reliable = request.kind == models.DataPacket.RELIABLE
            routed = route(
                packet, reliable=reliable, sender=Sender("", "", hidden=True), nonces=self._nonces
            )
            if routed is not None:
                self.broadcast(None, routed)

        await self._call(send)

    def _get(self, identity: ParticipantIdentity) -> Participant:
        participant = self._participants.get(identity)
        if participant is None:
            raise LkpyError(Code.NOT_FOUND, "participant does not exist")
        return participant

    def to_proto(self) -> models.Room:
        """The room as clients see it."""
        info = models.Room()
        info.CopyFrom(self._info)
        return info

    def participants(self) -> list[models.ParticipantInfo]:
        """Everybody in the room."""
        return [participant.to_proto() for participant in self._participants.values()]

    def snapshot(self, stats: Sequence[StatsCollected]) -> stats_pb2.Room:
        """The room with its participants and tracks, for the statistics route."""
        return self._stats.room(
            self._info, list(self._participants.values()), self._speakers, stats
        )


def _closed() -> LkpyError:
    return LkpyError(Code.UNAVAILABLE, "room is closed", blame=Blame.CLIENT)
