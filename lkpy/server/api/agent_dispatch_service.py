"""LiveKit's AgentDispatchService: which agents a room asks for (livekit-server
``pkg/service/agent_dispatch_service.go``)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from google.protobuf.message import Message
from livekit.protocol import agent_dispatch
from livekit.protocol import room as room_pb

from lkpy.auth.grants import Grants
from lkpy.errors import Code, LkpyError
from lkpy.ids import AGENT_DISPATCH_PREFIX, RoomName
from lkpy.limits import Limits, attributes_size
from lkpy.server import request_id
from lkpy.server.agents.registration import check_deployment
from lkpy.server.api.checks import require_admin
from lkpy.server.rooms.allocator import RoomAllocator
from lkpy.server.rooms.managed_room import ManagedRoom
from lkpy.server.rooms.manager import RoomManager


class AgentDispatchService:
    """The methods of ``livekit.AgentDispatchService``."""

    def __init__(
        self, allocator: RoomAllocator, rooms: RoomManager[ManagedRoom], limits: Limits
    ) -> None:
        self._allocator = allocator
        self._rooms = rooms
        self._limits = limits

    def methods(self) -> Mapping[str, Callable[[Any, Grants | None], Awaitable[Message]]]:
        """By their names in the protobuf service."""
        return {
            "CreateDispatch": self.create_dispatch,
            "DeleteDispatch": self.delete_dispatch,
            "ListDispatch": self.list_dispatch,
        }

    async def create_dispatch(
        self, request: agent_dispatch.CreateAgentDispatchRequest, grants: Grants | None
    ) -> agent_dispatch.AgentDispatch:
        """Ask for an agent; where rooms come into being by themselves, this one does."""
        require_admin(grants, request.room)
        check_deployment(request.deployment)
        self._check_sizes(request)
        name = RoomName(request.room)
        if self._allocator.auto_create:
            self._allocator.select_room_node(name)
            self._rooms.create_room(room_pb.CreateRoomRequest(name=name))
        identifier = request_id.stable_id(AGENT_DISPATCH_PREFIX)
        return self._rooms.dispatches(name).add(request, identifier)

    def _check_sizes(self, request: agent_dispatch.CreateAgentDispatchRequest) -> None:
        if 0 < self._limits.max_metadata_size < len(request.metadata.encode()):
            raise LkpyError(Code.INVALID_ARGUMENT, "metadata size exceeds limits")
        if 0 < self._limits.max_attributes_size < attributes_size(request.attributes):
            raise LkpyError(Code.INVALID_ARGUMENT, "attribute size exceeds limits")

    async def delete_dispatch(
        self, request: agent_dispatch.DeleteAgentDispatchRequest, grants: Grants | None
    ) -> agent_dispatch.AgentDispatch:
        """Ask no more."""
        require_admin(grants, request.room)
        return self._rooms.dispatches(RoomName(request.room)).delete(request.dispatch_id)

    async def list_dispatch(
        self, request: agent_dispatch.ListAgentDispatchRequest, grants: Grants | None
    ) -> agent_dispatch.ListAgentDispatchResponse:
        """What a live room asks for: all, or the dispatch with this id."""
        require_admin(grants, request.room)
        found = self._rooms.dispatches(RoomName(request.room)).list(request.dispatch_id)
        return agent_dispatch.ListAgentDispatchResponse(agent_dispatches=found)
