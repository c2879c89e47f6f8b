"""Which worker gets a job, and what becomes of it."""

from __future__ import annotations

import asyncio
import math

import pytest
from livekit.protocol import agent, models

from lkpy.auth.token import verify
from lkpy.clock import ManualClock
from lkpy.errors import Code, LkpyError
from lkpy.limits import AGENT_OFFERS, AGENT_WORKER_JOBS
from lkpy.server.agents.registration import Key, register
from lkpy.server.agents.worker import Worker
from lkpy.server.agents.workers import Workers
from lkpy.server.telemetry.agent_metrics import AgentMetrics
from lkpy.server.telemetry.events import (
    AgentJobRequested,
    AgentWorkersChanged,
    Telemetry,
    TelemetryEvent,
)

KEYS = {"key": "a secret that is longer than 32 characters"}
Status, State = agent.JobStatus, agent.WorkerStatus


class Peer:
    """A worker and what it was sent."""

    def __init__(self, workers: Workers, **values: object) -> None:
        self.sent: list[agent.ServerMessage] = []
        request = agent.RegisterWorkerRequest(**{"agent_name": "helper"} | values)
        self.worker: Worker = workers.add(register(request, "key"), self.sent.append)

    def kinds(self) -> list[str]:
        return [message.WhichOneof("message") or "" for message in self.sent]

    def say(self, **message: object) -> None:
        self.worker.handle(agent.WorkerMessage(**message))

    def answer(self, job_id: str = "AJ_1", *, available: bool = True, **values: object) -> None:
        values = {"participant_identity": f"agent-{job_id}"} | values
        answer = agent.AvailabilityResponse(job_id=job_id, available=available, **values)
        self.say(availability=answer)

    def update(self, **values: object) -> None:
        self.say(update_worker=agent.UpdateWorkerStatus(**values))


class World:
    def __init__(self, *chances: float) -> None:
        self.told: list[TelemetryEvent] = []
        self.states: list[agent.JobState] = []
        self.clock = ManualClock(wall=1_000.0)
        left = list(chances)
        self.workers = Workers(
            KEYS,
            self.clock,
            target_load=0.7,
            telemetry=Telemetry(self.told.append),
            chance=lambda: left.pop(0) if left else 0.0,
        )

    def request(self, job_id: str = "AJ_1", **values: object) -> asyncio.Task[agent.JobState]:
        values = {"agent_name": "helper", "room": models.Room(name="lobby")} | values
        job = agent.Job(id=job_id, **values)

        def changed(state: agent.JobState) -> None:
            copy = agent.JobState()
            copy.CopyFrom(state)
            self.states.append(copy)

        return asyncio.ensure_future(self.workers.request(job, changed))


@pytest.fixture
def world() -> World:
    return World()


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def refused(task: asyncio.Task[agent.JobState]) -> Code:
    with pytest.raises(LkpyError) as error:
        await task
    return error.value.code


async def test_a_job_from_offer_to_end(world: World) -> None:
    peer = Peer(world.workers)
    task = world.request()
    await settle()
    offer = peer.sent[0].availability.job
    assert (offer.id, offer.state.status, offer.state.worker_id) == (
        "AJ_1",
        Status.JS_RUNNING,
        peer.worker.id,
    )
    assert offer.state.started_at == 1_000 * 10**9
    peer.answer(participant_name="A", participant_attributes={"a": "b"})
    state = await task
    assert state.participant_identity == "agent-AJ_1"
    assert peer.kinds() == ["availability", "assignment"]
    grants = verify(peer.sent[1].assignment.token, KEYS, now=1_000).grants
    assert (grants.identity, grants.name, grants.kind) == ("agent-AJ_1", "A", "agent")
    assert grants.attributes == {"a": "b", "lk.agent_name": "helper"}
    assert grants.video is not None
    assert (grants.video.room, grants.video.agent, grants.video.can_publish) == (
        "lobby",
        True,
        True,
    )
    assert grants.expires_at == 1_000 + 3_600
    peer.say(update_job=agent.UpdateJobStatus(job_id="AJ_1", status=Status.JS_SUCCESS))
    assert world.states[-1].status == Status.JS_SUCCESS
    assert world.states[-1].ended_at > 0
    with pytest.raises(LkpyError):
        world.workers.terminate("AJ_1")
    assert world.told == [AgentWorkersChanged(1), AgentJobRequested("assigned")]


@pytest.mark.parametrize("left", [True, False])
async def test_a_job_is_terminated_once(world: World, left: bool) -> None:
    peer = Peer(world.workers)
    task = world.request()
    await settle()
    peer.answer()
    await task
    state = world.workers.terminate("AJ_1", left=left)
    assert state.status == (Status.JS_FAILED if left else Status.JS_SUCCESS)
    assert bool(state.error) is left
    assert peer.sent[-1].termination.job_id == "AJ_1"
    with pytest.raises(LkpyError) as error:
        world.workers.terminate("AJ_1")
    assert error.value.code is Code.NOT_FOUND


async def test_the_less_loaded_get_more() -> None:
    world = World(0.0, 0.24, 0.26, 0.99)
    busy, idle = Peer(world.workers), Peer(world.workers)
    busy.update(load=0.75, status=State.WS_AVAILABLE)
    idle.update(load=0.25, status=State.WS_AVAILABLE)
    tasks = [world.request(f"AJ_{number}") for number in range(4)]
    await settle()
    assert [m.availability.job.id for m in busy.sent] == ["AJ_0", "AJ_1"]
    assert [m.availability.job.id for m in idle.sent] == ["AJ_2", "AJ_3"]
    for task in tasks:
        task.cancel()


@pytest.mark.parametrize("load", [math.nan, math.inf, -math.inf, 1e30, -1e30, 0.0])
async def test_any_load_may_be_told(load: float) -> None:
    world = World(0.5)
    Peer(world.workers).update(load=load)
    fine = Peer(world.workers)
    task = world.request()
    await settle()
    others = [p for p in world.workers._workers.values() for p in p]
    assert len(others) == 2
    for message in fine.sent:
        fine.answer(message.availability.job.id)
    task.cancel()


@pytest.mark.parametrize(
    "status", [{"load": 0.7}, {"status": State.WS_FULL}, {"load": 0.1, "status": State.WS_FULL}]
)
async def test_who_has_enough_to_do_is_not_asked(world: World, status: dict[str, float]) -> None:
    peer = Peer(world.workers)
    peer.update(**status)
    assert await refused(world.request()) is Code.RESOURCE_EXHAUSTED
    assert peer.sent == []
    assert world.told[-1] == AgentJobRequested("resource_exhausted")


async def test_a_refusal_goes_to_the_next_and_the_last_ends_it(world: World) -> None:
    one, two = Peer(world.workers), Peer(world.workers)
    task = world.request()
    await settle()
    assert (one.kinds(), two.kinds()) == (["availability"], [])
    one.answer(available=False)
    await settle()
    assert two.kinds() == ["availability"]
    world.workers.remove(two.worker)
    assert await refused(task) is Code.RESOURCE_EXHAUSTED
    assert len(world.workers) == 1


async def test_who_does_not_answer_costs_the_job(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lkpy.server.agents.worker.AGENT_ANSWER_S", 0)
    one, two = Peer(world.workers), Peer(world.workers)
    assert await refused(world.request()) is Code.DEADLINE_EXCEEDED
    assert (one.kinds(), two.kinds()) == (["availability"], [])
    # What it says later is about nothing.
    one.answer()
    assert one.kinds() == ["availability"]


async def test_only_workers_of_the_kind_are_asked(world: World) -> None:
    for values in (
        {"agent_name": "other"},
        {"type": agent.JobType.JT_PUBLISHER},
        {"deployment": "blue"},
    ):
        Peer(world.workers, **values)
    assert await refused(world.request()) is Code.RESOURCE_EXHAUSTED
    Peer(world.workers, namespace="one")
    Peer(world.workers, namespace="two")
    wanted = Key("helper", "", agent.JobType.JT_ROOM, "")
    assert world.workers.namespaces(wanted) == ["one", "two"]


async def test_a_worker_has_so_many_jobs_and_no_more(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (AGENT_OFFERS, AGENT_WORKER_JOBS) == (1_000, 10_000)
    monkeypatch.setattr("lkpy.server.agents.worker.AGENT_OFFERS", 2)
    monkeypatch.setattr("lkpy.server.agents.worker.AGENT_WORKER_JOBS", 3)
    peer = Peer(world.workers)
    for number in range(4):
        peer.say(simulate_job=agent.SimulateJobRequest(room=models.Room(name=f"r{number}")))
    await settle()
    jobs = [message.availability.job for message in peer.sent]
    assert [job.room.name for job in jobs] == ["r0", "r1"]
    for job in jobs:
        peer.answer(job.id)
    await settle()
    tasks = [world.request(f"AJ_{number}") for number in range(2)]
    await settle()
    peer.answer("AJ_0")
    peer.answer("AJ_1")
    await settle()
    assert await refused(world.request("AJ_2")) is Code.RESOURCE_EXHAUSTED
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_worker_that_is_gone_has_no_jobs(world: World) -> None:
    peer = Peer(world.workers)
    task = world.request()
    await settle()
    peer.answer()
    await task
    peer.say(simulate_job=agent.SimulateJobRequest(room=models.Room(name="x")))
    world.workers.remove(peer.worker)
    world.workers.remove(peer.worker)
    with pytest.raises(LkpyError):
        world.workers.terminate("AJ_1")
    await settle()
    assert peer.kinds() == ["availability", "assignment"]
    assert world.told.count(AgentWorkersChanged(0)) == 1


async def test_a_job_that_is_over_is_nobodys(world: World) -> None:
    peer = Peer(world.workers)
    task = world.request()
    await settle()
    peer.answer(available=False, terminate=True)
    assert (await task).status == Status.JS_SUCCESS
    assert peer.kinds() == ["availability"]
    assert not peer.worker.runs("AJ_1")


def test_what_a_worker_may_not_send(world: World) -> None:
    peer = Peer(world.workers)
    for message in ({"register": agent.RegisterWorkerRequest()}, {}):
        with pytest.raises(LkpyError):
            peer.say(**message)


def test_metrics() -> None:
    metrics = AgentMetrics()
    for event in (
        AgentWorkersChanged(2),
        AgentWorkersChanged(1),
        AgentJobRequested("assigned"),
        AgentJobRequested("assigned"),
        AgentJobRequested("resource_exhausted"),
    ):
        metrics(event)
    assert metrics.workers.value() == 1
    assert metrics.jobs.value("assigned") == 2
    assert metrics.jobs.value("resource_exhausted") == 1
