"""LiveKit's RoomService: create, list and delete rooms, and act on who is in them.

Every method checks its grant first. What the token does not allow is ``unauthenticated``, as in
LiveKit, and an act on somebody who is not there is ``unavailable``: on LiveKit's bus nobody
answers for them (livekit-server ``pkg/service/roomservice.go``).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from google.protobuf.message import Message
from livekit.protocol import models
from livekit.protocol import room as room_pb

from lkpy.auth.grants import Grants, VideoGrant
from lkpy.errors import Code, LkpyError
from lkpy.ids import NodeID, ParticipantIdentity, RoomName
from lkpy.limits import Limits
from lkpy.server.rooms.allocator import RoomAllocator
from lkpy.server.rooms.manager import ManagedRoom, RoomManager
from lkpy.server.rooms.store import LocalStore

PARTICIPANT_NOT_FOUND = "participant does not exist"
_NONCE_LENGTH = 16


def _denied() -> LkpyError:
    return LkpyError(Code.UNAUTHENTICATED, "permissions denied")


def _video(grants: Grants | None) -> VideoGrant:
    if grants is None or grants.video is None:
        raise _denied()
    return grants.video


def _require_create(grants: Grants | None) -> None:
    if not _video(grants).room_create:
        raise _denied()


def _require_list(grants: Grants | None) -> None:
    if not _video(grants).room_list:
        raise _denied()


def _require_admin(grants: Grants | None, room: str) -> None:
    video = _video(grants)
    if not video.room_admin or video.room != room:
        raise _denied()


class RoomService:
    """The methods of ``livekit.RoomService`` that this server has."""

    def __init__(
        self,
        allocator: RoomAllocator,
        store: LocalStore,
        rooms: RoomManager[ManagedRoom],
        limits: Limits,
        *,
        enable_remote_unmute: bool = False,
    ) -> None:
        self._allocator = allocator
        self._store = store
        self._rooms = rooms
        self._limits = limits
        self._enable_remote_unmute = enable_remote_unmute

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
            "SendData": self.send_data,
        }

    async def create_room(
        self, request: room_pb.CreateRoomRequest, grants: Grants | None
    ) -> models.Room:
        """Create a room; a live one is returned as it is."""
        _require_create(grants)
        if request.HasField("egress"):
            raise LkpyError(Code.INTERNAL, "egress not connected (redis required)")
        limit = self._limits.max_room_name_length
        if limit and len(request.name.encode()) > limit:
            raise LkpyError(
                Code.INVALID_ARGUMENT, f"room name length exceeds limits: max length {limit}"
            )
        limit = self._limits.max_metadata_size
        if limit and len(request.metadata.encode()) > limit:
            raise LkpyError(Code.INVALID_ARGUMENT, f"metadata size exceeds limits {limit}")
        name = RoomName(request.name)
        wanted = NodeID(request.node_id) if request.node_id else None
        self._allocator.select_room_node(name, wanted)
        return self._rooms.create_room(request)

    async def list_rooms(
        self, request: room_pb.ListRoomsRequest, grants: Grants | None
    ) -> room_pb.ListRoomsResponse:
        """All rooms, or those named."""
        _require_list(grants)
        return room_pb.ListRoomsResponse(rooms=self._store.list_rooms(request.names))

    async def delete_room(
        self, request: room_pb.DeleteRoomRequest, grants: Grants | None
    ) -> room_pb.DeleteRoomResponse:
        """Send everybody away and forget the room."""
        _require_create(grants)
        await self._rooms.delete_room(RoomName(request.room))
        return room_pb.DeleteRoomResponse()

    async def list_participants(
        self, request: room_pb.ListParticipantsRequest, grants: Grants | None
    ) -> room_pb.ListParticipantsResponse:
        """Everybody in a room; nobody for a room that does not exist."""
        _require_admin(grants, request.room)
        participants = self._store.list_participants(RoomName(request.room))
        return room_pb.ListParticipantsResponse(participants=participants)

    async def get_participant(
        self, request: room_pb.RoomParticipantIdentity, grants: Grants | None
    ) -> models.ParticipantInfo:
        """One participant."""
        _require_admin(grants, request.room)
        return self._stored(request)

    async def remove_participant(
        self, request: room_pb.RoomParticipantIdentity, grants: Grants | None
    ) -> room_pb.RemoveParticipantResponse:
        """Send one participant away. Its token stays valid."""
        _require_admin(grants, request.room)
        self._stored(request)
        await self._rooms.remove_participant(
            RoomName(request.room), ParticipantIdentity(request.identity)
        )
        return room_pb.RemoveParticipantResponse()

    async def mute_published_track(
        self, request: room_pb.MuteRoomTrackRequest, grants: Grants | None
    ) -> room_pb.MuteRoomTrackResponse:
        """Mute a track; unmute it only where the configuration allows that."""
        _require_admin(grants, request.room)
        name, identity = RoomName(request.room), ParticipantIdentity(request.identity)
        if not request.muted and not self._enable_remote_unmute and self._present(name, identity):
            raise LkpyError(Code.FAILED_PRECONDITION, "remote unmute not enabled")
        track = await self._rooms.mute_published_track(
            name, identity, request.track_sid, request.muted
        )
        return room_pb.MuteRoomTrackResponse(track=track)

    async def send_data(
        self, request: room_pb.SendDataRequest, grants: Grants | None
    ) -> room_pb.SendDataResponse:
        """Send a packet to everybody in a room, or to some."""
        _require_admin(grants, request.room)
        if len(request.nonce) not in (0, _NONCE_LENGTH):
            raise LkpyError(
                Code.INVALID_ARGUMENT,
                f"nonce should be 16-bytes or not present, got: {len(request.nonce)} bytes",
            )
        await self._rooms.send_data(request)
        return room_pb.SendDataResponse()

    def _present(self, name: RoomName, identity: ParticipantIdentity) -> bool:
        return self._store.load_participant(name, identity) is not None

    def _stored(self, request: room_pb.RoomParticipantIdentity) -> models.ParticipantInfo:
        found = self._store.load_participant(
            RoomName(request.room), ParticipantIdentity(request.identity)
        )
        if found is None:
            raise LkpyError(Code.NOT_FOUND, PARTICIPANT_NOT_FOUND)
        return found
