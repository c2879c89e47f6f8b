"""Data packets and active speakers in a room on the fake engine."""

from __future__ import annotations

import uuid

import pytest
from livekit.protocol import models, rtc
from livekit.protocol import room as room_pb

from lkpy.engine.api import (
    CloseReceiver,
    DataChannelOpened,
    DataChannelOverflow,
    DataReceived,
)
from lkpy.limits import (
    JOINING_UNNUMBERED_BYTES,
    RELIABLE_CATCH_UP_S,
    RELIABLE_REPLAY_BYTES,
    RELIABLE_REPLAY_S,
)
from lkpy.server.telemetry.events import MessageDropped
from tests.room_kit import (
    JOIN_OFFER,
    LOSSY,
    PUBLISH_OFFER,
    RELIABLE,
    Client,
    World,
    camera,
    microphone,
    running,
    without_data,
)


def user(payload: bytes = b"hello", **packet: object) -> models.DataPacket:
    return models.DataPacket(user=models.UserPacket(payload=payload), **packet)


async def trio(world: World) -> tuple[Client, Client, Client]:
    """Two single connections and a dual one, with their channels open."""
    alice, bob = await world.join("alice"), await world.join("bob")
    carol = await world.join("carol", single=False)
    for client in (alice, bob):
        await client.open_channels()
    await world.settle()
    return alice, bob, carol


def channel(client: Client, *, reliable: bool = True) -> tuple[int, int]:
    found = client.participant.data.outgoing(reliable=reliable)
    assert found is not None
    return found


@pytest.mark.parametrize("reliable", [True, False])
async def test_one_command_for_everybody_but_the_sender(reliable: bool) -> None:
    async with running() as world:
        alice, bob, carol = await trio(world)
        await alice.send_data(user(), reliable=reliable)
        (sent,) = world.sent()
        assert set(sent.channels) == {
            channel(bob, reliable=reliable),
            channel(carol, reliable=reliable),
        }
        stream = channel(carol, reliable=reliable)[1]
        assert stream == (1 if reliable else 3), "carol's were opened by the server"
        packet = models.DataPacket.FromString(sent.payload)
        assert packet.kind == (RELIABLE if reliable else LOSSY)
        assert (packet.participant_identity, packet.participant_sid) == (
            "alice",
            alice.participant.sid,
        )
        assert packet.user.participant_identity == "alice"
        assert packet.user.payload == b"hello"


async def test_a_dual_client_publishes_on_its_own_channels() -> None:
    async with running() as world:
        alice, _, carol = await trio(world)
        publisher = carol.participant.transports.publisher.id
        world.engine.inject(DataChannelOpened(publisher, 0, "_reliable", "", True, None))
        await carol.send_data(user())
        (sent,) = world.sent()
        assert channel(alice) in sent.channels
        assert channel(carol) not in sent.channels


@pytest.mark.parametrize("inner", [True, False])
async def test_destinations(inner: bool) -> None:
    async with running() as world:
        alice, bob, _ = await trio(world)
        packet = user()
        (packet.user if inner else packet).destination_identities.append("bob")
        await alice.send_data(packet)
        (sent,) = world.sent()
        assert sent.channels == (channel(bob),)
        passed_on = models.DataPacket.FromString(sent.payload)
        assert list(passed_on.destination_identities) == ["bob"]
        assert list(passed_on.user.destination_identities) == ["bob"]
        by_sid = user()
        by_sid.user.destination_sids.append(bob.participant.sid)
        await alice.send_data(by_sid)
        assert world.sent()[-1].channels == (channel(bob),)


async def test_who_may_not_publish_data_sends_nothing() -> None:
    async with running() as world:
        await trio(world)
        mute = await world.join("mute", video={"can_publish_data": False})
        await mute.open_channels()
        await mute.send_data(user())
        assert world.sent() == []


async def test_reliable_packets_do_not_repeat() -> None:
    async with running() as world:
        alice, _, _ = await trio(world)
        for sequence in (1, 2, 2, 1, 3):
            await alice.send_data(user(sequence=sequence))
        sequences = [models.DataPacket.FromString(s.payload).sequence for s in world.sent()]
        assert sequences == [1, 2, 3]


async def test_garbage_and_bare_channels() -> None:
    async with running() as world:
        alice, _, _ = await trio(world)
        transport = alice.participant.transports.publisher.id
        world.engine.inject(
            DataReceived(transport, 0, b"\xff\xff", True),
            DataReceived(transport, 99, b"unknown channel", True),
            DataChannelOpened(transport, 6, "mine", "", True, None),
            DataReceived(transport, 6, b"raw", True),
        )
        await world.settle()
        (sent,) = world.sent()
        packet = models.DataPacket.FromString(sent.payload)
        assert packet == models.DataPacket(
            participant_identity="alice", user=models.UserPacket(payload=b"raw")
        )


async def test_lossy_is_for_the_active_and_reliable_waits_for_a_channel() -> None:
    async with running() as world:
        alice, _, _ = await trio(world)
        late = await world.join("late")
        await alice.send_data(user(b"lost"), reliable=False)
        await alice.send_data(user(b"one", sequence=1))
        await alice.send_data(user(b"two", sequence=2))
        assert all(len(sent.channels) == 2 for sent in world.sent())
        before = len(world.sent())
        await late.open_channels()
        held = world.sent()[before:]
        assert [models.DataPacket.FromString(s.payload).user.payload for s in held] == [
            b"one",
            b"two",
        ]
        assert all(sent.channels == (channel(late),) for sent in held)


async def test_who_still_joins_is_given_what_came_after_it() -> None:
    async with running() as world:
        alice, _, _ = await trio(world)
        await alice.send_data(user(b"before", sequence=1))
        late = await world.join("late")
        await alice.send_data(user(b"after", sequence=2))
        await alice.send_data(user(b"not for it", sequence=3, destination_identities=["bob"]))
        before = len(world.sent())
        await late.open_channels()
        (held,) = world.sent()[before:]
        assert models.DataPacket.FromString(held.payload).user.payload == b"after"


async def test_what_joins_is_not_given_more_than_so_much() -> None:
    async with running() as world:
        alice, _, _ = await trio(world)
        late = await world.join("late")
        for sequence in range(1, 5):
            await alice.send_data(user(bytes(40_000), sequence=sequence))
        before = len(world.sent())
        await late.open_channels()
        held = [models.DataPacket.FromString(s.payload).sequence for s in world.sent()[before:]]
        assert held == [3, 4]


async def test_the_log_is_bounded() -> None:
    async with running() as world:
        alice, _, _ = await trio(world)
        log = world.room.data.log
        for sequence in range(1, 101):
            await alice.send_data(user(bytes(60_000), sequence=sequence))
        assert len(log) == RELIABLE_REPLAY_BYTES // 60_100
        await world.advance(RELIABLE_REPLAY_S + 1.5)
        assert len(log) == 0


async def test_a_client_that_reads_too_slowly_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    async with running() as world:
        alice, _, _ = await trio(world)
        transport, stream = channel(alice)
        with caplog.at_level("WARNING"):
            for _ in range(101):
                world.engine.inject(DataChannelOverflow(transport, stream, 4_000_000))
            await world.settle()
        assert alice.participant.data.overflows == 101
        assert len([r for r in caplog.records if "reliable data dropped" in r.message]) == 2


async def test_what_waited_too_long_is_not_sent() -> None:
    async with running() as world:
        alice, _, _ = await trio(world)
        late = await world.join("late")
        await alice.send_data(user(sequence=1))
        await world.advance(RELIABLE_CATCH_UP_S + 0.5)
        before = len(world.sent())
        await late.open_channels()
        assert len(world.sent()) == before


def of_the_server(world: World, payload: bytes, **values: object) -> None:
    request = room_pb.SendDataRequest(**{"data": payload, "kind": RELIABLE} | values)
    world.room.data.send(request)


async def test_data_of_the_server_waits_for_who_still_joins() -> None:
    async with running() as world:
        alice, _, _ = await trio(world)
        of_the_server(world, b"before")
        late, other = await world.join("late"), await world.join("other")
        of_the_server(world, b"one")
        await alice.send_data(user(b"two", sequence=1))
        of_the_server(world, b"not for it", destination_identities=["other"])
        of_the_server(world, b"lost", kind=LOSSY)
        await world.advance(RELIABLE_REPLAY_S + 1)
        of_the_server(world, b"three")
        for client, expected in (
            (late, [b"one", b"three"]),
            (other, [b"one", b"not for it", b"three"]),
        ):
            before = len(world.sent())
            await client.open_channels()
            given = [models.DataPacket.FromString(s.payload) for s in world.sent()[before:]]
            assert [packet.user.payload for packet in given] == expected, "two is too old"
        assert not world.room.data._joining


async def test_of_data_of_the_server_so_much_waits_and_the_rest_is_counted() -> None:
    async with running() as world:
        late = await world.join("late")
        for _ in range(3):
            of_the_server(world, bytes(JOINING_UNNUMBERED_BYTES // 2 - 100))
        dropped = [event.queue for event in world.told if isinstance(event, MessageDropped)]
        assert dropped == ["joining_data"]
        before = len(world.sent())
        await late.open_channels()
        assert len(world.sent()) == before + 2


async def test_nothing_waits_for_who_negotiates_no_channels() -> None:
    async with running() as world:
        offer = rtc.SessionDescription(type="offer", sdp=without_data(JOIN_OFFER), id=1)
        await world.join("silent", publisher_offer=offer)
        assert not world.room.data._joining
        late = await world.join("late")
        assert world.room.data._joining == {late.participant.sid: late.participant}
        await late.send(leave=rtc.LeaveRequest())
        assert not world.room.data._joining


async def test_data_of_the_server() -> None:
    async with running() as world:
        _, bob, _ = await trio(world)
        nonce = uuid.uuid4().bytes
        request = room_pb.SendDataRequest(
            data=b"from above",
            kind=RELIABLE,
            topic="news",
            nonce=nonce,
            destination_identities=["bob"],
        )
        await world.room.api.send_data(request)
        await world.room.api.send_data(request)
        (sent,) = world.sent()
        assert sent.channels == (channel(bob),)
        packet = models.DataPacket.FromString(sent.payload)
        assert (packet.user.payload, packet.user.topic) == (b"from above", "news")
        assert packet.participant_identity == ""
        await world.room.api.send_data(room_pb.SendDataRequest(data=b"x", kind=LOSSY))
        assert len(world.sent()[-1].channels) == 3


# -- speakers -------------------------------------------------------------------------------------


def speakers(client: Client) -> list[tuple[str, float, bool]]:
    names = {p.sid: p.identity for p in client.world.room.participants()}
    return [
        (names.get(s.sid, s.sid), s.level, s.active)
        for message in client.all("speakers_changed")
        for s in message.speakers
    ]


async def test_speakers_are_told_to_themselves_and_their_subscribers() -> None:
    async with running() as world:
        alice = await world.join("alice")
        await alice.publish(microphone())
        bob = await world.join("bob")
        deaf = await world.join("deaf", auto_subscribe=False)
        for _ in range(3):
            await world.hear((alice, 0, 400))
            await world.advance(0.4)
        assert speakers(alice) == speakers(bob)
        assert [level for _, level, _ in speakers(bob)] == [0.75, 1.0]
        assert speakers(deaf) == []
        carol = await world.join("carol")
        assert speakers(carol) == [("alice", 1.0, True)], "who begins to listen hears of it"
        await world.advance(2)
        assert speakers(bob)[-1] == ("alice", 0.0, False)


async def test_changes_come_at_once_loudest_first() -> None:
    async with running() as world:
        alice = await world.join("alice")
        await alice.publish(microphone())
        bob = await world.join("bob")
        await bob.publish(microphone())
        await world.advance(0.5)
        await alice.offer(PUBLISH_OFFER, 5)
        await world.hear((alice, 20, 400), (bob, 3, 400))
        await world.advance(0.05)
        (message,) = alice.all("speakers_changed")
        assert [s.sid for s in message.speakers] == [bob.participant.sid, alice.participant.sid]


async def test_only_open_microphones_speak() -> None:
    async with running() as world:
        alice = await world.join("alice")
        music = microphone(source=models.TrackSource.SCREEN_SHARE_AUDIO)
        (track,) = await alice.publish(music)
        await world.hear((alice, 0, 400))
        await world.advance(1)
        assert speakers(alice) == []
        bob = await world.join("bob")
        (track,) = await bob.publish(microphone())
        await bob.send(mute=rtc.MuteTrackRequest(sid=track.sid, muted=True))
        await world.hear((bob, 0, 400))
        await world.advance(1)
        assert speakers(bob) == []


async def test_whoever_is_no_longer_received_no_longer_speaks() -> None:
    async with running() as world:
        alice = await world.join("alice")
        video, audio = await alice.publish(camera(), microphone())
        bob = await world.join("bob")
        await world.hear((alice, 0, 400))
        await world.advance(0.1)
        for track in (video, audio):
            await bob.send(subscription=rtc.UpdateSubscription(track_sids=[track.sid]))
        assert speakers(bob)[-1] == ("alice", 0.0, False)
        assert len(speakers(bob)) == 2
        await alice.send(leave=rtc.LeaveRequest())
        await world.advance(2)
        assert len(speakers(bob)) == 2
        assert not world.engine.of(CloseReceiver), "it goes with its transport"


async def test_whoever_left_within_the_window_in_which_they_spoke_is_not_told_of() -> None:
    async with running() as world:
        alice = await world.join("alice")
        await alice.publish(microphone())
        bob = await world.join("bob")
        await world.hear((alice, 0, 400))
        sid = alice.participant.sid
        await alice.send(leave=rtc.LeaveRequest())
        await world.advance(0.1)
        assert not any(active for _, _, active in speakers(bob))
        assert world.room._speakers.level(sid) is None
