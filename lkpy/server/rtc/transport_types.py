"""What a peer connection is told at its start, and what its methods return."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from livekit.protocol import models, rtc

from lkpy.server.rtc.media_sections import (
    ClosedSection,
    DownTrackHandle,
    MediaSectionTrack,
    RefusedSection,
)
from lkpy.server.rtc.options import PlayoutDelay


@dataclass(frozen=True, slots=True)
class TransportOptions:
    """What is the same for every peer connection of one participant."""

    publish_codecs: tuple[models.Codec, ...]
    """What the client may send: the room's enabled codecs without those disabled for it."""
    subscribe_codecs: tuple[models.Codec, ...]
    ice_lite: bool = False
    """Wanted; clients that cannot (:func:`supports_ice_lite`) get full ICE."""
    send_side_bwe: bool = False
    """transport-cc instead of REMB towards subscribers."""
    allow_pause: bool = False
    """Send nothing of a video track for which there is no room, and not its lowest layer."""
    data_tracks: bool = True
    """Open a channel for data tracks where we open channels."""
    active_red_encoding: bool = False
    """Send Opus as RED to those who can receive it."""
    one_shot: bool = False
    """There is one answer and nothing after it: it carries our candidates."""
    sync_streams: bool = False
    """Tracks share streams, so that no media section may carry one of another stream later."""
    playout_delay: PlayoutDelay | None = None
    """What subscribers of video are told, if they negotiate it; None: it is not negotiated."""


@dataclass(frozen=True, slots=True)
class OfferResult:
    """What a client's offer led to. The answer must be sent before anything in :meth:`poll`."""

    answer: rtc.SessionDescription
    tracks: tuple[MediaSectionTrack, ...]
    """Tracks that begin with this offer."""
    changed: tuple[MediaSectionTrack, ...]
    """Tracks that go on under other payload types, rids or ssrcs."""
    closed: tuple[ClosedSection, ...]
    """Tracks that end with this offer."""
    bound: tuple[DownTrackHandle, ...]
    """Down tracks that begin to flow with this answer."""
    unsupported: tuple[DownTrackHandle, ...]
    """Down tracks that the client cannot decode; remove them."""
    refused: tuple[RefusedSection, ...]
    """Sections that this answer, and none before, rejects."""
    ignored: tuple[str, ...]
    """Why lines of the offer say nothing."""
    send_candidates: bool
    """Send :meth:`PeerTransport.local_trickles` after the answer: the first, or ICE restarted."""


@dataclass(frozen=True, slots=True)
class AnswerResult:
    """What a client's answer led to (dual peer connections)."""

    bound: tuple[DownTrackHandle, ...] = ()
    unsupported: tuple[DownTrackHandle, ...] = ()
    ignored: tuple[str, ...] = ()
    """Why lines of the answer say nothing."""


@dataclass(frozen=True, slots=True)
class SendOffer:
    """Send this offer. ``send_candidates`` says that the local candidates must follow it."""

    offer: rtc.SessionDescription
    send_candidates: bool


@dataclass(frozen=True, slots=True)
class SendMediaSectionsRequirement:
    """Ask the client for an offer with so many more receiving sections ((0, 0): any offer)."""

    audios: int
    videos: int


@dataclass(frozen=True, slots=True)
class NegotiationFailed:
    """No answer within 15 s: the client must reconnect."""


Output: TypeAlias = SendOffer | SendMediaSectionsRequirement | NegotiationFailed
