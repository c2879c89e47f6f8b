"""A participant with media, on aiortc: one or two peer connections behind a raw signal connection.

Small on purpose: what a test does not ask for does not happen (no automatic resume, no quality
requests), so that what the server does by itself shows.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
import uuid
from collections import defaultdict
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy
from aiortc import (
    RTCConfiguration,
    RTCDataChannel,
    RTCPeerConnection,
    RTCRtpTransceiver,
    RTCSctpTransport,
    RTCSessionDescription,
)
from aiortc.mediastreams import MediaStreamTrack, VideoStreamTrack
from av import AudioFrame
from livekit.protocol import models, rtc

from tests.conformance.kit import PROTOCOL, Lobby, Signal, until, within
from tests.patience import PATIENCE_S, close_aiortc

RATE = 48_000
AGREED = {"_reliable": 100, "_lossy": 101, "_data_track": 102}
"""Streams of the channels that a client of protocol 18 opens on a single connection."""
SECTIONS = 3
"""Receiving sections of each kind that a single connection begins with, as livekit-client's."""


class Tone(MediaStreamTrack):
    """A loud sine, so that its participant speaks."""

    kind = "audio"

    def __init__(self, hertz: float = 440.0, amplitude: float = 0.5) -> None:
        super().__init__()
        self.amplitude = amplitude
        self._hertz = hertz
        self._samples = 0
        self._began: float | None = None

    async def recv(self) -> AudioFrame:
        loop = asyncio.get_running_loop()
        self._began = loop.time() if self._began is None else self._began
        await asyncio.sleep(max(0.0, self._began + self._samples / RATE - loop.time()))
        times = (self._samples + numpy.arange(960)) / RATE
        wave = numpy.sin(2 * math.pi * self._hertz * times) * self.amplitude * 32767
        frame = AudioFrame.from_ndarray(wave.astype(numpy.int16).reshape(1, -1), layout="mono")
        frame.sample_rate = RATE
        frame.pts = self._samples
        frame.time_base = Fraction(1, RATE)
        self._samples += 960
        return frame


class Participant:
    """Joined with media. Use :func:`join`."""

    signal: Signal
    """The current signal connection."""
    joined: rtc.JoinResponse
    """What the first connection began with."""

    def __init__(self, identity: str, *, single: bool, agreed: bool = False) -> None:
        self.identity = identity
        self.single = single
        self.ppids: set[int] = set()
        """Payload protocol identifiers that came or went on a single connection: 50 is DCEP."""
        self.received: list[models.DataPacket] = []
        """Data packets, in the order in which they came."""
        self.raw: dict[str, list[bytes]] = defaultdict(list)
        """Messages of other channels by label."""
        self.frames: dict[str, int] = defaultdict(int)
        """Decoded frames by track sid."""
        self.mids: dict[str, str] = {}
        """Track sid by mid of what is received."""
        self.channels: dict[str, RTCDataChannel] = {}
        """Channels to send on by label."""
        self.down_channels: dict[str, RTCDataChannel] = {}
        self.publisher = _connection()
        self.subscriber = self.publisher if single else _connection()
        self._offer_id = 0
        self._answers: dict[int, asyncio.Future[rtc.SessionDescription]] = {}
        self._negotiating = asyncio.Lock()
        self._candidates: dict[int, list[str]] = defaultdict(list)
        self._gathered: dict[int, asyncio.Event] = defaultdict(asyncio.Event)
        """Set once a target's last candidate came; by target of the trickle."""
        self._tasks: set[asyncio.Task[Any]] = set()
        self._inbox: asyncio.Queue[rtc.SignalResponse] = asyncio.Queue()
        self.subscriber.on("track", self._track)
        self.subscriber.on("datachannel", self._down_channel)
        self.open_channels(AGREED if agreed else {})
        _watch_sctp(self.publisher.sctp, self.ppids)

    @property
    def sid(self) -> str:
        """Participant sid."""
        return self.joined.participant.sid

    def open_channels(self, streams: Mapping[str, int]) -> None:
        """Open LiveKit's channels: in the ``streams`` both sides have agreed on, or in-band."""
        for label, options in (
            ("_reliable", {"ordered": True}),
            ("_lossy", {"ordered": False, "maxRetransmits": 0}),
            ("_data_track", {"ordered": False, "maxRetransmits": 0}),
        ):
            if label in streams:
                options |= {"negotiated": True, "id": streams[label]}
            channel = self.publisher.createDataChannel(label, **options)
            self.channels[label] = channel
            if self.single:
                self._down_channel(channel)

    def listen(self, signal: Signal) -> None:
        """Follow a signal connection: the first one, or the one of a resume."""
        self.signal = signal
        if signal.kinds[:1] == ["join"]:
            self.joined = signal.join
        for take in (self._trickle, self._inbox.put_nowait):
            for response in signal.log:
                take(response)
            signal.on_response.append(take)

    async def follow(self) -> None:
        """Handle negotiation messages in order until cancelled."""
        while True:
            response = await self._inbox.get()
            match response.WhichOneof("message"):
                case "offer":
                    await self._handle_offer(response.offer)
                case "answer":
                    waiting = self._answers.pop(response.answer.id, None)
                    if waiting is None and self._answers:
                        waiting = self._answers.pop(next(iter(self._answers)))
                    if waiting is not None and not waiting.done():
                        waiting.set_result(response.answer)
                case "media_sections_requirement":
                    wanted = response.media_sections_requirement
                    for kind, count in (("audio", wanted.num_audios), ("video", wanted.num_videos)):
                        for _ in range(count):
                            self.publisher.addTransceiver(kind, direction="recvonly")
                    self.spawn(self.negotiate())
                case _:
                    pass

    def spawn(self, work: Any) -> None:
        """Run a coroutine until the participant is closed."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- negotiation ----------------------------------------------------------------------------

    async def offer(self) -> rtc.SessionDescription:
        """Make the publisher's next offer and set it as local description."""
        self._offer_id += 1
        await self.publisher.setLocalDescription(await self.publisher.createOffer())
        sdp = self.publisher.localDescription.sdp
        self._answers[self._offer_id] = asyncio.get_running_loop().create_future()
        return rtc.SessionDescription(type="offer", sdp=sdp, id=self._offer_id)

    async def answered(self, offer: rtc.SessionDescription) -> rtc.SessionDescription:
        """Wait for the answer to ``offer`` and take it."""
        answer = await asyncio.wait_for(self._answers[offer.id], PATIENCE_S)
        sdp = await self._with_candidates(answer.sdp, rtc.SignalTarget.PUBLISHER)
        await self.publisher.setRemoteDescription(RTCSessionDescription(sdp=sdp, type="answer"))
        self._mapped(answer.mid_to_track_id)
        self.spawn(_route(self.publisher, answer.sdp))
        return answer

    async def negotiate(self) -> rtc.SessionDescription:
        """Offer on the publisher (or single) connection and take the answer."""
        async with self._negotiating:
            if self.publisher.remoteDescription is not None:
                # aiortc does not begin to receive in sections that come while DTLS connects.
                dtls = self.publisher.sctp.transport
                await until(lambda: dtls.state == "connected", "publisher's DTLS")
            offer = await self.offer()
            await self.signal.send(offer=offer)
            return await self.answered(offer)

    async def _handle_offer(self, offer: rtc.SessionDescription) -> None:
        pc = self.subscriber
        sdp = await self._with_candidates(offer.sdp, rtc.SignalTarget.SUBSCRIBER)
        await pc.setRemoteDescription(RTCSessionDescription(sdp=sdp, type="offer"))
        await pc.setLocalDescription(await pc.createAnswer())
        answer = rtc.SessionDescription(type="answer", sdp=pc.localDescription.sdp, id=offer.id)
        await self.signal.send(answer=answer)
        self._mapped(offer.mid_to_track_id)
        self.spawn(_route(pc, offer.sdp))

    def _trickle(self, response: rtc.SignalResponse) -> None:
        if response.WhichOneof("message") == "trickle":
            trickle = response.trickle
            candidate = json.loads(trickle.candidateInit or "{}").get("candidate", "")
            if candidate:
                self._candidates[trickle.target].append(candidate)
            if trickle.final:
                self._gathered[trickle.target].set()

    async def _with_candidates(self, sdp: str, target: int) -> str:
        """The description with its candidates in it: aiortc begins to connect with what it has
        when it takes a description."""
        await asyncio.wait_for(self._gathered[target].wait(), PATIENCE_S)
        known = [text for text in self._candidates[target] if " udp " in text.lower()]
        lines = "".join(f"a={text}\r\n" for text in known) + "a=end-of-candidates\r\n"
        return re.sub(r"(a=mid:[^\r\n]*\r\n)", lambda found: found.group(1) + lines, sdp)

    def _mapped(self, mids: Any) -> None:
        self.mids = dict(mids)

    # -- receiving ------------------------------------------------------------------------------

    def _track(self, track: MediaStreamTrack) -> None:
        self.spawn(self._consume(track))

    async def _consume(self, track: MediaStreamTrack) -> None:
        while True:
            await track.recv()
            for transceiver in self.subscriber.getTransceivers():
                if transceiver.receiver.track is track:
                    sid = self.mids.get(transceiver.mid)
                    if sid is not None:
                        self.frames[sid] += 1

    def _down_channel(self, channel: RTCDataChannel) -> None:
        self.down_channels[channel.label] = channel

        def message(data: bytes | str) -> None:
            payload = data.encode() if isinstance(data, str) else data
            if channel.label in ("_reliable", "_lossy"):
                packet = models.DataPacket()
                packet.ParseFromString(payload)
                self.received.append(packet)
            else:
                self.raw[channel.label].append(payload)

        channel.on("message", message)

    async def receives(self, sid: str, frames: int = 3, *, timeout_s: float = PATIENCE_S) -> None:
        """Wait until ``frames`` more frames of a track were decoded."""
        target = self.frames[sid] + frames
        await until(lambda: self.frames[sid] >= target, f"frames of {sid}", timeout_s=timeout_s)

    async def packet(self, kind: str, *, timeout_s: float = PATIENCE_S) -> models.DataPacket:
        """The first data packet of ``kind`` (``user``, ``rpc_request``…) that came."""
        found: list[models.DataPacket] = []

        def there() -> bool:
            found[:] = [p for p in self.received if p.WhichOneof("value") == kind]
            return bool(found)

        await until(there, f"data packet {kind}", timeout_s=timeout_s)
        return found[0]

    # -- acting ---------------------------------------------------------------------------------

    async def connected(self) -> None:
        """Wait until the connection that makes the participant active is there."""
        primary = self.subscriber if self.joined.subscriber_primary else self.publisher
        await until(lambda: primary.connectionState == "connected", "peer connection")

    async def ready(self) -> None:
        """Wait until connected and data can be sent."""
        await self.connected()
        if self.channels["_reliable"].readyState != "open":
            if not self.single and self.publisher.localDescription is None:
                await self.negotiate()
            await until(
                lambda: all(c.readyState == "open" for c in self.channels.values()), "channels"
            )

    async def publish(
        self, track: MediaStreamTrack | None = None, *, kind: str = "audio", **request: Any
    ) -> tuple[models.TrackInfo, RTCRtpTransceiver]:
        """Publish a tone, or a picture with ``kind="video"``: add_track, then an offer. Returns
        what the server said of the track."""
        video = kind == "video"
        track = track or (VideoStreamTrack() if video else Tone())
        cid = request.pop("cid", str(track.id))
        request = {
            "type": models.TrackType.VIDEO if video else models.TrackType.AUDIO,
            "source": models.TrackSource.CAMERA if video else models.TrackSource.MICROPHONE,
        } | request
        await self.signal.send(add_track=rtc.AddTrackRequest(cid=cid, **request))
        published = await self.signal.expect("track_published", lambda p: p.cid == cid)
        transceiver = self.publisher.addTransceiver(track, direction="sendonly")
        await self.negotiate()
        return published.track, transceiver

    async def send_data(self, packet: models.DataPacket, *, reliable: bool = True) -> None:
        """Send a data packet to the server."""
        await self.ready()
        label = "_reliable" if reliable else "_lossy"
        self.channels[label].send(packet.SerializeToString())

    async def close(self) -> None:
        """Close connections and signal. Idempotent."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await close_aiortc(self.publisher, self.subscriber)
        await self.signal.close()


async def join(
    lobby: Lobby, identity: str, *, single: bool, active: bool = True, **options: Any
) -> Participant:
    """Join the lobby's room with media; ``options`` are those of :meth:`Lobby.signal`,
    ``auto_subscribe``, ``capabilities`` and ``agreed`` (the channels are those of protocol 18;
    without it that depends on the protocol). Waits until the participant is connected unless
    ``active`` is false."""
    auto_subscribe = options.pop("auto_subscribe", True)
    settings = options.pop("settings", {})
    capabilities = options.pop("capabilities", [])
    agreed = options.pop("agreed", single and options.get("protocol", PROTOCOL) >= 18)
    participant = Participant(identity, single=single, agreed=agreed)
    offer: rtc.SessionDescription | None = None
    if single:
        for kind in ("audio", "video"):
            for _ in range(SECTIONS):
                participant.publisher.addTransceiver(kind, direction="recvonly")
        offer = await participant.offer()
        options.setdefault(
            "join",
            rtc.JoinRequest(
                client_info=models.ClientInfo(
                    sdk=models.ClientInfo.SDK.Value(options.get("sdk", "js").upper()),
                    protocol=options.get("protocol", PROTOCOL),
                    capabilities=capabilities,
                ),
                connection_settings=rtc.ConnectionSettings(
                    auto_subscribe=auto_subscribe, **settings
                ),
                publisher_offer=offer,
            ),
        )
    else:
        wanted = {"auto_subscribe": "1" if auto_subscribe else "0"}
        wanted |= {name: "1" if value else "0" for name, value in settings.items()}
        wanted["capabilities"] = ",".join(map(models.ClientInfo.Capability.Name, capabilities))
        options["params"] = wanted | options.get("params", {})
    signal = await lobby.signal(identity, single=single, **options)
    participant.listen(signal)
    lobby.opened(participant.close)
    participant.spawn(participant.follow())
    if offer is not None:
        await participant.answered(offer)
    if active:
        if not single and not signal.join.subscriber_primary:
            await participant.negotiate()
        await participant.connected()
    return participant


async def quiet(lobby: Lobby, participant: Participant, sid: str) -> None:
    """Wait until nothing more of a track comes."""
    async with within(PATIENCE_S, f"silence of {sid}"):
        before = -1
        while before != participant.frames[sid]:
            before = participant.frames[sid]
            await lobby.pause(0.5)


async def negotiate_with(
    participant: Participant, codecs: Mapping[RTCRtpTransceiver, str]
) -> rtc.SessionDescription:
    """Negotiate as if some transceivers could also send another codec, such as ``VP9``, of which
    aiortc knows nothing: it sends what it knows, for a server that takes it for what was agreed."""
    async with participant._negotiating:
        offer = await participant.offer()
        session, *sections = re.split(r"(?m)^(?=m=)", offer.sdp)
        names = {transceiver.mid: name for transceiver, name in codecs.items()}
        for index, section in enumerate(sections):
            mid = re.search(r"(?m)^a=mid:(\S+)", section)
            if mid is not None and mid.group(1) in names:
                sections[index] = _with_codec(section, names[mid.group(1)])
        offer.sdp = session + "".join(sections)
        await participant.signal.send(offer=offer)
        return await participant.answered(offer)


def _with_codec(section: str, name: str, number: int = 120) -> str:
    media, rest = section.split("\r\n", 1)
    lines = [
        re.sub(r"(SAVPF) ", rf"\1 {number} ", media, count=1),
        f"a=rtpmap:{number} {name}/90000",
        f"a=rtcp-fb:{number} nack pli",
    ]
    connection, rest = rest.split("\r\n", 1)
    return "\r\n".join([lines[0], connection, *lines[1:], rest])


def _connection() -> RTCPeerConnection:
    return RTCPeerConnection(RTCConfiguration(iceServers=[]))


async def _route(pc: RTCPeerConnection, sdp: str) -> None:
    """Have packets of each section go to its receiver: aiortc reads the SSRCs of a section's first
    description only, and a server sends other tracks in it later."""
    by_mid = {t.mid: t for t in pc.getTransceivers()}
    for section in re.split(r"(?m)^m=", sdp)[1:]:
        mid = re.search(r"(?m)^a=mid:(\S+)", section)
        transceiver = by_mid.get(mid.group(1)) if mid else None
        ssrcs = [int(ssrc) for ssrc in re.findall(r"(?m)^a=ssrc:(\d+) cname", section)]
        if transceiver is None or not ssrcs:
            continue
        router = transceiver.receiver.transport._rtp_router
        await until(lambda r=router, t=transceiver: t.receiver in r.receivers, "receiver")
        router.ssrc_table[ssrcs[0]] = transceiver.receiver


def new_cid() -> str:
    """A client id of a track, as SDKs make them."""
    return str(uuid.uuid4())


def _watch_sctp(sctp: RTCSctpTransport, ppids: set[int]) -> None:
    """Note the payload protocol identifiers of what comes and goes."""
    receive, send = sctp._receive, sctp._send

    async def receiving(stream_id: int, pp_id: int, data: bytes) -> None:
        ppids.add(pp_id)
        await receive(stream_id, pp_id, data)

    async def sending(stream_id: int, pp_id: int, *args: Any, **options: Any) -> None:
        ppids.add(pp_id)
        await send(stream_id, pp_id, *args, **options)

    sctp._receive, sctp._send = receiving, sending
