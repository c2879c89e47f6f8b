"""A whole server without media: the rooms only speak the contract that the server relies on."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import aiohttp
from livekit.protocol import models, rtc
from livekit.protocol import room as room_pb

from lkpy.auth.grants import Grants, VideoGrant
from lkpy.auth.token import mint
from lkpy.clock import SystemClock
from lkpy.engine.api import StatsCollected, WorkerStats
from lkpy.errors import Code, LkpyError
from lkpy.ids import PARTICIPANT_PREFIX, ParticipantIdentity, new_id
from lkpy.server.app import Server
from lkpy.server.config import ServerConfig
from lkpy.server.rooms.manager import RoomManager
from lkpy.server.routing.node import LocalNode
from lkpy.server.rtc.options import RoomSettings
from lkpy.server.rtc.session import MessageSink, MessageSource, StartSession
from lkpy.server.telemetry.events import Telemetry
from lkpy.signal.join_request import wrap
from lkpy.stats.v1 import stats_pb2
from tests.patience import PATIENCE_S

KEY, SECRET = "testkey", "a secret that is longer than 32 characters"


class RoomDouble:
    """Admits participants, records what they send, and answers `leave`."""

    def __init__(self, info: models.Room, observer: RoomManager) -> None:
        self.closed = asyncio.Event()
        self.info = info
        self.sessions: list[StartSession] = []
        self.requests: list[rtc.SignalRequest] = []
        self.sent: list[room_pb.SendDataRequest] = []
        self.muted: list[tuple[str, str, bool]] = []
        self.subscribed: list[room_pb.UpdateSubscriptionsRequest] = []
        self.sinks: dict[str, MessageSink] = {}
        self._observer = observer
        self._people: dict[str, models.ParticipantInfo] = {}
        self._readers: set[asyncio.Task[None]] = set()
        self.received = asyncio.Event()
        self.down_tracks = 0

    def start(self) -> None:
        self._observer.room_updated(self)

    async def join(self, session: StartSession, sink: MessageSink, source: MessageSource) -> None:
        self.sessions.append(session)
        if session.identity == "crash":
            raise RuntimeError("room double was told to crash")
        if session.identity == "silent":
            return
        if self.info.max_participants and len(self._people) >= self.info.max_participants:
            raise LkpyError(Code.RESOURCE_EXHAUSTED, "room has exceeded its max participants")
        if session.reconnect:
            sink.write(rtc.SignalResponse(reconnect=rtc.ReconnectResponse()))
        else:
            person = models.ParticipantInfo(
                sid=new_id(PARTICIPANT_PREFIX),
                identity=session.identity,
                metadata=session.grants.metadata,
                attributes=dict(session.grants.attributes),
            )
            self._people[session.identity] = person
            self._observer.participant_changed(self, person)
            join = rtc.JoinResponse(room=self.info, participant=person)
            sink.write(rtc.SignalResponse(join=join))
        self.sinks[session.identity] = sink
        reader = asyncio.create_task(self._read(session.identity, sink, source))
        self._readers.add(reader)
        reader.add_done_callback(self._readers.discard)

    async def _read(self, identity: str, sink: MessageSink, source: MessageSource) -> None:
        async for request in source:
            self.requests.append(request)
            self.received.set()
            if request.WhichOneof("message") == "leave":
                self._remove(identity, models.DisconnectReason.CLIENT_INITIATED)

    def _remove(self, identity: str, reason: int, action: int = 0) -> None:
        person = self._people.pop(identity)
        self._observer.participant_left(self, person)
        sink = self.sinks.pop(identity)
        leave = rtc.LeaveRequest(reason=reason, action=action)
        with contextlib.suppress(LkpyError):
            sink.write(rtc.SignalResponse(leave=leave))
        sink.close("left")

    @property
    def size(self) -> int:
        return len(self._people)

    def has(self, identity: str) -> bool:
        return identity in self._people

    def participants(self) -> list[models.ParticipantInfo]:
        return list(self._people.values())

    @property
    def api(self) -> RoomDouble:
        return self

    async def update_participant(
        self, request: room_pb.UpdateParticipantRequest
    ) -> models.ParticipantInfo:
        person = self._people[request.identity]
        person.name = request.name or person.name
        self._observer.participant_changed(self, person)
        return person

    async def update_subscriptions(self, request: room_pb.UpdateSubscriptionsRequest) -> None:
        self.subscribed.append(request)

    async def update_metadata(self, metadata: str) -> models.Room:
        self.info.metadata = metadata
        self._observer.room_updated(self)
        return self.info

    async def perform_rpc(self, request: room_pb.PerformRpcRequest) -> str:
        return f"{request.method}({request.payload})"

    async def remove_participant(
        self, identity: ParticipantIdentity, reason: models.DisconnectReason
    ) -> None:
        self._remove(identity, reason)

    async def mute_published_track(
        self, identity: ParticipantIdentity, sid: str, muted: bool
    ) -> models.TrackInfo | None:
        self.muted.append((identity, sid, muted))
        return models.TrackInfo(sid=sid, muted=muted) if sid.startswith("TR_") else None

    async def send_data(self, request: room_pb.SendDataRequest) -> None:
        self.sent.append(request)

    def to_proto(self) -> models.Room:
        return self.info

    async def snapshot(self, stats: Sequence[StatsCollected]) -> stats_pb2.Room:
        sent = [stats_pb2.DownTrack() for _ in range(self.down_tracks)]
        people = [
            stats_pb2.Participant(sid=person.sid, identity=name, subscribed=sent)
            for name, person in self._people.items()
        ]
        return stats_pb2.Room(sid=self.info.sid, name=self.info.name, participants=people)

    async def close(
        self,
        reason: models.DisconnectReason,
        action: rtc.LeaveRequest.Action = rtc.LeaveRequest.Action.DISCONNECT,
    ) -> None:
        for identity in list(self._people):
            self._remove(identity, reason, action)
        self.closed.set()
        self._observer.room_closed(self)


class MediaDouble:
    """The media plane of the doubles."""

    def __init__(self) -> None:
        self.rooms: dict[str, RoomDouble] = {}
        self.running = False
        self.answers = True

    node_ip = "127.0.0.1"
    udp_port: int | None = 7882
    tcp_port: int | None = None
    trouble = ""
    events_unhandled = 0

    def start(self, node: LocalNode, telemetry: Telemetry) -> None:
        self.running = True

    def make_room(
        self,
        info: models.Room,
        settings: RoomSettings,
        observer: RoomManager,
        telemetry: Telemetry,
    ) -> RoomDouble:
        self.rooms[info.name] = RoomDouble(info, observer)
        return self.rooms[info.name]

    async def collect_stats(self) -> list[StatsCollected]:
        if not self.answers:
            await asyncio.Event().wait()
        worker = WorkerStats(0, 0, 10, 20, 0, 5, 0, 0, 0, 0, 0.5)
        return [StatsCollected(1, worker, (), (), ())]

    def stop(self) -> None:
        self.running = False


class Harness:
    """A running server and an HTTP client for it."""

    def __init__(self, server: Server, media: MediaDouble, http: aiohttp.ClientSession) -> None:
        self.server = server
        self.media = media
        self.http = http

    def url(self, path: str) -> str:
        return self.server.url.replace("ws://", "http://") + path

    def token(self, identity: str = "alice", *, ttl_s: float = 60, **video: Any) -> str:
        video = video or {"room_join": True, "room": "lobby"}
        return self.token_for(Grants(identity=identity, video=VideoGrant(**video)), ttl_s=ttl_s)

    def token_for(self, grants: Grants, *, ttl_s: float = 60) -> str:
        now = SystemClock().wall()
        return mint(grants, api_key=KEY, api_secret=SECRET, ttl_s=ttl_s, now=now)

    async def get(self, path: str, token: str | None = None, **kwargs: Any) -> tuple[int, str]:
        headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
        async with self.http.get(self.url(path), headers=headers, **kwargs) as response:
            return response.status, await response.text()

    async def refused(self, path: str, token: str | None = None, **params: str) -> tuple[int, str]:
        """Status and body of an upgrade that must not succeed."""
        headers = {
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
        }
        if token is not None:
            params["access_token"] = token
        async with self.http.get(self.url(path), headers=headers, params=params) as response:
            return response.status, await response.text()

    async def join(
        self, token: str, *, path: str = "/rtc/v1", join: rtc.JoinRequest | None = None, **kw: Any
    ) -> aiohttp.ClientWebSocketResponse:
        params = {"access_token": token}
        if path == "/rtc/v1" or join is not None:
            params["join_request"] = wrap(join or rtc.JoinRequest())
        params |= kw.pop("params", {})
        return await self.http.ws_connect(self.url(path), params=params, **kw)

    async def twirp(
        self,
        method: str,
        body: object,
        token: str | None = None,
        *,
        service: str = "RoomService",
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, dict[str, Any]]:
        headers = dict(headers or {})
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        url = self.url(f"/twirp/livekit.{service}/{method}")
        async with self.http.post(url, json=body, headers=headers) as response:
            return response.status, await response.json()


async def until(condition: Callable[[], bool]) -> None:
    """Return once something is so, which a server of this process makes so."""
    async with asyncio.timeout(60):
        while True:
            if condition():
                return
            await asyncio.sleep(0.005)


async def receive(socket: aiohttp.ClientWebSocketResponse) -> rtc.SignalResponse:
    """The next response, which must be binary."""
    return rtc.SignalResponse.FromString(await socket.receive_bytes(timeout=PATIENCE_S))


def config_of(values: Mapping[str, Any] | None = None) -> ServerConfig:
    """A free port of loopback and one key, with these values over them."""
    return ServerConfig.model_validate(
        {"port": 0, "bind_addresses": ["127.0.0.1"], "keys": {KEY: SECRET}, **(values or {})}
    )


@contextlib.asynccontextmanager
async def running(values: Mapping[str, Any] | None = None) -> AsyncIterator[Harness]:
    """A server of doubles with these configuration values."""
    media = MediaDouble()
    async with serving(Server(config_of(values), media), media) as harness:
        yield harness


@contextlib.asynccontextmanager
async def serving(server: Server, media: MediaDouble) -> AsyncIterator[Harness]:
    """A running server with an HTTP client."""
    connector = aiohttp.TCPConnector(limit=0)
    async with server, aiohttp.ClientSession(connector=connector) as http:
        yield Harness(server, media, http)
