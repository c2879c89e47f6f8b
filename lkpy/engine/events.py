"""What the engine tells the control plane; the rules are in :mod:`lkpy.engine.api`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from lkpy.engine.parameters import DtlsState, IceState


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
    """One whole message. What arrives on a ``_data_track`` channel is none: the engine forwards
    it by itself."""

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
class PacketsDropped:
    """Packets from or for a transport begin to be dropped for a reason that a normal call does not
    have. Told once per transport and reason; the statistics count them."""

    transport: int
    reason: str
    """As in ``TransportStats.drops_by_reason``; ``rust/engine/src/core/drops.rs`` explains each."""


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
class ReceiverStalled:
    """A receiver that is not muted, on a connected transport, that somebody wants: nothing comes
    for seconds (``stalled``), or that is over, because something comes or need not any more."""

    receiver: int
    stalled: bool
    cause: str
    """``no_packets``, or ``dropped_`` and the reason for which packets of its transport are dropped
    meanwhile; empty when it is over."""
    elapsed_ms: int
    """How long nothing has come, or came."""


@dataclass(frozen=True, slots=True)
class DownTrackStalled:
    """A down track that is neither muted nor paused and whose receiver receives: nothing is sent
    for seconds (``stalled``), or that is over."""

    transport: int
    down_track: int
    stalled: bool
    cause: str
    """``no_layer``: nothing comes that may be sent; ``waiting_for_key_frame``; ``not_forwarded``:
    nothing explains it. Empty when it is over."""
    elapsed_ms: int
    """How long nothing has been sent, or was."""


@dataclass(frozen=True, slots=True)
class StreamStatesChanged:
    """Down tracks of video on a transport were paused because there is no room for them, or are
    sent (again): pairs of down track and whether it is paused, in order."""

    transport: int
    states: tuple[tuple[int, bool], ...]


@dataclass(frozen=True, slots=True)
class AudioLevels:
    """One observation window (``EngineConfig.audio_interval_ms``) of one worker.

    Entries are (receiver, loudest level in -dBov 0..127, milliseconds at or above the active
    level). Receivers without packets in the window are absent.
    """

    worker: int
    levels: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class WorkerFailed:
    """A worker panicked outside everything that is about one transport, or cannot go on. All its
    transports are gone, without an event of their own."""

    worker: int
    reason: str
    replaced: bool
    """It goes on with nothing on it, on the same ports. If not, what is created on it fails with
    ``unavailable``."""


@dataclass(frozen=True, slots=True)
class WorkerStalled:
    """A turn of a worker takes longer than ``EngineConfig.worker_stall_ms``, or has ended after
    all. Nothing is lost yet."""

    worker: int
    stalled: bool
    elapsed_ms: int
    """How long the turn takes, or took."""


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
    estimate_bps: float = -1.0
    """What the peer estimates it can receive (REMB), -1 if it never said."""
    capacity_bps: float = -1.0
    """What is divided among the down tracks of video, -1 if nothing limits them."""
    drops_by_reason: dict[str, int] = field(default_factory=dict)
    """Datagrams and messages from and for the peer."""


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
    allowed_spatial: int = -1
    """Highest layer that the subscriber wants and there is room for; -1: none."""
    allowed_temporal: int = -1
    deficient: bool = False
    """There is no room for all that the subscriber wants and the publisher sends."""
    retransmissions_capped: int = 0
    """Packets that were asked for and not sent again: the budget for that was spent."""


@dataclass(frozen=True, slots=True)
class DataTrackStats:
    """One published data track; totals since creation."""

    data_track: int
    packets: int
    """Without those that came again."""
    bytes: int
    """With headers."""
    frames: int
    """Frames whose last packet came."""
    packets_lost: int


@dataclass(frozen=True, slots=True)
class DataDownTrackStats:
    """One data track on its way to a subscriber; totals since creation."""

    data_down_track: int
    packets: int
    bytes: int
    packets_dropped: int
    """Not sent: the channel was not open, or too far behind."""


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
    data_tracks: tuple[DataTrackStats, ...] = ()
    data_down_tracks: tuple[DataDownTrackStats, ...] = ()


Event: TypeAlias = (
    IceStateChanged
    | DtlsStateChanged
    | TransportClosed
    | DataChannelOpened
    | DataChannelClosed
    | DataReceived
    | DataChannelOverflow
    | PacketsDropped
    | ReceiverLayersChanged
    | ReceiverStalled
    | DownTrackStalled
    | StreamStatesChanged
    | AudioLevels
    | WorkerFailed
    | WorkerStalled
    | CommandFailed
    | StatsCollected
)
