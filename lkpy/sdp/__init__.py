"""Session descriptions (RFC 8866) as WebRTC uses them (RFC 8829): pure parser and builder."""

from lkpy.sdp.errors import SdpError

__all__ = ["SdpError"]
