"""How sessions end, and what the others are told of it."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.message import Message
from livekit.protocol import models, rtc

from tests.conformance import media
from tests.conformance.kit import Lobby, Signal

State = models.ParticipantInfo.State
Reason = models.DisconnectReason
Action = rtc.LeaveRequest.Action
both = pytest.mark.parametrize("single", [False, True], ids=["dual", "single"])


async def call(lobby: Lobby, method: str, request: dict[str, Any], **video: Any) -> None:
    await lobby.call(method, request, Message, **video)


async def gone(observer: Signal, identity: str) -> models.ParticipantInfo:
    """The update in which a participant left."""
    return await observer.expect_participant(identity, lambda p: p.state == State.DISCONNECTED)


@pytest.mark.row(53, 54, 120)
@pytest.mark.parametrize(
    ("given", "told"),
    [
        (Reason.UNKNOWN_REASON, Reason.CLIENT_INITIATED),
        (Reason.CLIENT_INITIATED, Reason.CLIENT_INITIATED),
        (Reason.USER_UNAVAILABLE, Reason.USER_UNAVAILABLE),
        (Reason.USER_REJECTED, Reason.USER_REJECTED),
        (Reason.AGENT_ERROR, Reason.AGENT_ERROR),
        (Reason.ROOM_DELETED, Reason.CLIENT_INITIATED),
    ],
    ids=lambda reason: Reason.Name(reason).lower(),
)
async def test_a_client_leaves(lobby: Lobby, given: Reason, told: Reason) -> None:
    bob, alice = await lobby.signal("bob"), await lobby.signal("alice")
    await alice.send(leave=rtc.LeaveRequest(reason=given))
    leave = await alice.expect("leave")
    assert (leave.reason, leave.action) == (told, Action.DISCONNECT)
    assert (await alice.ended()).code == 1000
    left = await gone(bob, "alice")
    assert left.disconnect_reason == told
    assert left.sid == alice.join.participant.sid


@pytest.mark.row(54, 120)
async def test_removal_and_the_end_of_a_room(lobby: Lobby) -> None:
    alice, bob = await lobby.signal("alice"), await lobby.signal("bob")
    await call(lobby, "RemoveParticipant", {"room": lobby.room, "identity": "alice"})
    leave = await alice.expect("leave")
    assert (leave.reason, leave.action) == (Reason.PARTICIPANT_REMOVED, Action.DISCONNECT)
    await alice.ended()
    assert (await gone(bob, "alice")).disconnect_reason == Reason.PARTICIPANT_REMOVED
    await call(lobby, "DeleteRoom", {"room": lobby.room}, roomCreate=True)
    leave = await bob.expect("leave")
    assert (leave.reason, leave.action) == (Reason.ROOM_DELETED, Action.DISCONNECT)
    assert (await bob.ended()).code == 1000


@pytest.mark.row(55, 73)
async def test_old_clients_are_sent_no_action(lobby: Lobby) -> None:
    alice = await lobby.signal("alice", protocol=12)
    await alice.send(leave=rtc.LeaveRequest())
    leave = await alice.expect("leave")
    assert leave == rtc.LeaveRequest(reason=Reason.CLIENT_INITIATED)


@pytest.mark.row(115, 120)
@both
async def test_the_same_identity_replaces_the_session(lobby: Lobby, single: bool) -> None:
    watcher = await lobby.signal("watcher")
    older = await lobby.signal("older", protocol=11)
    first = await media.join(lobby, "alice", single=single)
    await first.publish()
    await watcher.expect_participant("alice", lambda p: len(p.tracks) == 1)
    second = await media.join(lobby, "alice", single=single)
    leave = await first.signal.expect("leave")
    assert (leave.reason, leave.action) == (Reason.DUPLICATE_IDENTITY, Action.DISCONNECT)
    await first.signal.ended()
    assert second.sid != first.sid
    assert (await gone(older, "alice")).sid == first.sid
    await second.publish()
    await watcher.expect_participant("alice", lambda p: p.sid == second.sid and len(p.tracks) == 1)
    ended = [
        p.sid
        for update in watcher.all("update")
        for p in update.participants
        if p.state == State.DISCONNECTED
    ]
    assert ended == [], "it goes by the identity"


@pytest.mark.row(116)
@both
async def test_states(lobby: Lobby, single: bool) -> None:
    bob = await lobby.signal("bob")
    alice = await media.join(lobby, "alice", single=single)
    assert alice.joined.participant.state == State.JOINING
    await alice.publish()
    await bob.expect_participant("alice", lambda p: p.state == State.ACTIVE)
    states = [p.state for u in bob.all("update") for p in u.participants if p.identity == "alice"]
    assert states == sorted(states), "forward only"
    waiting = await lobby.signal("carol", single=single)
    assert waiting.join.participant.state == State.JOINING
    others = {p.identity: p.state for p in waiting.join.other_participants}
    assert others == {"alice": State.ACTIVE, "bob": State.JOINED}


@pytest.mark.row(116, 119)
async def test_a_connected_participant_outlives_its_signal_connection(lobby: Lobby) -> None:
    bob = await media.join(lobby, "bob", single=True)
    alice = await media.join(lobby, "alice", single=True)
    voice, _ = await alice.publish()
    await bob.receives(voice.sid)
    alice.signal.drop()
    await alice.signal.ended()
    await bob.receives(voice.sid, 20)
    people = await lobby.call("ListParticipants", {"room": lobby.room}, _participants())
    assert {p.identity for p in people.participants} == {"alice", "bob"}


def _participants() -> Any:
    from livekit.protocol import room

    return room.ListParticipantsResponse
