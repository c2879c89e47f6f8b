"""The native engine against aiortc, an independent WebRTC stack, over loopback."""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from typing import TypeVar

import pytest
from aiortc import (
    RTCCertificate,
    RTCDataChannel,
    RTCDtlsFingerprint,
    RTCDtlsParameters,
    RTCDtlsTransport,
    RTCIceCandidate,
    RTCIceGatherer,
    RTCIceParameters,
    RTCIceTransport,
    RTCRtpCodecParameters,
    RTCRtpHeaderExtensionParameters,
    RTCRtpReceiver,
    RTCRtpSender,
    RTCSctpTransport,
)
from aiortc.mediastreams import AudioStreamTrack, MediaStreamTrack, VideoStreamTrack
from aiortc.rtcrtpparameters import (
    RTCRtcpFeedback,
    RTCRtpDecodingParameters,
    RTCRtpReceiveParameters,
    RTCRtpSendParameters,
)
from aiortc.rtcrtpreceiver import RemoteStreamTrack
from aiortc.rtcsctptransport import RTCSctpCapabilities

from lkpy.engine import api
from lkpy.server.config_congestion import CongestionControlConfig
from tests.patience import PATIENCE_S

native = pytest.importorskip("lkpy.engine.native", reason="the media engine is not built")
from lkpy.errors import Blame, Code, LkpyError  # noqa: E402

MID = "urn:ietf:params:rtp-hdrext:sdes:mid"
EXTENSIONS = (api.RtpHeaderExtension(1, MID),)
OPUS = api.RtpCodec(111, "audio/opus", 48_000, 2)
VP8 = api.RtpCodec(96, "video/vp8", 90_000, rtx_payload_type=97, nack=True, pli=True)
CODECS = {api.MediaKind.AUDIO: OPUS, api.MediaKind.VIDEO: VP8}

E = TypeVar("E")


class Driver:
    """An engine whose events are collected on the event loop."""

    def __init__(self, config: api.EngineConfig) -> None:
        self.engine = native.NativeEngine(config)
        self.events: list[api.Event] = []
        self._ids = iter(range(1, 1_000))
        self._arrived = asyncio.Event()
        asyncio.get_running_loop().add_reader(self.engine.fileno(), self._drain)

    def new_id(self) -> int:
        return next(self._ids)

    def submit(self, *commands: api.Command) -> None:
        self.engine.submit(commands)

    async def expect(self, kind: type[E], matches: Callable[[E], bool] = lambda _: True) -> E:
        """The first event of a kind that matches, which may have come already."""
        seen = 0
        async with asyncio.timeout(PATIENCE_S):
            while True:
                for event in self.events[seen:]:
                    if isinstance(event, kind) and matches(event):
                        return event
                seen = len(self.events)
                self._arrived.clear()
                await self._arrived.wait()

    async def stats(self) -> api.StatsCollected:
        request = self.new_id()
        self.submit(api.CollectStats(request))
        return await self.expect(api.StatsCollected, lambda event: event.request == request)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self.engine.fileno())
        self.engine.close()
        self._drain()

    def _drain(self) -> None:
        self.events += self.engine.drain()
        self._arrived.set()


class Peer:
    """aiortc's objects put together without SDP, and their transport in the engine."""

    def __init__(self, driver: Driver, *, ice_lite: bool) -> None:
        self.driver = driver
        self.transport = driver.new_id()
        self._ice_lite = ice_lite
        self._gatherer = RTCIceGatherer(iceServers=[])
        self._ice = RTCIceTransport(self._gatherer)
        self._ice._connection.ice_controlling = True
        self._dtls = RTCDtlsTransport(self._ice, [RTCCertificate.generateCertificate()])
        self._dtls._set_role("client")
        self._senders: list[RTCRtpSender] = []
        self._receivers: list[RTCRtpReceiver] = []
        self.sctp: RTCSctpTransport | None = None

    async def connect(self) -> None:
        await self._gatherer.gather()
        ours = self._gatherer.getLocalParameters()
        fingerprint = self._dtls.getLocalParameters().fingerprints[0]
        theirs = api.IceParameters(secrets.token_hex(4), secrets.token_hex(12))
        dtls = api.DtlsParameters(fingerprint.algorithm, fingerprint.value, api.DtlsRole.SERVER)
        self.driver.submit(
            api.CreateTransport(self.transport, 0, theirs, ice_lite=self._ice_lite),
            api.SetRemoteParameters(
                self.transport, api.IceParameters(ours.usernameFragment, ours.password), dtls
            ),
        )
        info = self.driver.engine.info
        for candidate in info.workers[0].candidates:
            await self._ice.addRemoteCandidate(
                RTCIceCandidate(
                    component=candidate.component,
                    foundation=candidate.foundation,
                    ip=candidate.address,
                    port=candidate.port,
                    priority=candidate.priority,
                    protocol=candidate.protocol,
                    type=candidate.type,
                )
            )
        await self._ice.addRemoteCandidate(None)
        await self._ice.start(RTCIceParameters(theirs.ufrag, theirs.pwd, iceLite=self._ice_lite))
        print_ = RTCDtlsFingerprint(info.fingerprint_algorithm, info.fingerprint)
        await self._dtls.start(RTCDtlsParameters(fingerprints=[print_]))
        assert self._dtls.state == "connected"

    async def publish(self, track: MediaStreamTrack, mid: str, layers: int = 1) -> int:
        """Send a track, as the highest of ``layers``; returns the receiver's id."""
        kind = api.MediaKind(track.kind)
        receiver = self.driver.new_id()
        sender = RTCRtpSender(track, self._dtls)
        ssrcs = [*range(1, layers), sender._ssrc]
        encodings = tuple(api.RtpEncoding(i, ssrc=ssrc) for i, ssrc in enumerate(ssrcs))
        self.driver.submit(
            api.CreateReceiver(
                receiver,
                self.transport,
                mid,
                kind,
                (CODECS[kind],),
                EXTENSIONS,
                encodings if layers > 1 else (api.RtpEncoding(0),),
                clock_group=self.transport,
            )
        )
        self._senders.append(sender)
        parameters = RTCRtpSendParameters(
            codecs=aiortc_codecs(kind), headerExtensions=aiortc_extensions(), muxId=mid
        )
        parameters.rtcp.cname = "publisher"
        await sender.send(parameters)
        return receiver

    async def subscribe(
        self, receiver: int, kind: api.MediaKind, mid: str, max_spatial: int = 2
    ) -> MediaStreamTrack:
        """Receive a track by a down track of the engine."""
        self.down_track = self.driver.new_id()
        ssrc, rtx_ssrc = secrets.randbits(32), secrets.randbits(32)
        is_video = kind is api.MediaKind.VIDEO
        consumer = RTCRtpReceiver(kind.value, self._dtls)
        consumer._track = RemoteStreamTrack(kind=kind.value)
        consumer._set_rtcp_ssrc(secrets.randbits(32))
        self._receivers.append(consumer)
        codecs = aiortc_codecs(kind)
        encoding = RTCRtpDecodingParameters(ssrc=ssrc, payloadType=codecs[0].payloadType)
        await consumer.receive(
            RTCRtpReceiveParameters(
                codecs=codecs,
                headerExtensions=aiortc_extensions(),
                muxId=mid,
                encodings=[encoding],
            )
        )
        self.driver.submit(
            api.CreateDownTrack(
                self.down_track,
                self.transport,
                receiver,
                mid,
                ssrc,
                rtx_ssrc if is_video else None,
                "publisher",
                (CODECS[kind],),
                EXTENSIONS,
                max_spatial=max_spatial,
            )
        )
        return consumer.track

    async def stop_sending(self) -> None:
        for sender in self._senders:
            await sender.stop()

    async def start_data(self) -> RTCSctpTransport:
        self.sctp = RTCSctpTransport(self._dtls)
        await self.sctp.start(RTCSctpCapabilities(maxMessageSize=65_535), 5000)
        return self.sctp

    async def close(self) -> None:
        for part in (*self._senders, *self._receivers):
            await part.stop()
        if self.sctp is not None:
            await self.sctp.stop()
        await self._dtls.stop()
        await self._ice.stop()


def aiortc_codecs(kind: api.MediaKind) -> list[RTCRtpCodecParameters]:
    codec = CODECS[kind]
    feedback = [RTCRtcpFeedback("nack"), RTCRtcpFeedback("nack", "pli")] if codec.nack else []
    codecs = [
        RTCRtpCodecParameters(
            mimeType=codec.mime_type.replace("vp8", "VP8"),
            clockRate=codec.clock_rate,
            channels=codec.channels or None,
            payloadType=codec.payload_type,
            rtcpFeedback=feedback,
        )
    ]
    if codec.rtx_payload_type is not None:
        codecs.append(
            RTCRtpCodecParameters(
                mimeType="video/rtx",
                clockRate=codec.clock_rate,
                payloadType=codec.rtx_payload_type,
                parameters={"apt": codec.payload_type},
            )
        )
    return codecs


def aiortc_extensions() -> list[RTCRtpHeaderExtensionParameters]:
    return [RTCRtpHeaderExtensionParameters(id=e.id, uri=e.uri) for e in EXTENSIONS]


@pytest.fixture(autouse=True)
def _loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aioice.ice.get_host_addresses", lambda use_ipv4, use_ipv6: ["127.0.0.1"])


@pytest.fixture
async def driver() -> AsyncIterator[Driver]:
    driver = Driver(api.EngineConfig())
    yield driver
    driver.close()


@pytest.fixture
async def peers(driver: Driver) -> AsyncIterator[tuple[Peer, Peer]]:
    """Two connected peers: the engine is a lite agent for one, a full one for the other."""
    pair = Peer(driver, ice_lite=True), Peer(driver, ice_lite=False)
    await asyncio.gather(*(peer.connect() for peer in pair))
    yield pair
    for peer in pair:
        await peer.close()


async def test_peers_connect_with_an_aead_cipher(driver: Driver, peers: tuple[Peer, Peer]) -> None:
    for peer in peers:
        connected = await driver.expect(
            api.IceStateChanged,
            lambda event, id=peer.transport: event.transport == id and event.state == "connected",
        )
        assert isinstance(connected.state, api.IceState)
        port = driver.engine.info.workers[0].candidates[0].port
        assert (connected.local, connected.protocol) == (f"127.0.0.1:{port}", "udp")
        secured = await driver.expect(
            api.DtlsStateChanged,
            lambda event, id=peer.transport: event.transport == id and event.state == "connected",
        )
        assert secured.srtp_profile.startswith("AEAD_AES_")


async def test_audio_and_video_pass_from_one_peer_to_the_other(
    driver: Driver, peers: tuple[Peer, Peer]
) -> None:
    publisher, subscriber = peers
    video = await publisher.publish(VideoStreamTrack(), "0")
    audio = await publisher.publish(AudioStreamTrack(), "1")
    tracks = [
        await subscriber.subscribe(video, api.MediaKind.VIDEO, "a"),
        await subscriber.subscribe(audio, api.MediaKind.AUDIO, "b"),
    ]
    async with asyncio.timeout(PATIENCE_S):
        pictures = [await tracks[0].recv() for _ in range(5)]
        sounds = [await tracks[1].recv() for _ in range(5)]
    assert {(picture.width, picture.height) for picture in pictures} == {(640, 480)}
    assert {sound.sample_rate for sound in sounds} == {48_000}
    begun = await driver.expect(api.ReceiverLayersChanged, lambda event: event.receiver == video)
    assert (begun.layers, begun.mime_type) == ((0,), "video/vp8")
    stats = await driver.stats()
    assert {layer.receiver for layer in stats.layers if layer.packets > 0} == {video, audio}
    assert all(down_track.packets > 0 for down_track in stats.down_tracks)
    assert sum(transport.srtp_errors for transport in stats.transports) == 0
    assert stats.worker.panics == 0


async def test_the_only_layer_that_lives_is_seen_by_who_wants_the_lowest(
    driver: Driver, peers: tuple[Peer, Peer]
) -> None:
    publisher, subscriber = peers
    video = await publisher.publish(VideoStreamTrack(), "0", layers=3)
    track = await subscriber.subscribe(video, api.MediaKind.VIDEO, "a", max_spatial=0)
    async with asyncio.timeout(PATIENCE_S):
        await track.recv()
    begun = await driver.expect(api.ReceiverLayersChanged)
    assert begun.layers == (2,)
    (down_track,) = (await driver.stats()).down_tracks
    assert down_track.spatial == 2


async def test_media_goes_on_while_everything_is_negotiated_anew(
    driver: Driver, peers: tuple[Peer, Peer]
) -> None:
    publisher, subscriber = peers
    video = await publisher.publish(VideoStreamTrack(), "0")
    track = await subscriber.subscribe(video, api.MediaKind.VIDEO, "a")
    async with asyncio.timeout(PATIENCE_S):
        await track.recv()
        others = (replace(VP8, mime_type="video/vp9", payload_type=98, rtx_payload_type=99), VP8)
        encodings = (api.RtpEncoding(0), api.RtpEncoding(1, ssrc=7))
        ids = (api.RtpHeaderExtension(9, MID),)
        driver.submit(
            api.RenegotiateReceiver(video, others, EXTENSIONS, encodings),
            api.RenegotiateDownTrack(
                subscriber.down_track, (replace(VP8, rtx_payload_type=None),), ids
            ),
        )
        before = (await driver.stats()).down_tracks[0]
        for _ in range(40):
            await track.recv()
    stats = await driver.stats()
    (after,) = stats.down_tracks
    assert after.packets > before.packets
    assert after.packets_lost == 0
    assert (stats.layers[0].packets_lost, stats.worker.panics) == (0, 0)
    assert not any(isinstance(event, api.CommandFailed) for event in driver.events)


async def test_a_publisher_who_stops_sending_is_said(
    driver: Driver, peers: tuple[Peer, Peer]
) -> None:
    publisher, subscriber = peers
    audio = await publisher.publish(AudioStreamTrack(), "0")
    track = await subscriber.subscribe(audio, api.MediaKind.AUDIO, "a")
    async with asyncio.timeout(20):
        await track.recv()
    await publisher.stop_sending()
    stalled = await driver.expect(api.ReceiverStalled)
    assert (stalled.receiver, stalled.stalled, stalled.cause) == (audio, True, "no_packets")
    assert stalled.elapsed_ms >= 5_000
    driver.submit(api.UpdateReceiver(audio, muted=True))
    over = await driver.expect(api.ReceiverStalled, lambda event: not event.stalled)
    assert over.elapsed_ms >= stalled.elapsed_ms
    assert not any(isinstance(event, api.DownTrackStalled) for event in driver.events)


async def test_a_message_comes_back_on_every_channel_it_is_sent_to(
    driver: Driver, peers: tuple[Peer, Peer]
) -> None:
    received: asyncio.Queue[bytes] = asyncio.Queue()
    channels: list[RTCDataChannel] = []

    def listen(channel: RTCDataChannel) -> None:
        channels.append(channel)
        channel.on("message", received.put_nowait)

    for peer in peers:
        driver.submit(api.OpenDataChannel(peer.transport, "_reliable"))
        sctp = await peer.start_data()
        sctp.on("datachannel", listen)
    opened = [
        await driver.expect(
            api.DataChannelOpened, lambda event, id=peer.transport: event.transport == id
        )
        for peer in peers
    ]
    assert [(event.label, event.ordered, event.max_retransmits) for event in opened] == [
        ("_reliable", True, None)
    ] * 2
    driver.submit(
        api.SendData(tuple((event.transport, event.stream_id) for event in opened), b"to all")
    )
    async with asyncio.timeout(PATIENCE_S):
        assert [await received.get(), await received.get()] == [b"to all"] * 2
    channels[0].send(b"x" * 60_000)
    event = await driver.expect(api.DataReceived)
    assert (event.payload, event.binary) == (b"x" * 60_000, True)


async def test_data_track_packets_go_from_channel_to_channel(
    driver: Driver, peers: tuple[Peer, Peer]
) -> None:
    received: asyncio.Queue[bytes] = asyncio.Queue()
    channels: list[RTCDataChannel] = []

    def listen(channel: RTCDataChannel) -> None:
        channels.append(channel)
        channel.on("message", received.put_nowait)

    publisher, subscriber = peers
    for peer in peers:
        driver.submit(
            api.OpenDataChannel(peer.transport, "_data_track", ordered=False, max_retransmits=0)
        )
        sctp = await peer.start_data()
        sctp.on("datachannel", listen)
        await driver.expect(
            api.DataChannelOpened, lambda event, id=peer.transport: event.transport == id
        )
    track, down = driver.new_id(), driver.new_id()
    driver.submit(
        api.CreateDataTrack(track, publisher.transport, 0x0102),
        api.CreateDataDownTrack(down, subscriber.transport, track, 0xFEFF),
        api.CreateDataTrack(driver.new_id(), publisher.transport, 0x0102),
    )
    failed = await driver.expect(api.CommandFailed)
    assert (failed.command, failed.code) == ("CreateDataTrack", Code.INVALID_ARGUMENT)
    header = bytes([0b0001_1000, 0, 1, 2, 0, 7, 0, 8, 0, 0, 0, 9])
    channels[0].send(header + b"payload")
    async with asyncio.timeout(PATIENCE_S):
        packet = await received.get()
    assert packet == header[:2] + b"\xfe\xff" + header[4:] + b"payload"
    assert not any(isinstance(event, api.DataReceived) for event in driver.events)
    stats = await driver.stats()
    assert stats.data_tracks == (api.DataTrackStats(track, 1, 19, 1, 0),)
    assert stats.data_down_tracks == (api.DataDownTrackStats(down, 1, 19, 0),)
    driver.submit(api.CloseDataTrack(track), api.CloseDataDownTrack(down))
    stats = await driver.stats()
    assert (stats.data_tracks, stats.data_down_tracks) == ((), ())


async def test_commands_that_cannot_be_carried_out_are_answered(driver: Driver) -> None:
    candidate = api.IceCandidate("1", 1, "udp", 1, "192.0.2.1", 70_000)
    driver.submit(api.RequestKeyFrame(5), api.AddRemoteCandidate(6, candidate))
    missing = await driver.expect(api.CommandFailed, lambda event: event.subject == 5)
    assert (missing.command, missing.code) == ("RequestKeyFrame", Code.NOT_FOUND)
    refused = await driver.expect(api.CommandFailed, lambda event: event.subject == 6)
    assert (refused.command, refused.code) == ("AddRemoteCandidate", Code.INVALID_ARGUMENT)
    assert "IceCandidate.port" in refused.message
    with pytest.raises(TypeError, match="str is not a command"):
        driver.submit("hello")  # type: ignore[arg-type]


async def test_every_worker_has_a_port_and_answers() -> None:
    driver = Driver(api.EngineConfig(workers=2))
    try:
        workers = driver.engine.info.workers
        assert len({worker.candidates[0].port for worker in workers}) == 2
        driver.submit(api.CollectStats(7))
        for number in (0, 1):
            await driver.expect(
                api.StatsCollected, lambda event, number=number: event.worker.worker == number
            )
    finally:
        driver.close()


@pytest.fixture
def taken_port() -> Iterator[int]:
    """A port that somebody has."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def test_a_port_in_use_is_named(taken_port: int) -> None:
    with pytest.raises(LkpyError) as raised:
        native.NativeEngine(api.EngineConfig(udp_port=taken_port))
    assert (raised.value.code, raised.value.blame) == (Code.UNAVAILABLE, Blame.OPERATOR)
    assert f"127.0.0.1:{taken_port}" in raised.value.message
    with pytest.raises(LkpyError, match='"localhost" is not an IP address') as raised:
        native.NativeEngine(api.EngineConfig(bind=("localhost",)))
    assert raised.value.code is Code.INVALID_ARGUMENT


def test_a_figure_of_the_wrong_kind_is_named() -> None:
    figures = CongestionControlConfig().to_engine()
    native.NativeEngine(api.EngineConfig(allocator=figures)).close()
    wrong = replace(figures, probe_min_bps=-1)
    with pytest.raises(ValueError, match=r"^AllocatorConfig\.probe_min_bps: "):
        native.NativeEngine(api.EngineConfig(allocator=wrong))


def test_a_closed_or_full_engine_takes_nothing() -> None:
    engine = native.NativeEngine(api.EngineConfig(command_queue=2))
    with pytest.raises(LkpyError, match="queue of worker 0 is full") as raised:
        engine.submit([api.CloseTransport(1)] * 3)
    assert raised.value.code is Code.UNAVAILABLE
    engine.close()
    engine.close()
    with pytest.raises(LkpyError, match="closed"):
        engine.submit([])


async def test_a_worker_that_fails_is_replaced_on_its_ports() -> None:
    driver = Driver(api.EngineConfig(fault_injection=True))
    try:
        before = driver.engine.info
        driver.submit(api.CreateTransport(1, 0, api.IceParameters("ufrag", "password" * 3)))
        assert (await driver.stats()).worker.transports == 1
        driver.engine.inject_fault(0, "panic")
        failed = await driver.expect(api.WorkerFailed)
        assert (failed.worker, failed.replaced) == (0, True)
        assert "injected" in failed.reason
        stats = await driver.stats()
        assert (stats.worker.transports, stats.worker.panics) == (0, 1)
        assert driver.engine.info == before
        driver.engine.inject_fault(0, "die")
        await driver.expect(api.WorkerFailed, lambda event: not event.replaced)
    finally:
        driver.close()


async def test_an_engine_for_users_takes_no_faults() -> None:
    driver = Driver(api.EngineConfig())
    with pytest.raises(LkpyError):
        driver.engine.inject_fault(0, "panic")
    driver.close()
