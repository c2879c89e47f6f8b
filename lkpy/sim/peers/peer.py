"""One peer connection of a simulated client: sections, link, receiver and senders together.

Knows descriptions, not signalling: :mod:`lkpy.sim.client` carries the texts.
"""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from lkpy.sim import rtp
from lkpy.sim.media.clip import Clip
from lkpy.sim.peers import sdp
from lkpy.sim.peers.link import MediaLink
from lkpy.sim.peers.receive import Receiver
from lkpy.sim.peers.send import Feedback, Outbound, TrackSender

RIDS = ("q", "h", "f")
_DATA_MID = "0"


@dataclass(frozen=True, slots=True)
class PeerSettings:
    """What a client's peer connections have in common."""

    family: socket.AddressFamily
    addresses: tuple[str, ...]
    cname: str
    phase: float
    seed: int


@dataclass(slots=True)
class _Published:
    section: sdp.Section
    clips: Sequence[Clip]
    track_sid: str
    sender: TrackSender | None = None
    task: asyncio.Task[None] | None = None


class Peer:
    """A peer connection. ``on_lost`` is called once if it fails after it was connected."""

    def __init__(self, settings: PeerSettings, *, offers: bool) -> None:
        self._settings = settings
        self._random = random.Random(settings.seed)  # noqa: S311 - not a secret
        self.receiver = Receiver(
            rtcp_ssrc=self._ssrc(),
            cname=settings.cname,
            send_rtcp=lambda packet: self.link.send_rtcp(packet),
        )
        self.link = MediaLink(
            controlling=offers,
            family=settings.family,
            addresses=settings.addresses,
            on_media=self.receiver.datagram,
        )
        self.out = Outbound(self.link.send_rtp, self.link.send_rtcp)
        self._feedback = Feedback(self.out)
        self.receiver.on_sender_rtcp = self._feedback
        self._offers = offers
        self._local: sdp.Local | None = None
        self._version = 0
        self._sections: list[sdp.Section] = []
        self._published: list[_Published] = []
        self._connecting: asyncio.Task[None] | None = None
        self._connected = False
        self.on_connected: Callable[[float], None] = lambda now: None
        self.on_failed: Callable[[str], None] = lambda reason: None

    def _ssrc(self) -> int:
        return self._random.randrange(1, 1 << 32)

    async def open(self) -> None:
        """Open the socket."""
        self._local = await self.link.gather()

    # -- sections ---------------------------------------------------------------------------

    def add_receive_sections(self, audios: int, videos: int) -> None:
        """Offer to receive so many more tracks."""
        for kind, count in (("audio", audios), ("video", videos)):
            for _ in range(count):
                self._add(kind)  # type: ignore[arg-type]

    def add_track(
        self, kind: sdp.MediaKind, track_id: str, track_sid: str, clips: Sequence[Clip]
    ) -> None:
        """Offer to send a track; it starts once the server has answered."""
        with_rtx = kind == "video"
        encodings = tuple(
            sdp.Encoding(
                ssrc=self._ssrc(),
                rtx_ssrc=self._ssrc() if with_rtx else None,
                rid=RIDS[index] if len(clips) > 1 else "",
            )
            for index in range(len(clips))
        )
        section = self._add(kind, track_id, encodings)
        self._published.append(_Published(section, clips, track_sid))

    def _add(
        self, kind: sdp.MediaKind, track_id: str = "", encodings: tuple[sdp.Encoding, ...] = ()
    ) -> sdp.Section:
        section = sdp.Section(str(len(self._sections) + 1), kind, track_id, encodings)
        self._sections.append(section)
        return section

    # -- descriptions -----------------------------------------------------------------------

    def make_offer(self) -> str:
        """Write an offer of all sections."""
        if self._local is None:
            raise RuntimeError("the peer is not open")
        self._version += 1
        return sdp.offer(self._local, self._version, self._sections, _DATA_MID)

    def accept_answer(self, text: str, track_sids: Mapping[str, str]) -> None:
        """Take the server's answer; ``track_sids`` maps mids to the tracks it sends on them."""
        remote = sdp.parse(text)
        for section in remote.sections:
            self._declare(section, track_sids)
        answered = {section.mid: section for section in remote.sections}
        for item in self._published:
            section_of_server = answered.get(item.section.mid)
            if item.sender is None and section_of_server is not None:
                item.sender = TrackSender(
                    self.out,
                    item.section,
                    section_of_server,
                    item.clips,
                    track_sid=item.track_sid,
                    phase=self._settings.phase,
                    cname=self._settings.cname,
                    seed=self._random,
                )
                self._feedback.add(item.sender)
        self._begin(remote)
        self._start_tracks()

    def accept_offer(self, text: str, track_sids: Mapping[str, str]) -> str:
        """Take an offer of the server's and return the answer."""
        if self._local is None:
            raise RuntimeError("the peer is not open")
        self._version += 1
        remote = sdp.parse(text)
        for section in remote.sections:
            self._declare(section, track_sids)
        answer = sdp.answer(self._local, self._version, text)
        self._begin(remote)
        return answer

    def _declare(self, section: sdp.RemoteSection, track_sids: Mapping[str, str]) -> None:
        receiver = self.receiver
        if not section.sends or section.kind not in ("audio", "video"):
            return
        receiver.mid_id = section.extensions.get(rtp.MID_URI, receiver.mid_id)
        receiver.transport_cc_id = section.extensions.get(
            rtp.TRANSPORT_CC_URI, receiver.transport_cc_id
        )
        for name, number in section.payload_types.items():
            if name in ("opus", "vp8", "rtx"):
                receiver.declare_payload_type(number, section.kind, rtx=name == "rtx")
        receiver.declare(
            mid=section.mid,
            kind=section.kind,
            track_sid=track_sids.get(section.mid, section.track_id),
            ssrc=section.ssrc,
            rtx_ssrc=section.rtx_ssrc,
        )

    # -- life -------------------------------------------------------------------------------

    def _begin(self, remote: sdp.Remote) -> None:
        if self._connecting is None:
            self._connecting = asyncio.create_task(self._connect(remote))

    async def _connect(self, remote: sdp.Remote) -> None:
        try:
            await self.link.connect(remote)
        except Exception as error:  # noqa: BLE001 - whatever aiortc raises, this client failed
            self.on_failed(str(error) or type(error).__name__)
            return
        self._connected = True
        self.receiver.srtp = self.link.srtp_rx
        self.link.on_closed = self.on_failed
        now = self.link.dtls_at or 0.0
        self.receiver.start(now, self._settings.phase)
        self.on_connected(now)
        self._start_tracks()
        if remote.has_data:
            await (self.link.open_channels() if self._offers else self.link.accept_channels())

    def _start_tracks(self) -> None:
        if not self._connected:
            return
        for item in self._published:
            if item.sender is not None and item.task is None:
                item.task = asyncio.create_task(item.sender.run())
                item.task.add_done_callback(self._sender_ended)

    def _sender_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.on_failed(f"cannot send: {type(error).__name__}: {error}")

    def set_paused_layers(self, track_sid: str, paused: Mapping[int, bool]) -> None:
        """Pause or resume layers (0 is the smallest) of a published track."""
        for item in self._published:
            if item.track_sid == track_sid and item.sender is not None:
                for index, stream in enumerate(item.sender.streams):
                    if index in paused:
                        stream.set_paused(paused[index])

    def published(self) -> Iterator[tuple[str, tuple[int, bool]]]:
        """Yield each track that the server takes: its name, (packets sent, all layers paused)."""
        for item in self._published:
            if item.task is not None and item.sender is not None:
                streams = item.sender.streams
                sent = sum(stream.packets for stream in streams)
                yield item.section.track_id, (sent, all(stream.paused for stream in streams))

    def tick(self, now: float) -> None:
        """Do what is due."""
        if self._connected:
            self.receiver.tick(now)

    async def close(self) -> None:
        """Stop sending and close the connection. Idempotent."""
        self._connected = False
        tasks = [item.task for item in self._published if item.task is not None]
        if self._connecting is not None:
            tasks.append(self._connecting)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.link.close()
