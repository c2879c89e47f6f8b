"""The jobs of a room's dispatches: who works on them, and when they end (livekit-server
``pkg/rtc/room.go`` launchRoomAgents, launchTargetAgents, DeleteAgentDispatch)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass

from livekit.protocol import agent, agent_dispatch, models

from lkpy.errors import LkpyError
from lkpy.ids import AGENT_JOB_PREFIX, ParticipantIdentity, new_id
from lkpy.limits import AGENT_JOBS_LISTED, AGENT_LEAVES_S
from lkpy.server.agents.registration import Key
from lkpy.server.agents.workers import Workers
from lkpy.server.rooms.managed_room import ManagedRoom
from lkpy.server.telemetry.log import fields

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class JobOptions:
    """What agents are told of every job (``agents.*`` of livekit.yaml)."""

    recording: bool = False
    redaction: bool = False


class RoomJobs:
    """Those of one room. A job that no worker takes is not made, and not made up for later."""

    def __init__(self, workers: Workers, room: ManagedRoom, options: JobOptions) -> None:
        self._workers = workers
        self._room = room
        self._options = options
        self._agents: dict[str, str] = {}
        """Jobs by the identities of their agents."""
        self._leaving: dict[str, asyncio.Event] = {}
        """Agents that are awaited to leave."""
        self._launching: dict[str, set[asyncio.Task[None]]] = {}
        """By dispatch."""
        self._ending: set[asyncio.Task[None]] = set()

    def launch(
        self,
        dispatch: agent_dispatch.AgentDispatch,
        job_type: agent.JobType,
        participant: models.ParticipantInfo | None = None,
    ) -> None:
        """Have a job done, in every namespace where there are workers for it."""
        wanted = Key(dispatch.agent_name, "", job_type, dispatch.deployment)
        for namespace in self._workers.namespaces(wanted):
            job = agent.Job(
                id=new_id(AGENT_JOB_PREFIX),
                dispatch_id=dispatch.id,
                type=job_type,
                room=self._room.to_proto(),
                participant=participant,
                namespace=namespace,
                metadata=dispatch.metadata,
                agent_name=dispatch.agent_name,
                enable_recording=self._options.recording,
                enable_redaction=self._options.redaction,
                deployment=dispatch.deployment,
                attributes=dispatch.attributes,
            )
            task = asyncio.ensure_future(self._launch(dispatch, job))
            launching = self._launching.setdefault(dispatch.id, set())
            launching.add(task)
            task.add_done_callback(launching.discard)

    async def _launch(self, dispatch: agent_dispatch.AgentDispatch, job: agent.Job) -> None:
        def changed(state: agent.JobState) -> None:
            for listed in dispatch.state.jobs:
                if listed.id == job.id:
                    listed.state.CopyFrom(state)

        try:
            state = await self._workers.request(job, changed)
        except LkpyError as error:
            logger.info(
                "a job is not done",
                extra=fields(
                    room=job.room.name, agent=job.agent_name, job=job.id, error=error.message
                ),
            )
            return
        job.state.CopyFrom(state)
        jobs = dispatch.state.jobs
        if len(jobs) >= AGENT_JOBS_LISTED:
            del jobs[0]
        jobs.add().CopyFrom(job)
        if state.participant_identity:
            self._agents[state.participant_identity] = job.id

    def participant_left(self, identity: str) -> None:
        """Somebody left: if it was an agent, its job has failed, unless it was done."""
        leaving = self._leaving.get(identity)
        if leaving is not None:
            leaving.set()
        job_id = self._agents.pop(identity, None)
        if job_id is not None:
            with contextlib.suppress(LkpyError):
                self._workers.terminate(job_id, left=True)

    def end(self, dispatch: agent_dispatch.AgentDispatch) -> None:
        """Nobody is to work on a dispatch any more. Its agents have three seconds to leave."""
        task = asyncio.ensure_future(self._end(dispatch))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _end(self, dispatch: agent_dispatch.AgentDispatch) -> None:
        launching = self._launching.pop(dispatch.id, ())
        await asyncio.gather(*launching, return_exceptions=True)
        await asyncio.gather(*(self._end_job(job.id) for job in list(dispatch.state.jobs)))

    async def _end_job(self, job_id: str) -> None:
        try:
            state = self._workers.terminate(job_id)
        except LkpyError:
            return
        identity = ParticipantIdentity(state.participant_identity)
        if not identity or not self._room.has(identity):
            return
        leaving = self._leaving[identity] = asyncio.Event()
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(AGENT_LEAVES_S):
                    await leaving.wait()
        finally:
            self._leaving.pop(identity, None)
        if self._room.has(identity):
            logger.info("an agent did not leave", extra=fields(participant=identity, job=job_id))
            with contextlib.suppress(LkpyError):
                reason = models.DisconnectReason.PARTICIPANT_REMOVED
                await self._room.api.remove_participant(identity, reason)

    def close(self) -> None:
        """The room is over: nothing is begun any more."""
        for tasks in (*self._launching.values(), self._ending):
            for task in tasks:
                task.cancel()
