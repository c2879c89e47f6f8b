"""A simulated client's peer connection against aiortc's own, which knows nothing of ours."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable, Iterator

import numpy as np
import pytest
from aiortc import RTCPeerConnection, RTCRtpReceiver, RTCSessionDescription
from aiortc.contrib.media import MediaBlackhole
from aiortc.mediastreams import AudioStreamTrack, MediaStreamTrack, VideoStreamTrack

from lkpy.sim.media import encode
from lkpy.sim.peers.link import local_addresses
from lkpy.sim.peers.peer import Peer, PeerSettings
from tests.patience import PATIENCE_S

TONE = 440


@pytest.fixture(scope="module")
def clips() -> dict[str, list]:
    return {
        "audio": [encode.opus(32_000, TONE)],
        "video": [encode.vp8(320, 180, 20, 150_000)],
    }


class Call:
    """Our peer as the one that offers, aiortc as the server."""

    def __init__(self) -> None:
        family, addresses = local_addresses("127.0.0.1", 9)
        self.ours = Peer(PeerSettings(family, addresses, "sim", 0.3, 7), offers=True)
        self.theirs = RTCPeerConnection()
        self.tracks: dict[str, MediaStreamTrack] = {}
        self.theirs.on("track", lambda track: self.tracks.__setitem__(track.kind, track))
        self.connected = asyncio.Event()
        self.ours.on_connected = lambda now: self.connected.set()
        self.failures: list[str] = []
        self.ours.on_failed = self.failures.append

    async def negotiate(self) -> None:
        offer = self.ours.make_offer()
        await self.theirs.setRemoteDescription(RTCSessionDescription(offer, "offer"))
        await self.theirs.setLocalDescription(await self.theirs.createAnswer())
        self.ours.accept_answer(self.theirs.localDescription.sdp, {})
        await asyncio.wait_for(self.connected.wait(), PATIENCE_S)

    async def tick(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(0.02)
            self.ours.tick(loop.time())


@pytest.fixture
async def call() -> AsyncIterator[Call]:
    made = Call()
    await made.ours.open()
    ticker = asyncio.create_task(made.tick())
    yield made
    ticker.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await ticker
    await made.ours.close()
    await made.theirs.close()


async def until(condition: Callable[[], bool], timeout: float = 15) -> None:
    async with asyncio.timeout(timeout):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.02)


def lossy(send: Callable[[bytes], None], part: float) -> Callable[[bytes], None]:
    """Drop a part of what is sent, the same packets in every run."""
    dice = random.Random(5)

    def maybe(packet: bytes) -> None:
        if dice.random() >= part:
            send(packet)

    return maybe


async def test_what_we_publish_is_seen_and_heard(call: Call, clips: dict[str, list]) -> None:
    for kind in ("audio", "video"):
        call.ours.add_track(kind, f"cid-{kind}", f"TR_{kind}", clips[kind])
    await call.negotiate()
    await until(lambda: len(call.tracks) == 2)
    picture = await asyncio.wait_for(call.tracks["video"].recv(), PATIENCE_S)
    assert (picture.width, picture.height) == (320, 180)
    sound = np.concatenate(
        [
            (await asyncio.wait_for(call.tracks["audio"].recv(), PATIENCE_S))
            .to_ndarray()
            .ravel()[::2]
            for _ in range(50)
        ]
    ).astype(float)[4800:]
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound))))
    loudest = np.fft.rfftfreq(len(sound), 1 / 48_000)[spectrum.argmax()]
    assert loudest == pytest.approx(TONE, abs=3)


class Elsewhere:
    """A pair that the agent nominates later; what is sent on it stays here."""

    def __init__(self) -> None:
        self.protocol = self.transport = self
        self.remote_addr = ("192.0.2.9", 9)
        self.sent: list[bytes] = []

    def sendto(self, datagram: bytes, address: tuple[str, int]) -> None:
        assert address == self.remote_addr
        self.sent.append(datagram)


async def test_media_follows_the_nominated_pair(call: Call, clips: dict[str, list]) -> None:
    call.ours.add_track("audio", "cid", "TR_a", clips["audio"])
    await call.negotiate()
    await until(lambda: call.ours.out.totals.packets > 5)
    other = Elsewhere()
    connection = call.ours.link._connection
    first, connection._nominated[1] = connection._nominated[1], other
    # RTP, and RTCP of both directions: sender reports and what a receiver owes.
    call.ours.link.send_rtcp(b"\x80\xc9\0\1\0\0\0\1")
    await until(lambda: len(other.sent) > 20)
    connection._nominated[1] = first
    kinds = {192 <= datagram[1] <= 223 for datagram in other.sent}
    assert kinds == {True, False}
    stayed = len(other.sent)
    sent = call.ours.out.totals.packets
    await until(lambda: call.ours.out.totals.packets > sent + 5)
    assert len(other.sent) == stayed


async def test_lost_packets_of_ours_are_sent_again(call: Call, clips: dict[str, list]) -> None:
    call.ours.add_track("video", "cid", "TR_v", clips["video"])
    call.ours.out.send_rtp = lossy(call.ours.out.send_rtp, 0.1)
    await call.negotiate()
    sink = MediaBlackhole()
    await until(lambda: "video" in call.tracks)
    sink.addTrack(call.tracks["video"])
    await sink.start()
    totals = call.ours.out.totals
    await until(lambda: totals.retransmissions >= 3)
    await sink.stop()
    assert totals.nacks >= totals.retransmissions


async def test_a_picture_loss_brings_a_key_frame(call: Call, clips: dict[str, list]) -> None:
    call.ours.add_track("video", "cid", "TR_v", clips["video"])
    await call.negotiate()
    await until(lambda: call.ours.out.totals.packets > 10)
    before = call.ours.out.totals.key_frames
    receiver: RTCRtpReceiver = call.theirs.getReceivers()[0]
    ssrc = call.ours._sections[0].encodings[0].ssrc
    await receiver._send_rtcp_pli(ssrc)
    await until(lambda: call.ours.out.totals.key_frames > before, timeout=2)
    assert call.ours.out.totals.plis == 1


@pytest.fixture
def sends() -> Iterator[dict[str, MediaStreamTrack]]:
    tracks = {"audio": AudioStreamTrack(), "video": VideoStreamTrack()}
    yield tracks
    for track in tracks.values():
        track.stop()


async def test_what_is_sent_to_us_is_counted_and_its_first_frame_found(
    call: Call, sends: dict[str, MediaStreamTrack]
) -> None:
    call.ours.add_receive_sections(1, 1)
    frames: dict[str, float] = {}
    call.ours.receiver.first.on_frame = lambda stream, at: frames.setdefault(stream.kind, at)
    for track in sends.values():
        call.theirs.addTrack(track)
    await call.negotiate()
    receiver = call.ours.receiver
    await until(lambda: set(frames) == {"audio", "video"} and receiver.totals.packets > 60)
    assert receiver.totals.decrypt_errors == 0
    assert {s.kind: s.lost for s in receiver.streams.values()} == {"audio": 0, "video": 0}
    # Our receiver reports reach the sender.
    reports = [sender._RTCRtpSender__stats for sender in call.theirs.getSenders()]
    await until(lambda: all("remote-inbound-rtp" in str(report) for report in reports))


async def test_lost_packets_to_us_are_asked_for_and_come_back(
    call: Call, sends: dict[str, MediaStreamTrack]
) -> None:
    call.ours.add_receive_sections(0, 1)
    receiver = call.ours.receiver
    protocol_sink = lossy(receiver.datagram, 0.1)
    call.ours.link._connection._sink = protocol_sink
    call.ours.link._connection._protocols[0]._sink = protocol_sink
    call.theirs.addTrack(sends["video"])
    await call.negotiate()
    await until(lambda: any(stream.restored >= 3 for stream in receiver.streams.values()))
    stream = next(iter(receiver.streams.values()))
    assert receiver.totals.nacks >= stream.restored
    assert stream.first_frame_at is not None


async def test_a_wrong_fingerprint_fails_in_words(call: Call) -> None:
    call.ours.add_receive_sections(1, 0)
    await call.theirs.setRemoteDescription(RTCSessionDescription(call.ours.make_offer(), "offer"))
    await call.theirs.setLocalDescription(await call.theirs.createAnswer())
    answer = call.theirs.localDescription.sdp
    lines = [
        line[:-11] + "00:11:22:33" if line.startswith("a=fingerprint") else line
        for line in answer.splitlines()
    ]
    call.ours.accept_answer("\r\n".join(lines) + "\r\n", {})
    await until(lambda: bool(call.failures))
    assert "DTLS" in call.failures[0]
