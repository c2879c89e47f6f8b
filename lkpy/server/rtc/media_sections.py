"""What one media section of a peer connection carries, in either direction.

A section is the pair of an m-line and its transceiver: at most one track published in it and at
most one down track sent in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from livekit.protocol import models

from lkpy.engine.api import MediaKind, RtpCodec, RtpEncoding, RtpHeaderExtension
from lkpy.sdp import MediaDescription, Msid, SsrcGroup

MAX_SPATIAL_LAYERS = 3
_KINDS = {str(kind): kind for kind in MediaKind}
_RID_SPACES = (
    ("q", "h", "f"),
    ("2", "1", "0"),
    ("l", "m", "h"),
    ("lo", "mid", "hi"),
    ("low", "mid", "high"),
    ("low", "medium", "high"),
    ("small", "medium", "large"),
)
"""Rids whose names say their order, lowest layer first: those of LiveKit's clients
(``pkg/sfu/buffer/videolayerutils.go``), and words. Others are in the order of the description."""


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


@dataclass(frozen=True, slots=True)
class RefusedSection:
    """A media section that the client offers and that cannot be used."""

    mid: str
    kind: str
    cid: str
    """Of the track that it would send; empty when it names none or only receives."""
    why: str


@dataclass(slots=True, eq=False)
class DownTrackHandle:
    """One subscription's place in the subscriber's peer connection."""

    id: int
    """The engine's down track."""
    receivers: Mapping[str, int]
    """The engine's receiver by mime type; a codec that is not published yet has none."""
    kind: MediaKind
    track_sid: str
    stream_id: str
    source_codecs: tuple[RtpCodec, ...]
    """The publisher's codecs, the preferred one first; only these are of use to the subscriber."""
    ssrc: int
    rtx_ssrc: int | None
    stereo: bool = False
    red: bool = False
    """The track may be sent as RED."""
    translate_red: bool = False
    """RED and Opus may be turned into each other: the engine can read them."""
    make_red: bool = False
    """Opus goes out as RED to a client that has it."""
    strip_trailer: bool = False
    """The packet trailers of the track's frames are not sent."""
    mid: str = ""
    """Empty until it has a media section."""
    bound: bool = False
    """Whether the section is negotiated."""
    mime_type: str = ""
    """Of the codec that was negotiated, lower-case; empty before."""
    forwarding: bool = False
    """Whether the engine forwards into it: it is bound and its codec is published."""
    unsupported: bool = False
    """The client accepts none of the publisher's codecs."""
    removed: bool = False
    max_spatial: int = 2
    max_temporal: int = 3
    muted: bool = False
    paused: bool = False
    """The client has described its section as one in which it does not receive for now."""
    codecs: tuple[RtpCodec, ...] = field(default=())
    """What was negotiated for it, once bound."""
    header_extensions: tuple[RtpHeaderExtension, ...] = field(default=())
    """What was negotiated for it, once bound."""


@dataclass(slots=True, eq=False)
class Section:
    """One m-line in the order of the description, across negotiations."""

    mid: str
    kind: str
    usable: bool = True
    """Neither side rejected it."""
    refused: bool = False
    """We rejected it in our last answer."""
    client_receives: bool = False
    """Whether the client's last description has it receive."""
    sender: DownTrackHandle | None = None
    """What we send, or will with the next description."""
    sending: bool = False
    """Whether the last finished negotiation had us send. A client reports a track only when its
    section begins to receive, so another track must wait until it has stopped once."""
    track: MediaSectionTrack | None = None
    """What the client sends."""
    info: models.TrackInfo | None = None
    """Of ``track``, once AddTrack named it."""
    receiver: int | None = None

    @property
    def media_kind(self) -> MediaKind | None:
        """Audio or video; None for a section of another kind."""
        return _KINDS.get(self.kind)

    def free_for(self, kind: MediaKind) -> bool:
        """Whether a track of ``kind`` can be sent in it from the next description on."""
        return (
            self.usable
            and self.client_receives
            and self.kind == kind
            and self.sender is None
            and not self.sending
        )


# -- reading ------------------------------------------------------------------------------------


def track_id(media: MediaDescription) -> tuple[str, str]:
    """Stream and track id of what the writer sends in ``media``; empty where it names none."""
    if media.msids:
        # A single word is the track (LiveKit protocol ``sdp.ExtractStreamID``).
        msid = media.msids[0]
        return (msid.stream, msid.track) if msid.track else ("", msid.stream)
    for attributes in media.ssrcs.values():
        stream, _, track = attributes.get("msid", "").partition(" ")
        if track:
            return stream, track
    return "", ""


def encodings(media: MediaDescription) -> tuple[RtpEncoding, ...]:
    """What arrives in ``media``: by rid, by ``ssrc-group:SIM``, or one plain stream."""
    rids = media.simulcast.send if media.simulcast else ()
    rids = rids or tuple(rid.id for rid in media.rids if rid.direction == "send")
    if rids:
        ordered = _lowest_first(rids)[:MAX_SPATIAL_LAYERS]
        return tuple(RtpEncoding(spatial, rid=rid) for spatial, rid in enumerate(ordered))
    repaired = {
        group.ssrcs[0]: group.ssrcs[1]
        for group in media.ssrc_groups
        if group.semantics == "FID" and len(group.ssrcs) == 2
    }
    layers = next((group.ssrcs for group in media.ssrc_groups if group.semantics == "SIM"), ())
    if not layers:
        known = [*repaired, *(ssrc for ssrc in media.ssrcs if ssrc not in repaired.values())]
        layers = tuple(known[:1])
    if not layers:
        return (RtpEncoding(0),)
    return tuple(
        RtpEncoding(spatial, ssrc=ssrc, rtx_ssrc=repaired.get(ssrc))
        for spatial, ssrc in enumerate(layers[:MAX_SPATIAL_LAYERS])
    )


def _lowest_first(rids: tuple[str, ...]) -> tuple[str, ...]:
    unique = tuple(dict.fromkeys(rids))
    for space in _RID_SPACES:
        if set(unique) <= set(space):
            return tuple(sorted(unique, key=space.index))
    return unique


# -- writing ------------------------------------------------------------------------------------


def describe_sender(media: MediaDescription, sender: DownTrackHandle) -> None:
    """Write msid and SSRCs of ``sender`` into ``media``. The RTX SSRC is left out without RTX."""
    msid = f"{sender.stream_id} {sender.track_sid}"
    media.msids.append(Msid(sender.stream_id, sender.track_sid))
    ssrcs = [sender.ssrc]
    has_rtx = any(codec.name.lower() == "rtx" for codec in media.codecs)
    if sender.rtx_ssrc is not None and has_rtx:
        ssrcs.append(sender.rtx_ssrc)
        media.ssrc_groups.append(SsrcGroup("FID", tuple(ssrcs)))
    for ssrc in ssrcs:
        media.ssrcs[ssrc] = {"cname": sender.stream_id, "msid": msid}
