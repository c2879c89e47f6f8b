"""One simulated participant: joins, publishes, subscribes, measures, leaves."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import aiohttp
from aiortc.sdp import candidate_from_sdp
from livekit.protocol import models, rtc

import lkpy
from lkpy.errors import Code, LkpyError
from lkpy.signal.client import (
    PROTOCOL_VERSION,
    SignalClient,
    SignalOptions,
    SinglePeerConnectionUnsupported,
)
from lkpy.sim import measure
from lkpy.sim.judge.expected import START_GRACE_S, ExpectedTracks, Silent
from lkpy.sim.judge.health import own_fault
from lkpy.sim.judge.silence import track_name
from lkpy.sim.measure import Times
from lkpy.sim.media.clip import Clip
from lkpy.sim.metrics import Summary, merged
from lkpy.sim.peers import sdp
from lkpy.sim.peers.peer import RIDS, Peer, PeerSettings
from lkpy.sim.peers.stream import Stream
from lkpy.sim.plan import ClientPlan
from lkpy.sim.scenario import Group, PublishVideo, Quality

RECEIVE_SECTIONS = 3
"""Sections of each kind offered at once, as livekit-client does."""
_QUALITIES: dict[Quality, models.VideoQuality] = {
    "low": models.VideoQuality.LOW,
    "medium": models.VideoQuality.MEDIUM,
    "high": models.VideoQuality.HIGH,
}


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """What a client needs besides its plan."""

    url: str
    token: str
    mode: str
    """auto, single or dual."""
    join_timeout: float
    peer: PeerSettings
    clips: Sequence[Sequence[Clip]]
    """Clips of each published track, one per layer."""
    on_late: Callable[[float], None] = lambda seconds: None
    """Called with how late each frame was sent."""
    on_response: Callable[[rtc.SignalResponse], None] = lambda response: None
    """Called with what the server says after the join, before it is acted upon."""
    on_data: Callable[[bytes], None] = lambda data: None
    """Called with every message of a data channel."""
    on_failed: Callable[[str], None] = lambda reason: None
    """Called once, with why the client failed."""


class SimClient:
    """A participant. :meth:`start` joins; :meth:`finish` freezes its figures; :meth:`close`."""

    def __init__(self, plan: ClientPlan, group: Group, settings: ClientSettings) -> None:
        self.plan = plan
        self.group = group
        self.error: str | None = None
        self.own_fault: str | None = None
        """What this machine lacked, if that is why the client failed."""
        self.refusal: Code | None = None
        """Code of the error with which joining ended."""
        self.times = Times()
        self.peers: list[Peer] = []
        self.connected = asyncio.Event()
        self._settings = settings
        self._signal: SignalClient | None = None
        self._reader: asyncio.Task[None] | None = None
        self._publisher: Peer | None = None
        self._subscriber: Peer | None = None
        self._single = settings.mode != "dual"
        self._offer_id = 0
        self._awaiting_answer = False
        self._offer_again = False
        self._asked_quality: set[str] = set()
        self._expected = ExpectedTracks()
        self._summary = Summary()
        self._final: Summary | None = None

    # -- joining ----------------------------------------------------------------------------

    async def start(self, session: aiohttp.ClientSession) -> None:
        """Join and wait for media to connect; failures are kept in :attr:`error`."""
        self.times.started = time.monotonic()
        try:
            async with asyncio.timeout(self._settings.join_timeout):
                await self._join(session)
                await self.connected.wait()
        except TimeoutError:
            stage = "media did not connect" if self.times.joined else "no answer to the join"
            self.fail(f"{stage} within {self._settings.join_timeout:g} s")
        except LkpyError as error:
            self.refusal = error.code
            self.fail(error.message, error)

    @property
    def _finished(self) -> bool:
        return self._final is not None

    async def _join(self, session: aiohttp.ClientSession) -> None:
        try:
            signal = await self._connect(session)
        except SinglePeerConnectionUnsupported:
            if self._settings.mode == "single":
                raise
            self._single = False
            for peer in self.peers:
                await peer.close()
            self.peers, self._publisher = [], None
            signal = await self._connect(session)
        self.times.joined = time.monotonic()
        self._signal = signal
        signal.on_round_trip = self._round_trip
        if self._finished:  # closed while the connection was being made
            await signal.close()
            return
        self._announce(signal.join.other_participants)
        self._reader = asyncio.create_task(self._read(signal))
        for index in range(len(self.group.publish)):
            await self._add_track(signal, index)

    async def _connect(self, session: aiohttp.ClientSession) -> SignalClient:
        offer = None
        if self._single:
            self._publisher = await self._new_peer(offers=True)
            if self.group.subscribe.auto:
                self._publisher.add_receive_sections(RECEIVE_SECTIONS, RECEIVE_SECTIONS)
            offer = self._next_offer(self._publisher)
        options = SignalOptions(
            auto_subscribe=self.group.subscribe.auto,
            client_info=models.ClientInfo(
                protocol=PROTOCOL_VERSION,
                version=lkpy.__version__,
                os="linux",
                other_sdks=f"lkpy-sim:{lkpy.__version__}",
            ),
            publisher_offer=offer,
        )
        return await SignalClient.connect(
            session, self._settings.url, self._settings.token, options, single=self._single
        )

    async def _new_peer(self, *, offers: bool) -> Peer:
        peer = Peer(self._settings.peer, offers=offers)
        peer.on_connected = self._peer_connected
        peer.on_failed = self.fail
        peer.link.on_data = self._settings.on_data
        peer.out.on_late = self._settings.on_late
        peer.receiver.first.on_packet = self._first_packet
        peer.receiver.first.on_frame = self._first_frame
        await peer.open()
        self.peers.append(peer)
        return peer

    async def _add_track(self, signal: SignalClient, index: int) -> None:
        track = self.group.publish[index]
        cid = track_name(self.plan.identity, index)
        request = rtc.AddTrackRequest(cid=cid, name=cid)
        if isinstance(track, PublishVideo):
            request.type = models.TrackType.VIDEO
            request.source = models.TrackSource.CAMERA
            request.width, request.height = track.layers[-1].size
            simulcast = len(track.layers) > 1
            for number, layer in enumerate(track.layers):
                quality = number if simulcast else models.VideoQuality.HIGH
                request.layers.add(
                    quality=quality,
                    width=layer.size[0],
                    height=layer.size[1],
                    bitrate=layer.bitrate,
                    spatial_layer=number,
                    rid=RIDS[number] if simulcast else "",
                )
        else:
            request.type = models.TrackType.AUDIO
            request.source = models.TrackSource.MICROPHONE
            request.disable_red = True
        self.times.added[cid] = time.monotonic()
        await signal.send(rtc.SignalRequest(add_track=request))

    # -- signalling -------------------------------------------------------------------------

    async def _read(self, signal: SignalClient) -> None:
        try:
            while (response := await signal.receive()) is not None:
                await self._respond(signal, response)
            self.fail("the server closed the signal connection")
        except LkpyError as error:
            self.fail(error.message)

    async def _respond(self, signal: SignalClient, response: rtc.SignalResponse) -> None:
        self._settings.on_response(response)
        match response.WhichOneof("message"):
            case "answer":
                await self._answered(signal, response.answer)
            case "offer":
                await self._offered(signal, response.offer)
            case "trickle":
                await self._trickled(response.trickle)
            case "update":
                self._announce(response.update.participants)
                await self._ask_quality(signal)
            case "track_published":
                await self._published(signal, response.track_published)
            case "media_sections_requirement" if self._publisher is not None:
                needed = response.media_sections_requirement
                self._publisher.add_receive_sections(needed.num_audios, needed.num_videos)
                await self._negotiate(signal)
            case "stream_state_update":
                self._expected.stream_states(response.stream_state_update, time.monotonic())
            case "subscribed_quality_update":
                self._wanted_layers(response.subscribed_quality_update)
            case "request_response" if response.request_response.reason:
                reason = rtc.RequestResponse.Reason.Name(response.request_response.reason)
                if response.request_response.WhichOneof("request") == "add_track":
                    self.fail(f"AddTrack: {reason}: {response.request_response.message}")
            case "leave":
                reason = models.DisconnectReason.Name(response.leave.reason)
                self.fail(f"the server sent this client away: {reason}")

    def _next_offer(self, peer: Peer) -> rtc.SessionDescription:
        self._offer_id += 1
        self._awaiting_answer = True
        return rtc.SessionDescription(type="offer", sdp=peer.make_offer(), id=self._offer_id)

    async def _negotiate(self, signal: SignalClient) -> None:
        """Offer again, or as soon as the running negotiation is done."""
        if self._awaiting_answer:
            self._offer_again = True
        elif self._publisher is not None:
            await signal.send(rtc.SignalRequest(offer=self._next_offer(self._publisher)))

    async def _answered(self, signal: SignalClient, answer: rtc.SessionDescription) -> None:
        self._awaiting_answer = False
        if self._publisher is not None:
            self._publisher.accept_answer(answer.sdp, answer.mid_to_track_id)
        if self._offer_again:
            self._offer_again = False
            await self._negotiate(signal)

    async def _offered(self, signal: SignalClient, offer: rtc.SessionDescription) -> None:
        if self._subscriber is None:
            self._subscriber = await self._new_peer(offers=False)
        text = self._subscriber.accept_offer(offer.sdp, offer.mid_to_track_id)
        answer = rtc.SessionDescription(type="answer", sdp=text, id=offer.id)
        await signal.send(rtc.SignalRequest(answer=answer))

    async def _trickled(self, trickle: rtc.TrickleRequest) -> None:
        publisher = trickle.target == rtc.SignalTarget.PUBLISHER
        peer = self._publisher if publisher else self._subscriber
        if peer is None:
            return
        try:
            text = str(json.loads(trickle.candidateInit)["candidate"])
            if text:
                await peer.link.add_candidate(candidate_from_sdp(text.removeprefix("candidate:")))
        except (ValueError, KeyError, TypeError, AssertionError, IndexError):
            self.fail(f"the server sent an unreadable candidate: {trickle.candidateInit[:200]}")
            return
        if trickle.final:
            await peer.link.add_candidate(None)

    def _announce(self, participants: Sequence[models.ParticipantInfo]) -> None:
        now = time.monotonic()
        own = self._signal.join.participant.identity if self._signal is not None else ""
        if self.group.subscribe.auto:
            self._expected.announce(participants, own, now)
        for participant in participants:
            if participant.identity != own:
                for track in participant.tracks:
                    self.times.announced.setdefault(track.sid, now)

    async def _ask_quality(self, signal: SignalClient) -> None:
        """Ask for a smaller layer of every newly announced track."""
        quality = self.group.subscribe.quality
        if quality == "high" or not self.group.subscribe.auto:
            return
        fresh = [sid for sid in self.times.announced if sid not in self._asked_quality]
        if fresh:
            self._asked_quality.update(fresh)
            settings = rtc.UpdateTrackSettings(track_sids=fresh, quality=_QUALITIES[quality])
            await signal.send(rtc.SignalRequest(track_setting=settings))

    async def _published(self, signal: SignalClient, message: rtc.TrackPublishedResponse) -> None:
        sent = self.times.added.pop(message.cid, None)
        if sent is None:
            return
        self._summary.record("publish", time.monotonic() - sent)
        index = int(message.cid.rpartition("-")[2])
        kind: sdp.MediaKind = self.group.publish[index].kind
        if self._publisher is None:
            self._publisher = await self._new_peer(offers=True)
        clips = self._settings.clips[index]
        self._publisher.add_track(kind, message.cid, message.track.sid, clips)
        await self._negotiate(signal)

    def _wanted_layers(self, update: rtc.SubscribedQualityUpdate) -> None:
        qualities = [
            item
            for codec in update.subscribed_codecs
            if codec.codec.lower() in ("vp8", "video/vp8", "")
            for item in codec.qualities
        ] or list(update.subscribed_qualities)
        paused: Mapping[int, bool] = {int(item.quality): not item.enabled for item in qualities}
        if self._publisher is not None:
            self._publisher.set_paused_layers(update.track_sid, paused)

    # -- what happened ----------------------------------------------------------------------

    def _round_trip(self, seconds: float) -> None:
        if not self._finished:
            self._summary.record("signal_rtt", seconds)

    def _peer_connected(self, now: float) -> None:
        if self.times.connected is None:
            self.times.connected = now
            self.connected.set()

    def _first_packet(self, stream: Stream, at: float) -> None:
        announced = self.times.announced.get(stream.track_sid)
        if announced is not None and not self._finished:
            self._summary.record("subscribe", max(at - announced, 0.0))

    def _first_frame(self, stream: Stream, at: float) -> None:
        if not self._finished:
            self._summary.record("ttff", at - self.times.started)

    def fail(self, reason: str, cause: BaseException | None = None) -> None:
        """Note why this client failed; only the first reason counts."""
        if self.error is None and not self._finished:
            self.error = reason
            self.own_fault = own_fault(cause)
            self.connected.set()
            self._settings.on_failed(reason)

    def tick(self, now: float) -> None:
        """Let the peers send what is due."""
        for peer in self.peers:
            peer.tick(now)

    @property
    def present(self) -> bool:
        """Whether the client takes part at this moment: it is connected and did not fail."""
        return self.error is None and not self._finished and self.times.connected is not None

    def sample(self) -> dict[str, int]:
        """Return the counters of this moment, under the names of a worker's sample."""
        failed = self.error is not None
        present = not self._finished and not failed
        return measure.counters(self.times, self.peers, present=present, failed=failed)

    def published(self) -> dict[str, tuple[int, bool]]:
        """Return (packets sent, whether the server paused it) of each track, by its name."""
        return {name: state for peer in self.peers for name, state in peer.published()}

    def silent(self, now: float, patience: Callable[[str], float | None]) -> Iterator[Silent]:
        """Yield each track that should flow and does not, or did not since the last call.

        ``patience`` tells by a track's name how many seconds mean nothing, None where nobody knows.
        """
        joined, connected = self.times.joined, self.times.connected
        if not self.present or joined is None or connected is None:
            return
        arrivals = measure.arrivals(self.peers)
        yield from self._expected.silent(now, connected, arrivals, patience)
        began = max(joined, connected)
        if now > began + START_GRACE_S:
            taken = self.published()
            for index in range(len(self.group.publish)):
                name = track_name(self.plan.identity, index)
                if name not in taken:
                    yield Silent(name, began, None)

    def socket_inodes(self) -> Iterator[int]:
        """Yield the inodes of the media sockets."""
        return (peer.link.socket_inode for peer in self.peers if peer.link.socket_inode)

    def frames_skipped(self) -> int:
        """Frames not sent because sending fell behind."""
        return sum(peer.out.totals.frames_skipped for peer in self.peers)

    @property
    def join_response(self) -> rtc.JoinResponse | None:
        """What the server answered to the join; None before that."""
        return self._signal.join if self._signal is not None else None

    def server_info(self) -> dict[str, str]:
        """Return what the server said about itself."""
        if self._signal is None:
            return {}
        info = self._signal.join.server_info
        mode = "single" if self._single else "dual"
        return {"version": info.version, "region": info.region, "mode": mode}

    # -- the end ----------------------------------------------------------------------------

    def figures(self, now: float) -> Summary:
        """Return the figures up to ``now``, or up to the end if that was before."""
        if self._final is not None:
            return self._final
        failed = self.error is not None
        made = merged([self._summary])
        measure.conclude(made, self.times, self.peers, failed=failed, now=now)
        return made

    def finish(self, now: float) -> Summary:
        """Freeze and return the figures; later calls return the same."""
        self._final = self.figures(now)
        return self._final

    def give_up(self) -> None:
        """Freeze the figures, and end a :meth:`start` that is still waiting."""
        self.finish(time.monotonic())
        self.connected.set()

    async def close(self) -> None:
        """Leave the room and close everything. Idempotent; the figures stay."""
        self.give_up()
        if self._reader is not None:
            self._reader.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reader
        if self._signal is not None:
            await self._signal.leave()
            await self._signal.close()
        for peer in self.peers:
            await peer.close()


def seed_of(scenario_seed: int, number: int, life: int = 0) -> int:
    """Return the seed of a client's SSRCs and initial sequence numbers; another in each life."""
    return zlib.crc32(f"{scenario_seed}/{number}{f'/{life}' if life else ''}".encode())
