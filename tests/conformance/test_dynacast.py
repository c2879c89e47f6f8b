"""What publishers are told to send; codecs that back up others; what adaptive subscribers get."""

from __future__ import annotations

import time

import pytest
from aiortc.mediastreams import VideoStreamTrack
from livekit.protocol import models, rtc

from tests.conformance import media
from tests.conformance.kit import Lobby

both = pytest.mark.parametrize("single", [False, True], ids=["dual", "single"])
LOW, MEDIUM, HIGH = models.VideoQuality.LOW, models.VideoQuality.MEDIUM, models.VideoQuality.HIGH
LAYERS = [
    models.VideoLayer(quality=LOW, width=160, height=120),
    models.VideoLayer(quality=MEDIUM, width=320, height=240),
    models.VideoLayer(quality=HIGH, width=640, height=480),
]
CAMERA = {"width": 640, "height": 480, "layers": LAYERS}


def highest(update: rtc.SubscribedQualityUpdate) -> dict[str, int]:
    """The highest quality that is needed of each codec; -1: none."""
    return {
        codec.codec: max((q.quality for q in codec.qualities if q.enabled), default=-1)
        for codec in update.subscribed_codecs
    }


async def told(who: media.Participant, needed: dict[str, int]) -> None:
    """Wait until a publisher is told to send just so much."""
    await who.signal.expect("subscribed_quality_update", lambda u: highest(u) == needed)


# -- dynacast -------------------------------------------------------------------------------------


@pytest.mark.row(65, 47)
@both
async def test_more_is_told_at_once(lobby: Lobby, single: bool) -> None:
    alice = await media.join(lobby, "alice", single=single)
    track, _ = await alice.publish(kind="video", **CAMERA)
    bob = await media.join(lobby, "bob", single=single)
    update = await alice.signal.expect("subscribed_quality_update")
    assert update.track_sid == track.sid
    assert highest(update) == {"vp8": HIGH}
    assert update.subscribed_qualities == update.subscribed_codecs[0].qualities
    assert [(q.quality, q.enabled) for q in update.subscribed_qualities] == [
        (LOW, True),
        (MEDIUM, True),
        (HIGH, True),
    ]
    await bob.receives(track.sid)


@pytest.mark.row(65, 142)
async def test_less_is_told_after_a_pause(lobby: Lobby) -> None:
    alice = await media.join(lobby, "alice", single=False)
    track, _ = await alice.publish(kind="video", **CAMERA)
    bob = await media.join(lobby, "bob", single=False)
    await told(alice, {"vp8": HIGH})
    async with lobby.lateness() as late:
        began = time.monotonic()
        await bob.signal.send(track_setting=rtc.UpdateTrackSettings(track_sids=[track.sid]))
        await told(alice, {"vp8": LOW})
        took = time.monotonic() - began
    assert 4.5 < took < 7.0 + late.total_s


@pytest.mark.row(141, 47)
async def test_adaptive_subscribers_begin_low_and_ask_by_size(lobby: Lobby) -> None:
    alice = await media.join(lobby, "alice", single=False)
    track, _ = await alice.publish(kind="video", **CAMERA)
    bob = await media.join(lobby, "bob", single=False, settings={"adaptive_stream": True})
    await told(alice, {"vp8": LOW})
    settings = rtc.UpdateTrackSettings(track_sids=[track.sid], width=300, height=220)
    await bob.signal.send(track_setting=settings)
    await told(alice, {"vp8": MEDIUM})


@pytest.mark.row(142)
async def test_nothing_is_told_while_muted_and_all_at_unmute(lobby: Lobby) -> None:
    alice = await media.join(lobby, "alice", single=False)
    track, _ = await alice.publish(kind="video", **CAMERA)
    await media.join(lobby, "bob", single=False)
    await told(alice, {"vp8": HIGH})
    await alice.signal.send(mute=rtc.MuteTrackRequest(sid=track.sid, muted=True))
    await alice.signal.expect_participant("alice", lambda p: any(t.muted for t in p.tracks))
    await alice.signal.send(mute=rtc.MuteTrackRequest(sid=track.sid, muted=False))
    await told(alice, {"vp8": HIGH})


@pytest.mark.row(66)
@both
async def test_audio_codecs_in_use(lobby: Lobby, single: bool) -> None:
    alice = await media.join(lobby, "alice", single=single)
    bob = await media.join(lobby, "bob", single=single)
    tone = media.Tone()
    track, _ = await alice.publish(
        tone,
        simulcast_codecs=[
            rtc.SimulcastCodec(codec="opus", cid=str(tone.id)),
            rtc.SimulcastCodec(codec="pcmu"),
        ],
    )
    update = await alice.signal.expect("subscribed_audio_codec_update")
    assert update.track_sid == track.sid
    assert [(c.codec, c.enabled) for c in update.subscribed_audio_codecs] == [("opus", True)]
    await bob.receives(track.sid)


# -- track settings -------------------------------------------------------------------------------


@pytest.mark.row(47)
@both
async def test_disabled_tracks_pause(lobby: Lobby, single: bool) -> None:
    alice = await media.join(lobby, "alice", single=single)
    bob = await media.join(lobby, "bob", single=single)
    track, _ = await alice.publish(kind="video", **CAMERA)
    await bob.receives(track.sid)
    pause = rtc.UpdateTrackSettings(track_sids=[track.sid], disabled=True)
    await bob.signal.send(track_setting=pause)
    await media.quiet(lobby, bob, track.sid)
    resume = rtc.UpdateTrackSettings(track_sids=[track.sid], quality=HIGH)
    await bob.signal.send(track_setting=resume)
    await bob.receives(track.sid)


@pytest.mark.row(47, 133)
async def test_settings_may_come_before_the_subscription(lobby: Lobby) -> None:
    alice = await media.join(lobby, "alice", single=False)
    track, _ = await alice.publish(kind="video", **CAMERA)
    bob = await media.join(lobby, "bob", single=False, auto_subscribe=False)
    pause = rtc.UpdateTrackSettings(track_sids=[track.sid], disabled=True)
    await bob.signal.send(track_setting=pause)
    await bob.signal.send(
        subscription=rtc.UpdateSubscription(track_sids=[track.sid], subscribe=True)
    )
    await alice.signal.expect("track_subscribed")
    await lobby.pause(0.5)
    assert bob.frames[track.sid] <= 1
    await bob.signal.send(track_setting=rtc.UpdateTrackSettings(track_sids=[track.sid]))
    await bob.receives(track.sid)


# -- backup codecs --------------------------------------------------------------------------------


async def add_vp8(who: media.Participant, sid: str) -> VideoStreamTrack:
    """Ask to publish a track in VP8 too; returns the picture that will be sent."""
    picture = VideoStreamTrack()
    more = rtc.AddTrackRequest(
        cid=str(picture.id),
        sid=sid,
        type=models.TrackType.VIDEO,
        simulcast_codecs=[rtc.SimulcastCodec(codec="vp8", cid=str(picture.id))],
        **CAMERA,
    )
    await who.signal.send(add_track=more)
    return picture


@pytest.mark.row(44, 140)
@both
async def test_a_backup_codec_is_asked_for_and_received(lobby: Lobby, single: bool) -> None:
    alice = await media.join(lobby, "alice", single=single)
    bob = await media.join(lobby, "bob", single=single)
    camera = rtc.AddTrackRequest(
        cid="primary",
        type=models.TrackType.VIDEO,
        backup_codec_policy=models.BackupCodecPolicy.SIMULCAST,
        simulcast_codecs=[
            rtc.SimulcastCodec(codec="vp9", cid="primary"),
            rtc.SimulcastCodec(codec="vp8"),
        ],
        **CAMERA,
    )
    await alice.signal.send(add_track=camera)
    track = (await alice.signal.expect("track_published")).track
    assert [c.mime_type.lower() for c in track.codecs] == ["video/vp9", "video/vp8"]
    primary = alice.publisher.addTransceiver(VideoStreamTrack(), direction="sendonly")
    await media.negotiate_with(alice, {primary: "VP9"})
    # The subscriber knows nothing of VP9.
    await alice.signal.expect("subscribed_quality_update", lambda u: highest(u).get("vp8", -1) >= 0)
    picture = await add_vp8(alice, track.sid)
    published = await alice.signal.expect("track_published")
    assert published.track.sid == track.sid
    assert published.track.codecs[1].cid == str(picture.id)
    alice.publisher.addTransceiver(picture, direction="sendonly")
    await media.negotiate_with(alice, {primary: "VP9"})
    await bob.receives(track.sid)
    assert bob.signal.all("subscription_response") == []


@pytest.mark.row(140)
@both
async def test_regression_to_the_backup_codec(lobby: Lobby, single: bool) -> None:
    alice = await media.join(lobby, "alice", single=single)
    bob = await media.join(lobby, "bob", single=single)
    camera = rtc.AddTrackRequest(
        cid="primary",
        type=models.TrackType.VIDEO,
        backup_codec_policy=models.BackupCodecPolicy.REGRESSION,
        simulcast_codecs=[
            rtc.SimulcastCodec(codec="h264", cid="primary"),
            rtc.SimulcastCodec(codec="vp8"),
        ],
        **CAMERA,
    )
    await alice.signal.send(add_track=camera)
    track = (await alice.signal.expect("track_published")).track
    primary = alice.publisher.addTransceiver(VideoStreamTrack(), direction="sendonly")
    await alice.negotiate()
    await bob.receives(track.sid)
    await told(alice, {"h264": HIGH})
    picture = await add_vp8(alice, track.sid)
    await alice.signal.expect("track_published")
    alice.publisher.addTransceiver(picture, direction="sendonly")
    await alice.negotiate()
    await alice.signal.expect(
        "subscribed_quality_update",
        lambda u: highest(u).get("h264") == -1 and highest(u).get("vp8", -1) >= 0,
    )
    primary.sender.replaceTrack(None)
    await bob.receives(track.sid, 10)
