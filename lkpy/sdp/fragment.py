"""SDP fragments: what an ICE agent says after its description (RFC 8840 9), as WHIP uses them
(RFC 9725 4.3): one media section, that of the transport, with credentials and candidates.
"""

from __future__ import annotations

from dataclasses import dataclass

from lkpy.limits import MAX_REMOTE_CANDIDATES
from lkpy.sdp.candidate import Candidate
from lkpy.sdp.errors import SdpError
from lkpy.sdp.model import MediaDescription
from lkpy.sdp.parser import parse_fragment


@dataclass(frozen=True, slots=True)
class IceFragment:
    """One ``application/trickle-ice-sdpfrag``."""

    mid: str
    ufrag: str
    pwd: str
    candidates: tuple[Candidate, ...] = ()
    end_of_candidates: bool = False
    media: str = "audio 9 UDP/TLS/RTP/SAVPF 0"
    """The m-line, which says nothing here (RFC 8840 9.2): an answer repeats it."""
    bundle: tuple[str, ...] = ()
    """Mids of the BUNDLE group, if the fragment names it; ``mid`` is the first."""
    ice_lite: bool = False
    ice_options: str | None = None

    @classmethod
    def parse(cls, text: str) -> IceFragment:
        """Parse ``text``. Raises :class:`SdpError` with what is wrong with it."""
        if text.count("a=candidate:") > MAX_REMOTE_CANDIDATES:
            raise SdpError(f"more than {MAX_REMOTE_CANDIDATES} candidates")
        description = parse_fragment(text)
        if not description.media:
            raise SdpError("no media section")
        if len(description.media) > 1:
            raise SdpError("more than one media section")
        media = description.media[0]
        if media.mid is None:
            raise SdpError("no a=mid")
        bundle = description.bundle
        if bundle and bundle[0] != media.mid:
            raise SdpError(f"a=group begins with {bundle[0]}, a=mid is {media.mid}")
        return cls(
            mid=media.mid,
            ufrag=_one("ice-ufrag", description.transport.ice_ufrag, media.transport.ice_ufrag),
            pwd=_one("ice-pwd", description.transport.ice_pwd, media.transport.ice_pwd),
            candidates=tuple(media.candidates),
            end_of_candidates=media.end_of_candidates,
            media=_media_line(media),
            bundle=bundle,
            ice_lite=description.ice_lite,
            ice_options=media.transport.ice_options or description.transport.ice_options,
        )

    def __str__(self) -> str:
        lines = [] if not self.bundle else [f"a=group:BUNDLE {' '.join(self.bundle)}"]
        if self.ice_lite:
            lines.append("a=ice-lite")
        if self.ice_options is not None:
            lines.append(f"a=ice-options:{self.ice_options}")
        lines += [
            f"m={self.media}",
            f"a=mid:{self.mid}",
            f"a=ice-ufrag:{self.ufrag}",
            f"a=ice-pwd:{self.pwd}",
            *(f"a={candidate}" for candidate in self.candidates),
        ]
        if self.end_of_candidates:
            lines.append("a=end-of-candidates")
        return "\r\n".join([*lines, ""])


def _one(name: str, session: str | None, media: str | None) -> str:
    """The value of an attribute that may stand at either level, or at both if they agree."""
    if session and media and session != media:
        raise SdpError(f"two different a={name}")
    value = media or session
    if not value:
        raise SdpError(f"no a={name}")
    return value


def _media_line(media: MediaDescription) -> str:
    return " ".join((media.kind, str(media.port), media.protocol, *media.formats))
