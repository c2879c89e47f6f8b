"""Joining and leaving a room on the fake engine: who is told what, in which order."""

from __future__ import annotations

import pytest
from livekit.protocol import models, rtc
from livekit.protocol import room as room_pb

from lkpy.engine.api import (
    CloseTransport,
    CreateDownTrack,
    IceState,
    IceStateChanged,
    OpenDataChannel,
    TransportClosed,
)
from lkpy.errors import Code, LkpyError
from tests.room_kit import AUDIO_CID, JOIN_OFFER, Client, World, camera, microphone, running

State = models.ParticipantInfo.State
Reason = models.DisconnectReason
Action = rtc.LeaveRequest.Action


def states(client: Client, identity: str) -> list[str]:
    return [State.Name(info.state) for info in client.updates(identity)]


async def test_single_connection_starts_in_order() -> None:
    async with running() as world:
        alice = await world.join("alice", add_track_requests=(microphone(),))
        assert alice.kinds() == ["join", "track_published", "answer", "trickle", "refresh_token"]
        assert alice.last("track_published").cid == AUDIO_CID
        assert alice.last("answer").id == 1
        assert alice.last("trickle").final
        assert alice.last("trickle").target == rtc.SignalTarget.PUBLISHER
        assert alice.last("refresh_token") == "key:alice"
        assert alice.participant.state == State.ACTIVE
        await world.advance(1)
        assert alice.kinds() == [], "nothing is left to negotiate"


async def test_dual_connection_starts_with_an_offer() -> None:
    async with running(auto_connect=False) as world:
        alice = await world.join("alice", single=False)
        assert alice.kinds() == ["join", "offer", "trickle", "refresh_token"]
        assert alice.last("join").subscriber_primary
        assert alice.last("trickle").target == rtc.SignalTarget.SUBSCRIBER
        opened = [(c.label, c.ordered, c.max_retransmits) for c in world.engine.of(OpenDataChannel)]
        assert opened == [
            ("_reliable", True, None),
            ("_lossy", False, 0),
            ("_data_track", False, 0),
        ]
        assert alice.participant.state == State.JOINED
        subscriber = alice.participant.transports.subscriber
        assert subscriber is not None
        world.engine.connect(subscriber.id)
        await world.settle()
        assert alice.participant.state == State.ACTIVE


async def test_dual_connection_that_may_not_subscribe_is_publisher_primary() -> None:
    async with running() as world:
        alice = await world.join("alice", single=False, video={"can_subscribe": False})
        assert alice.kinds() == ["join", "refresh_token"]
        assert not alice.last("join").subscriber_primary
        assert not world.engine.of(OpenDataChannel)


async def test_join_response_is_complete() -> None:
    async with running(metadata="about the room") as world:
        await world.join("alice")
        await world.join("ghost", video={"hidden": True})
        bob = await world.join(
            "bob",
            grants={"metadata": "m", "attributes": {"k": "v"}, "name": "Bob"},
            client={"browser": "Safari", "browser_version": "17", "client_protocol": 2},
        )
        join = bob.last("join")
        assert (join.room.sid, join.room.metadata) == ("RM_1", "about the room")
        assert len(join.room.enabled_codecs) == 10
        assert join.room.num_participants == 0, "counts are told with the next room_update"
        assert [other.identity for other in join.other_participants] == ["alice"]
        assert join.other_participants[0].state == State.ACTIVE
        me = join.participant
        assert (me.identity, me.name, me.metadata, me.state) == ("bob", "Bob", "m", State.JOINING)
        assert dict(me.attributes) == {"k": "v"}
        assert me.sid.startswith("PA_")
        assert me.permission.can_publish
        assert (me.joined_at, me.joined_at_ms) == (1_700_000_000, 1_700_000_000_000)
        assert (me.region, me.client_protocol) == ("here", 2)
        assert (join.ping_interval, join.ping_timeout) == (5, 15)
        info = join.server_info
        assert (info.edition, info.version, info.protocol) == (0, "1.2.3", 18)
        assert (info.agent_protocol, info.region, info.node_id) == (1, "here", "ND_1")
        assert (join.server_version, join.server_region) == ("1.2.3", "here")
        assert len(join.sif_trailer) >= 16
        assert join.fast_publish
        assert not join.subscriber_primary
        assert [c.mime for c in join.client_configuration.disabled_codecs.codecs] == ["video/AV1"]
        assert [codec.mime for codec in join.enabled_publish_codecs] == [
            "video/VP8",
            "video/H264",
            "video/VP9",
            "video/H265",
            "audio/PCMU",
            "audio/PCMA",
            "audio/opus",
            "audio/red",
        ]


async def test_every_room_has_its_own_trailer() -> None:
    trailers = set()
    for _ in range(2):
        async with running() as world:
            alice, bob = await world.join("alice"), await world.join("bob")
            assert alice.last("join").sif_trailer == bob.last("join").sif_trailer
            trailers.add(alice.last("join").sif_trailer)
    assert len(trailers) == 2


async def test_a_full_room_refuses_but_not_those_who_are_there_for_others() -> None:
    async with running(max_participants=1) as world:
        await world.join("alice")
        with pytest.raises(LkpyError, match="max participants") as refused:
            await world.join("bob")
        assert refused.value.code is Code.RESOURCE_EXHAUSTED
        await world.join("agent", grants={"kind": "agent"})
        assert [p.identity for p in world.room.participants()] == ["alice", "agent"]
        await world.join("alice")
        assert world.room.to_proto().num_participants == 1


async def test_the_same_identity_replaces_the_session() -> None:
    async with running() as world:
        newer, older = await world.join("n"), await world.join("o", client={"protocol": 11})
        first = await world.join("alice")
        await first.publish(camera())
        (transport,) = (t.id for t in first.participant.transports.all)
        sid = first.participant.sid
        newer.fresh(), older.fresh()
        second = await world.join("alice")
        assert first.last("leave").reason == Reason.DUPLICATE_IDENTITY
        assert first.last("leave").action == Action.DISCONNECT
        assert first.left
        assert CloseTransport(transport) in world.engine.commands
        assert second.participant.sid != sid
        await world.advance(3.1)
        assert states(older, "alice")[-2:] == ["DISCONNECTED", "ACTIVE"]
        assert "DISCONNECTED" not in states(newer, "alice"), "it goes by the identity"
        assert newer.updates("alice")[-1].sid == second.participant.sid
        assert ("alice", "LEFT") in world.observer.seen


@pytest.mark.parametrize("ready", ["candidate", "another offer", "time"])
async def test_the_go_sdk_is_answered_when_it_has_set_the_offer_it_joined_with(ready: str) -> None:
    async with running() as world:
        go = await world.join("go", client={"sdk": models.ClientInfo.GO})
        assert go.kinds() == ["join", "refresh_token"]
        await world.advance(0.1)
        assert go.kinds() == []
        match ready:
            case "candidate":
                await go.send(trickle=rtc.TrickleRequest(candidateInit="{}", final=True))
            case "another offer":
                await go.offer(JOIN_OFFER)
            case "time":
                await world.advance(0.1)
        told = go.kinds()
        assert told[:2] == ["answer", "trickle"]
        assert told.count("answer") == (2 if ready == "another offer" else 1)
        await world.advance(1)
        assert "answer" not in go.kinds()
        assert go.participant.state == State.ACTIVE


@pytest.mark.parametrize("single", [True, False])
async def test_an_offer_in_the_join_that_cannot_be_negotiated(single: bool) -> None:
    offer = rtc.SessionDescription(type="offer", sdp="v=0", id=1)
    async with running() as world:
        alice = await world.join("alice")
        bob = await world.join("bob", single=single, publisher_offer=offer)
        assert bob.kinds() == ["join", "leave"]
        assert bob.last("leave").action == Action.RECONNECT
        assert bob.left
        assert world.room.size == 1
        assert set(world.engine.transports) == {t.id for t in alice.participant.transports.all}
        assert world.engine.of(OpenDataChannel) == []
        assert world.observer.seen[-1] == ("bob", "LEFT"), "nothing is told of it after that"
        told = [type(event).__name__ for event in world.told if getattr(event, "participant", 0)]
        assert told[-1] == "ParticipantLeft"


async def test_the_go_sdk_is_sent_away_for_its_first_offer_whatever_it_offers_next() -> None:
    malformed = rtc.SessionDescription(type="offer", sdp="v=0", id=1)
    async with running() as world:
        alice = await world.join("alice")
        await alice.publish(microphone())
        client = {"sdk": models.ClientInfo.GO}
        go = await world.join("go", client=client, publisher_offer=malformed)
        await go.offer(JOIN_OFFER)
        assert go.kinds()[-1] == "leave"
        assert go.left
        assert world.engine.of(CreateDownTrack) == [], "for a transport that never was"


# -- updates --------------------------------------------------------------------------------------


async def test_those_who_only_watch_are_told_in_batches() -> None:
    async with running() as world:
        alice = await world.join("alice")
        await world.advance(3.1)
        alice.fresh()
        bob, carol = await world.join("bob"), await world.join("carol")
        assert alice.kinds() == []
        await world.advance(3)
        (update,) = [r.update for r in alice.fresh() if r.HasField("update")]
        assert [p.identity for p in update.participants] == ["bob", "carol"]
        assert all(p.state == State.ACTIVE for p in update.participants)
        assert any(r.HasField("update") for r in bob.fresh())
        await carol.send(leave=rtc.LeaveRequest())
        assert alice.kinds() == []
        await world.advance(3)
        assert states(alice, "carol") == ["ACTIVE", "DISCONNECTED"]
        assert alice.updates("carol")[-1].disconnect_reason == Reason.CLIENT_INITIATED


async def test_publishers_are_told_at_once_with_rising_versions() -> None:
    async with running() as world:
        alice, bob = await world.join("alice"), await world.join("bob")
        await alice.publish(camera(), microphone())
        infos = bob.updates("alice")
        assert [len(info.tracks) for info in infos] == [1, 2]
        assert infos[0].is_publisher
        await alice.send(leave=rtc.LeaveRequest())
        infos = bob.updates("alice")
        assert infos[-1].state == State.DISCONNECTED
        versions = [info.version for info in infos]
        assert versions == sorted(set(versions))


async def test_one_message_object_goes_to_everybody() -> None:
    async with running() as world:
        alice = await world.join("alice")
        others = [await world.join(f"p{index}") for index in range(3)]
        await world.advance(3.1)
        for other in others:
            other.fresh()
        await alice.publish(microphone())
        told = [next(r for r in other.fresh() if r.HasField("update")) for other in others]
        assert told[0] is told[1] is told[2]


async def test_hidden_participants_are_told_of_to_nobody() -> None:
    async with running() as world:
        alice = await world.join("alice")
        ghost = await world.join("ghost", video={"hidden": True, "can_update_own_metadata": True})
        await ghost.send(update_metadata=rtc.UpdateParticipantMetadata(metadata="boo"))
        await world.advance(4)
        assert ghost.updates("ghost")[-1].metadata == "boo"
        await ghost.send(leave=rtc.LeaveRequest())
        await world.advance(4)
        assert alice.updates("ghost") == []


async def test_who_is_hidden_before_it_was_told_of_stays_untold() -> None:
    hidden = models.ParticipantPermission(hidden=True, can_subscribe=True)
    request = room_pb.UpdateParticipantRequest(identity="ghost", permission=hidden)
    async with running() as world:
        alice, ghost = await world.join("alice"), await world.join("ghost")
        await world.room.api.update_participant(request)
        await world.advance(4)
        assert alice.updates("ghost") == []
        versions = [info.version for info in ghost.updates("ghost")]
        assert versions
        assert versions == sorted(versions)


async def test_the_end_of_a_session_is_not_told_after_the_next_one_has_begun() -> None:
    async with running() as world:
        newer, older = await world.join("n"), await world.join("o", client={"protocol": 11})
        first = await world.join("alice")
        await world.advance(3.1)
        await first.send(leave=rtc.LeaveRequest())
        second = await world.join("alice")
        await second.publish(microphone())
        await world.advance(3.1)
        assert "DISCONNECTED" not in states(newer, "alice"), "it goes by the identity"
        ends = [i.sid for i in older.updates("alice") if i.state == State.DISCONNECTED]
        assert ends == [first.last("join").participant.sid]
        assert older.updates("alice")[-1].sid == second.participant.sid


async def test_own_metadata() -> None:
    async with running() as world:
        alice = await world.join("alice", video={"can_update_own_metadata": True})
        bob = await world.join("bob")
        request = rtc.UpdateParticipantMetadata(
            metadata="m", name="Alice", attributes={"a": "1"}, request_id=7
        )
        await alice.send(update_metadata=request)
        assert alice.kinds()[-3:] == ["update", "refresh_token", "request_response"]
        assert alice.last("request_response").request_id == 7
        assert alice.last("request_response").reason == rtc.RequestResponse.Reason.OK
        info = bob.updates("alice")[-1]
        assert (info.metadata, info.name, dict(info.attributes)) == ("m", "Alice", {"a": "1"})
        assert world.tokens[-1].metadata == "m"
        await bob.send(update_metadata=request)
        assert bob.last("request_response").reason == rtc.RequestResponse.Reason.NOT_ALLOWED


# -- leaving --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (Reason.UNKNOWN_REASON, Reason.CLIENT_INITIATED),
        (Reason.CLIENT_INITIATED, Reason.CLIENT_INITIATED),
        (Reason.USER_REJECTED, Reason.USER_REJECTED),
        (Reason.AGENT_ERROR, Reason.AGENT_ERROR),
        (Reason.SERVER_SHUTDOWN, Reason.CLIENT_INITIATED),
    ],
)
async def test_leaving(asked: int, told: int) -> None:
    async with running() as world:
        alice = await world.join("alice")
        (transport,) = (t.id for t in alice.participant.transports.all)
        await alice.send(leave=rtc.LeaveRequest(reason=asked))
        assert alice.last("leave").reason == told
        assert alice.last("leave").action == Action.DISCONNECT
        assert alice.left
        assert alice.source.closed
        assert CloseTransport(transport) in world.engine.commands


async def test_old_clients_are_told_to_leave_without_an_action() -> None:
    async with running() as world:
        alice = await world.join("alice", client={"protocol": 12})
        await alice.send(leave=rtc.LeaveRequest())
        assert not alice.last("leave").can_reconnect


async def test_removal_by_the_api() -> None:
    async with running() as world:
        alice = await world.join("alice")
        identity = alice.start.identity
        await world.room.api.remove_participant(identity, Reason.PARTICIPANT_REMOVED)
        await world.settle()
        assert alice.last("leave").reason == Reason.PARTICIPANT_REMOVED
        with pytest.raises(LkpyError) as absent:
            await world.room.api.remove_participant(identity, Reason.PARTICIPANT_REMOVED)
        assert absent.value.code is Code.NOT_FOUND


async def test_signal_lost_before_media_removes_at_once() -> None:
    async with running(auto_connect=False) as world:
        alice = await world.join("alice")
        alice.source.close()
        await world.settle()
        assert world.room.participants() == []
        assert alice.left
        assert alice.all("leave") == [], "nobody is there to read it"


async def test_signal_lost_after_media_keeps_the_participant() -> None:
    async with running() as world:
        alice = await world.join("alice")
        alice.source.close()
        await world.advance(60)
        assert [p.identity for p in world.room.participants()] == ["alice"]


async def test_join_must_become_active_within_a_minute() -> None:
    async with running(auto_connect=False) as world:
        alice = await world.join("alice")
        bob = await world.join("bob")
        world.engine.connect(bob.participant.transports.publisher.id)
        await world.advance(59)
        assert not alice.left
        await world.advance(1.5)
        assert alice.last("leave").reason == Reason.JOIN_FAILURE
        assert not bob.left


@pytest.mark.parametrize("protocol", [12, 16])
@pytest.mark.parametrize("how", ["ice", "engine"])
async def test_lost_connection_waits_for_the_client_and_then_ends(protocol: int, how: str) -> None:
    async with running() as world:
        bob = await world.join("bob")
        alice = await world.join("alice", client={"protocol": protocol})
        await alice.publish(microphone())
        transport = alice.participant.transports.publisher.id
        world.engine.inject(
            IceStateChanged(transport, IceState.FAILED)
            if how == "ice"
            else TransportClosed(transport, "a caught panic")
        )
        await world.settle()
        leaves = alice.all("leave")
        if protocol == 16:
            assert [(m.action, m.reason) for m in leaves] == [
                (Action.RESUME, Reason.CONNECTION_TIMEOUT)
            ]
        else:
            assert leaves == [], "it would take it for the end"
        assert alice.left
        await world.advance(4.5)
        assert len(world.room.participants()) == 2
        await world.advance(1)
        assert bob.updates("alice")[-1].disconnect_reason == Reason.CONNECTION_TIMEOUT
        assert alice.all("leave") == leaves


# -- the room's life ------------------------------------------------------------------------------


async def test_nobody_came() -> None:
    async with running(empty_timeout=10, departure_timeout=2) as world:
        await world.advance(9.5)
        assert not world.room.closed.is_set()
        await world.advance(1.5)
        assert world.room.closed.is_set()
        assert world.observer.closed


async def test_everybody_left() -> None:
    async with running(empty_timeout=10, departure_timeout=2) as world:
        alice = await world.join("alice")
        agent = await world.join("agent", grants={"kind": "agent"})
        await world.advance(30)
        assert not world.room.closed.is_set()
        await alice.send(leave=rtc.LeaveRequest())
        await world.advance(1.5)
        assert not world.room.closed.is_set()
        await world.advance(1.5)
        assert world.room.closed.is_set()
        assert agent.last("leave").reason == Reason.ROOM_CLOSED


async def test_closing_sends_everybody_away_once() -> None:
    async with running() as world:
        alice = await world.join("alice")
        await world.room.close(Reason.ROOM_DELETED)
        await world.room.close(Reason.SERVER_SHUTDOWN)
        await world.settle()
        assert [leave.reason for leave in alice.all("leave")] == [Reason.ROOM_DELETED]
        with pytest.raises(LkpyError) as late:
            await world.join("bob")
        assert late.value.code is Code.UNAVAILABLE


async def test_counts_recording_and_room_updates() -> None:
    async with running() as world:
        alice = await world.join("alice")
        await world.advance(6)
        alice.fresh()
        await world.join("recorder", video={"recorder": True, "hidden": True})
        assert alice.kinds() == ["room_update"]
        assert alice.last("room_update").room.active_recording
        bob = await world.join("bob")
        await bob.publish(microphone())
        assert "room_update" not in alice.kinds(), "counts may wait"
        await world.advance(5.5)
        room = alice.last("room_update").room
        assert (room.num_participants, room.num_publishers) == (2, 1)
        await world.room.api.remove_participant(
            world.clients[1].start.identity, Reason.PARTICIPANT_REMOVED
        )
        await world.settle()
        assert not alice.last("room_update").room.active_recording


async def test_tokens_are_refreshed_every_five_minutes() -> None:
    async with running() as world:
        alice = await world.join("alice")
        assert len(alice.all("refresh_token")) == 1
        for _ in range(61):
            world.clock.advance(5)
            await world.advance(0.25)
        assert len(alice.all("refresh_token")) == 2


async def test_a_fault_costs_one_message_only(caplog: pytest.LogCaptureFixture) -> None:
    async with running() as world:
        alice = await world.join("alice")

        def fault(*_: object, **__: object) -> None:
            raise RuntimeError("a bug")

        alice.participant.publishing.mute = fault  # type: ignore[assignment]
        await alice.send(mute=rtc.MuteTrackRequest())
        assert "signal request mute failed" in caplog.text
        await world.join("bob")


async def test_an_engine_that_is_gone_refuses_joins(world_closed: World) -> None:
    with pytest.raises(LkpyError) as refused:
        await world_closed.join("alice")
    assert refused.value.code is Code.UNAVAILABLE
    assert world_closed.room.participants() == []


@pytest.fixture
async def world_closed():
    async with running() as world:
        world.engine.close()
        yield world
