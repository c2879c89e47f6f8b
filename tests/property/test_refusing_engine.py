"""Whichever command the engine refuses, nobody stays who has left and nothing stays of them.

An engine refuses when a worker's queue is full. One sequence of joins, publications, subscriptions
and departures runs with each submission of it refused in turn, and with many refused at random.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence

import pytest
from livekit.protocol import models, rtc
from livekit.protocol import room as room_pb

from lkpy.engine.api import Command
from lkpy.engine.fake import FakeEngine
from lkpy.errors import Code, LkpyError
from lkpy.server.rtc.room import Room
from tests.room_kit import Client, Observer, World, camera, microphone, running

KICKED = models.DisconnectReason.PARTICIPANT_REMOVED
SHARDS = 8
RANDOM_RUNS = 24


class RefusingEngine(FakeEngine):
    """Refuses the submissions that ``refuses`` says, by their number."""

    def __init__(self, refuses: Callable[[int], bool]) -> None:
        super().__init__(auto_connect=True)
        self.refuses = refuses
        self.submissions = 0

    def submit(self, commands: Sequence[Command]) -> None:
        if commands:
            self.submissions += 1
            if self.refuses(self.submissions):
                raise LkpyError(Code.UNAVAILABLE, "refused by the test")
        super().submit(commands)


class Store(Observer):
    """Who is there, as the room tells it."""

    def __init__(self) -> None:
        super().__init__()
        self.here: dict[str, str] = {}

    def participant_changed(self, room: Room, info: models.ParticipantInfo) -> None:
        self.here[info.identity] = info.sid

    def participant_left(self, room: Room, info: models.ParticipantInfo) -> None:
        if self.here.get(info.identity) == info.sid:
            del self.here[info.identity]


class Run:
    """One sequence in one room."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.clients: dict[str, Client] = {}

    async def join(self, identity: str, **values: object) -> None:
        try:
            self.clients[identity] = await self.world.join(identity, **values)
        except LkpyError:
            self.clients.pop(identity, None)

    async def publish(self, identity: str) -> None:
        client = self.clients.get(identity)
        if client is not None and not client.source.closed:
            await client.publish(camera(), microphone())

    async def send(self, identity: str, **request: object) -> None:
        client = self.clients.get(identity)
        if client is not None and not client.source.closed:
            await client.send(**request)

    async def data(self, identity: str) -> None:
        room = self.world.room
        if room.participant(identity) is not None:  # type: ignore[arg-type]
            client = self.clients[identity]
            await client.open_channels()
            user = models.UserPacket(payload=b"hello")
            await client.send_data(models.DataPacket(user=user))

    async def kick(self, identity: str) -> None:
        try:
            await self.world.room.api.remove_participant(identity, KICKED)  # type: ignore[arg-type]
        except LkpyError as error:
            assert error.code == Code.NOT_FOUND  # noqa: PT017 - whoever was refused is not there
        await self.world.settle()

    async def play(self) -> None:
        """A bit of everything; what holds always is looked at after each step."""
        track = rtc.PublishDataTrackRequest(pub_handle=1, name="t")
        for step in (
            self.join("ann"),
            self.join("ben", single=False, auto_subscribe_data_track=True),
            self.publish("ann"),
            self.send("ann", publish_data_track_request=track),
            self.join("cat", single=False),
            self.data("ann"),
            self.data("ben"),
            self.world.advance(1.0),
            self.publish("ben"),
            self.join("ann"),
            self.publish("ann"),
            self.world.advance(0.5),
            self.kick("ben"),
            self.join("ben", single=False),
            self.send("ann", leave=rtc.LeaveRequest()),
            self.join("cat", reconnect=True),
            self.world.advance(1.0),
        ):
            await step
            self.look()

    async def end(self) -> None:
        """Everybody goes, and the engine takes everything again."""
        for identity in [p.identity for p in self.world.room.members()]:
            await self.kick(identity)
            self.look()
        assert not list(self.world.room.members())
        engine = self.world.engine
        assert isinstance(engine, RefusingEngine)
        engine.refuses = lambda _: False
        self.world.hub.submit()
        self.look()
        left = (engine.transports, engine.receivers, engine.down_tracks)
        assert left == ({}, {}, {})
        assert (engine.data_tracks, engine.data_down_tracks) == ({}, {})

    def look(self) -> None:
        """Every account of who is here is the same."""
        world, room = self.world, self.world.room
        here = {participant.identity: participant for participant in room.members()}
        sids = {participant.sid for participant in here.values()}
        assert not any(participant.closed for participant in here.values())
        assert (room.info.num_participants, room.info.num_publishers) == (
            len(here),
            sum(participant.is_publisher for participant in here.values()),
        )
        store = world.observer
        assert isinstance(store, Store)
        assert store.here == {identity: p.sid for identity, p in here.items()}
        assert room._sessions._readers.keys() <= sids
        bound = set[int]().union(*(p._engine._bound for p in here.values()))
        assert world.hub._handlers.keys() == bound
        assert set(room.data._identities) == sids
        assert room.roster._records.keys() == sids
        assert room.timers._owned.keys() <= sids
        tracks = room.tracks._tracks.values()
        assert {publisher.sid for publisher, _ in tracks} <= sids
        assert {sid for _, track in tracks for sid in track._subscribers} <= sids


async def run(refuses: Callable[[int], bool]) -> int:
    engine = RefusingEngine(refuses)
    async with running(engine=engine, observer=Store()) as world:
        it = Run(world)
        await it.play()
        await world.advance(7.0)
        it.look()
        await it.end()
    return engine.submissions


@pytest.mark.parametrize("shard", range(SHARDS))
def test_any_one_submission_is_refused(shard: int) -> None:
    total = asyncio.run(run(lambda _: False))
    for number in range(1 + shard, total + 1, SHARDS):
        try:
            asyncio.run(run(lambda n, number=number: n == number))  # type: ignore[misc]
        except BaseException as error:
            error.add_note(f"submission {number} of {total} was refused")
            raise


@pytest.mark.parametrize("seed", range(RANDOM_RUNS))
def test_many_submissions_are_refused(seed: int) -> None:
    rng = random.Random(seed)
    share = rng.choice([0.05, 0.2, 0.6])
    asyncio.run(run(lambda _: rng.random() < share))


async def test_a_join_that_the_engine_refuses_leaves_nothing() -> None:
    engine = RefusingEngine(lambda number: number == 1)
    async with running(engine=engine, observer=Store()) as world:
        with pytest.raises(LkpyError, match="refused by the test"):
            await world.join("ann", single=False)
        Run(world).look()
        assert not list(world.room.members())
        assert not engine.transports
        assert await world.join("ann", single=False)


async def test_a_session_whose_command_is_refused_comes_back_afresh() -> None:
    engine = RefusingEngine(lambda _: False)
    async with running(engine=engine, observer=Store()) as world:
        ann, ben = await world.join("ann"), await world.join("ben", single=False)
        last = engine.submissions
        engine.refuses = lambda number: number == last + 1
        await ann.publish(microphone())
        told = ann.last("leave")
        assert told.action == rtc.LeaveRequest.Action.RESUME
        again = await world.join("ann", reconnect=True)
        assert again.last("leave").action == rtc.LeaveRequest.Action.RECONNECT
        gone = ben.updates("ann")[-1]
        assert gone.state == models.ParticipantInfo.State.DISCONNECTED


async def test_what_is_not_released_is_tried_again_first(caplog: pytest.LogCaptureFixture) -> None:
    engine = RefusingEngine(lambda _: False)
    async with running(engine=engine, observer=Store()) as world:
        ann, ben = await world.join("ann"), await world.join("ben", single=False)
        await ann.publish(camera(), microphone())
        await world.advance(1.0)
        assert engine.down_tracks
        engine.refuses = lambda _: True
        await ann.send(leave=rtc.LeaveRequest())
        assert [p.identity for p in world.room.members()] == ["ben"]
        assert engine.receivers
        assert world.hub.releases_refused > 0
        assert "engine does not take" in caplog.text
        engine.refuses = lambda _: False
        await ben.open_channels()
        await world.room.api.send_data(
            room_pb.SendDataRequest(data=b"x", kind=models.DataPacket.RELIABLE)
        )
        assert (engine.receivers, engine.down_tracks) == ({}, {})
