"""The boundary between the control plane and the media engine.

Python decides, the engine moves packets. They meet in this module and nowhere else: a closed
set of frozen commands going down and frozen events coming up, in batches. The vocabulary is
ORTC's (https://www.w3.org/TR/webrtc/, https://draft.ortc.org): the engine never sees SDP, Python
never sees RTP.

Rules of the boundary:

* Every object is named by an integer id that Python allocates from one counter
  (:class:`lkpy.engine.hub.EngineHub`), so an id names exactly one object of any kind.
* Commands are idempotent by id: creating what exists and closing what does not are no-ops.
* A command that cannot be carried out comes back as :class:`CommandFailed`; ``submit`` raises
  only when the engine is closed or its bounded queue is full.
* ICE credentials are chosen by Python, local candidates and the DTLS fingerprint are fixed per
  engine (:class:`EngineInfo`): an SDP answer is written without waiting for the engine.
* All objects of one transport live on the worker named in :class:`CreateTransport`; a down track
  and the receiver it reads from must be on the same worker.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

# --------------------------------------------------------------------------------------------
# Parameters


class MediaKind(enum.StrEnum):
    """Kind of a media section, as in SDP."""

    AUDIO = "audio"
    VIDEO = "video"


class DtlsRole(enum.StrEnum):
    """The role of the *engine* in the DTLS handshake (``a=setup`` passive is the server)."""

    CLIENT = "client"
    SERVER = "server"


class IceState(enum.StrEnum):
    """RTCIceTransportState of W3C webrtc-pc."""

    NEW = "new"
    CHECKING = "checking"
    CONNECTED = "connected"
    DISCONNECTED = "disconnected"
    FAILED = "failed"


class DtlsState(enum.StrEnum):
    """RTCDtlsTransportState of W3C webrtc-pc."""

    NEW = "new"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    CLOSED = "closed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class IceParameters:
    """ICE credentials of one side (RFC 8445 5.3): 4 to 256 ``ice-char`` each."""

    ufrag: str
    pwd: str


@dataclass(frozen=True, slots=True)
class IceCandidate:
    """One candidate (RFC 8839 5.1). ``protocol`` is ``udp`` or ``tcp``."""

    foundation: str
    component: int
    protocol: str
    priority: int
    address: str
    port: int
    type: str = "host"
    tcp_type: str | None = None


@dataclass(frozen=True, slots=True)
class DtlsParameters:
    """The remote certificate's fingerprint (RFC 8122) and the role the engine takes."""

    algorithm: str
    fingerprint: str
    """Upper-case hex bytes joined by colons."""
    role: DtlsRole


@dataclass(frozen=True, slots=True)
class RtpCodec:
    """One negotiated codec of a media section, with its RTX payload type if it has one."""

    payload_type: int
    mime_type: str
    """Lower-case, e.g. ``audio/opus``, ``video/vp8``."""
    clock_rate: int
    channels: int = 0
    rtx_payload_type: int | None = None
    fmtp: str = ""
    nack: bool = False
    pli: bool = False
    transport_cc: bool = False
    remb: bool = False


@dataclass(frozen=True, slots=True)
class RtpHeaderExtension:
    """One negotiated RTP header extension (RFC 8285). ``id`` is 1 to 255."""

    id: int
    uri: str


@dataclass(frozen=True, slots=True)
class RtpEncoding:
    """One incoming encoding: by rid (RFC 8852) or by ssrc. ``spatial`` is its layer, 0 lowest."""

    spatial: int
    rid: str | None = None
    ssrc: int | None = None
    rtx_ssrc: int | None = None


# --------------------------------------------------------------------------------------------
# Commands


@dataclass(frozen=True, slots=True)
class CreateTransport:
    """Create one peer connection: ICE agent, DTLS, SRTP and SCTP.

    ``controlling`` is the ICE role (RFC 8445 6.1.1: the offerer controls, unless one side is lite).
    """

    transport: int
    worker: int
    ice: IceParameters
    ice_lite: bool = False
    controlling: bool = False


@dataclass(frozen=True, slots=True)
class SetRemoteParameters:
    """Give the transport the remote side's ICE and DTLS parameters.

    ICE parameters that differ from those set before are the remote half of an ICE restart. DTLS
    parameters are taken once; later ones are ignored.
    """

    transport: int
    ice: IceParameters
    dtls: DtlsParameters
    remote_lite: bool = False


@dataclass(frozen=True, slots=True)
class RestartIce:
    """Change the local ICE credentials (RFC 8445 9); media keeps flowing on the old pair until
    a pair of the new generation is nominated."""

    transport: int
    ice: IceParameters


@dataclass(frozen=True, slots=True)
class AddRemoteCandidate:
    """Trickle one remote candidate (RFC 8838)."""

    transport: int
    candidate: IceCandidate


@dataclass(frozen=True, slots=True)
class CloseTransport:
    """Close a transport with all its receivers, down tracks and data channels."""

    transport: int


@dataclass(frozen=True, slots=True)
class CreateReceiver:
    """Expect a published track on ``transport`` in the media section ``mid``.

    Packets are matched by ssrc where an encoding names one, otherwise by the mid and rid header
    extensions, otherwise by payload type when only one receiver of the transport has it.
    ``clock_group`` is the same for all tracks of one publisher: their sender reports are mapped
    together so that lips stay in sync. ``screen_share`` slows the stream tracker down.
    """

    receiver: int
    transport: int
    mid: str
    kind: MediaKind
    codecs: tuple[RtpCodec, ...]
    header_extensions: tuple[RtpHeaderExtension, ...]
    encodings: tuple[RtpEncoding, ...]
    clock_group: int
    screen_share: bool = False


@dataclass(frozen=True, slots=True)
class UpdateReceiver:
    """Pause (``muted``) or resume a receiver. A muted receiver still counts but forwards nothing,
    and its stream tracker does not declare layers dead."""

    receiver: int
    muted: bool


@dataclass(frozen=True, slots=True)
class CloseReceiver:
    """Forget a published track; its down tracks stop and stay until closed."""

    receiver: int


@dataclass(frozen=True, slots=True)
class RequestKeyFrame:
    """Ask the publisher for a key frame on every live layer, through the PLI throttle."""

    receiver: int


@dataclass(frozen=True, slots=True)
class CreateDownTrack:
    """Forward ``receiver`` to the media section ``mid`` of ``transport``.

    ``codecs`` are the subscriber's: the one with the receiver's mime type gives payload types and
    feedback. Layers above ``max_spatial``/``max_temporal`` are not sent. Nothing is sent before
    the transport's DTLS is connected.
    """

    down_track: int
    transport: int
    receiver: int
    mid: str
    ssrc: int
    rtx_ssrc: int | None
    cname: str
    codecs: tuple[RtpCodec, ...]
    header_extensions: tuple[RtpHeaderExtension, ...]
    max_spatial: int = 2
    max_temporal: int = 3
    muted: bool = False


@dataclass(frozen=True, slots=True)
class UpdateDownTrack:
    """Change what a down track may send."""

    down_track: int
    max_spatial: int
    max_temporal: int
    muted: bool


@dataclass(frozen=True, slots=True)
class CloseDownTrack:
    """Stop forwarding; an RTCP BYE is sent for its ssrc."""

    down_track: int


@dataclass(frozen=True, slots=True)
class OpenDataChannel:
    """Open a data channel by DCEP (RFC 8832) once SCTP is up; answered by
    :class:`DataChannelOpened` with the stream id that the engine chose."""

    transport: int
    label: str
    ordered: bool = True
    max_retransmits: int | None = None


@dataclass(frozen=True, slots=True)
class SendData:
    """Send one message on every channel in ``channels``, pairs of (transport, stream id).

    The bytes cross once; fan-out, bounds and drops are the engine's. A channel with
    ``max_retransmits`` 0 whose buffer is full drops the message; a full reliable channel is
    reported by :class:`DataChannelOverflow` and drops its message.
    """

    channels: tuple[tuple[int, int], ...]
    payload: bytes
    binary: bool = True


@dataclass(frozen=True, slots=True)
class CollectStats:
    """Ask every worker for one :class:`StatsCollected` with this ``request`` number."""

    request: int


Command: TypeAlias = (
    CreateTransport
    | SetRemoteParameters
    | RestartIce
    | AddRemoteCandidate
    | CloseTransport
    | CreateReceiver
    | UpdateReceiver
    | CloseReceiver
    | RequestKeyFrame
    | CreateDownTrack
    | UpdateDownTrack
    | CloseDownTrack
    | OpenDataChannel
    | SendData
    | CollectStats
)

# --------------------------------------------------------------------------------------------
# Events


@dataclass(frozen=True, slots=True)
class IceStateChanged:
    """``local`` and ``remote`` are ``address:port`` of the nominated pair once connected;
    ``protocol`` is ``udp`` or ``tcp``."""

    transport: int
    state: IceState
    local: str = ""
    remote: str = ""
    protocol: str = ""


@dataclass(frozen=True, slots=True)
class DtlsStateChanged:
    """``srtp_profile`` is the IANA name, e.g. ``AEAD_AES_128_GCM``, once connected."""

    transport: int
    state: DtlsState
    srtp_profile: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class TransportClosed:
    """The engine gave the transport up by itself (a caught panic, a full reliable queue).

    A transport closed by command sends no event.
    """

    transport: int
    reason: str


@dataclass(frozen=True, slots=True)
class DataChannelOpened:
    """A channel is usable, whoever opened it. ``max_retransmits`` None means reliable."""

    transport: int
    stream_id: int
    label: str
    protocol: str
    ordered: bool
    max_retransmits: int | None


@dataclass(frozen=True, slots=True)
class DataChannelClosed:
    """The remote side reset the stream or SCTP is gone."""

    transport: int
    stream_id: int


@dataclass(frozen=True, slots=True)
class DataReceived:
    """One whole message."""

    transport: int
    stream_id: int
    payload: bytes
    binary: bool


@dataclass(frozen=True, slots=True)
class DataChannelOverflow:
    """A reliable channel's buffer was full and one message of :class:`SendData` was dropped."""

    transport: int
    stream_id: int
    buffered: int
    """Bytes waiting in the channel."""


@dataclass(frozen=True, slots=True)
class ReceiverLayersChanged:
    """The set of spatial layers that currently receive packets (stream tracker), lowest first.

    The first event of a receiver also says that its media has begun. Audio has layer 0.
    """

    receiver: int
    layers: tuple[int, ...]
    mime_type: str
    """Codec of the first packet, lower-case."""


@dataclass(frozen=True, slots=True)
class DownTrackLayerChanged:
    """The spatial and temporal layer being forwarded; (-1, -1) when nothing is."""

    down_track: int
    spatial: int
    temporal: int


@dataclass(frozen=True, slots=True)
class AudioLevels:
    """One observation window (``EngineConfig.audio_interval_ms``) of one worker.

    Entries are (receiver, loudest level in -dBov 0..127, milliseconds at or above the active
    level). Receivers without packets in the window are absent.
    """

    worker: int
    levels: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class CommandFailed:
    """``code`` is one of :class:`lkpy.errors.Code`; ``subject`` the id that the command named."""

    command: str
    subject: int
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class TransportStats:
    """Totals since creation; ``rtt_ms`` is the nominated pair's STUN round trip, -1 if unknown."""

    transport: int
    packets_received: int
    bytes_received: int
    packets_sent: int
    bytes_sent: int
    srtp_errors: int
    """Packets that failed authentication or replay checks."""
    rtt_ms: float
    retransmissions_sent: int


@dataclass(frozen=True, slots=True)
class LayerStats:
    """One spatial layer of a receiver; totals since creation, ``bitrate_bps`` over a second."""

    receiver: int
    spatial: int
    ssrc: int
    rid: str
    live: bool
    packets: int
    bytes: int
    packets_lost: int
    packets_recovered: int
    duplicates: int
    jitter_ms: float
    bitrate_bps: float
    frames: int
    key_frames: int
    nacks_sent: int
    plis_sent: int


@dataclass(frozen=True, slots=True)
class DownTrackStats:
    """One down track; loss, jitter and ``rtt_ms`` (-1 unknown) are from the subscriber's RRs."""

    down_track: int
    ssrc: int
    spatial: int
    temporal: int
    muted: bool
    packets: int
    bytes: int
    retransmissions: int
    bitrate_bps: float
    packets_lost: int
    fraction_lost: float
    jitter_ms: float
    rtt_ms: float
    nacks_received: int
    plis_received: int
    key_frames: int


@dataclass(frozen=True, slots=True)
class WorkerStats:
    """One worker; totals since start. Queue figures tell whether a bound was reached."""

    worker: int
    transports: int
    datagrams_received: int
    datagrams_sent: int
    datagrams_dropped: int
    """Datagrams that belonged to nobody or failed a check."""
    send_calls: int
    send_would_block: int
    commands_dropped: int
    events_dropped: int
    panics: int
    cpu_seconds: float
    drops_by_reason: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StatsCollected:
    """One worker's answer to :class:`CollectStats`."""

    request: int
    worker: WorkerStats
    transports: tuple[TransportStats, ...]
    layers: tuple[LayerStats, ...]
    down_tracks: tuple[DownTrackStats, ...]


Event: TypeAlias = (
    IceStateChanged
    | DtlsStateChanged
    | TransportClosed
    | DataChannelOpened
    | DataChannelClosed
    | DataReceived
    | DataChannelOverflow
    | ReceiverLayersChanged
    | DownTrackLayerChanged
    | AudioLevels
    | CommandFailed
    | StatsCollected
)

# --------------------------------------------------------------------------------------------
# The engine


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """How to start an engine. Ports of 0 are chosen by the system.

    Worker *i* binds ``udp_port + i`` (or a port of its own when ``udp_port`` is 0) on every
    address of ``bind``. ``advertise`` lists the addresses put into candidates (None: those
    bound; a wildcard stands for every interface address that is up). ``tcp_port`` None: no
    ICE-TCP.
    """

    workers: int = 1
    bind: tuple[str, ...] = ("127.0.0.1",)
    udp_port: int = 0
    tcp_port: int | None = None
    advertise: tuple[str, ...] | None = None
    packet_buffer_size_video: int = 500
    packet_buffer_size_audio: int = 200
    pli_throttle_ms: tuple[int, int, int] = (500, 1000, 1000)
    """Least time between two PLIs upstream per spatial layer."""
    audio_interval_ms: int = 400
    audio_active_level: int = 35
    """-dBov; a packet counts as active when its level is at or below this number."""
    ice_disconnected_ms: int = 10_000
    ice_failed_ms: int = 5_000
    """After disconnected."""
    command_queue: int = 65_536
    event_queue: int = 65_536
    data_channel_buffer: int = 4 * 1024 * 1024
    """Bytes one data channel may hold before messages are dropped."""


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """The candidates that peers of this worker are offered."""

    worker: int
    candidates: tuple[IceCandidate, ...]


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What is fixed for the life of an engine."""

    fingerprint_algorithm: str
    fingerprint: str
    workers: tuple[WorkerInfo, ...]


class Engine(Protocol):
    """A media engine: native (Rust) or fake (tests)."""

    @property
    def info(self) -> EngineInfo:
        """Fingerprint and candidates."""

    def submit(self, commands: Sequence[Command]) -> None:
        """Queue commands in order. Raises :class:`lkpy.errors.LkpyError` (``unavailable``) when
        closed or full; then none of the batch was taken."""

    def drain(self, limit: int = 1024) -> list[Event]:
        """Take up to ``limit`` waiting events, oldest first."""

    def fileno(self) -> int:
        """A descriptor that polls readable while events wait."""

    def close(self) -> None:
        """Stop the workers within two seconds and free the sockets. Idempotent."""
