"""Checks a join before anything is started, in LiveKit's order and with its answers."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

from aiohttp import web
from livekit.protocol import room as room_pb

from lkpy.auth.grants import Grants, VideoGrant
from lkpy.auth.token import Verified
from lkpy.errors import Code, LkpyError
from lkpy.ids import (
    CONNECTION_PREFIX,
    ConnectionID,
    ParticipantID,
    ParticipantIdentity,
    RoomName,
    new_id,
)
from lkpy.limits import Limits
from lkpy.server.http.auth import PermissionDenied
from lkpy.server.rooms.allocator import set_room_configuration
from lkpy.server.rtc.session import StartSession
from lkpy.server.telemetry.log import fields
from lkpy.server.telemetry.redact import holds_secrets
from lkpy.signal import join_request, user_agent
from lkpy.signal.join_request import JoinParameters

logger = logging.getLogger(__name__)

NO_PERMISSION = "no permissions to access the room"


class Allocator(Protocol):
    """The part of the room allocator that this needs."""

    def validate_create_room(self, name: RoomName, grants: Grants) -> None:
        """Refuse a room that does not exist and may not be created."""

    def check_node_limits(self) -> None:
        """Refuse when the node is full."""


def validate(
    request: web.Request,
    values: Mapping[str, str],
    token: Verified | None,
    allocator: Allocator,
    limits: Limits,
    *,
    required: bool,
    strict: bool,
) -> StartSession:
    """Turn a request with these parameters into a session.

    Raises the :class:`LkpyError` that LiveKit answers.
    """
    if token is None or token.grants.video is None:
        raise PermissionDenied(NO_PERMISSION)
    parameters = join_request.parse(values, required=required, strict=strict)
    grants, video = token.grants, token.grants.video
    if not video.room_join:
        raise PermissionDenied
    room = RoomName(video.room)
    check_identity(grants.identity, limits)
    if not room:
        raise LkpyError(Code.INVALID_ARGUMENT, "no room name")
    check_room_length(room, limits)
    if parameters.publish:
        grants = _publish_only(grants, video, parameters.publish)
    allocator.validate_create_room(room, grants)
    allocator.check_node_limits()
    grants = _with_own_metadata(grants, video, parameters)
    warn_of_credentials(grants, room)

    create_room = room_pb.CreateRoomRequest(name=room, room_preset=grants.room_preset)
    set_room_configuration(create_room, grants.room_config)
    client = parameters.client
    client.address = client_address(request)
    user_agent.augment(client, request.headers.get("User-Agent", ""))
    sid = parameters.participant_sid
    return StartSession(
        room=room,
        identity=ParticipantIdentity(grants.identity),
        grants=grants,
        connection_id=ConnectionID(new_id(CONNECTION_PREFIX)),
        name=grants.name,
        participant_id=ParticipantID(sid) if sid else None,
        reconnect=parameters.reconnect,
        reconnect_reason=parameters.reconnect_reason,
        auto_subscribe=parameters.auto_subscribe,
        auto_subscribe_data_track=parameters.auto_subscribe_data_track,
        adaptive_stream=parameters.adaptive_stream,
        subscriber_allow_pause=parameters.subscriber_allow_pause,
        disable_ice_lite=parameters.disable_ice_lite,
        client=client,
        create_room=create_room,
        single_pc=parameters.single_pc,
        add_track_requests=parameters.add_track_requests,
        publisher_offer=parameters.publisher_offer,
        api_key=token.api_key,
    )


def warn_of_credentials(grants: Grants, room: RoomName) -> None:
    """A token is no secret from its holder: whoever joins with it can read the credentials of the
    storage that its room is recorded to."""
    if grants.room_config is not None and holds_secrets(grants.room_config):
        logger.warning(
            "a token carries credentials that its client can read: use a room preset",
            extra=fields(room=room, participant=grants.identity),
        )


def client_address(request: web.Request) -> str:
    """The client's address as a proxy in front reports it, else the socket's."""
    for header in ("CF-Connecting-IP", "X-Forwarded-For", "X-Real-IP"):
        value = request.headers.get(header)
        if value:
            return value
    return request.remote or ""


def check_identity(identity: str, limits: Limits) -> None:
    """Raise ``invalid_argument`` for an identity that nobody may have."""
    if not identity:
        raise LkpyError(Code.INVALID_ARGUMENT, "identity cannot be empty")
    limit = limits.max_participant_identity_length
    if limit and len(identity.encode()) > limit:
        raise LkpyError(
            Code.INVALID_ARGUMENT,
            f"participant identity length exceeds limits: max length {limit}",
        )


def check_room_length(room: RoomName, limits: Limits) -> None:
    """Raise ``invalid_argument`` for a name that no room may have."""
    limit = limits.max_room_name_length
    if limit and len(room.encode()) > limit:
        raise LkpyError(
            Code.INVALID_ARGUMENT, f"room name length exceeds limits: max length {limit}"
        )


def _publish_only(grants: Grants, video: VideoGrant, suffix: str) -> Grants:
    """A second connection of the same participant that only publishes."""
    if not video.get_can_publish():
        raise PermissionDenied(NO_PERMISSION)
    return replace(grants.with_video(can_subscribe=False), identity=f"{grants.identity}#{suffix}")


def _with_own_metadata(grants: Grants, video: VideoGrant, parameters: JoinParameters) -> Grants:
    """Let the client describe itself, where its token allows that."""
    if not parameters.metadata and not parameters.attributes:
        return grants
    if not video.get_can_update_own_metadata():
        raise PermissionDenied(NO_PERMISSION)
    # An empty value would delete an attribute that the token set.
    own = {key: value for key, value in parameters.attributes.items() if value}
    return replace(
        grants,
        metadata=parameters.metadata or grants.metadata,
        attributes={**grants.attributes, **own},
    )
