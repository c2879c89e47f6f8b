"""Where rooms go and what they begin with."""

from __future__ import annotations

import logging
import secrets
from typing import Protocol

from livekit.protocol import models
from livekit.protocol import room as room_pb

from lkpy.auth.grants import Grants
from lkpy.clock import Clock
from lkpy.errors import Blame, Code, LkpyError
from lkpy.ids import ROOM_PREFIX, NodeID, RoomName, new_id
from lkpy.limits import Limits
from lkpy.server.config import RoomConfig
from lkpy.server.rooms.store import LocalStore
from lkpy.server.rtc.options import PlayoutDelay, RoomSettings
from lkpy.server.telemetry.log import fields

logger = logging.getLogger(__name__)

ROOM_NOT_FOUND = "requested room does not exist"
"""Clients look for these words in a 404 and then do not fall back to the older path."""


class NodeMap(Protocol):
    """The part of the router that placement needs."""

    def node_for_room(self, room: RoomName) -> NodeID | None:
        """The node that a room is on, if it is on one."""

    def set_node_for_room(self, room: RoomName, node_id: NodeID) -> None:
        """Place a room."""

    def available_nodes(self) -> list[NodeID]:
        """Nodes that take rooms."""

    def num_tracks(self) -> int:
        """Tracks that this node receives and sends."""

    def bytes_per_sec(self) -> float:
        """Media that this node receives and sends."""


class RoomAllocator:
    """Decides a room's node and its first record."""

    def __init__(
        self, config: RoomConfig, limits: Limits, store: LocalStore, nodes: NodeMap, clock: Clock
    ) -> None:
        self._config = config
        self._limits = limits
        self._store = store
        self._nodes = nodes
        self._clock = clock

    @property
    def auto_create(self) -> bool:
        """Rooms come into being when somebody enters them."""
        return self._config.auto_create

    def select_room_node(self, name: RoomName, wanted: NodeID | None = None) -> NodeID:
        """Join step 3: keep the room's node, else choose one that takes rooms."""
        existing = self._nodes.node_for_room(name)
        if existing is not None:
            self.check_node_limits()
            return existing
        available = self._nodes.available_nodes()
        if not available:
            raise LkpyError(
                Code.UNAVAILABLE, "could not find any available nodes", blame=Blame.OPERATOR
            )
        # One node has every room, whichever was wanted: livekit-server does not object either.
        chosen = wanted if wanted in available else available[0]
        self._nodes.set_node_for_room(name, chosen)
        logger.debug("selected node for room", extra=fields(room=name, node=chosen))
        return chosen

    def check_node_limits(self) -> None:
        """Refuse when the node is over its configured limits."""
        tracks, rate = self._limits.num_tracks, self._limits.bytes_per_sec
        if (tracks and self._nodes.num_tracks() >= tracks) or (
            rate and self._nodes.bytes_per_sec() >= rate
        ):
            raise LkpyError(
                Code.UNAVAILABLE, "node has exceeded its configured limit", blame=Blame.OPERATOR
            )

    def validate_create_room(self, name: RoomName, grants: Grants) -> None:
        """Without ``room.auto_create``, only holders of roomCreate open rooms by joining."""
        may_create = grants.video is not None and grants.video.room_create
        if self._config.auto_create or may_create:
            return
        if self._store.load_room(name) is None:
            raise LkpyError(Code.NOT_FOUND, ROOM_NOT_FOUND)

    def create_room(self, request: room_pb.CreateRoomRequest) -> models.Room:
        """Make the room's record, or update the stored one with what the request says."""
        stored = self._store.load_room(RoomName(request.name))
        info = models.Room()
        if stored is not None:
            info.CopyFrom(stored)
        else:
            self._begin(info, request.name)
        for name in ("empty_timeout", "departure_timeout", "max_participants", "metadata"):
            value = getattr(request, name)
            if value:
                setattr(info, name, value)
        self._store.store_room(info)
        return info

    def room_settings(self, request: room_pb.CreateRoomRequest) -> RoomSettings:
        """What a room that begins by this request is like, beside its record."""
        return RoomSettings(
            sync_streams=request.sync_streams or self._config.sync_streams,
            playout_delay=self._playout_delay(request),
        )

    def _playout_delay(self, request: room_pb.CreateRoomRequest) -> PlayoutDelay | None:
        if request.min_playout_delay or request.max_playout_delay:
            return PlayoutDelay.of(request.min_playout_delay, request.max_playout_delay)
        default = self._config.playout_delay
        return PlayoutDelay.of(default.min, default.max) if default.enabled else None

    def _begin(self, info: models.Room, name: str) -> None:
        now = self._clock.wall()
        info.sid = new_id(ROOM_PREFIX)
        info.name = name
        info.creation_time = int(now)
        info.creation_time_ms = int(now * 1000)
        info.turn_password = secrets.token_urlsafe(32)
        info.empty_timeout = self._config.empty_timeout
        info.departure_timeout = self._config.departure_timeout
        info.max_participants = self._config.max_participants
        for codec in self._config.enabled_codecs:
            info.enabled_codecs.add(mime=codec.mime, fmtp_line=codec.fmtp_line)

    def with_preset(self, request: room_pb.CreateRoomRequest) -> room_pb.CreateRoomRequest:
        """The request, with what it leaves out taken from the preset that it names. Raises
        ``invalid_argument`` for one that the configuration does not have."""
        if not request.room_preset:
            return request
        preset = self._config.room_configurations.get(request.room_preset)
        if preset is None:
            raise LkpyError(
                Code.INVALID_ARGUMENT, "unknown room configuration in create room request"
            )
        return _merge(request, preset)


def _merge(
    request: room_pb.CreateRoomRequest, preset: room_pb.RoomConfiguration
) -> room_pb.CreateRoomRequest:
    """The request, with its zero fields taken from a ``room_configurations`` entry: a list or a
    message is taken as a whole."""
    configuration = room_pb.RoomConfiguration()
    configuration.CopyFrom(preset)
    for given, _ in request.ListFields():
        if given.name in configuration.DESCRIPTOR.fields_by_name:
            configuration.ClearField(given.name)
    merged = room_pb.CreateRoomRequest()
    merged.CopyFrom(request)
    set_room_configuration(merged, configuration)
    return merged


def set_room_configuration(
    request: room_pb.CreateRoomRequest, configuration: room_pb.RoomConfiguration | None
) -> None:
    """Copy a ``RoomConfiguration`` (of a token or a preset) into a create request."""
    if configuration is None:
        return
    for field, value in configuration.ListFields():
        if field.name == "name" or field.name not in request.DESCRIPTOR.fields_by_name:
            continue
        if field.message_type is not None and not field.is_repeated:
            getattr(request, field.name).CopyFrom(value)
        elif field.is_repeated:
            getattr(request, field.name).MergeFrom(value)
        else:
            setattr(request, field.name, value)
