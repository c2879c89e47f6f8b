"""Channels that both sides of a single connection have agreed on (protocol 18); the fake engine."""

from __future__ import annotations

import pytest
from livekit.protocol import models, rtc

from lkpy.engine.api import DataChannelClosed, DataChannelOpened, DataReceived, OpenDataChannel
from tests.room_kit import JOIN_OFFER, Client, World, running, without_data

AGREED = {"_reliable": 100, "_lossy": 101, "_data_track": 102}


def opened(world: World, client: Client) -> list[OpenDataChannel]:
    """What the engine was told to open for ``client``."""
    ours = {transport.id for transport in client.participant.transports.all}
    commands = [c for c in world.engine.commands if isinstance(c, OpenDataChannel)]
    return [command for command in commands if command.transport in ours]


async def test_a_single_connection_of_protocol_18_has_agreed_channels() -> None:
    async with running() as world:
        alice = await world.join("alice", client={"protocol": 18})
        commands = opened(world, alice)
        assert {c.label: c.negotiated for c in commands} == AGREED
        assert {c.label: (c.ordered, c.max_retransmits) for c in commands} == {
            "_reliable": (True, None),
            "_lossy": (False, 0),
            "_data_track": (False, 0),
        }
        assert alice.participant.data.outgoing(reliable=True) == (commands[0].transport, 100)
        bob = await world.join("bob", client={"protocol": 18})
        transport = bob.participant.transports.publisher.id
        packet = models.DataPacket(user=models.UserPacket(payload=b"hello"))
        payload = packet.SerializeToString()
        world.engine.inject(DataReceived(transport, 101, payload, True))
        await world.settle()
        (sent,) = world.sent()
        assert sent.channels == ((commands[0].transport, 101),)


@pytest.mark.parametrize(("protocol", "single"), [(17, True), (18, False), (17, False)])
async def test_all_others_are_told_of_their_channels(protocol: int, single: bool) -> None:
    async with running() as world:
        alice = await world.join("alice", single=single, client={"protocol": protocol})
        expected = [] if single else [("_reliable", None), ("_lossy", None), ("_data_track", None)]
        assert [(c.label, c.negotiated) for c in opened(world, alice)] == expected


async def test_they_are_opened_with_the_first_offer_that_has_a_data_section() -> None:
    async with running() as world:
        offer = rtc.SessionDescription(type="offer", sdp=without_data(JOIN_OFFER), id=1)
        alice = await world.join("alice", client={"protocol": 18}, publisher_offer=offer)
        assert alice.all("answer"), "it was answered"
        assert opened(world, alice) == []
        assert "m=application" in JOIN_OFFER
        data = JOIN_OFFER[JOIN_OFFER.index("m=application") :].split("m=")[1]
        mid = next(line for line in data.splitlines() if line.startswith("a=mid:"))
        with_data = without_data(JOIN_OFFER) + "m=" + data
        head = next(x for x in with_data.splitlines() if x.startswith("a=group:BUNDLE"))
        with_data = with_data.replace(head, f"{head} {mid.removeprefix('a=mid:')}")
        for number in (2, 3):
            await alice.offer(with_data, offer_id=number)
            assert len(alice.all("answer")) == number
            assert {c.label: c.negotiated for c in opened(world, alice)} == AGREED


async def test_a_client_that_opens_others_is_served_on_those() -> None:
    async with running() as world:
        alice = await world.join("alice", client={"protocol": 18})
        transport = alice.participant.transports.publisher.id
        await alice.open_channels()
        assert alice.participant.data.outgoing(reliable=True) == (transport, 0)
        for stream in AGREED.values():
            world.engine.inject(DataChannelClosed(transport, stream))
        await world.settle()
        assert alice.participant.data.outgoing(reliable=True) == (transport, 0)
        assert alice.participant.data.outgoing(reliable=False) == (transport, 2)
        assert not alice.left


async def test_the_other_way_round_too() -> None:
    async with running() as world:
        alice = await world.join("alice", client={"protocol": 18})
        transport = alice.participant.transports.publisher.id
        for stream in AGREED.values():
            world.engine.inject(DataChannelClosed(transport, stream))
        world.engine.inject(DataChannelOpened(transport, 0, "_reliable", "", True, None))
        await world.settle()
        assert alice.participant.data.outgoing(reliable=True) == (transport, 0)
