"""The subscribing half of a participant: desired tracks become down tracks."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

from livekit.protocol import models, rtc

from lkpy.engine.api import MediaKind, StreamStatesChanged
from lkpy.limits import (
    MAX_RECEIVED_TRACKS,
    MAX_RECEIVED_TRACKS_SINGLE_PC,
    RECONCILE_INTERVAL_S,
    Limits,
)
from lkpy.server.rtc.client_info import supports_codec_change, supports_packet_trailer
from lkpy.server.rtc.media_sections import DownTrackHandle
from lkpy.server.rtc.media_track import MediaTrack
from lkpy.server.rtc.signals import SignalSender, speakers_changed
from lkpy.server.rtc.stream_states import stream_state_update
from lkpy.server.rtc.subscribed_tracks import Followed, SubscribedTrack, SubscribedTracks
from lkpy.server.rtc.subscriptions import (
    ActionKind,
    Availability,
    Resolution,
    Subscriptions,
)
from lkpy.server.rtc.timers import Timers
from lkpy.server.rtc.transport_manager import TransportManager
from lkpy.server.telemetry.events import (
    Telemetry,
    TelemetryParticipant,
    TrackSubscribeFailed,
    TrackSubscribeRequested,
)

if TYPE_CHECKING:
    from lkpy.server.rtc.participant import Participant

logger = logging.getLogger(__name__)


class SubscribingOwner(TelemetryParticipant, Protocol):
    """The participant, as its subscribing half sees it."""

    @property
    def identity(self) -> str:
        """Participant identity."""

    @property
    def can_subscribe(self) -> bool:
        """The permission."""

    @property
    def is_recorder(self) -> bool:
        """It records, so publishers cannot shut it out."""

    @property
    def active_since(self) -> float | None:
        """When it was first connected."""

    def now(self) -> float:
        """Monotonic seconds."""

    def find_track(self, sid: str) -> tuple[Participant, MediaTrack] | None:
        """A track that the room knows."""

    def receiving(self, publisher: Participant) -> None:
        """The first track of ``publisher`` is subscribed to."""

    def subscribed(self, publisher: Participant, track: MediaTrack) -> None:
        """A track flows to this participant."""

    def subscription_failed(self, sid: str) -> None:
        """The client does not negotiate a track."""


class Subscribing:
    """Brings what one participant receives in line with what it wants, and tells its client."""

    def __init__(
        self,
        owner: SubscribingOwner,
        signals: SignalSender,
        transports: TransportManager,
        telemetry: Telemetry,
        timers: Timers,
        *,
        limits: Limits,
        adaptive_stream: bool,
        client: models.ClientInfo,
        sync_streams: bool,
    ) -> None:
        self._owner = owner
        self._signals = signals
        self._transports = transports
        self._telemetry = telemetry
        self._timers = timers
        self._limits = {
            MediaKind.AUDIO: limits.subscription_limit_audio,
            MediaKind.VIDEO: limits.subscription_limit_video,
        }
        single = transports.subscriber is None
        self._most = MAX_RECEIVED_TRACKS_SINGLE_PC if single else MAX_RECEIVED_TRACKS
        self._closed = False
        self._subscriptions = Subscriptions()
        self._tracks = SubscribedTracks(
            owner,
            transports,
            timers,
            adaptive_stream=adaptive_stream,
            protocol=client.protocol,
            sync_streams=sync_streams,
            changes_codec=supports_codec_change(client),
            reads_trailers=supports_packet_trailer(client),
        )

    @property
    def tracks(self) -> list[SubscribedTrack]:
        """What is being received."""
        return self._tracks.all

    @property
    def publishers(self) -> list[str]:
        """Sids of the participants of whom something is received."""
        return self._tracks.publishers

    def receives_from(self, publisher: str) -> bool:
        """Whether any track of the participant with this sid is received."""
        return self._tracks.receives_from(publisher)

    # -- signals ----------------------------------------------------------------------------------

    def update(self, request: rtc.UpdateSubscription) -> None:
        """The client subscribes or unsubscribes."""
        sids = list(request.track_sids)
        for tracks in request.participant_tracks:
            sids.extend(tracks.track_sids)
        self.set_desired(sids, request.subscribe)

    def set_desired(self, sids: Iterable[str], desired: bool) -> None:
        """Tracks should be received, or not; they need not exist yet."""
        chosen = list(sids)
        now = self._owner.now()
        for sid in chosen:
            self._subscriptions.want(now, sid, desired)
        self.reconcile(chosen)

    def update_settings(self, settings: rtc.UpdateTrackSettings) -> None:
        """The client says which quality it wants; it may say so before it subscribes."""
        # It is kept for each track, so without the list of all of them.
        wish = rtc.UpdateTrackSettings(
            disabled=settings.disabled,
            quality=settings.quality,
            width=settings.width,
            height=settings.height,
            fps=settings.fps,
        )
        for sid in settings.track_sids:
            self._subscriptions.set_settings(sid, wish)
            self._tracks.set_settings(sid, wish)

    def refresh(self, track: MediaTrack) -> None:
        """The track's description changed: sizes may mean other layers, codecs come and go."""
        subscribed = self._tracks.get(track.sid)
        if subscribed is None:
            return
        match self._tracks.follow(track):
            case Followed.FLOWS if self._transports.sending.connected:
                self._owner.subscribed(subscribed.publisher, track)
            case Followed.RENEGOTIATE:
                self._transports.negotiate_sending(self._owner.now())
            case Followed.RESUBSCRIBE:
                self._unsubscribe(track.sid)
                self._subscriptions.closed(track.sid)
                self.reconcile([track.sid])
                self._transports.negotiate_sending(self._owner.now())
            case _:
                pass

    # -- reconcile --------------------------------------------------------------------------------

    def want(self, sids: Iterable[str]) -> None:
        """Subscribe to tracks without being asked (auto-subscribe)."""
        self.set_desired(sids, True)

    def reconcile(self, sids: Iterable[str] | None = None) -> None:
        """Bring what is received in line with what is desired, of ``sids`` or of everything.

        To be called when a permission has changed: what is not allowed ends, but stays desired.
        """
        if self._closed:
            return
        now = self._owner.now()
        changed = relieved = False
        sids = None if sids is None else list(sids)
        actions = self._subscriptions.reconcile(
            now, self._resolve, sids, active_since=self._owner.active_since
        )
        for action in actions:
            if self._closed:
                # A failure before this one made the participant leave.
                return
            match action.kind:
                case ActionKind.SUBSCRIBE:
                    changed |= self._subscribe(action.sid)
                case ActionKind.UNSUBSCRIBE:
                    relieved |= self._is_at_limit(action.sid)
                    changed |= self._unsubscribe(action.sid)
                case ActionKind.ALLOWED | ActionKind.DISALLOWED:
                    self._tell_permission(action.sid, action.kind is ActionKind.ALLOWED)
                case ActionKind.GIVE_UP:
                    self._failed(action.sid, models.SubscriptionError.SE_TRACK_NOTFOUND)
                case ActionKind.NOT_BOUND:
                    self._failed(action.sid, models.SubscriptionError.SE_UNKNOWN)
                    self._owner.subscription_failed(action.sid)
        if self._closed:
            return
        if changed:
            self._transports.negotiate_sending(now)
        if self._subscriptions.retry_at() > now:
            key = (self._owner.sid, "reconcile")
            self._timers.set_if_absent(key, self._subscriptions.retry_at(), self.reconcile)
        elif relieved:
            self.reconcile()
        if self._subscriptions.any_unsettled(sids):
            self._timers.set_if_absent(
                (self._owner.sid, "retry"), now + RECONCILE_INTERVAL_S, self._retry
            )

    def _retry(self) -> None:
        """Try again what was not possible, and look after what takes long."""
        sids = self._subscriptions.unsettled()
        if sids:
            self.reconcile(sids)

    def _resolve(self, sid: str) -> Resolution:
        if not self._owner.can_subscribe:
            return Resolution(Availability.NOT_ALLOWED)
        found = self._owner.find_track(sid)
        if found is None:
            return Resolution(Availability.NOT_FOUND)
        publisher, track = found
        if publisher.sid == self._owner.sid:
            return Resolution(Availability.NOT_ALLOWED)
        if self._tracks.get(sid) is None and self._is_full(track.kind):
            return Resolution(Availability.NOT_ALLOWED)
        allowed = self._owner.is_recorder or publisher.subscriber_permissions.allows(
            sid, self._owner.identity
        )
        return Resolution(Availability.READY if allowed else Availability.NOT_ALLOWED, allowed)

    def _is_full(self, kind: MediaKind) -> bool:
        return len(self._tracks) >= self._most or 0 < self._limits[kind] <= self._tracks.count(kind)

    def _is_at_limit(self, sid: str) -> bool:
        subscribed = self._tracks.get(sid)
        return subscribed is not None and self._is_full(subscribed.track.kind)

    def _tell_permission(self, sid: str, allowed: bool) -> None:
        found = self._owner.find_track(sid)
        if found is not None:
            update = rtc.SubscriptionPermissionUpdate(
                participant_sid=found[0].sid, track_sid=sid, allowed=allowed
            )
            self._signals.send(rtc.SignalResponse(subscription_permission_update=update))

    def _subscribe(self, sid: str) -> bool:
        found = self._owner.find_track(sid)
        if found is None:
            return False
        publisher, track = found
        first = not self._tracks.receives_from(publisher.sid)
        self._tracks.add(publisher, track, self._subscriptions.settings(sid))
        track.subscribed(self._owner.sid, self)
        if first:
            self._owner.receiving(publisher)
        self._telemetry.tell(TrackSubscribeRequested(self._owner, track.info))
        return True

    def _unsubscribe(self, sid: str) -> bool:
        subscribed = self._tracks.remove(sid)
        if subscribed is None:
            return False
        subscribed.track.unsubscribed(self._owner.sid)
        publisher = subscribed.publisher.sid
        if not self._tracks.receives_from(publisher):
            # Who speaks is told of publishers that are received; this one is no more.
            silent = models.SpeakerInfo(sid=publisher, level=0, active=False)
            self._signals.speakers(speakers_changed([silent]))
        return True

    def _failed(self, sid: str, error: models.SubscriptionError) -> None:
        response = rtc.SubscriptionResponse(track_sid=sid, err=error)
        self._signals.send(rtc.SignalResponse(subscription_response=response))
        self._telemetry.tell(TrackSubscribeFailed(self._owner, sid, error))

    # -- what happens -----------------------------------------------------------------------------

    def bound(self, handles: Iterable[DownTrackHandle]) -> None:
        """Down tracks are negotiated."""
        for handle in handles:
            subscribed = self._tracks.of(handle)
            if subscribed is not None:
                self._subscriptions.bound(subscribed.sid)
                self._tracks.bound(subscribed)

    def flowing(self, handles: Iterable[DownTrackHandle]) -> None:
        """Down tracks are negotiated and connected."""
        for handle in handles:
            subscribed = self._tracks.of(handle)
            if subscribed is not None and handle.forwarding:
                self._owner.subscribed(subscribed.publisher, subscribed.track)

    def streams_changed(self, event: StreamStatesChanged) -> None:
        """Tracks were paused for want of bandwidth, or are sent (again)."""
        update = stream_state_update(event, self._tracks.all)
        if update.stream_states:
            self._signals.send(rtc.SignalResponse(stream_state_update=update))

    def unsupported(self, handles: Iterable[DownTrackHandle]) -> None:
        """The client takes none of the codecs of these down tracks' tracks."""
        for handle in handles:
            if self._tracks.of(handle) is not None:
                self._unsubscribe(handle.track_sid)
                self._subscriptions.lost(handle.track_sid)
                self._failed(handle.track_sid, models.SubscriptionError.SE_CODEC_UNSUPPORTED)

    def lost(self, sids: Iterable[str]) -> None:
        """Tracks were unpublished."""
        changed = relieved = False
        for sid in sids:
            relieved |= self._is_at_limit(sid)
            changed |= self._unsubscribe(sid)
            self._subscriptions.lost(sid)
        if changed:
            self._transports.negotiate_sending(self._owner.now())
        if relieved:
            self.reconcile()

    def close(self) -> None:
        """The participant leaves."""
        self._closed = True
        for subscribed in self._tracks.all:
            subscribed.track.unsubscribed(self._owner.sid)
        self._tracks.close()
