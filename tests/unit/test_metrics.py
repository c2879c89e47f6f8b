"""What is counted of sessions, calls and media."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from livekit.protocol import models, rtc

from lkpy.clock import ManualClock
from lkpy.limits import MAX_SUBSCRIPTIONS
from lkpy.server.telemetry.events import (
    ApiCalled,
    DataStreamBegan,
    MessageDropped,
    ParticipantActive,
    ParticipantJoined,
    ParticipantLeft,
    QualityMeasured,
    RoomEnded,
    RoomStarted,
    SignalConnected,
    SignalFailed,
    TrackPublished,
    TrackPublishRequested,
    TrackSubscribed,
    TrackSubscribeFailed,
    TrackSubscribeRequested,
    TrackUnpublished,
    TransportChanged,
)
from lkpy.server.telemetry.media_metrics import MediaMetrics
from lkpy.server.telemetry.metrics import ServerMetrics
from lkpy.stats.v1 import stats_pb2

Reason = models.DisconnectReason
PUBLISHER = rtc.SignalTarget.PUBLISHER


class Room:
    def to_proto(self) -> models.Room:
        return models.Room(sid="RM_1", name="lobby")


@dataclass
class Participant:
    sid: str = "PA_1"
    client: models.ClientInfo = field(
        default_factory=lambda: models.ClientInfo(sdk=models.ClientInfo.PYTHON, protocol=16)
    )
    reason: models.DisconnectReason = Reason.UNKNOWN_REASON

    def to_proto(self) -> models.ParticipantInfo:
        return models.ParticipantInfo(sid=self.sid, disconnect_reason=self.reason)


ROOM, ALICE = Room(), Participant()
CAMERA = models.TrackInfo(sid="TR_1", type=models.TrackType.VIDEO, source=models.TrackSource.CAMERA)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def metrics(clock: ManualClock) -> ServerMetrics:
    return ServerMetrics(clock)


def joins(metrics: ServerMetrics) -> dict[str, float]:
    """By state, SDK and whether it is told that there is no WARP."""
    return {
        " ".join(label for _, label in pairs if label): value
        for _, pairs, value in metrics.joins.samples()
    }


def test_a_session_that_works(metrics: ServerMetrics, clock: ManualClock) -> None:
    metrics(ParticipantJoined(ROOM, ALICE))
    metrics(TransportChanged(ALICE, PUBLISHER, "ice_connected"))
    metrics(TransportChanged(ALICE, PUBLISHER, "connected"))
    clock.advance(0.2)
    metrics(ParticipantActive(ROOM, ALICE))
    clock.advance(10)
    # The connection went and came back.
    metrics(TransportChanged(ALICE, PUBLISHER, "ice_connected"))
    metrics(ParticipantActive(ROOM, ALICE))
    metrics(ParticipantLeft(ROOM, ALICE))
    assert joins(metrics) == {
        "rtc_init": 1,
        "rtc_connected PYTHON": 1,
        "rtc_active false": 2,
        "rtc_success false PYTHON": 1,
    }
    assert metrics.transports.value("PUBLISHER", "started") == 1
    assert metrics.transports.value("PUBLISHER", "ice_connected") == 1
    assert metrics.transports.value("PUBLISHER", "connected") == 1
    assert metrics.operations.value("peer_connection", "success", "") == 1
    assert metrics.start_time.count("16", "false", "PYTHON") == 1
    assert metrics.duration.count("16") == 1
    assert not metrics._sessions


@pytest.mark.parametrize(
    ("reason", "after_s", "state"),
    [
        (Reason.CLIENT_INITIATED, 10, "rtc_canceled"),
        (Reason.SIGNAL_CLOSE, 1, "rtc_canceled"),
        (Reason.SIGNAL_CLOSE, 5, "rtc_failure"),
        (Reason.JOIN_FAILURE, 60, "rtc_failure"),
    ],
)
def test_a_session_that_never_was_active(
    metrics: ServerMetrics,
    clock: ManualClock,
    reason: models.DisconnectReason,
    after_s: float,
    state: str,
) -> None:
    metrics(ParticipantJoined(ROOM, ALICE))
    clock.advance(after_s)
    metrics(ParticipantLeft(ROOM, Participant(reason=reason)))
    assert joins(metrics) == {
        "rtc_init": 1,
        "rtc_connected PYTHON": 1,
        f"{state} false PYTHON": 1,
    }


def test_whoever_was_never_admitted_leaves_uncounted(metrics: ServerMetrics) -> None:
    metrics(ParticipantLeft(ROOM, ALICE))
    assert joins(metrics) == {}


def test_signal_connections(metrics: ServerMetrics) -> None:
    metrics(SignalConnected(16, 0.0123))
    metrics(SignalFailed("signal_validation_failed"))
    assert joins(metrics) == {"signal_connected": 1, "signal_validation_failed": 1}
    sums = [value for suffix, _, value in metrics.join_latency.samples() if suffix == "_sum"]
    assert sums == [12]


def test_rooms(metrics: ServerMetrics, clock: ManualClock) -> None:
    other = Room()
    metrics(RoomStarted(ROOM))
    metrics(RoomStarted(other))
    clock.advance(7)
    metrics(RoomEnded(ROOM))
    assert metrics.rooms.value() == 1
    assert metrics.room_duration.count() == 1


def test_a_publication(metrics: ServerMetrics, clock: ManualClock) -> None:
    metrics(TrackPublishRequested(ALICE, CAMERA))
    metrics(TrackPublishRequested(ALICE, CAMERA))
    clock.advance(0.15)
    metrics(TrackPublished(ROOM, ALICE, CAMERA))
    assert metrics.publishes.value("VIDEO", "attempt") == 1
    assert metrics.publishes.value("VIDEO", "success") == 1
    labels = ("publish", "CAMERA", "VIDEO", "", "PYTHON", "STANDARD", "1")
    assert metrics.pub_sub_time.count(*labels) == 1


def test_packet_trailers(metrics: ServerMetrics) -> None:
    def features() -> dict[str, float]:
        return {pairs[0][1]: v for _, pairs, v in metrics.trailers_by_feature.samples()}

    none = {"PTF_USER_TIMESTAMP": 0, "PTF_FRAME_ID": 0, "PTF_USER_DATA": 0}
    assert features() == none
    values = [0, 0, 2, 77, 78]
    video = models.TrackInfo(sid="TR_1", type=models.VIDEO, packet_trailer_features=values)  # type: ignore[arg-type]
    audio = models.TrackInfo(sid="TR_2", type=models.AUDIO, packet_trailer_features=[0])
    bare = models.TrackInfo(sid="TR_3", type=models.VIDEO)
    for track in (video, audio, bare):
        metrics(TrackPublished(ROOM, ALICE, track))
    assert metrics.trailers.value() == 1
    assert features() == none | {"PTF_USER_TIMESTAMP": 1, "PTF_USER_DATA": 1, "UNKNOWN": 1}
    for track in (video, audio, bare):
        metrics(TrackUnpublished(ROOM, ALICE, track))
    assert metrics.trailers.value() == 0
    assert features() == none | {"UNKNOWN": 0}


def test_subscriptions(metrics: ServerMetrics) -> None:
    for _ in range(2):
        metrics(TrackSubscribeRequested(ALICE, CAMERA))
        metrics(TrackSubscribed(ALICE, CAMERA))
    # It flows again after a pause, which is no other subscription.
    metrics(TrackSubscribed(ALICE, CAMERA))
    metrics(TrackSubscribeFailed(ALICE, "TR_2", models.SubscriptionError.SE_TRACK_NOTFOUND))
    assert metrics.subscribes.value("attempt", "") == 2
    assert metrics.subscribes.value("success", "") == 2
    assert metrics.subscribes.value("failure", "SE_TRACK_NOTFOUND") == 1
    labels = ("subscribe", "CAMERA", "VIDEO", "", "PYTHON", "STANDARD")
    assert metrics.pub_sub_time.count(*labels, "1") == metrics.pub_sub_time.count(*labels, "2") == 1


def test_labels_do_not_grow_with_what_clients_make_up(metrics: ServerMetrics) -> None:
    for number in range(1000, 1100):
        client = models.ClientInfo(sdk=number, protocol=number)  # type: ignore[arg-type]
        stranger = Participant(f"PA_{number}", client)
        track = models.TrackInfo(sid="TR_1", source=number)  # type: ignore[arg-type]
        metrics(SignalConnected(number, 0))
        metrics(ParticipantJoined(ROOM, stranger))
        metrics(ParticipantActive(ROOM, stranger))
        metrics(TrackPublished(ROOM, stranger, track))
        metrics(TrackSubscribeRequested(ALICE, track))
        metrics(TrackSubscribed(ALICE, track))
        metrics(ParticipantLeft(ROOM, stranger))
    assert [len(h._series) for h in (metrics.join_latency, metrics.start_time)] == [1, 1]
    assert len(metrics.duration._series) == 1
    assert len(metrics.pub_sub_time._series) == 1 + 10
    assert list(metrics._sessions) == ["PA_1"]


def test_calls(metrics: ServerMetrics) -> None:
    metrics(ApiCalled("RoomService", "ListRooms", 200, "", 0.0042))
    metrics(ApiCalled("RoomService", "DeleteRoom", 404, "not_found", 0))
    metrics(ApiCalled("RoomService", "DeleteRoom", 503, "unavailable", 0))
    status = metrics.api_status
    assert status.value("RoomService", "ListRooms", "200", "") == 1
    assert status.value("RoomService", "DeleteRoom", "4xx", "not_found") == 1
    assert status.value("RoomService", "DeleteRoom", "5xx", "unavailable") == 1
    assert metrics.api_latency.count("RoomService", "ListRooms", "200") == 1


def test_connection_quality(metrics: ServerMetrics) -> None:
    good = rtc.ConnectionQualityInfo(quality=models.ConnectionQuality.GOOD, score=3.5)
    best = rtc.ConnectionQualityInfo(quality=models.ConnectionQuality.EXCELLENT, score=4.5)
    metrics(QualityMeasured(good))
    metrics(QualityMeasured(best))
    assert [v for s, _, v in metrics.quality_rating.samples() if s == "_bucket"] == [0, 1, 2, 2]
    assert [v for s, _, v in metrics.quality_score.samples() if s == "_sum"] == [8]


@pytest.mark.parametrize(
    ("header", "labels", "sizes"),
    [
        (
            models.DataStream.Header(
                mime_type="Text/Plain",
                total_length=10,
                text_header=models.DataStream.TextHeader(),
            ),
            ("text", "text"),
            1,
        ),
        (
            models.DataStream.Header(
                mime_type="made/up", byte_header=models.DataStream.ByteHeader()
            ),
            ("bytes", "unknown"),
            0,
        ),
        (models.DataStream.Header(), ("unknown", "unknown"), 0),
    ],
)
def test_data_streams(
    metrics: ServerMetrics,
    header: models.DataStream.Header,
    labels: tuple[str, str],
    sizes: int,
) -> None:
    metrics(DataStreamBegan(header, 3))
    assert metrics.stream_destinations.count(*labels) == 1
    assert metrics.stream_bytes.count(*labels) == sizes


def test_messages_that_a_full_queue_refused(metrics: ServerMetrics) -> None:
    metrics(MessageDropped("room_inbox"))
    assert metrics.dropped.value("room_inbox") == 1


# -- media ----------------------------------------------------------------------------------------


def snapshot(
    packets: int, *, lost: int = 0, sid: str = "PA_1", again: int = 0, people: int = 1
) -> stats_pb2.Snapshot:
    layer = stats_pb2.Layer(
        ssrc=1,
        packets=packets,
        bytes=packets * 100,
        packets_lost=lost,
        jitter_ms=2.5,
        plis_sent=3,
        key_frames=packets // 10,
    )
    track = stats_pb2.Track(sid="TR_1", kind="video", source="camera", layers=[layer])
    down_track = stats_pb2.DownTrack(
        track_sid="TR_1",
        kind="video",
        source="camera",
        ssrc=2,
        packets=packets,
        bytes=packets * 90,
        retransmissions=again,
        nacks_received=again,
        key_frames=packets // 50,
        retransmissions_capped=again,
        rtt_ms=-1,
    )
    person = stats_pb2.Participant(
        sid=sid,
        published=[track],
        subscribed=[down_track],
        transports=[stats_pb2.Transport(target="publisher", rtt_ms=12)],
    )
    worker = stats_pb2.Worker(
        worker=0, datagrams_received=packets, events_dropped=4, drops_by_reason={"stun": 2}
    )
    rooms = [stats_pb2.Room(participants=[person] * people)]
    return stats_pb2.Snapshot(rooms=rooms, workers=[worker])


async def test_packets_are_counted_by_differences() -> None:
    media = MediaMetrics()
    await media.update(snapshot(100))
    await media.update(snapshot(150, again=5))
    assert media.packets.value("incoming", "initial", "") == 150
    assert media.bytes.value("incoming", "initial", "") == 15_000
    assert media.packets.value("outgoing", "initial", "") == 150
    assert media.packets.value("outgoing", "retransmit", "") == 5
    assert media.nacks.value("outgoing", "") == 5
    assert media.plis.value("incoming", "") == 3
    assert media.key_frames.value("incoming") == 15
    assert media.key_frames.value("outgoing") == 3
    assert media.capped.value("video") == 5
    assert media.datagrams.value("incoming") == 150
    assert media.refused.value("events") == 4
    assert media.refused.value("datagram_stun") == 2


async def test_what_is_gone_stays_counted() -> None:
    media = MediaMetrics()
    await media.update(snapshot(100))
    await media.update(stats_pb2.Snapshot())
    await media.update(snapshot(10, sid="PA_2"))
    assert media.packets.value("incoming", "initial", "") == 110
    assert not [key for key in media._totals if key[0] == "PA_1"]


async def test_there_is_as_much_as_there_is() -> None:
    media = MediaMetrics()
    await media.update(snapshot(1))
    assert media.participants.value() == 1
    assert media.published.value("VIDEO") == media.subscribed.value("VIDEO") == 1
    await media.update(stats_pb2.Snapshot())
    assert media.participants.value() == 0
    assert [value for *_, value in media.published.samples()] == [0]


async def test_what_does_not_flow_and_what_nobody_took_is_told() -> None:
    media = MediaMetrics()
    server = stats_pb2.Server(stalled_tracks=1, stalled_down_tracks=3, events_unhandled=7)
    await media.update(stats_pb2.Snapshot(server=server))
    told = media.stalled.value("incoming"), media.stalled.value("outgoing")
    assert told == (1, 3)
    assert media.unhandled.value() == 7


async def test_quality_is_observed_per_interval() -> None:
    media = MediaMetrics()
    labels = ("incoming", "CAMERA", "VIDEO", "")
    await media.sample(snapshot(100, lost=1))
    await media.sample(snapshot(200, lost=11))
    await media.sample(snapshot(200, lost=11))
    await media.sample(snapshot(300, lost=9))
    assert media.loss.count(*labels) == 3
    sums = {suffix: v for suffix, pairs, v in media.loss.samples() if pairs[0][1] == "incoming"}
    assert sums["_sum"] == 11
    assert media.jitter.count(*labels) == 3
    assert media.rtt.count(*labels) == 3
    assert media.rtt.count("outgoing", "CAMERA", "VIDEO", "") == 0


async def test_loss_that_was_taken_back_is_not_counted_down() -> None:
    media = MediaMetrics()
    await media.update(snapshot(100, lost=10))
    await media.update(snapshot(200, lost=8))
    await media.update(snapshot(300, lost=9))
    assert media.lost.value("incoming", "CAMERA", "VIDEO", "") == 11


def test_a_session_that_lasts_keeps_no_tracks_without_end(metrics: ServerMetrics) -> None:
    metrics(ParticipantJoined(ROOM, ALICE))
    for number in range(2 * MAX_SUBSCRIPTIONS):
        track = models.TrackInfo(sid=f"TR_{number}", type=models.TrackType.AUDIO)
        metrics(TrackPublishRequested(ALICE, track))
        metrics(TrackSubscribeRequested(ALICE, track))
        if number % 2:
            metrics(TrackSubscribed(ALICE, track))
    session = metrics._sessions[ALICE.sid]
    for kept in (session.publishing, session.subscribing, session.subscribed):
        assert 0 < len(kept) <= MAX_SUBSCRIPTIONS
    assert metrics.publishes.value("AUDIO", "attempt") == 2 * MAX_SUBSCRIPTIONS
