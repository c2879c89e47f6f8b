"""A room on the fake engine under a manual clock, and clients that are a sink and a source."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from livekit.protocol import models, rtc

from lkpy.auth.grants import Grants, VideoGrant
from lkpy.clock import ManualClock
from lkpy.engine.api import AudioLevels, DataChannelOpened, DataReceived, SendData
from lkpy.engine.fake import FakeEngine
from lkpy.engine.hub import EngineHub
from lkpy.errors import LkpyError
from lkpy.ids import ConnectionID, NodeID, ParticipantIdentity, RoomName
from lkpy.sdp import Direction, SessionDescription, Setup
from lkpy.server.routing.channel import MessageChannel
from lkpy.server.rtc.options import NodeInfo, RoomOptions, RoomSettings
from lkpy.server.rtc.participant import Participant
from lkpy.server.rtc.room import Room
from lkpy.server.rtc.session import StartSession
from lkpy.server.telemetry.events import Listener, Telemetry, TelemetryEvent
from tests.transport_kit import CODECS, DIGEST, sample

JOIN_OFFER, PUBLISH_OFFER = sample("chrome_join_offer"), sample("chrome_offer")
VIDEO_CID, AUDIO_CID = (
    "7c10b47e-fc34-420f-843b-a5c1d8cc566e",
    "7377fe4b-3cad-43e0-9c31-8c13d0870e77",
)
"""Track ids in :data:`PUBLISH_OFFER`."""
RELIABLE, LOSSY = models.DataPacket.RELIABLE, models.DataPacket.LOSSY


def without_data(offer: str) -> str:
    """The offer without its data section."""
    head, *sections = offer.split("m=")
    kept = [section for section in sections if not section.startswith("application")]
    mids = [line for s in kept for line in s.splitlines() if line.startswith("a=mid:")]
    bundle = "a=group:BUNDLE " + " ".join(mid.removeprefix("a=mid:") for mid in mids)
    lines = [bundle if line.startswith("a=group:BUNDLE") else line for line in head.splitlines()]
    return "m=".join(["\r\n".join(lines) + "\r\n", *kept])


def camera(cid: str = VIDEO_CID, **values: Any) -> rtc.AddTrackRequest:
    """A camera in two layers."""
    values = {
        "source": models.TrackSource.CAMERA,
        "width": 1280,
        "height": 720,
        "layers": [
            models.VideoLayer(quality=models.VideoQuality.LOW, width=320, height=180),
            models.VideoLayer(quality=models.VideoQuality.HIGH, width=1280, height=720),
        ],
        "simulcast_codecs": [rtc.SimulcastCodec(codec="vp8", cid=cid)],
    } | values
    return rtc.AddTrackRequest(cid=cid, type=models.TrackType.VIDEO, **values)


def microphone(cid: str = AUDIO_CID, **values: Any) -> rtc.AddTrackRequest:
    """A microphone."""
    values = {"source": models.TrackSource.MICROPHONE} | values
    return rtc.AddTrackRequest(cid=cid, type=models.TrackType.AUDIO, **values)


def session(identity: str, *, single: bool = True, **values: Any) -> StartSession:
    """A session with LiveKit's default permissions; ``grants`` and ``video`` change them."""
    video = VideoGrant(room_join=True, room="lobby", **values.pop("video", {}))
    grants = Grants(identity=identity, video=video, **values.pop("grants", {}))
    client = models.ClientInfo(
        **(
            {"sdk": models.ClientInfo.JS, "protocol": 16, "version": "2.15.0"}
            | values.pop("client", {})
        )
    )
    if single:
        offer = rtc.SessionDescription(type="offer", sdp=JOIN_OFFER, id=1)
        values.setdefault("publisher_offer", offer)
    return StartSession(
        room=RoomName("lobby"),
        identity=ParticipantIdentity(identity),
        grants=grants,
        connection_id=ConnectionID(f"CO_{identity}"),
        client=client,
        single_pc=single,
        api_key="key",
        **values,
    )


class Client:
    """One signal connection: requests go in, responses come out, answers are given."""

    def __init__(self, world: World, start: StartSession) -> None:
        self.world = world
        self.start = start
        self.source: MessageChannel[rtc.SignalRequest] = MessageChannel("requests")
        self.sink: MessageChannel[rtc.SignalResponse] = MessageChannel("responses", size=10_000)
        self.responses: list[rtc.SignalResponse] = []
        """Everything received so far."""
        self._read = 0

    # -- what came ------------------------------------------------------------------------------

    def collect(self) -> None:
        """Take what waits; answer the server's offers as a browser would."""
        while len(self.sink):
            response = self.sink._messages.popleft()
            self.responses.append(response)
            if response.HasField("offer"):
                self.answer(response.offer)

    def fresh(self) -> list[rtc.SignalResponse]:
        """What came since the last call."""
        fresh, self._read = self.responses[self._read :], len(self.responses)
        return fresh

    def kinds(self) -> list[str]:
        """Names of what came since the last call."""
        return [response.WhichOneof("message") or "" for response in self.fresh()]

    def all(self, kind: str) -> list[Any]:
        """Every response of one kind."""
        return [getattr(r, kind) for r in self.responses if r.HasField(kind)]

    def last(self, kind: str) -> Any:
        """The last response of one kind."""
        return self.all(kind)[-1]

    def updates(self, identity: str) -> list[models.ParticipantInfo]:
        """Every update about one participant."""
        return [
            info
            for update in self.all("update")
            for info in update.participants
            if info.identity == identity
        ]

    @property
    def left(self) -> bool:
        """Whether the server ended the signal connection."""
        return self.sink.closed

    # -- what goes ------------------------------------------------------------------------------

    async def send(self, **request: Any) -> None:
        """Send a request and let everything happen."""
        self.source.write(rtc.SignalRequest(**request))
        await self.world.settle()

    async def offer(self, text: str, offer_id: int = 2) -> None:
        """Offer for the publisher's or the single connection."""
        await self.send(offer=rtc.SessionDescription(type="offer", sdp=text, id=offer_id))

    async def publish(self, *requests: rtc.AddTrackRequest) -> list[models.TrackInfo]:
        """Add tracks and offer their media sections."""
        for request in requests:
            await self.send(add_track=request)
        await self.offer(PUBLISH_OFFER)
        return [published.track for published in self.all("track_published")]

    def answer(self, offer: rtc.SessionDescription) -> None:
        """Receive everything that the server offers."""
        description = SessionDescription.parse(offer.sdp)
        for media in description.media:
            if media.direction is Direction.SENDONLY:
                media.direction = Direction.RECVONLY
            media.transport.ice_ufrag, media.transport.ice_pwd = "clnt", "p" * 24
            media.transport.setup = Setup.ACTIVE
            media.msids, media.ssrcs, media.ssrc_groups = [], {}, []
        fingerprint = description.transport.fingerprints[0]
        description.transport.fingerprints = [type(fingerprint)("sha-256", DIGEST)]
        answer = rtc.SessionDescription(type="answer", sdp=str(description), id=offer.id)
        self.source.write(rtc.SignalRequest(answer=answer))

    # -- data -----------------------------------------------------------------------------------

    @property
    def participant(self) -> Participant:
        """The server's side."""
        return self.world.room._participants[self.start.identity]

    async def open_channels(self) -> None:
        """Open the client's data channels on its publisher's or single connection."""
        transport = self.participant.transports.publisher.id
        self.world.engine.inject(
            DataChannelOpened(transport, 0, "_reliable", "", True, None),
            DataChannelOpened(transport, 2, "_lossy", "", False, 0),
        )
        await self.world.settle()

    async def send_data(self, packet: models.DataPacket, *, reliable: bool = True) -> None:
        """Send a packet on a data channel."""
        transport = self.participant.transports.publisher.id
        stream = 0 if reliable else 2
        payload = packet.SerializeToString()
        self.world.engine.inject(DataReceived(transport, stream, payload, True))
        await self.world.settle()


@dataclass
class Observer:
    """What the room told."""

    seen: list[tuple[str, str]] = field(default_factory=list)
    closed: bool = False

    def room_updated(self, room: Room) -> None:
        """Counts change often; the room itself says them."""

    def participant_changed(self, room: Room, info: models.ParticipantInfo) -> None:
        state = models.ParticipantInfo.State.Name(info.state)
        self.seen.append((info.identity, state))

    def participant_left(self, room: Room, info: models.ParticipantInfo) -> None:
        self.seen.append((info.identity, "LEFT"))

    def room_closed(self, room: Room) -> None:
        self.closed = True


class World:
    """The room and its engine."""

    def __init__(
        self,
        *,
        auto_connect: bool = True,
        engine: FakeEngine | None = None,
        observer: Observer | None = None,
        options: RoomOptions | None = None,
        settings: RoomSettings | None = None,
        **info: Any,
    ) -> None:
        self.engine = engine or FakeEngine(auto_connect=auto_connect)
        self.hub = EngineHub(self.engine)
        self.clock = ManualClock()
        self.observer = observer or Observer()
        self.tokens: list[Grants] = []
        self.told: list[TelemetryEvent] = []
        values = {"empty_timeout": 300, "departure_timeout": 20} | info
        self.room = Room(
            models.Room(sid="RM_1", name="lobby", enabled_codecs=CODECS, **values),
            options=options or RoomOptions(),
            node=NodeInfo(NodeID("ND_1"), "1.2.3", "here"),
            hub=self.hub,
            clock=self.clock,
            worker=0,
            observer=self.observer,
            refresh_token=self._refresh,
            telemetry=Telemetry(self.told.append),
            settings=settings,
        )
        self.clients: list[Client] = []

    def _refresh(self, grants: Grants, api_key: str) -> str:
        self.tokens.append(grants)
        return f"{api_key}:{grants.identity}"

    def listen(self, listener: Listener) -> None:
        """Tell a listener what has happened and what will."""
        for event in self.told:
            listener(event)
        self.room.telemetry = Telemetry(self.told.append, listener)

    async def settle(self) -> None:
        """Let everything happen that is not waiting for time."""
        quiet = 0
        while quiet < 5:
            before = len(self.engine.commands), sum(len(c.responses) for c in self.clients)
            self.hub.dispatch()
            for client in self.clients:
                client.collect()
            for _ in range(4):
                await asyncio.sleep(0)
            after = len(self.engine.commands), sum(len(c.responses) for c in self.clients)
            quiet = quiet + 1 if before == after else 0

    async def advance(self, seconds: float) -> None:
        """Let time pass, in steps that no timer of the room is shorter than."""
        await self.settle()
        while seconds > 0:
            step = min(seconds, 0.25)
            seconds -= step
            self.clock.advance(step)
            if not self.room.closed.is_set():
                self.room._task.wake()
            await self.settle()

    def client(self, identity: str, **values: Any) -> Client:
        """A client that has not joined."""
        client = Client(self, session(identity, **values))
        self.clients.append(client)
        return client

    async def join(self, identity: str, **values: Any) -> Client:
        """A client that has joined."""
        client = self.client(identity, **values)
        await self.room.join(client.start, client.sink, client.source)
        await self.settle()
        return client

    async def hear(self, *levels: tuple[Client, int, int]) -> None:
        """The engine tells one window of audio levels: client, -dBov, active milliseconds."""
        entries = []
        for client, level, active_ms in levels:
            (track,) = (t for t in client.participant.publishing.tracks if t.kind == "audio")
            entries.append((track.sources[0].receiver, level, active_ms))
        self.engine.inject(AudioLevels(0, tuple(entries)))
        await self.settle()

    def sent(self) -> list[SendData]:
        """Data that went down to the engine."""
        return self.engine.of(SendData)


@contextlib.asynccontextmanager
async def running(**values: Any) -> AsyncIterator[World]:
    """A started room that is closed in the end."""
    world = World(**values)
    world.room.start()
    try:
        yield world
    finally:
        with contextlib.suppress(LkpyError):
            await world.room.close(models.DisconnectReason.SERVER_SHUTDOWN)
        for client in world.clients:
            client.source.close()
        for _ in range(5):
            await asyncio.sleep(0)
        world.engine.close()
