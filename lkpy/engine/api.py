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
  and the receiver it reads from must be on the same worker, and so must a data down track and its
  data track.
* A worker that fails takes everything on it along. :class:`WorkerFailed` says so once; whoever had
  objects there closes them and begins anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from lkpy.engine.allocation import AllocatorConfig
from lkpy.engine.commands import (
    AddRemoteCandidate,
    CloseDataDownTrack,
    CloseDataTrack,
    CloseDownTrack,
    CloseReceiver,
    CloseTransport,
    CollectStats,
    Command,
    CreateDataDownTrack,
    CreateDataTrack,
    CreateDownTrack,
    CreateReceiver,
    CreateTransport,
    OpenDataChannel,
    RenegotiateDownTrack,
    RenegotiateReceiver,
    RequestKeyFrame,
    RestartIce,
    SendData,
    SetCongestionControl,
    SetMaxMessageSize,
    SetRemoteParameters,
    UpdateDownTrack,
    UpdateReceiver,
)
from lkpy.engine.events import (
    AudioLevels,
    CommandFailed,
    DataChannelClosed,
    DataChannelOpened,
    DataChannelOverflow,
    DataDownTrackStats,
    DataReceived,
    DataTrackStats,
    DownTrackStalled,
    DownTrackStats,
    DtlsStateChanged,
    Event,
    IceStateChanged,
    LayerStats,
    PacketsDropped,
    ReceiverLayersChanged,
    ReceiverStalled,
    StatsCollected,
    StreamStatesChanged,
    TransportClosed,
    TransportStats,
    WorkerFailed,
    WorkerStalled,
    WorkerStats,
)
from lkpy.engine.parameters import (
    DtlsParameters,
    DtlsRole,
    DtlsState,
    IceCandidate,
    IceParameters,
    IceState,
    MediaKind,
    RtpCodec,
    RtpEncoding,
    RtpHeaderExtension,
)

__all__ = [
    "AddRemoteCandidate",
    "AudioLevels",
    "CloseDataDownTrack",
    "CloseDataTrack",
    "CloseDownTrack",
    "CloseReceiver",
    "CloseTransport",
    "CollectStats",
    "Command",
    "CommandFailed",
    "CreateDataDownTrack",
    "CreateDataTrack",
    "CreateDownTrack",
    "CreateReceiver",
    "CreateTransport",
    "DataChannelClosed",
    "DataChannelOpened",
    "DataChannelOverflow",
    "DataDownTrackStats",
    "DataReceived",
    "DataTrackStats",
    "DownTrackStalled",
    "DownTrackStats",
    "DtlsParameters",
    "DtlsRole",
    "DtlsState",
    "DtlsStateChanged",
    "Engine",
    "EngineConfig",
    "EngineInfo",
    "Event",
    "IceCandidate",
    "IceParameters",
    "IceState",
    "IceStateChanged",
    "LayerStats",
    "MediaKind",
    "OpenDataChannel",
    "PacketsDropped",
    "ReceiverLayersChanged",
    "ReceiverStalled",
    "RenegotiateDownTrack",
    "RenegotiateReceiver",
    "RequestKeyFrame",
    "RestartIce",
    "RtpCodec",
    "RtpEncoding",
    "RtpHeaderExtension",
    "SendData",
    "SetCongestionControl",
    "SetMaxMessageSize",
    "SetRemoteParameters",
    "StatsCollected",
    "StreamStatesChanged",
    "TransportClosed",
    "TransportStats",
    "UpdateDownTrack",
    "UpdateReceiver",
    "WorkerFailed",
    "WorkerInfo",
    "WorkerStalled",
    "WorkerStats",
]


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
    rtx_budget_audio: tuple[float, int] | None = None
    """Bytes that a down track of audio may send again, for each byte of media and, after a while
    without, at once; None: all that is asked for."""
    rtx_budget_video: tuple[float, int] | None = None
    audio_interval_ms: int = 400
    audio_active_level: int = 35
    """-dBov; a packet counts as active when its level is at or below this number."""
    congestion_control: bool = True
    """Bring down tracks of video within what their subscriber's connection carries."""
    allocator: AllocatorConfig | None = None
    """How that is done; None: by the engine's own figures."""
    ice_disconnected_ms: int = 10_000
    ice_failed_ms: int = 5_000
    """After disconnected."""
    command_queue: int = 65_536
    event_queue: int = 65_536
    data_channel_buffer: int = 4 * 1024 * 1024
    """Bytes one data channel may hold before messages are dropped."""
    data_track_target_latency_ms: int = 100
    """How long packets of data tracks may wait in a channel before others are dropped, by the rate
    at which bytes leave it; 0: for any time."""
    data_lossy_target_latency_ms: int = 0
    """The same for messages on lossy channels."""
    data_slow_threshold: int = 0
    """Bits per second. A reliable channel with much to send that drains as fast makes those who
    send on it wait; one that is slower loses messages. 0: nobody waits."""
    worker_stall_ms: int = 5_000
    """A worker whose turn takes longer is reported as stalled."""
    fault_injection: bool = False
    """Tests may let workers fail."""


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
