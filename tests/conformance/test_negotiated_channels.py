"""Data channels of protocol 18: on a single connection both sides have agreed on their streams."""

from __future__ import annotations

import pytest
from livekit.protocol import models, rtc

from tests.conformance import media
from tests.conformance.kit import Lobby, until
from tests.conformance.media import AGREED, Participant
from tests.conformance.resume_kit import SDK, come_back

DCEP = 50
RELIABLE, LOSSY = models.DataPacket.RELIABLE, models.DataPacket.LOSSY


async def pair(lobby: Lobby, *, protocol: int, single: bool) -> tuple[Participant, Participant]:
    """Two participants that can send, and have published nothing."""
    alice, bob = [
        await media.join(lobby, identity, single=single, protocol=protocol)
        for identity in ("alice", "bob")
    ]
    for participant in (alice, bob):
        await participant.ready()
    return alice, bob


async def talk(sender: Participant, receiver: Participant) -> None:
    """A reliable packet arrives, and one of some lossy ones, which may come before the channel."""
    for reliable in (True, False):
        kind = RELIABLE if reliable else LOSSY

        def arrived(kind: int = kind) -> bool:
            return any(p.kind == kind for p in receiver.received)

        receiver.received.clear()
        await sender.send_data(
            models.DataPacket(user=models.UserPacket(payload=b"hello")), reliable=reliable
        )
        await until(arrived, f"{'reliable' if reliable else 'lossy'} data")


@pytest.mark.row(224, 73)
async def test_no_dcep_either_way_before_any_media(lobby: Lobby) -> None:
    alice, bob = await pair(lobby, protocol=18, single=True)
    assert alice.joined.server_info.protocol >= 18
    await talk(alice, bob)
    await talk(bob, alice)
    for participant in (alice, bob):
        assert participant.ppids
        assert DCEP not in participant.ppids
        assert {label: c.id for label, c in participant.channels.items()} == AGREED


@pytest.mark.row(224, 73)
async def test_the_first_message_needs_no_media_and_no_answer(lobby: Lobby) -> None:
    """It is sent the moment SCTP is up, and arrives."""
    alice = await media.join(lobby, "alice", single=True, protocol=18)
    await alice.ready()
    bob = await media.join(lobby, "bob", single=True, protocol=18, active=False)
    packet = models.DataPacket(user=models.UserPacket(payload=b"first"))
    bob.channels["_reliable"].on(
        "open", lambda: bob.channels["_reliable"].send(packet.SerializeToString())
    )
    assert (await alice.packet("user")).user.payload == b"first"
    assert DCEP not in bob.ppids


@pytest.mark.row(224, 151)
async def test_older_clients_on_a_single_connection_open_their_own(lobby: Lobby) -> None:
    alice, bob = await pair(lobby, protocol=17, single=True)
    await talk(alice, bob)
    assert DCEP in alice.ppids
    assert not set(AGREED.values()) & {channel.id for channel in alice.channels.values()}


@pytest.mark.row(224, 151)
async def test_two_connections_have_channels_that_are_told_of(lobby: Lobby) -> None:
    alice, bob = await pair(lobby, protocol=18, single=False)
    await talk(alice, bob)
    assert {"_reliable", "_lossy"} <= alice.down_channels.keys()
    assert not set(AGREED.values()) & {channel.id for channel in alice.down_channels.values()}


@pytest.mark.row(224, 73)
async def test_old_and_later_clients_in_one_room(lobby: Lobby) -> None:
    later = await media.join(lobby, "later", single=True, protocol=18)
    older = await media.join(lobby, "older", single=True, protocol=17)
    dual = await media.join(lobby, "dual", single=False, protocol=18)
    for participant in (later, older, dual):
        await participant.ready()
    await talk(later, older)
    await talk(older, dual)
    await talk(dual, later)


@pytest.mark.row(224)
async def test_a_client_may_close_them_and_open_others_in_band(lobby: Lobby) -> None:
    """As a client does that finds out late that its server agrees to nothing."""
    alice, bob = await pair(lobby, protocol=18, single=True)
    await talk(alice, bob)
    for channel in alice.channels.values():
        channel.close()
    await until(
        lambda: all(c.readyState == "closed" for c in alice.channels.values()), "reset streams"
    )
    alice.open_channels({})
    await alice.ready()
    await talk(alice, bob)
    await talk(bob, alice)
    assert DCEP in alice.ppids


@pytest.mark.row(224)
async def test_channels_in_band_from_the_beginning(lobby: Lobby) -> None:
    """A client that says 18 and did not agree after all: the server's own are beside them."""
    alice = await media.join(lobby, "alice", single=True, protocol=18, agreed=False)
    bob = await media.join(lobby, "bob", single=True, protocol=18)
    for participant in (alice, bob):
        await participant.ready()
    await talk(alice, bob)
    await talk(bob, alice)


@pytest.mark.row(224, 56)
async def test_they_outlast_a_lost_signal_connection(lobby: Lobby) -> None:
    alice = await media.join(lobby, "alice", single=True, protocol=18, sdk=SDK)
    bob = await media.join(lobby, "bob", single=True, protocol=18, sdk=SDK)
    for participant in (alice, bob):
        await participant.ready()
    signal = await come_back(lobby, alice)
    assert signal.kinds[0] == "reconnect"
    await signal.send(
        sync_state=rtc.SyncState(
            data_channels=[
                rtc.DataChannelInfo(label=label, id=stream, target=rtc.SignalTarget.PUBLISHER)
                for label, stream in AGREED.items()
            ]
        )
    )
    await talk(alice, bob)
    await talk(bob, alice)
    assert DCEP not in alice.ppids
    assert {label: channel.id for label, channel in alice.channels.items()} == AGREED
