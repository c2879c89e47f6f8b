"""The publishing half of a participant: signals and media sections become tracks of the room."""

from __future__ import annotations

import logging
from typing import Protocol

from livekit.protocol import models, rtc

from lkpy.engine.api import CloseReceiver, MediaKind, ReceiverLayersChanged, UpdateReceiver
from lkpy.engine.hub import EngineHub, Handler
from lkpy.server.rtc.media_sections import MediaSectionTrack
from lkpy.server.rtc.published_tracks import Added, MediaTrack, PublishedTracks, Refusal
from lkpy.server.rtc.signals import SignalSender
from lkpy.server.rtc.transport_manager import TransportManager
from lkpy.server.rtc.transport_types import OfferResult
from lkpy.server.telemetry.events import (
    Telemetry,
    TelemetryParticipant,
    TrackPublishRequested,
)
from lkpy.server.telemetry.log import fields

logger = logging.getLogger(__name__)

Reason = rtc.RequestResponse.Reason


class PublishingOwner(TelemetryParticipant, Protocol):
    """The participant, as its publishing half sees it."""

    def track_published(self, track: MediaTrack) -> None:
        """A track has media and a connection: the room may know."""

    def track_changed(self, track: MediaTrack) -> None:
        """A published track's description changed."""

    def track_unpublished(self, track: MediaTrack) -> None:
        """A track is gone."""

    def wall(self) -> float:
        """Unix seconds."""


class Publishing:
    """Owns the published tracks of one participant and their receivers."""

    def __init__(
        self,
        owner: PublishingOwner,
        hub: EngineHub,
        signals: SignalSender,
        transports: TransportManager,
        tracks: PublishedTracks,
        deliver: Handler,
        telemetry: Telemetry,
        *,
        video_by_media: bool = False,
    ) -> None:
        self._owner = owner
        self._hub = hub
        self._signals = signals
        self._transports = transports
        self._deliver = deliver
        self._telemetry = telemetry
        self._video_by_media = video_by_media
        """The client's video is known by its first packet, not by its description."""
        self._clock_group = hub.new_id()
        self.tracks = tracks

    # -- signals ----------------------------------------------------------------------------------

    def add_track(self, request: rtc.AddTrackRequest) -> None:
        """Take an AddTrackRequest and answer it."""
        match self.tracks.add(request):
            case Added() as added:
                self._added(added)
                # Its media section may have been negotiated before.
                for section in self._transports.publisher.section_tracks():
                    self._publish(section)
            case Refusal(reason, message):
                self._signals.request_response(
                    rtc.RequestResponse(reason=reason, message=message, add_track=request)
                )

    def _added(self, added: Added) -> None:
        published = rtc.TrackPublishedResponse(cid=added.cid, track=added.info)
        self._signals.send(rtc.SignalResponse(track_published=published))
        self._telemetry.tell(TrackPublishRequested(self._owner, added.info))

    def mute(self, sid: str, *, muted: bool) -> models.TrackInfo | None:
        """Mute or unmute a published or pending track; None: there is no such track."""
        pending = self.tracks.pending(sid)
        if pending is not None:
            pending.info.muted = muted
            return pending.info
        track = self.tracks.get(sid)
        if track is None:
            return None
        if track.info.muted != muted:
            track.info.muted = muted
            self._hub.submit(*(UpdateReceiver(source.receiver, muted) for source in track.sources))
            self._changed(track)
        return track.info

    def _changed(self, track: MediaTrack) -> None:
        track.info.version.unix_micro = int(self._owner.wall() * 1e6)
        if track.announced:
            self._owner.track_changed(track)

    # -- media sections ---------------------------------------------------------------------------

    def offer_handled(self, result: OfferResult) -> None:
        """Follow what a client's offer began and ended."""
        for section in result.closed:
            closed = self.tracks.section_closed(section.mid)
            if section.receiver is not None:
                self._hub.unbind(section.receiver)
            if closed is None:
                continue
            track, was_last = closed
            if was_last:
                self._unpublished(track)
            else:
                self._changed(track)
        for begun in result.tracks:
            self._publish(begun)

    def _publish(self, section: MediaSectionTrack) -> None:
        def receiver(info: models.TrackInfo) -> int:
            identifier = self._transports.publisher.create_receiver(
                section,
                clock_group=self._clock_group,
                screen_share=info.source == models.TrackSource.SCREEN_SHARE,
            )
            self._hub.bind(identifier, self._deliver)
            if info.muted:
                self._hub.submit(UpdateReceiver(identifier, muted=True))
            return identifier

        joined = self.tracks.publish(section, receiver)
        if joined is None:
            logger.debug("media section %s waits for its AddTrackRequest", section.mid)
            return
        track, _ = joined
        track.info.version.unix_micro = int(self._owner.wall() * 1e6)
        if track.announced:
            self._owner.track_changed(track)
        else:
            self.announce()

    def announce(self) -> None:
        """Tell the room of tracks that it does not know, once the publisher is connected."""
        if not self._transports.publisher.connected:
            return
        for track in self.tracks:
            waits = self._video_by_media and track.kind is MediaKind.VIDEO and not track.flowing
            if not track.announced and not waits:
                track.announced = True
                self._owner.track_published(track)

    def layers_changed(self, event: ReceiverLayersChanged) -> None:
        """Media came: which codec it is in may be known only now."""
        track = self.tracks.media_began(event.receiver, event.mime_type)
        if track is not None:
            mime = track.info.mime_type
            logger.debug("track comes in another codec", extra=fields(track=track.sid, mime=mime))
            self._changed(track)
        self.announce()

    # -- ends -------------------------------------------------------------------------------------

    def unpublish(self, track: MediaTrack) -> None:
        """Take a track away from its publisher and say so."""
        for source in track.sources:
            self._hub.unbind(source.receiver)
            self._hub.submit(CloseReceiver(source.receiver))
        track.sources.clear()
        self._signals.track_unpublished(track.sid)
        self._unpublished(track)

    def unpublish_disallowed(self) -> None:
        """Take away the tracks whose source may not be published any more."""
        for track in self.tracks:
            if not self.tracks.may_publish(track.info.source):
                self.unpublish(track)

    def _unpublished(self, track: MediaTrack) -> None:
        queued = self.tracks.remove(track.sid)
        if track.announced:
            track.announced = False
            self._owner.track_unpublished(track)
        for added in queued:
            self._added(added)

    def close(self) -> list[MediaTrack]:
        """The participant leaves. Returns the tracks that the room knew, for their subscribers."""
        gone = []
        for track in self.tracks:
            for source in track.sources:
                self._hub.unbind(source.receiver)
            self.tracks.remove(track.sid)
            if track.announced:
                gone.append(track)
        return gone
