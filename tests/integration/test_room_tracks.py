"""Publishing and subscribing in a room on the fake engine, in both topologies."""

from __future__ import annotations

import asyncio

import pytest
from livekit.protocol import models, rtc

from lkpy.engine.api import (
    CloseDownTrack,
    CloseReceiver,
    CreateDownTrack,
    CreateReceiver,
    ReceiverLayersChanged,
    UpdateDownTrack,
    UpdateReceiver,
)
from lkpy.errors import Code, LkpyError
from lkpy.ids import ParticipantIdentity
from lkpy.sdp import Direction, SessionDescription
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

Reason = rtc.RequestResponse.Reason
TOPOLOGIES = pytest.mark.parametrize("single", [True, False], ids=["single", "dual"])


def without_senders(text: str) -> str:
    """The same offer after the client removed its tracks."""
    description = SessionDescription.parse(text)
    for media in description.media:
        if media.direction is Direction.SENDONLY:
            media.direction = Direction.INACTIVE
            media.msids, media.rids, media.simulcast = [], [], None
    return str(description)


# -- publish --------------------------------------------------------------------------------------


@TOPOLOGIES
async def test_publish(single: bool) -> None:
    async with running() as world:
        alice = await world.join("alice", single=single)
        alice.fresh()
        await alice.send(add_track=camera())
        assert alice.kinds() == ["track_published"]
        track = alice.last("track_published").track
        assert alice.last("track_published").cid == VIDEO_CID
        assert track.sid.startswith("TR_VC")
        assert (track.simulcast, track.stream) == (True, "camera")
        await alice.send(add_track=microphone())
        assert alice.last("track_published").track.sid.startswith("TR_AM")
        await alice.offer(PUBLISH_OFFER)
        assert [kind for kind in alice.kinds() if kind != "trickle"] == [
            "track_published",
            "answer",
            "update",
            "update",
        ]
        info = alice.participant.to_proto()
        assert [t.mime_type for t in info.tracks] == ["video/VP8", "audio/red"]
        assert [(layer.rid, layer.spatial_layer) for layer in info.tracks[0].layers] == [
            ("q", 0),
            ("h", 1),
        ]
        video, audio = world.engine.of(CreateReceiver)
        assert [e.rid for e in video.encodings] == ["q", "h"]
        assert video.clock_group == audio.clock_group
        assert not video.screen_share


@TOPOLOGIES
async def test_nothing_is_announced_before_the_publisher_is_connected(single: bool) -> None:
    async with running(auto_connect=False) as world:
        bob = await world.join("bob")
        alice = await world.join("alice", single=single)
        await alice.publish(camera())
        assert world.engine.of(CreateReceiver), "the engine is ready before"
        await world.advance(4)
        assert all(not info.tracks for info in bob.updates("alice"))
        world.engine.connect(alice.participant.transports.publisher.id)
        await world.settle()
        assert len(bob.updates("alice")[-1].tracks) == 1


async def test_add_track_may_come_after_its_media_section() -> None:
    async with running() as world:
        alice = await world.join("alice")
        await alice.offer(PUBLISH_OFFER)
        assert not world.engine.of(CreateReceiver)
        await alice.send(add_track=camera())
        await alice.send(add_track=microphone())
        assert [r.mid for r in world.engine.of(CreateReceiver)] == ["7", "8"]
        assert len(alice.participant.to_proto().tracks) == 2


async def test_a_section_with_another_id_takes_the_first_of_its_kind() -> None:
    async with running() as world:
        alice = await world.join("alice")
        await alice.publish(microphone("other-mic"), camera("other-cam"))
        tracks = {t.type: t for t in alice.participant.to_proto().tracks}
        assert tracks[models.TrackType.VIDEO].codecs[0].cid == "other-cam"
        assert tracks[models.TrackType.VIDEO].codecs[0].sdp_cid == VIDEO_CID
        assert tracks[models.TrackType.AUDIO].codecs[0].sdp_cid == AUDIO_CID


@pytest.mark.parametrize(
    ("request_", "video", "reason"),
    [
        (camera(), {"can_publish": False}, Reason.NOT_ALLOWED),
        (camera(), {"can_publish_sources": ("microphone",)}, Reason.NOT_ALLOWED),
        (rtc.AddTrackRequest(cid="d", type=models.TrackType.DATA), {}, Reason.UNSUPPORTED_TYPE),
        (camera(sid="TR_unknown"), {}, Reason.NOT_FOUND),
    ],
)
async def test_refused_requests(
    request_: rtc.AddTrackRequest, video: dict[str, object], reason: int
) -> None:
    async with running() as world:
        alice = await world.join("alice", video=video)
        alice.fresh()
        await alice.send(add_track=request_)
        assert alice.kinds() == ["request_response"]
        assert alice.last("request_response").reason == reason
        assert alice.last("request_response").add_track == request_


async def test_old_rust_clients_get_no_request_response() -> None:
    async with running() as world:
        client = {"sdk": models.ClientInfo.RUST, "protocol": 9}
        alice = await world.join("alice", client=client, video={"can_publish": False})
        alice.fresh()
        await alice.send(add_track=camera())
        assert alice.kinds() == []


async def test_a_cid_in_use_queues_until_the_track_ends() -> None:
    async with running() as world:
        alice = await world.join("alice")
        await alice.publish(microphone())
        alice.fresh()
        await alice.send(add_track=microphone(name="again"))
        assert alice.kinds() == ["request_response"]
        assert alice.last("request_response").reason == Reason.QUEUED
        for _ in range(3):
            await alice.send(add_track=microphone())
        assert alice.last("request_response").reason == Reason.LIMIT_EXCEEDED
        alice.fresh()
        await alice.offer(without_senders(PUBLISH_OFFER), 3)
        assert alice.kinds() == ["answer", "update", "track_published"]
        assert alice.last("track_published").track.name == "again"
        assert alice.participant.to_proto().tracks == []
        await alice.offer(PUBLISH_OFFER, 4)
        assert [t.name for t in alice.participant.to_proto().tracks] == ["again"]


async def test_unpublish_by_removing_the_sender() -> None:
    async with running() as world:
        alice, bob = await world.join("alice"), await world.join("bob")
        await alice.publish(microphone())
        (receiver,) = world.engine.of(CreateReceiver)
        await bob.offer(JOIN_OFFER)
        (down,) = world.engine.of(CreateDownTrack)
        await alice.offer(without_senders(PUBLISH_OFFER), 3)
        assert CloseReceiver(receiver.receiver) in world.engine.commands
        assert CloseDownTrack(down.down_track) in world.engine.commands
        assert bob.updates("alice")[-1].tracks == []
        assert bob.updates("alice")[-1].is_publisher


async def test_a_subscriber_changes_to_the_codec_that_is_left() -> None:
    async with running() as world:
        alice = await world.join("alice")
        codecs = [
            rtc.SimulcastCodec(codec="opus", cid=AUDIO_CID),
            rtc.SimulcastCodec(codec="pcmu"),
        ]
        (info,) = await alice.publish(microphone(simulcast_codecs=codecs))
        bob = await world.join("bob", single=False)
        description = SessionDescription.parse(PUBLISH_OFFER)
        second = SessionDescription.parse(PUBLISH_OFFER).section("8")
        assert second is not None
        second.mid, second.msids = "9", [type(second.msids[0])("stream", "second")]
        description.media.append(second)
        description.groups[0] = type(description.groups[0])(
            "BUNDLE", tuple(m.mid or "" for m in description.media)
        )
        more = rtc.SimulcastCodec(codec="pcmu", cid="second")
        await alice.send(add_track=microphone(sid=info.sid, simulcast_codecs=[more]))
        await alice.offer(str(description), 3)
        first, backup = (r.receiver for r in world.engine.of(CreateReceiver))
        assert [d.receiver for d in world.engine.down_tracks.values()] == [first]
        description.media[8].direction = Direction.INACTIVE
        description.media[8].msids = []
        await alice.offer(str(description), 4)
        await world.advance(0.5)
        assert [d.receiver for d in world.engine.down_tracks.values()] == [backup]
        assert receives(world, bob) == {info.sid}
        await alice.offer(without_senders(str(description)), 5)
        assert receives(world, bob) == set()


async def test_video_of_the_go_sdk_is_announced_by_its_media() -> None:
    async with running() as world:
        alice = await world.join("alice", client={"sdk": models.ClientInfo.GO})
        await alice.publish(camera(simulcast_codecs=[]), microphone())
        assert [t.type for t in alice.participant.to_proto().tracks] == [models.TrackType.AUDIO]
        video = world.engine.of(CreateReceiver)[0].receiver
        world.engine.inject(ReceiverLayersChanged(video, (0,), "video/h264"))
        await world.settle()
        assert [t.mime_type for t in alice.participant.to_proto().tracks] == [
            "video/H264",
            "audio/red",
        ]


async def test_forced_unpublish() -> None:
    async with running() as world:
        alice, bob = await world.join("alice"), await world.join("bob")
        (info,) = await alice.publish(microphone())
        (track,) = alice.participant.publishing.tracks
        alice.participant.publishing.unpublish(track)
        await world.settle()
        assert alice.last("track_unpublished").track_sid == info.sid
        assert world.engine.receivers == {}
        assert bob.updates("alice")[-1].tracks == []


# -- mute -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["client", "api"])
async def test_mute_and_unmute(by: str) -> None:
    async with running() as world:
        alice, bob = await world.join("alice"), await world.join("bob")
        (track,) = await alice.publish(microphone())
        (receiver,) = world.engine.of(CreateReceiver)
        for muted in (True, False):
            alice.fresh(), bob.fresh()
            if by == "client":
                await alice.send(mute=rtc.MuteTrackRequest(sid=track.sid, muted=muted))
                assert alice.kinds() == ["update"]
            else:
                identity = alice.start.identity
                info = await world.room.api.mute_published_track(identity, track.sid, muted)
                assert info is not None
                assert info.muted is muted
                await world.settle()
                assert sorted(alice.kinds()) == ["mute", "update"]
                assert alice.last("mute") == rtc.MuteTrackRequest(sid=track.sid, muted=muted)
            assert bob.updates("alice")[-1].tracks[0].muted is muted
            assert world.engine.of(UpdateReceiver)[-1] == UpdateReceiver(receiver.receiver, muted)


async def test_a_pending_track_is_muted_before_it_begins() -> None:
    async with running() as world:
        alice = await world.join("alice")
        await alice.send(add_track=microphone())
        sid = alice.last("track_published").track.sid
        await alice.send(mute=rtc.MuteTrackRequest(sid=sid, muted=True))
        await alice.offer(PUBLISH_OFFER)
        assert alice.participant.to_proto().tracks[0].muted
        assert world.engine.of(UpdateReceiver)[-1].muted


async def test_muting_what_is_not_there() -> None:
    async with running() as world:
        alice = await world.join("alice")
        await alice.send(mute=rtc.MuteTrackRequest(sid="TR_no", muted=True))
        assert alice.last("request_response").reason == Reason.NOT_FOUND
        assert (
            await world.room.api.mute_published_track(alice.start.identity, "TR_no", True) is None
        )
        with pytest.raises(LkpyError) as absent:
            await world.room.api.mute_published_track(ParticipantIdentity("nobody"), "TR_no", True)
        assert absent.value.code is Code.NOT_FOUND


# -- subscribe ------------------------------------------------------------------------------------


def receives(world: World, client: Client) -> set[str]:
    """Sids of what flows to a client."""
    return {
        subscribed.track.sid
        for subscribed in client.participant.subscribing.tracks
        if subscribed.handle.id in world.engine.down_tracks
    }


@TOPOLOGIES
async def test_existing_tracks_are_in_the_first_description(single: bool) -> None:
    async with running() as world:
        alice = await world.join("alice")
        tracks = await alice.publish(camera(), microphone())
        bob = await world.join("bob", single=single)
        sids = {track.sid for track in tracks}
        described = bob.all("answer" if single else "offer")[0]
        assert set(described.mid_to_track_id.values()) == sids
        assert receives(world, bob) == sids
        down = world.engine.of(CreateDownTrack)
        assert {d.cname for d in down} == {f"{alice.participant.sid}|{sid}" for sid in sids}
        assert {t.track_sid for t in alice.all("track_subscribed")} == sids
        await world.advance(1)
        assert bob.all("media_sections_requirement") == []
        assert len(bob.all("offer")) == (0 if single else 1)


@TOPOLOGIES
async def test_a_track_published_later_is_negotiated(single: bool) -> None:
    async with running() as world:
        alice, bob = await world.join("alice"), await world.join("bob", single=single)
        await world.advance(1)
        (track,) = await alice.publish(microphone())
        await world.advance(0.3)
        if single:
            requirement = bob.last("media_sections_requirement")
            assert (requirement.num_audios, requirement.num_videos) == (0, 0), "sections are free"
            await bob.offer(JOIN_OFFER)
        assert receives(world, bob) == {track.sid}


async def test_a_client_that_has_not_offered_yet_is_not_asked_to() -> None:
    async with running() as world:
        alice = await world.join("alice")
        (track,) = await alice.publish(microphone())
        bob = await world.join("bob", publisher_offer=None)
        await world.advance(1)
        assert bob.kinds() == ["join", "subscription_permission_update", "refresh_token"]
        await bob.offer(JOIN_OFFER, 1)
        assert set(bob.last("answer").mid_to_track_id.values()) == {track.sid}
        await world.advance(1)
        assert bob.all("media_sections_requirement") == []


async def test_an_offer_that_comes_by_itself_is_not_asked_for() -> None:
    async with running() as world:
        alice = await world.join("alice")
        (track,) = await alice.publish(microphone())
        bob = await world.join("bob")
        await bob.send(subscription=rtc.UpdateSubscription(track_sids=[track.sid]))
        await bob.offer(JOIN_OFFER)
        await world.advance(1)
        assert bob.all("media_sections_requirement") == []
        assert bob.last("answer").mid_to_track_id == {}


async def test_who_is_not_active_is_subscribed_when_it_is() -> None:
    async with running(auto_connect=False) as world:
        alice, bob = await world.join("alice"), await world.join("bob", single=False)
        world.engine.connect(alice.participant.transports.publisher.id)
        await alice.publish(microphone())
        await world.advance(1)
        assert bob.participant.subscribing.tracks == []
        subscriber = bob.participant.transports.subscriber
        assert subscriber is not None
        world.engine.connect(subscriber.id)
        await world.advance(0.5)
        assert len(receives(world, bob)) == 1


async def test_a_track_is_seen_once_it_has_a_connection() -> None:
    async with running(auto_connect=False) as world:
        alice = await world.join("alice")
        world.engine.connect(alice.participant.transports.publisher.id)
        await alice.publish(microphone())
        bob = await world.join("bob")
        assert len(receives(world, bob)) == 1
        assert alice.all("track_subscribed") == []
        world.engine.connect(bob.participant.transports.publisher.id)
        await world.settle()
        assert len(alice.all("track_subscribed")) == 1


async def test_more_sections_are_asked_for() -> None:
    async with running() as world:
        publishers = [await world.join(f"p{index}") for index in range(5)]
        for publisher in publishers:
            await publisher.publish(microphone())
        bob = await world.join("bob")
        await world.advance(0.3)
        assert len(receives(world, bob)) == 3
        requirement = bob.last("media_sections_requirement")
        assert (requirement.num_audios, requirement.num_videos) == (2, 0)
        assert len(bob.all("media_sections_requirement")) == 1


async def test_subscribed_is_told_once_and_not_for_the_hidden() -> None:
    async with running() as world:
        alice = await world.join("alice")
        await alice.publish(microphone())
        await world.join("ghost", video={"hidden": True})
        assert alice.all("track_subscribed") == []
        await world.join("bob")
        await world.join("carol")
        assert len(alice.all("track_subscribed")) == 1


async def test_without_auto_subscribe_only_what_is_asked_for() -> None:
    async with running() as world:
        alice = await world.join("alice")
        video, audio = await alice.publish(camera(), microphone())
        bob = await world.join("bob", single=False, auto_subscribe=False)
        await world.advance(1)
        assert receives(world, bob) == set()
        await bob.send(subscription=rtc.UpdateSubscription(track_sids=[video.sid], subscribe=True))
        by_participant = models.ParticipantTracks(
            participant_sid=alice.participant.sid, track_sids=[audio.sid]
        )
        await bob.send(
            subscription=rtc.UpdateSubscription(participant_tracks=[by_participant], subscribe=True)
        )
        await world.advance(0.5)
        assert receives(world, bob) == {video.sid, audio.sid}
        await bob.send(subscription=rtc.UpdateSubscription(track_sids=[video.sid]))
        assert receives(world, bob) == {audio.sid}
        await world.advance(0.5)
        offered = SessionDescription.parse(bob.last("offer").sdp)
        assert [str(m.direction) for m in offered.media if m.kind == "video"] == ["recvonly"]


async def test_subscribing_before_the_track_exists() -> None:
    async with running() as world:
        alice = await world.join("alice")
        bob = await world.join("bob", single=False, auto_subscribe=False)
        await alice.send(add_track=microphone())
        sid = alice.last("track_published").track.sid
        await bob.send(subscription=rtc.UpdateSubscription(track_sids=[sid], subscribe=True))
        await world.advance(30)
        await alice.offer(PUBLISH_OFFER)
        await world.advance(0.5)
        assert receives(world, bob) == {sid}


async def test_a_track_that_is_not_found_is_given_up() -> None:
    async with running() as world:
        bob = await world.join("bob")
        await bob.send(subscription=rtc.UpdateSubscription(track_sids=["TR_no"], subscribe=True))
        await world.advance(59)
        assert bob.all("subscription_response") == []
        await world.advance(5)
        (failed,) = bob.all("subscription_response")
        assert (failed.track_sid, failed.err) == (
            "TR_no",
            models.SubscriptionError.SE_TRACK_NOTFOUND,
        )


async def test_who_may_not_subscribe_receives_nothing() -> None:
    async with running() as world:
        alice = await world.join("alice")
        await alice.publish(camera())
        bob = await world.join("bob", video={"can_subscribe": False})
        await world.advance(70)
        assert receives(world, bob) == set()
        assert bob.all("subscription_response") == []


async def test_a_codec_that_the_client_lacks() -> None:
    async with running() as world:
        alice = await world.join("alice")
        h264 = camera(simulcast_codecs=[rtc.SimulcastCodec(codec="h264", cid=VIDEO_CID)])
        video, audio = await alice.publish(h264, microphone())
        assert alice.participant.to_proto().tracks[0].mime_type == "video/H264"
        description = SessionDescription.parse(JOIN_OFFER)
        for media in description.media:
            media.codecs = tuple(c for c in media.codecs if c.name != "H264")
        offer = rtc.SessionDescription(type="offer", sdp=str(description), id=1)
        bob = await world.join("bob", publisher_offer=offer)
        (failed,) = bob.all("subscription_response")
        assert failed.track_sid == video.sid
        assert failed.err == models.SubscriptionError.SE_CODEC_UNSUPPORTED
        assert receives(world, bob) == {audio.sid}


@pytest.mark.parametrize(("adaptive", "layer"), [(True, 0), (False, 1)])
async def test_initial_quality(adaptive: bool, layer: int) -> None:
    async with running() as world:
        alice = await world.join("alice")
        await alice.publish(camera())
        await world.join("bob", adaptive_stream=adaptive)
        (down,) = world.engine.of(CreateDownTrack)
        assert (down.max_spatial, down.muted) == (layer, False)


async def test_track_settings() -> None:
    async with running() as world:
        alice = await world.join("alice")
        (track,) = await alice.publish(camera())
        bob = await world.join("bob")
        (down,) = world.engine.of(CreateDownTrack)

        async def settings(**values: object) -> UpdateDownTrack:
            await bob.send(track_setting=rtc.UpdateTrackSettings(track_sids=[track.sid], **values))
            await world.advance(0.2)
            return world.engine.of(UpdateDownTrack)[-1]

        low = await settings(quality=models.VideoQuality.LOW)
        assert low == UpdateDownTrack(down.down_track, 0, 3, False)
        assert (await settings(width=640, height=360)).max_spatial == 1
        assert (await settings(width=320, height=180)).max_spatial == 0
        assert (await settings(disabled=True)).muted
        assert (await settings(quality=models.VideoQuality.HIGH, fps=8)).max_temporal == 0
        count = len(world.engine.of(UpdateDownTrack))
        await settings(quality=models.VideoQuality.HIGH, fps=8)
        assert len(world.engine.of(UpdateDownTrack)) == count, "nothing changed"


@pytest.mark.parametrize(("adaptive", "muted"), [(True, False), (False, True)])
async def test_settings_may_come_before_the_track(adaptive: bool, muted: bool) -> None:
    async with running() as world:
        alice = await world.join("alice")
        bob = await world.join("bob", single=False, adaptive_stream=adaptive)
        await alice.send(add_track=camera())
        sid = alice.last("track_published").track.sid
        await bob.send(
            track_setting=rtc.UpdateTrackSettings(
                track_sids=[sid], disabled=True, quality=models.VideoQuality.LOW
            )
        )
        await alice.offer(PUBLISH_OFFER)
        await world.advance(0.5)
        (down,) = world.engine.of(CreateDownTrack)
        assert (down.max_spatial, down.muted) == (0, muted)


async def test_unknown_sdp_and_candidates() -> None:
    async with running() as world:
        alice, bob = await world.join("alice"), await world.join("bob")
        await alice.send(trickle=rtc.TrickleRequest(candidateInit="{", target=0))
        assert alice.last("request_response").reason == Reason.UNCLASSIFIED_ERROR
        assert alice.last("request_response").HasField("trickle")
        await alice.offer("this is no SDP")
        assert alice.last("leave").reason == models.DisconnectReason.STATE_MISMATCH
        assert alice.last("leave").action == rtc.LeaveRequest.Action.RECONNECT
        assert not bob.left


async def test_no_answer_ends_in_a_fresh_join(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running() as world:
        alice = await world.join("alice")
        bob = await world.join("bob", single=False)
        monkeypatch.setattr(bob, "answer", lambda offer: None)
        await alice.publish(microphone())
        await world.advance(14)
        assert not bob.left
        await world.advance(2)
        assert bob.last("leave").action == rtc.LeaveRequest.Action.RECONNECT


# -- statistics -----------------------------------------------------------------------------------


async def test_snapshot_names_everything() -> None:
    async with running() as world:
        alice = await world.join("alice")
        video, _ = await alice.publish(camera(), microphone())
        await world.join("bob", single=False)
        collected = asyncio.ensure_future(world.hub.collect_stats())
        await world.settle()
        snapshot = await world.room.snapshot(await collected)
        assert (snapshot.sid, snapshot.name) == ("RM_1", "lobby")
        first, second = snapshot.participants
        assert (first.identity, first.state, first.topology) == ("alice", "active", "single")
        assert next(t.sid for t in first.published) == video.sid
        assert first.published[0].subscribers == 1
        assert [layer.rid for layer in first.published[0].layers] == ["q", "h"]
        assert [t.target for t in second.transports] == ["publisher", "subscriber"]
        assert second.transports[1].dtls_state == "connected"
        assert {d.track_sid for d in second.subscribed} == {t.sid for t in first.published}
