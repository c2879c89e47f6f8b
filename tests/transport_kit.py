"""A recording engine and a client's shorthand for tests of peer connections."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from livekit.protocol import models, rtc

from lkpy.engine.api import (
    Command,
    DtlsState,
    DtlsStateChanged,
    EngineInfo,
    IceCandidate,
    IceState,
    IceStateChanged,
    MediaKind,
    RtpCodec,
    WorkerInfo,
)
from lkpy.sdp import SessionDescription
from lkpy.server.rtc.media_sections import DownTrackHandle
from lkpy.server.rtc.options import PlayoutDelay
from lkpy.server.rtc.transport import PeerTransport
from lkpy.server.rtc.transport_types import OfferResult, TransportOptions

SAMPLES = Path(__file__).parent / "data" / "sdp"
FINGERPRINT = ":".join(f"{byte:02X}" for byte in range(32))
DIGEST = ":".join(["CD"] * 32)
"""A client's."""
CODECS = tuple(
    models.Codec(mime=mime)
    for mime in (
        "audio/PCMU",
        "audio/PCMA",
        "audio/opus",
        "audio/red",
        "video/VP8",
        "video/H264",
        "video/VP9",
        "video/AV1",
        "video/H265",
        "video/rtx",
    )
)
"""LiveKit's default ``room.enabled_codecs``."""
OPUS = RtpCodec(111, "audio/opus", 48_000, 2, fmtp="minptime=10;useinbandfec=1", nack=True)
VP8 = RtpCodec(96, "video/vp8", 90_000, nack=True, pli=True)
SOURCE = {MediaKind.AUDIO: (OPUS,), MediaKind.VIDEO: (VP8,)}

C = TypeVar("C")


def sample(name: str) -> str:
    """A client's description."""
    return (SAMPLES / f"{name}.sdp").read_bytes().decode()


class RecordingEngine:
    """Keeps the commands that it is given."""

    def __init__(self) -> None:
        self.commands: list[Command] = []
        self._last_id = 0
        self.info = EngineInfo(
            "sha-256",
            FINGERPRINT,
            (
                WorkerInfo(0, (IceCandidate("9", 1, "udp", 1, "192.0.2.9", 1),)),
                WorkerInfo(
                    1,
                    (
                        IceCandidate("1", 1, "udp", 2130706431, "192.0.2.1", 7882),
                        IceCandidate(
                            "2", 1, "tcp", 1671430143, "192.0.2.1", 7881, tcp_type="passive"
                        ),
                    ),
                ),
            ),
        )

    def new_id(self) -> int:
        self._last_id += 1
        return self._last_id

    def submit(self, *commands: Command) -> None:
        self.commands += commands

    def release(self, *commands: Command) -> None:
        self.commands += commands

    def of(self, kind: type[C]) -> list[C]:
        """The commands of one kind so far."""
        return [command for command in self.commands if isinstance(command, kind)]


def single(
    engine: RecordingEngine,
    *,
    active_red: bool = False,
    playout_delay: PlayoutDelay | None = None,
    **client: object,
) -> PeerTransport:
    """The single peer connection of a client."""
    return _transport(
        engine,
        rtc.SignalTarget.PUBLISHER,
        single_pc=True,
        active_red=active_red,
        playout_delay=playout_delay,
        **client,
    )


def publisher(engine: RecordingEngine, **client: object) -> PeerTransport:
    """The publisher's connection of a pair."""
    return _transport(engine, rtc.SignalTarget.PUBLISHER, single_pc=False, **client)


def subscriber(
    engine: RecordingEngine,
    *,
    playout_delay: PlayoutDelay | None = None,
    opens_channels: bool = True,
    **client: object,
) -> PeerTransport:
    """The subscriber's connection of a pair."""
    return _transport(
        engine,
        rtc.SignalTarget.SUBSCRIBER,
        single_pc=False,
        playout_delay=playout_delay,
        opens_channels=opens_channels,
        **client,
    )


def _transport(
    engine: RecordingEngine,
    target: rtc.SignalTarget,
    *,
    single_pc: bool,
    active_red: bool = False,
    ice_lite: bool = False,
    playout_delay: PlayoutDelay | None = None,
    opens_channels: bool = True,
    **client: object,
) -> PeerTransport:
    return PeerTransport(
        engine,
        worker=1,
        target=target,
        single_pc=single_pc,
        client=models.ClientInfo(**({"protocol": 17} | client)),
        options=TransportOptions(
            CODECS,
            CODECS,
            ice_lite=ice_lite,
            active_red_encoding=active_red,
            playout_delay=playout_delay,
        ),
        opens_channels=opens_channels,
    )


def no_track(cid: str, kind: MediaKind) -> models.TrackInfo | None:
    """AddTrack has not come."""
    return None


def track_info(mime: str = "", **fields: object) -> models.TrackInfo:
    """The TrackInfo of a pending track with one codec."""
    codecs = [models.SimulcastCodecInfo(mime_type=mime)]
    return models.TrackInfo(sid="TR_published", codecs=codecs, **fields)


def offer(transport: PeerTransport, text: str, *, now: float = 0.0, lookup=no_track) -> OfferResult:
    """The client offers ``text``."""
    description = rtc.SessionDescription(type="offer", sdp=text, id=7)
    return transport.handle_offer(now, description, lookup)


def answer_of(result: OfferResult) -> SessionDescription:
    """The answer, parsed."""
    return SessionDescription.parse(result.answer.sdp)


def add(transport: PeerTransport, kind: MediaKind, name: str, **options: object) -> DownTrackHandle:
    """Subscribe the client to track ``TR_<name>``."""
    return transport.down_tracks.add(
        receivers={codec.mime_type: 77 for codec in SOURCE[kind]},
        kind=kind,
        track_sid=f"TR_{name}",
        stream_id=f"PA_p|TR_{name}",
        codecs=SOURCE[kind],
        **options,
    )


def connect(transport: PeerTransport) -> None:
    """The engine reports ICE and DTLS connected."""
    address = ("192.0.2.1:7882", "192.0.2.50:5000", "udp")
    transport.handle_event(IceStateChanged(transport.id, IceState.CONNECTED, *address))
    transport.handle_event(DtlsStateChanged(transport.id, DtlsState.CONNECTED, "AEAD_AES_128_GCM"))
