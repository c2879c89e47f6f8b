"""The workers of this node, and which of them gets a job (livekit-server
``pkg/service/agenthandler.go``, ``pkg/agent/client.go``)."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Mapping
from ctypes import c_float
from dataclasses import replace
from functools import partial

from livekit.protocol import agent

from lkpy.clock import Clock
from lkpy.errors import Blame, Code, LkpyError
from lkpy.ids import AGENT_WORKER_PREFIX, new_id
from lkpy.limits import AGENT_REQUESTS_AT_ONCE
from lkpy.server.agents.registration import Key, Registration
from lkpy.server.agents.worker import Changed, NotTakenError, Send, Worker
from lkpy.server.telemetry.events import (
    NO_TELEMETRY,
    AgentJobRequested,
    AgentWorkersChanged,
    Telemetry,
)
from lkpy.server.telemetry.log import fields

logger = logging.getLogger(__name__)


class Workers:
    """All that are registered, by what they do."""

    def __init__(
        self,
        keys: Mapping[str, str],
        clock: Clock,
        *,
        target_load: float,
        telemetry: Telemetry = NO_TELEMETRY,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """``target_load``: while every worker of a kind has this load or more, there are no jobs.
        ``chance``: a number from 0 to 1, less than 1."""
        self._keys = keys
        self._clock = clock
        # Workers say theirs in 32 bits: 0.7 is to be no less than 0.7.
        self._target_load = c_float(target_load).value
        self._telemetry = telemetry
        self._chance = chance
        self._workers: dict[Key, list[Worker]] = {}
        self._jobs: dict[str, Worker] = {}
        """Who has a job; some have ended."""
        self._requests = asyncio.Semaphore(AGENT_REQUESTS_AT_ONCE)

    def __len__(self) -> int:
        return sum(map(len, self._workers.values()))

    def add(self, registration: Registration, send: Send, identifier: str = "") -> Worker:
        """A worker has registered."""
        identifier = identifier or new_id(AGENT_WORKER_PREFIX)
        worker = Worker(identifier, registration, send, self._keys, self._clock)
        self._workers.setdefault(registration.key, []).append(worker)
        logger.info("worker registered", extra=_about(worker))
        self._telemetry.tell(AgentWorkersChanged(len(self)))
        return worker

    def remove(self, worker: Worker) -> None:
        """A worker is gone. Idempotent."""
        worker.close()
        alike = self._workers.get(worker.registration.key, [])
        if worker in alike:
            alike.remove(worker)
            logger.info("worker deregistered", extra=_about(worker))
            self._telemetry.tell(AgentWorkersChanged(len(self)))
        if not alike:
            self._workers.pop(worker.registration.key, None)
        for job_id in [job_id for job_id, who in self._jobs.items() if who is worker]:
            del self._jobs[job_id]

    def namespaces(self, wanted: Key) -> list[str]:
        """Where there are workers for a job, whatever the namespace in ``wanted``: a job is made
        for each of these."""
        return [
            key.namespace
            for key in self._workers
            if replace(wanted, namespace=key.namespace) == key
        ]

    async def request(self, job: agent.Job, changed: Changed) -> agent.JobState:
        """Give a job to a worker; returns its first state. Raises ``resource_exhausted`` when
        nobody takes it, ``deadline_exceeded`` when who was asked does not answer."""
        async with self._requests:
            try:
                state = await self._request(job, changed)
            except LkpyError as error:
                self._telemetry.tell(AgentJobRequested(str(error.code)))
                raise
        self._telemetry.tell(AgentJobRequested("assigned"))
        return state

    async def _request(self, job: agent.Job, changed: Changed) -> agent.JobState:
        key = Key(job.agent_name, job.namespace, job.type, job.deployment)
        asked: set[Worker] = set()
        while True:
            worker = self._select(key, asked)
            asked.add(worker)
            try:
                state = await worker.assign(job, partial(self._changed, job.id, changed))
            except NotTakenError as error:
                logger.info(
                    "a job was not taken", extra=_about(worker, job=job.id, error=error.message)
                )
                continue
            if worker.runs(job.id):
                self._jobs[job.id] = worker
            logger.info("job assigned", extra=_about(worker, job=job.id, room=job.room.name))
            return state

    def _select(self, key: Key, asked: set[Worker]) -> Worker:
        """By chance, the less loaded more often."""
        available = [worker for worker in self._workers.get(key, ()) if worker.available]
        if not asked and not any(worker.load < self._target_load for worker in available):
            raise _nobody()
        room = {worker: max(0.0, 1 - worker.load) for worker in available if worker not in asked}
        left = self._chance() * sum(room.values())
        chosen: Worker | None = None
        for worker, share in room.items():
            if share > 0:
                chosen = worker
                left -= share
                if left < 0:
                    break
        if chosen is None:
            raise _nobody()
        return chosen

    def terminate(self, job_id: str, *, left: bool = False) -> agent.JobState:
        """End a job; ``left``: its agent has left the room. Raises ``not_found``."""
        worker = self._jobs.pop(job_id, None)
        if worker is None:
            raise LkpyError(Code.NOT_FOUND, "no worker for jobID")
        return worker.terminate(job_id, left=left)

    def _changed(self, job_id: str, changed: Changed, state: agent.JobState) -> None:
        if state.ended_at:
            self._jobs.pop(job_id, None)
        changed(state)


def _nobody() -> LkpyError:
    return LkpyError(
        Code.RESOURCE_EXHAUSTED, "no workers with sufficient capacity", blame=Blame.OPERATOR
    )


def _about(worker: Worker, **more: str) -> dict[str, object]:
    key = worker.registration.key
    return fields(
        worker=worker.id,
        agent=key.agent_name,
        namespace=key.namespace,
        deployment=key.deployment,
        jobType=agent.JobType.Name(key.job_type),
        **more,
    )
