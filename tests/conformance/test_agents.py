"""Workers, and the jobs that they are given."""

from __future__ import annotations

import asyncio
from typing import Any

import jwt
import pytest
from google.protobuf.message import Message
from livekit.protocol import agent, agent_dispatch, models, rtc

from tests.conformance import media
from tests.conformance.agent_kit import RawWorker, connect, is_agent, name, worker
from tests.conformance.api_kit import create
from tests.conformance.kit import Lobby, Refused, until, within
from tests.patience import PATIENCE_S

Type, Status = agent.JobType, agent.JobStatus
SERVICE = {"service": "AgentDispatchService"}
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


async def dispatch(lobby: Lobby, **values: Any) -> agent_dispatch.AgentDispatch:
    """Ask for the lobby's agent; the room comes into being."""
    values.setdefault("agent_name", name(lobby))
    request = agent_dispatch.CreateAgentDispatchRequest(room=lobby.room, **values)
    return await lobby.call("CreateDispatch", request, agent_dispatch.AgentDispatch, **SERVICE)


async def jobs(lobby: Lobby, dispatch_id: str) -> list[agent.Job]:
    """Those of a dispatch, as listed."""
    listed = await lobby.call(
        "ListDispatch",
        {"room": lobby.room, "dispatch_id": dispatch_id},
        agent_dispatch.ListAgentDispatchResponse,
        **SERVICE,
    )
    return [job for found in listed.agent_dispatches for job in found.state.jobs]


async def listed(lobby: Lobby, dispatch_id: str) -> agent.Job:
    """Wait until a dispatch lists a job. livekit-server has it there, and knows whose it is, once
    it has asked all nodes for workers, which takes five seconds."""
    found: list[agent.Job] = []
    async with within(PATIENCE_S, "a job in the list"):
        while not found:
            found = await jobs(lobby, dispatch_id)
            await asyncio.sleep(0 if found else 0.1)
    return found[0]


async def enter(lobby: Lobby, assignment: agent.JobAssignment) -> Any:
    """The agent joins with the token of its job."""
    return await lobby.signal(token=assignment.token, sdk="python")


# -- connecting ----------------------------------------------------------------------------------


@pytest.mark.row(212, 86)
async def test_who_may_connect(lobby: Lobby) -> None:
    agents = lobby.target.token("worker", agent=True)
    status, body, _ = await lobby.get("/agent", agents)
    assert (status, body) == (404, "")
    for token in (None, lobby.target.token("alice", lobby.room), lobby.target.token("x")):
        status, body, _ = await lobby.get("/agent", token, headers=UPGRADE)
        assert (status, body) == (401, "no permissions to access the room")
    with pytest.raises(Refused) as refused:
        await connect(lobby, lobby.target.token("worker", agent=True, secret="another secret" * 3))
    assert refused.value.status == 401


@pytest.mark.row(212)
async def test_registration(lobby: Lobby) -> None:
    made = await worker(lobby, version="1.2.3", ping_interval=5)
    assert made.id.startswith("AW_")
    info = made.registered.server_info
    assert (info.edition, info.agent_protocol) == (models.ServerInfo.Standard, 1)
    assert info.node_id
    assert info.version
    assert not made.registered.HasField("endpoint_settings")


@pytest.mark.row(212)
async def test_pings_are_answered_before_and_after(lobby: Lobby) -> None:
    made = await connect(lobby)
    await made.send(ping=agent.WorkerPing(timestamp=41))
    assert (await made.expect("pong")).last_timestamp == 41
    await made.register(agent_name=name(lobby))
    await made.send(ping=agent.WorkerPing(timestamp=42))
    pong = await made.expect("pong")
    assert pong.last_timestamp == 42
    assert pong.timestamp > 1_700_000_000_000


@pytest.mark.row(212)
async def test_text_frames_are_answered_as_text(lobby: Lobby) -> None:
    made = await connect(lobby)
    await made.send(text=True, ping=agent.WorkerPing(timestamp=41))
    await made.expect("pong")
    assert made.text_frames == 1


@pytest.mark.row(212, 220)
@pytest.mark.parametrize(
    "message",
    [
        {"update_worker": agent.UpdateWorkerStatus()},
        {"register": agent.RegisterWorkerRequest(type=17)},
        {"register": agent.RegisterWorkerRequest(deployment="blue_green")},
        {"register": agent.RegisterWorkerRequest(deployment="b" * 65)},
        {},
    ],
    ids=["not registered", "unknown type", "deployment", "long deployment", "nothing"],
)
async def test_what_a_worker_may_not_begin_with(lobby: Lobby, message: dict[str, Any]) -> None:
    made = await connect(lobby)
    await made.send(**message)
    await asyncio.wait_for(made.closed.wait(), 10)
    assert made.log == []


@pytest.mark.row(212)
@pytest.mark.parametrize("again", [True, False], ids=["twice", "garbage"])
async def test_what_ends_the_connection_of_a_worker(lobby: Lobby, again: bool) -> None:
    made = await worker(lobby)
    if again:
        await made.send(register=agent.RegisterWorkerRequest(agent_name=name(lobby)))
    else:
        await made.send_raw(b"\xff\xff\xff")
    await asyncio.wait_for(made.closed.wait(), 10)


# -- jobs ----------------------------------------------------------------------------------------


@pytest.mark.row(213, 214, 216, 218)
async def test_a_dispatch_is_a_job(lobby: Lobby) -> None:
    made = await worker(lobby)
    made.takes = False
    asked = await dispatch(lobby, metadata="m", attributes={"k": "v"})
    offer = await made.expect("availability")
    job = offer.job
    assert job.id.startswith("AJ_")
    assert (job.dispatch_id, job.type, job.room.name) == (asked.id, Type.JT_ROOM, lobby.room)
    assert (job.agent_name, job.metadata, dict(job.attributes)) == (name(lobby), "m", {"k": "v"})
    assert not job.HasField("participant")
    assert job.state.status == Status.JS_RUNNING
    assert job.state.worker_id == made.id
    assert job.state.started_at == job.state.updated_at > 10**18
    assert not offer.resuming
    assert await jobs(lobby, asked.id) == []
    await made.answer(
        job.id,
        participant_identity="the-agent",
        participant_name="The Agent",
        participant_metadata="pm",
        participant_attributes={"a": "b"},
    )
    assignment = await made.expect("assignment")
    assert assignment.job.id == job.id
    assert assignment.job.state.participant_identity == "the-agent"
    assert assignment.url == ""
    claims = jwt.decode(assignment.token, options={"verify_signature": False})
    assert claims["iss"] == lobby.target.key
    assert claims["exp"] - claims["nbf"] == 3600
    assert (claims["sub"], claims["name"], claims["kind"]) == ("the-agent", "The Agent", "agent")
    assert (claims["metadata"], claims["attributes"]) == (
        "pm",
        {"a": "b", "lk.agent_name": name(lobby)},
    )
    grant = claims["video"]
    assert grant["roomJoin"]
    assert grant["agent"]
    assert grant["room"] == lobby.room
    assert grant["canSubscribe"]
    assert grant["canPublish"]
    assert grant["canPublishData"]
    assert grant["canUpdateOwnMetadata"] is True
    assert grant.get("canSubscribeMetrics", False) is False
    assert not grant.get("hidden", False)
    known = await listed(lobby, asked.id)
    assert (known.id, known.state.status) == (job.id, Status.JS_RUNNING)
    assert known.state.participant_identity == "the-agent"


@pytest.mark.row(213, 223)
async def test_an_agent_in_its_room(lobby: Lobby) -> None:
    made = await worker(lobby)
    alice = await lobby.signal("alice", single=True)
    await dispatch(lobby)
    signal = await enter(lobby, await made.expect("assignment"))
    here = signal.join.participant
    assert is_agent(here)
    assert here.attributes["lk.agent_name"] == name(lobby)
    seen = await alice.expect_participant(here.identity)
    assert is_agent(seen)
    # Agents are no reason for jobs, and not counted.
    await lobby.pause(0.5)
    assert len(made.all("availability")) == 1


@pytest.mark.row(216)
async def test_what_a_worker_allows_its_agents(lobby: Lobby) -> None:
    allowed = models.ParticipantPermission(
        can_subscribe=True, hidden=True, can_subscribe_metrics=True
    )
    made = await worker(lobby, allowed_permissions=allowed)
    await dispatch(lobby)
    assignment = await made.expect("assignment")
    grant = jwt.decode(assignment.token, options={"verify_signature": False})["video"]
    assert grant["canSubscribe"]
    assert grant["hidden"]
    assert grant["canSubscribeMetrics"]
    assert grant["canPublish"] is grant["canPublishData"] is grant["canUpdateOwnMetadata"] is False


@pytest.mark.row(213)
async def test_jobs_for_who_publishes_and_who_is_there(lobby: Lobby) -> None:
    publishers = await worker(lobby, Type.JT_PUBLISHER)
    everybody = await worker(lobby, Type.JT_PARTICIPANT)
    rooms = await worker(lobby, Type.JT_ROOM)
    await dispatch(lobby)
    await rooms.expect("assignment")
    alice = await media.join(lobby, "alice", single=True)
    job = (await everybody.expect("assignment")).job
    assert (job.type, job.participant.identity) == (Type.JT_PARTICIPANT, "alice")
    assert publishers.all("availability") == []
    await alice.publish()
    job = (await publishers.expect("assignment")).job
    assert (job.type, job.participant.identity) == (Type.JT_PUBLISHER, "alice")
    assert job.participant.sid == alice.sid
    await alice.publish(kind="video")
    await lobby.pause(0.5)
    for made in (publishers, everybody, rooms):
        assert len(made.all("availability")) == 1
    # A later dispatch is about those who are there.
    await dispatch(lobby, metadata="later")
    for made in (publishers, everybody, rooms):
        assert (await made.expect("assignment")).job.metadata == "later"


@pytest.mark.row(213, 215, 91)
async def test_agents_of_a_room(lobby: Lobby) -> None:
    made = await worker(lobby)
    await create(lobby, agents=[{"agent_name": name(lobby), "metadata": "of the room"}])
    job = (await made.expect("assignment")).job
    assert (job.room.name, job.metadata) == (lobby.room, "of the room")


@pytest.mark.row(215, 83)
async def test_agents_of_a_token(lobby: Lobby) -> None:
    made = await worker(lobby)
    config = {"agents": [{"agentName": name(lobby), "metadata": "of the token"}]}
    await lobby.signal("alice", single=True, claims={"roomConfig": config})
    job = (await made.expect("assignment")).job
    assert (job.room.name, job.metadata) == (lobby.room, "of the token")


@pytest.mark.row(214)
async def test_workers_without_a_name_are_for_every_room(lobby: Lobby) -> None:
    namespace = f"ns-{lobby.room}"
    made = await worker(lobby, agent_name="", namespace=namespace)
    await create(lobby)
    while (job := (await made.expect("assignment")).job).room.name != lobby.room:
        pass
    assert (job.agent_name, job.namespace) == ("", namespace)


@pytest.mark.row(214, 220)
async def test_who_is_not_meant_gets_nothing(lobby: Lobby) -> None:
    others = [
        await worker(lobby, agent_name=f"{name(lobby)}x"),
        await worker(lobby, deployment="blue"),
        await worker(lobby, Type.JT_PUBLISHER),
    ]
    green = await worker(lobby, deployment="green")
    await dispatch(lobby, deployment="green")
    assert (await green.expect("assignment")).job.deployment == "green"
    await lobby.pause(0.3)
    for other in others:
        assert other.all("availability") == []


@pytest.mark.row(213)
async def test_a_worker_that_comes_later_gets_nothing(lobby: Lobby) -> None:
    asked = await dispatch(lobby)
    made = await worker(lobby)
    await lobby.pause(0.5)
    assert made.all("availability") == []
    assert await jobs(lobby, asked.id) == []
    await dispatch(lobby)
    await made.expect("assignment")


@pytest.mark.row(217)
async def test_a_job_that_one_worker_refuses_is_offered_to_another(lobby: Lobby) -> None:
    workers = [await worker(lobby) for _ in range(2)]
    for made in workers:
        made.takes = False

    async def offered() -> RawWorker:
        await until(lambda: any(made.all("availability") for made in workers), "an offer")
        return next(made for made in workers if made.all("availability"))

    await dispatch(lobby)
    first = await offered()
    offer = await first.expect("availability")
    await first.answer(offer.job.id, available=False)
    second = workers[1 - workers.index(first)]
    again = await second.expect("availability")
    assert again.job.id == offer.job.id
    await second.answer(again.job.id)
    assert (await second.expect("assignment")).job.id == offer.job.id
    assert first.all("assignment") == []


@pytest.mark.row(217)
async def test_a_job_whose_worker_is_gone_is_offered_to_another(lobby: Lobby) -> None:
    workers = [await worker(lobby) for _ in range(2)]
    for made in workers:
        made.takes = False
    await dispatch(lobby)
    await until(lambda: any(made.all("availability") for made in workers), "an offer")
    first = next(made for made in workers if made.all("availability"))
    second = workers[1 - workers.index(first)]
    await first.close()
    offer = await second.expect("availability")
    await second.answer(offer.job.id)
    assert (await second.expect("assignment")).job.id == offer.job.id


@pytest.mark.row(217)
@pytest.mark.parametrize(
    "status",
    [
        agent.UpdateWorkerStatus(status=agent.WorkerStatus.WS_FULL),
        agent.UpdateWorkerStatus(status=agent.WorkerStatus.WS_AVAILABLE, load=0.75),
    ],
    ids=["full", "loaded"],
)
async def test_who_has_enough_to_do_is_not_asked(
    lobby: Lobby, status: agent.UpdateWorkerStatus
) -> None:
    made = await worker(lobby)
    await made.send(update_worker=status)
    await made.send(ping=agent.WorkerPing(timestamp=1))
    await made.expect("pong")
    await dispatch(lobby)
    await lobby.pause(0.5)
    assert made.all("availability") == []
    await made.send(update_worker=agent.UpdateWorkerStatus(status=agent.WorkerStatus.WS_AVAILABLE))
    await made.send(ping=agent.WorkerPing(timestamp=2))
    await made.expect("pong")
    await dispatch(lobby)
    await made.expect("assignment")


@pytest.mark.row(217)
async def test_news_that_were_overtaken_do_not_count(lobby: Lobby) -> None:
    made = await worker(lobby)
    for number, status in ((5, "WS_AVAILABLE"), (4, "WS_FULL")):
        update = agent.UpdateWorkerStatus(status=agent.WorkerStatus.Value(status), seq=number)
        await made.send(update_worker=update)
    await made.send(ping=agent.WorkerPing(timestamp=1))
    await made.expect("pong")
    await dispatch(lobby)
    await made.expect("assignment")


@pytest.mark.row(216)
async def test_a_job_that_is_over_before_it_began(lobby: Lobby) -> None:
    made = await worker(lobby)
    made.takes = False
    asked = await dispatch(lobby)
    offer = await made.expect("availability")
    await made.answer(offer.job.id, available=False, terminate=True)
    known = await listed(lobby, asked.id)
    assert (known.id, known.state.status) == (offer.job.id, Status.JS_SUCCESS)
    assert made.all("assignment") == []


# -- how jobs end --------------------------------------------------------------------------------


@pytest.mark.row(219)
async def test_the_end_of_a_dispatch_ends_its_jobs(lobby: Lobby) -> None:
    made = await worker(lobby)
    asked = await dispatch(lobby)
    assignment = await made.expect("assignment")
    signal = await enter(lobby, assignment)
    target = {"room": lobby.room, "dispatch_id": asked.id}
    await lobby.call("DeleteDispatch", target, Message, **SERVICE)
    assert (await made.expect("termination")).job_id == assignment.job.id
    # An agent that stays is removed.
    leave = await signal.expect("leave", timeout_s=20)
    assert leave.reason == models.DisconnectReason.PARTICIPANT_REMOVED


@pytest.mark.row(219)
async def test_an_agent_that_leaves_takes_its_job_along(lobby: Lobby) -> None:
    made = await worker(lobby)
    asked = await dispatch(lobby)
    assignment = await made.expect("assignment")
    await listed(lobby, asked.id)
    signal = await enter(lobby, assignment)
    await signal.send(leave=rtc.LeaveRequest(reason=models.DisconnectReason.CLIENT_INITIATED))
    assert (await made.expect("termination")).job_id == assignment.job.id


@pytest.mark.row(218, 219)
async def test_a_job_that_is_done_is_not_terminated(lobby: Lobby) -> None:
    made = await worker(lobby)
    asked = await dispatch(lobby)
    assignment = await made.expect("assignment")
    done = agent.UpdateJobStatus(job_id=assignment.job.id, status=Status.JS_SUCCESS)
    await made.send(update_job=done)
    await made.send(update_job=agent.UpdateJobStatus(job_id="AJ_unknown", status=Status.JS_FAILED))
    await made.send(migrate_job=agent.MigrateJobRequest())
    await made.send(ping=agent.WorkerPing(timestamp=1))
    await made.expect("pong")
    target = {"room": lobby.room, "dispatch_id": asked.id}
    await lobby.call("DeleteDispatch", target, Message, **SERVICE)
    await lobby.pause(0.5)
    assert made.all("termination") == []


@pytest.mark.row(219)
async def test_the_end_of_a_room_ends_its_jobs(lobby: Lobby) -> None:
    made = await worker(lobby)
    asked = await dispatch(lobby)
    assignment = await made.expect("assignment")
    await listed(lobby, asked.id)
    signal = await enter(lobby, assignment)
    await lobby.call("DeleteRoom", {"room": lobby.room}, Message, roomCreate=True)
    assert (await signal.expect("leave")).reason == models.DisconnectReason.ROOM_DELETED
    if lobby.target.ours:
        # livekit-server leaves it to the agent.
        assert (await made.expect("termination")).job_id == assignment.job.id


@pytest.mark.row(221)
@pytest.mark.parametrize("participant", [True, False])
async def test_a_worker_may_make_up_a_job(lobby: Lobby, participant: bool) -> None:
    made = await worker(lobby)
    request = agent.SimulateJobRequest(room=models.Room(name=lobby.room))
    if participant:
        request.participant.CopyFrom(models.ParticipantInfo(identity="alice"))
    await made.send(simulate_job=request)
    job = (await made.expect("assignment")).job
    assert job.type == (Type.JT_PUBLISHER if participant else Type.JT_ROOM)
    assert (job.room.name, job.participant.identity) == (lobby.room, "alice" * participant)
    assert job.agent_name == name(lobby)
