"""Coming back to a room on the fake engine: what is kept, what is told, what is refused."""

from __future__ import annotations

import pytest
from livekit.protocol import models, rtc

from lkpy.engine.api import (
    DtlsState,
    DtlsStateChanged,
    IceState,
    IceStateChanged,
    RestartIce,
    SetRemoteParameters,
    TransportClosed,
)
from lkpy.sdp import SessionDescription
from tests.room_kit import JOIN_OFFER, Client, World, camera, microphone, running

State = models.ParticipantInfo.State
Reason = models.DisconnectReason
Action = rtc.LeaveRequest.Action


def restarted(offer: str) -> str:
    """The same offer in another ICE generation."""
    description = SessionDescription.parse(offer)
    for media in description.media:
        media.transport.ice_ufrag, media.transport.ice_pwd = "again", "q" * 24
    return str(description)


def ended(world: World, client: Client) -> bool:
    """Nothing of the signal connection is left."""
    return client.left and client.source.closed


@pytest.mark.parametrize("single", [True, False])
async def test_signal_lost_and_resumed(single: bool) -> None:
    async with running() as world:
        await world.join("bob")
        first = await world.join("alice", single=single)
        if not single:
            await first.publish(microphone())
        sid, transports = first.participant.sid, first.participant.transports.all
        first.source.close()
        await world.advance(4)
        again = await world.join("alice", single=single, reconnect=True)
        kinds = again.kinds()
        repair = [] if single else ["offer", "trickle"]
        assert kinds == ["reconnect", "update", "room_update", *repair, "refresh_token"]
        reconnect = again.last("reconnect")
        assert reconnect.server_info.version == "1.2.3"
        assert reconnect.last_message_seq == 0
        assert {p.identity for p in again.last("update").participants} == {"alice", "bob"}
        assert again.last("room_update").room.num_participants == 2
        assert again.participant.sid == sid
        assert again.participant.transports.all == transports
        assert ended(world, first)
        await world.advance(30)
        assert again.participant.state == State.ACTIVE


async def test_both_connections_at_once_leave_one() -> None:
    async with running() as world:
        first = await world.join("alice")
        again = await world.join("alice", reconnect=True)
        assert ended(world, first), "replaced although it had not ended"
        assert first.all("leave") == []
        third = await world.join("alice", reconnect=True)
        assert ended(world, again)
        assert not third.left
        assert len(world.room.participants()) == 1


async def test_what_the_first_connection_sent_last_is_not_handled() -> None:
    async with running() as world:
        first = await world.join("alice")
        again = world.client("alice", reconnect=True)
        resuming = world.room.join(again.start, again.sink, again.source)
        # Written, and read only when the other connection has taken over.
        first.source.write(rtc.SignalRequest(leave=rtc.LeaveRequest()))
        await resuming
        await world.settle()
        assert len(world.room.participants()) == 1
        assert not again.left


async def test_ice_is_restarted_by_the_server_for_two_connections() -> None:
    async with running() as world:
        alice = await world.join("alice", single=False)
        before = SessionDescription.parse(alice.last("offer").sdp).media[0].transport.ice_ufrag
        world.engine.forget()
        again = await world.join("alice", single=False, reconnect=True)
        after = SessionDescription.parse(again.last("offer").sdp).media[0].transport.ice_ufrag
        assert after != before
        assert [c.ice.ufrag for c in world.engine.of(RestartIce)] == [after]


async def test_ice_is_restarted_by_the_client_for_one_connection() -> None:
    async with running() as world:
        await world.join("alice")
        world.engine.forget()
        again = await world.join("alice", reconnect=True)
        assert world.engine.of(RestartIce) == []
        await again.offer(restarted(JOIN_OFFER), offer_id=7)
        assert again.last("answer").id == 7
        assert len(world.engine.of(RestartIce)) == 1
        assert [c.ice.ufrag for c in world.engine.of(SetRemoteParameters)] == ["again"]


async def test_who_left_meanwhile_is_told() -> None:
    async with running() as world:
        bob, carol = await world.join("bob"), await world.join("carol")
        await world.join("early")
        await world.room.api.remove_participant(
            world.clients[-1].start.identity, Reason.PARTICIPANT_REMOVED
        )
        await world.advance(1)
        alice = await world.join("alice")
        await bob.publish(camera())
        alice.source.close()
        await world.advance(3.5)
        await bob.send(leave=rtc.LeaveRequest())
        sid = carol.participant.sid
        await world.join("carol")
        again = await world.join("alice", reconnect=True)
        gone, here = again.all("update")
        assert [(p.identity, p.state) for p in gone.participants] == [("bob", State.DISCONNECTED)]
        assert gone.participants[0].sid
        assert not gone.participants[0].tracks
        assert sid not in {p.sid for p in here.participants}
        assert {p.identity for p in here.participants} == {"alice", "carol"}


@pytest.mark.parametrize("state", [IceState.CHECKING, IceState.CONNECTED])
async def test_who_ends_signalling_before_media_stays_if_ice_is_connected(state: IceState) -> None:
    async with running(auto_connect=False) as world:
        alice = await world.join("alice")
        publisher = alice.participant.transports.publisher.id
        world.engine.inject(IceStateChanged(publisher, IceState.CHECKING))
        world.engine.inject(IceStateChanged(publisher, state))
        await world.settle()
        alice.source.close()
        await world.settle()
        stays = [p.identity for p in world.room.participants()]
        assert stays == (["alice"] if state is IceState.CONNECTED else [])


@pytest.mark.parametrize(("before_s", "told"), [(2.0, True), (4.0, False)])
async def test_what_was_told_just_before_may_have_been_lost(before_s: float, told: bool) -> None:
    async with running() as world:
        bob, alice = await world.join("bob"), await world.join("alice")
        await bob.publish(camera())
        await world.advance(10)
        await bob.send(leave=rtc.LeaveRequest())
        await world.advance(before_s)
        await alice.send(ping_req=rtc.Ping())
        alice.source.close()
        await world.advance(1)
        again = await world.join("alice", reconnect=True)
        gone = [p.identity for u in again.all("update") for p in u.participants if p.state == 3]
        assert gone == (["bob"] if told else [])


async def test_older_clients_hear_of_less() -> None:
    async with running() as world:
        bob = await world.join("bob")
        old = {"protocol": 8, "version": "1.6.2"}
        await world.join("alice", client=old)
        await bob.send(leave=rtc.LeaveRequest())
        again = await world.join("alice", client=old, reconnect=True)
        assert again.kinds()[:2] == ["update", "room_update"]


async def test_the_hidden_are_told_of_to_nobody_but_themselves() -> None:
    async with running() as world:
        await world.join("alice")
        await world.join("ghost", video={"hidden": True})
        again = await world.join("alice", reconnect=True)
        assert {p.identity for p in again.last("update").participants} == {"alice"}
        ghost = await world.join("ghost", reconnect=True)
        assert {p.identity for p in ghost.last("update").participants} == {"alice", "ghost"}


# -- a lost connection ------------------------------------------------------------------------


async def fail_ice(world: World, client: Client) -> None:
    for transport in client.participant.transports.all:
        world.engine.inject(IceStateChanged(transport.id, IceState.FAILED))
    await world.settle()


async def test_a_lost_connection_is_repaired_in_time() -> None:
    async with running() as world:
        alice = await world.join("alice")
        await fail_ice(world, alice)
        assert alice.last("leave").action == Action.RESUME
        await world.advance(4.5)
        again = await world.join("alice", reconnect=True)
        await again.offer(restarted(JOIN_OFFER))
        await world.advance(60)
        assert not again.left
        assert again.participant.transports.publisher.connected


async def test_a_lost_connection_that_is_not_repaired_is_lost_again() -> None:
    async with running() as world:
        alice = await world.join("alice")
        await fail_ice(world, alice)
        again = await world.join("alice", reconnect=True)
        await world.advance(14.5)
        assert not again.left
        await world.advance(1)
        assert again.last("leave").action == Action.RESUME
        await world.advance(5)
        assert world.room.participants() == []


async def test_it_may_be_lost_again_after_it_was_repaired() -> None:
    async with running() as world:
        alice = await world.join("alice")
        await fail_ice(world, alice)
        again = await world.join("alice", reconnect=True)
        await again.offer(restarted(JOIN_OFFER))
        await fail_ice(world, again)
        assert again.last("leave").action == Action.RESUME
        await world.advance(5.5)
        assert world.room.participants() == []


async def test_dtls_must_follow_ice() -> None:
    async with running(auto_connect=False) as world:
        alice = await world.join("alice")
        transport = alice.participant.transports.publisher.id
        world.engine.inject(IceStateChanged(transport, IceState.CHECKING))
        await world.advance(4)
        world.engine.inject(IceStateChanged(transport, IceState.CONNECTED))
        await world.advance(11)
        assert not alice.left, "three times four seconds"
        await world.advance(1.5)
        assert alice.last("leave").action == Action.RESUME
        await world.advance(5.5)
        assert world.room.participants() == []


# -- refused -----------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", [12, 16])
async def test_who_is_not_here_joins_afresh(protocol: int) -> None:
    async with running() as world:
        alice = await world.join("alice", reconnect=True, client={"protocol": protocol})
        assert alice.kinds() == ["leave"]
        leave = alice.last("leave")
        assert leave.reason == Reason.STATE_MISMATCH
        assert leave.can_reconnect is (protocol == 12)
        assert leave.action == (Action.DISCONNECT if protocol == 12 else Action.RECONNECT)
        assert ended(world, alice)
        assert world.room.participants() == []


@pytest.mark.parametrize("how", ["engine", "dtls"])
async def test_what_is_gone_for_good_is_not_resumed(how: str) -> None:
    async with running() as world:
        first = await world.join("alice")
        transport = first.participant.transports.publisher.id
        world.engine.inject(
            TransportClosed(transport, "a caught panic")
            if how == "engine"
            else DtlsStateChanged(transport, DtlsState.CLOSED)
        )
        await world.settle()
        again = await world.join("alice", reconnect=True)
        assert again.kinds() == ["leave"]
        assert again.last("leave").action == Action.RECONNECT
        assert ended(world, first)
        assert world.room.participants() == []
        assert world.engine.transports == {}


async def test_what_was_asked_for_in_vain_is_asked_for_again() -> None:
    async with running() as world:
        bob = await world.join("bob")
        alice = await world.join("alice")
        alice.source.close()
        await world.settle()
        # More tracks than alice has offered sections for.
        await bob.publish(camera(), microphone())
        for number in range(4):
            other = await world.join(f"p{number}")
            await other.publish(camera())
        await world.advance(1)
        missed = alice.all("media_sections_requirement")
        again = await world.join("alice", reconnect=True)
        asked = again.all("media_sections_requirement")
        assert [(m.num_audios, m.num_videos) for m in asked] == [
            (sum(m.num_audios for m in missed), sum(m.num_videos for m in missed))
        ]
