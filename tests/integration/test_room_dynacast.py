"""What publishers are told to send, and how subscribers change from one codec to another."""

from __future__ import annotations

import pytest
from livekit.protocol import models, rtc

from lkpy.engine.api import CreateReceiver, ReceiverLayersChanged, UpdateDownTrack
from lkpy.sdp import Msid, SessionDescription
from lkpy.server.rtc.options import RoomOptions, VideoOptions
from tests.room_kit import (
    AUDIO_CID,
    JOIN_OFFER,
    PUBLISH_OFFER,
    VIDEO_CID,
    Client,
    World,
    camera,
    microphone,
    running,
)

OFF, LOW, HIGH = models.VideoQuality.OFF, models.VideoQuality.LOW, models.VideoQuality.HIGH
Policy = models.BackupCodecPolicy


def told(client: Client) -> list[dict[str, int]]:
    """The highest quality of each codec in every update so far; -1: none."""
    return [
        {
            codec.codec: max((q.quality for q in codec.qualities if q.enabled), default=-1)
            for codec in update.subscribed_codecs
        }
        for update in client.all("subscribed_quality_update")
    ]


async def settings(client: Client, sid: str, **values: object) -> None:
    await client.send(track_setting=rtc.UpdateTrackSettings(track_sids=[sid], **values))


def receivers(world: World, client: Client) -> list[int]:
    """Engine receivers that are forwarded to a client."""
    return [
        world.engine.down_tracks[s.handle.id].receiver
        for s in client.participant.subscribing.tracks
        if s.handle.id in world.engine.down_tracks
    ]


# -- dynacast -------------------------------------------------------------------------------------


async def test_nobody_looks() -> None:
    async with running() as world:
        alice = await world.join("alice")
        (track,) = await alice.publish(camera())
        await world.advance(9)
        assert told(alice) == []
        await world.advance(1.5)
        assert told(alice) == [{"vp8": -1}]
        assert alice.last("subscribed_quality_update").track_sid == track.sid


async def test_subscribers_come_change_and_go() -> None:
    async with running() as world:
        alice = await world.join("alice")
        (track,) = await alice.publish(camera())
        bob = await world.join("bob", single=False)
        assert told(alice) == [{"vp8": HIGH}]
        await settings(bob, track.sid, quality=LOW)
        await world.advance(4.9)
        assert told(alice) == [{"vp8": HIGH}]
        await world.advance(0.5)
        assert told(alice)[1:] == [{"vp8": LOW}]
        await settings(bob, track.sid, disabled=True)
        await world.advance(5.5)
        assert told(alice)[2:] == [{"vp8": -1}]
        await settings(bob, track.sid, quality=HIGH)
        assert told(alice)[3:] == [{"vp8": HIGH}], "what becomes visible is told at once"
        await bob.send(leave=rtc.LeaveRequest())
        await world.advance(5.5)
        assert told(alice)[4:] == [{"vp8": -1}]


async def test_an_adaptive_subscriber_is_first_given_everything() -> None:
    async with running() as world:
        alice = await world.join("alice")
        await alice.publish(camera())
        await world.join("bob", adaptive_stream=True)
        await world.advance(5.5)
        assert told(alice) == [{"vp8": HIGH}, {"vp8": LOW}]


async def test_answers_are_followed_by_what_nobody_needs() -> None:
    """An answer does not say which layers are paused, and clients begin them again."""
    async with running() as world:
        alice = await world.join("alice")
        (track,) = await alice.publish(camera())
        bob = await world.join("bob", single=False)
        await world.advance(3)
        assert told(alice) == [{"vp8": HIGH}], "nothing is paused"
        await settings(bob, track.sid, quality=LOW)
        await world.advance(5.5)
        assert told(alice)[1:] == [{"vp8": LOW}]
        await alice.offer(PUBLISH_OFFER, 10)
        await world.advance(1.9)
        assert told(alice)[2:] == []
        await world.advance(0.2)
        assert told(alice)[2:] == [{"vp8": LOW}]
        await world.advance(20)
        assert told(alice)[3:] == []
        # Answers in a row count as one, but not for ever.
        for number in range(5):
            await alice.offer(PUBLISH_OFFER, 11 + number)
            await world.advance(1.5)
        assert told(alice)[3:] == []
        await alice.offer(PUBLISH_OFFER, 20)
        await world.advance(0.6)
        assert told(alice)[3:] == [{"vp8": LOW}]


async def test_the_pause_is_configured() -> None:
    options = RoomOptions(video=VideoOptions(dynacast_pause_delay_s=0))
    async with running(options=options) as world:
        alice = await world.join("alice")
        (track,) = await alice.publish(camera())
        bob = await world.join("bob", single=False)
        await bob.send(subscription=rtc.UpdateSubscription(track_sids=[track.sid]))
        assert told(alice) == [{"vp8": HIGH}, {"vp8": -1}]


async def test_nothing_is_told_while_muted() -> None:
    async with running() as world:
        alice = await world.join("alice")
        (track,) = await alice.publish(camera())
        bob = await world.join("bob", single=False)
        await alice.send(mute=rtc.MuteTrackRequest(sid=track.sid, muted=True))
        await settings(bob, track.sid, quality=LOW)
        await world.advance(7)
        assert told(alice) == [{"vp8": HIGH}]
        await alice.send(mute=rtc.MuteTrackRequest(sid=track.sid, muted=False))
        assert told(alice)[1:] == [{"vp8": LOW}]


async def test_a_track_that_is_gone_is_told_nothing() -> None:
    async with running() as world:
        alice = await world.join("alice")
        await alice.publish(camera())
        (track,) = alice.participant.publishing.tracks
        alice.participant.publishing.unpublish(track)
        await world.advance(11)
        assert told(alice) == []


async def test_a_layer_is_not_stopped_while_none_that_is_wanted_comes() -> None:
    async with running() as world:
        alice = await world.join("alice")
        (track,) = await alice.publish(camera())
        (receiver,) = world.engine.receivers
        bob = await world.join("bob", single=False)
        await settings(bob, track.sid, quality=LOW)
        world.engine.inject(ReceiverLayersChanged(receiver, (1,), "video/vp8"))
        await world.advance(10)
        assert told(alice) == [{"vp8": HIGH}]
        world.engine.inject(ReceiverLayersChanged(receiver, (), "video/vp8"))
        await world.advance(10)
        assert told(alice) == [{"vp8": HIGH}]
        world.engine.inject(ReceiverLayersChanged(receiver, (0, 1), "video/vp8"))
        await world.advance(6)
        assert told(alice) == [{"vp8": HIGH}, {"vp8": LOW}]


# -- settings -------------------------------------------------------------------------------------


async def test_settings_are_debounced_unless_something_appears() -> None:
    async with running() as world:
        alice = await world.join("alice")
        (track,) = await alice.publish(camera())
        bob = await world.join("bob", single=False)
        for width in (1280, 640, 320):
            await settings(bob, track.sid, width=width, height=width * 9 // 16)
        assert world.engine.of(UpdateDownTrack) == []
        await world.advance(0.25)
        assert [u.max_spatial for u in world.engine.of(UpdateDownTrack)] == [0]
        await settings(bob, track.sid, disabled=True)
        await world.advance(0.25)
        await settings(bob, track.sid, quality=HIGH)
        last = world.engine.of(UpdateDownTrack)[-1]
        assert (last.max_spatial, last.muted) == (1, False)


async def test_settings_are_of_one_subscription() -> None:
    async with running() as world:
        alice = await world.join("alice")
        (track,) = await alice.publish(camera())
        bob = await world.join("bob", single=False)
        await settings(bob, track.sid, quality=LOW)
        for subscribe in (False, True):
            update = rtc.UpdateSubscription(track_sids=[track.sid], subscribe=subscribe)
            await bob.send(subscription=update)
            await world.advance(1)
        (down,) = world.engine.down_tracks.values()
        assert down.max_spatial == 1


# -- other codecs than were agreed on --------------------------------------------------------------


async def test_a_client_that_sends_another_codec_than_it_named_is_received() -> None:
    async with running() as world:
        alice = await world.join("alice")
        await alice.publish(camera())
        bob = await world.join("bob", single=False)
        (receiver,) = world.engine.receivers
        (down,) = world.engine.down_tracks.values()
        assert {codec.mime_type for codec in down.codecs} == {"video/vp8"}
        world.engine.inject(ReceiverLayersChanged(receiver, (0,), "video/h264"))
        await world.advance(1)
        (info,) = alice.participant.to_proto().tracks
        assert (info.mime_type, info.codecs[0].mime_type) == ("video/H264", "video/H264")
        (down,) = world.engine.down_tracks.values()
        assert {codec.mime_type for codec in down.codecs} == {"video/h264"}
        assert receivers(world, bob) == [receiver]


async def test_a_client_that_sends_its_backup_codec_first_is_received() -> None:
    async with running() as world:
        alice = await world.join("alice")
        await alice.publish(with_codec())
        bob = await world.join("bob", single=False)
        (receiver,) = world.engine.receivers
        world.engine.inject(ReceiverLayersChanged(receiver, (0,), "video/vp8"))
        await world.advance(1)
        (down,) = world.engine.down_tracks.values()
        assert {codec.mime_type for codec in down.codecs} == {"video/vp8"}
        assert receivers(world, bob) == [receiver]
        assert told(alice)[-1]["vp8"] == HIGH


# -- backup codecs --------------------------------------------------------------------------------


def with_codec(policy: Policy = Policy.SIMULCAST) -> rtc.AddTrackRequest:
    """A camera in VP9 that may be sent in VP8 too."""
    codecs = [rtc.SimulcastCodec(codec="vp9", cid=VIDEO_CID), rtc.SimulcastCodec(codec="vp8")]
    return camera(simulcast_codecs=codecs, backup_codec_policy=policy)


def backup(sid: str, cid: str = "backup") -> rtc.AddTrackRequest:
    """The announcement of the VP8 that follows."""
    return camera(VIDEO_CID, sid=sid, simulcast_codecs=[rtc.SimulcastCodec(codec="vp8", cid=cid)])


def two_sections(cid: str) -> str:
    """The publisher's offer with a further video section."""
    description = SessionDescription.parse(PUBLISH_OFFER)
    more = SessionDescription.parse(PUBLISH_OFFER).section("7")
    assert more is not None
    more.mid, more.msids = "9", [Msid("stream", cid)]
    description.media.append(more)
    description.groups[0] = type(description.groups[0])(
        "BUNDLE", tuple(m.mid or "" for m in description.media)
    )
    return str(description)


def offer_without(name: str) -> rtc.SessionDescription:
    """The offer of a client that lacks a codec."""
    description = SessionDescription.parse(JOIN_OFFER)
    for media in description.media:
        media.codecs = tuple(c for c in media.codecs if c.name != name)
    return rtc.SessionDescription(type="offer", sdp=str(description), id=1)


async def test_a_backup_codec_is_asked_for_when_somebody_needs_it() -> None:
    async with running() as world:
        alice = await world.join("alice")
        (track,) = await alice.publish(with_codec())
        assert [c.mime_type for c in track.codecs] == ["video/vp9", "video/vp8"]
        bob = await world.join("bob")
        assert told(alice) == [{"vp9": HIGH}]
        old = await world.join("old", publisher_offer=offer_without("VP9"))
        assert told(alice)[1:] == [{"vp9": HIGH, "vp8": HIGH}]
        assert receivers(world, old) == []
        assert old.all("subscription_response") == []
        await alice.send(add_track=backup(track.sid))
        assert alice.last("track_published").track.codecs[1].cid == "backup"
        await alice.offer(two_sections("backup"), 3)
        first, second = (r.receiver for r in world.engine.of(CreateReceiver))
        assert receivers(world, bob) == [first]
        assert receivers(world, old) == [second]
        (info,) = alice.participant.to_proto().tracks
        assert [(c.mime_type, c.mid) for c in info.codecs] == [
            ("video/VP9", "7"),
            ("video/VP8", "9"),
        ]
        assert info.mime_type == "video/VP9"


async def test_a_backup_codec_may_be_named_by_its_section_only() -> None:
    async with running() as world:
        alice = await world.join("alice")
        (track,) = await alice.publish(with_codec())
        await alice.send(add_track=backup(track.sid))
        await alice.offer(two_sections("renamed by the browser"), 3)
        (info,) = alice.participant.to_proto().tracks
        assert [c.sdp_cid for c in info.codecs] == ["", "renamed by the browser"]
        assert len(world.engine.of(CreateReceiver)) == 2


@pytest.mark.parametrize(
    ("policy", "threshold", "regresses"),
    [
        (Policy.REGRESSION, 1, True),
        (Policy.PREFER_REGRESSION, 5, True),
        (Policy.PREFER_REGRESSION, 0, True),
        (Policy.PREFER_REGRESSION, 2, False),
        (Policy.SIMULCAST, 5, False),
    ],
)
async def test_regression(policy: Policy, threshold: int, regresses: bool) -> None:
    options = RoomOptions(video=VideoOptions(codec_regression_threshold=threshold))
    async with running(options=options) as world:
        alice = await world.join("alice")
        (track,) = await alice.publish(with_codec(policy))
        bob = await world.join("bob", single=False)
        ssrc = bob.participant.subscribing.tracks[0].handle.ssrc
        sections = len(SessionDescription.parse(bob.last("offer").sdp).media)
        await alice.send(add_track=backup(track.sid))
        await alice.offer(two_sections("backup"), 3)
        await world.advance(1)
        first, second = (r.receiver for r in world.engine.of(CreateReceiver))
        assert receivers(world, bob) == [second if regresses else first]
        if not regresses:
            return
        await world.advance(6)
        assert told(alice)[-1] == {"vp9": -1, "vp8": HIGH}
        offered = SessionDescription.parse(bob.last("offer").sdp)
        assert len(offered.media) == sections, "the track stays in its section"
        assert ssrc not in offered.media[1].ssrcs, "another encoder's packets have another SSRC"
        carol = await world.join("carol")
        assert receivers(world, carol) == [second]


async def test_what_is_hidden_stays_so_in_another_codec() -> None:
    async with running() as world:
        alice = await world.join("alice")
        (track,) = await alice.publish(with_codec(Policy.REGRESSION))
        bob = await world.join("bob", single=False, adaptive_stream=True)
        await settings(bob, track.sid, disabled=True)
        await world.advance(1)
        await alice.send(add_track=backup(track.sid))
        await alice.offer(two_sections("backup"), 3)
        await world.advance(1)
        (down,) = world.engine.down_tracks.values()
        updates = [u for u in world.engine.of(UpdateDownTrack) if u.down_track == down.down_track]
        assert [down.muted, *(u.muted for u in updates)] == [True]


@pytest.mark.parametrize("sdk", [models.ClientInfo.GO, models.ClientInfo.JS])
async def test_a_client_that_cannot_change_codecs_subscribes_anew(sdk: int) -> None:
    async with running() as world:
        alice = await world.join("alice")
        (track,) = await alice.publish(with_codec(Policy.REGRESSION))
        bob = await world.join("bob", single=False, client={"sdk": sdk, "protocol": 16})
        handle = bob.participant.subscribing.tracks[0].handle
        await alice.send(add_track=backup(track.sid))
        await alice.offer(two_sections("backup"), 3)
        await world.advance(1)
        _, second = (r.receiver for r in world.engine.of(CreateReceiver))
        assert receivers(world, bob) == [second]
        same = bob.participant.subscribing.tracks[0].handle is handle
        assert same is (sdk == models.ClientInfo.JS)


async def test_audio_codecs_in_use() -> None:
    async with running() as world:
        alice = await world.join("alice")
        codecs = [
            rtc.SimulcastCodec(codec="opus", cid=AUDIO_CID),
            rtc.SimulcastCodec(codec="pcmu"),
        ]
        (track,) = await alice.publish(microphone(simulcast_codecs=codecs))
        await world.join("bob")
        (update,) = alice.all("subscribed_audio_codec_update")
        assert update.track_sid == track.sid
        assert [(c.codec, c.enabled) for c in update.subscribed_audio_codecs] == [("opus", True)]
        await world.join("carol", publisher_offer=offer_without("opus"))
        assert [
            (c.codec, c.enabled)
            for c in alice.last("subscribed_audio_codec_update").subscribed_audio_codecs
        ] == [("opus", True), ("pcmu", True)]
