"""What one media section of a peer connection carries, in either direction.

A section is the pair of an m-line and its transceiver: at most one track published in it and at
most one down track sent in it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from lkpy.engine.api import MediaKind, RtpCodec, RtpEncoding, RtpHeaderExtension


@dataclass(frozen=True, slots=True)
class MediaSectionTrack:
    """A track that the client sends in one media section, as negotiated."""

    mid: str
    kind: MediaKind
    cid: str
    """Track id of ``a=msid``, the client's MediaStreamTrack id; empty when it names none."""
    stream_id: str
    codecs: tuple[RtpCodec, ...]
    """In the answer's order, so the first is what the client should send."""
    header_extensions: tuple[RtpHeaderExtension, ...]
    encodings: tuple[RtpEncoding, ...]
    """Lowest spatial layer first; never empty."""

    @property
    def mime_types(self) -> tuple[str, ...]:
        """Lower-case mime types in the answer's order, without repeats."""
        return tuple(dict.fromkeys(codec.mime_type for codec in self.codecs))

    @property
    def simulcast(self) -> bool:
        """Whether there is more than one encoding."""
        return len(self.encodings) > 1


@dataclass(frozen=True, slots=True)
class ClosedSection:
    """A published track whose sender went away. Its receiver has been closed."""

    mid: str
    kind: MediaKind
    cid: str
    receiver: int | None


@dataclass(slots=True, eq=False)
class DownTrackHandle:
    """One subscription's place in the subscriber's peer connection."""

    id: int
    """The engine's down track."""
    receiver: int
    kind: MediaKind
    track_sid: str
    stream_id: str
    source_codecs: tuple[RtpCodec, ...]
    """The publisher's codecs; only these are of use to the subscriber."""
    ssrc: int
    rtx_ssrc: int | None
    stereo: bool = False
    red: bool = False
    mid: str = ""
    """Empty until it has a media section."""
    bound: bool = False
    """Whether the section is negotiated and the engine forwards into it."""
    unsupported: bool = False
    """The client accepts none of the publisher's codecs."""
    removed: bool = False
    max_spatial: int = 2
    max_temporal: int = 3
    muted: bool = False
    codecs: tuple[RtpCodec, ...] = field(default=())
    """What was negotiated for it, once bound."""
