"""The rooms of this node: who enters which, and what the outside may do to them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from livekit.protocol import models, rtc
from livekit.protocol import room as room_pb

from lkpy.clock import Clock
from lkpy.errors import Blame, Code, LkpyError
from lkpy.ids import ParticipantIdentity, RoomName
from lkpy.limits import Limits, attributes_size
from lkpy.server.agents.workers import Workers
from lkpy.server.rooms.allocator import ROOM_NOT_FOUND, RoomAllocator
from lkpy.server.rooms.dispatches import Dispatches
from lkpy.server.rooms.jobs import JobOptions, RoomJobs
from lkpy.server.rooms.managed_room import ManagedRoom, ManagedRoomApi, ManagedRoomWhip
from lkpy.server.rooms.store import LocalStore
from lkpy.server.rtc.options import RoomSettings
from lkpy.server.rtc.session import MessageSink, MessageSource, StartSession
from lkpy.server.rtc.signals import refuse_resume
from lkpy.server.rtc.sliced_sdp import forget, parse_in_slices
from lkpy.server.telemetry.log import fields

logger = logging.getLogger(__name__)


_CLOSED_AT_ONCE = 64
"""Rooms; each lets others go first, so that more of them would only wait for each other."""

_TELL_AGENTS_NOTHING = JobOptions()

R_co = TypeVar("R_co", bound=ManagedRoom, covariant=True)


class RoomManager(Generic[R_co]):
    """Owns the map from names to live rooms; the rooms own everything else."""

    def __init__(
        self,
        allocator: RoomAllocator,
        store: LocalStore,
        factory: Callable[[models.Room, RoomSettings], R_co],
        *,
        limits: Limits,
        clock: Clock,
        keep_node: Callable[[RoomName], None],
        forget_node: Callable[[RoomName], None],
        workers: Workers,
        jobs: JobOptions = _TELL_AGENTS_NOTHING,
    ) -> None:
        """``keep_node`` notes that a room is on this node, ``forget_node`` that it is on none.
        ``workers`` do what rooms ask of agents."""
        self._allocator = allocator
        self._store = store
        self._factory = factory
        self._limits = limits
        self._keep_node = keep_node
        self._forget_node = forget_node
        self._workers = workers
        self._job_options = jobs
        self._clock = clock
        self.ended = 0
        """Participants and rooms that are not there any more."""
        self._rooms: dict[RoomName, R_co] = {}
        self._dispatches: dict[RoomName, Dispatches] = {}

    # -- sessions -------------------------------------------------------------------------------

    async def start_session(
        self, start: StartSession, sink: MessageSink, source: MessageSource
    ) -> None:
        """Join step 7: resume in the live room, or get or create the room and enter it.

        Whoever resumes but is not there is told to join afresh, by a first frame of ``leave``.
        """
        try:
            self._check_sizes(start)
            if start.publisher_offer is not None:
                await parse_in_slices(start.publisher_offer.sdp)
            if start.reconnect:
                await self._resume(start, sink, source)
            else:
                await self._join(start, sink, source)
        finally:
            self._forget_unused_place(start.room)
            if start.publisher_offer is not None:
                forget(start.publisher_offer.sdp)

    async def _join(self, start: StartSession, sink: MessageSink, source: MessageSource) -> None:
        """A room that ends while somebody enters is followed by another, once."""
        room = self._get_or_create(start.create_room)
        try:
            await room.join(start, sink, source)
        except LkpyError:
            if not room.closed.is_set():
                raise
            await self._get_or_create(start.create_room).join(start, sink, source)

    async def _resume(self, start: StartSession, sink: MessageSink, source: MessageSource) -> None:
        room = self.room(start.room)
        if room is not None and room.has(start.identity):
            try:
                await room.join(start, sink, source)
            except LkpyError:
                # A room that ended meanwhile is one that the participant is not in.
                if not room.closed.is_set():
                    raise
            else:
                return
        logger.info(
            "could not resume an absent participant",
            extra=fields(room=start.room, participant=start.identity, connID=start.connection_id),
        )
        refuse_resume(sink, start.client)
        source.close("resume refused")

    def _check_sizes(self, start: StartSession) -> None:
        if self._limits.max_metadata_size and (
            len(start.grants.metadata.encode()) > self._limits.max_metadata_size
        ):
            raise LkpyError(Code.INVALID_ARGUMENT, "metadata size exceeds limits")
        size = attributes_size(start.grants.attributes)
        if self._limits.max_attributes_size and size > self._limits.max_attributes_size:
            raise LkpyError(Code.INVALID_ARGUMENT, "attribute size exceeds limits")

    # -- rooms ----------------------------------------------------------------------------------

    @property
    def rooms(self) -> list[R_co]:
        """The live rooms."""
        return [room for room in self._rooms.values() if not room.closed.is_set()]

    def room(self, name: RoomName) -> R_co | None:
        """A live room."""
        room = self._rooms.get(name)
        return None if room is None or room.closed.is_set() else room

    def create_room(self, request: room_pb.CreateRoomRequest) -> models.Room:
        """A room that is live is returned as it is; the request changes nothing."""
        try:
            return self._get_or_create(request).to_proto()
        finally:
            self._forget_unused_place(RoomName(request.name))

    async def delete_room(self, name: RoomName) -> None:
        """Close a room and forget it. Raises ``not_found``."""
        if self._store.load_room(name) is None:
            raise LkpyError(Code.NOT_FOUND, ROOM_NOT_FOUND)
        room = self.room(name)
        if room is not None:
            await room.close(models.DisconnectReason.ROOM_DELETED)
        self._forget(name, room)

    def api(self, name: RoomName) -> ManagedRoomApi:
        """To act on a room. Raises ``unavailable`` for one that is not live."""
        return self._live(name).api

    def api_of(self, name: RoomName, identity: ParticipantIdentity) -> ManagedRoomApi:
        """To act on a participant. Raises ``unavailable`` when it is not there: on LiveKit's bus
        nobody answers for it."""
        if self._store.load_participant(name, identity) is None:
            raise no_response()
        return self._live(name).api

    def whip(self, name: RoomName) -> ManagedRoomWhip:
        """The WHIP sessions of a room. Raises ``not_found`` for one that is not live."""
        room = self.room(name)
        if room is None:
            raise LkpyError(Code.NOT_FOUND, ROOM_NOT_FOUND)
        return room.whip

    def participants(self, name: RoomName) -> Sequence[models.ParticipantInfo]:
        """Who is in a room; nobody if it is not live."""
        room = self.room(name)
        return () if room is None else room.participants()

    def dispatches(self, name: RoomName) -> Dispatches:
        """The agents of a room. Raises ``unavailable`` for one that is not live."""
        self._live(name)
        return self._dispatches[name]

    async def close(self, reason: models.DisconnectReason) -> None:
        """Close every room."""
        rooms = list(self._rooms.items())
        for some in (
            rooms[at : at + _CLOSED_AT_ONCE] for at in range(0, len(rooms), _CLOSED_AT_ONCE)
        ):
            await asyncio.gather(*(room.close(reason) for _, room in some))
            for name, room in some:
                self._forget(name, room)

    async def move_away(self, pause_s: float) -> None:
        """Close the rooms one after another, whose clients shall connect again elsewhere: not all
        at the same moment."""
        for name, room in list(self._rooms.items()):
            action = rtc.LeaveRequest.Action.RECONNECT
            await room.close(models.DisconnectReason.SERVER_SHUTDOWN, action)
            self._forget(name, room)
            await asyncio.sleep(pause_s)

    def num_participants(self) -> int:
        """Participants of all rooms, whatever their kind."""
        return sum(room.size for room in self.rooms)

    def _live(self, name: RoomName) -> R_co:
        room = self.room(name)
        if room is None:
            raise no_response()
        return room

    def _get_or_create(self, request: room_pb.CreateRoomRequest) -> R_co:
        name = RoomName(request.name)
        room = self.room(name)
        if room is not None:
            return room
        request = self._allocator.with_preset(request)
        settings = self._allocator.room_settings(request)
        room = self._factory(self._allocator.create_room(request), settings)
        self._rooms[name] = room
        # A room is placed before it is there. Another session may have failed meanwhile and taken
        # the place for unused.
        self._keep_node(name)
        jobs = RoomJobs(self._workers, room, self._job_options)
        dispatches = self._dispatches[name] = Dispatches(name, self._clock, jobs)
        dispatches.add_room_agents(request.agents)
        room.start()
        dispatches.start()
        if request.HasField("egress"):
            logger.warning(
                "nothing is recorded: there is no egress service", extra=fields(room=name)
            )
        logger.info("room started", extra=fields(room=name, roomID=room.to_proto().sid))
        return room

    def _forget(self, name: RoomName, room: ManagedRoom | None) -> None:
        """Drop a closed room, unless another of the same name has begun."""
        current = self._rooms.get(name)
        if current is not None and current is not room:
            return
        self._rooms.pop(name, None)
        dispatches = self._dispatches.pop(name, None)
        if dispatches is not None:
            dispatches.close()
        self._store.delete_room(name)
        self._forget_node(name)

    def _forget_unused_place(self, name: RoomName) -> None:
        """A room is placed before it is there. Where it did not come to be, its name would be kept
        for ever, and let clients in while the node drains."""
        if name not in self._rooms:
            self._forget_node(name)

    # -- RoomObserver ---------------------------------------------------------------------------

    def room_updated(self, room: ManagedRoom) -> None:
        """Keep the stored record current."""
        info = room.to_proto()
        if self._rooms.get(RoomName(info.name)) is room:
            self._store.store_room(info)

    def participant_changed(self, room: ManagedRoom, info: models.ParticipantInfo) -> None:
        """Keep the stored participant current, and have done what it is a reason for."""
        name = RoomName(room.to_proto().name)
        self._store.store_participant(name, info)
        if self._rooms.get(name) is room:
            self._dispatches[name].participant_changed(info)

    def participant_left(self, room: ManagedRoom, info: models.ParticipantInfo) -> None:
        """Forget a participant."""
        self.ended += 1
        name = RoomName(room.to_proto().name)
        self._store.delete_participant(name, info)
        if self._rooms.get(name) is room:
            self._dispatches[name].participant_left(info)

    def room_closed(self, room: ManagedRoom) -> None:
        """Forget a room that ended by itself."""
        self.ended += 1
        name = RoomName(room.to_proto().name)
        logger.info("room closed", extra=fields(room=name))
        self._forget(name, room)


def no_response() -> LkpyError:
    """Nobody is there who could answer: on LiveKit's bus nobody listens for what is not there, so
    this is not ``not_found``."""
    return LkpyError(Code.UNAVAILABLE, "no response from servers", blame=Blame.CLIENT)
