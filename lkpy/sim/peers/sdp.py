"""Session descriptions of a simulated client.

Offers are written here because aiortc's cannot express simulcast, transport-cc or a chosen number
of receive-only sections; what the server says is read by aiortc's parser.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import aiortc.sdp
from aiortc.rtcdtlstransport import RTCDtlsFingerprint, RTCDtlsParameters
from aiortc.rtcicetransport import RTCIceCandidate, RTCIceParameters
from aiortc.rtcrtpparameters import RTCRtpCodecParameters

from lkpy.errors import Blame, Code, LkpyError
from lkpy.sim import rtp

MediaKind = Literal["audio", "video"]

OPUS, VP8, VP8_RTX = 111, 96, 97
"""Payload types of our offers."""
EXTENSION_IDS: dict[str, int] = {
    rtp.MID_URI: 1,
    rtp.RID_URI: 2,
    rtp.REPAIRED_RID_URI: 3,
    rtp.TRANSPORT_CC_URI: 4,
    rtp.AUDIO_LEVEL_URI: 5,
    rtp.ABS_SEND_TIME_URI: 6,
}
_KIND_EXTENSIONS: dict[MediaKind, tuple[str, ...]] = {
    "audio": (rtp.MID_URI, rtp.TRANSPORT_CC_URI, rtp.AUDIO_LEVEL_URI),
    "video": (
        rtp.MID_URI,
        rtp.RID_URI,
        rtp.REPAIRED_RID_URI,
        rtp.TRANSPORT_CC_URI,
        rtp.ABS_SEND_TIME_URI,
    ),
}
_CODEC_LINES: dict[MediaKind, tuple[str, ...]] = {
    "audio": (
        f"a=rtpmap:{OPUS} opus/48000/2",
        f"a=fmtp:{OPUS} minptime=10;useinbandfec=1",
        f"a=rtcp-fb:{OPUS} transport-cc",
        f"a=rtcp-fb:{OPUS} nack",
    ),
    "video": (
        f"a=rtpmap:{VP8} VP8/90000",
        f"a=rtcp-fb:{VP8} goog-remb",
        f"a=rtcp-fb:{VP8} transport-cc",
        f"a=rtcp-fb:{VP8} ccm fir",
        f"a=rtcp-fb:{VP8} nack",
        f"a=rtcp-fb:{VP8} nack pli",
        f"a=rtpmap:{VP8_RTX} rtx/90000",
        f"a=fmtp:{VP8_RTX} apt={VP8}",
    ),
}
_FORMATS: dict[MediaKind, str] = {"audio": f"{OPUS}", "video": f"{VP8} {VP8_RTX}"}
_KEPT_FEEDBACK = {"nack", "nack pli", "ccm fir", "transport-cc", "goog-remb"}


class NegotiationError(LkpyError):
    """The server's description cannot be used."""

    def __init__(self, message: str) -> None:
        super().__init__(Code.MALFORMED, message, blame=Blame.PEER)


@dataclass(frozen=True, slots=True)
class Encoding:
    """One RTP stream of a published track; ``rid`` is empty without simulcast."""

    ssrc: int
    rtx_ssrc: int | None
    rid: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """One of our m-lines. Without ``track_id`` it only receives."""

    mid: str
    kind: MediaKind
    track_id: str = ""
    encodings: tuple[Encoding, ...] = ()


@dataclass(frozen=True, slots=True)
class Local:
    """Our end of the transport."""

    ufrag: str
    password: str
    fingerprint: str
    candidates: tuple[str, ...]
    session_id: int


@dataclass(frozen=True, slots=True)
class RemoteSection:
    """What the server said about one m-line."""

    mid: str
    kind: str
    sends: bool
    ssrc: int | None
    rtx_ssrc: int | None
    track_id: str
    extensions: dict[str, int]
    payload_types: dict[str, int]


@dataclass(frozen=True, slots=True)
class Remote:
    """The server's description."""

    sections: tuple[RemoteSection, ...]
    ice: RTCIceParameters
    dtls: RTCDtlsParameters
    candidates: tuple[RTCIceCandidate, ...]
    candidates_complete: bool
    has_data: bool


def offer(local: Local, version: int, sections: Sequence[Section], data_mid: str) -> str:
    """Write an offer: the data channels' m-line, then ``sections`` in order.

    Data comes first because sections are added later, and m-lines never change their place.
    """
    lines = _head(local, version, [data_mid, *(section.mid for section in sections)])
    lines += _data(local, data_mid, "actpass")
    for section in sections:
        lines += _media(local, section)
    return "\r\n".join(lines) + "\r\n"


def answer(local: Local, version: int, offered: str) -> str:
    """Answer an offer of the server's subscriber connection: take everything it sends."""
    parsed = _parse(offered)
    lines = _head(local, version, [media.rtp.muxId for media in parsed.media])
    for media in parsed.media:
        mid = media.rtp.muxId
        if media.kind == "application":
            lines += _data(local, mid, "active")
            continue
        known = {"audio/opus", "video/vp8"}
        codecs = [c for c in media.rtp.codecs if c.mimeType.lower() in known]
        bases = {codec.payloadType for codec in codecs}
        codecs += [
            c
            for c in media.rtp.codecs
            if c.mimeType.lower().endswith("/rtx") and c.parameters.get("apt") in bases
        ]
        formats = " ".join(str(codec.payloadType) for codec in codecs) or "0"
        lines.append(f"m={media.kind} {9 if codecs else 0} UDP/TLS/RTP/SAVPF {formats}")
        lines += _transport(local, mid, "active")
        sends = media.direction in ("sendonly", "sendrecv") and codecs
        lines.append("a=recvonly" if sends else "a=inactive")
        lines += ["a=rtcp-mux", "a=rtcp-rsize"]
        for header in media.rtp.headerExtensions:
            if header.uri in EXTENSION_IDS:
                lines.append(f"a=extmap:{header.id} {header.uri}")
        for codec in codecs:
            lines += _answered_codec(codec)
    return "\r\n".join(lines) + "\r\n"


def _answered_codec(codec: RTCRtpCodecParameters) -> list[str]:
    channels = f"/{codec.channels}" if (codec.channels or 1) > 1 else ""
    number = codec.payloadType
    lines = [f"a=rtpmap:{number} {codec.name}/{codec.clockRate}{channels}"]
    if codec.parameters:
        lines.append(f"a=fmtp:{number} {aiortc.sdp.parameters_to_sdp(codec.parameters)}")
    for feedback in codec.rtcpFeedback:
        name = f"{feedback.type} {feedback.parameter}" if feedback.parameter else feedback.type
        if name in _KEPT_FEEDBACK:
            lines.append(f"a=rtcp-fb:{number} {name}")
    return lines


def _head(local: Local, version: int, mids: Iterable[str]) -> list[str]:
    return [
        "v=0",
        f"o=- {local.session_id} {version} IN IP4 127.0.0.1",
        "s=-",
        "t=0 0",
        f"a=group:BUNDLE {' '.join(mids)}",
        "a=extmap-allow-mixed",
        "a=msid-semantic: WMS *",
    ]


def _transport(local: Local, mid: str, setup: str) -> list[str]:
    return [
        "c=IN IP4 0.0.0.0",
        f"a=ice-ufrag:{local.ufrag}",
        f"a=ice-pwd:{local.password}",
        f"a=fingerprint:sha-256 {local.fingerprint}",
        f"a=setup:{setup}",
        f"a=mid:{mid}",
        *(f"a=candidate:{candidate}" for candidate in local.candidates),
        "a=end-of-candidates",
    ]


def _media(local: Local, section: Section) -> list[str]:
    lines = [f"m={section.kind} 9 UDP/TLS/RTP/SAVPF {_FORMATS[section.kind]}"]
    lines += _transport(local, section.mid, "actpass")
    lines += [f"a=extmap:{EXTENSION_IDS[uri]} {uri}" for uri in _KIND_EXTENSIONS[section.kind]]
    lines.append("a=sendonly" if section.track_id else "a=recvonly")
    lines += ["a=rtcp-mux", "a=rtcp-rsize", *_CODEC_LINES[section.kind]]
    if section.track_id:
        lines += _sent(section)
    return lines


def _sent(section: Section) -> list[str]:
    lines = [f"a=msid:lkpy-sim {section.track_id}"]
    if section.encodings[0].rid:
        rids = [encoding.rid for encoding in section.encodings]
        lines += [f"a=rid:{rid} send" for rid in rids]
        lines.append(f"a=simulcast:send {';'.join(rids)}")
        return lines
    encoding = section.encodings[0]
    numbers = [encoding.ssrc]
    if encoding.rtx_ssrc is not None:
        numbers.append(encoding.rtx_ssrc)
        lines.append(f"a=ssrc-group:FID {encoding.ssrc} {encoding.rtx_ssrc}")
    for number in numbers:
        lines.append(f"a=ssrc:{number} cname:lkpy-sim")
        lines.append(f"a=ssrc:{number} msid:lkpy-sim {section.track_id}")
    return lines


def _data(local: Local, mid: str, setup: str) -> list[str]:
    return [
        "m=application 9 UDP/DTLS/SCTP webrtc-datachannel",
        *_transport(local, mid, setup),
        "a=sctp-port:5000",
        "a=max-message-size:65536",
    ]


def _parse(text: str) -> aiortc.sdp.SessionDescription:
    try:
        return aiortc.sdp.SessionDescription.parse(text)
    except (ValueError, AssertionError, KeyError, IndexError, StopIteration) as error:
        raise NegotiationError(
            f"the server's session description does not parse: {error}"
        ) from None


def parse(text: str) -> Remote:
    """Read the server's description. Raises :class:`NegotiationError`."""
    description = _parse(text)
    for transport in description.media:
        if transport.ice is not None and transport.ice.usernameFragment and transport.dtls:
            ice, dtls = transport.ice, transport.dtls
            break
    else:
        raise NegotiationError("the server's session description has no ICE or DTLS parameters")
    fingerprints = [RTCDtlsFingerprint(item.algorithm, item.value) for item in dtls.fingerprints]
    if not fingerprints:
        raise NegotiationError("the server's session description has no fingerprint")
    return Remote(
        sections=tuple(_section(m) for m in description.media if m.kind != "application"),
        ice=ice,
        dtls=RTCDtlsParameters(fingerprints, dtls.role),
        candidates=tuple(transport.ice_candidates),
        candidates_complete=transport.ice_candidates_complete,
        has_data=any(m.kind == "application" and m.port for m in description.media),
    )


def _section(media: aiortc.sdp.MediaDescription) -> RemoteSection:
    groups = [g.items for g in media.ssrc_group if g.semantic == "FID" and len(g.items) == 2]
    numbers = [info.ssrc for info in media.ssrc]
    ssrc = groups[0][0] if groups else numbers[0] if numbers else None
    return RemoteSection(
        mid=media.rtp.muxId,
        kind=media.kind,
        sends=media.direction in ("sendonly", "sendrecv") and media.port != 0,
        ssrc=int(ssrc) if ssrc is not None else None,
        rtx_ssrc=int(groups[0][1]) if groups else None,
        track_id=(media.msid or "").rpartition(" ")[2],
        extensions={header.uri: header.id for header in media.rtp.headerExtensions},
        payload_types={c.name.lower(): c.payloadType or 0 for c in reversed(media.rtp.codecs)},
    )
