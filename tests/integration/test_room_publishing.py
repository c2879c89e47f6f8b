"""What publishers say of their tracks, before and after these have media."""

from __future__ import annotations

import re

import pytest
from livekit.protocol import models, rtc

from lkpy.server.rtc.options import RoomOptions
from tests.integration.test_room_tracks import without_senders
from tests.room_kit import PUBLISH_OFFER, VIDEO_CID, camera, microphone, running

Feature = models.AudioTrackFeature
Reason = rtc.RequestResponse.Reason


# -- updates --------------------------------------------------------------------------------------


async def test_audio_features_are_replaced() -> None:
    async with running() as world:
        alice, bob = await world.join("alice"), await world.join("bob")
        (track,) = await alice.publish(microphone(audio_features=[Feature.TF_ECHO_CANCELLATION]))
        alice.fresh()
        features = [Feature.TF_STEREO, Feature.TF_NO_DTX, Feature.TF_STEREO]
        update = rtc.UpdateLocalAudioTrack(track_sid=track.sid, features=features)
        await alice.send(update_audio_track=update)
        assert alice.kinds() == ["update"]
        (seen,) = bob.updates("alice")[-1].tracks
        assert list(seen.audio_features) == [Feature.TF_STEREO, Feature.TF_NO_DTX]
        assert (seen.stereo, seen.disable_dtx) == (True, True)
        await alice.send(update_audio_track=rtc.UpdateLocalAudioTrack(track_sid=track.sid))
        (seen,) = bob.updates("alice")[-1].tracks
        assert (list(seen.audio_features), seen.stereo) == ([], False)


async def test_video_sizes_change() -> None:
    async with running() as world:
        alice, bob = await world.join("alice"), await world.join("bob")
        (track,) = await alice.publish(camera())
        update = rtc.UpdateLocalVideoTrack(track_sid=track.sid, width=640, height=360)
        await alice.send(update_video_track=update)
        (seen,) = bob.updates("alice")[-1].tracks
        assert (seen.width, seen.height) == (640, 360)


async def test_pending_tracks_are_updated_in_silence() -> None:
    async with running() as world:
        alice = await world.join("alice")
        await alice.send(add_track=microphone())
        await alice.send(add_track=camera())
        audio, video = (p.track.sid for p in alice.all("track_published"))
        alice.fresh()
        await alice.send(
            update_audio_track=rtc.UpdateLocalAudioTrack(
                track_sid=audio, features=[Feature.TF_STEREO]
            )
        )
        await alice.send(
            update_video_track=rtc.UpdateLocalVideoTrack(track_sid=video, width=1, height=2)
        )
        assert alice.kinds() == []
        await alice.offer(PUBLISH_OFFER)
        tracks = {t.sid: t for t in alice.participant.to_proto().tracks}
        assert tracks[audio].stereo
        assert (tracks[video].width, tracks[video].height) == (1, 2)


@pytest.mark.parametrize(
    ("name", "update"),
    [
        ("update_audio_track", rtc.UpdateLocalAudioTrack(track_sid="TR_no")),
        ("update_video_track", rtc.UpdateLocalVideoTrack(track_sid="TR_no", width=1)),
    ],
)
async def test_updates_of_what_is_not_there(name: str, update: object) -> None:
    async with running() as world:
        alice = await world.join("alice")
        alice.fresh()
        await alice.send(**{name: update})
        assert alice.kinds() == ["request_response"]
        response = alice.last("request_response")
        assert response.reason == Reason.NOT_FOUND
        assert getattr(response, name) == update


# -- queues ---------------------------------------------------------------------------------------


async def test_a_queued_track_is_muted_and_published_when_the_first_ends() -> None:
    async with running() as world:
        alice = await world.join("alice")
        (first,) = await alice.publish(camera())
        await alice.send(add_track=camera(name="second"))
        assert alice.last("request_response").reason == Reason.QUEUED
        await alice.offer(without_senders(PUBLISH_OFFER), 3)
        second = alice.last("track_published")
        assert (second.cid, second.track.name) == (VIDEO_CID, "second")
        assert second.track.sid != first.sid
        await alice.offer(PUBLISH_OFFER, 4)
        (track,) = alice.participant.to_proto().tracks
        assert track.sid == second.track.sid


async def test_a_track_queued_behind_a_pending_one_has_its_sid() -> None:
    async with running() as world:
        alice = await world.join("alice")
        await alice.send(add_track=camera())
        await alice.send(add_track=camera())
        sid = alice.last("track_published").track.sid
        assert alice.last("request_response").reason == Reason.QUEUED
        await alice.send(mute=rtc.MuteTrackRequest(sid=sid, muted=True))
        await alice.offer(PUBLISH_OFFER, 3)
        await alice.offer(without_senders(PUBLISH_OFFER), 4)
        published = alice.last("track_published").track
        assert (published.sid, published.muted) == (sid, True)


async def test_a_media_section_that_cannot_be_used_is_told() -> None:
    async with running() as world:
        alice = await world.join("alice")
        await alice.send(add_track=camera())
        await alice.offer(re.sub(r"(a=rtpmap:\d+) [^/]+/90000", r"\1 theora/90000", PUBLISH_OFFER))
        refusal = alice.last("request_response")
        assert refusal.reason == Reason.UNSUPPORTED_TYPE
        assert refusal.add_track.cid == VIDEO_CID
        assert "no codec of it is enabled: theora/90000" in refusal.message
        assert not alice.left
        alice.fresh()
        await alice.offer(PUBLISH_OFFER, offer_id=3)
        assert "request_response" not in alice.kinds()
        assert len(alice.participant.to_proto().tracks) == 1


async def test_media_without_permission_is_unpublished() -> None:
    async with running() as world:
        alice, bob = await world.join("alice"), await world.join("bob")
        await alice.send(add_track=camera())
        alice.participant.claims.permission.can_publish_sources.append(
            models.TrackSource.MICROPHONE
        )
        await alice.offer(PUBLISH_OFFER)
        sid = alice.last("track_published").track.sid
        assert alice.last("track_unpublished").track_sid == sid
        assert all(not info.tracks for info in bob.updates("alice"))


# -- tracks that do not come ----------------------------------------------------------------------


@pytest.mark.parametrize("reconnects", [True, False])
async def test_a_track_that_is_not_sent(reconnects: bool) -> None:
    async with running(options=RoomOptions(reconnect_on_publication_error=reconnects)) as world:
        alice = await world.join("alice")
        await alice.send(add_track=camera())
        await world.advance(29)
        assert not alice.left
        await world.advance(2)
        assert alice.left is reconnects
        if reconnects:
            leave = alice.last("leave")
            assert leave.action == rtc.LeaveRequest.Action.RECONNECT
            assert leave.reason == models.DisconnectReason.STATE_MISMATCH


async def test_a_muted_track_and_a_published_one_have_time() -> None:
    async with running(options=RoomOptions(reconnect_on_publication_error=True)) as world:
        alice, bob = await world.join("alice"), await world.join("bob")
        await alice.publish(camera(), microphone())
        await bob.send(add_track=camera(muted=True))
        sid = bob.last("track_published").track.sid
        await world.advance(40)
        assert not alice.left
        assert not bob.left
        await bob.send(mute=rtc.MuteTrackRequest(sid=sid, muted=False))
        await world.advance(29)
        assert not bob.left
        await world.advance(2)
        assert bob.left


async def test_tracks_that_never_came_make_room_when_there_is_none() -> None:
    async with running() as world:
        alice = await world.join("alice")
        for number in range(20):
            await alice.send(add_track=camera(cid=f"c{number}", muted=number == 0))
        await world.advance(29)
        alice.fresh()
        await alice.send(add_track=camera(cid="more"))
        assert alice.kinds() == ["request_response"]
        assert alice.last("request_response").reason == Reason.LIMIT_EXCEEDED
        await world.advance(2)
        alice.fresh()
        await alice.send(add_track=camera(cid="more"))
        assert alice.kinds() == ["track_unpublished"] * 19 + ["track_published"]
        assert alice.last("track_published").cid == "more"
        # A muted one has time.
        assert alice.participant.publishing.tracks.pending == 2


async def test_no_connection_no_hurry() -> None:
    options = RoomOptions(reconnect_on_publication_error=True)
    async with running(auto_connect=False, options=options) as world:
        alice = await world.join("alice")
        await alice.send(add_track=camera())
        await world.advance(35)
        assert not alice.left
        world.engine.connect(alice.participant.transports.publisher.id)
        await world.advance(29)
        assert not alice.left
        await world.advance(2)
        assert alice.left
