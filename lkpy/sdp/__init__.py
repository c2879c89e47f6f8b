"""Session descriptions (RFC 8866) as WebRTC uses them (RFC 8829): pure parser and builder.

description = SessionDescription.parse(text)   # raises SdpError
text = str(description)

What may be in a description is bounded (``SDP_*`` of :mod:`lkpy.limits`). A large one can be parsed
in slices (:func:`prepare`), so that its reader has other things to do in between.
"""

from lkpy.sdp.candidate import Candidate
from lkpy.sdp.errors import SdpError, SdpTooLarge
from lkpy.sdp.fragment import IceFragment
from lkpy.sdp.model import (
    Codec,
    Direction,
    Fingerprint,
    Group,
    Hashed,
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
from lkpy.sdp.parser import discard, prepare

__all__ = [
    "Candidate",
    "Codec",
    "Direction",
    "Fingerprint",
    "Group",
    "Hashed",
    "HeaderExtension",
    "IceFragment",
    "MediaDescription",
    "Msid",
    "Rid",
    "SdpError",
    "SdpTooLarge",
    "SessionDescription",
    "Setup",
    "Simulcast",
    "SsrcGroup",
    "TransportAttributes",
    "discard",
    "prepare",
]
