"""The agents that rooms ask for (livekit-server ``pkg/rtc/room.go``, agent dispatches)."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from livekit.protocol import agent, agent_dispatch, models

from lkpy.clock import Clock
from lkpy.errors import Code, LkpyError
from lkpy.ids import AGENT_DISPATCH_PREFIX, RoomName, new_id
from lkpy.limits import AGENT_PUBLISHERS
from lkpy.server.agents.registration import check_deployment
from lkpy.server.rooms.jobs import RoomJobs
from lkpy.server.telemetry.log import fields

logger = logging.getLogger(__name__)


class Dispatches:
    """Those of one room, oldest first."""

    def __init__(self, room: RoomName, clock: Clock, jobs: RoomJobs) -> None:
        self._room = room
        self._clock = clock
        self._jobs = jobs
        self._dispatches: dict[str, agent_dispatch.AgentDispatch] = {}
        self._here: dict[str, models.ParticipantInfo] = {}
        """Who can be the reason for a job, by sid."""
        self._published: dict[str, None] = {}
        """Identities for which there were jobs as publishers, oldest first."""

    def add_room_agents(self, agents: Iterable[agent_dispatch.RoomAgentDispatch]) -> None:
        """Take the agents of the request that created the room. A room that names none is open to
        every agent without a name; one that cannot be is left out."""
        for wanted in list(agents) or [agent_dispatch.RoomAgentDispatch()]:
            try:
                self._store(
                    agent_dispatch.CreateAgentDispatchRequest(
                        agent_name=wanted.agent_name,
                        metadata=wanted.metadata,
                        restart_policy=wanted.restart_policy,
                        deployment=wanted.deployment,
                        attributes=wanted.attributes,
                    ),
                    new_id(AGENT_DISPATCH_PREFIX),
                )
            except LkpyError as error:
                logger.warning(
                    "an agent of the room is left out",
                    extra=fields(room=self._room, agent=wanted.agent_name, error=error.message),
                )

    def start(self) -> None:
        """The room has begun."""
        for dispatch in self._dispatches.values():
            self._jobs.launch(dispatch, agent.JobType.JT_ROOM)

    def add(
        self, request: agent_dispatch.CreateAgentDispatchRequest, identifier: str = ""
    ) -> agent_dispatch.AgentDispatch:
        """Ask for an agent, once for each ``identifier``. Raises ``invalid_argument`` for a
        deployment that cannot be."""
        known = self._dispatches.get(identifier)
        if known is not None:
            return known
        dispatch = self._store(request, identifier or new_id(AGENT_DISPATCH_PREFIX))
        self._jobs.launch(dispatch, agent.JobType.JT_ROOM)
        for info in self._here.values():
            if info.is_publisher:
                self._jobs.launch(dispatch, agent.JobType.JT_PUBLISHER, info)
            self._jobs.launch(dispatch, agent.JobType.JT_PARTICIPANT, info)
        return dispatch

    def _store(
        self, request: agent_dispatch.CreateAgentDispatchRequest, identifier: str
    ) -> agent_dispatch.AgentDispatch:
        check_deployment(request.deployment)
        dispatch = agent_dispatch.AgentDispatch(
            id=identifier,
            agent_name=request.agent_name,
            room=self._room,
            metadata=request.metadata,
            restart_policy=request.restart_policy,
            deployment=request.deployment,
            attributes=request.attributes,
            state=agent_dispatch.AgentDispatchState(created_at=int(self._clock.wall() * 1e9)),
        )
        self._dispatches[dispatch.id] = dispatch
        return dispatch

    def delete(self, identifier: str) -> agent_dispatch.AgentDispatch:
        """Ask no more. Raises ``not_found``."""
        dispatch = self._dispatches.pop(identifier, None)
        if dispatch is None:
            raise LkpyError(Code.NOT_FOUND, "dispatch ID not found")
        self._jobs.end(dispatch)
        return dispatch

    def list(self, identifier: str = "") -> list[agent_dispatch.AgentDispatch]:
        """All, or the one with this id if it is there."""
        if not identifier:
            return list(self._dispatches.values())
        dispatch = self._dispatches.get(identifier)
        return [] if dispatch is None else [dispatch]

    # -- who is in the room -----------------------------------------------------------------------

    def participant_changed(self, info: models.ParticipantInfo) -> None:
        """Somebody came, or changed. There is a job for each who is here, and one for each who
        publishes for the first time; agents and those who record are no reason for any."""
        if _is_dependent(info):
            return
        is_there = info.sid in self._here
        self._here[info.sid] = info
        if not is_there:
            self._launch(agent.JobType.JT_PARTICIPANT, info)
        if info.tracks and info.identity not in self._published:
            self._published[info.identity] = None
            if len(self._published) > AGENT_PUBLISHERS:
                del self._published[next(iter(self._published))]
            self._launch(agent.JobType.JT_PUBLISHER, info)

    def _launch(self, job_type: agent.JobType, info: models.ParticipantInfo) -> None:
        for dispatch in self._dispatches.values():
            self._jobs.launch(dispatch, job_type, info)

    def participant_left(self, info: models.ParticipantInfo) -> None:
        """Somebody is gone."""
        self._here.pop(info.sid, None)
        self._jobs.participant_left(info.identity)

    def close(self) -> None:
        """The room is over."""
        self._jobs.close()


def _is_dependent(info: models.ParticipantInfo) -> bool:
    """Whether it is there because of others (``pkg/rtc/participant.go`` IsDependent)."""
    kinds = (models.ParticipantInfo.Kind.AGENT, models.ParticipantInfo.Kind.EGRESS)
    return info.kind in kinds or info.permission.agent or info.permission.recorder
