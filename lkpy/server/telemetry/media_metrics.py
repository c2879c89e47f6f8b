"""What is counted of media, from the totals that snapshots carry.

Counters of the process are kept by differences, since the totals of what closes are gone. Sources:
livekit-server ``pkg/telemetry/stats.go`` and ``pkg/telemetry/prometheus/packets.go``.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import sub

from lkpy.server.telemetry.exposition import Counter, Gauge, Histogram, Instrument
from lkpy.slices import paced
from lkpy.stats.v1 import stats_pb2

_LOSS_PERCENT = (0, 0.1, 0.3, 0.5, 0.7, 1, 5, 10, 40, 100)
_JITTER_US = (1000, 10_000, 30_000, 50_000, 70_000, 100_000, 300_000, 600_000, 1_000_000)
_RTT_MS = (50, 100, 150, 200, 250, 500, 750, 1000, 5000, 10_000)
_COUNTRY = ""
"""Clients are not located."""

INCOMING, OUTGOING = "incoming", "outgoing"

_Key = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Stream:
    """One layer of a published track, or one down track."""

    key: _Key
    direction: str
    source: str
    kind: str
    totals: tuple[int, int, int, int, int, int, int, int]
    """Packets, bytes, retransmitted packets, NACKs, PLIs, packets lost, key frames, packets that
    were not retransmitted for want of a budget."""
    jitter_ms: float
    rtt_ms: float

    @property
    def labels(self) -> tuple[str, str, str, str]:
        """Of a family of ``promStreamLabels``."""
        return self.direction, self.source, self.kind, _COUNTRY


class MediaMetrics:
    """Packets, loss, jitter, round trips, and how much there is of everything."""

    def __init__(self) -> None:
        stream = ("direction", "source", "type", "country")
        self.packets = Counter("livekit_packet_total", ("direction", "transmission", "country"))
        self.bytes = Counter("livekit_packet_bytes", ("direction", "transmission", "country"))
        self.nacks = Counter("livekit_nack_total", ("direction", "country"))
        self.plis = Counter("livekit_pli_total", ("direction", "country"))
        self.key_frames = Counter(
            "livekit_keyframe_total",
            ("direction",),
            "Key frames that publishers sent, and that were sent to subscribers.",
        )
        self.capped = Counter(
            "livekit_rtx_capped_total",
            ("kind",),
            "Packets that were asked for and not sent again, as rtc.rtx_budget was spent.",
        )
        self.lost = Counter("livekit_packet_loss_total", stream)
        self.loss = Histogram("livekit_packet_loss_percent", _LOSS_PERCENT, stream)
        self.jitter = Histogram("livekit_jitter_us", _JITTER_US, stream)
        self.rtt = Histogram("livekit_rtt_ms", _RTT_MS, stream)
        self.participants = Gauge("livekit_participant_total")
        self.published = Gauge("livekit_track_published_total", ("kind",))
        self.subscribed = Gauge("livekit_track_subscribed_total", ("kind",))
        self.datagrams = Counter(
            "lkpy_engine_datagrams_total", ("direction",), "Datagrams of the media sockets."
        )
        self.refused = Counter(
            "lkpy_engine_drops_total", ("reason",), "What the media engine dropped."
        )
        self.panics = Counter(
            "lkpy_engine_panics_total", (), "Transports that were closed by a caught panic."
        )
        self.cpu = Counter(
            "lkpy_engine_cpu_seconds_total", ("worker",), "CPU time of the media workers."
        )
        self.unhandled = Counter(
            "lkpy_engine_events_unhandled_total",
            (),
            "What the media engine told of objects that nobody knew any more.",
        )
        self.stalled = Gauge(
            "lkpy_media_stalled", ("direction",), "Tracks that should flow and do not."
        )
        self._totals: dict[_Key, tuple[int, ...]] = {}
        """At the last :meth:`update`."""
        self._sampled: dict[_Key, tuple[int, ...]] = {}
        """At the last :meth:`sample`."""

    def instruments(self) -> Iterator[Instrument]:
        """Everything that is counted here."""
        for value in vars(self).values():
            if isinstance(value, Instrument):
                yield value

    async def update(self, snapshot: stats_pb2.Snapshot) -> None:
        """Bring counters and gauges up to date, in slices: one at a time."""
        totals: dict[_Key, tuple[int, ...]] = {}
        async for stream in paced(_streams(snapshot)):
            totals[stream.key] = stream.totals
            packets, size, again, nacks, plis, lost, keys, capped = _since(self._totals, stream)
            direction = stream.direction
            self.packets.add(direction, "initial", _COUNTRY, by=packets)
            self.bytes.add(direction, "initial", _COUNTRY, by=size)
            for counter, labels, by in (
                (self.packets, (direction, "retransmit", _COUNTRY), again),
                (self.nacks, (direction, _COUNTRY), nacks),
                (self.plis, (direction, _COUNTRY), plis),
                (self.key_frames, (direction,), keys),
                (self.capped, (stream.kind.lower(),), capped),
                (self.lost, stream.labels, lost),
            ):
                if by:
                    counter.add(*labels, by=by)
        self._totals = totals
        await self._count(snapshot)

    async def sample(self, snapshot: stats_pb2.Snapshot) -> None:
        """Observe each stream's quality since the last time, in slices: once per interval, whoever
        scrapes."""
        totals: dict[_Key, tuple[int, ...]] = {}
        async for stream in paced(_streams(snapshot)):
            totals[stream.key] = stream.totals
            packets, _, _, _, _, lost, *_ = _since(self._sampled, stream)
            if packets:
                self.loss.observe(lost / packets * 100, *stream.labels)
                if stream.jitter_ms > 0:
                    self.jitter.observe(int(stream.jitter_ms * 1000), *stream.labels)
                if stream.rtt_ms > 0:
                    self.rtt.observe(stream.rtt_ms, *stream.labels)
        self._sampled = totals

    async def _count(self, snapshot: stats_pb2.Snapshot) -> None:
        participants = 0
        published, subscribed = Tally[str](), Tally[str]()
        people = (person for room in snapshot.rooms for person in room.participants)
        async for person in paced(people):
            participants += 1
            published.update(track.kind for track in person.published)
            subscribed.update(track.kind for track in person.subscribed)
        self.participants.set(to=participants)
        for gauge, tally in ((self.published, published), (self.subscribed, subscribed)):
            gauge.zero()
            for kind, count in tally.items():
                gauge.add(kind.upper(), by=count)
        self.unhandled.set(to=snapshot.server.events_unhandled)
        self.stalled.set(INCOMING, to=snapshot.server.stalled_tracks)
        self.stalled.set(OUTGOING, to=snapshot.server.stalled_down_tracks)
        workers = snapshot.workers
        self.datagrams.set(INCOMING, to=sum(w.datagrams_received for w in workers))
        self.datagrams.set(OUTGOING, to=sum(w.datagrams_sent for w in workers))
        self.panics.set(to=sum(w.panics for w in workers))
        self.refused.set("commands", to=sum(w.commands_dropped for w in workers))
        self.refused.set("events", to=sum(w.events_dropped for w in workers))
        self.refused.set("send_would_block", to=sum(w.send_would_block for w in workers))
        for reason in {reason for worker in workers for reason in worker.drops_by_reason}:
            dropped = sum(worker.drops_by_reason.get(reason, 0) for worker in workers)
            self.refused.set(f"datagram_{reason}", to=dropped)
        for worker in workers:
            self.cpu.set(str(worker.worker), to=worker.cpu_seconds)


def _since(before: dict[_Key, tuple[int, ...]], stream: _Stream) -> Sequence[int]:
    """Differences of the totals; loss may be taken back by what arrives late."""
    known = before.get(stream.key, (0,) * len(stream.totals))
    return [max(0, difference) for difference in map(sub, stream.totals, known)]


def _streams(snapshot: stats_pb2.Snapshot) -> Iterator[_Stream]:
    for room in snapshot.rooms:
        for person in room.participants:
            yield from _published(person)
            yield from _subscribed(person)


def _published(person: stats_pb2.Participant) -> Iterator[_Stream]:
    rtt = next((t.rtt_ms for t in person.transports if t.target == "publisher"), -1.0)
    for track in person.published:
        for layer in track.layers:
            yield _Stream(
                key=(person.sid, track.sid, str(layer.ssrc)),
                direction=INCOMING,
                source=track.source.upper(),
                kind=track.kind.upper(),
                totals=(
                    layer.packets,
                    layer.bytes,
                    0,
                    layer.nacks_sent,
                    layer.plis_sent,
                    layer.packets_lost,
                    layer.key_frames,
                    0,
                ),
                jitter_ms=layer.jitter_ms,
                rtt_ms=rtt,
            )


def _subscribed(person: stats_pb2.Participant) -> Iterator[_Stream]:
    for track in person.subscribed:
        yield _Stream(
            key=(person.sid, track.track_sid, str(track.ssrc)),
            direction=OUTGOING,
            source=track.source.upper(),
            kind=track.kind.upper(),
            totals=(
                track.packets,
                track.bytes,
                track.retransmissions,
                track.nacks_received,
                track.plis_received,
                track.packets_lost,
                track.key_frames,
                track.retransmissions_capped,
            ),
            jitter_ms=track.jitter_ms,
            rtt_ms=track.rtt_ms,
        )
