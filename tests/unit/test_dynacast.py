"""What a publisher is told to send: pure states, told the time."""

from __future__ import annotations

import pytest
from livekit.protocol import models

from lkpy.server.rtc.dynacast import AudioDynacast, VideoDynacast
from lkpy.server.rtc.quality import quality_of_layer
from lkpy.server.rtc.track_dynacast import subscribed_quality_update

OFF, LOW, MEDIUM, HIGH = (
    models.VideoQuality.OFF,
    models.VideoQuality.LOW,
    models.VideoQuality.MEDIUM,
    models.VideoQuality.HIGH,
)
VP8, VP9 = "video/vp8", "video/vp9"


def test_nobody_subscribes() -> None:
    dynacast = VideoDynacast(5)
    dynacast.add_codec(100, VP8)
    assert dynacast.next_deadline() == 110
    assert dynacast.poll(109.9) == []
    assert dynacast.poll(110) == [{VP8: OFF}]
    assert dynacast.next_deadline() is None
    assert dynacast.poll(1000) == []


def test_the_first_subscriber_decides_at_once() -> None:
    dynacast = VideoDynacast(5)
    dynacast.add_codec(0, VP8)
    dynacast.subscriber(1, VP8, "bob", LOW)
    assert dynacast.poll(1) == [{VP8: LOW}]
    assert dynacast.next_deadline() is None, "its time is over"


def test_what_was_told_is_told_again_if_it_leaves_anything_out() -> None:
    dynacast = VideoDynacast(5)
    dynacast.resend()
    assert dynacast.poll(0) == []
    dynacast.subscriber(0, VP8, "bob", HIGH)
    dynacast.poll(0)
    dynacast.resend()
    assert dynacast.poll(0) == []
    dynacast.subscriber(1, VP8, "bob", LOW)
    dynacast.poll(6)
    # What waits for its pause to be over is not told before.
    dynacast.subscriber(6, VP8, "bob", OFF)
    dynacast.resend()
    assert dynacast.poll(6) == [{VP8: LOW}]
    assert dynacast.poll(11) == [{VP8: OFF}]


def test_more_at_once_less_after_a_pause() -> None:
    dynacast = VideoDynacast(5)
    dynacast.subscriber(0, VP8, "bob", LOW)
    dynacast.subscriber(1, VP8, "carol", HIGH)
    assert dynacast.poll(1) == [{VP8: LOW}, {VP8: HIGH}]
    dynacast.subscriber(2, VP8, "carol", OFF)
    assert dynacast.poll(2) == []
    dynacast.subscriber(4, VP8, "bob", OFF)
    assert dynacast.next_deadline() == 7, "a further step down does not prolong the pause"
    assert dynacast.poll(6.9) == []
    assert dynacast.poll(7) == [{VP8: OFF}]
    dynacast.subscriber(8, VP8, "bob", MEDIUM)
    assert dynacast.poll(8) == [{VP8: MEDIUM}]


def test_who_needs_less_than_comes_is_sent_what_does() -> None:
    dynacast = VideoDynacast(5)
    dynacast.comes_from(0, VP8, HIGH)
    assert dynacast.poll(0) == [], "it is not published"
    dynacast.add_codec(0, VP8)
    dynacast.comes_from(0, VP8, HIGH)
    assert dynacast.poll(0) == []
    dynacast.subscriber(1, VP8, "bob", LOW)
    assert dynacast.poll(1) == [{VP8: HIGH}]
    dynacast.comes_from(2, VP8, LOW)
    assert dynacast.poll(6.9) == []
    assert dynacast.poll(7) == [{VP8: LOW}], "the lower layer came"
    dynacast.comes_from(8, VP8, MEDIUM)
    assert dynacast.poll(8) == [{VP8: MEDIUM}]
    dynacast.subscriber(9, VP8, "bob", OFF)
    assert dynacast.poll(14) == [{VP8: OFF}]


def test_who_comes_back_within_the_pause_changes_nothing() -> None:
    dynacast = VideoDynacast(5)
    dynacast.subscriber(0, VP8, "bob", HIGH)
    dynacast.poll(0)
    dynacast.subscriber(1, VP8, "bob", OFF)
    dynacast.subscriber(2, VP8, "bob", HIGH)
    assert dynacast.poll(2) == []
    assert dynacast.poll(6) == [{VP8: HIGH}], "the pause ends with what is needed"


def test_without_a_pause_less_is_told_at_once() -> None:
    dynacast = VideoDynacast(0)
    dynacast.subscriber(0, VP8, "bob", HIGH)
    dynacast.subscriber(0, VP8, "bob", OFF)
    assert dynacast.poll(0) == [{VP8: HIGH}, {VP8: OFF}]


def test_a_further_codec_is_told_at_once() -> None:
    dynacast = VideoDynacast(5)
    dynacast.add_codec(0, VP9)
    dynacast.subscriber(0, VP9, "bob", HIGH)
    dynacast.subscriber(0, VP8, "old", HIGH)
    assert dynacast.poll(0) == [{VP9: HIGH}, {VP9: HIGH, VP8: HIGH}]


def test_force_tells_what_waits() -> None:
    dynacast = VideoDynacast(5)
    dynacast.force()
    assert dynacast.poll(0) == [], "nothing is known"
    dynacast.subscriber(0, VP8, "bob", HIGH)
    dynacast.subscriber(1, VP8, "bob", LOW)
    dynacast.force()
    assert dynacast.poll(2) == [{VP8: HIGH}, {VP8: LOW}]
    assert dynacast.next_deadline() is None


def test_regression_moves_everybody() -> None:
    dynacast = VideoDynacast(5)
    dynacast.add_codec(0, VP9)
    dynacast.subscriber(0, VP9, "bob", MEDIUM)
    dynacast.subscriber(0, VP8, "old", LOW)
    dynacast.poll(0)
    dynacast.regress(1, VP9, VP8)
    assert dynacast.poll(1) == [], "less waits"
    dynacast.subscriber(2, VP9, "bob", MEDIUM)
    assert dynacast.poll(2) == [{VP9: OFF, VP8: MEDIUM}], "who is late is counted where all are"
    dynacast.regress(3, VP9, VP8)
    assert dynacast.poll(20) == []


def test_regression_to_a_codec_that_nobody_has_asked_for() -> None:
    dynacast = VideoDynacast(5)
    dynacast.subscriber(0, VP9, "bob", LOW)
    dynacast.poll(0)
    dynacast.regress(1, VP9, VP8)
    assert dynacast.poll(1) == [{VP9: OFF, VP8: HIGH}]
    assert dynacast.poll(11) == []
    assert dynacast.poll(16) == [{VP9: OFF, VP8: LOW}]


def test_a_restart_tells_everything_again() -> None:
    dynacast = VideoDynacast(5)
    dynacast.subscriber(0, VP8, "bob", LOW)
    dynacast.poll(0)
    dynacast.restart(1)
    assert dynacast.poll(10) == []
    assert dynacast.poll(11) == [{VP8: LOW}]


def test_audio_codecs_that_somebody_receives() -> None:
    dynacast = AudioDynacast()
    dynacast.force()
    assert dynacast.poll() == []
    dynacast.subscriber("audio/red")
    dynacast.subscriber("audio/red")
    assert dynacast.poll() == [{"audio/red": True}]
    dynacast.regress("audio/red", "audio/opus")
    dynacast.subscriber("audio/red")
    assert dynacast.poll() == [{"audio/red": False, "audio/opus": True}]
    dynacast.force()
    assert dynacast.poll() == [{"audio/red": False, "audio/opus": True}]


# -- messages -------------------------------------------------------------------------------------


def layers(*qualities: models.VideoQuality) -> list[models.VideoLayer]:
    return [models.VideoLayer(quality=q, spatial_layer=i) for i, q in enumerate(qualities)]


def test_the_update_has_every_codec_and_the_first_for_older_clients() -> None:
    info = models.TrackInfo(
        sid="TR_v",
        codecs=[
            models.SimulcastCodecInfo(mime_type="video/VP9"),
            models.SimulcastCodecInfo(mime_type="video/VP8"),
        ],
    )
    update = subscribed_quality_update(info, {VP8: OFF, VP9: MEDIUM})
    assert update.track_sid == "TR_v"
    assert [c.codec for c in update.subscribed_codecs] == ["vp9", "vp8"]
    assert [(q.quality, q.enabled) for q in update.subscribed_qualities] == [
        (LOW, True),
        (MEDIUM, True),
        (HIGH, False),
    ]
    assert [q.enabled for q in update.subscribed_codecs[1].qualities] == [False] * 3


@pytest.mark.parametrize(
    ("published", "spatial", "quality"),
    [
        ((LOW, MEDIUM, HIGH), 1, MEDIUM),
        ((LOW, HIGH), 1, HIGH),
        ((MEDIUM,), 0, MEDIUM),
        ((LOW, HIGH), 2, HIGH),
        ((LOW, HIGH), -1, OFF),
        ((), 0, HIGH),
    ],
)
def test_quality_of_layer(
    published: tuple[models.VideoQuality, ...], spatial: int, quality: models.VideoQuality
) -> None:
    info = models.TrackInfo(layers=layers(*published))
    assert quality_of_layer(info, VP8, spatial) == quality
