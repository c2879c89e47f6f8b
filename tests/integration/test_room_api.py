"""What the server API does to a live room on the fake engine: metadata, permissions, RPC."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from livekit.protocol import models, rtc
from livekit.protocol import room as room_pb

from lkpy.engine.api import CloseDownTrack, CloseReceiver, CreateDownTrack
from lkpy.errors import Code, LkpyError
from lkpy.ids import ParticipantIdentity
from lkpy.limits import MAX_RPC_CALLS, RPC_ACK_S, RPC_RESPONSE_S, Limits
from lkpy.server.rtc.options import RoomOptions
from tests.room_kit import AUDIO_CID, JOIN_OFFER, Client, World, camera, microphone, running

Permission = models.ParticipantPermission
EVERYTHING = Permission(can_subscribe=True, can_publish=True, can_publish_data=True)


async def update(client: Client, **values: Any) -> models.ParticipantInfo:
    """UpdateParticipant about one client."""
    request = room_pb.UpdateParticipantRequest(identity=client.start.identity, **values)
    info = await client.world.room.api.update_participant(request)
    await client.world.settle()
    return info


# -- metadata ---------------------------------------------------------------------------------


async def test_metadata_of_a_participant() -> None:
    async with running() as world:
        alice, bob = await world.join("alice"), await world.join("bob")
        alice.fresh(), bob.fresh()
        info = await update(alice, name="Al", metadata="m", attributes={"a": "1", "b": "2"})
        assert (info.name, info.metadata, dict(info.attributes)) == (
            "Al",
            "m",
            {"a": "1", "b": "2"},
        )
        assert alice.kinds() == ["update", "refresh_token"]
        assert bob.kinds() == ["update"]
        assert bob.updates("alice")[-1] == info
        token = world.tokens[-1]
        assert (token.name, token.metadata, token.attributes) == ("Al", "m", {"a": "1", "b": "2"})
        info = await update(alice, attributes={"a": "", "c": "3"})
        assert (info.name, dict(info.attributes)) == ("Al", {"b": "2", "c": "3"})


async def test_an_update_that_changes_nothing_is_not_told() -> None:
    async with running() as world:
        alice = await world.join("alice", grants={"name": "Al"})
        alice.fresh()
        version = alice.participant.to_proto().version
        info = await update(alice, name="Al", permission=alice.participant.claims.permission)
        assert (alice.kinds(), info.version) == ([], version)


async def test_attributes_may_not_grow_without_end() -> None:
    options = RoomOptions(limits=Limits(max_attributes_size=10))
    async with running(options=options) as world:
        alice = await world.join("alice")
        await update(alice, attributes={"a": "1234"})
        with pytest.raises(LkpyError, match="attributes size") as refused:
            await update(alice, attributes={"b": "123456"})
        assert refused.value.code is Code.INVALID_ARGUMENT
        assert dict(alice.participant.to_proto().attributes) == {"a": "1234"}


async def test_metadata_of_the_room() -> None:
    async with running() as world:
        alice = await world.join("alice")
        alice.fresh()
        room = await world.room.api.update_metadata("about the room")
        await world.settle()
        assert room.metadata == "about the room"
        assert alice.kinds() == ["room_update"]
        assert alice.last("room_update").room.metadata == "about the room"
        await world.room.api.update_metadata("about the room")
        await world.settle()
        assert alice.kinds() == [], "nothing changed"


# -- permissions ------------------------------------------------------------------------------


async def test_tracks_that_may_not_be_published_any_more_are_taken_away() -> None:
    async with running() as world:
        alice, bob = await world.join("alice"), await world.join("bob")
        tracks = await alice.publish(camera(), microphone())
        video, audio = (track.sid for track in tracks)
        alice.fresh(), bob.fresh()
        only_audio = Permission(
            can_publish=True, can_publish_sources=[models.TrackSource.MICROPHONE]
        )
        info = await update(alice, permission=only_audio)
        assert [track.sid for track in info.tracks] == [audio]
        assert info.permission == only_audio
        assert info.is_publisher
        assert alice.last("track_unpublished").track_sid == video
        assert alice.kinds()[-1] == "refresh_token"
        assert [t.sid for t in bob.updates("alice")[-1].tracks] == [audio]
        assert len(world.engine.of(CloseReceiver)) == 1
        grant = world.tokens[-1].video
        assert grant is not None
        assert grant.to_permission() == only_audio
        assert (grant.room_join, grant.room) == (True, "lobby"), "the rest of the grant stays"

        info = await update(alice, permission=Permission())
        assert (list(info.tracks), info.is_publisher) == ([], False)
        assert [gone.track_sid for gone in alice.all("track_unpublished")] == [video, audio]
        await alice.send(add_track=microphone(cid="another"))
        response = alice.last("request_response")
        assert response.reason == rtc.RequestResponse.Reason.NOT_ALLOWED
        info = await update(alice, permission=EVERYTHING)
        assert info.is_publisher, "it is connected and may publish again"


async def test_an_old_client_is_told_to_mute_what_it_may_not_publish() -> None:
    async with running() as world:
        alice = await world.join("alice", single=False, client={"protocol": 6})
        (track,) = await alice.publish(microphone())
        await update(alice, permission=Permission())
        assert alice.last("mute") == rtc.MuteTrackRequest(sid=track.sid, muted=True)


@pytest.mark.parametrize("single", [True, False], ids=["single", "dual"])
async def test_subscriptions_come_back_with_the_permission(single: bool) -> None:
    async with running() as world:
        alice = await world.join("alice")
        bob = await world.join("bob", single=single)
        (track,) = await alice.publish(microphone())
        if single:
            await bob.offer(JOIN_OFFER)
        else:
            await world.advance(0.5)
        assert [t.track.sid for t in bob.participant.subscribing.tracks] == [track.sid]
        assert len(world.engine.of(CreateDownTrack)) == 1
        await update(bob, permission=Permission(can_publish=True))
        assert bob.participant.subscribing.tracks == []
        assert len(world.engine.of(CloseDownTrack)) == 1
        await world.advance(4)
        assert bob.participant.subscribing.tracks == []
        await update(bob, permission=EVERYTHING)
        assert [t.track.sid for t in bob.participant.subscribing.tracks] == [track.sid]


async def test_who_enters_without_the_permission_receives_with_it() -> None:
    async with running() as world:
        alice = await world.join("alice")
        (track,) = await alice.publish(microphone())
        bob = await world.join("bob", single=False, video={"can_subscribe": False})
        assert not bob.last("join").subscriber_primary
        await world.advance(30)
        assert bob.all("subscription_response") == []
        await update(bob, permission=EVERYTHING)
        assert [t.track.sid for t in bob.participant.subscribing.tracks] == [track.sid]


async def test_data_is_refused_without_the_permission() -> None:
    async with running() as world:
        alice, bob = await world.join("alice"), await world.join("bob")
        for client in (alice, bob):
            await client.open_channels()
        packet = models.DataPacket(user=models.UserPacket(payload=b"x"))
        await alice.send_data(packet)
        assert len(world.sent()) == 1
        await update(alice, permission=Permission(can_publish=True))
        await alice.send_data(packet)
        assert len(world.sent()) == 1
        await update(alice, permission=EVERYTHING)
        await alice.send_data(packet)
        assert len(world.sent()) == 2


async def test_a_participant_that_is_hidden_is_not_spoken_of() -> None:
    async with running() as world:
        alice, bob = await world.join("alice"), await world.join("bob")
        await world.advance(4)
        alice.fresh(), bob.fresh()
        hidden = Permission(hidden=True, can_subscribe=True)
        await update(alice, permission=hidden)
        await update(alice, name="nobody knows")
        assert bob.kinds() == []
        assert alice.updates("alice")[-1].name == "nobody knows"
        carol = await world.join("carol")
        assert [p.identity for p in carol.last("join").other_participants] == ["bob"]


async def test_a_recorder_by_permission_is_not_counted_and_marks_the_room() -> None:
    async with running() as world:
        alice, bob = await world.join("alice"), await world.join("bob")
        await update(bob, permission=Permission(recorder=True))
        room = alice.last("room_update").room
        assert (room.active_recording, room.num_participants) == (True, 1)
        await update(bob, permission=EVERYTHING)
        assert not alice.last("room_update").room.active_recording


# -- subscriptions ----------------------------------------------------------------------------


async def test_subscribing_a_participant() -> None:
    async with running() as world:
        alice = await world.join("alice")
        bob = await world.join("bob", auto_subscribe=False)
        tracks = await alice.publish(camera(), microphone())
        video, audio = (track.sid for track in tracks)

        async def call(**values: Any) -> set[str]:
            request = room_pb.UpdateSubscriptionsRequest(identity="bob", **values)
            await world.room.api.update_subscriptions(request)
            await world.settle()
            return {subscribed.track.sid for subscribed in bob.participant.subscribing.tracks}

        assert await call(track_sids=[audio], subscribe=True) == {audio}
        by_participant = [models.ParticipantTracks(track_sids=[video])]
        assert await call(participant_tracks=by_participant, subscribe=True) == {video, audio}
        assert await call(track_sids=[video], subscribe=False) == {audio}


# -- RPC --------------------------------------------------------------------------------------


class Calls:
    """RPC calls to one client that has data channels."""

    def __init__(self, world: World, client: Client) -> None:
        self.world = world
        self.client = client

    def begin(self, **values: Any) -> asyncio.Task[str]:
        values = {"method": "add", "payload": "1"} | values
        request = room_pb.PerformRpcRequest(
            destination_identity=self.client.start.identity, **values
        )
        return asyncio.create_task(self.world.room.api.perform_rpc(request))

    async def sent(self) -> models.DataPacket:
        """The request, as the client gets it."""
        await self.world.settle()
        return models.DataPacket.FromString(self.world.sent()[-1].payload)

    async def acknowledge(self, packet: models.DataPacket) -> None:
        ack = models.RpcAck(request_id=packet.rpc_request.id)
        await self.client.send_data(models.DataPacket(rpc_ack=ack))

    async def answer(self, packet: models.DataPacket, **values: Any) -> None:
        response = models.RpcResponse(request_id=packet.rpc_request.id, **values)
        to = [packet.participant_identity]
        await self.client.send_data(
            models.DataPacket(rpc_response=response, destination_identities=to)
        )


@pytest.fixture
async def calls():
    async with running() as world:
        alice = await world.join("alice")
        await alice.open_channels()
        yield Calls(world, alice)


async def test_an_rpc_call(calls: Calls) -> None:
    call = calls.begin(response_timeout_ms=7000)
    packet = await calls.sent()
    request = packet.rpc_request
    assert (request.method, request.payload, request.version) == ("add", "1", 1)
    assert request.response_timeout_ms == 7000
    assert packet.participant_identity == request.id
    assert packet.kind == models.DataPacket.RELIABLE
    await calls.acknowledge(packet)
    await calls.world.advance(6)
    bob = await calls.world.join("bob")
    await bob.open_channels()
    before = len(calls.world.sent())
    await calls.answer(packet, payload="2")
    assert await call == "2"
    assert len(calls.world.sent()) == before, "the answer goes no further"
    await calls.answer(packet, payload="again")
    assert len(calls.client.participant.rpc) == 0


async def test_an_answer_without_acknowledgement_is_an_answer(calls: Calls) -> None:
    call = calls.begin()
    await calls.answer(await calls.sent(), payload="")
    assert await call == ""
    await calls.world.advance(3)


@pytest.mark.parametrize(
    ("code", "message", "data", "expected", "words"),
    [
        (1500, "", "", Code.INTERNAL, "RpcError 1500: "),
        (1400, "no such method", "", Code.INVALID_ARGUMENT, "RpcError 1400: no such method"),
        (1401, "m", "", Code.NOT_FOUND, "RpcError 1401: m"),
        (1403, "m", "", Code.UNIMPLEMENTED, "RpcError 1403: m"),
        (1504, "m", "", Code.INTERNAL, "RpcError 1504: m"),
        (301, "moved", "there", Code.INTERNAL, "RpcError 301: moved: there"),
    ],
)
async def test_errors_of_the_application(
    calls: Calls, code: int, message: str, data: str, expected: Code, words: str
) -> None:
    call = calls.begin()
    error = models.RpcError(code=code, message=message, data=data)
    await calls.answer(await calls.sent(), error=error)
    with pytest.raises(LkpyError) as failed:
        await call
    assert (failed.value.code, failed.value.message) == (expected, words)


async def test_a_call_that_nobody_acknowledges(calls: Calls) -> None:
    call = calls.begin()
    packet = await calls.sent()
    await calls.world.advance(RPC_ACK_S - 0.25)
    assert not call.done()
    await calls.world.advance(0.5)
    assert call.done()
    with pytest.raises(LkpyError, match="RpcError 1501: Connection timeout") as failed:
        await call
    assert failed.value.code is Code.CANCELED
    await calls.answer(packet, payload="late")


async def test_a_call_that_nobody_answers(calls: Calls) -> None:
    call = calls.begin()
    await calls.acknowledge(await calls.sent())
    await calls.world.advance(RPC_RESPONSE_S - 0.25)
    assert not call.done()
    await calls.world.advance(0.5)
    assert call.done()
    with pytest.raises(LkpyError, match="RpcError 1502: Response timeout"):
        await call


async def test_a_participant_that_leaves_answers_no_more(calls: Calls) -> None:
    call = calls.begin()
    await calls.acknowledge(await calls.sent())
    await calls.client.send(leave=rtc.LeaveRequest())
    with pytest.raises(LkpyError, match="RpcError 1503: Recipient disconnected") as failed:
        await call
    assert failed.value.code is Code.UNAVAILABLE


async def test_calls_that_cannot_be_made(calls: Calls) -> None:
    with pytest.raises(LkpyError, match="RpcError 1402: Request payload too large") as failed:
        await calls.begin(payload="x" * 15_361)
    assert failed.value.code is Code.INVALID_ARGUMENT
    waiting = [calls.begin() for _ in range(MAX_RPC_CALLS)]
    await calls.world.settle()
    with pytest.raises(LkpyError) as full:
        await calls.begin()
    assert full.value.code is Code.RESOURCE_EXHAUSTED
    for call in waiting:
        call.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    await calls.world.settle()
    assert len(calls.client.participant.rpc) == 0, "who gives up is forgotten"
    absent = room_pb.PerformRpcRequest(destination_identity="nobody")
    with pytest.raises(LkpyError) as nobody:
        await calls.world.room.api.perform_rpc(absent)
    assert nobody.value.code is Code.NOT_FOUND


async def test_another_participant_cannot_answer(calls: Calls) -> None:
    call = calls.begin()
    packet = await calls.sent()
    bob = await calls.world.join("bob")
    await bob.open_channels()
    forged = models.RpcResponse(request_id=packet.rpc_request.id, payload="forged")
    await bob.send_data(models.DataPacket(rpc_response=forged))
    assert not call.done()
    await calls.answer(packet, payload="true")
    assert await call == "true"


# -- counts -----------------------------------------------------------------------------------


async def test_room_updates_keep_five_seconds_apart() -> None:
    async with running() as world:
        alice = await world.join("alice")
        await alice.publish(microphone(cid=AUDIO_CID))
        await world.advance(4.5)
        assert alice.all("room_update") == []
        await world.advance(1)
        room = alice.last("room_update").room
        assert (room.num_participants, room.num_publishers) == (1, 1)
        await world.advance(20)
        assert len(alice.all("room_update")) == 1, "nothing changed"
        # Long after the last update the next one is told at once, to who entered too.
        bob = await world.join("bob")
        assert bob.last("join").room.num_participants == 1
        for client in (alice, bob):
            assert client.last("room_update").room.num_participants == 2
        await bob.send(leave=rtc.LeaveRequest())
        assert alice.last("room_update").room.num_participants == 2
        await world.advance(5.25)
        assert alice.last("room_update").room.num_participants == 1


async def test_updates_are_split_at_the_configured_size() -> None:
    async with running(options=RoomOptions(update_batch_target_size=1)) as world:
        alice = await world.join("alice")
        for name in ("b", "c", "d"):
            await world.join(name)
        alice.fresh()
        await world.advance(3.25)
        batches = [len(u.participants) for u in alice.all("update")]
        assert batches == [1, 1, 1, 1]


async def test_calls_about_who_is_not_there() -> None:
    async with running() as world:
        with pytest.raises(LkpyError, match="participant does not exist"):
            await world.room.api.update_participant(
                room_pb.UpdateParticipantRequest(identity="nobody")
            )
        with pytest.raises(LkpyError, match="participant does not exist"):
            await world.room.api.remove_participant(
                ParticipantIdentity("nobody"), models.DisconnectReason.PARTICIPANT_REMOVED
            )
