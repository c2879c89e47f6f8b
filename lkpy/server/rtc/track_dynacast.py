"""Dynacast of one publisher's tracks: subscribers tell what they need, the publisher is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Protocol

from livekit.protocol import models, rtc

from lkpy.engine.api import MediaKind
from lkpy.limits import DYNACAST_RESEND_MAX_S, DYNACAST_RESEND_S
from lkpy.server.rtc.dynacast import HIGH, LOW, OFF, AudioDynacast, VideoDynacast
from lkpy.server.rtc.media_track import MediaTrack
from lkpy.server.rtc.quality import quality_of_layer
from lkpy.server.rtc.signals import SignalSender
from lkpy.server.rtc.timers import Timers

MEDIUM = models.VideoQuality.MEDIUM


class DynacastOwner(Protocol):
    """The participant, as its dynacast sees it."""

    @property
    def sid(self) -> str:
        """Participant sid."""

    def now(self) -> float:
        """Monotonic seconds."""


class TrackDynacast:
    """Owns one dynacast state per published track that has a choice."""

    def __init__(
        self, owner: DynacastOwner, signals: SignalSender, timers: Timers, *, pause_delay_s: float
    ) -> None:
        self._owner = owner
        self._signals = signals
        self._timers = timers
        self._pause_delay_s = pause_delay_s
        self._video: dict[str, tuple[MediaTrack, VideoDynacast]] = {}
        self._audio: dict[str, tuple[MediaTrack, AudioDynacast]] = {}
        self._resend_by: float | None = None
        """The latest time at which the client is told again after an answer."""

    # -- the publisher ----------------------------------------------------------------------------

    def codec_published(self, track: MediaTrack, mime: str) -> None:
        """Media of one of the track's codecs is expected."""
        if track.kind is MediaKind.VIDEO:
            _, video = self._video.setdefault(
                track.sid, (track, VideoDynacast(self._pause_delay_s))
            )
            video.add_codec(self._owner.now(), mime)
            self._drive_video(track.sid)
        elif len(track.info.codecs) > 1:
            self._audio.setdefault(track.sid, (track, AudioDynacast()))

    def unpublished(self, sid: str) -> None:
        """The track is gone. Idempotent."""
        self._audio.pop(sid, None)
        if self._video.pop(sid, None) is not None:
            self._timers.cancel(self._key(sid))

    def unmuted(self, sid: str) -> None:
        """Nothing was told while the track was muted."""
        if sid in self._video:
            self._video[sid][1].force()
            self._drive_video(sid)
        if sid in self._audio:
            self._audio[sid][1].force()
            self._drive_audio(sid)

    def regressed(self, sid: str, mime: str, to: str) -> None:
        """Subscribers of one codec are given another."""
        if sid in self._video:
            self._video[sid][1].regress(self._owner.now(), mime, to)
            self._drive_video(sid)
        if sid in self._audio:
            self._audio[sid][1].regress(mime, to)
            self._drive_audio(sid)

    def restart(self) -> None:
        """The publisher's connection was restarted: it is told everything once more as
        subscriptions change, or after a while."""
        for sid, (_, video) in self._video.items():
            video.restart(self._owner.now())
            self._drive_video(sid)
        for _, audio in self._audio.values():
            audio.restart()

    def answered(self) -> None:
        """The client was sent an answer. It does not say which layers are paused, and to apply it
        begins them again."""
        now = self._owner.now()
        if self._resend_by is None:
            self._resend_by = now + DYNACAST_RESEND_MAX_S
        at = min(now + DYNACAST_RESEND_S, self._resend_by)
        self._timers.set((self._owner.sid, "dynacast", "again"), at, self._resend)

    def _resend(self) -> None:
        self._resend_by = None
        for sid, (_, video) in self._video.items():
            video.resend()
            self._drive_video(sid)

    def told(self, sid: str, mime: str) -> models.VideoQuality | None:
        """What the client was last told to send of a video codec at the most; None: nothing."""
        known = self._video.get(sid)
        return None if known is None else known[1].told(mime)

    def layers_changed(self, track: MediaTrack, mime: str, layers: Sequence[int]) -> None:
        """The spatial layers of a codec of which media comes, lowest first. While none does, those
        of before count: it may be the publisher who was told to stop."""
        if layers and track.sid in self._video:
            lowest = quality_of_layer(track.info, mime, layers[0])
            self._video[track.sid][1].comes_from(self._owner.now(), mime, lowest)
            self._drive_video(track.sid)

    # -- a subscriber -----------------------------------------------------------------------------

    def codec_subscribed(self, sid: str, mime: str, subscriber: str) -> None:
        """A subscriber has negotiated the codec, which may be one that is not published yet."""
        if sid in self._video:
            self.quality_needed(sid, mime, subscriber, HIGH)
        if sid in self._audio:
            self._audio[sid][1].subscriber(mime)
            self._drive_audio(sid)

    def quality_needed(
        self, sid: str, mime: str, subscriber: str, quality: models.VideoQuality
    ) -> None:
        """A subscriber needs at most ``quality`` of a video track; OFF when it receives none."""
        if sid in self._video:
            self._video[sid][1].subscriber(self._owner.now(), mime, subscriber, quality)
            self._drive_video(sid)

    # -- the client -------------------------------------------------------------------------------

    def _key(self, sid: str) -> tuple[str, str, str]:
        return self._owner.sid, "dynacast", sid

    def _drive_video(self, sid: str) -> None:
        track, video = self._video[sid]
        for qualities in video.poll(self._owner.now()):
            if not track.info.muted:
                update = subscribed_quality_update(track.info, qualities)
                self._signals.send(rtc.SignalResponse(subscribed_quality_update=update))
        deadline = video.next_deadline()
        if deadline is None:
            self._timers.cancel(self._key(sid))
        else:
            self._timers.set(self._key(sid), deadline, partial(self._drive_video, sid))

    def _drive_audio(self, sid: str) -> None:
        for codecs in self._audio[sid][1].poll():
            update = rtc.SubscribedAudioCodecUpdate(
                track_sid=sid,
                subscribed_audio_codecs=[
                    models.SubscribedAudioCodec(codec=_name(mime), enabled=enabled)
                    for mime, enabled in codecs.items()
                ],
            )
            self._signals.send(rtc.SignalResponse(subscribed_audio_codec_update=update))


def subscribed_quality_update(
    info: models.TrackInfo, qualities: Mapping[str, models.VideoQuality]
) -> rtc.SubscribedQualityUpdate:
    """Which qualities of which codec are needed; older clients look at those of the first."""
    order = {codec.mime_type.lower(): index for index, codec in enumerate(info.codecs)}
    codecs = [
        rtc.SubscribedCodec(
            codec=_name(mime),
            qualities=[
                rtc.SubscribedQuality(quality=q, enabled=quality != OFF and q <= quality)
                for q in (LOW, MEDIUM, HIGH)
            ],
        )
        for mime, quality in sorted(
            qualities.items(), key=lambda item: order.get(item[0], len(order))
        )
    ]
    return rtc.SubscribedQualityUpdate(
        track_sid=info.sid, subscribed_qualities=codecs[0].qualities, subscribed_codecs=codecs
    )


def _name(mime: str) -> str:
    """``vp8`` of ``video/vp8``."""
    return mime.partition("/")[2]
