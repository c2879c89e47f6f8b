"""Publishing: what is asked for, what is answered, what others see."""

from __future__ import annotations

import pytest
from livekit.protocol import models, rtc

from tests.conformance import media
from tests.conformance.kit import Lobby, until

both = pytest.mark.parametrize("single", [False, True], ids=["dual", "single"])
Reason = rtc.RequestResponse.Reason
Source = models.TrackSource
Feature = models.AudioTrackFeature
LAYERS = [
    models.VideoLayer(quality=models.VideoQuality.HIGH, width=640, height=480, bitrate=600_000),
    models.VideoLayer(quality=models.VideoQuality.LOW, width=160, height=120, bitrate=60_000),
    models.VideoLayer(quality=models.VideoQuality.MEDIUM, width=320, height=240, bitrate=200_000),
]


def audio(**values: object) -> rtc.AddTrackRequest:
    """A microphone."""
    defaults = {"cid": media.new_cid(), "source": Source.MICROPHONE}
    return rtc.AddTrackRequest(type=models.TrackType.AUDIO, **(defaults | values))


def video(**values: object) -> rtc.AddTrackRequest:
    """A camera in three layers."""
    defaults = {"cid": media.new_cid(), "source": Source.CAMERA, "layers": LAYERS}
    return rtc.AddTrackRequest(
        type=models.TrackType.VIDEO, width=640, height=480, **(defaults | values)
    )


# -- answers to add_track -------------------------------------------------------------------------


@pytest.mark.row(43)
async def test_what_is_asked_for_is_described(lobby: Lobby) -> None:
    signal = await lobby.signal("alice")
    request = video(name="front", stream="mine", simulcast_codecs=[rtc.SimulcastCodec(codec="vp8")])
    await signal.send(add_track=request)
    published = await signal.expect("track_published")
    assert published.cid == request.cid
    info = published.track
    assert info.sid.startswith("TR_VC")
    assert (info.name, info.stream, info.source) == ("front", "mine", Source.CAMERA)
    assert (info.width, info.height, info.simulcast) == (640, 480, True)
    assert [layer.quality for layer in info.layers] == [0, 1, 2]
    (codec,) = info.codecs
    assert codec.mime_type.lower() == "video/vp8"
    assert [layer.quality for layer in codec.layers] == [0, 1, 2]
    await signal.send(add_track=audio(stereo=True, disable_dtx=True))
    info = (await signal.expect("track_published")).track
    assert info.sid.startswith("TR_AM")
    assert (info.stream, info.stereo, info.disable_dtx) == ("camera", True, True)
    assert set(info.audio_features) == {Feature.TF_STEREO, Feature.TF_NO_DTX}
    assert info.backup_codec_policy == models.BackupCodecPolicy.SIMULCAST


@pytest.mark.row(43)
async def test_what_is_left_out_is_filled_in(lobby: Lobby) -> None:
    signal = await lobby.signal("alice")
    await signal.send(add_track=video())
    info = (await signal.expect("track_published")).track
    assert not info.simulcast, "which the media section says"
    (codec,) = info.codecs
    assert codec.mime_type == ""
    assert codec.video_layer_mode == models.VideoLayer.ONE_SPATIAL_LAYER_PER_STREAM
    assert len(codec.layers) == 3
    await signal.send(add_track=video(simulcast_codecs=[rtc.SimulcastCodec(codec="nonsense")]))
    info = (await signal.expect("track_published")).track
    assert [codec.mime_type for codec in info.codecs] == ["video/VP8"]
    codecs = [rtc.SimulcastCodec(codec=name) for name in ("vp9", "vp8")]
    await signal.send(add_track=video(simulcast_codecs=codecs))
    info = (await signal.expect("track_published")).track
    assert [codec.video_layer_mode for codec in info.codecs] == [
        models.VideoLayer.MULTIPLE_SPATIAL_LAYERS_PER_STREAM,
        models.VideoLayer.ONE_SPATIAL_LAYER_PER_STREAM,
    ]
    assert not info.simulcast


@pytest.mark.row(43, 69)
@pytest.mark.parametrize(
    ("request_", "grant", "reason"),
    [
        (video(), {"canPublish": False}, Reason.NOT_ALLOWED),
        (video(), {"canPublishSources": ["microphone"]}, Reason.NOT_ALLOWED),
        (rtc.AddTrackRequest(cid="d", type=models.TrackType.DATA), {}, Reason.UNSUPPORTED_TYPE),
        (video(sid="TR_unknown"), {}, Reason.NOT_FOUND),
    ],
    ids=["publish", "source", "type", "sid"],
)
async def test_refusals(
    lobby: Lobby, request_: rtc.AddTrackRequest, grant: dict[str, object], reason: int
) -> None:
    signal = await lobby.signal("alice", **grant)
    await signal.send(add_track=request_)
    response = await signal.expect("request_response")
    assert response.reason == reason
    assert response.add_track == request_


@pytest.mark.row(136)
async def test_a_cid_that_is_pending_is_queued(lobby: Lobby) -> None:
    signal = await lobby.signal("alice")
    await signal.send(add_track=audio(cid="mine"))
    sid = (await signal.expect("track_published")).track.sid
    await signal.send(add_track=audio(cid="mine"))
    response = await signal.expect("request_response")
    assert response.reason == Reason.QUEUED
    assert response.add_track.cid == "mine"
    assert response.message == ""
    assert sid.startswith("TR_")
    await signal.send(add_track=audio(cid="mine"))
    assert (await signal.expect("request_response")).reason == Reason.QUEUED
    await signal.send(add_track=audio(cid="mine"))
    response = await signal.expect("request_response")
    assert response.reason == Reason.LIMIT_EXCEEDED
    assert response.message == (
        "too many pending queued tracks, rejecting new track, numPendingTracksQueued: 3"
    )


@pytest.mark.row(43)
async def test_twenty_tracks_are_pending(lobby: Lobby) -> None:
    signal = await lobby.signal("alice", single=True)
    for number in range(20):
        await signal.send(add_track=audio(cid=f"cid-{number}"))
        await signal.expect("track_published")
    await signal.send(add_track=audio(cid="more"))
    response = await signal.expect("request_response")
    assert response.reason == Reason.LIMIT_EXCEEDED
    assert response.message == (
        "too many pending tracks, rejecting new track, numPendingTracks: 20"
    )
    assert response.add_track.cid == "more"


@pytest.mark.row(136)
@both
async def test_a_queued_track_follows_the_one_before(lobby: Lobby, single: bool) -> None:
    alice = await media.join(lobby, "alice", single=single)
    bob = await media.join(lobby, "bob", single=single)
    tone = media.Tone()
    first, transceiver = await alice.publish(tone)
    await bob.receives(first.sid)
    await alice.signal.send(add_track=audio(cid=str(tone.id), name="second"))
    response = await alice.signal.expect("request_response")
    assert response.reason == Reason.QUEUED
    transceiver.direction = "inactive"
    transceiver.sender.replaceTrack(None)
    await alice.negotiate()
    second = await alice.signal.expect("track_published")
    assert (second.cid, second.track.name) == (str(tone.id), "second")
    assert second.track.sid != first.sid


# -- mute and updates -----------------------------------------------------------------------------


@pytest.mark.row(45)
@both
async def test_mute_and_unmute(lobby: Lobby, single: bool) -> None:
    alice = await media.join(lobby, "alice", single=single)
    bob = await media.join(lobby, "bob", single=single)
    track, _ = await alice.publish()
    for muted in (True, False):
        await alice.signal.send(mute=rtc.MuteTrackRequest(sid=track.sid, muted=muted))
        for observer in (alice, bob):
            await observer.signal.expect_participant(
                "alice", lambda p, m=muted: any(t.muted is m for t in p.tracks)
            )
    await bob.receives(track.sid)


@pytest.mark.row(45)
async def test_a_pending_track_is_muted(lobby: Lobby) -> None:
    alice = await media.join(lobby, "alice", single=False)
    bob = await media.join(lobby, "bob", single=False)
    tone = media.Tone()
    request = audio(cid=str(tone.id))
    await alice.signal.send(add_track=request)
    sid = (await alice.signal.expect("track_published")).track.sid
    await alice.signal.send(mute=rtc.MuteTrackRequest(sid=sid, muted=True))
    alice.publisher.addTransceiver(tone, direction="sendonly")
    await alice.negotiate()
    info = await bob.signal.expect_participant("alice", lambda p: len(p.tracks) == 1)
    assert info.tracks[0].muted


@pytest.mark.row(45, 69)
async def test_muting_what_is_not_there(lobby: Lobby) -> None:
    signal = await lobby.signal("alice")
    request = rtc.MuteTrackRequest(sid="TR_no", muted=True)
    await signal.send(mute=request)
    response = await signal.expect("request_response")
    assert response.reason == Reason.NOT_FOUND
    assert response.mute == request


@pytest.mark.row(52)
@both
async def test_a_track_is_updated(lobby: Lobby, single: bool) -> None:
    alice = await media.join(lobby, "alice", single=single)
    bob = await media.join(lobby, "bob", single=single)
    sound, _ = await alice.publish(audio_features=[Feature.TF_AUTO_GAIN_CONTROL])
    picture, _ = await alice.publish(kind="video", width=640, height=480)
    await alice.signal.send(
        update_audio_track=rtc.UpdateLocalAudioTrack(
            track_sid=sound.sid, features=[Feature.TF_STEREO, Feature.TF_NOISE_SUPPRESSION]
        )
    )

    def features(info: models.ParticipantInfo) -> bool:
        return any(
            t.sid == sound.sid
            and t.stereo
            and set(t.audio_features) == {Feature.TF_STEREO, Feature.TF_NOISE_SUPPRESSION}
            for t in info.tracks
        )

    for observer in (alice, bob):
        await observer.signal.expect_participant("alice", features)
    await alice.signal.send(
        update_video_track=rtc.UpdateLocalVideoTrack(track_sid=picture.sid, width=320, height=240)
    )
    await bob.signal.expect_participant(
        "alice", lambda p: any((t.width, t.height) == (320, 240) for t in p.tracks)
    )


@pytest.mark.row(52, 69)
@pytest.mark.parametrize(
    ("name", "update"),
    [
        ("update_audio_track", rtc.UpdateLocalAudioTrack(track_sid="TR_no")),
        ("update_video_track", rtc.UpdateLocalVideoTrack(track_sid="TR_no", width=1)),
    ],
    ids=["audio", "video"],
)
async def test_updates_of_what_is_not_there(lobby: Lobby, name: str, update: object) -> None:
    signal = await lobby.signal("alice")
    await signal.send(**{name: update})
    response = await signal.expect("request_response")
    assert response.reason == Reason.NOT_FOUND
    assert getattr(response, name) == update


# -- what the publisher hears ---------------------------------------------------------------------


@pytest.mark.row(68)
@both
async def test_track_subscribed_is_told_once(lobby: Lobby, single: bool) -> None:
    alice = await media.join(lobby, "alice", single=single)
    track, _ = await alice.publish()
    hidden = await media.join(lobby, "hidden", single=single, hidden=True)
    await hidden.receives(track.sid)
    assert alice.signal.all("track_subscribed") == []
    for identity in ("bob", "carol"):
        participant = await media.join(lobby, identity, single=single)
        await participant.receives(track.sid)
    await until(lambda: alice.signal.all("track_subscribed"), "track_subscribed")
    (told,) = alice.signal.all("track_subscribed")
    assert told.track_sid == track.sid


@pytest.mark.row(67, 97)
@both
async def test_a_track_whose_source_is_not_permitted_any_more(lobby: Lobby, single: bool) -> None:
    alice = await media.join(lobby, "alice", single=single)
    bob = await media.join(lobby, "bob", single=single)
    sound, _ = await alice.publish()
    picture, _ = await alice.publish(kind="video", width=640, height=480)
    await lobby.call(
        "UpdateParticipant",
        {
            "room": lobby.room,
            "identity": "alice",
            "permission": {
                "canSubscribe": True,
                "canPublish": True,
                "canPublishSources": ["MICROPHONE"],
            },
        },
        models.ParticipantInfo,
    )
    unpublished = await alice.signal.expect("track_unpublished")
    assert unpublished.track_sid == picture.sid
    info = await bob.signal.expect_participant(
        "alice",
        lambda p: [t.sid for t in p.tracks] == [sound.sid] and p.permission.can_publish_sources,
    )
    assert list(info.permission.can_publish_sources) == [Source.MICROPHONE]
