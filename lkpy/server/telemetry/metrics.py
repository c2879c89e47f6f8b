"""What is counted of rooms, sessions and calls, under LiveKit's metric names.

Sources: livekit-server ``pkg/telemetry/prometheus/{node,rooms,packets}.go`` for names, labels and
buckets, and where it calls them for what is counted.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from livekit.protocol import models, rtc

from lkpy.clock import Clock
from lkpy.limits import MAX_SUBSCRIPTIONS
from lkpy.server.telemetry.events import (
    ApiCalled,
    DataStreamBegan,
    JoinHandled,
    MessageDropped,
    ParticipantActive,
    ParticipantJoined,
    ParticipantLeft,
    QualityMeasured,
    RoomEnded,
    RoomStarted,
    SignalConnected,
    SignalFailed,
    SignalLimited,
    TelemetryEvent,
    TelemetryParticipant,
    TrackPublished,
    TrackPublishRequested,
    TrackSubscribed,
    TrackSubscribeFailed,
    TrackSubscribeRequested,
    TrackUnpublished,
    TransportChanged,
)
from lkpy.server.telemetry.exposition import Counter, Gauge, Histogram, Instrument
from lkpy.server.telemetry.exposition import exponential_buckets as spread
from lkpy.signal.enum_names import enum_name

_ROOM_DURATION_S = (5, 10, 60, 300, 600, 1800, 3600, 7200, 18_000, 36_000)
_API_LATENCY_MS = (5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000)
_PUB_SUB_MS = (100, 200, 500, 700, 1000, 5000, 10_000)
_STREAM_BYTES = tuple(128 * 4**step for step in range(10))
_STREAM_KINDS = {"text_header": "text", "byte_header": "bytes"}
_STREAM_MIMES = frozenset({"text", "image", "application", "audio", "video"})
_JOIN_MS = spread(10, 1.6378937069540642, 15)
_START_MS = spread(100, 1.3894954943731375, 15)
_SESSION_MS = spread(100, 2.3359011674382418, 15)
"""To 10 seconds, 10 seconds and 4 hours; the factors are Go's roots of those ranges."""
_CANCELLED = frozenset(
    {
        models.DisconnectReason.CLIENT_INITIATED,
        models.DisconnectReason.DUPLICATE_IDENTITY,
        models.DisconnectReason.ROOM_CLOSED,
        models.DisconnectReason.ROOM_DELETED,
        models.DisconnectReason.MIGRATION,
    }
)
"""Reasons for which a session that never was active did not fail."""
_COUNTED = 10
"""Subscriptions of one track by one session that are told apart."""
_REMEMBERED = MAX_SUBSCRIPTIONS
"""Tracks of one session that are remembered, published and subscribed each; the oldest go."""
_NEWEST_PROTOCOL = 99
"""Signal protocol versions above are counted as this one."""
_NO_WARP = "false"
"""Whether a session begins with the experiments of that name."""
_FEATURES = {number: name for name, number in models.PacketTrailerFeature.items()}
_QUICK_CLOSE_S = 3.0
"""A signal connection that ends sooner was ended by its client."""


@dataclass(slots=True)
class _Session:
    """What is remembered of a session until it ends."""

    began: float
    active_at: float | None = None
    reached: set[tuple[int, str]] = field(default_factory=set)
    """Transport states."""
    publishing: dict[str, float] = field(default_factory=dict)
    """When tracks were asked for."""
    subscribing: dict[str, float] = field(default_factory=dict)
    subscribed: Tally[str] = field(default_factory=Tally)
    """How often each track was."""


class ServerMetrics:
    """A listener that counts. Memory is bounded by the sessions that are there, however much
    they publish and subscribe to while they last."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._sessions: dict[str, _Session] = {}
        self._rooms: dict[int, float] = {}
        """When live rooms began, by the room's identity in this process."""
        self.rooms = Gauge("livekit_room_total")
        self.room_duration = Histogram("livekit_room_duration_seconds", _ROOM_DURATION_S)
        self.joins = Counter("livekit_participant_join_total", ("state", "warp", "sdk"))
        self.operations = Counter(
            "livekit_node_service_operation", ("type", "status", "error_type")
        )
        self.transports = Counter("livekit_peer_connection_state", ("transport", "state"))
        self.join_latency = Histogram(
            "livekit_session_join_latency_ms", _JOIN_MS, ("protocol_version",)
        )
        self.start_time = Histogram(
            "livekit_session_start_time_ms", _START_MS, ("protocol_version", "warp", "sdk")
        )
        self.duration = Histogram("livekit_session_duration_ms", _SESSION_MS, ("protocol_version",))
        self.trailers = Gauge(
            "livekit_track_packet_trailer_total",
            (),
            "Published video tracks whose frames have trailers.",
        )
        self.trailers_by_feature = Gauge(
            "livekit_track_packet_trailer_feature_total",
            ("feature",),
            "Published video tracks by what the trailers of their frames hold.",
        )
        for feature in _FEATURES.values():
            self.trailers_by_feature.set(feature, to=0)
        self.publishes = Counter("livekit_track_publish_counter", ("kind", "state"))
        self.subscribes = Counter("livekit_track_subscribe_counter", ("state", "error"))
        self.pub_sub_time = Histogram(
            "livekit_pubsubtime_ms",
            _PUB_SUB_MS,
            ("direction", "source", "type", "country", "sdk", "kind", "count"),
        )
        self.quality_rating = Histogram("livekit_quality_rating", (0, 1, 2))
        self.quality_score = Histogram(
            "livekit_quality_score", (1, 2, 2.5, 3, 3.25, 3.5, 3.75, 4, 4.25, 4.5)
        )
        stream = ("type", "mime_type")
        self.stream_destinations = Histogram(
            "livekit_datapacket_stream_dest_count", (1, 2, 3, 4, 5, 10, 15, 25, 50), stream
        )
        self.stream_bytes = Histogram("livekit_datapacket_stream_bytes", _STREAM_BYTES, stream)
        self.api_status = Counter(
            "livekit_node_twirp_request_status", ("service", "method", "status", "code")
        )
        self.api_latency = Histogram(
            "livekit_node_twirp_request_latency_ms",
            _API_LATENCY_MS,
            ("service", "method", "status"),
        )
        self.admission = Counter(
            "lkpy_join_admission_total",
            ("outcome",),
            "Joins by what the node's gate did with them.",
        )
        self.signal_limits = Counter(
            "lkpy_signal_limited_total", ("reason",), "What clients asked too much of signalling."
        )
        self.dropped = Counter(
            "lkpy_queue_dropped_total", ("queue",), "Messages that a full queue refused."
        )

    def instruments(self) -> Iterator[Instrument]:
        """Everything that is counted here."""
        for value in vars(self).values():
            if isinstance(value, Instrument):
                yield value

    def __call__(self, event: TelemetryEvent) -> None:
        """Something happened."""
        now = self._clock.now()
        match event:
            case RoomStarted() | RoomEnded():
                self._room(event, now)
            case ParticipantJoined():
                self._joined(event, now)
            case ParticipantActive():
                self._active(event, now)
            case ParticipantLeft():
                self._left(event, now)
            case TransportChanged():
                self._transport(event, now)
            case TrackPublishRequested() | TrackPublished():
                self._publish(event, now)
            case TrackUnpublished():
                self._trailer(event.track, -1)
            case TrackSubscribeRequested() | TrackSubscribed() | TrackSubscribeFailed():
                self._subscribe(event, now)
            case QualityMeasured():
                self.quality_rating.observe(event.quality.quality)
                self.quality_score.observe(event.quality.score)
            case DataStreamBegan():
                self._stream(event)
            case SignalConnected():
                self._join("signal_connected")
                self.join_latency.observe(_ms(event.latency_s), _version(event.protocol))
            case SignalFailed():
                self._join(event.stage)
            case JoinHandled():
                self.admission.add(event.outcome)
            case SignalLimited():
                self.signal_limits.add(event.reason)
            case ApiCalled():
                self._api(event)
            case MessageDropped():
                self.dropped.add(event.queue)
            case _:
                pass

    def _join(self, state: str, *, warp: str = "", sdk: str = "") -> None:
        self.joins.add(state, warp, sdk)

    def _trailer(self, track: models.TrackInfo, by: int) -> None:
        if track.type != models.TrackType.VIDEO or not track.packet_trailer_features:
            return
        self.trailers.add(by=by)
        for feature in {_FEATURES.get(f, "UNKNOWN") for f in track.packet_trailer_features}:
            self.trailers_by_feature.add(feature, by=by)

    def _room(self, event: RoomStarted | RoomEnded, now: float) -> None:
        if isinstance(event, RoomStarted):
            self._rooms[id(event.room)] = now
            self.rooms.add()
        elif (began := self._rooms.pop(id(event.room), None)) is not None:
            self.room_duration.observe(now - began)
            self.rooms.add(by=-1)

    def _session(self, participant: TelemetryParticipant, now: float) -> _Session:
        # A client may ask for tracks with its join, before it is told as joined.
        return self._sessions.setdefault(participant.sid, _Session(now))

    def _joined(self, event: ParticipantJoined, now: float) -> None:
        self._session(event.participant, now)
        self._join("rtc_init")
        self._join("rtc_connected", sdk=_sdk(event.participant))
        self.operations.add("participant_join", "success", "")

    def _active(self, event: ParticipantActive, now: float) -> None:
        session = self._session(event.participant, now)
        self._join("rtc_active", warp=_NO_WARP)
        if session.active_at is None:
            session.active_at = now
            sdk = _sdk(event.participant)
            self._join("rtc_success", warp=_NO_WARP, sdk=sdk)
            protocol = _version(event.participant.client.protocol)
            self.start_time.observe(_ms(now - session.began), protocol, _NO_WARP, sdk)

    def _left(self, event: ParticipantLeft, now: float) -> None:
        session = self._sessions.pop(event.participant.sid, None)
        if session is None:
            return
        if session.active_at is not None:
            protocol = _version(event.participant.client.protocol)
            self.duration.observe(_ms(now - session.active_at), protocol)
            return
        reason = event.participant.to_proto().disconnect_reason
        quick = now - session.began < _QUICK_CLOSE_S
        by_client = reason in _CANCELLED or (
            quick and reason == models.DisconnectReason.SIGNAL_CLOSE
        )
        state = "rtc_canceled" if by_client else "rtc_failure"
        self._join(state, warp=_NO_WARP, sdk=_sdk(event.participant))

    def _transport(self, event: TransportChanged, now: float) -> None:
        reached = self._session(event.participant, now).reached
        if (event.target, event.state) in reached:
            return
        reached.add((event.target, event.state))
        target = enum_name(rtc.SignalTarget, event.target)
        if event.state == "ice_connected":
            self.transports.add(target, "started")
        elif event.state == "connected":
            self.operations.add("peer_connection", "success", "")
        self.transports.add(target, event.state)

    def _publish(self, event: TrackPublishRequested | TrackPublished, now: float) -> None:
        asked = self._session(event.participant, now).publishing
        kind = enum_name(models.TrackType, event.track.type)
        if isinstance(event, TrackPublishRequested):
            # A codec that is added to a track asks for the same one again.
            if event.track.sid not in asked:
                asked[event.track.sid] = now
                _trim(asked)
                self.publishes.add(kind, "attempt")
            return
        self.publishes.add(kind, "success")
        self._trailer(event.track, 1)
        waited = now - asked.get(event.track.sid, now)
        self._observe("publish", event.participant, event.track, waited, 1)

    def _subscribe(
        self, event: TrackSubscribeRequested | TrackSubscribed | TrackSubscribeFailed, now: float
    ) -> None:
        session = self._session(event.participant, now)
        if isinstance(event, TrackSubscribeFailed):
            session.subscribing.pop(event.track_sid, None)
            self.subscribes.add("failure", enum_name(models.SubscriptionError, event.error))
            return
        sid = event.track.sid
        if isinstance(event, TrackSubscribeRequested):
            session.subscribing[sid] = now
            _trim(session.subscribing)
            self.subscribes.add("attempt", "")
        elif (asked := session.subscribing.pop(sid, None)) is not None:
            session.subscribed[sid] += 1
            _trim(session.subscribed)
            self.subscribes.add("success", "")
            count = session.subscribed[sid]
            self._observe("subscribe", event.participant, event.track, now - asked, count)

    def _observe(
        self,
        direction: str,
        participant: TelemetryParticipant,
        track: models.TrackInfo,
        waited_s: float,
        count: int,
    ) -> None:
        self.pub_sub_time.observe(
            _ms(waited_s),
            direction,
            enum_name(models.TrackSource, track.source),
            enum_name(models.TrackType, track.type),
            "",
            _sdk(participant),
            enum_name(models.ParticipantInfo.Kind, participant.to_proto().kind),
            str(min(count, _COUNTED)),
        )

    def _stream(self, event: DataStreamBegan) -> None:
        header = event.header
        kind = _STREAM_KINDS.get(header.WhichOneof("content_header") or "", "unknown")
        mime = header.mime_type.lower().partition("/")[0]
        labels = (kind, mime if mime in _STREAM_MIMES else "unknown")
        self.stream_destinations.observe(event.destinations, *labels)
        if header.HasField("total_length"):
            self.stream_bytes.observe(header.total_length, *labels)

    def _api(self, event: ApiCalled) -> None:
        family = f"{event.status // 100}xx" if event.status >= 400 else str(event.status)
        self.api_status.add(event.service, event.method, family, event.code)
        self.api_latency.observe(_ms(event.duration_s), event.service, event.method, family)


def _sdk(participant: TelemetryParticipant) -> str:
    return enum_name(models.ClientInfo.SDK, participant.client.sdk)


def _trim(tracks: dict[str, Any]) -> None:
    if len(tracks) > _REMEMBERED:
        del tracks[next(iter(tracks))]


def _version(protocol: int) -> str:
    """A label that clients cannot make more of than there may be."""
    return str(min(max(protocol, 0), _NEWEST_PROTOCOL))


def _ms(seconds: float) -> int:
    """Whole milliseconds, as LiveKit observes them."""
    return int(seconds * 1000)
