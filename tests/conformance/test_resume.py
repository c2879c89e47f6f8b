"""A client that lost its signal connection comes back, or has to join afresh."""

from __future__ import annotations

import json
import re
import time

import pytest
from livekit.protocol import models, rtc

from tests.conformance import media
from tests.conformance.kit import Lobby, Refused, Signal, until
from tests.conformance.resume_kit import SDK, come_back, resume
from tests.patience import PATIENCE_S

State = models.ParticipantInfo.State
Reason = models.DisconnectReason
Action = rtc.LeaveRequest.Action
both = pytest.mark.parametrize("single", [False, True], ids=["dual", "single"])


async def join(lobby: Lobby, identity: str, *, single: bool, **options: object):
    return await media.join(lobby, identity, single=single, sdk=SDK, **options)


async def first_update(signal: Signal) -> dict[str, models.ParticipantInfo]:
    """The update that comes first after the response to a resume."""
    update = await signal.expect("update")
    return {p.identity: p for p in update.participants}


# -- what comes -----------------------------------------------------------------------------------


@pytest.mark.row(56, 57, 30, 59, 60)
@both
async def test_what_a_resumed_client_is_told(lobby: Lobby, single: bool) -> None:
    alice = await join(lobby, "alice", single=single)
    await lobby.signal("bob")
    first, sid = alice.signal, alice.sid
    before = first.all("offer")
    signal = await come_back(lobby, alice)
    assert signal.kinds[0] == "reconnect"
    reconnect = signal.log[0].reconnect
    assert reconnect.server_info.node_id.startswith("ND_")
    assert reconnect.server_info.protocol >= 16
    assert reconnect.last_message_seq == 0
    assert list(reconnect.ice_servers) == list(first.join.ice_servers)
    people = await first_update(signal)
    assert set(people) == {"alice", "bob"}
    assert people["alice"].sid == sid
    assert people["alice"].state == State.ACTIVE
    room = (await signal.expect("room_update")).room
    assert room.sid == first.join.room.sid
    assert await signal.expect("refresh_token")
    if single:
        assert signal.all("offer") == []
    else:
        offer = await signal.expect("offer")
        assert ufrag(offer.sdp) != ufrag(before[-1].sdp), "the server restarts ICE"
        assert offer.id not in {o.id for o in before}
        await signal.expect("trickle", lambda t: t.target == rtc.SignalTarget.SUBSCRIBER)
    order = [k for k in signal.kinds if k in ("reconnect", "update", "room_update")]
    assert order[:3] == ["reconnect", "update", "room_update"]


def ufrag(sdp: str) -> str:
    found = re.search(r"a=ice-ufrag:(\S+)", sdp)
    assert found is not None
    return found.group(1)


@pytest.mark.row(56)
@both
async def test_the_first_connection_ends(lobby: Lobby, single: bool) -> None:
    alice = await join(lobby, "alice", single=single)
    first = alice.signal
    await come_back(lobby, alice, drop=False)
    await first.ended()
    assert first.all("leave") == []


@pytest.mark.row(56)
async def test_the_session_is_found_by_identity(lobby: Lobby) -> None:
    alice = await join(lobby, "alice", single=True)
    alice.signal.drop()
    signal = await resume(lobby, "alice", "PA_somebodyelse", single=True)
    assert (await first_update(signal))["alice"].sid == alice.sid


@pytest.mark.row(56, 73)
async def test_old_javascript_clients_do_not_know_the_response(lobby: Lobby) -> None:
    alice = await media.join(lobby, "alice", single=False, params={"version": "1.6.2"})
    alice.signal.drop()
    signal = await resume(lobby, "alice", alice.sid, single=False, sdk="js")
    assert signal.kinds[0] == "update"


@pytest.mark.row(56, 61)
async def test_who_left_meanwhile_is_told(lobby: Lobby) -> None:
    alice = await join(lobby, "alice", single=True)
    bob = await join(lobby, "bob", single=True)
    await bob.publish()
    await alice.signal.expect_participant("bob", lambda p: len(p.tracks) == 1)
    alice.signal.drop()
    await alice.signal.ended()
    sid = bob.sid
    await bob.signal.send(leave=rtc.LeaveRequest())
    await bob.signal.ended()
    signal = await resume(lobby, "alice", alice.sid, single=True)
    gone = await signal.expect("update")
    assert [(p.identity, p.sid, p.state) for p in gone.participants] == [
        ("bob", sid, State.DISCONNECTED)
    ]
    assert set(await first_update(signal)) == {"alice"}


@pytest.mark.row(56, 38)
async def test_media_flows_on(lobby: Lobby) -> None:
    alice = await join(lobby, "alice", single=True)
    bob = await join(lobby, "bob", single=True)
    sent, _ = await bob.publish()
    mine, _ = await alice.publish()
    await alice.receives(sent.sid)
    await come_back(lobby, alice)
    await alice.receives(sent.sid, 10)
    await bob.receives(mine.sid, 10)
    more, _ = await bob.publish(kind="video")
    await alice.receives(more.sid)


# -- refused --------------------------------------------------------------------------------------


@pytest.mark.row(56, 54, 30)
@both
async def test_who_is_not_here_joins_afresh(lobby: Lobby, single: bool) -> None:
    await lobby.signal("bob")
    signal = await resume(lobby, "alice", "PA_gone", single=single)
    assert signal.kinds == ["leave"]
    leave = signal.log[0].leave
    assert (leave.reason, leave.action) == (Reason.STATE_MISMATCH, Action.RECONNECT)
    await signal.ended()


@pytest.mark.row(55, 73)
async def test_old_clients_are_told_that_they_can_reconnect(lobby: Lobby) -> None:
    await lobby.signal("bob")
    signal = await resume(lobby, "alice", "PA_gone", single=False, protocol=12)
    leave = signal.log[0].leave
    assert leave.can_reconnect
    assert leave.reason == Reason.STATE_MISMATCH
    assert leave.action == Action.DISCONNECT


# -- sync_state -----------------------------------------------------------------------------------


@pytest.mark.row(58)
async def test_state_that_is_known_is_taken(lobby: Lobby) -> None:
    alice = await join(lobby, "alice", single=True)
    track, _ = await alice.publish()
    signal = await come_back(lobby, alice)
    published = rtc.TrackPublishedResponse(track=track)
    await signal.send(sync_state=rtc.SyncState(publish_tracks=[published]))
    await signal.send(sync_state=rtc.SyncState())
    await signal.never("leave", 0.5)
    assert not signal.closed.done()


@pytest.mark.row(58, 54, 120)
@pytest.mark.parametrize(
    "state",
    [
        rtc.SyncState(
            publish_tracks=[rtc.TrackPublishedResponse(track=models.TrackInfo(sid="TR_x"))]
        ),
        rtc.SyncState(publish_tracks=[rtc.TrackPublishedResponse(cid="x")]),
        rtc.SyncState(
            publish_data_tracks=[
                rtc.PublishDataTrackResponse(info=models.DataTrackInfo(sid="DTR_x"))
            ]
        ),
    ],
    ids=["unknown", "empty", "data"],
)
async def test_state_that_is_unknown_means_a_fresh_join(lobby: Lobby, state: rtc.SyncState) -> None:
    bob = await lobby.signal("bob")
    alice = await join(lobby, "alice", single=True)
    signal = await come_back(lobby, alice)
    await signal.send(sync_state=state)
    leave = await signal.expect("leave")
    assert (leave.reason, leave.action) == (Reason.STATE_MISMATCH, Action.RECONNECT)
    await signal.ended()
    left = await bob.expect_participant("alice", lambda p: p.state == State.DISCONNECTED)
    assert left.disconnect_reason == Reason.STATE_MISMATCH


@pytest.mark.row(58, 46)
async def test_wishes_are_those_of_the_client(lobby: Lobby) -> None:
    bob = await join(lobby, "bob", single=True)
    voice, _ = await bob.publish()
    alice = await join(lobby, "alice", single=True, auto_subscribe=False)
    signal = await come_back(lobby, alice)
    wanted = rtc.UpdateSubscription(track_sids=[voice.sid], subscribe=True)
    await signal.send(sync_state=rtc.SyncState(subscription=wanted))
    await alice.receives(voice.sid)
    await signal.send(track_setting=rtc.UpdateTrackSettings(track_sids=[voice.sid], disabled=True))
    await media.quiet(lobby, alice, voice.sid)
    again = await come_back(lobby, alice)
    await again.send(sync_state=rtc.SyncState(subscription=wanted, track_sids_disabled=[voice.sid]))
    await media.quiet(lobby, alice, voice.sid)


# -- reliable data --------------------------------------------------------------------------------


def numbered(sequence: int) -> models.DataPacket:
    user = models.UserPacket(payload=str(sequence).encode())
    return models.DataPacket(user=user, sequence=sequence)


@pytest.mark.row(57, 156)
@both
async def test_reliable_data_arrives_once(lobby: Lobby, single: bool) -> None:
    bob = await join(lobby, "bob", single=True)
    await bob.ready()
    alice = await join(lobby, "alice", single=single)
    for sequence in (1, 2, 3):
        await alice.send_data(numbered(sequence))
    await until(lambda: len(bob.received) == 3, "three packets")
    signal = await come_back(lobby, alice)
    assert signal.log[0].reconnect.last_message_seq == 3
    # Written without waiting for the connection: whether it is repaired is not the question.
    channel = alice.channels["_reliable"]
    if single:
        for sequence in (2, 3, 4):
            channel.send(numbered(sequence).SerializeToString())
        await until(lambda: len(bob.received) == 4, "the fourth packet")
        assert [p.sequence for p in bob.received] == [1, 2, 3, 4]


# -- the connection -------------------------------------------------------------------------------


@pytest.mark.row(119, 120)
async def test_signal_lost_before_media_ends_the_session(lobby: Lobby) -> None:
    bob = await lobby.signal("bob")
    alice = await lobby.signal("alice")
    await bob.expect_participant("alice")
    alice.drop()
    left = await bob.expect_participant("alice", lambda p: p.state == State.DISCONNECTED)
    assert left.disconnect_reason == Reason.SIGNAL_CLOSE


@pytest.mark.row(118, 54, 120)
async def test_a_silent_connection_may_be_resumed_for_five_seconds(lobby: Lobby) -> None:
    bob = await lobby.signal("bob")
    alice = await join(lobby, "alice", single=True)
    async with lobby.lateness() as late:
        began = time.monotonic()
        transport = alice.publisher.sctp.transport.transport
        for protocol in transport._connection._protocols:
            protocol.transport.abort()
        leave = await alice.signal.expect("leave")
        assert (leave.reason, leave.action) == (Reason.CONNECTION_TIMEOUT, Action.RESUME)
        told = time.monotonic()
        await alice.signal.ended()
        left = await bob.expect("update", lambda u: gone(u, "alice"))
        ended = time.monotonic()
    assert left.participants[0].disconnect_reason == Reason.CONNECTION_TIMEOUT
    # The server's clocks began when it heard the last of alice and when it sent the leave.
    assert 13 - late.worst_s < told - began < 18 + late.total_s
    assert 4.5 - late.worst_s < ended - told < 9 + late.total_s


def gone(update: rtc.ParticipantUpdate, identity: str) -> bool:
    """Whether the participant left."""
    left = State.DISCONNECTED
    return any(p.identity == identity and p.state == left for p in update.participants)


@pytest.mark.row(117, 120)
async def test_who_never_connects_is_removed_after_a_minute(lobby: Lobby) -> None:
    signal = await lobby.signal("alice")
    async with lobby.lateness() as late:
        began = time.monotonic()
        leave = await signal.expect("leave", timeout_s=60 + PATIENCE_S)
        took = time.monotonic() - began
    assert (leave.reason, leave.action) == (Reason.JOIN_FAILURE, Action.DISCONNECT)
    assert 59 - late.worst_s < took < 63 + late.total_s


# -- simulated faults -----------------------------------------------------------------------------


async def simulate(signal: Signal, **scenario: object) -> None:
    await signal.send(simulate=rtc.SimulateScenario(**scenario))


@pytest.mark.row(71)
async def test_a_simulated_speaker(lobby: Lobby) -> None:
    alice = await join(lobby, "alice", single=True)
    await simulate(alice.signal, speaker_update=1)
    (told,) = (await alice.signal.expect("speakers_changed")).speakers
    assert (told.sid, told.active) == (alice.sid, True)
    assert told.level == pytest.approx(0.9)
    (told,) = (await alice.signal.expect("speakers_changed")).speakers
    assert (told.sid, told.active, told.level) == (alice.sid, False, 0)


@pytest.mark.row(71, 120, 54)
@pytest.mark.parametrize(
    ("scenario", "told", "reason"),
    [
        ("node_failure", [], Reason.SERVER_SHUTDOWN),
        ("migration", [], Reason.MIGRATION),
        ("server_leave", [Action.DISCONNECT], Reason.SERVER_SHUTDOWN),
    ],
)
async def test_sessions_that_end(lobby: Lobby, scenario: str, told: list[int], reason: int) -> None:
    bob = await lobby.signal("bob")
    alice = await join(lobby, "alice", single=True)
    await simulate(alice.signal, **{scenario: True})
    await alice.signal.ended()
    leaves = alice.signal.all("leave")
    assert [leave.action for leave in leaves] == told
    assert all(leave.reason == reason for leave in leaves)
    left = await bob.expect_participant("alice", lambda p: p.state == State.DISCONNECTED)
    assert left.disconnect_reason == reason
    again = await resume(lobby, "alice", alice.sid, single=True)
    assert again.log[0].leave.action == Action.RECONNECT


@pytest.mark.row(71)
async def test_a_resume_that_ends_after_its_messages(lobby: Lobby) -> None:
    alice = await join(lobby, "alice", single=True)
    await simulate(alice.signal, disconnect_signal_on_resume=True)
    await lobby.pause(0.1)
    first = await come_back(lobby, alice, drop=False)
    await first.ended()
    assert first.kinds[0] == "reconnect"
    second = await come_back(lobby, alice, drop=False)
    await second.never("leave", 0.3)
    assert not second.closed.done()


@pytest.mark.row(71)
async def test_a_resume_that_ends_before_any_message(lobby: Lobby) -> None:
    alice = await join(lobby, "alice", single=True)
    await simulate(alice.signal, disconnect_signal_on_resume_no_messages=True)
    await lobby.pause(0.1)
    with pytest.raises(Refused) as refused:
        await come_back(lobby, alice, drop=False)
    assert refused.value.status == 500
    second = await come_back(lobby, alice, drop=False)
    assert second.kinds[0] == "reconnect"


@pytest.mark.row(71)
async def test_what_is_not_simulated(lobby: Lobby) -> None:
    alice = await join(lobby, "alice", single=True)
    await simulate(alice.signal, leave_request_full_reconnect=True)
    await alice.signal.never("leave", 0.5)
    assert not alice.signal.closed.done()


@pytest.mark.row(71, 41)
async def test_switching_to_tcp(lobby: Lobby) -> None:
    alice = await join(lobby, "alice", single=False)
    assert alice.signal.join.fast_publish
    before = len(alice.signal.log)
    await simulate(alice.signal, switch_candidate_protocol=rtc.CandidateProtocol.TCP)
    await alice.signal.expect("trickle", lambda t: t.final and is_after(alice.signal, t, before))
    await lobby.pause(0.2)
    candidates = [
        json.loads(r.trickle.candidateInit)["candidate"]
        for r in alice.signal.log[before:]
        if r.WhichOneof("message") == "trickle"
    ]
    assert candidates
    assert all(" tcp " in candidate for candidate in candidates)
    afresh = await lobby.signal("alice", sdk=SDK)
    assert not afresh.join.fast_publish


def is_after(signal: Signal, trickle: rtc.TrickleRequest, position: int) -> bool:
    return any(r.trickle is trickle or r.trickle == trickle for r in signal.log[position:])


@pytest.mark.row(71, 72)
async def test_switching_to_tls(lobby: Lobby) -> None:
    alice = await join(lobby, "alice", single=True)
    await simulate(alice.signal, switch_candidate_protocol=rtc.CandidateProtocol.TLS)
    await lobby.pause(0.1)
    afresh = await lobby.signal("alice", sdk=SDK)
    forced = afresh.join.client_configuration.force_relay
    assert forced == models.ClientConfigSetting.ENABLED
