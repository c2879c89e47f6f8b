"""The parameters of the boundary's commands, in ORTC's vocabulary."""

from __future__ import annotations

import enum
from dataclasses import dataclass


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
