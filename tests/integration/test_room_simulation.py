"""Faults that a client asks for, and the state that it sends when it comes back."""

from __future__ import annotations

import pytest
from livekit.protocol import models, rtc

from lkpy.engine.api import (
    DataChannelClosed,
    DataChannelOpened,
    IceCandidate,
    IceState,
    IceStateChanged,
    OpenDataChannel,
    SendData,
)
from lkpy.server.rtc.options import RoomOptions
from tests.room_kit import Client, camera, microphone, running

State = models.ParticipantInfo.State
Reason = models.DisconnectReason
Action = rtc.LeaveRequest.Action
Retry = models.ReconnectReason


async def simulate(client: Client, **scenario: object) -> None:
    await client.send(simulate=rtc.SimulateScenario(**scenario))


# -- scenarios ------------------------------------------------------------------------------------


async def test_a_simulated_speaker_is_told_to_those_who_receive_it() -> None:
    async with running() as world:
        alice, bob = await world.join("alice"), await world.join("bob")
        await alice.publish(microphone())
        stranger = await world.join("carol", auto_subscribe=False)
        await simulate(alice, speaker_update=3)
        for client in (alice, bob):
            (told,) = client.last("speakers_changed").speakers
            assert (told.sid, told.active) == (alice.participant.sid, True)
            assert told.level == pytest.approx(0.9)
        await world.advance(3.5)
        assert not bob.last("speakers_changed").speakers[0].active
        assert stranger.all("speakers_changed") == []


@pytest.mark.parametrize(
    ("scenario", "told", "reason"),
    [
        ("node_failure", [], Reason.SERVER_SHUTDOWN),
        ("migration", [], Reason.MIGRATION),
        ("server_leave", [Action.DISCONNECT], Reason.SERVER_SHUTDOWN),
    ],
)
async def test_sessions_that_end(scenario: str, told: list[int], reason: int) -> None:
    async with running() as world:
        bob, alice = await world.join("bob"), await world.join("alice")
        await simulate(alice, **{scenario: True})
        assert [leave.action for leave in alice.all("leave")] == told
        assert all(leave.reason == reason for leave in alice.all("leave"))
        assert alice.left
        await world.advance(3.5)
        assert bob.updates("alice")[-1].state == State.DISCONNECTED
        assert bob.updates("alice")[-1].disconnect_reason == reason
        again = await world.join("alice", reconnect=True)
        assert again.last("leave").action == Action.RECONNECT


async def test_what_livekit_does_not_simulate_does_nothing() -> None:
    async with running() as world:
        alice = await world.join("alice")
        alice.fresh()
        await simulate(alice, leave_request_full_reconnect=True)
        await simulate(alice)
        assert alice.kinds() == []
        assert not alice.left


async def test_the_next_resume_ends_after_its_messages() -> None:
    async with running() as world:
        alice = await world.join("alice")
        await simulate(alice, disconnect_signal_on_resume=True)
        first = await world.join("alice", reconnect=True)
        assert first.kinds()[0] == "reconnect"
        assert first.left
        second = await world.join("alice", reconnect=True)
        assert not second.left


async def test_the_next_resumes_end_before_any_message() -> None:
    async with running() as world:
        alice = await world.join("alice")
        await simulate(alice, disconnect_signal_on_resume_no_messages=True)
        silent = await world.join("alice", reconnect=True)
        assert silent.kinds() == []
        assert silent.left
        assert not (await world.join("alice", reconnect=True)).left


@pytest.mark.parametrize("silent", [True, False])
async def test_simulated_disconnects_are_not_armed_for_long(silent: bool) -> None:
    async with running() as world:
        alice = await world.join("alice")
        suffix = "_no_messages" if silent else ""
        await simulate(alice, **{f"disconnect_signal_on_resume{suffix}": True})
        await world.advance(5.5)
        assert not (await world.join("alice", reconnect=True)).left


# -- kinds of path ----------------------------------------------------------------------------


def candidates(client: Client) -> set[str]:
    """Protocols of the server's candidates since the last look."""
    trickles = [r.trickle for r in client.fresh() if r.HasField("trickle")]
    return {"tcp" if " tcp " in t.candidateInit else "udp" for t in trickles}


@pytest.fixture
def with_tcp(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fake engine has a TCP port too."""
    from lkpy.engine import fake

    plain = fake._worker

    def worker(number: int) -> object:
        info = plain(number)
        tcp = IceCandidate("2", 1, "tcp", 2_105_458_943, "192.0.2.1", 7881)
        return type(info)(number, (*info.candidates, tcp))

    monkeypatch.setattr(fake, "_worker", worker)


@pytest.mark.usefixtures("with_tcp")
async def test_switching_to_tcp() -> None:
    async with running() as world:
        alice = await world.join("alice", single=False)
        assert candidates(alice) == {"udp", "tcp"}
        await simulate(alice, switch_candidate_protocol=rtc.CandidateProtocol.TCP)
        assert candidates(alice) == {"tcp"}, "ICE was restarted"
        afresh = await world.join("alice", single=False)
        assert not afresh.last("join").fast_publish
        assert candidates(afresh) == {"tcp"}, "remembered for the identity"
        await world.advance(301)
        later = await world.join("alice", single=False)
        assert candidates(later) == {"udp", "tcp"}
        assert later.last("join").fast_publish


@pytest.mark.usefixtures("with_tcp")
async def test_tcp_by_configuration() -> None:
    async with running(options=RoomOptions(force_tcp=True)) as world:
        alice = await world.join("alice", single=False)
        assert candidates(alice) == {"tcp"}


async def test_tcp_that_is_not_there_leaves_udp() -> None:
    async with running() as world:
        alice = await world.join("alice", single=False)
        alice.fresh()
        await simulate(alice, switch_candidate_protocol=rtc.CandidateProtocol.TCP)
        assert candidates(alice) == {"udp"}


async def test_switching_to_tls_forces_relays() -> None:
    async with running() as world:
        alice = await world.join("alice")
        await simulate(alice, switch_candidate_protocol=rtc.CandidateProtocol.TLS)
        afresh = await world.join("alice")
        forced = afresh.last("join").client_configuration.force_relay
        assert forced == models.ClientConfigSetting.ENABLED
        again = await world.join("alice", reconnect=True)
        assert again.last("reconnect").client_configuration.force_relay == forced


@pytest.mark.usefixtures("with_tcp")
@pytest.mark.parametrize(
    ("reason", "allowed", "protocols"),
    [
        (Retry.RR_PUBLISHER_FAILED, True, {"tcp"}),
        (Retry.RR_PUBLISHER_FAILED, False, {"udp", "tcp"}),
        (Retry.RR_SIGNAL_DISCONNECTED, True, {"udp", "tcp"}),
    ],
)
async def test_a_connection_that_did_not_last_falls_back(
    reason: Retry, allowed: bool, protocols: set[str]
) -> None:
    async with running(options=RoomOptions(allow_tcp_fallback=allowed)) as world:
        alice = await world.join("alice", single=False)
        await alice.publish(microphone())
        await world.advance(20)
        await alice.send(ping_req=rtc.Ping())
        again = await world.join("alice", single=False, reconnect=True, reconnect_reason=reason)
        assert candidates(again) == protocols


@pytest.mark.usefixtures("with_tcp")
async def test_a_network_that_is_gone_is_no_reason_to_fall_back() -> None:
    async with running() as world:
        alice = await world.join("alice", single=False)
        await world.advance(20)
        subscriber = alice.participant.transports.subscriber
        assert subscriber is not None
        world.engine.inject(IceStateChanged(subscriber.id, IceState.FAILED))
        await world.settle()
        again = await world.join("alice", single=False, reconnect=True)
        assert candidates(again) == {"udp", "tcp"}


# -- sync state -------------------------------------------------------------------------------


async def test_state_that_is_known_changes_nothing_else() -> None:
    async with running() as world:
        alice = await world.join("alice")
        published = await alice.publish(microphone())
        await alice.send(add_track=camera("another"))
        pending = alice.last("track_published").track
        again = await world.join("alice", reconnect=True)
        again.fresh()
        known = [rtc.TrackPublishedResponse(track=t) for t in (*published, pending)]
        await again.send(sync_state=rtc.SyncState(publish_tracks=known))
        await again.send(sync_state=rtc.SyncState())
        assert again.kinds() == []
        assert not again.left


@pytest.mark.parametrize(
    "state",
    [
        rtc.SyncState(
            publish_tracks=[rtc.TrackPublishedResponse(track=models.TrackInfo(sid="TR_unknown"))]
        ),
        rtc.SyncState(publish_tracks=[rtc.TrackPublishedResponse(cid="no track")]),
        rtc.SyncState(publish_data_tracks=[rtc.PublishDataTrackResponse()]),
    ],
)
async def test_state_that_is_unknown_means_a_fresh_join(state: rtc.SyncState) -> None:
    async with running() as world:
        await world.join("alice")
        again = await world.join("alice", reconnect=True)
        await again.send(sync_state=state)
        leave = again.last("leave")
        assert (leave.action, leave.reason) == (Action.RECONNECT, Reason.STATE_MISMATCH)
        assert again.left
        assert world.room.participants() == []


async def test_wishes_are_those_of_the_client() -> None:
    async with running() as world:
        bob = await world.join("bob")
        await bob.publish(camera(), microphone())
        video, audio = (t.sid for t in bob.participant.publishing.tracks)
        alice = await world.join("alice", auto_subscribe=False)
        await alice.send(subscription=rtc.UpdateSubscription(track_sids=[audio], subscribe=True))
        again = await world.join("alice", auto_subscribe=False, reconnect=True)
        await again.send(
            sync_state=rtc.SyncState(
                subscription=rtc.UpdateSubscription(track_sids=[video], subscribe=True),
                track_sids_disabled=[video],
            )
        )
        received = {t.track.sid: t.handle.muted for t in again.participant.subscribing.tracks}
        assert received == {audio: False, video: True}


# -- reliable data ----------------------------------------------------------------------------


def user(sequence: int) -> models.DataPacket:
    return models.DataPacket(user=models.UserPacket(payload=b"x"), sequence=sequence)


def sequences(sent: list[SendData]) -> list[int]:
    return [models.DataPacket.FromString(s.payload).sequence for s in sent]


async def test_what_the_client_repeats_after_a_resume_is_passed_on_once() -> None:
    async with running() as world:
        bob = await world.join("bob")
        await bob.open_channels()
        alice = await world.join("alice")
        await alice.open_channels()
        for sequence in (1, 2, 3):
            await alice.send_data(user(sequence))
        again = await world.join("alice", reconnect=True)
        assert again.last("reconnect").last_message_seq == 3
        for sequence in (2, 3, 4):
            await again.send_data(user(sequence))
        assert sequences(world.sent()) == [1, 2, 3, 4]


async def test_what_was_in_flight_on_a_channel_that_broke_is_sent_again() -> None:
    async with running() as world:
        bob = await world.join("bob", single=False)
        alice = await world.join("alice")
        await alice.open_channels()
        for sequence in (1, 2, 3):
            await alice.send_data(user(sequence))
        channel = bob.participant.data.outgoing(reliable=True)
        assert channel is not None
        world.engine.inject(DataChannelClosed(*channel))
        await world.settle()
        await alice.send_data(user(4))
        world.engine.forget()
        again = await world.join("bob", single=False, reconnect=True)
        state = rtc.DataChannelReceiveState(publisher_sid=alice.participant.sid, last_seq=1)
        await again.send(sync_state=rtc.SyncState(datachannel_receive_states=[state]))
        opened = [command.label for command in world.engine.of(OpenDataChannel)]
        assert opened == ["_reliable", "_lossy", "_data_track"]
        assert sequences(world.sent()) == [2, 3, 4]
        await alice.send_data(user(5))
        assert sequences(world.sent())[3:] == [5]


async def test_a_channel_that_did_not_break_is_not_sent_anything_again() -> None:
    async with running() as world:
        bob, alice = await world.join("bob"), await world.join("alice")
        await bob.open_channels()
        await alice.open_channels()
        for sequence in (1, 2):
            await alice.send_data(user(sequence))
        again = await world.join("bob", reconnect=True)
        state = rtc.DataChannelReceiveState(publisher_sid=alice.participant.sid, last_seq=1)
        await again.send(sync_state=rtc.SyncState(datachannel_receive_states=[state]))
        assert sequences(world.sent()) == [1, 2]


@pytest.mark.parametrize("afresh", [True, False])
async def test_a_channel_that_is_gone_may_mean_a_fresh_join(afresh: bool) -> None:
    async with running(options=RoomOptions(reconnect_on_data_channel_error=afresh)) as world:
        alice = await world.join("alice")
        await alice.open_channels()
        transport = alice.participant.transports.publisher.id
        world.engine.inject(DataChannelClosed(transport, 2))
        await world.settle()
        assert not alice.left, "only reliable data is waited for"
        world.engine.inject(DataChannelClosed(transport, 0))
        await world.settle()
        assert alice.left is afresh
        assert [leave.action for leave in alice.all("leave")] == [Action.RECONNECT] * afresh


async def test_a_channel_of_the_client_replaces_the_one_before() -> None:
    async with running() as world:
        bob, alice = await world.join("bob"), await world.join("alice")
        await bob.open_channels()
        await alice.open_channels()
        await alice.send_data(user(1))
        transport = bob.participant.transports.publisher.id
        world.engine.inject(DataChannelOpened(transport, 10, "_reliable", "", True, None))
        await world.settle()
        await alice.send_data(user(2))
        assert [s.channels for s in world.sent()] == [((transport, 0),), ((transport, 10),)]
