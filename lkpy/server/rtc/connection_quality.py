"""The connection quality of a room's participants, told to themselves and to their subscribers.

Every 5 s the worst of a participant's streams, in either direction, is its quality; when anybody's
has changed, everybody hears of itself and of those it receives (livekit-server
``pkg/rtc/room.go`` connectionQualityWorker).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from livekit.protocol import models, rtc

from lkpy.clock import Clock
from lkpy.engine.api import LayerStats, RtpCodec, StatsCollected
from lkpy.server.rtc.codecs import RED
from lkpy.server.rtc.quality import layers_of, spatial_layer
from lkpy.server.rtc.quality_score import (
    MAX_MOS,
    Quality,
    QualityScore,
    Window,
    is_lower,
    loss_weight,
    mos_of,
    quality_of,
)
from lkpy.server.rtc.stats_index import StatsIndex
from lkpy.server.telemetry.events import NO_TELEMETRY, QualityMeasured, Telemetry
from lkpy.slices import Slices

if TYPE_CHECKING:
    from lkpy.server.rtc.media_track import MediaTrack, Source
    from lkpy.server.rtc.participant import Participant
    from lkpy.server.rtc.subscribed_tracks import SubscribedTrack

_SEVERAL = 2
"""Layers from which one can be missing."""
_CONNECTION_QUALITY, _LOST_QUALITY = 5, 11
"""Protocol versions from which the message and the level LOST exist."""


@dataclass(slots=True)
class _Stream:
    """A stream's score and the totals at the end of its last window."""

    score: QualityScore
    packets: int = 0
    lost: int = 0
    transport_packets: int = 0

    def window(self, packets: int, lost: int, distance: float, transport_packets: int) -> Window:
        window = Window(
            packets=max(0, packets - self.packets),
            lost=max(0, lost - self.lost),
            layer_distance=distance,
            silent=transport_packets <= self.transport_packets,
        )
        self.packets, self.lost = packets, lost
        self.transport_packets = transport_packets
        return window


class ConnectionQuality:
    """Scores of the streams of one room's participants, by the engine's ids."""

    def __init__(
        self,
        members: Callable[[], Iterable[Participant]],
        slices: Slices,
        clock: Clock,
        telemetry: Telemetry = NO_TELEMETRY,
    ) -> None:
        self._members = members
        self._slices = slices
        self._clock = clock
        self._telemetry = telemetry
        self._streams: dict[int, _Stream] = {}
        self._infos: dict[str, rtc.ConnectionQualityInfo] = {}
        """By participant sid, as of the last window."""

    def measure(self, stats: Sequence[StatsCollected]) -> None:
        """End a window: score every stream and tell what has changed."""
        index = StatsIndex.of(stats)
        active = [p for p in self._members() if p.state == models.ParticipantInfo.State.ACTIVE]
        streams: dict[int, _Stream] = {}
        infos: dict[str, rtc.ConnectionQualityInfo] = {}

        def score(participant: Participant) -> None:
            info = infos[participant.sid] = self._participant(participant, index, streams)
            self._telemetry.tell(QualityMeasured(info))

        def end() -> None:
            before, self._infos, self._streams = self._infos, infos, streams
            if any(
                sid not in before or before[sid].quality != info.quality
                for sid, info in infos.items()
            ):
                self._slices.for_each(active, self._tell)

        self._slices.for_each(active, score)
        self._slices.then(end)

    def _tell(self, participant: Participant) -> None:
        self._send(participant, [participant.sid, *participant.subscribing.publishers])

    def tell(self, participant: Participant, publisher: Participant) -> None:
        """Tell one participant of a publisher that it has begun to receive."""
        self._send(participant, [publisher.sid])

    def _send(self, participant: Participant, concerned: Iterable[str]) -> None:
        infos = [self._infos[sid] for sid in concerned if sid in self._infos]
        if infos and participant.client.protocol >= _CONNECTION_QUALITY:
            update = rtc.ConnectionQualityUpdate(updates=infos)
            participant.signals.send(rtc.SignalResponse(connection_quality=update))

    def _participant(
        self, participant: Participant, index: StatsIndex, streams: dict[int, _Stream]
    ) -> rtc.ConnectionQualityInfo:
        level, mos = Quality.EXCELLENT, MAX_MOS
        for score in self._scores(participant, index, streams):
            found = quality_of(score)
            if is_lower(found, level):
                level, mos = found, mos_of(score)
            elif found == level:
                mos = min(mos, mos_of(score))
        if level == Quality.LOST and participant.client.protocol < _LOST_QUALITY:
            level = Quality.POOR
        return rtc.ConnectionQualityInfo(participant_sid=participant.sid, quality=level, score=mos)

    def _scores(
        self, participant: Participant, index: StatsIndex, streams: dict[int, _Stream]
    ) -> Iterable[float]:
        for track in participant.publishing.tracks:
            for source in track.sources:
                yield self._published(participant, track, source, index, streams)
        for subscribed in participant.subscribing.tracks:
            score = self._subscribed(subscribed, index, streams)
            if score is not None:
                yield score

    def _published(
        self,
        participant: Participant,
        track: MediaTrack,
        source: Source,
        index: StatsIndex,
        streams: dict[int, _Stream],
    ) -> float:
        now = self._clock.now()
        stream = self._stream(source.receiver, source.mime_type, source.codecs, streams)
        wanted = participant.dynacast.told(track.sid, source.mime_type)
        stream.score.mute(now, muted=track.info.muted or wanted == models.VideoQuality.OFF)
        layers = index.layers.get(source.receiver, ())
        transport = index.transports.get(participant.transports.publisher.id)
        window = stream.window(
            sum(layer.packets for layer in layers),
            sum(layer.packets_lost for layer in layers),
            float(_withheld(track, source, wanted, layers)),
            0 if transport is None else transport.packets_received,
        )
        # A track that was described and has never sent anything is no bad one.
        if stream.packets:
            stream.score.update(now, window)
        return stream.score.score

    def _subscribed(
        self, subscribed: SubscribedTrack, index: StatsIndex, streams: dict[int, _Stream]
    ) -> float | None:
        now = self._clock.now()
        figures = index.down_tracks.get(subscribed.handle.id)
        if figures is None or not subscribed.handle.forwarding:
            return None
        handle = subscribed.handle
        stream = self._stream(handle.id, handle.mime_type, handle.codecs, streams)
        stream.score.mute(now, muted=figures.muted or subscribed.track.info.muted)
        window = stream.window(
            figures.packets,
            figures.packets_lost,
            float(_missing(subscribed, figures.spatial, index)),
            0,
        )
        # What is not sent is the publisher's quality, or the wish of the subscriber.
        if window.packets:
            stream.score.update(now, window)
        return stream.score.score

    def _stream(
        self, key: int, mime: str, codecs: Sequence[RtpCodec], streams: dict[int, _Stream]
    ) -> _Stream:
        stream = self._streams.get(key)
        if stream is None:
            # RED repairs some loss, and so does Opus with its own FEC.
            fec = mime == RED or any("useinbandfec=1" in codec.fmtp for codec in codecs)
            stream = _Stream(QualityScore(self._clock.now(), loss_weight(mime, fec=fec)))
        streams[key] = stream
        return stream


def _withheld(
    track: MediaTrack,
    source: Source,
    wanted: models.VideoQuality | None,
    layers: Sequence[LayerStats],
) -> int:
    """Spatial layers between the best that comes and the best that the publisher should send."""
    live = [layer.spatial for layer in layers if layer.live]
    published = layers_of(track.info, source.mime_type)
    if not live or len(published) < _SEVERAL:
        return 0
    quality = models.VideoQuality.HIGH if wanted is None else wanted
    return max(0, spatial_layer(quality, published) - max(live))


def _missing(subscribed: SubscribedTrack, sent: int, index: StatsIndex) -> int:
    """Spatial layers between what is sent and the best that is wanted and there."""
    handle = subscribed.handle
    layers = index.layers.get(handle.receivers.get(handle.mime_type, -1), ())
    live = [layer.spatial for layer in layers if layer.live]
    if sent < 0 or not live:
        return 0
    return max(0, min(max(live), handle.max_spatial) - sent)
