"""What a room asks of agents, who is a reason for it, and how it ends; workers are doubles."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from livekit.protocol import agent, agent_dispatch, models

from lkpy.clock import ManualClock
from lkpy.errors import LkpyError
from lkpy.ids import ParticipantIdentity, RoomName
from lkpy.server.agents.registration import register
from lkpy.server.agents.workers import Workers
from lkpy.server.rooms.dispatches import Dispatches
from lkpy.server.rooms.jobs import JobOptions, RoomJobs

KEYS = {"key": "a secret that is longer than 32 characters"}
Type, Status, Kind = agent.JobType, agent.JobStatus, models.ParticipantInfo.Kind


class Taker:
    """A worker that takes every job."""

    def __init__(self, workers: Workers, job_type: agent.JobType, **values: object) -> None:
        self.offers: list[agent.Job] = []
        self.ended: list[str] = []
        request = agent.RegisterWorkerRequest(type=job_type, **values)
        self.worker = workers.add(register(request, "key"), self._take)

    def _take(self, message: agent.ServerMessage) -> None:
        match message.WhichOneof("message"):
            case "availability":
                job = message.availability.job
                self.offers.append(job)
                answer = agent.AvailabilityResponse(
                    job_id=job.id, available=True, participant_identity=f"agent-{job.id}"
                )
                said = agent.WorkerMessage(availability=answer)
                asyncio.get_running_loop().call_soon(self.worker.handle, said)
            case "termination":
                self.ended.append(message.termination.job_id)

    def about(self) -> list[str]:
        return [job.participant.identity for job in self.offers]


class Room:
    """Who is there, and who was removed."""

    def __init__(self) -> None:
        self.people: set[str] = set()
        self.removed: list[tuple[str, int]] = []

    def to_proto(self) -> models.Room:
        return models.Room(name="lobby", sid="RM_1")

    def has(self, identity: str) -> bool:
        return identity in self.people

    @property
    def api(self) -> Room:
        return self

    async def remove_participant(
        self, identity: ParticipantIdentity, reason: models.DisconnectReason
    ) -> None:
        self.removed.append((identity, reason))


class World:
    def __init__(self) -> None:
        self.workers = Workers(KEYS, ManualClock(), target_load=0.7)
        self.room = Room()
        self.jobs = RoomJobs(self.workers, self.room, JobOptions(True, True))  # type: ignore[arg-type]
        self.dispatches = Dispatches(RoomName("lobby"), ManualClock(), self.jobs)

    def taker(self, job_type: agent.JobType = Type.JT_ROOM, **values: object) -> Taker:
        return Taker(self.workers, job_type, **values)

    def ask(self, **values: object) -> agent_dispatch.AgentDispatch:
        return self.dispatches.add(agent_dispatch.CreateAgentDispatchRequest(**values))


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.dispatches.close()


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def person(identity: str, *, tracks: int = 0, **values: object) -> models.ParticipantInfo:
    info = models.ParticipantInfo(sid=f"PA_{identity}", identity=identity, **values)
    for number in range(tracks):
        info.tracks.add(sid=f"TR_{number}")
    info.is_publisher = tracks > 0
    return info


async def test_a_room_a_participant_and_a_publisher_are_reasons(world: World) -> None:
    rooms = world.taker(Type.JT_ROOM)
    people, publishers = world.taker(Type.JT_PARTICIPANT), world.taker(Type.JT_PUBLISHER)
    world.dispatches.add_room_agents([])
    world.dispatches.start()
    await settle()
    assert len(rooms.offers) == 1
    world.dispatches.participant_changed(person("alice"))
    world.dispatches.participant_changed(person("alice", tracks=1))
    world.dispatches.participant_changed(person("alice", tracks=2))
    world.dispatches.participant_changed(person("bob"))
    await settle()
    assert people.about() == ["alice", "bob"]
    assert publishers.about() == ["alice"]
    # Whoever comes back is there anew, and has published before.
    world.dispatches.participant_left(person("alice"))
    world.dispatches.participant_changed(person("alice", tracks=1))
    await settle()
    assert people.about() == ["alice", "bob", "alice"]
    assert publishers.about() == ["alice"]
    job = rooms.offers[0]
    assert (job.enable_recording, job.enable_redaction, job.room.sid) == (True, True, "RM_1")


@pytest.mark.parametrize(
    "values",
    [
        {"kind": Kind.AGENT},
        {"kind": Kind.EGRESS},
        {"permission": models.ParticipantPermission(agent=True)},
        {"permission": models.ParticipantPermission(recorder=True)},
    ],
)
async def test_who_is_there_for_others_is_no_reason(
    world: World, values: dict[str, object]
) -> None:
    takers = [world.taker(kind) for kind in Type.values()]
    world.dispatches.add_room_agents([])
    world.dispatches.participant_changed(person("robot", tracks=1, **values))
    await settle()
    assert not any(taker.offers for taker in takers)


async def test_a_later_dispatch_is_about_those_who_are_there(world: World) -> None:
    people, publishers = world.taker(Type.JT_PARTICIPANT), world.taker(Type.JT_PUBLISHER)
    world.dispatches.participant_changed(person("alice", tracks=1))
    world.dispatches.participant_changed(person("bob"))
    world.dispatches.participant_changed(person("carol"))
    world.dispatches.participant_left(person("carol"))
    world.ask()
    await settle()
    assert (people.about(), publishers.about()) == (["alice", "bob"], ["alice"])


async def test_one_job_for_every_namespace(world: World) -> None:
    one, two = world.taker(namespace="one"), world.taker(namespace="two")
    also_two = world.taker(namespace="two")
    dispatch = world.ask()
    await settle()
    assert len(one.offers) == len(two.offers) + len(also_two.offers) == 1
    assert {job.namespace for job in dispatch.state.jobs} == {"one", "two"}


async def test_the_list_tells_what_became_of_a_job(world: World) -> None:
    taker = world.taker()
    dispatch = world.ask()
    await settle()
    (job,) = dispatch.state.jobs
    assert (job.dispatch_id, job.state.status) == (dispatch.id, Status.JS_RUNNING)
    update = agent.UpdateJobStatus(job_id=job.id, status=Status.JS_FAILED, error="broke")
    taker.worker.handle(agent.WorkerMessage(update_job=update))
    (job,) = dispatch.state.jobs
    assert (job.state.status, job.state.error) == (Status.JS_FAILED, "broke")


async def test_the_list_has_the_newest_jobs(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lkpy.server.rooms.jobs.AGENT_JOBS_LISTED", 2)
    taker = world.taker(Type.JT_PARTICIPANT)
    dispatch = world.ask()
    for name in ("alice", "bob", "carol"):
        world.dispatches.participant_changed(person(name))
        await settle()
    assert [job.participant.identity for job in dispatch.state.jobs] == ["bob", "carol"]
    assert len(taker.offers) == 3


async def test_so_many_publishers_are_remembered(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lkpy.server.rooms.dispatches.AGENT_PUBLISHERS", 2)
    taker = world.taker(Type.JT_PUBLISHER)
    world.ask()
    for name in ("alice", "bob", "carol", "bob", "alice"):
        world.dispatches.participant_changed(person(name, tracks=1))
        world.dispatches.participant_left(person(name))
    await settle()
    assert taker.about() == ["alice", "bob", "carol", "alice"]


async def test_an_agent_that_leaves_in_time_is_not_removed(world: World) -> None:
    taker = world.taker()
    dispatch = world.ask()
    await settle()
    (job,) = taker.offers
    robot = f"agent-{job.id}"
    world.room.people.add(robot)
    world.dispatches.delete(dispatch.id)
    await settle()
    assert taker.ended == [job.id]
    world.room.people.remove(robot)
    world.dispatches.participant_left(person(robot, kind=Kind.AGENT))
    await settle()
    assert world.room.removed == []
    assert not world.jobs._ending
    assert taker.ended == [job.id], "once"
    with pytest.raises(LkpyError):
        world.dispatches.delete(dispatch.id)


async def test_an_agent_that_stays_is_removed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lkpy.server.rooms.jobs.AGENT_LEAVES_S", 0)
    taker = world.taker()
    dispatch = world.ask()
    await settle()
    robot = f"agent-{taker.offers[0].id}"
    world.room.people.add(robot)
    world.dispatches.delete(dispatch.id)
    await asyncio.gather(*world.jobs._ending)
    assert world.room.removed == [(robot, models.DisconnectReason.PARTICIPANT_REMOVED)]


async def test_what_is_being_assigned_is_ended_too(world: World) -> None:
    taker = world.taker()
    dispatch = world.ask()
    world.dispatches.delete(dispatch.id)
    await settle()
    assert taker.ended == [taker.offers[0].id]


async def test_an_agent_that_leaves_by_itself_has_failed(world: World) -> None:
    world.taker()
    dispatch = world.ask()
    await settle()
    (job,) = dispatch.state.jobs
    world.dispatches.participant_left(person(job.state.participant_identity, kind=Kind.AGENT))
    (job,) = dispatch.state.jobs
    assert (job.state.status, job.state.error) == (Status.JS_FAILED, "agent worker left the room")


async def test_nothing_is_begun_for_a_room_that_is_over(world: World) -> None:
    taker = world.taker()
    dispatch = world.ask()
    world.dispatches.close()
    await settle()
    assert taker.offers == []
    assert not dispatch.state.jobs
