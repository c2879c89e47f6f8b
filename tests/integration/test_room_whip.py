"""Sessions without a signal connection, in a room on the fake engine."""

from __future__ import annotations

from typing import Any

import pytest
from livekit.protocol import models, rtc

from lkpy.engine.api import (
    AddRemoteCandidate,
    IceState,
    IceStateChanged,
    RestartIce,
    SetRemoteParameters,
)
from lkpy.errors import Code, LkpyError
from lkpy.ids import ParticipantID, ParticipantIdentity
from lkpy.limits import JOIN_VERIFY_S
from lkpy.sdp import IceFragment, SdpError, SessionDescription
from lkpy.server.rtc.one_shot import OneShotSink, one_shot, track_requests
from lkpy.server.rtc.participant import Participant
from tests.room_kit import JOIN_OFFER, PUBLISH_OFFER, Client, World, microphone, running

State = models.ParticipantInfo.State
Reason = models.DisconnectReason
OFFER = SessionDescription.parse(PUBLISH_OFFER)
UFRAG, PWD = OFFER.media[0].transport.ice_ufrag, OFFER.media[0].transport.ice_pwd
ALICE = ParticipantIdentity("alice")


async def whip(
    world: World, identity: str = "alice", sdp: str = PUBLISH_OFFER, **values: Any
) -> tuple[Participant, OneShotSink]:
    """Enter the room with an offer; returns the server's side and what the client is told."""
    offer = SessionDescription.parse(sdp)
    client = world.client(
        identity,
        publisher_offer=rtc.SessionDescription(type="offer", sdp=sdp),
        add_track_requests=track_requests(offer),
        one_shot=one_shot(offer),
        auto_subscribe=False,
        **values,
    )
    world.clients.remove(client)
    sink = OneShotSink()
    await world.room.join(client.start, sink, client.source)
    await world.settle()
    return client.participant, sink


def fragment(**values: Any) -> IceFragment:
    mid = OFFER.media[0].mid
    return IceFragment(**({"mid": mid, "ufrag": UFRAG, "pwd": PWD} | values))


def candidates(port: int) -> dict[str, Any]:
    text = f"m=audio 9 UDP 0\na=mid:x\na=ice-ufrag:{UFRAG}\na=ice-pwd:{PWD}\n"
    text += f"a=candidate:1 1 udp 1 192.0.2.50 {port} typ host\n"
    return {"candidates": IceFragment.parse(text).candidates}


async def code_of(call: Any) -> Code:
    with pytest.raises(LkpyError) as error:
        await call
    return error.value.code


def left(client: Client, identity: str) -> models.ParticipantInfo | None:
    gone = [p for p in client.updates(identity) if p.state == State.DISCONNECTED]
    return gone[-1] if gone else None


async def test_the_answer_carries_the_candidates() -> None:
    async with running() as world:
        alice, sink = await whip(world)
        assert sink.answer is not None
        answer = SessionDescription.parse(sink.answer.sdp)
        first, *others = answer.media
        assert first.transport.ice_ufrag == alice.transports.publisher.ice_ufrag
        local = world.engine.info.workers[0].candidates
        assert [c.port for c in first.candidates] == [c.port for c in local]
        assert first.end_of_candidates
        assert not any(media.candidates for media in others)
        assert {track.info.name for track in alice.publishing.tracks} == {
            "synthesized-microphone",
            "synthesized-camera",
        }
        assert alice.state == State.ACTIVE


async def test_subscriptions_are_those_that_the_offer_has_sections_for() -> None:
    async with running() as world:
        for name in ("bob", "carol", "erin"):
            await _speaker(world, name)
        alice, _ = await whip(world, sdp=PUBLISH_OFFER.replace("a=recvonly", "a=inactive"))
        assert alice.subscribing.tracks == [], "its sections send"
        dave, sink = await whip(world, "dave", JOIN_OFFER)
        kinds = sorted(subscribed.track.kind for subscribed in dave.subscribing.tracks)
        assert kinds == ["audio", "audio", "audio", "video"], "it has three sections of each kind"
        assert sink.answer is not None
        answer = SessionDescription.parse(sink.answer.sdp)
        assert sum(bool(media.msids) for media in answer.media) == 4
        await _speaker(world, "late")
        await world.advance(20)
        assert len(dave.subscribing.tracks) == 4, "nothing can be negotiated later"


async def _speaker(world: World, identity: str) -> None:
    client = await world.join(identity, publisher_offer=_offer(PUBLISH_OFFER))
    client.participant.publishing.add_track(microphone())
    await world.settle()


def _offer(sdp: str) -> rtc.SessionDescription:
    return rtc.SessionDescription(type="offer", sdp=sdp, id=1)


async def test_a_lost_connection_ends_the_session() -> None:
    """Nobody can be told to come back."""
    async with running() as world:
        bob = await world.join("bob")
        alice, sink = await whip(world)
        transport = alice.transports.publisher.id
        world.engine.inject(IceStateChanged(transport, IceState.FAILED))
        await world.settle()
        gone = left(bob, "alice")
        assert gone is not None
        assert gone.disconnect_reason == Reason.CONNECTION_TIMEOUT
        assert sink.closed


async def test_who_never_connects_leaves() -> None:
    async with running(auto_connect=False) as world:
        await whip(world)
        await world.advance(JOIN_VERIFY_S - 1)
        assert world.room.participant(ALICE) is not None
        await world.advance(2)
        assert world.room.participant(ALICE) is None


async def test_nobody_resumes_it() -> None:
    async with running() as world:
        alice, _ = await whip(world)
        other = await world.join("alice", reconnect=True, participant_id=alice.sid)
        assert other.kinds() == ["leave"]
        assert other.last("leave").action == rtc.LeaveRequest.Action.RECONNECT
        assert alice.closed


async def test_trickled_candidates() -> None:
    async with running(auto_connect=False) as world:
        alice, _ = await whip(world)
        session = alice.transports.publisher.ice_ufrag
        for port in (5001, 5002):
            wanted = fragment(**candidates(port))
            await world.room.whip.trickle(ALICE, alice.sid, session, wanted)
        await world.settle()
        ports = [command.candidate.port for command in world.engine.of(AddRemoteCandidate)]
        assert ports[-2:] == [5001, 5002]


async def test_fragments_of_something_else() -> None:
    async with running(auto_connect=False) as world:
        alice, _ = await whip(world)
        session, calls = alice.transports.publisher.ice_ufrag, world.room.whip
        for wrong, what in (
            (fragment(mid="other"), "media mid does not match bundle mid: other, expected 0"),
            (fragment(ufrag="other"), "ice credential mismatch"),
            (fragment(pwd="p" * 24), "ice credential mismatch"),
        ):
            with pytest.raises(SdpError, match=what):
                await calls.trickle(ALICE, alice.sid, session, wrong)
        stale = calls.trickle(ALICE, alice.sid, "before", fragment())
        assert await code_of(stale) is Code.FAILED_PRECONDITION
        with pytest.raises(SdpError, match="media mid"):
            await calls.restart(ALICE, alice.sid, fragment(mid="other", ufrag="next"))
        assert not world.engine.of(RestartIce)


async def test_an_ice_restart() -> None:
    async with running() as world:
        alice, _ = await whip(world)
        before = alice.transports.publisher.ice_ufrag
        following = fragment(ufrag="next", pwd="n" * 24, bundle=("0", "1"), **candidates(5003))
        ours = await world.room.whip.restart(ALICE, alice.sid, following)
        await world.settle()
        assert ours.ufrag == alice.transports.publisher.ice_ufrag != before
        assert (ours.mid, ours.bundle, ours.media) == ("0", ("0", "1"), following.media)
        assert ours.end_of_candidates
        assert len(ours.candidates) == len(world.engine.info.workers[0].candidates)
        (restart,) = world.engine.of(RestartIce)
        assert restart.ice.ufrag == ours.ufrag
        assert world.engine.of(SetRemoteParameters)[-1].ice.ufrag == "next"
        assert world.engine.of(AddRemoteCandidate)[-1].candidate.port == 5003
        assert alice.state == State.ACTIVE
        # Asked twice, a client that missed the answer gets it again.
        assert await world.room.whip.restart(ALICE, alice.sid, following) == ours
        assert len(world.engine.of(RestartIce)) == 1
        last = await world.room.whip.restart(ALICE, alice.sid, fragment(ufrag="last"))
        assert last.ufrag not in (before, ours.ufrag)


async def test_deleting() -> None:
    async with running() as world:
        bob = await world.join("bob")
        alice, _ = await whip(world)
        await world.room.whip.delete(ALICE, ParticipantID("PA_before"))
        assert not alice.closed
        await world.room.whip.delete(ALICE, alice.sid)
        await world.settle()
        gone = left(bob, "alice")
        assert gone is not None
        assert gone.disconnect_reason == Reason.CLIENT_INITIATED
        again = world.room.whip.delete(ALICE, alice.sid)
        assert await code_of(again) is Code.NOT_FOUND


async def test_participants_of_another_kind_are_not_sessions() -> None:
    async with running() as world:
        bob = (await world.join("bob")).participant
        for call in (
            world.room.whip.trickle(bob.identity, bob.sid, "", fragment()),
            world.room.whip.restart(bob.identity, bob.sid, fragment()),
            world.room.whip.delete(bob.identity, bob.sid),
        ):
            assert await code_of(call) is Code.NOT_FOUND
        assert not bob.closed
