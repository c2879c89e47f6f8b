"""The store, placement, and the manager with rooms that are doubles."""

from __future__ import annotations

import asyncio

import pytest
from livekit.protocol import models, rtc
from livekit.protocol import room as room_pb

from lkpy.auth.grants import Grants, VideoGrant
from lkpy.clock import ManualClock
from lkpy.errors import Code, LkpyError
from lkpy.ids import NodeID, ParticipantIdentity, RoomName
from lkpy.limits import Limits
from lkpy.server.agents.workers import Workers
from lkpy.server.config import RoomConfig
from lkpy.server.rooms.allocator import RoomAllocator, set_room_configuration
from lkpy.server.rooms.manager import RoomManager
from lkpy.server.rooms.store import LocalStore
from lkpy.server.routing.channel import MessageChannel
from lkpy.server.rtc.options import PlayoutDelay, RoomSettings
from tests.control_plane import RoomDouble
from tests.room_kit import session

LOBBY = RoomName("lobby")


class Nodes:
    def __init__(self) -> None:
        self.placed: dict[RoomName, NodeID] = {}
        self.available = [NodeID("ND_a"), NodeID("ND_b")]
        self.tracks = 0
        self.rate = 0.0

    def node_for_room(self, room: RoomName) -> NodeID | None:
        return self.placed.get(room)

    def set_node_for_room(self, room: RoomName, node_id: NodeID) -> None:
        self.placed[room] = node_id

    def available_nodes(self) -> list[NodeID]:
        return self.available

    def bytes_per_sec(self) -> float:
        return self.rate

    def num_tracks(self) -> int:
        return self.tracks


class World:
    def __init__(self, config: RoomConfig | None = None, limits: Limits | None = None) -> None:
        self.nodes = Nodes()
        self.store = LocalStore()
        self.limits = limits or Limits()
        self.allocator = RoomAllocator(
            config or RoomConfig(), self.limits, self.store, self.nodes, ManualClock()
        )
        self.made: list[RoomDouble] = []
        self.kept: list[RoomName] = []
        self.forgotten: list[RoomName] = []
        self.manager = RoomManager(
            self.allocator,
            self.store,
            self.make,
            limits=self.limits,
            clock=ManualClock(),
            keep_node=self.kept.append,
            forget_node=self.forgotten.append,
            workers=Workers({}, ManualClock(), target_load=0.7),
        )

    def make(self, info: models.Room, settings: RoomSettings) -> RoomDouble:
        self.settings = settings
        self.made.append(RoomDouble(info, self.manager))
        return self.made[-1]


def request(name: str = "lobby", **values: object) -> room_pb.CreateRoomRequest:
    return room_pb.CreateRoomRequest(name=name, **values)


def test_a_placed_room_keeps_its_node() -> None:
    world = World()
    assert world.allocator.select_room_node(LOBBY) == "ND_a"
    world.nodes.available = []
    assert world.allocator.select_room_node(LOBBY, NodeID("ND_b")) == "ND_a"
    with pytest.raises(LkpyError) as none_left:
        world.allocator.select_room_node(RoomName("other"))
    assert none_left.value.code is Code.UNAVAILABLE


def test_a_wanted_node_is_taken_if_it_is_there() -> None:
    world = World()
    assert world.allocator.select_room_node(LOBBY, NodeID("ND_b")) == "ND_b"
    assert world.allocator.select_room_node(RoomName("other"), NodeID("ND_z")) == "ND_a"


def test_a_full_node_admits_nobody_to_its_rooms() -> None:
    world = World(limits=Limits(num_tracks=3))
    world.allocator.select_room_node(LOBBY)
    world.nodes.tracks = 2
    world.allocator.select_room_node(LOBBY)
    world.nodes.tracks = 3
    with pytest.raises(LkpyError, match="node has exceeded its configured limit"):
        world.allocator.select_room_node(LOBBY)


def test_a_node_with_too_many_bytes_admits_nobody() -> None:
    world = World(limits=Limits(bytes_per_sec=1000.0))
    world.nodes.rate = 999.0
    world.allocator.select_room_node(LOBBY)
    world.allocator.check_node_limits()
    world.nodes.rate = 1000.0
    with pytest.raises(LkpyError, match="node has exceeded its configured limit"):
        world.allocator.check_node_limits()


def test_a_room_begins_with_the_configured_defaults() -> None:
    world = World(RoomConfig(empty_timeout=1, departure_timeout=2, max_participants=3))
    info = world.allocator.create_room(request())
    assert (info.empty_timeout, info.departure_timeout, info.max_participants) == (1, 2, 3)
    assert info.creation_time_ms == 1_700_000_000_000
    assert info.creation_time == 1_700_000_000
    assert info.turn_password


def test_a_stored_room_is_updated_by_what_is_not_zero() -> None:
    world = World()
    first = world.allocator.create_room(request(metadata="a", max_participants=5))
    second = world.allocator.create_room(request(metadata="b"))
    assert (second.sid, second.metadata, second.max_participants) == (first.sid, "b", 5)
    assert first.metadata == "a", "what was handed out does not change"


def test_presets_fill_zero_fields() -> None:
    agents = [{"agent_name": "preset"}]
    preset = {"max_participants": 4, "metadata": "preset", "name": "ignored", "agents": agents}
    world = World(RoomConfig.model_validate({"room_configurations": {"p": preset}}))
    filled = world.allocator.with_preset(request(room_preset="p", metadata="own"))
    assert (filled.name, filled.max_participants, filled.metadata) == ("lobby", 4, "own")
    assert [agent.agent_name for agent in filled.agents] == ["preset"]
    own = [{"agent_name": "own"}]
    filled = world.allocator.with_preset(request(room_preset="p", agents=own))
    assert [agent.agent_name for agent in filled.agents] == ["own"]
    with pytest.raises(LkpyError, match="unknown room configuration"):
        world.allocator.with_preset(request(room_preset="q"))


def test_room_configuration_of_a_token() -> None:
    call = request()
    set_room_configuration(call, None)
    assert call == request()
    configuration = room_pb.RoomConfiguration(
        name="not the room's", max_participants=2, agents=[{"agent_name": "a"}]
    )
    set_room_configuration(call, configuration)
    assert call.name == "lobby"
    assert call.max_participants == 2
    assert call.agents[0].agent_name == "a"


def test_auto_create_off() -> None:
    world = World(RoomConfig(auto_create=False))
    guest = Grants(video=VideoGrant(room_join=True, room="lobby"))
    with pytest.raises(LkpyError, match="requested room does not exist"):
        world.allocator.validate_create_room(LOBBY, guest)
    world.allocator.validate_create_room(LOBBY, Grants(video=VideoGrant(room_create=True)))
    world.allocator.create_room(request())
    world.allocator.validate_create_room(LOBBY, guest)


def test_store_forgets_a_participant_only_by_its_own_session() -> None:
    store = LocalStore()
    store.store_room(models.Room(name="lobby"))
    old = models.ParticipantInfo(sid="PA_1", identity="alice")
    new = models.ParticipantInfo(sid="PA_2", identity="alice")
    store.store_participant(LOBBY, old)
    store.store_participant(LOBBY, new)
    store.delete_participant(LOBBY, old)
    assert store.load_participant(LOBBY, ParticipantIdentity("alice")) is new
    store.delete_participant(LOBBY, new)
    store.delete_participant(LOBBY, new)
    assert store.list_participants(LOBBY) == []
    store.store_participant(RoomName("absent"), new)
    assert store.list_participants(RoomName("absent")) == []


async def test_a_closed_room_is_replaced_and_its_end_forgets_only_itself() -> None:
    world = World()
    first = world.manager.create_room(request())
    room = world.made[0]
    assert world.manager.create_room(request(metadata="x")) == first
    assert len(world.made) == 1

    room.closed.set()
    assert world.manager.room(LOBBY) is None
    world.manager.create_room(request())
    assert len(world.made) == 2
    world.manager.room_closed(room)
    assert world.manager.room(LOBBY) is world.made[1]
    assert world.store.load_room(LOBBY) is not None
    assert world.forgotten == []

    await world.made[1].close(models.DisconnectReason.ROOM_CLOSED)
    assert world.manager.rooms == []
    assert world.store.list_rooms() == []
    assert world.forgotten == [LOBBY]


async def test_updates_of_a_forgotten_room_do_not_bring_it_back() -> None:
    world = World()
    world.manager.create_room(request())
    room = world.made[0]
    await world.manager.delete_room(LOBBY)
    world.manager.room_updated(room)
    assert world.store.list_rooms() == []


async def test_closing_everything() -> None:
    world = World()
    for name in ("a", "b"):
        world.manager.create_room(request(name))
    await asyncio.wait_for(world.manager.close(models.DisconnectReason.SERVER_SHUTDOWN), 5)
    assert all(room.closed.is_set() for room in world.made)
    assert world.manager.num_participants() == 0


async def test_a_room_that_ends_while_a_client_resumes_is_one_it_is_not_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()
    world.manager.create_room(request())
    (room,) = world.made
    room._people["alice"] = models.ParticipantInfo(identity="alice")

    async def join(*_: object) -> None:
        room.closed.set()
        raise LkpyError(Code.UNAVAILABLE, "room is closed")

    monkeypatch.setattr(room, "join", join)
    sink: MessageChannel[rtc.SignalResponse] = MessageChannel("responses")
    source: MessageChannel[rtc.SignalRequest] = MessageChannel("requests")
    await world.manager.start_session(session("alice", reconnect=True), sink, source)
    assert [r.leave.action async for r in sink] == [rtc.LeaveRequest.Action.RECONNECT]
    assert source.closed


@pytest.mark.parametrize(
    ("config", "asked", "synced"),
    [
        ({}, {}, False),
        ({}, {"sync_streams": True}, True),
        ({"sync_streams": True}, {}, True),
        ({"room_configurations": {"a": {"sync_streams": True}}}, {"room_preset": "a"}, True),
    ],
)
def test_streams_are_synced_where_it_was_asked_for(
    config: dict[str, object], asked: dict[str, object], synced: bool
) -> None:
    world = World(RoomConfig(**config))
    world.manager.create_room(request(**asked))
    assert world.settings.sync_streams is synced


@pytest.mark.parametrize(
    ("config", "asked", "delay"),
    [
        ({}, {}, None),
        ({"playout_delay": {"min": 5, "max": 6}}, {}, None),
        ({"playout_delay": {"enabled": True}}, {}, PlayoutDelay(0, 0)),
        ({"playout_delay": {"enabled": True, "min": 5}}, {}, PlayoutDelay(5, 10_000)),
        (
            {"playout_delay": {"enabled": True, "min": 5}},
            {"max_playout_delay": 300},
            PlayoutDelay(0, 300),
        ),
        ({}, {"min_playout_delay": 100}, PlayoutDelay(100, 10_000)),
        (
            {},
            {"min_playout_delay": 50_000, "max_playout_delay": 2**32 - 1},
            PlayoutDelay(40_950, 40_950),
        ),
        (
            {"room_configurations": {"a": {"max_playout_delay": 7}}},
            {"room_preset": "a", "min_playout_delay": 4},
            PlayoutDelay(4, 7),
        ),
    ],
)
def test_the_playout_delay_that_was_asked_for(
    config: dict[str, object], asked: dict[str, object], delay: PlayoutDelay | None
) -> None:
    world = World(RoomConfig(**config))
    world.manager.create_room(request(**asked))
    assert world.settings.playout_delay == delay


async def test_a_room_keeps_its_place_when_a_session_before_it_fails() -> None:
    """Which takes the place for unused: another session has placed the room by then, and comes to
    make it."""
    world = World()
    world.manager.create_room(room_pb.CreateRoomRequest(name="lobby"))
    assert world.kept == [LOBBY]
    assert world.forgotten == []
