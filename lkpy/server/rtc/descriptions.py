"""What our offers and answers have in common, and the parts that depend on nobody's state."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
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
_SCTP_PROTOCOL = "UDP/DTLS/SCTP"
_SCTP_STREAMS = 1024
"""What ``a=sctpmap`` says; the association itself negotiates them."""


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


def complete(offer: SessionDescription, *, known: int = 0) -> None:
    """Write into ``offer`` what a loose client leaves to be understood. ``known``: as many sections
    were in the offer before.

    A section without ``a=mid`` gets a name that only we use (RFC 8829 5.10). A further one that
    BUNDLE names is part of the bundle in spite of port 0, even without ``a=bundle-only``: one that
    is rejected is not named there (RFC 9143 7.3).
    """
    taken = {media.mid for media in offer.media}
    for index, media in enumerate(offer.media):
        if media.mid is None:
            media.mid = next(name for name in _names(index) if name not in taken)
            media.mid_implied = True
            taken.add(media.mid)
        further = index >= known and (media.sends or media.receives)
        if further and media.port == 0 and media.mid in offer.bundle:
            media.bundle_only = True


def _names(index: int) -> Iterator[str]:
    name = str(index)
    while True:
        yield name
        name += "-"


def check_mids(description: SessionDescription) -> None:
    """Raise :class:`SdpError` when a mid names more than one section."""
    mids = [media.mid for media in description.media if media.mid is not None]
    if len(set(mids)) < len(mids):
        raise SdpError("two media sections have the same a=mid")


def finish(description: SessionDescription, *, bundle: bool = True) -> SessionDescription:
    """Bundle the sections that are not rejected and that have a name to say it by."""
    mids = tuple(
        media.mid
        for media in description.active_media()
        if media.mid is not None and not media.mid_implied
    )
    if mids and bundle:
        description.groups.append(Group("BUNDLE", mids))
    return description


def transport_attributes(transport: IceDtls, setup: Setup) -> TransportAttributes:
    """Our end, as every section of a bundle repeats it."""
    return TransportAttributes(
        ice_ufrag=transport.local.ufrag, ice_pwd=transport.local.pwd, setup=setup
    )


def is_data_section(media: MediaDescription) -> bool:
    """Whether ``media`` is for data channels: RFC 8841, or a draft of it (``DTLS/SCTP 5000``)."""
    return media.kind == "application" and "SCTP" in media.protocol.upper()


def data_section(mid: str, transport: TransportAttributes) -> MediaDescription:
    """Our data channel section."""
    return MediaDescription(
        "application",
        protocol=_SCTP_PROTOCOL,
        formats=("webrtc-datachannel",),
        mid=mid,
        transport=transport,
        sctp_port=SCTP_PORT,
        max_message_size=DATA_MESSAGE_MAX,
    )


def answered_data_section(
    offered: MediaDescription, mid: str, transport: TransportAttributes
) -> MediaDescription:
    """Our data channel section in the form of the ``offered`` one."""
    described = data_section(mid, transport)
    described.mid_implied = offered.mid_implied
    described.protocol = offered.protocol
    port = next(iter(offered.formats), "")
    if port.isdigit():
        # draft-ietf-mmusic-sctp-sdp-07: the format is the port.
        described.formats = (str(SCTP_PORT),)
        described.sctp_port = None
        described.attributes.append(("sctpmap", f"{SCTP_PORT} webrtc-datachannel {_SCTP_STREAMS}"))
    return described


def rejected(media: MediaDescription) -> MediaDescription:
    """The answer that rejects ``media``."""
    return MediaDescription(
        media.kind,
        port=0,
        protocol=media.protocol,
        formats=media.formats or ("0",),
        mid=media.mid,
        mid_implied=media.mid_implied,
        direction=Direction.INACTIVE,
    )
