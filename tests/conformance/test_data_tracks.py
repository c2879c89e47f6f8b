"""Data tracks: their signals, who gets them, and packets from channel to channel."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from livekit.protocol import models, rtc
from livekit.protocol import room as room_pb

from tests.conformance.kit import Lobby, Signal, until
from tests.conformance.media import Participant, join
from tests.conformance.resume_kit import SDK, come_back

Reason = rtc.RequestResponse.Reason
Schema = models.DataTrackSchemaEncoding


def packet(handle: int, sequence: int, payload: bytes, extensions: bytes = b"") -> bytes:
    """A data track packet that is a frame of its own."""
    flags = 0b0001_1000 | (0b100 if extensions else 0)
    header = struct.pack("!BBHHHI", flags, 0, handle, sequence, sequence, 90 * sequence)
    return header + extensions + payload


async def publish(signal: Signal, handle: int = 1, name: str = "", **fields: Any) -> Any:
    """Publish a data track; returns what the server says of it."""
    request = rtc.PublishDataTrackRequest(pub_handle=handle, name=name or f"t{handle}", **fields)
    await signal.send(publish_data_track_request=request)
    response = await signal.expect("publish_data_track_response")
    return response.info


async def refused(signal: Signal, **fields: Any) -> rtc.RequestResponse:
    """What the server says of a data track that it does not publish."""
    request = rtc.PublishDataTrackRequest(**fields)
    await signal.send(publish_data_track_request=request)
    response = await signal.expect("request_response")
    assert response.request_id == 0
    assert response.publish_data_track == request
    return response


async def subscribe(signal: Signal, *sids: str, subscribe: bool = True) -> None:
    updates = [rtc.UpdateDataSubscription.Update(track_sid=s, subscribe=subscribe) for s in sids]
    await signal.send(update_data_subscription=rtc.UpdateDataSubscription(updates=updates))


async def handles(signal: Signal, *sids: str) -> dict[str, int]:
    """Wait until exactly these tracks have handles; returns them by sid."""
    wanted = set(sids)

    def complete(update: rtc.DataTrackSubscriberHandles) -> bool:
        return {entry.track_sid for entry in update.sub_handles.values()} == wanted

    update = await signal.expect("data_track_subscriber_handles", complete)
    return {entry.track_sid: handle for handle, entry in update.sub_handles.items()}


async def answered(signal: Signal) -> None:
    """Wait until everything that was sent before has been handled."""
    request = rtc.UnpublishDataTrackRequest(pub_handle=0xFFFF)
    await signal.send(unpublish_data_track_request=request)
    await signal.expect("request_response", lambda r: r.unpublish_data_track == request)


def received(participant: Participant) -> list[bytes]:
    return participant.raw["_data_track"]


# -- signals ------------------------------------------------------------------------------------


@pytest.mark.row(74, 161)
async def test_a_published_track_is_described_to_its_publisher_and_to_the_others(
    lobby: Lobby,
) -> None:
    bob = await lobby.signal("bob")
    alice = await join(lobby, "alice", single=False)
    frame = models.DataTrackFrameEncoding(custom="x" * 32)
    schema = models.DataTrackSchemaId(name="pose", encoding=Schema(custom="y"))
    fields = {"encryption": models.Encryption.GCM, "frame_encoding": frame, "schema": schema}
    info = await publish(alice.signal, 65_535, "n" * 256, **fields)
    assert info.sid.startswith("DTR_")
    described = models.DataTrackInfo(pub_handle=65_535, sid=info.sid, name="n" * 256, **fields)
    assert info == described
    for signal in (alice.signal, bob):
        seen = await signal.expect_participant("alice", lambda p: p.data_tracks and p.is_publisher)
        assert list(seen.data_tracks) == [described]
    late = await lobby.signal("late")
    (other,) = [p for p in late.join.other_participants if p.identity == "alice"]
    assert list(other.data_tracks) == [described]
    request = room_pb.RoomParticipantIdentity(room=lobby.room, identity="alice")
    known = await lobby.call("GetParticipant", request, models.ParticipantInfo)
    assert list(known.data_tracks) == [described]


@pytest.mark.row(74)
async def test_what_is_wrong_with_a_request_is_said_and_the_request_is_echoed(
    lobby: Lobby,
) -> None:
    signal = await lobby.signal("alice")
    await publish(signal, 7, "seven")
    for handle in (0, 65_536):
        response = await refused(signal, pub_handle=handle, name="n")
        assert response.reason == Reason.INVALID_HANDLE
        assert response.message == "handle should be > 0 AND < 65536"
    for name in ("", "n" * 257, "\u00e4" * 129):
        response = await refused(signal, pub_handle=1, name=name)
        assert response.reason == Reason.INVALID_NAME
        assert response.message == "name should not be empty and should not exceed 256 characters"
    for custom in ("", "x" * 33):
        frame = models.DataTrackFrameEncoding(custom=custom)
        schema = models.DataTrackSchemaId(name="s", encoding=Schema(custom=custom))
        for wrong in ({"frame_encoding": frame}, {"schema": schema}):
            response = await refused(signal, pub_handle=1, name="n", **wrong)
            assert response.reason == Reason.INVALID_REQUEST
            assert response.message == "encoding identifier is empty or exceeds the maximum length"
    response = await refused(signal, pub_handle=7, name="other")
    assert response.reason == Reason.DUPLICATE_HANDLE
    assert response.message == "a data track with same handle already exists"
    response = await refused(signal, pub_handle=8, name="seven")
    assert response.reason == Reason.DUPLICATE_NAME
    assert response.message == "a data track with same name already exists"
    # The first thing that is wrong is the one that is said.
    response = await refused(signal, pub_handle=0, name="")
    assert response.reason == Reason.INVALID_HANDLE


@pytest.mark.row(74)
@pytest.mark.parametrize("grants", [{"canPublishData": False}, {"canPublish": False}])
async def test_publishing_needs_the_permission_for_data(lobby: Lobby, grants: Any) -> None:
    signal = await lobby.signal("alice", **grants)
    response = await refused(signal, pub_handle=0, name="")
    assert response.reason == Reason.NOT_ALLOWED
    assert response.message == "does not have permission to publish data"


@pytest.mark.row(74, 161)
async def test_an_unpublished_track_is_gone_for_everybody(lobby: Lobby) -> None:
    bob = await join(lobby, "bob", single=False, settings={"auto_subscribe_data_track": True})
    alice = await lobby.signal("alice")
    info = await publish(alice, 3)
    await handles(bob.signal, info.sid)
    await alice.send(unpublish_data_track_request=rtc.UnpublishDataTrackRequest(pub_handle=3))
    response = await alice.expect("unpublish_data_track_response")
    assert response.info == info
    await bob.signal.expect_participant("alice", lambda p: p.is_publisher and not p.data_tracks)
    await handles(bob.signal)
    # Its handle and its name are free again; its sid is not used again.
    again = await publish(alice, 3)
    assert again.sid != info.sid
    request = rtc.UnpublishDataTrackRequest(pub_handle=4)
    await alice.send(unpublish_data_track_request=request)
    missing = await alice.expect("request_response")
    assert (missing.reason, missing.message) == (Reason.NOT_FOUND, "")
    assert missing.unpublish_data_track == request


# -- subscribing --------------------------------------------------------------------------------


@pytest.mark.row(74)
async def test_a_client_subscribes_by_sid_and_is_told_the_handles(lobby: Lobby) -> None:
    alice = await lobby.signal("alice")
    bob = await lobby.signal("bob")
    one, two = await publish(alice, 1), await publish(alice, 2)
    await subscribe(bob, one.sid)
    first = await bob.expect("data_track_subscriber_handles")
    ((handle, entry),) = first.sub_handles.items()
    assert 0 < handle <= 256
    assert entry == rtc.DataTrackSubscriberHandles.PublishedDataTrack(
        publisher_identity="alice",
        publisher_sid=alice.join.participant.sid,
        track_sid=one.sid,
    )
    allowed = await bob.expect("subscription_permission_update")
    assert (allowed.participant_sid, allowed.track_sid, allowed.allowed) == (
        alice.join.participant.sid,
        one.sid,
        True,
    )
    await subscribe(bob, two.sid)
    assert await handles(bob, one.sid, two.sid) == {one.sid: handle, two.sid: handle + 1}
    await subscribe(bob, one.sid, subscribe=False)
    assert await handles(bob, two.sid) == {two.sid: handle + 1}
    # Handles are not given twice.
    await subscribe(bob, one.sid)
    assert await handles(bob, one.sid, two.sid) == {one.sid: handle + 2, two.sid: handle + 1}


@pytest.mark.row(74, 161)
async def test_nobody_is_subscribed_unasked_unless_the_client_says_so(lobby: Lobby) -> None:
    settings = {"auto_subscribe_data_track": True}
    eager = await join(lobby, "eager", single=True, settings=settings)
    plain = await join(lobby, "plain", single=True)
    alice = await lobby.signal("alice")
    info = await publish(alice)
    await handles(eager.signal, info.sid)
    late = await join(lobby, "late", single=False, settings=settings)
    await handles(late.signal, info.sid)
    assert plain.signal.all("data_track_subscriber_handles") == []


@pytest.mark.row(74)
async def test_a_wish_for_a_track_is_kept_until_it_may_be_fulfilled(lobby: Lobby) -> None:
    alice = await lobby.signal("alice")
    bob = await lobby.signal("bob", canSubscribe=False)
    info = await publish(alice)
    await subscribe(bob, info.sid, "DTR_of_nobody")
    await bob.never("data_track_subscriber_handles", 0.3)
    update = room_pb.UpdateParticipantRequest(
        room=lobby.room,
        identity="bob",
        permission=models.ParticipantPermission(can_subscribe=True),
    )
    await lobby.call("UpdateParticipant", update, models.ParticipantInfo)
    await handles(bob, info.sid)


@pytest.mark.row(161)
async def test_who_leaves_takes_its_tracks_along(lobby: Lobby) -> None:
    alice = await lobby.signal("alice")
    bob = await lobby.signal("bob")
    info = await publish(alice)
    await subscribe(bob, info.sid)
    await handles(bob, info.sid)
    await alice.send(leave=rtc.LeaveRequest(reason=models.DisconnectReason.CLIENT_INITIATED))
    gone = models.ParticipantInfo.State.DISCONNECTED
    left = await bob.expect_participant("alice", lambda p: p.state == gone)
    assert not left.data_tracks
    await handles(bob)


@pytest.mark.row(161)
async def test_without_permission_tracks_go(lobby: Lobby) -> None:
    alice = await lobby.signal("alice")
    bob = await lobby.signal("bob")
    info = await publish(alice)
    await subscribe(bob, info.sid)
    await handles(bob, info.sid)
    update = room_pb.UpdateParticipantRequest(
        room=lobby.room,
        identity="alice",
        permission=models.ParticipantPermission(can_publish=True, can_subscribe=True),
    )
    await lobby.call("UpdateParticipant", update, models.ParticipantInfo)
    await alice.expect_participant(
        "alice", lambda p: not p.data_tracks and not p.permission.can_publish_data
    )
    await handles(bob)


@pytest.mark.row(161)
async def test_subscriptions_go_with_the_permission_and_come_back_with_it(lobby: Lobby) -> None:
    alice = await lobby.signal("alice")
    bob = await lobby.signal("bob")
    info = await publish(alice)
    await subscribe(bob, info.sid)
    await handles(bob, info.sid)
    for allowed in (False, True):
        permission = models.ParticipantPermission(can_subscribe=allowed, can_publish=True)
        update = room_pb.UpdateParticipantRequest(
            room=lobby.room, identity="bob", permission=permission
        )
        await lobby.call("UpdateParticipant", update, models.ParticipantInfo)
        await handles(bob, *([info.sid] if allowed else []))


@pytest.mark.row(161)
async def test_a_publisher_says_who_may_subscribe(lobby: Lobby) -> None:
    alice = await lobby.signal("alice")
    bob = await lobby.signal("bob")
    info = await publish(alice)
    permission = rtc.SubscriptionPermission(track_permissions=[])
    await alice.send(subscription_permission=permission)
    await answered(alice)
    await subscribe(bob, info.sid)
    update = await bob.expect("subscription_permission_update")
    assert (update.track_sid, update.allowed) == (info.sid, False)
    await alice.send(subscription_permission=rtc.SubscriptionPermission(all_participants=True))
    await handles(bob, info.sid)
    await alice.send(subscription_permission=permission)
    await handles(bob)


# -- packets ------------------------------------------------------------------------------------


@pytest.mark.row(161)
@pytest.mark.parametrize(
    ("single", "protocol"),
    [(False, 17), (True, 17), (True, 18)],
    ids=["dual", "single", "agreed"],
)
async def test_packets_reach_subscribers_under_their_handles(
    lobby: Lobby, single: bool, protocol: int
) -> None:
    settings = {"auto_subscribe_data_track": True}
    alice = await join(lobby, "alice", single=single, protocol=protocol)
    bob = await join(lobby, "bob", single=single, protocol=protocol, settings=settings)
    other = await join(lobby, "other", single=not single, settings=settings)
    for participant in (alice, bob, other):
        await participant.ready()
    one, two = await publish(alice.signal, 0x0102), await publish(alice.signal, 0xFFFE)
    sent = [
        (one.sid, lambda handle: packet(handle, 1, b"first")),
        (two.sid, lambda handle: packet(handle, 1, b"second" * 100)),
        (one.sid, lambda handle: packet(handle, 2, b"with extension", b"\0\1\1\3PA_\0")),
    ]
    by_handle = {one.sid: 0x0102, two.sid: 0xFFFE}
    received_by = {
        participant.identity: await handles(participant.signal, one.sid, two.sid)
        for participant in (bob, other)
    }
    channel = alice.channels["_data_track"]
    for sid, make in sent:
        channel.send(make(by_handle[sid]))
    # Nobody has these handles, or no header at all.
    channel.send(packet(0x0103, 1, b"of no track"))
    channel.send(b"short")
    for participant in (bob, other):
        expected = {make(received_by[participant.identity][sid]) for sid, make in sent}
        await until(lambda p=participant: len(received(p)) >= len(sent), "data track packets")
        assert set(received(participant)) == expected
    assert received(alice) == []


@pytest.mark.row(161)
async def test_packets_stop_with_the_subscription(lobby: Lobby) -> None:
    alice = await join(lobby, "alice", single=True)
    bob = await join(lobby, "bob", single=True)
    for participant in (alice, bob):
        await participant.ready()
    one, two = await publish(alice.signal, 5), await publish(alice.signal, 6)
    await subscribe(bob.signal, one.sid, two.sid)
    first = await handles(bob.signal, one.sid, two.sid)
    channel = alice.channels["_data_track"]
    await subscribe(bob.signal, one.sid, subscribe=False)
    await handles(bob.signal, two.sid)
    channel.send(packet(5, 1, b"not subscribed"))
    channel.send(packet(6, 1, b"behind it"))
    await until(lambda: received(bob), "the packet")
    await subscribe(bob.signal, one.sid)
    again = await handles(bob.signal, one.sid, two.sid)
    channel.send(packet(5, 2, b"again"))
    await until(lambda: len(received(bob)) > 1, "the packet")
    assert received(bob) == [
        packet(first[two.sid], 1, b"behind it"),
        packet(again[one.sid], 2, b"again"),
    ]


@pytest.mark.row(161)
async def test_tracks_outlast_a_lost_signal_connection(lobby: Lobby) -> None:
    # A subscriber's connection would be repaired by an ICE restart, which aiortc does not know.
    alice = await join(lobby, "alice", single=True, sdk=SDK)
    bob = await join(lobby, "bob", single=True, sdk=SDK)
    for participant in (alice, bob):
        await participant.ready()
    info = await publish(alice.signal, 5)
    await subscribe(bob.signal, info.sid)
    handle = (await handles(bob.signal, info.sid))[info.sid]
    for participant, state in (
        (alice, rtc.SyncState(publish_data_tracks=[rtc.PublishDataTrackResponse(info=info)])),
        (bob, rtc.SyncState()),
    ):
        signal = await come_back(lobby, participant)
        await signal.send(sync_state=state)
    alice.channels["_data_track"].send(packet(5, 1, b"still there"))
    await until(lambda: received(bob), "the packet")
    assert received(bob) == [packet(handle, 1, b"still there")]
    await answered(alice.signal)
    assert alice.signal.all("leave") == []
