"""Data tracks and data blobs in a room on the fake engine."""

from __future__ import annotations

from typing import Any

import pytest
from livekit.protocol import models, rtc

from lkpy.engine.api import (
    CloseDataDownTrack,
    CloseDataTrack,
    CreateDataDownTrack,
    CreateDataTrack,
    DataDownTrackStats,
    DataTrackStats,
    OpenDataChannel,
    StatsCollected,
    WorkerStats,
)
from lkpy.limits import MAX_DATA_TRACKS, Limits
from lkpy.server.rtc.options import RoomOptions
from lkpy.server.rtc.permissions import set_permission
from lkpy.stats.v1 import stats_pb2
from tests.room_kit import JOIN_OFFER, Client, World, running

Reason = rtc.RequestResponse.Reason


async def publish(client: Client, handle: int = 1, **fields: Any) -> models.DataTrackInfo:
    request = rtc.PublishDataTrackRequest(pub_handle=handle, **({"name": f"t{handle}"} | fields))
    await client.send(publish_data_track_request=request)
    info = client.last("publish_data_track_response").info
    assert info.pub_handle == handle
    return info


async def subscribe(client: Client, *sids: str, subscribe: bool = True) -> None:
    updates = [rtc.UpdateDataSubscription.Update(track_sid=s, subscribe=subscribe) for s in sids]
    await client.send(update_data_subscription=rtc.UpdateDataSubscription(updates=updates))


def handles(client: Client) -> dict[str, int]:
    """What the client was last told."""
    last = client.last("data_track_subscriber_handles")
    return {entry.track_sid: handle for handle, entry in last.sub_handles.items()}


def forwarded(world: World) -> set[tuple[int, int, int]]:
    """What the engine forwards: publisher's transport and handle, subscriber's transport."""
    tracks = world.engine.data_tracks
    return {
        (tracks[down.data_track].transport, tracks[down.data_track].handle, down.transport)
        for down in world.engine.data_down_tracks.values()
    }


def transport(client: Client) -> int:
    return client.participant.transports.primary.id


@pytest.mark.parametrize("single", [True, False])
async def test_the_engine_forwards_from_the_publishers_to_the_primary_connection(
    single: bool,
) -> None:
    async with running() as world:
        alice = await world.join("alice", single=single)
        bob = await world.join("bob", single=single)
        info = await publish(alice, 7)
        assert info.sid.startswith("DTR_")
        await subscribe(bob, info.sid)
        if not single:
            # There is no connection to publish on before the first offer, and tracks wait for it.
            assert forwarded(world) == set()
            await alice.offer(JOIN_OFFER)
        publisher = alice.participant.transports.publisher.id
        assert forwarded(world) == {(publisher, 7, transport(bob))}
        (down,) = world.engine.of(CreateDataDownTrack)
        assert handles(bob) == {info.sid: down.handle}
        await subscribe(bob, info.sid, subscribe=False)
        assert world.engine.of(CloseDataDownTrack) == [CloseDataDownTrack(down.data_down_track)]
        assert handles(bob) == {}


async def test_a_repeated_wish_changes_nothing() -> None:
    async with running() as world:
        alice, bob = await world.join("alice"), await world.join("bob")
        info = await publish(alice)
        await subscribe(bob, info.sid, info.sid)
        await subscribe(bob, info.sid)
        await subscribe(bob, "DTR_other", subscribe=False)
        assert len(bob.all("data_track_subscriber_handles")) == 1
        assert len(world.engine.data_down_tracks) == 1


async def test_handles_are_given_in_turn_without_0_and_without_those_in_use() -> None:
    async with running() as world:
        alice, bob = await world.join("alice"), await world.join("bob")
        sids = [(await publish(alice, handle)).sid for handle in range(1, 5)]
        bob.participant.data_subscriptions._last_handle = 0xFFFD
        await subscribe(bob, *sids[:3])
        assert [handles(bob)[sid] for sid in sids[:3]] == [0xFFFE, 0xFFFF, 1]
        bob.participant.data_subscriptions._last_handle = 0xFFFD
        await subscribe(bob, sids[3])
        assert handles(bob)[sids[3]] == 2


async def test_who_wants_everything_gets_what_is_there_and_what_comes() -> None:
    async with running() as world:
        alice = await world.join("alice", auto_subscribe_data_track=True)
        one = await publish(alice, 1)
        bob = await world.join("bob", auto_subscribe_data_track=True)
        plain = await world.join("plain")
        two = await publish(alice, 2)
        assert set(handles(bob)) == {one.sid, two.sid}
        assert plain.all("data_track_subscriber_handles") == []
        assert alice.all("data_track_subscriber_handles") == [], "not its own"
        back = await publish(bob, 1)
        assert set(handles(alice)) == {back.sid}


async def test_others_hear_of_tracks_and_of_the_publisher() -> None:
    async with running() as world:
        alice, bob = await world.join("alice"), await world.join("bob")
        info = await publish(alice)
        for client in (alice, bob):
            update = client.updates("alice")[-1]
            assert list(update.data_tracks) == [info]
            assert update.is_publisher
        request = rtc.UnpublishDataTrackRequest(pub_handle=1)
        await alice.send(unpublish_data_track_request=request)
        assert alice.last("unpublish_data_track_response").info == info
        gone = bob.updates("alice")[-1]
        assert not gone.data_tracks
        assert gone.version > update.version
        assert world.engine.of(CloseDataTrack) != []
        assert world.engine.data_tracks == {}


async def test_updates_come_in_livekits_order() -> None:
    async with running() as world:
        bob = await world.join("bob", auto_subscribe_data_track=True)
        alice = await world.join("alice")
        alice.fresh(), bob.fresh()
        subscribed = ["update", "subscription_permission_update", "data_track_subscriber_handles"]
        await publish(alice, 1)
        assert alice.kinds() == ["publish_data_track_response", "update"]
        assert bob.kinds() == subscribed
        await publish(alice, 2)
        assert alice.kinds() == ["update", "publish_data_track_response"]
        assert bob.kinds() == subscribed
        request = rtc.UnpublishDataTrackRequest(pub_handle=2)
        await alice.send(unpublish_data_track_request=request)
        assert alice.kinds() == ["update", "unpublish_data_track_response"]
        assert bob.kinds() == ["update", "data_track_subscriber_handles"]


async def test_a_participant_that_leaves_takes_its_tracks_and_subscriptions_along() -> None:
    async with running() as world:
        alice, bob = await world.join("alice"), await world.join("bob")
        carol = await world.join("carol", auto_subscribe_data_track=True)
        info, other = await publish(alice), await publish(bob)
        await subscribe(alice, other.sid)
        leave = rtc.LeaveRequest(reason=models.DisconnectReason.CLIENT_INITIATED)
        await alice.send(leave=leave)
        assert set(handles(carol)) == {other.sid}
        gone = carol.updates("alice")[-1]
        assert gone.state == models.ParticipantInfo.State.DISCONNECTED
        assert not gone.data_tracks
        assert forwarded(world) == {(transport(bob), 1, transport(carol))}
        await subscribe(carol, info.sid)
        assert set(handles(carol)) == {other.sid}, "it is not found any more"


async def test_permissions_decide_and_wishes_outlast_them() -> None:
    async with running() as world:
        alice = await world.join("alice")
        bob = await world.join("bob", video={"can_subscribe": False})
        info = await publish(alice)
        await subscribe(bob, info.sid)
        assert bob.all("data_track_subscriber_handles") == []
        everything = {"can_subscribe": True, "can_publish": True, "can_publish_data": True}
        set_permission(bob.participant, models.ParticipantPermission(**everything))
        await world.settle()
        assert set(handles(bob)) == {info.sid}
        nothing = models.ParticipantPermission(can_subscribe=False)
        set_permission(bob.participant, nothing)
        await world.settle()
        assert handles(bob) == {}
        assert world.engine.data_down_tracks == {}
        set_permission(alice.participant, nothing)
        await world.settle()
        assert world.engine.data_tracks == {}
        assert not alice.updates("alice")[-1].data_tracks


async def test_a_publisher_says_who_may_subscribe() -> None:
    async with running() as world:
        alice, bob = await world.join("alice"), await world.join("bob")
        recorder = await world.join("recorder", video={"recorder": True})
        info = await publish(alice)
        nobody = rtc.SubscriptionPermission()
        await alice.send(subscription_permission=nobody)
        await subscribe(bob, info.sid)
        await subscribe(recorder, info.sid)
        assert not bob.last("subscription_permission_update").allowed
        assert set(handles(recorder)) == {info.sid}
        everybody = rtc.SubscriptionPermission(all_participants=True)
        await alice.send(subscription_permission=everybody)
        assert bob.last("subscription_permission_update").allowed
        assert set(handles(bob)) == {info.sid}
        await alice.send(subscription_permission=nobody)
        assert handles(bob) == {}
        assert set(handles(recorder)) == {info.sid}


async def test_a_track_that_never_comes_is_forgotten() -> None:
    async with running() as world:
        bob = await world.join("bob")
        await subscribe(bob, "DTR_none")
        wishes = bob.participant.data_subscriptions._wishes
        await world.advance(50)
        assert wishes._tracks
        await world.advance(20)
        assert not wishes._tracks


async def test_what_is_received_costs_nothing_as_time_passes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with running() as world:
        alice, bob = await world.join("alice"), await world.join("bob")
        info = await publish(alice)
        await subscribe(bob, info.sid, "DTR_missing")
        assert handles(bob).keys() == {info.sid}
        asked: set[str] = set()
        # Nothing of alice's is there any more, if anybody asks.
        monkeypatch.setattr(bob.participant.data_subscriptions, "_find", asked.add)
        await world.advance(10)
        assert asked == {"DTR_missing"}
        assert handles(bob).keys() == {info.sid}


async def test_where_data_tracks_are_off_none_is_published_and_no_channel_is_opened() -> None:
    async with running(options=RoomOptions(data_tracks=False)) as world:
        alice = await world.join("alice", single=False)
        labels = [command.label for command in world.engine.of(OpenDataChannel)]
        assert labels == ["_reliable", "_lossy"]
        request = rtc.PublishDataTrackRequest(pub_handle=1, name="n")
        await alice.send(publish_data_track_request=request)
        response = alice.last("request_response")
        assert response.reason == Reason.NOT_ALLOWED
        assert response.publish_data_track == request


async def test_a_dual_client_gets_a_channel_for_data_tracks() -> None:
    async with running() as world:
        await world.join("alice", single=False)
        *_, opened = world.engine.of(OpenDataChannel)
        assert (opened.label, opened.ordered, opened.max_retransmits) == ("_data_track", False, 0)


async def test_a_participant_publishes_so_many_tracks() -> None:
    async with running() as world:
        alice = await world.join("alice")
        for handle in range(1, MAX_DATA_TRACKS + 1):
            request = rtc.PublishDataTrackRequest(pub_handle=handle, name=f"t{handle}")
            alice.participant.data_tracks.publish(request)
        request = rtc.PublishDataTrackRequest(pub_handle=0xFFFF, name="one more")
        await alice.send(publish_data_track_request=request)
        assert alice.last("request_response").reason == Reason.LIMIT_EXCEEDED
        assert len(world.engine.of(CreateDataTrack)) == MAX_DATA_TRACKS


async def test_a_snapshot_counts_packets_and_subscribers() -> None:
    async with running() as world:
        alice, bob = await world.join("alice"), await world.join("bob")
        info = await publish(alice, 7)
        await subscribe(bob, info.sid)
        (track,), (down,) = world.engine.data_tracks, world.engine.data_down_tracks
        counted = StatsCollected(
            request=1,
            worker=WorkerStats(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0.0),
            transports=(),
            layers=(),
            down_tracks=(),
            data_tracks=(DataTrackStats(track, packets=5, bytes=60, frames=4, packets_lost=1),),
            data_down_tracks=(DataDownTrackStats(down, packets=3, bytes=36, packets_dropped=2),),
        )
        publisher, subscriber = (await world.room.snapshot([counted])).participants
        assert list(publisher.data_tracks) == [
            stats_pb2.DataTrack(
                sid=info.sid,
                name="t7",
                handle=7,
                subscribers=1,
                packets=5,
                bytes=60,
                frames=4,
                packets_lost=1,
            )
        ]
        assert list(subscriber.data_subscribed) == [
            stats_pb2.DataDownTrack(
                track_sid=info.sid,
                publisher_identity="alice",
                handle=handles(bob)[info.sid],
                packets=3,
                bytes=36,
                packets_dropped=2,
            )
        ]


# -- blobs --------------------------------------------------------------------------------------


def generic(text: str) -> models.DataBlobKey:
    return models.DataBlobKey(generic=text)


async def store(client: Client, key: models.DataBlobKey, contents: bytes) -> None:
    blob = models.DataBlob(key=key, contents=contents)
    request = rtc.StoreDataBlobRequest(request_id=5, blob=blob)
    await client.send(store_data_blob_request=request)


async def test_blobs_are_kept_until_their_owner_leaves() -> None:
    async with running(options=RoomOptions(data_blobs=True)) as world:
        alice, bob = await world.join("alice"), await world.join("bob")
        await store(alice, generic("a"), b"contents")
        assert alice.last("store_data_blob_response") == rtc.StoreDataBlobResponse(
            request_id=5, key=generic("a")
        )
        request = rtc.GetDataBlobRequest(
            request_id=6, participant_identity="alice", key=generic("a")
        )
        await bob.send(get_data_blob_request=request)
        assert bob.last("get_data_blob_response") == rtc.GetDataBlobResponse(
            request_id=6, blob=models.DataBlob(key=generic("a"), contents=b"contents")
        )
        leave = rtc.LeaveRequest(reason=models.DisconnectReason.CLIENT_INITIATED)
        await alice.send(leave=leave)
        await bob.send(get_data_blob_request=request)
        assert bob.last("request_response") == rtc.RequestResponse(
            request_id=6, reason=Reason.NOT_FOUND, message="participant not found"
        )


async def test_limits_of_blobs_are_configured_and_0_is_none() -> None:
    options = RoomOptions(data_blobs=True, limits=Limits(max_data_blobs_size=100))
    async with running(options=options) as world:
        alice = await world.join("alice")
        await store(alice, generic("a"), bytes(100))
        response = alice.last("request_response")
        assert (response.request_id, response.reason) == (5, Reason.LIMIT_EXCEEDED)
        await store(alice, generic("a"), bytes(88))
        assert len(alice.all("store_data_blob_response")) == 1
    unlimited = Limits(max_data_blobs_size=0, max_data_blob_key_length=0)
    async with running(options=RoomOptions(data_blobs=True, limits=unlimited)) as world:
        alice = await world.join("alice")
        await store(alice, generic("x" * 10_000), bytes(100_000))
        assert alice.all("request_response") == []
