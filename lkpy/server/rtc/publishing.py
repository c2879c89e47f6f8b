"""The publishing half of a participant: signals and media sections become tracks of the room."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Protocol

from livekit.protocol import models, rtc

from lkpy.engine.api import CloseReceiver, MediaKind, ReceiverLayersChanged, UpdateReceiver
from lkpy.engine.hub import Handler
from lkpy.server.rtc.engine_session import EngineSession
from lkpy.server.rtc.media_sections import MediaSectionTrack, RefusedSection
from lkpy.server.rtc.media_track import MediaTrack
from lkpy.server.rtc.publication_watch import PublicationWatch
from lkpy.server.rtc.published_tracks import Added, PublishedTracks, Refusal
from lkpy.server.rtc.signals import SignalSender
from lkpy.server.rtc.timers import Timers
from lkpy.server.rtc.track_dynacast import TrackDynacast
from lkpy.server.rtc.track_info import set_audio_features
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

    def may_regress(self) -> bool:
        """Whether the room is small enough for all subscribers of a track to share one codec."""

    def publication_failed(self, sid: str) -> None:
        """The client does not send a track that it has announced."""

    def now(self) -> float:
        """Monotonic seconds."""

    def wall(self) -> float:
        """Unix seconds."""


class Publishing:
    """Owns the published tracks of one participant and their receivers."""

    def __init__(
        self,
        owner: PublishingOwner,
        engine: EngineSession,
        signals: SignalSender,
        transports: TransportManager,
        tracks: PublishedTracks,
        deliver: Handler,
        telemetry: Telemetry,
        dynacast: TrackDynacast,
        timers: Timers,
        *,
        video_by_media: bool = False,
    ) -> None:
        self._owner = owner
        self._engine = engine
        self._signals = signals
        self._transports = transports
        self._deliver = deliver
        self._telemetry = telemetry
        self._dynacast = dynacast
        self._watch = PublicationWatch(owner, timers, owner.publication_failed)
        self._video_by_media = video_by_media
        """The client's video is known by its first packet, not by its description."""
        self._clock_group = engine.new_id()
        self.tracks = tracks

    # -- signals ----------------------------------------------------------------------------------

    def add_track(self, request: rtc.AddTrackRequest) -> None:
        """Take an AddTrackRequest and answer it."""
        if self.tracks.is_full and not request.sid:
            # A client may give up a publication without a word.
            for sid in self.tracks.release(self._watch.overdue):
                logger.info("track never came, others may", extra=fields(track=sid))
                self._watch.arrived(sid)
                self._signals.track_unpublished(sid)
        match self.tracks.add(request):
            case Added() as added:
                self._added(added)
                self._publish_waiting()
            case Refusal(reason, message):
                self._signals.request_response(
                    rtc.RequestResponse(reason=reason, message=message, add_track=request)
                )

    def _publish_waiting(self) -> None:
        """Media sections may have been negotiated before their tracks were added."""
        for section in self._transports.publisher.section_tracks():
            self._publish(section)

    def _added(self, added: Added) -> None:
        published = rtc.TrackPublishedResponse(cid=added.cid, track=added.info)
        self._signals.send(rtc.SignalResponse(track_published=published))
        self._telemetry.tell(TrackPublishRequested(self._owner, added.info))
        if self.tracks.get(added.info.sid) is None:
            self._watch.expect(added.info.sid, muted=added.info.muted)

    def mute(self, sid: str, *, muted: bool) -> models.TrackInfo | None:
        """Mute or unmute a published, pending or queued track; None: there is no such track."""
        self._watch.muted(sid, muted=muted)
        waiting = self.tracks.unpublished(sid)
        for info in waiting:
            info.muted = muted
        track = self.tracks.get(sid)
        if track is None:
            return waiting[0] if waiting else None
        changed = track.info.muted != muted
        track.info.muted = muted
        if not muted:
            self._dynacast.unmuted(sid)
        if changed:
            self._engine.submit(
                *(UpdateReceiver(source.receiver, muted) for source in track.sources)
            )
            self._changed(track)
        return track.info

    def update_audio(self, sid: str, features: Iterable[models.AudioTrackFeature]) -> bool:
        """Replace an audio track's features. Returns whether there is such a track."""
        chosen = list(features)
        waiting = self.tracks.unpublished(sid)
        track = self.tracks.get(sid)
        for info in waiting if track is None else [track.info]:
            if info.type == models.TrackType.AUDIO:
                set_audio_features(info, chosen)
        return self._updated(track) or bool(waiting)

    def update_video(self, sid: str, width: int, height: int) -> bool:
        """Change a video track's size. Returns whether there is such a track."""
        waiting = self.tracks.unpublished(sid)
        track = self.tracks.get(sid)
        for info in waiting if track is None else [track.info]:
            if info.type == models.TrackType.VIDEO:
                info.width, info.height = width, height
        return self._updated(track) or bool(waiting)

    def _updated(self, track: MediaTrack | None) -> bool:
        if track is None:
            return False
        self._changed(track)
        return True

    def _changed(self, track: MediaTrack) -> None:
        track.info.version.unix_micro = int(self._owner.wall() * 1e6)
        if track.announced:
            self._owner.track_changed(track)

    # -- media sections ---------------------------------------------------------------------------

    def offer_handled(self, result: OfferResult) -> None:
        """Follow what a client's offer began and ended; it was answered."""
        self._dynacast.answered()
        for section in result.closed:
            if section.receiver is not None:
                self._engine.unbind(section.receiver)
            track = self.tracks.section_closed(section.mid)
            if track is None:
                continue
            if track.sources:
                self._changed(track)
            else:
                self._unpublished(track)
        for changed in result.changed:
            self._renegotiated(changed)
        for refused in result.refused:
            self._refused(refused)
        for begun in result.tracks:
            self._publish(begun)

    def _renegotiated(self, section: MediaSectionTrack) -> None:
        for track in self.tracks:
            if track.renegotiated(section):
                self._changed(track)

    def _refused(self, section: RefusedSection) -> None:
        """The client learns from the answer that the section is rejected, and from this why."""
        where = f"media section {section.mid} ({section.kind})"
        logger.warning("%s cannot be used: %s", where, section.why)
        if section.cid:
            self._signals.request_response(
                rtc.RequestResponse(
                    reason=Reason.UNSUPPORTED_TYPE,
                    message=f"{where}: {section.why}",
                    add_track=rtc.AddTrackRequest(cid=section.cid),
                )
            )

    def _publish(self, section: MediaSectionTrack) -> None:
        def receiver(info: models.TrackInfo) -> int:
            identifier = self._transports.publisher.create_receiver(
                section,
                clock_group=self._clock_group,
                screen_share=info.source == models.TrackSource.SCREEN_SHARE,
            )
            self._engine.bind(identifier, self._deliver)
            if info.muted:
                self._engine.submit(UpdateReceiver(identifier, muted=True))
            return identifier

        joined = self.tracks.publish(section, receiver)
        if joined is None:
            logger.debug("media section %s waits for its AddTrackRequest", section.mid)
            return
        track, source = joined
        self._watch.arrived(track.sid)
        if not self.tracks.may_publish(track.info.source):
            self.unpublish(track)
            return
        self._dynacast.codec_published(track, source.mime_type)
        for mime in track.regress(self._owner.may_regress):
            self._dynacast.regressed(track.sid, mime, track.regression_target)
        track.info.version.unix_micro = int(self._owner.wall() * 1e6)
        if track.announced:
            self._owner.track_changed(track)
        else:
            self.announce()

    def announce(self) -> None:
        """Tell the room of tracks that it does not know, once the publisher is connected."""
        if not self._transports.publisher.connected:
            return
        self._watch.connected()
        for track in self.tracks:
            waits = self._video_by_media and track.kind is MediaKind.VIDEO and not track.flowing
            if not track.announced and not waits:
                track.announced = True
                self._owner.track_published(track)

    def layers_changed(self, event: ReceiverLayersChanged) -> None:
        """Media came: which codec it is in may be known only now."""
        track = self.tracks.by_receiver(event.receiver)
        if track is not None:
            if track.media_began(event.receiver, event.mime_type):
                mime = event.mime_type
                extra = fields(track=track.sid, mime=mime)
                logger.debug("track comes in another codec", extra=extra)
                self._dynacast.codec_published(track, mime)
                self._changed(track)
            self._dynacast.layers_changed(track, event.mime_type, event.layers)
        self.announce()

    # -- ends -------------------------------------------------------------------------------------

    def unpublish(self, track: MediaTrack) -> None:
        """Take a track away from its publisher and say so."""
        for source in track.sources:
            self._engine.unbind(source.receiver)
            self._engine.release(CloseReceiver(source.receiver))
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
        self._dynacast.unpublished(track.sid)
        if track.announced:
            track.announced = False
            self._owner.track_unpublished(track)
        for added in queued:
            self._added(added)
        if queued:
            self._publish_waiting()

    def close(self) -> list[MediaTrack]:
        """The participant leaves. Returns the tracks that the room knew, for their subscribers."""
        gone = []
        for track in self.tracks:
            for source in track.sources:
                self._engine.unbind(source.receiver)
            self.tracks.remove(track.sid)
            self._dynacast.unpublished(track.sid)
            if track.announced:
                gone.append(track)
        return gone
