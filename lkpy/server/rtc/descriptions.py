"""What our offers and answers have in common, and the parts that depend on nobody's state."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

from lkpy.limits import DATA_MESSAGE_MAX
from lkpy.sdp import (
    Direction,
    Fingerprint,
    Group,
    MediaDescription,
    SdpError,
    SessionDescription,
    Setup,
    TransportAttributes,
)
from lkpy.server.rtc.ice_dtls import IceDtls

SCTP_PORT = 5000
_SCTP_PROTOCOLS = ("UDP/DTLS/SCTP", "TCP/DTLS/SCTP")


@dataclass(slots=True)
class Origin:
    """The o= line: one session, a version per description (RFC 8829 5.2.1)."""

    session: int = field(default_factory=lambda: secrets.randbits(62))
    version: int = 0

    def next(self) -> str:
        """The line for another description."""
        self.version += 1
        return f"- {self.session} {self.version} IN IP4 127.0.0.1"


def session(
    origin: Origin, fingerprint: Fingerprint, *, lite: bool, allow_mixed: bool
) -> SessionDescription:
    """A description without media sections."""
    return SessionDescription(
        origin=origin.next(),
        ice_lite=lite,
        extmap_allow_mixed=allow_mixed,
        msid_semantic=" WMS *",
        transport=TransportAttributes(ice_options="trickle", fingerprints=[fingerprint]),
    )


def check_mids(description: SessionDescription) -> None:
    """Raise :class:`SdpError` when a mid names more than one section."""
    mids = [media.mid for media in description.media if media.mid is not None]
    if len(set(mids)) < len(mids):
        raise SdpError("two media sections have the same a=mid")


def finish(description: SessionDescription) -> SessionDescription:
    """Bundle the sections that are not rejected."""
    mids = tuple(media.mid for media in description.active_media() if media.mid is not None)
    if mids:
        description.groups.append(Group("BUNDLE", mids))
    return description


def transport_attributes(transport: IceDtls, setup: Setup) -> TransportAttributes:
    """Our end, as every section of a bundle repeats it."""
    return TransportAttributes(
        ice_ufrag=transport.local.ufrag, ice_pwd=transport.local.pwd, setup=setup
    )


def is_data_section(media: MediaDescription) -> bool:
    """Whether ``media`` is WebRTC's data channel section (RFC 8841)."""
    return media.kind == "application" and media.protocol in _SCTP_PROTOCOLS


def data_section(
    mid: str, transport: TransportAttributes, protocol: str = _SCTP_PROTOCOLS[0]
) -> MediaDescription:
    """Our data channel section."""
    return MediaDescription(
        "application",
        protocol=protocol,
        formats=("webrtc-datachannel",),
        mid=mid,
        transport=transport,
        sctp_port=SCTP_PORT,
        max_message_size=DATA_MESSAGE_MAX,
    )


def rejected(media: MediaDescription) -> MediaDescription:
    """The answer that rejects ``media``."""
    return MediaDescription(
        media.kind,
        port=0,
        protocol=media.protocol,
        formats=media.formats or ("0",),
        mid=media.mid,
        direction=Direction.INACTIVE,
    )
