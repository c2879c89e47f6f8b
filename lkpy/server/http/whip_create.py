"""Checks a WHIP offer before anything is started, in LiveKit's order and with its answers."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web
from livekit.protocol import models, rtc
from livekit.protocol import room as room_pb
from pydantic import BaseModel, ValidationError

from lkpy.auth.token import Verified
from lkpy.baseline import SIGNAL_PROTOCOL
from lkpy.errors import Code, LkpyError
from lkpy.ids import CONNECTION_PREFIX, ConnectionID, ParticipantIdentity, RoomName, new_id
from lkpy.limits import MAX_SUBSCRIPTIONS, WHIP_BODY_MAX, Limits
from lkpy.sdp import SdpError, SessionDescription
from lkpy.server.http import join
from lkpy.server.http.auth import PermissionDenied
from lkpy.server.rooms.allocator import set_room_configuration
from lkpy.server.rtc import one_shot
from lkpy.server.rtc.one_shot import TrackName
from lkpy.server.rtc.session import StartSession
from lkpy.signal import join_request, user_agent

CLIENT_INFO = "X-LiveKit-ClientInfo"


class _ClientInfo(BaseModel):
    """What is read of the header :data:`CLIENT_INFO`."""

    subscribedParticipantTrackNames: dict[str, list[str]] = {}


class Refused(LkpyError):
    """An answer whose status no code has."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(Code.INVALID_ARGUMENT, message)
        self._status = status

    @property
    def http_status(self) -> int:
        """The status."""
        return self._status


def room_of(token: Verified | None) -> tuple[Verified, RoomName]:
    """The room that a token lets its holder into. Raises ``unauthenticated``."""
    if token is None or token.grants.video is None:
        raise PermissionDenied(join.NO_PERMISSION)
    if not token.grants.video.room_join:
        raise PermissionDenied
    if not token.grants.video.room:
        raise PermissionDenied("room name cannot be empty")
    return token, RoomName(token.grants.video.room)


def check_size(body: bytes) -> None:
    """Raise what LiveKit answers to a body that is too large."""
    if len(body) > WHIP_BODY_MAX:
        raise Refused(413, f"request body exceeds {WHIP_BODY_MAX} bytes")


def validate(
    request: web.Request,
    values: Mapping[str, str],
    token: Verified | None,
    body: bytes,
    limits: Limits,
) -> StartSession:
    """Turn an offer into a session. Raises the :class:`LkpyError` that LiveKit answers."""
    holder, room = room_of(token)
    grants = holder.grants
    join.check_room_length(room, limits)
    join.check_identity(grants.identity, limits)
    wanted = _wanted(request.headers.get(CLIENT_INFO, ""))
    sdp, offer = _offer(body)
    join.warn_of_credentials(grants, room)

    create_room = room_pb.CreateRoomRequest(name=room, room_preset=grants.room_preset)
    set_room_configuration(create_room, grants.room_config)
    return StartSession(
        room=room,
        identity=ParticipantIdentity(grants.identity),
        grants=grants,
        connection_id=ConnectionID(new_id(CONNECTION_PREFIX)),
        name=grants.name,
        # What there is room for, the offer says; later tracks could not be negotiated.
        auto_subscribe=False,
        disable_ice_lite=True,
        client=_client(request, values),
        create_room=create_room,
        single_pc=True,
        add_track_requests=one_shot.track_requests(offer),
        publisher_offer=rtc.SessionDescription(type="offer", sdp=sdp),
        one_shot=one_shot.one_shot(offer, wanted),
        api_key=holder.api_key,
    )


def _client(request: web.Request, values: Mapping[str, str]) -> models.ClientInfo:
    client = join_request.parse_query(values, strict=False).client
    # Most WHIP clients say nothing of themselves, and all do what the newest protocol asks.
    client.protocol = client.protocol or SIGNAL_PROTOCOL
    client.address = join.client_address(request)
    user_agent.augment(client, request.headers.get("User-Agent", ""))
    return client


def _offer(body: bytes) -> tuple[str, SessionDescription]:
    check_size(body)
    if not body:
        raise LkpyError(Code.INVALID_ARGUMENT, "body does not have SDP offer")
    try:
        sdp = body.decode()
        offer = SessionDescription.parse(sdp)
        one_shot.check(offer)
    except UnicodeDecodeError as error:
        raise SdpError(f"malformed SDP offer: not UTF-8 at byte {error.start}") from None
    except SdpError as error:
        raise SdpError(f"malformed SDP offer: {error.message}") from None
    return sdp, offer


def _wanted(header: str) -> frozenset[TrackName]:
    """Tracks that the answer shall have: ``{"subscribedParticipantTrackNames": {identity:
    [name]}}``."""
    if not header:
        return frozenset()
    try:
        tracks = _ClientInfo.model_validate_json(header).subscribedParticipantTrackNames
    except ValidationError as error:
        first = error.errors()[0]
        what = ": ".join([*map(str, first["loc"]), first["msg"]])
        raise LkpyError(
            Code.INVALID_ARGUMENT, f"malformed json in client info header: {what}"
        ) from None
    names = frozenset((identity, name) for identity, names in tracks.items() for name in names)
    if len(names) > MAX_SUBSCRIPTIONS:
        raise LkpyError(
            Code.INVALID_ARGUMENT, f"client info header names more than {MAX_SUBSCRIPTIONS} tracks"
        )
    return names
