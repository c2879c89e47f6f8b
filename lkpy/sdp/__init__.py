"""Session descriptions (RFC 8866) as WebRTC uses them (RFC 8829): pure parser and builder.

description = SessionDescription.parse(text)   # raises SdpError
text = str(description)
"""

from lkpy.sdp.candidate import Candidate
from lkpy.sdp.errors import SdpError
from lkpy.sdp.fragment import IceFragment
from lkpy.sdp.model import (
    Codec,
    Direction,
    Fingerprint,
    Group,
    HeaderExtension,
    MediaDescription,
    Msid,
    Rid,
    SessionDescription,
    Setup,
    Simulcast,
    SsrcGroup,
    TransportAttributes,
)

__all__ = [
    "Candidate",
    "Codec",
    "Direction",
    "Fingerprint",
    "Group",
    "HeaderExtension",
    "IceFragment",
    "MediaDescription",
    "Msid",
    "Rid",
    "SdpError",
    "SessionDescription",
    "Setup",
    "Simulcast",
    "SsrcGroup",
    "TransportAttributes",
]
