"""A participant: a façade over parts that each own one concern. Only its room's task touches it."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from livekit.protocol import models, rtc

from lkpy.engine.api import (
    Command,
    CommandFailed,
    DataChannelClosed,
    DataChannelOpened,
    DataChannelOverflow,
    DataReceived,
    DownTrackStalled,
    DtlsStateChanged,
    Event,
    IceStateChanged,
    PacketsDropped,
    ReceiverLayersChanged,
    ReceiverStalled,
    StreamStatesChanged,
    TransportClosed,
)
from lkpy.errors import LkpyError
from lkpy.ids import PARTICIPANT_PREFIX, ParticipantID, ParticipantIdentity, new_id
from lkpy.server.rtc.claims import Claims
from lkpy.server.rtc.client_configuration import (
    client_configuration,
    publish_codecs,
    subscribe_codecs,
)
from lkpy.server.rtc.client_info import (
    is_firefox,
    sets_join_offer_late,
    supports_sync_streams,
)
from lkpy.server.rtc.connectivity import Connectivity
from lkpy.server.rtc.data_blobs import DataBlobs
from lkpy.server.rtc.data_subscriptions import DataSubscriptions
from lkpy.server.rtc.data_tracks import DataTracks
from lkpy.server.rtc.engine_session import EngineSession
from lkpy.server.rtc.ice_path import IcePath
from lkpy.server.rtc.join_offer import JoinOffer
from lkpy.server.rtc.media_sections import DownTrackHandle
from lkpy.server.rtc.media_track import MediaTrack
from lkpy.server.rtc.media_watch import MediaWatch
from lkpy.server.rtc.options import PlayoutDelay
from lkpy.server.rtc.participant_data import ParticipantData
from lkpy.server.rtc.participant_record import ParticipantRecord
from lkpy.server.rtc.participant_room import ParticipantRoom
from lkpy.server.rtc.published_tracks import PublishedTracks
from lkpy.server.rtc.publishing import Publishing
from lkpy.server.rtc.rpc_calls import RpcCalls
from lkpy.server.rtc.session import MessageSink, StartSession
from lkpy.server.rtc.signals import Action, SignalSender
from lkpy.server.rtc.subscriber_permissions import SubscriberPermissions
from lkpy.server.rtc.subscribing import Subscribing
from lkpy.server.rtc.track_dynacast import TrackDynacast
from lkpy.server.rtc.transport_manager import TransportManager
from lkpy.server.rtc.transport_types import TransportOptions
from lkpy.server.telemetry.events import MessageDropped, TransportChanged
from lkpy.server.telemetry.log import about, fields

logger = logging.getLogger(__name__)

State = models.ParticipantInfo.State
Reason = models.DisconnectReason

_SUBSCRIBER_PRIMARY = 3
_PARTS = (
    "connectivity",
    "data",
    "data_subscriptions",
    "data_tracks",
    "dynacast",
    "ice",
    "join_offer",
    "media_watch",
    "publishing",
    "record",
    "subscribing",
    "transports",
)
"""What refers to its participant."""


class Participant:
    """One session of one identity."""

    def __init__(
        self,
        session: StartSession,
        claims: Claims,
        sink: MessageSink,
        room: ParticipantRoom,
        enabled_codecs: tuple[models.Codec, ...],
        engine: EngineSession,
    ) -> None:
        self._engine = engine
        self.session = session
        self.claims = claims
        self._sid = ParticipantID(new_id(PARTICIPANT_PREFIX))
        self.identity: ParticipantIdentity = session.identity
        self.client = session.client
        self.state = State.JOINING
        self.joined_at = room.clock.wall()
        self.disconnect_reason = Reason.UNKNOWN_REASON
        self.room = room
        self.record = ParticipantRecord(self)
        self._has_published = False
        self.active_since: float | None = None
        self.subscriber_permissions = SubscriberPermissions()
        self._bound: list[DownTrackHandle] = []
        """Down tracks negotiated before there was a connection to send them on."""

        configuration = client_configuration(self.client)
        self._client_configuration = configuration
        self.publish_codecs = publish_codecs(enabled_codecs, configuration)
        self.signals = SignalSender(sink, self.client)
        self.data_blobs = DataBlobs()
        self.rpc = RpcCalls(self._sid, room.timers, room.clock)
        sync_streams = room.settings.sync_streams and supports_sync_streams(self.client)
        self.transports = TransportManager(
            self,
            engine,
            self.signals,
            room.timers,
            worker=room.worker,
            single_pc=session.single_pc,
            subscriber_primary=self.subscriber_primary,
            client=self.client,
            options=TransportOptions(
                publish_codecs=self.publish_codecs,
                subscribe_codecs=subscribe_codecs(enabled_codecs, configuration),
                ice_lite=room.options.ice_lite and not session.disable_ice_lite,
                one_shot=self.is_one_shot,
                data_tracks=room.options.data_tracks,
                allow_pause=(
                    room.options.allow_pause
                    if session.subscriber_allow_pause is None
                    else session.subscriber_allow_pause
                ),
                active_red_encoding=room.options.audio.active_red_encoding,
                sync_streams=sync_streams,
                playout_delay=self._playout_delay(),
            ),
            deliver=self._deliver,
        )
        self.data = ParticipantData(self, room.data, self.transports, room.telemetry, self.rpc.take)
        self.ice = IcePath(
            self.identity,
            self.client,
            self.transports,
            room.ice_preferences,
            self.now,
            self.log_fields,
            fallback=room.options.allow_tcp_fallback and not self.is_one_shot,
            force_tcp=room.options.force_tcp,
        )
        self.join_offer = JoinOffer(self._sid, room.timers, self.handle_offer)
        self.connectivity = Connectivity(
            self,
            self.transports,
            self.signals,
            self.ice,
            room.timers,
            can_come_back=not self.is_one_shot,
        )
        mimes = tuple(c.mime for c in self.publish_codecs if c.mime.lower() != "video/rtx")
        self.dynacast = TrackDynacast(
            self,
            self.signals,
            room.timers,
            pause_delay_s=room.options.video.dynacast_pause_delay_s,
        )
        self.publishing = Publishing(
            self,
            engine,
            self.signals,
            self.transports,
            PublishedTracks(mimes, claims.may_publish),
            self._deliver,
            room.telemetry,
            self.dynacast,
            room.timers,
            # The Go SDK offers every codec, whichever it sends.
            video_by_media=self.client.sdk == models.ClientInfo.GO,
        )
        self.subscribing = Subscribing(
            self,
            self.signals,
            self.transports,
            room.telemetry,
            room.timers,
            limits=room.options.limits,
            adaptive_stream=session.adaptive_stream,
            client=self.client,
            sync_streams=sync_streams,
        )
        self.media_watch = MediaWatch(
            self, self.transports, self.publishing, self.subscribing, room.telemetry
        )
        self.data_tracks = DataTracks(self, engine, self.transports.publisher)
        self.data_subscriptions = DataSubscriptions(
            self, engine, self.signals, self.transports, room.timers, room.data_tracks.find
        )

    def _playout_delay(self) -> PlayoutDelay | None:
        """How long the client is to hold video back. Firefox does not keep synced streams in step,
        so there its audio would stay behind."""
        settings = self.room.settings
        kept_in_step = not settings.sync_streams or not is_firefox(self.client)
        return settings.playout_delay if kept_in_step else None

    # -- facts ------------------------------------------------------------------------------------

    @property
    def sid(self) -> ParticipantID:
        """This session's sid."""
        return self._sid

    @property
    def subscriber_primary(self) -> bool:
        """The subscriber connection makes the participant active (dual peer connections)."""
        return (
            not self.session.single_pc
            and self.client.protocol >= _SUBSCRIBER_PRIMARY
            and self.claims.permission.can_subscribe
        )

    @property
    def hidden(self) -> bool:
        """Others never hear of it."""
        return self.claims.permission.hidden

    @property
    def is_recorder(self) -> bool:
        """It records, so the room is being recorded."""
        return self.claims.is_recorder

    @property
    def is_dependent(self) -> bool:
        """It is there for others."""
        return self.claims.is_dependent

    @property
    def is_one_shot(self) -> bool:
        """It has no signal connection and never will."""
        return self.session.one_shot is not None

    @property
    def is_publisher(self) -> bool:
        """It has published, be it only once, and may still do so."""
        return self._has_published

    @property
    def can_subscribe(self) -> bool:
        """The permission."""
        return self.claims.permission.can_subscribe

    @property
    def closed(self) -> bool:
        """The session has ended."""
        return self.state == State.DISCONNECTED

    @property
    def active(self) -> bool:
        """Its primary connection was there once."""
        return self.state >= State.ACTIVE

    def now(self) -> float:
        """Monotonic seconds."""
        return self.room.clock.now()

    def wall(self) -> float:
        """Unix seconds."""
        return self.room.clock.wall()

    def to_proto(self) -> models.ParticipantInfo:
        """The participant as others see it; the same object until something changes."""
        return self.record.to_proto()

    def log_fields(self, track: str | None = None) -> dict[str, object]:
        """For log lines about it."""
        return fields(room=self.room.name, participant=self.identity, pID=self._sid, track=track)

    @property
    def configuration(self) -> models.ClientConfiguration | None:
        """What the client must not do, and whether it must use a relay."""
        return self.ice.configuration(self._client_configuration)

    def touch(self) -> None:
        """Something in :meth:`to_proto` changed: a newer version from now on."""
        self.record.touch()

    def _set_state(self, state: State) -> None:
        if state > self.state:
            self.state = state
            self.touch()

    # -- life -------------------------------------------------------------------------------------

    def enter(self, join: rtc.SignalResponse, *, subscribe: Iterable[str]) -> None:
        """Send the first responses in LiveKit's order and begin to connect. Tracks in ``subscribe``
        are in the first description already."""
        session = self.session
        self.signals.open(join)
        self._set_state(State.JOINED)
        with self._engine.together():
            for request in session.add_track_requests:
                self.publishing.add_track(request)
            self.subscribing.want(subscribe)
            if session.publisher_offer is not None and session.publisher_offer.sdp:
                hold = sets_join_offer_late(self.client) and not self.is_one_shot
                self.join_offer.take(self.now(), session.publisher_offer, hold=hold)
                if self.closed:
                    # What it offers cannot be negotiated.
                    return
            self.transports.start(self.now())
        self.connectivity.start()
        self._engine.entered(self._engine_refused)

    def _engine_refused(self, command: Command, error: LkpyError) -> None:
        """What the engine does not know of would never flow, without a word: the client comes back
        with a fresh session."""
        self.room.telemetry.tell(MessageDropped("engine"))
        name = type(command).__name__
        transport = self.transports.publisher.id
        self._deliver(CommandFailed(name, transport, error.code, error.message))

    def resume(self, first: Iterable[rtc.SignalResponse]) -> None:
        """The client is back on another signal connection: bring it up to date and repair the
        connection."""
        for response in first:
            self.signals.send(response)
        self.dynacast.restart()
        self.transports.resume(self.now())

    def give_up(self, reason: models.DisconnectReason, action: Action | None) -> None:
        """End the session."""
        self.room.close_participant(self, reason, action)

    def close(self, reason: Reason, action: Action | None) -> list[MediaTrack]:
        """End everything, once, whatever the engine does; the room does the rest. Without
        ``action`` the client is told nothing. Returns the tracks that go with it."""
        if self.closed:
            return []
        self.disconnect_reason = reason
        if action is not None:
            self.signals.leave(reason, action)
        self.signals.close(Reason.Name(reason).lower())
        self.room.timers.cancel_of(self.sid)
        self.rpc.close()
        gone = self.publishing.close()
        self.subscribing.close()
        self.transports.close()
        self._engine.close()
        self._set_state(State.DISCONNECTED)
        return gone

    def forget(self) -> None:
        """Let go of its parts, when nobody asks it anything any more. They and it refer to each
        other: all would stay until Python looks for such circles, and that holds everybody up."""
        for part in _PARTS:
            vars(self).pop(part, None)

    # -- signals ----------------------------------------------------------------------------------

    def handle_offer(self, offer: rtc.SessionDescription) -> None:
        """Answer the offer of the publisher's or the single connection."""
        result = self.transports.handle_offer(self.now(), offer, self.publishing.tracks.lookup)
        if result is not None:
            self.publishing.offer_handled(result)
            self.room.data_tracks.attach(self)
            self.transports.drive(self.now(), self.transports.publisher)

    # -- engine events ----------------------------------------------------------------------------

    def _deliver(self, event: Event) -> None:
        self.room.deliver(self, event)

    def handle_event(self, event: Event) -> None:
        """Handle an event about one of this participant's transports or receivers."""
        with about(participant=self.identity, pID=self.sid):
            self._handle_event(event)

    def _handle_event(self, event: Event) -> None:
        match event:
            case IceStateChanged() | DtlsStateChanged() | TransportClosed():
                self._transport_changed(event)
            case DataReceived() | DataChannelOpened() | DataChannelClosed() | DataChannelOverflow():
                self.data.handle_event(event)
            case PacketsDropped() | ReceiverStalled() | DownTrackStalled():
                self.media_watch.handle_event(event)
            case ReceiverLayersChanged():
                self.publishing.layers_changed(event)
            case StreamStatesChanged():
                self.subscribing.streams_changed(event)
            case CommandFailed(subject=subject) if self.transports.of(subject) is not None:
                self.connectivity.lose(f"{event.command}: {event.message}", for_good=True)
            case _:
                pass

    def _transport_changed(
        self, event: IceStateChanged | DtlsStateChanged | TransportClosed
    ) -> None:
        transport = self.transports.of(event.transport)
        if transport is None:
            return
        transport.handle_event(event)
        self.connectivity.transport_changed(transport, event)
        if transport.failure:
            return
        if not isinstance(event, TransportClosed) and event.state == "connected":
            state = "ice_connected" if isinstance(event, IceStateChanged) else "connected"
            self.room.telemetry.tell(TransportChanged(self, transport.target, state))
        if transport is self.transports.primary and transport.connected:
            self._activate()
        if transport is self.transports.publisher:
            self.publishing.announce()
        if transport is self.transports.sending and transport.connected and self._bound:
            bound, self._bound = self._bound, []
            self.subscribing.flowing(bound)

    def _activate(self) -> None:
        if self.state == State.JOINED:
            self._set_state(State.ACTIVE)
            self.active_since = self.now()
            self.connectivity.activated()
            self.room.state_changed(self)

    # -- what handlers and parts tell -------------------------------------------------------------

    def negotiation_failed(self, why: str) -> None:
        """The client has to join afresh."""
        logger.info("negotiation failed: %s", why, extra=self.log_fields())
        self.room.close_participant(self, Reason.STATE_MISMATCH, Action.RECONNECT)

    def down_tracks_settled(
        self, bound: tuple[DownTrackHandle, ...], unsupported: tuple[DownTrackHandle, ...]
    ) -> None:
        """Down tracks were negotiated: they flow once the connection is there, or cannot."""
        self.subscribing.bound(bound)
        if not self.transports.sending.connected:
            self._bound += bound
        elif bound:
            self.subscribing.flowing(bound)
        if unsupported:
            self.subscribing.unsupported(unsupported)

    def set_publisher(self, is_publisher: bool) -> None:
        """Count it among the publishers of the room, or not any more."""
        self._has_published = is_publisher

    def info_changed(self) -> None:
        """Its claims changed: everybody hears, and its token says so."""
        self.touch()
        self.room.claims_changed(self)

    def publication_failed(self, sid: str) -> None:
        """The client does not send a track that it has announced; it may have to join afresh."""
        logger.warning("track is not sent", extra=self.log_fields(track=sid))
        if self.room.options.reconnect_on_publication_error:
            self.room.close_participant(self, Reason.STATE_MISMATCH, Action.RECONNECT)

    def data_failed(self) -> None:
        """Data cannot be sent to the client any more; it may have to join afresh."""
        if self.room.options.reconnect_on_data_channel_error:
            self.room.close_participant(self, Reason.STATE_MISMATCH, Action.RECONNECT)

    def may_regress(self) -> bool:
        """Whether the room is small enough for all subscribers of a track to share one codec."""
        threshold = self.room.options.video.codec_regression_threshold
        return threshold == 0 or self.room.size < threshold

    def track_published(self, track: MediaTrack) -> None:
        """A track may be told to the room."""
        self._has_published = True
        self.touch()
        self.room.tracks.published(self, track)

    def track_changed(self, track: MediaTrack) -> None:
        """A published track's description changed."""
        self.touch()
        self.room.tracks.changed(self, track)

    def track_unpublished(self, track: MediaTrack) -> None:
        """A track is gone."""
        self.touch()
        self.room.tracks.unpublished(self, track)

    def find_track(self, sid: str) -> tuple[Participant, MediaTrack] | None:
        """A track that the room knows."""
        return self.room.tracks.find(sid)

    def receiving(self, publisher: Participant) -> None:
        """The first track of ``publisher`` is subscribed to."""
        self.room.tracks.receiving(self, publisher)

    def subscription_failed(self, sid: str) -> None:
        """The client does not negotiate a track; it may have to join afresh."""
        logger.warning("track is not bound", extra=self.log_fields(track=sid))
        if self.room.options.reconnect_on_subscription_error:
            self.room.close_participant(self, Reason.STATE_MISMATCH, Action.RECONNECT)

    def subscribed(self, publisher: Participant, track: MediaTrack) -> None:
        """A track flows to this participant."""
        self.room.tracks.flowing(self, publisher, track)
