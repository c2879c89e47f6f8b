"""LiveKit's RoomService: create, list and delete rooms, and act on who is in them
(livekit-server ``pkg/service/roomservice.go``).

The order of the checks is LiveKit's, because it decides which error a caller sees: some methods
look at sizes before they look at the token.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NoReturn, Protocol

from google.protobuf.message import Message
from livekit.protocol import models
from livekit.protocol import room as room_pb

from lkpy.auth.grants import Grants
from lkpy.errors import Blame, Code, LkpyError, TwirpError
from lkpy.ids import NodeID, ParticipantIdentity, RoomName
from lkpy.limits import Limits
from lkpy.server.api.checks import (
    check_attributes,
    check_metadata,
    check_name,
    check_room_name,
    invalid_argument,
    require_admin,
    require_create,
    require_destination,
    require_list,
)
from lkpy.server.rooms.allocator import ROOM_NOT_FOUND, RoomAllocator
from lkpy.server.rooms.managed_room import ManagedRoom, ManagedRoomApi
from lkpy.server.rooms.manager import RoomManager, no_response
from lkpy.server.rooms.store import LocalStore
from lkpy.server.rtc.room_api import PARTICIPANT_NOT_FOUND

Removed = models.DisconnectReason.PARTICIPANT_REMOVED
_NONCE_LENGTH = 16


class _Addressed(Protocol):
    """A request that names a participant."""

    room: str
    identity: str


class RoomService:
    """The methods of ``livekit.RoomService``."""

    def __init__(
        self,
        allocator: RoomAllocator,
        store: LocalStore,
        rooms: RoomManager[ManagedRoom],
        limits: Limits,
        *,
        enable_remote_unmute: bool = False,
        ask_rooms: bool = False,
    ) -> None:
        self._allocator = allocator
        self._store = store
        self._rooms = rooms
        self._limits = limits
        self._enable_remote_unmute = enable_remote_unmute
        self._ask_rooms = ask_rooms
        """Participants are asked of their room. The store knows as much, but it has no word for a
        room that is not there."""

    def methods(self) -> Mapping[str, Callable[[Any, Grants | None], Awaitable[Message]]]:
        """By their names in the protobuf service."""
        return {
            "CreateRoom": self.create_room,
            "ListRooms": self.list_rooms,
            "DeleteRoom": self.delete_room,
            "ListParticipants": self.list_participants,
            "GetParticipant": self.get_participant,
            "RemoveParticipant": self.remove_participant,
            "MutePublishedTrack": self.mute_published_track,
            "UpdateParticipant": self.update_participant,
            "UpdateSubscriptions": self.update_subscriptions,
            "SendData": self.send_data,
            "UpdateRoomMetadata": self.update_room_metadata,
            "ForwardParticipant": self.forward_participant,
            "MoveParticipant": self.move_participant,
            "PerformRpc": self.perform_rpc,
        }

    # -- rooms ----------------------------------------------------------------------------------

    async def create_room(
        self, request: room_pb.CreateRoomRequest, grants: Grants | None
    ) -> models.Room:
        """Create a room; a live one is returned as it is.

        A room whose creation should start a recording is created, but the call fails: there is no
        egress service. livekit-server without Redis waits 23 s before it says so.
        """
        require_create(grants)
        check_room_name(self._limits, request.name)
        check_metadata(self._limits, request.metadata)
        for agent in request.agents:
            check_metadata(self._limits, agent.metadata)
            check_attributes(self._limits, agent.attributes)
        name = RoomName(request.name)
        self._allocator.select_room_node(name, NodeID(request.node_id))
        created = self._rooms.room(name) is None
        room = self._rooms.create_room(request)
        if created and request.egress.HasField("room"):
            raise no_response()
        return room

    async def list_rooms(
        self, request: room_pb.ListRoomsRequest, grants: Grants | None
    ) -> room_pb.ListRoomsResponse:
        """All rooms, or those named."""
        require_list(grants)
        return room_pb.ListRoomsResponse(rooms=self._store.list_rooms(request.names))

    async def delete_room(
        self, request: room_pb.DeleteRoomRequest, grants: Grants | None
    ) -> room_pb.DeleteRoomResponse:
        """Send everybody away and forget the room."""
        require_create(grants)
        await self._rooms.delete_room(RoomName(request.room))
        return room_pb.DeleteRoomResponse()

    async def update_room_metadata(
        self, request: room_pb.UpdateRoomMetadataRequest, grants: Grants | None
    ) -> models.Room:
        """Replace a room's metadata; returns when everybody has been told."""
        check_metadata(self._limits, request.metadata)
        require_admin(grants, request.room)
        name = RoomName(request.room)
        if self._store.load_room(name) is None:
            raise LkpyError(Code.NOT_FOUND, ROOM_NOT_FOUND)
        return await self._rooms.api(name).update_metadata(request.metadata)

    async def send_data(
        self, request: room_pb.SendDataRequest, grants: Grants | None
    ) -> room_pb.SendDataResponse:
        """Send a packet to everybody in a room, or to some."""
        require_admin(grants, request.room)
        if len(request.nonce) not in (0, _NONCE_LENGTH):
            raise TwirpError(
                Code.INVALID_ARGUMENT,
                f"nonce should be 16-bytes or not present, got: {len(request.nonce)} bytes",
            )
        await self._rooms.api(RoomName(request.room)).send_data(request)
        return room_pb.SendDataResponse()

    # -- participants ---------------------------------------------------------------------------

    async def list_participants(
        self, request: room_pb.ListParticipantsRequest, grants: Grants | None
    ) -> room_pb.ListParticipantsResponse:
        """Everybody in a room; nobody for a room that does not exist."""
        require_admin(grants, request.room)
        self._ask(request.room)
        participants = self._store.list_participants(RoomName(request.room))
        return room_pb.ListParticipantsResponse(participants=participants)

    async def get_participant(
        self, request: room_pb.RoomParticipantIdentity, grants: Grants | None
    ) -> models.ParticipantInfo:
        """One participant."""
        require_admin(grants, request.room)
        self._ask(request.room)
        return self._stored(request)

    async def remove_participant(
        self, request: room_pb.RoomParticipantIdentity, grants: Grants | None
    ) -> room_pb.RemoveParticipantResponse:
        """Send one participant away. Its token stays valid."""
        require_admin(grants, request.room)
        self._stored(request)
        identity = ParticipantIdentity(request.identity)
        await self._api_of(request).remove_participant(identity, Removed)
        return room_pb.RemoveParticipantResponse()

    async def mute_published_track(
        self, request: room_pb.MuteRoomTrackRequest, grants: Grants | None
    ) -> room_pb.MuteRoomTrackResponse:
        """Mute a track; unmute it only where the configuration allows that."""
        require_admin(grants, request.room)
        api = self._api_of(request)
        if not request.muted and not self._enable_remote_unmute:
            raise LkpyError(Code.FAILED_PRECONDITION, "remote unmute not enabled")
        identity = ParticipantIdentity(request.identity)
        track = await api.mute_published_track(identity, request.track_sid, request.muted)
        return room_pb.MuteRoomTrackResponse(track=track)

    async def update_participant(
        self, request: room_pb.UpdateParticipantRequest, grants: Grants | None
    ) -> models.ParticipantInfo:
        """Change a participant's name, metadata, attributes or permission."""
        check_name(self._limits, request.name)
        check_metadata(self._limits, request.metadata)
        check_attributes(self._limits, request.attributes)
        require_admin(grants, request.room)
        self._stored(request)
        return await self._api_of(request).update_participant(request)

    async def update_subscriptions(
        self, request: room_pb.UpdateSubscriptionsRequest, grants: Grants | None
    ) -> room_pb.UpdateSubscriptionsResponse:
        """Subscribe a participant to tracks, or unsubscribe it."""
        require_admin(grants, request.room)
        await self._api_of(request).update_subscriptions(request)
        return room_pb.UpdateSubscriptionsResponse()

    async def perform_rpc(
        self, request: room_pb.PerformRpcRequest, grants: Grants | None
    ) -> room_pb.PerformRpcResponse:
        """Call a method of a participant and wait for what it answers."""
        require_admin(grants, request.room)
        if not request.destination_identity:
            raise LkpyError(Code.INVALID_ARGUMENT, "destination identity is required")
        identity = ParticipantIdentity(request.destination_identity)
        api = self._rooms.api_of(RoomName(request.room), identity)
        return room_pb.PerformRpcResponse(payload=await api.perform_rpc(request))

    async def forward_participant(
        self, request: room_pb.ForwardParticipantRequest, grants: Grants | None
    ) -> room_pb.ForwardParticipantResponse:
        """Checks its arguments and is not implemented, as in livekit-server."""
        self._refuse_to_move(request, grants)

    async def move_participant(
        self, request: room_pb.MoveParticipantRequest, grants: Grants | None
    ) -> room_pb.MoveParticipantResponse:
        """Checks its arguments and is not implemented, as in livekit-server."""
        self._refuse_to_move(request, grants)

    def _refuse_to_move(
        self,
        request: room_pb.ForwardParticipantRequest | room_pb.MoveParticipantRequest,
        grants: Grants | None,
    ) -> NoReturn:
        require_destination(grants, request.room, request.destination_room)
        if request.room == request.destination_room:
            problem = "destination room cannot be the same as source room"
            raise invalid_argument(problem, "")
        self._api_of(request)
        raise LkpyError(Code.UNKNOWN, "not implemented", blame=Blame.CLIENT)

    # -- who is meant ---------------------------------------------------------------------------

    def _api_of(self, request: _Addressed) -> ManagedRoomApi:
        return self._rooms.api_of(RoomName(request.room), ParticipantIdentity(request.identity))

    def _ask(self, room: str) -> None:
        if self._ask_rooms:
            self._rooms.api(RoomName(room))

    def _stored(self, request: _Addressed) -> models.ParticipantInfo:
        name, identity = RoomName(request.room), ParticipantIdentity(request.identity)
        found = self._store.load_participant(name, identity)
        if found is None:
            raise LkpyError(Code.NOT_FOUND, PARTICIPANT_NOT_FOUND)
        return found
