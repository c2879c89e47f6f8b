"""Who may subscribe to what, how many at a time, and what a client is told of failures."""

from __future__ import annotations

import logging

import pytest
from livekit.protocol import models, rtc

from lkpy.engine.api import CreateDownTrack
from lkpy.limits import Limits
from lkpy.sdp import SessionDescription
from lkpy.server.rtc.options import PlayoutDelay, RoomOptions, RoomSettings
from tests.room_kit import (
    JOIN_OFFER,
    Client,
    World,
    camera,
    microphone,
    running,
)

SE = models.SubscriptionError


def receives(world: World, client: Client) -> set[str]:
    """Sids of what flows to a client."""
    return {
        subscribed.track.sid
        for subscribed in client.participant.subscribing.tracks
        if subscribed.handle.id in world.engine.down_tracks
    }


def only(*entries: rtc.TrackPermission) -> rtc.SubscriptionPermission:
    """Nobody but those of ``entries``."""
    return rtc.SubscriptionPermission(all_participants=False, track_permissions=entries)


def allowed(client: Client, sid: str) -> list[bool]:
    """What a client was told of its permission for a track."""
    return [u.allowed for u in client.all("subscription_permission_update") if u.track_sid == sid]


# -- permissions of the publisher -----------------------------------------------------------------


async def test_a_publisher_revokes_and_allows_again() -> None:
    async with running() as world:
        alice = await world.join("alice")
        video, audio = await alice.publish(camera(), microphone())
        bob = await world.join("bob", single=False)
        assert receives(world, bob) == {video.sid, audio.sid}
        assert allowed(bob, video.sid) == [True]
        await alice.send(subscription_permission=only())
        await world.advance(0.5)
        assert receives(world, bob) == set()
        assert allowed(bob, video.sid) == [True, False]
        assert bob.last("subscription_permission_update").participant_sid == alice.participant.sid
        one = rtc.TrackPermission(participant_identity="bob", track_sids=[audio.sid])
        await alice.send(subscription_permission=only(one))
        await world.advance(0.5)
        assert receives(world, bob) == {audio.sid}
        everything = rtc.TrackPermission(participant_sid=bob.participant.sid, all_tracks=True)
        await alice.send(subscription_permission=only(everything))
        await world.advance(0.5)
        assert receives(world, bob) == {video.sid, audio.sid}
        assert allowed(bob, video.sid) == [True, False, True]


async def test_permissions_hold_for_who_joins_later_and_for_tracks_to_come() -> None:
    async with running() as world:
        alice = await world.join("alice")
        await alice.send(
            subscription_permission=only(
                rtc.TrackPermission(participant_identity="bob", all_tracks=True)
            )
        )
        (track,) = await alice.publish(microphone())
        bob, carol = await world.join("bob"), await world.join("carol", single=False)
        assert receives(world, bob) == {track.sid}
        assert receives(world, carol) == set()
        assert allowed(carol, track.sid) == [False]
        await world.advance(100)
        assert carol.all("subscription_response") == [], "tried for ever"
        everybody = rtc.SubscriptionPermission(all_participants=True)
        await alice.send(subscription_permission=everybody)
        await world.advance(0.5)
        assert receives(world, carol) == {track.sid}


async def test_an_entry_for_nobody_changes_nothing() -> None:
    async with running() as world:
        alice = await world.join("alice")
        (track,) = await alice.publish(microphone())
        bob = await world.join("bob")
        await alice.send(subscription_permission=only(rtc.TrackPermission(all_tracks=True)))
        await world.advance(4)
        assert receives(world, bob) == {track.sid}
        assert not alice.left


async def test_recorders_are_exempt() -> None:
    async with running() as world:
        alice = await world.join("alice")
        (track,) = await alice.publish(microphone())
        recorder = await world.join("rec", video={"recorder": True, "hidden": True})
        egress = await world.join("egress", grants={"kind": "egress"})
        await alice.send(subscription_permission=only())
        await world.advance(4)
        assert receives(world, recorder) == receives(world, egress) == {track.sid}


# -- the participant's own permission -------------------------------------------------------------


async def test_can_subscribe_is_lost_and_regained() -> None:
    async with running() as world:
        alice = await world.join("alice")
        (track,) = await alice.publish(microphone())
        bob = await world.join("bob", single=False)
        permission = bob.participant.claims.permission
        permission.can_subscribe = False
        bob.participant.subscribing.reconcile()
        await world.advance(70)
        assert receives(world, bob) == set()
        permission.can_subscribe = True
        bob.participant.subscribing.reconcile()
        await world.advance(0.5)
        assert receives(world, bob) == {track.sid}
        assert allowed(bob, track.sid) == [True], "its publisher has changed nothing"


async def test_tracks_that_may_not_be_published_any_more() -> None:
    async with running() as world:
        alice, bob = await world.join("alice"), await world.join("bob")
        video, audio = await alice.publish(camera(), microphone())
        permission = alice.participant.claims.permission
        permission.can_publish_sources.append(models.TrackSource.MICROPHONE)
        alice.participant.publishing.unpublish_disallowed()
        await world.settle()
        assert [u.track_sid for u in alice.all("track_unpublished")] == [video.sid]
        assert [t.sid for t in bob.updates("alice")[-1].tracks] == [audio.sid]


# -- limits ---------------------------------------------------------------------------------------


async def test_a_limit_holds_until_a_subscription_ends() -> None:
    limits = Limits(subscription_limit_audio=1)
    async with running(options=RoomOptions(limits=limits)) as world:
        alice, carol = await world.join("alice"), await world.join("carol")
        video, first = await alice.publish(camera(), microphone())
        (second,) = await carol.publish(microphone())
        bob = await world.join("bob", single=False)
        assert receives(world, bob) == {video.sid, first.sid}
        await world.advance(70)
        assert bob.all("subscription_response") == []
        assert receives(world, bob) == {video.sid, first.sid}
        await bob.send(subscription=rtc.UpdateSubscription(track_sids=[first.sid]))
        await world.advance(0.5)
        assert receives(world, bob) == {video.sid, second.sid}


async def test_a_limit_is_relieved_by_an_unpublished_track() -> None:
    limits = Limits(subscription_limit_video=1)
    async with running(options=RoomOptions(limits=limits)) as world:
        alice, carol = await world.join("alice"), await world.join("carol")
        await alice.publish(camera())
        (second,) = await carol.publish(camera())
        bob = await world.join("bob", single=False)
        await alice.send(leave=rtc.LeaveRequest())
        await world.advance(0.5)
        assert receives(world, bob) == {second.sid}


# -- failures -------------------------------------------------------------------------------------


async def test_what_the_client_does_not_negotiate() -> None:
    async with running() as world:
        alice = await world.join("alice")
        video = (await alice.publish(camera()))[0]
        # Nothing to receive in, and this client never offers more.
        description = SessionDescription.parse(JOIN_OFFER)
        data = next(m for m in description.media if m.kind == "application")
        description.media = [data]
        description.groups[0] = type(description.groups[0])("BUNDLE", (data.mid or "",))
        offer = rtc.SessionDescription(type="offer", sdp=str(description), id=1)
        bob = await world.join("bob", publisher_offer=offer)
        await world.advance(14)
        assert bob.all("subscription_response") == []
        await world.advance(4)
        (failed,) = bob.all("subscription_response")
        assert (failed.track_sid, failed.err) == (video.sid, SE.SE_UNKNOWN)
        assert not bob.left


async def test_a_failed_subscription_is_a_fresh_join_if_so_configured() -> None:
    async with running(options=RoomOptions(reconnect_on_subscription_error=True)) as world:
        alice = await world.join("alice")
        await alice.publish(camera())
        description = SessionDescription.parse(JOIN_OFFER)
        data = next(m for m in description.media if m.kind == "application")
        description.media = [data]
        description.groups[0] = type(description.groups[0])("BUNDLE", (data.mid or "",))
        offer = rtc.SessionDescription(type="offer", sdp=str(description), id=1)
        bob = await world.join("bob", publisher_offer=offer)
        await world.advance(19)
        assert bob.last("leave").action == rtc.LeaveRequest.Action.RECONNECT
        assert bob.left


async def test_unsubscribing_and_subscribing_at_once_keeps_the_description_small() -> None:
    async with running() as world:
        alice = await world.join("alice")
        (track,) = await alice.publish(microphone())
        bob = await world.join("bob", single=False)
        for _ in range(3):
            for subscribe in (False, True):
                await bob.send(
                    subscription=rtc.UpdateSubscription(track_sids=[track.sid], subscribe=subscribe)
                )
            await world.advance(1)
            assert receives(world, bob) == {track.sid}
        audio = [
            m for m in SessionDescription.parse(bob.last("offer").sdp).media if m.kind == "audio"
        ]
        assert len(audio) == 1
        assert len(world.engine.of(CreateDownTrack)) == 4


async def test_who_receives_a_publisher_hears_that_it_speaks() -> None:
    async with running() as world:
        alice = await world.join("alice")
        await alice.publish(camera(), microphone())
        await world.hear((alice, 20, 400))
        await world.advance(0.1)
        bob = await world.join("bob")
        (changed,) = bob.all("speakers_changed")
        assert [(s.sid, s.active) for s in changed.speakers] == [(alice.participant.sid, True)]


# -- packet trailers ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("features", "capabilities", "stripped"),
    [
        ([models.PTF_FRAME_ID], [], True),
        ([models.PTF_FRAME_ID], [models.ClientInfo.CAP_COMPRESSION_DEFLATE_RAW], True),
        ([models.PTF_FRAME_ID], [models.ClientInfo.CAP_PACKET_TRAILER], False),
        ([], [], False),
    ],
)
async def test_packet_trailers_are_for_those_who_know_them(
    features: list[int], capabilities: list[int], stripped: bool
) -> None:
    async with running() as world:
        alice = await world.join("alice")
        await alice.publish(camera(packet_trailer_features=features))
        client = {"protocol": 17, "capabilities": capabilities}
        await world.join("bob", single=False, client=client)
        (down_track,) = world.engine.of(CreateDownTrack)
        assert down_track.strip_trailer is stripped


# -- streams --------------------------------------------------------------------------------------


async def streams(world: World, protocol: int) -> set[str]:
    """Streams of a camera and a microphone that a client is offered, by what follows the sid."""
    alice = await world.join("alice")
    await alice.publish(camera(), microphone())
    bob = await world.join("bob", single=False, client={"protocol": protocol})
    handles = [subscribed.handle for subscribed in bob.participant.subscribing.tracks]
    created = [world.engine.down_tracks[handle.id] for handle in handles]
    assert [track.cname for track in created] == [handle.stream_id for handle in handles]
    return {handle.stream_id.removeprefix(f"{alice.participant.sid}|") for handle in handles}


async def test_synced_tracks_share_a_stream() -> None:
    async with running(settings=RoomSettings(sync_streams=True)) as world:
        assert await streams(world, 16) == {"camera"}


@pytest.mark.parametrize(
    ("browser", "sync_streams", "told"),
    [
        ("Chrome", True, (100, 10_000)),
        ("Firefox", False, (100, 10_000)),
        # It does not keep video and audio in step.
        ("Firefox", True, None),
    ],
)
async def test_a_playout_delay(
    browser: str, sync_streams: bool, told: tuple[int, int] | None
) -> None:
    delay = PlayoutDelay.of(100, 0)
    async with running(settings=RoomSettings(sync_streams, delay)) as world:
        alice = await world.join("alice")
        await alice.publish(camera())
        await world.join("bob", single=False, client={"protocol": 16, "browser": browser})
        (down_track,) = world.engine.of(CreateDownTrack)
        assert down_track.playout_delay == told


async def test_who_knows_no_synced_streams_gets_one_for_each_track() -> None:
    async with running(settings=RoomSettings(sync_streams=True)) as world:
        assert len(await streams(world, 9)) == 2


async def test_who_leaves_over_a_track_that_cannot_be_bound_is_not_looked_after_any_more(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    async with running(options=RoomOptions(reconnect_on_subscription_error=True)) as world:
        alice = await world.join("alice")
        await alice.publish(camera(), microphone())
        # Data alone: there is no section in which a track could be sent.
        description = SessionDescription.parse(JOIN_OFFER)
        description.media = [m for m in description.media if m.kind == "application"]
        group = type(description.groups[0])
        description.groups[0] = group("BUNDLE", (description.media[0].mid or "",))
        offer = rtc.SessionDescription(type="offer", sdp=str(description), id=1)
        bob = await world.join("bob", publisher_offer=offer)
        await world.advance(19)
        assert bob.left
        before = len(caplog.records)
        await world.advance(60)
        assert [r.getMessage() for r in caplog.records[before:]] == []
