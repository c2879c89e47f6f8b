"""The subscribing half of a participant: desired tracks become down tracks."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from livekit.protocol import models, rtc

from lkpy.engine.api import MediaKind
from lkpy.limits import Limits
from lkpy.server.rtc.codecs import RED
from lkpy.server.rtc.media_sections import DownTrackHandle
from lkpy.server.rtc.published_tracks import MediaTrack, Source
from lkpy.server.rtc.quality import initial_settings, wanted_layers
from lkpy.server.rtc.signals import SignalSender
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

_PACKED_STREAM_ID = 1


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


@dataclass(slots=True, eq=False)
class SubscribedTrack:
    """One track being received, and by which of its codecs."""

    publisher: Participant
    track: MediaTrack
    source: Source
    handle: DownTrackHandle


class Subscribing:
    """Owns the down tracks of one participant."""

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
        protocol: int,
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
        self._adaptive_stream = adaptive_stream
        self._initial = initial_settings(adaptive_stream=adaptive_stream)
        self._protocol = protocol
        self._subscriptions = Subscriptions()
        self._tracks: dict[str, SubscribedTrack] = {}
        self._publishers: Counter[str] = Counter()
        """Tracks being received by the sid of their publisher."""

    @property
    def tracks(self) -> list[SubscribedTrack]:
        """What is being received."""
        return list(self._tracks.values())

    def receives_from(self, publisher: str) -> bool:
        """Whether any track of the participant with this sid is received."""
        return publisher in self._publishers

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
        for sid in settings.track_sids:
            self._subscriptions.set_settings(sid, settings)
            subscribed = self._tracks.get(sid)
            if subscribed is not None:
                self._apply_settings(subscribed)

    def refresh(self, track: MediaTrack) -> None:
        """The track's description changed: sizes may mean other layers, its codec may be gone."""
        subscribed = self._tracks.get(track.sid)
        if subscribed is None:
            return
        if subscribed.source in track.sources:
            self._apply_settings(subscribed)
        elif track.sources:
            self._switch(subscribed, track.sources[0])
            self._transports.negotiate_sending(self._owner.now())

    # -- reconcile --------------------------------------------------------------------------------

    def want(self, sids: Iterable[str]) -> None:
        """Subscribe to tracks without being asked (auto-subscribe)."""
        self.set_desired(sids, True)

    def reconcile(self, sids: Iterable[str] | None = None) -> None:
        """Bring what is received in line with what is desired, of ``sids`` or of everything.

        To be called when a permission has changed: what is not allowed ends, but stays desired.
        """
        now = self._owner.now()
        changed = relieved = False
        actions = self._subscriptions.reconcile(
            now, self._resolve, sids, active_since=self._owner.active_since
        )
        for action in actions:
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
        if changed:
            self._transports.negotiate_sending(now)
        if self._subscriptions.retry_at() > now:
            key = (self._owner.sid, "reconcile")
            self._timers.set_if_absent(key, self._subscriptions.retry_at(), self.reconcile)
        elif relieved:
            self.reconcile()

    def _resolve(self, sid: str) -> Resolution:
        if not self._owner.can_subscribe:
            return Resolution(Availability.NOT_ALLOWED)
        found = self._owner.find_track(sid)
        if found is None:
            return Resolution(Availability.NOT_FOUND)
        publisher, track = found
        if publisher.sid == self._owner.sid:
            return Resolution(Availability.NOT_ALLOWED)
        if sid not in self._tracks and self._is_full(track.kind):
            return Resolution(Availability.NOT_ALLOWED)
        allowed = self._owner.is_recorder or publisher.subscriber_permissions.allows(
            sid, self._owner.identity
        )
        return Resolution(Availability.READY if allowed else Availability.NOT_ALLOWED, allowed)

    def _is_full(self, kind: MediaKind) -> bool:
        received = sum(subscribed.track.kind is kind for subscribed in self._tracks.values())
        return 0 < self._limits[kind] <= received

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
        source = track.sources[0]
        handle = self._add(publisher, track, source)
        subscribed = SubscribedTrack(publisher, track, source, handle)
        self._tracks[track.sid] = subscribed
        self._publishers[publisher.sid] += 1
        if self._publishers[publisher.sid] == 1:
            self._owner.receiving(publisher)
        self._telemetry.tell(TrackSubscribeRequested(self._owner, track.info))
        return True

    def _add(self, publisher: Participant, track: MediaTrack, source: Source) -> DownTrackHandle:
        layers = wanted_layers(self._initial_settings(track.sid), track.info, source.mime_type)
        packed = self._protocol >= _PACKED_STREAM_ID
        return self._transports.sending.add_down_track(
            receiver=source.receiver,
            kind=track.kind,
            track_sid=track.sid,
            stream_id=f"{publisher.sid}|{track.sid}" if packed else publisher.sid,
            codecs=source.codecs,
            stereo=models.AudioTrackFeature.TF_STEREO in track.info.audio_features,
            red=source.mime_type == RED,
            max_spatial=layers.max_spatial,
            max_temporal=layers.max_temporal,
            muted=layers.muted,
        )

    def _initial_settings(self, sid: str) -> rtc.UpdateTrackSettings:
        """Those of the client, if it has said what it wants. Adaptive clients find out what is
        visible by what they see, so nothing begins disabled."""
        known = self._subscriptions.settings(sid)
        if known is None:
            return self._initial
        if known.disabled and self._adaptive_stream:
            enabled = rtc.UpdateTrackSettings()
            enabled.CopyFrom(known)
            enabled.disabled = False
            self._subscriptions.set_settings(sid, enabled)
            return enabled
        return known

    def _apply_settings(self, subscribed: SubscribedTrack) -> None:
        settings = self._subscriptions.settings(subscribed.track.sid) or self._initial
        layers = wanted_layers(settings, subscribed.track.info, subscribed.source.mime_type)
        handle = subscribed.handle
        known = (handle.max_spatial, handle.max_temporal, handle.muted)
        if (layers.max_spatial, layers.max_temporal, layers.muted) != known:
            self._transports.sending.update_down_track(
                handle,
                max_spatial=layers.max_spatial,
                max_temporal=layers.max_temporal,
                muted=layers.muted,
            )

    def _switch(self, subscribed: SubscribedTrack, source: Source) -> None:
        """Receive the track in another of its codecs."""
        self._transports.sending.remove_down_track(subscribed.handle)
        subscribed.source = source
        subscribed.handle = self._add(subscribed.publisher, subscribed.track, source)

    def _unsubscribe(self, sid: str) -> bool:
        subscribed = self._tracks.get(sid)
        if subscribed is None:
            return False
        self._transports.sending.remove_down_track(subscribed.handle)
        self._forget(subscribed)
        return True

    def _forget(self, subscribed: SubscribedTrack) -> None:
        del self._tracks[subscribed.track.sid]
        publisher = subscribed.publisher.sid
        self._publishers[publisher] -= 1
        if not self._publishers[publisher]:
            del self._publishers[publisher]
            # Who speaks is told of publishers that are received; this one is no more.
            self._signals.speakers([models.SpeakerInfo(sid=publisher, level=0, active=False)])

    def _failed(self, sid: str, error: models.SubscriptionError) -> None:
        response = rtc.SubscriptionResponse(track_sid=sid, err=error)
        self._signals.send(rtc.SignalResponse(subscription_response=response))
        self._telemetry.tell(TrackSubscribeFailed(self._owner, sid, error))

    # -- what happens -----------------------------------------------------------------------------

    def bound(self, handles: Iterable[DownTrackHandle]) -> None:
        """Down tracks are negotiated."""
        for handle in handles:
            subscribed = self._tracks.get(handle.track_sid)
            if subscribed is not None and subscribed.handle is handle:
                self._subscriptions.bound(handle.track_sid)

    def flowing(self, handles: Iterable[DownTrackHandle]) -> None:
        """Down tracks are negotiated and connected."""
        for handle in handles:
            subscribed = self._tracks.get(handle.track_sid)
            if subscribed is not None and subscribed.handle is handle:
                self._owner.subscribed(subscribed.publisher, subscribed.track)

    def unsupported(self, handles: Iterable[DownTrackHandle]) -> None:
        """The client takes none of these down tracks' codecs."""
        retry = [handle for handle in handles if self._next_source(handle)]
        if retry:
            self._transports.negotiate_sending(self._owner.now())

    def _next_source(self, handle: DownTrackHandle) -> bool:
        """Try the track's next codec; without one the subscription has failed."""
        sid = handle.track_sid
        subscribed = self._tracks.get(sid)
        if subscribed is None or subscribed.handle is not handle:
            return False
        sources = subscribed.track.sources
        tried = sources.index(subscribed.source) + 1 if subscribed.source in sources else 0
        following = sources[tried:]
        if following:
            self._switch(subscribed, following[0])
            return True
        self._transports.sending.remove_down_track(handle)
        self._forget(subscribed)
        self._subscriptions.lost(sid)
        self._failed(sid, models.SubscriptionError.SE_CODEC_UNSUPPORTED)
        return False

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
