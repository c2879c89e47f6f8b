"""The agents that rooms ask for (livekit-server ``pkg/rtc/room.go``, agent dispatches)."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from livekit.protocol import agent_dispatch

from lkpy.clock import Clock
from lkpy.errors import Code, LkpyError
from lkpy.ids import AGENT_DISPATCH_PREFIX, RoomName, new_id
from lkpy.server.telemetry.log import fields

logger = logging.getLogger(__name__)

_MAX_DEPLOYMENT = 64
"""Bytes."""


def check_deployment(deployment: str) -> None:
    """Raise ``invalid_argument`` for what cannot be a part of a topic's name (protocol
    ``agent/environment.go``)."""
    data = deployment.encode()
    problem = ""
    if len(data) > _MAX_DEPLOYMENT:
        problem = f"exceeds {_MAX_DEPLOYMENT} bytes"
    for position, byte in enumerate(data):
        if problem:
            break
        if byte == ord("_"):
            problem = "contains reserved character '_'"
        elif byte <= ord(" ") or byte == 0x7F:
            problem = f"contains whitespace or control byte at position {position}"
    if problem:
        raise LkpyError(Code.INVALID_ARGUMENT, f"deployment {problem}")


class Dispatches:
    """Those of one room, oldest first."""

    def __init__(self, room: RoomName, clock: Clock) -> None:
        self._room = room
        self._clock = clock
        self._dispatches: dict[str, agent_dispatch.AgentDispatch] = {}

    def add_room_agents(self, agents: Iterable[agent_dispatch.RoomAgentDispatch]) -> None:
        """Take the agents of the request that created the room. A room that names none is open to
        every agent without a name; one that cannot be is left out."""
        for agent in list(agents) or [agent_dispatch.RoomAgentDispatch()]:
            try:
                self.add(
                    agent_dispatch.CreateAgentDispatchRequest(
                        agent_name=agent.agent_name,
                        metadata=agent.metadata,
                        restart_policy=agent.restart_policy,
                        deployment=agent.deployment,
                        attributes=agent.attributes,
                    )
                )
            except LkpyError as error:
                logger.warning(
                    "an agent of the room is left out",
                    extra=fields(room=self._room, agent=agent.agent_name, error=error.message),
                )

    def add(
        self, request: agent_dispatch.CreateAgentDispatchRequest, identifier: str = ""
    ) -> agent_dispatch.AgentDispatch:
        """Ask for an agent, once for each ``identifier``. Raises ``invalid_argument`` for a
        deployment that cannot be."""
        check_deployment(request.deployment)
        known = self._dispatches.get(identifier)
        if known is not None:
            return known
        dispatch = agent_dispatch.AgentDispatch(
            id=identifier or new_id(AGENT_DISPATCH_PREFIX),
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
        return dispatch

    def list(self, identifier: str = "") -> list[agent_dispatch.AgentDispatch]:
        """All, or the one with this id if it is there."""
        if not identifier:
            return list(self._dispatches.values())
        dispatch = self._dispatches.get(identifier)
        return [] if dispatch is None else [dispatch]
