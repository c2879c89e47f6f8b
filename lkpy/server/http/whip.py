"""WHIP (RFC 9725): ``/whip/v1`` creates a session, ``/whip/v1/<participant sid>`` is the session
(livekit-server ``pkg/service/whipservice.go``)."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Iterable, Mapping
from typing import Protocol

from aiohttp import hdrs, web
from livekit.protocol import models, rtc
from multidict import CIMultiDict

from lkpy.auth.grants import Grants
from lkpy.auth.token import Verified
from lkpy.errors import LkpyError
from lkpy.ids import NodeID, ParticipantID, ParticipantIdentity, RoomName
from lkpy.limits import WHIP_BODY_MAX, WHIP_TRACKS_POLL_S, WHIP_TRACKS_S, Limits
from lkpy.sdp import IceFragment, SdpError, SessionDescription
from lkpy.server.http import form, whip_create
from lkpy.server.http.auth import PermissionDenied
from lkpy.server.http.service import not_found, path_of
from lkpy.server.http.whip_create import Refused
from lkpy.server.rooms.managed_room import ManagedRoomWhip
from lkpy.server.routing.admission import Admission, Overloaded
from lkpy.server.routing.channel import MessageChannel
from lkpy.server.rtc.one_shot import OneShotSink, TrackName, no_section
from lkpy.server.rtc.session import MessageSink, MessageSource, StartSession
from lkpy.server.rtc.sliced_sdp import forget, parse_in_slices
from lkpy.server.telemetry.log import fields

logger = logging.getLogger(__name__)

PATH = "/whip/v1"
SDP, FRAGMENT = "application/sdp", "application/trickle-ice-sdpfrag"


class Allocator(Protocol):
    """The part of the room allocator that this needs."""

    def validate_create_room(self, name: RoomName, grants: Grants) -> None:
        """Refuse a room that does not exist and may not be created."""

    def select_room_node(self, name: RoomName, wanted: NodeID | None = None) -> NodeID:
        """Place the room."""


class Rooms(Protocol):
    """The part of the room manager that this needs."""

    async def start_session(
        self, start: StartSession, sink: MessageSink, source: MessageSource
    ) -> None:
        """Enter a room."""

    def participants(self, name: RoomName) -> Iterable[models.ParticipantInfo]:
        """Who is in a room; nobody if it is not live."""

    def whip(self, name: RoomName) -> ManagedRoomWhip:
        """The WHIP sessions of a room. Raises ``not_found`` for one that is not live."""


class WhipService:
    """The endpoint and its sessions. Errors are JSON objects with one member, ``error``."""

    def __init__(
        self, rooms: Rooms, allocator: Allocator, limits: Limits, admission: Admission
    ) -> None:
        self._rooms = rooms
        self._admission = admission
        self._allocator = allocator
        self._limits = limits

    async def endpoint(self, request: web.Request, token: Verified | None) -> web.StreamResponse:
        """``/whip/v1``."""
        match request.method:
            case "GET" | "HEAD":
                return web.Response(status=204)
            case "OPTIONS":
                return _options()
            case "POST":
                return await self._answer(self._create(request, token), request, token)
            case _:
                return await not_found(request, token)

    async def resource(self, request: web.Request, token: Verified | None) -> web.StreamResponse:
        """``/whip/v1/<sid>``."""
        sid = ParticipantID(path_of(request).removeprefix(f"{PATH}/"))
        if not sid or "/" in sid:
            return await not_found(request, token)
        match request.method:
            case "GET" | "HEAD":
                return web.Response(status=204)
            case "PATCH":
                return await self._answer(self._patch(request, token, sid), request, token)
            case "DELETE":
                return await self._answer(self._delete(token, sid), request, token)
            case _:
                return await not_found(request, token)

    async def _answer(
        self, work: Awaitable[web.Response], request: web.Request, token: Verified | None
    ) -> web.Response:
        try:
            return await work
        except LkpyError as error:
            video = None if token is None else token.grants.video
            logger.warning(
                "refused a WHIP request",
                extra=fields(
                    room=video.room if video is not None else None,
                    participant=token.grants.identity if token is not None else None,
                    method=request.method,
                    status=error.http_status,
                    error=error.message,
                ),
            )
            body = json.dumps({"error": error.message}, separators=(",", ":"))
            answer = _body(error.http_status, f"{body}\n", "application/json")
            if isinstance(error, Overloaded):
                answer.headers["Retry-After"] = error.retry_after
            return answer

    # -- create ---------------------------------------------------------------------------------

    async def _create(self, request: web.Request, token: Verified | None) -> web.Response:
        _check_content_type(request, SDP)
        values, body = await form.values(request), await request.read()
        start = await self._validate(request, values, token, body)
        self._allocator.validate_create_room(start.room, start.grants)
        if start.one_shot is not None and start.one_shot.wanted:
            await self._wait_for(start.room, start.one_shot.wanted)
        async with self._admission.turn(lambda: request.transport is None):
            join, answer = await self._begin(start)
        sid = ParticipantID(join.participant.sid)
        description = SessionDescription.parse(answer.sdp)
        used = next(description.active_media(), None)
        if used is None:
            await self._rooms.whip(start.room).delete(start.identity, sid)
            offer = start.publisher_offer.sdp if start.publisher_offer is not None else ""
            raise Refused(400, no_section(offer))
        logger.info(
            "WHIP session began",
            extra=fields(
                room=start.room, participant=start.identity, pID=sid, connID=start.connection_id
            ),
        )
        headers: CIMultiDict[str] = CIMultiDict(
            {
                hdrs.LOCATION: f"{PATH}/{sid}",
                hdrs.ETAG: description.transport_of(used).ice_ufrag or "",
                "Accept-Patch": FRAGMENT,
            }
        )
        for server in join.ice_servers:
            headers.extend((hdrs.LINK, link) for link in _links(server))
        return _body(201, answer.sdp, SDP, headers)

    async def _validate(
        self, request: web.Request, values: Mapping[str, str], token: Verified | None, body: bytes
    ) -> StartSession:
        """With a large offer others have their turn meanwhile."""
        offer = body.decode(errors="replace") if len(body) <= WHIP_BODY_MAX else ""
        try:
            if token is not None:
                await parse_in_slices(offer)
            return whip_create.validate(request, values, token, body, self._limits)
        finally:
            forget(offer)

    async def _begin(self, start: StartSession) -> tuple[rtc.JoinResponse, rtc.SessionDescription]:
        self._allocator.select_room_node(start.room)
        sink = OneShotSink()
        source: MessageChannel[rtc.SignalRequest] = MessageChannel("WHIP request")
        try:
            await self._rooms.start_session(start, sink, source)
        except LkpyError as error:
            raise Refused(503, error.message) from error
        if sink.join is None or sink.answer is None:
            raise Refused(503, "the room did not answer the offer")
        return sink.join, sink.answer

    async def _wait_for(self, room: RoomName, wanted: frozenset[TrackName]) -> None:
        """Wait until the tracks are there that the client's only answer shall have."""
        missing = wanted
        try:
            async with asyncio.timeout(WHIP_TRACKS_S):
                while missing := wanted - self._published(room):  # noqa: ASYNC110 - rooms tell nobody
                    await asyncio.sleep(WHIP_TRACKS_POLL_S)
        except TimeoutError:
            identity, name = min(missing)
            raise Refused(
                503, f"could not subscribe to tracks: {identity} publishes no {name}"
            ) from None

    def _published(self, room: RoomName) -> frozenset[TrackName]:
        return frozenset(
            (participant.identity, track.name)
            for participant in self._rooms.participants(room)
            for track in participant.tracks
        )

    # -- the session ----------------------------------------------------------------------------

    async def _patch(
        self, request: web.Request, token: Verified | None, sid: ParticipantID
    ) -> web.Response:
        _check_content_type(request, FRAGMENT)
        tag = request.headers.get(hdrs.IF_MATCH, "").strip()
        if not tag:
            raise Refused(428, "missing entity tag")
        room, identity = _holder(token)
        fragment = _fragment(await request.read())
        whip = self._rooms.whip(room)
        if tag != "*":
            await whip.trickle(identity, sid, _opaque(tag), fragment)
            return web.Response(status=204)
        ours = await whip.restart(identity, sid, fragment)
        return _body(200, str(ours), FRAGMENT, {hdrs.ETAG: ours.ufrag})

    async def _delete(self, token: Verified | None, sid: ParticipantID) -> web.Response:
        room, identity = _holder(token)
        await self._rooms.whip(room).delete(identity, sid)
        return web.Response()


def _options() -> web.Response:
    """What pages of other origins may do; RFC 9725 4.1 has the last header."""
    return web.Response(
        headers={
            hdrs.ACCESS_CONTROL_ALLOW_ORIGIN: "*",
            hdrs.ACCESS_CONTROL_ALLOW_HEADERS: "*",
            hdrs.ACCESS_CONTROL_ALLOW_METHODS: "PATCH, OPTIONS, GET, POST, DELETE",
            hdrs.ACCESS_CONTROL_EXPOSE_HEADERS: "*",
            "Accept-Post": SDP,
        }
    )


def _body(
    status: int, text: str, content_type: str, headers: Mapping[str, str] | None = None
) -> web.Response:
    """Clients compare the content type as a whole, so it has no charset."""
    return web.Response(
        status=status, body=text.encode(), content_type=content_type, headers=headers
    )


def _check_content_type(request: web.Request, wanted: str) -> None:
    given = request.headers.get(hdrs.CONTENT_TYPE, "")
    if given != wanted:
        raise Refused(400, f"unsupported content-type: {given}")


def _holder(token: Verified | None) -> tuple[RoomName, ParticipantIdentity]:
    """Whose session a token is for."""
    holder, room = whip_create.room_of(token)
    if not holder.grants.identity:
        raise PermissionDenied("participant identity cannot be empty")
    return room, ParticipantIdentity(holder.grants.identity)


def _fragment(body: bytes) -> IceFragment:
    whip_create.check_size(body)
    try:
        return IceFragment.parse(body.decode())
    except UnicodeDecodeError as error:
        raise SdpError(f"invalid sdp fragment: not UTF-8 at byte {error.start}") from None
    except SdpError as error:
        raise SdpError(f"invalid sdp fragment: {error.message}") from None


def _opaque(tag: str) -> str:
    """The tag without quotes, which we do not write (as LiveKit does not) and clients may add."""
    return tag.removeprefix("W/").strip('"')


def _links(server: rtc.ICEServer) -> list[str]:
    """RFC 9725 4.6."""
    parameters = 'rel="ice-server"'
    for name, value in (("username", server.username), ("credential", server.credential)):
        if value:
            quoted = value.replace("\\", "\\\\").replace('"', '\\"')
            parameters += f'; {name}="{quoted}"'
    return [f"<{url}>; {parameters}" for url in server.urls]
