"""An independent WebRTC stack (aiortc) and our transports negotiate in any order of changes.

Only descriptions are exchanged: our end has no media engine and no candidates.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import pytest
from aiortc import RTCBundlePolicy, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import AudioStreamTrack, VideoStreamTrack
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from livekit.protocol import rtc

from lkpy.engine.api import (
    CloseDownTrack,
    CloseReceiver,
    CreateDownTrack,
    CreateReceiver,
    MediaKind,
)
from lkpy.sdp import SessionDescription
from lkpy.server.rtc.media_sections import DownTrackHandle
from lkpy.server.rtc.transport import PeerTransport
from lkpy.server.rtc.transport_types import SendMediaSectionsRequirement, SendOffer
from tests.patience import close_aiortc
from tests.transport_kit import RecordingEngine, add, no_track, single, subscriber

AUDIO, VIDEO = MediaKind.AUDIO, MediaKind.VIDEO
STREAMS = {AUDIO: AudioStreamTrack, VIDEO: VideoStreamTrack}
CHANGES = ["subscribe", "subscribe", "unsubscribe", "receive", "publish", "unpublish", "negotiate"]


class Call:
    """One client and one of our transports; subclasses know who offers."""

    def __init__(self, transport: PeerTransport, engine: RecordingEngine, seed: int) -> None:
        self.transport = transport
        self.engine = engine
        self.chance = random.Random(seed)
        self.now = 0.0
        self.pc = RTCPeerConnection(RTCConfiguration(bundlePolicy=RTCBundlePolicy.MAX_BUNDLE))
        self.down_tracks: list[DownTrackHandle] = []
        self.publishing: set[str] = set()
        self.sections = 0
        self.counter = 0

    # -- changes --

    def subscribe(self) -> None:
        self.counter += 1
        kind = self.chance.choice((AUDIO, VIDEO))
        self.down_tracks.append(add(self.transport, kind, str(self.counter)))
        self.transport.negotiate(self.now)

    def unsubscribe(self) -> None:
        if self.down_tracks:
            handle = self.down_tracks.pop(self.chance.randrange(len(self.down_tracks)))
            self.transport.down_tracks.remove(handle)
            self.transport.negotiate(self.now)

    def receive(self) -> None:
        self.pc.addTransceiver(self.chance.choice(("audio", "video")), direction="recvonly")

    def publish(self) -> None:
        stream = STREAMS[self.chance.choice((AUDIO, VIDEO))]()
        self.pc.addTransceiver(stream, direction="sendonly")
        self.publishing.add(stream.id)

    def unpublish(self) -> None:
        senders = [t for t in self.pc.getTransceivers() if t.direction == "sendonly"]
        if senders:
            transceiver = self.chance.choice(senders)
            transceiver.direction = "inactive"
            self.publishing.discard(transceiver.sender._track_id)

    async def negotiate(self) -> None:
        raise NotImplementedError

    # -- what must hold after every negotiation --

    def check(self, offered: SessionDescription, answered: SessionDescription) -> None:
        assert [(m.kind, m.mid) for m in offered.media] == [(m.kind, m.mid) for m in answered.media]
        mids = [media.mid for media in offered.media]
        assert len(set(mids)) == len(mids)
        assert len(mids) >= self.sections, "a section was lost"
        self.sections = len(mids)

        open_down_tracks: dict[int, str] = {}
        open_receivers: set[int] = set()
        for command in self.engine.commands:
            match command:
                case CreateDownTrack():
                    assert command.down_track not in open_down_tracks
                    assert command.mid not in open_down_tracks.values()
                    open_down_tracks[command.down_track] = command.mid
                case CloseDownTrack():
                    del open_down_tracks[command.down_track]
                case CreateReceiver():
                    assert command.receiver not in open_receivers
                    open_receivers.add(command.receiver)
                case CloseReceiver():
                    open_receivers.remove(command.receiver)
        assert open_down_tracks == {h.id: h.mid for h in self.down_tracks if h.bound}
        assert len(open_receivers) == len(self.publishing)

    def check_senders(self, ours: SessionDescription) -> None:
        """Each down track that flows is described in exactly one section, and no other is."""
        described = [m.msids[0].track for m in ours.media if m.sends and m.msids]
        assert sorted(described) == sorted(h.track_sid for h in self.down_tracks if h.bound)
        assert self.transport.mid_to_track_id() == {
            m.mid: m.msids[0].track for m in ours.media if m.sends and m.msids
        }


class SingleCall(Call):
    """The client offers, and adds the sections that it is asked for."""

    async def negotiate(self) -> None:
        for _ in range(4):
            await self._round()
            self.now += 1
            outputs = self.transport.poll(self.now)
            if not outputs:
                break
            (asked,) = outputs
            assert isinstance(asked, SendMediaSectionsRequirement)
            for kind, count in (("audio", asked.audios), ("video", asked.videos)):
                for _ in range(count):
                    self.pc.addTransceiver(kind, direction="recvonly")
        assert all(handle.bound for handle in self.down_tracks)

    async def _round(self) -> None:
        await self.pc.setLocalDescription(await self.pc.createOffer())
        text = self.pc.localDescription.sdp
        description = rtc.SessionDescription(type="offer", sdp=text)
        result = self.transport.handle_offer(self.now, description, no_track)
        for track in result.tracks:
            self.transport.create_receiver(track, clock_group=1)
        await self.pc.setRemoteDescription(RTCSessionDescription(result.answer.sdp, "answer"))
        answered = SessionDescription.parse(result.answer.sdp)
        self.check(SessionDescription.parse(text), answered)
        self.check_senders(answered)


class DualCall(Call):
    """We offer; the client has nothing to say about sections and publishes elsewhere."""

    def receive(self) -> None:
        pass

    publish = unpublish = receive

    async def negotiate(self) -> None:
        self.transport.negotiate(self.now, force=True)
        for turn in range(5):
            self.now += 1
            outputs = self.transport.poll(self.now)
            if not outputs:
                break
            (output,) = outputs
            assert isinstance(output, SendOffer)
            if turn == 0 and self.chance.random() < 0.5:
                self.chance.choice((self.subscribe, self.unsubscribe))()
            offered = SessionDescription.parse(output.offer.sdp)
            await self.pc.setRemoteDescription(RTCSessionDescription(output.offer.sdp, "offer"))
            await self.pc.setLocalDescription(await self.pc.createAnswer())
            text = self.pc.localDescription.sdp
            answer = rtc.SessionDescription(type="answer", sdp=text, id=output.offer.id)
            self.transport.handle_answer(self.now, answer)
            self.check(offered, SessionDescription.parse(text))
        assert all(handle.bound for handle in self.down_tracks)


async def run(call: Call, changes: list[str]) -> None:
    steps: dict[str, Callable[[], Awaitable[None] | None]] = {
        name: getattr(call, name) for name in CHANGES
    }
    call.pc.createDataChannel("_reliable")
    try:
        for change in [*changes, "negotiate"]:
            step = steps[change]()
            if step is not None:
                await step
    finally:
        await close_aiortc(call.pc)


@pytest.mark.parametrize(("kind", "make"), [(SingleCall, single), (DualCall, subscriber)])
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(changes=st.lists(st.sampled_from(CHANGES), max_size=14), seed=st.integers(0, 2**16))
def test_any_order_of_changes(
    kind: type[Call],
    make: Callable[[RecordingEngine], PeerTransport],
    changes: list[str],
    seed: int,
) -> None:
    async def scenario() -> None:
        engine = RecordingEngine()
        await run(kind(make(engine), engine, seed), changes)

    asyncio.run(scenario())
