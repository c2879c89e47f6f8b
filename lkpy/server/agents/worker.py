"""One registered worker: what it says, and what it is asked (livekit-server
``pkg/agent/worker.go``)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from livekit.protocol import agent

from lkpy.auth.grants import Grants, VideoGrant
from lkpy.auth.token import mint
from lkpy.clock import Clock
from lkpy.errors import Blame, Code, LkpyError
from lkpy.ids import AGENT_JOB_PREFIX, new_id
from lkpy.limits import AGENT_ANSWER_S, AGENT_OFFERS, AGENT_TOKEN_TTL_S, AGENT_WORKER_JOBS
from lkpy.server.agents.registration import Registration
from lkpy.server.telemetry.log import fields

logger = logging.getLogger(__name__)

AGENT_NAME = "lk.agent_name"
"""Attribute of an agent in a room."""

Send = Callable[[agent.ServerMessage], None]
Changed = Callable[[agent.JobState], None]
"""Hears of each state of a job."""

_ENDED = (agent.JobStatus.JS_SUCCESS, agent.JobStatus.JS_FAILED)


class NotTakenError(LkpyError):
    """The worker does not take the job; another one may."""

    def __init__(self, message: str) -> None:
        super().__init__(Code.UNAVAILABLE, message, blame=Blame.OPERATOR)


@dataclass(slots=True)
class _Running:
    job: agent.Job
    changed: Changed


def _ignored(_state: agent.JobState) -> None:
    """Nobody asks for the states of a job that the worker has made up."""


class Worker:
    """Told what the worker sends by :meth:`handle`; says what it is asked by ``send``."""

    def __init__(
        self,
        identifier: str,
        registration: Registration,
        send: Send,
        keys: Mapping[str, str],
        clock: Clock,
    ) -> None:
        self.id = identifier
        self.registration = registration
        self.load = 0.0
        self.status: int = agent.WorkerStatus.WS_AVAILABLE
        self.draining = False
        self.closed = False
        self._send = send
        self._keys = keys
        self._clock = clock
        self._status_number = 0
        self._offers: dict[str, asyncio.Future[agent.AvailabilityResponse]] = {}
        """Jobs that it has been asked about and has not answered."""
        self._running: dict[str, _Running] = {}
        self._simulations: set[asyncio.Task[None]] = set()

    @property
    def available(self) -> bool:
        """It takes jobs."""
        return not self.closed and self.status == agent.WorkerStatus.WS_AVAILABLE

    def runs(self, job_id: str) -> bool:
        """Whether a job is with it."""
        return job_id in self._running

    # -- what it says -----------------------------------------------------------------------------

    def handle(self, message: agent.WorkerMessage) -> None:
        """Take a message of a registered worker. Raises :class:`LkpyError`: its connection ends."""
        match message.WhichOneof("message"):
            case "availability":
                self._answered(message.availability)
            case "update_job":
                self._update(message.update_job)
            case "simulate_job":
                self._simulate(message.simulate_job)
            case "update_worker":
                self._update_worker(message.update_worker)
            case "migrate_job":
                # livekit-server moves no job either.
                pass
            case kind:
                raise LkpyError(Code.INVALID_ARGUMENT, f"a worker does not send {kind} now")

    def _answered(self, answer: agent.AvailabilityResponse) -> None:
        offer = self._offers.pop(answer.job_id, None)
        if offer is None or offer.done():
            logger.warning("an answer about an unknown job", extra=self._about(job=answer.job_id))
        else:
            offer.set_result(answer)

    def _update(self, update: agent.UpdateJobStatus) -> None:
        try:
            self.set_status(update.job_id, update.status, update.error)
        except LkpyError:
            # The room may have ended first.
            logger.debug("news of an unknown job", extra=self._about(job=update.job_id))

    def _simulate(self, request: agent.SimulateJobRequest) -> None:
        key = self.registration.key
        job = agent.Job(
            id=new_id(AGENT_JOB_PREFIX),
            type=agent.JobType.JT_ROOM,
            room=request.room,
            namespace=key.namespace,
            agent_name=key.agent_name,
        )
        if request.HasField("participant"):
            job.type = agent.JobType.JT_PUBLISHER
            job.participant.CopyFrom(request.participant)
        task = asyncio.ensure_future(self._try(job))
        self._simulations.add(task)
        task.add_done_callback(self._simulations.discard)

    async def _try(self, job: agent.Job) -> None:
        try:
            await self.assign(job, _ignored)
        except LkpyError as error:
            logger.warning(
                "could not simulate a job", extra=self._about(job=job.id, error=error.message)
            )

    def _update_worker(self, update: agent.UpdateWorkerStatus) -> None:
        # Of several connections of one worker news may overtake each other.
        if update.seq:
            if update.seq <= self._status_number:
                return
            self._status_number = update.seq
        if update.HasField("status"):
            self.status = update.status
        self.load = update.load
        self.draining = update.draining

    # -- what it is asked -------------------------------------------------------------------------

    async def assign(self, job: agent.Job, changed: Changed) -> agent.JobState:
        """Offer a job, and give it to the worker if it takes it; ``changed`` hears of what becomes
        of it. Returns the first state. Raises :class:`NotTakenError`, or :class:`LkpyError` if no
        other worker is to be asked."""
        if self.closed:
            raise NotTakenError("the worker is gone")
        if len(self._offers) >= AGENT_OFFERS or len(self._running) >= AGENT_WORKER_JOBS:
            raise NotTakenError("the worker has too many jobs")
        offered = agent.Job()
        offered.CopyFrom(job)
        now_ns = self._now_ns()
        offered.state.CopyFrom(
            agent.JobState(
                status=agent.JobStatus.JS_RUNNING,
                started_at=now_ns,
                updated_at=now_ns,
                worker_id=self.id,
            )
        )
        offer = self._offers[job.id] = asyncio.get_running_loop().create_future()
        try:
            self._send(agent.ServerMessage(availability=agent.AvailabilityRequest(job=offered)))
            async with asyncio.timeout(AGENT_ANSWER_S):
                answer = await offer
        except TimeoutError:
            raise LkpyError(
                Code.DEADLINE_EXCEEDED, "the worker does not answer", blame=Blame.OPERATOR
            ) from None
        finally:
            self._offers.pop(job.id, None)
        return self._decided(offered, answer, changed)

    def _decided(
        self, job: agent.Job, answer: agent.AvailabilityResponse, changed: Changed
    ) -> agent.JobState:
        if answer.terminate:
            job.state.status = agent.JobStatus.JS_SUCCESS
            job.state.ended_at = self._now_ns()
            return job.state
        if not answer.available:
            raise NotTakenError("the worker does not take the job")
        job.state.participant_identity = answer.participant_identity
        self._running[job.id] = _Running(job, changed)
        assignment = agent.JobAssignment(job=job, token=self._token(job, answer))
        self._send(agent.ServerMessage(assignment=assignment))
        return job.state

    def _token(self, job: agent.Job, answer: agent.AvailabilityResponse) -> str:
        """With which the agent joins (protocol ``agent/token.go``)."""
        allowed = self.registration.permissions
        grants = Grants(
            identity=answer.participant_identity,
            name=answer.participant_name,
            kind="agent",
            metadata=answer.participant_metadata,
            attributes=dict(answer.participant_attributes)
            | {AGENT_NAME: self.registration.key.agent_name},
            video=VideoGrant(
                room_join=True,
                agent=True,
                room=job.room.name,
                can_subscribe=allowed.can_subscribe,
                can_publish=allowed.can_publish,
                can_publish_data=allowed.can_publish_data,
                hidden=allowed.hidden,
                can_update_own_metadata=allowed.can_update_metadata,
                can_subscribe_metrics=allowed.can_subscribe_metrics,
            ),
        )
        api_key = self.registration.api_key
        return mint(
            grants,
            api_key=api_key,
            api_secret=self._keys[api_key],
            now=self._clock.wall(),
            ttl_s=AGENT_TOKEN_TTL_S,
        )

    def terminate(self, job_id: str, *, left: bool) -> agent.JobState:
        """End a job; ``left``: its agent has left the room. Raises ``not_found``."""
        if job_id not in self._running:
            raise _unknown_job()
        self._send(agent.ServerMessage(termination=agent.JobTermination(job_id=job_id)))
        if left:
            failed = agent.JobStatus.JS_FAILED
            return self.set_status(job_id, failed, "agent worker left the room")
        return self.set_status(job_id, agent.JobStatus.JS_SUCCESS, "")

    def set_status(self, job_id: str, status: agent.JobStatus, error: str) -> agent.JobState:
        """What has become of a job. Raises ``not_found``."""
        running = self._running.get(job_id)
        if running is None:
            raise _unknown_job()
        state, now_ns = running.job.state, self._now_ns()
        state.updated_at = now_ns
        state.status = status
        state.error = error
        if status in _ENDED:
            state.ended_at = now_ns
            del self._running[job_id]
            logger.info(
                "job ended",
                extra=self._about(job=job_id, status=agent.JobStatus.Name(status), error=error),
            )
        running.changed(state)
        return state

    def close(self) -> None:
        """The worker is gone: it answers nothing any more. Its jobs go on, their agents are
        participants of their own."""
        self.closed = True
        for offer in self._offers.values():
            if not offer.done():
                offer.set_exception(NotTakenError("the worker is gone"))
        for task in self._simulations:
            task.cancel()
        self._running.clear()

    def _now_ns(self) -> int:
        return int(self._clock.wall() * 1e9)

    def _about(self, **more: str) -> dict[str, object]:
        key = self.registration.key
        return fields(worker=self.id, agent=key.agent_name, **more)


def _unknown_job() -> LkpyError:
    return LkpyError(Code.NOT_FOUND, "no running job for given jobID")
