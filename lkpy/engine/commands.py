"""What the control plane asks of the engine; the rules are in :mod:`lkpy.engine.api`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from lkpy.engine.parameters import (
    DtlsParameters,
    IceCandidate,
    IceParameters,
    MediaKind,
    RtpCodec,
    RtpEncoding,
    RtpHeaderExtension,
)


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
class SetMaxMessageSize:
    """Send no data message of more than ``bytes`` on the transport: the remote side takes none
    (RFC 8841 6). Those that are larger are dropped and counted. 0: it takes no data at all, and we
    begin no association, which we otherwise do as DTLS client."""

    transport: int
    bytes: int


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
class RenegotiateReceiver:
    """Take what the publisher has described anew: payload types, feedback, header extension ids,
    rids and ssrcs.

    Codecs are known by their mime types. Numbers of before mean what they meant unless they are
    used again, as packets with them are on their way. A signalled ssrc takes the place of another
    when its first packet comes.
    """

    receiver: int
    codecs: tuple[RtpCodec, ...]
    header_extensions: tuple[RtpHeaderExtension, ...]
    encodings: tuple[RtpEncoding, ...]


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

    With ``translate_red``, RED (RFC 2198) is turned into Opus for codecs without RED, what was lost
    taken from its redundancy; and if the first codec is RED, Opus is turned into it.

    ``playout_delay`` (least and greatest, in ms) is what packets of video tell a subscriber that
    negotiated that header extension; in between, the least one follows jitter and NACKs.

    With ``strip_trailer``, a frame whose last packet ends with LiveKit's packet trailer goes out
    without it.
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
    translate_red: bool = False
    playout_delay: tuple[int, int] | None = None
    strip_trailer: bool = False


@dataclass(frozen=True, slots=True)
class UpdateDownTrack:
    """Change what a down track may send."""

    down_track: int
    max_spatial: int
    max_temporal: int
    muted: bool


@dataclass(frozen=True, slots=True)
class RenegotiateDownTrack:
    """Take what the subscriber has described anew; the stream goes on with it, under its ssrc. What
    was sent before is not sent again."""

    down_track: int
    codecs: tuple[RtpCodec, ...]
    header_extensions: tuple[RtpHeaderExtension, ...]


@dataclass(frozen=True, slots=True)
class CloseDownTrack:
    """Stop forwarding. No RTCP BYE is sent: the media section may carry another track next."""

    down_track: int


@dataclass(frozen=True, slots=True)
class SetCongestionControl:
    """Change how what a transport carries is divided among its down tracks of video.

    A track for which there is no room is sent in its lowest layer, or with ``allow_pause`` not at
    all. ``capacity_bps`` stands for what the transport carries; None: that is found out.
    """

    transport: int
    allow_pause: bool
    capacity_bps: int | None = None


@dataclass(frozen=True, slots=True)
class OpenDataChannel:
    """Open a data channel once SCTP is up; answered by :class:`DataChannelOpened`.

    The engine chooses a stream and tells the peer by DCEP (RFC 8832). ``negotiated`` is the stream
    that both sides have agreed on otherwise: the peer is told nothing."""

    transport: int
    label: str
    ordered: bool = True
    max_retransmits: int | None = None
    negotiated: int | None = None


@dataclass(frozen=True, slots=True)
class CreateDataTrack:
    """Expect a published data track: packets with the publisher's ``handle`` (1 to 65535) on the
    ``_data_track`` channel of ``transport``. One transport has each handle once."""

    data_track: int
    transport: int
    handle: int


@dataclass(frozen=True, slots=True)
class CloseDataTrack:
    """Forget a data track; its down tracks stop and stay until closed."""

    data_track: int


@dataclass(frozen=True, slots=True)
class CreateDataDownTrack:
    """Forward ``data_track`` to the ``_data_track`` channel of ``transport``, with the
    subscriber's ``handle`` in its packets.

    Packets are dropped while there is no such channel, and when the channel would keep them for
    longer than ``EngineConfig.data_track_target_latency_ms``.
    """

    data_down_track: int
    transport: int
    data_track: int
    handle: int


@dataclass(frozen=True, slots=True)
class CloseDataDownTrack:
    """Stop forwarding a data track."""

    data_down_track: int


@dataclass(frozen=True, slots=True)
class SendData:
    """Send one message on every channel in ``channels``, pairs of (transport, stream id).

    The bytes cross once; fan-out, bounds and drops are the engine's. A channel with
    ``max_retransmits`` 0 whose buffer is full drops the message; a full reliable channel is
    reported by :class:`DataChannelOverflow` and drops its message. ``source`` is the transport that
    the message came on, 0 for none: it waits for readers as ``EngineConfig.data_slow_threshold``
    says.
    """

    channels: tuple[tuple[int, int], ...]
    payload: bytes
    binary: bool = True
    source: int = 0


@dataclass(frozen=True, slots=True)
class CollectStats:
    """Ask every worker for one :class:`StatsCollected` with this ``request`` number."""

    request: int


Command: TypeAlias = (
    CreateTransport
    | SetRemoteParameters
    | SetMaxMessageSize
    | RestartIce
    | AddRemoteCandidate
    | CloseTransport
    | CreateReceiver
    | UpdateReceiver
    | RenegotiateReceiver
    | CloseReceiver
    | RequestKeyFrame
    | CreateDownTrack
    | UpdateDownTrack
    | RenegotiateDownTrack
    | CloseDownTrack
    | SetCongestionControl
    | OpenDataChannel
    | CreateDataTrack
    | CloseDataTrack
    | CreateDataDownTrack
    | CloseDataDownTrack
    | SendData
    | CollectStats
)
