"""A room's part of a statistics snapshot: what the engine counted, under the names people know."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from livekit.protocol import models

from lkpy.clock import Clock
from lkpy.engine.api import LayerStats, MediaKind, StatsCollected
from lkpy.server.rtc.data_subscriptions import DataSubscription
from lkpy.server.rtc.data_tracks import DataTrack
from lkpy.server.rtc.media_track import MediaTrack
from lkpy.server.rtc.media_watch import MediaWatch
from lkpy.server.rtc.participant import Participant
from lkpy.server.rtc.stats_index import StatsIndex
from lkpy.server.rtc.subscribed_tracks import SubscribedTrack
from lkpy.server.rtc.transport import PeerTransport
from lkpy.signal.enum_names import enum_name
from lkpy.slices import paced
from lkpy.stats.v1 import stats_pb2


class RoomStats:
    """Builds a room's snapshot; remembers frame counts, whose differences are frame rates."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._frames: dict[tuple[int, int], tuple[float, int, float]] = {}

    async def room(
        self,
        info: models.Room,
        participants: Sequence[Participant],
        level: Callable[[str], float | None],
        stats: Sequence[StatsCollected],
    ) -> stats_pb2.Room:
        """The whole room, in slices."""
        index = StatsIndex.of(stats)
        counts: Counter[str] = Counter()
        async for participant in paced(participants):
            self._count(participant, counts)
        room = stats_pb2.Room(
            sid=info.sid,
            name=info.name,
            created_at_ms=info.creation_time_ms,
            max_participants=info.max_participants,
        )
        async for participant in paced(participants):
            room.participants.append(self._participant(participant, level, index, counts))
        room.bitrate_in_bps = sum(p.bitrate_in_bps for p in room.participants)
        room.bitrate_out_bps = sum(p.bitrate_out_bps for p in room.participants)
        live = {(layer.receiver, layer.spatial) for ls in index.layers.values() for layer in ls}
        for key in self._frames.keys() - live:
            del self._frames[key]
        return room

    @staticmethod
    def _count(participant: Participant, counts: Counter[str]) -> None:
        for subscribed in participant.subscribing.tracks:
            counts[subscribed.track.sid] += 1
        for received in participant.data_subscriptions.received:
            counts[received.track.sid] += 1

    def _participant(
        self,
        participant: Participant,
        level: Callable[[str], float | None],
        index: StatsIndex,
        counts: dict[str, int],
    ) -> stats_pb2.Participant:
        client = participant.client
        described = stats_pb2.Participant(
            sid=participant.sid,
            identity=participant.identity,
            name=participant.claims.name,
            state=models.ParticipantInfo.State.Name(participant.state).lower(),
            kind=enum_name(models.ParticipantInfo.Kind, participant.claims.kind).lower(),
            joined_at_ms=int(participant.joined_at * 1000),
            sdk=enum_name(models.ClientInfo.SDK, client.sdk).lower(),
            sdk_version=client.version,
            topology="single" if participant.session.single_pc else "dual",
            is_speaking=level(participant.sid) is not None,
            transports=[_transport(t, index) for t in participant.transports.all],
            published=[
                self._track(track, participant.media_watch, index, counts)
                for track in participant.publishing.tracks
            ],
            subscribed=[
                _down_track(s, participant.media_watch, index)
                for s in participant.subscribing.tracks
            ],
            data_tracks=[_data_track(t, index, counts) for t in participant.data_tracks],
            data_subscribed=[
                _data_down_track(s, index) for s in participant.data_subscriptions.received
            ],
        )
        described.bitrate_in_bps = sum(track.bitrate_bps for track in described.published)
        described.bitrate_out_bps = sum(track.bitrate_bps for track in described.subscribed)
        return described

    def _track(
        self, track: MediaTrack, watch: MediaWatch, index: StatsIndex, counts: dict[str, int]
    ) -> stats_pb2.Track:
        stalled_s, cause = watch.stall(source.receiver for source in track.sources)
        layers = [
            layer
            for source in track.sources
            for layer in sorted(index.layers.get(source.receiver, ()), key=lambda x: x.spatial)
        ]
        return stats_pb2.Track(
            sid=track.sid,
            name=track.info.name,
            kind=track.kind,
            source=enum_name(models.TrackSource, track.info.source).lower(),
            mime_type=track.info.mime_type.lower(),
            muted=track.info.muted,
            width=track.info.width,
            height=track.info.height,
            subscribers=counts.get(track.sid, 0),
            layers=[self._layer(layer) for layer in layers],
            bitrate_bps=sum(layer.bitrate_bps for layer in layers),
            stalled_s=stalled_s,
            stall_cause=cause,
        )

    def _layer(self, layer: LayerStats) -> stats_pb2.Layer:
        return stats_pb2.Layer(
            spatial=layer.spatial,
            rid=layer.rid,
            ssrc=layer.ssrc,
            live=layer.live,
            bitrate_bps=layer.bitrate_bps,
            packets=layer.packets,
            bytes=layer.bytes,
            packets_lost=max(0, layer.packets_lost),
            packets_recovered=layer.packets_recovered,
            duplicates=layer.duplicates,
            jitter_ms=layer.jitter_ms,
            frames=layer.frames,
            key_frames=layer.key_frames,
            nacks_sent=layer.nacks_sent,
            plis_sent=layer.plis_sent,
            frames_per_second=self._frame_rate(layer),
        )

    def _frame_rate(self, layer: LayerStats) -> float:
        key = (layer.receiver, layer.spatial)
        now = self._clock.now()
        at, frames, rate = self._frames.get(key, (now, layer.frames, 0.0))
        if now - at >= 0.2:
            rate = max(0, layer.frames - frames) / (now - at)
            at, frames = now, layer.frames
        self._frames[key] = (at, frames, rate)
        return rate


def _transport(transport: PeerTransport, index: StatsIndex) -> stats_pb2.Transport:
    publisher = transport.target == 0
    described = stats_pb2.Transport(
        target="publisher" if publisher else "subscriber",
        ice_state=transport.ice_state,
        dtls_state=transport.dtls_state,
        srtp_profile=transport.srtp_profile,
        protocol=transport.path[2],
        rtt_ms=-1.0,
        estimate_bps=-1.0,
        capacity_bps=-1.0,
    )
    counted = index.transports.get(transport.id)
    if counted is not None:
        described.rtt_ms = counted.rtt_ms
        described.packets_received = counted.packets_received
        described.bytes_received = counted.bytes_received
        described.packets_sent = counted.packets_sent
        described.bytes_sent = counted.bytes_sent
        described.srtp_errors = counted.srtp_errors
        described.retransmissions_sent = counted.retransmissions_sent
        described.estimate_bps = counted.estimate_bps
        described.capacity_bps = counted.capacity_bps
        described.drops_by_reason.update(counted.drops_by_reason)
    return described


def _down_track(
    subscribed: SubscribedTrack, watch: MediaWatch, index: StatsIndex
) -> stats_pb2.DownTrack:
    info = subscribed.track.info
    stalled_s, cause = watch.stall([subscribed.handle.id])
    described = stats_pb2.DownTrack(
        track_sid=info.sid,
        publisher_identity=subscribed.publisher.identity,
        kind=subscribed.track.kind,
        mime_type=info.mime_type.lower(),
        muted=subscribed.handle.muted,
        source=enum_name(models.TrackSource, info.source).lower(),
        ssrc=subscribed.handle.ssrc,
        spatial=-1,
        temporal=-1,
        wanted_spatial=-1,
        wanted_temporal=-1,
        allowed_spatial=-1,
        allowed_temporal=-1,
        rtt_ms=-1.0,
        stalled_s=stalled_s,
        stall_cause=cause,
    )
    wanted = subscribed.track.kind is MediaKind.VIDEO and not subscribed.handle.muted
    if wanted:
        described.wanted_spatial = subscribed.handle.max_spatial
        described.wanted_temporal = subscribed.handle.max_temporal
    counted = index.down_tracks.get(subscribed.handle.id)
    if counted is not None:
        described.spatial = counted.spatial
        described.temporal = counted.temporal
        described.bitrate_bps = counted.bitrate_bps
        described.packets = counted.packets
        described.bytes = counted.bytes
        described.retransmissions = counted.retransmissions
        described.retransmissions_capped = counted.retransmissions_capped
        described.packets_lost = counted.packets_lost
        described.fraction_lost = counted.fraction_lost
        described.jitter_ms = counted.jitter_ms
        described.rtt_ms = counted.rtt_ms
        described.nacks_received = counted.nacks_received
        described.plis_received = counted.plis_received
        described.key_frames = counted.key_frames
        described.active = counted.spatial >= 0
        described.deficient = counted.deficient
        described.paused = counted.deficient and counted.allowed_spatial < 0
        if wanted:
            described.allowed_spatial = counted.allowed_spatial
            described.allowed_temporal = counted.allowed_temporal
    return described


def _data_track(track: DataTrack, index: StatsIndex, counts: dict[str, int]) -> stats_pb2.DataTrack:
    described = stats_pb2.DataTrack(
        sid=track.sid,
        name=track.info.name,
        handle=track.info.pub_handle,
        subscribers=counts.get(track.sid, 0),
    )
    counted = index.data_tracks.get(track.engine_id)
    if counted is not None:
        described.packets = counted.packets
        described.bytes = counted.bytes
        described.frames = counted.frames
        described.packets_lost = counted.packets_lost
    return described


def _data_down_track(subscribed: DataSubscription, index: StatsIndex) -> stats_pb2.DataDownTrack:
    described = stats_pb2.DataDownTrack(
        track_sid=subscribed.track.sid,
        publisher_identity=subscribed.track.publisher.identity,
        handle=subscribed.handle,
    )
    counted = index.data_down_tracks.get(subscribed.engine_id)
    if counted is not None:
        described.packets = counted.packets
        described.bytes = counted.bytes
        described.packets_dropped = counted.packets_dropped
    return described
