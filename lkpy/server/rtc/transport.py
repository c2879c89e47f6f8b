"""One peer connection as the control plane sees it: descriptions in, engine commands out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from livekit.protocol import models, rtc

from lkpy.engine.api import (
    Command,
    DtlsState,
    EngineInfo,
    Event,
    IceState,
    MediaKind,
    RtpCodec,
    RtpEncoding,
)
from lkpy.server.rtc.media_sections import ClosedSection, DownTrackHandle, MediaSectionTrack


class EngineLink(Protocol):
    """The part of :class:`lkpy.engine.hub.EngineHub` that a transport uses."""

    @property
    def info(self) -> EngineInfo:
        """Fingerprint and candidates."""

    def new_id(self) -> int:
        """The next id."""

    def submit(self, *commands: Command) -> None:
        """Queue commands."""


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
    playout_delay: bool = False
    red: bool = False
    """Prefer RED over Opus for published tracks that allow it."""


@dataclass(frozen=True, slots=True)
class OfferResult:
    """What a client's offer led to. The answer must be sent before anything in :meth:`poll`."""

    answer: rtc.SessionDescription
    tracks: tuple[MediaSectionTrack, ...]
    """Tracks that begin with this offer."""
    closed: tuple[ClosedSection, ...]
    """Tracks that end with this offer."""
    bound: tuple[DownTrackHandle, ...]
    """Down tracks that begin to flow with this answer."""
    unsupported: tuple[DownTrackHandle, ...]
    """Down tracks that the client cannot decode; remove them."""
    ice_restarted: bool
    """Send the local candidates again."""
    has_data_channel: bool


@dataclass(frozen=True, slots=True)
class AnswerResult:
    """What a client's answer led to (dual peer connections)."""

    bound: tuple[DownTrackHandle, ...]
    unsupported: tuple[DownTrackHandle, ...]


@dataclass(frozen=True, slots=True)
class SendOffer:
    """Send this offer. ``candidates`` says that the local candidates must follow it."""

    offer: rtc.SessionDescription
    candidates: bool


@dataclass(frozen=True, slots=True)
class SendMediaSectionsRequirement:
    """Ask the client for an offer with so many more receiving sections ((0, 0): any offer)."""

    audios: int
    videos: int


@dataclass(frozen=True, slots=True)
class NegotiationFailed:
    """No answer within 15 s: the client must reconnect."""


Output: TypeAlias = SendOffer | SendMediaSectionsRequirement | NegotiationFailed

TrackLookup: TypeAlias = Callable[[str, MediaKind], models.TrackInfo | None]
"""Published or pending TrackInfo for (cid of the section, kind); it may record ``sdp_cid``."""


class PeerTransport:
    """One peer connection. No I/O and no clock: it is told ``now`` and submits commands.

    ``target`` PUBLISHER without ``single_pc`` is the dual publisher (we answer, receive only),
    with it the single connection (we answer, both ways); SUBSCRIBER is the dual subscriber (we
    offer). The caller routes engine events of :attr:`id` to :meth:`handle_event`.
    """

    def __init__(
        self,
        engine: EngineLink,
        *,
        worker: int,
        target: rtc.SignalTarget,
        single_pc: bool,
        client: models.ClientInfo,
        options: TransportOptions,
    ) -> None:
        raise NotImplementedError

    id: int
    """The engine's transport."""
    target: rtc.SignalTarget
    ice_state: IceState
    dtls_state: DtlsState

    @property
    def connected(self) -> bool:
        """ICE and DTLS are connected."""
        raise NotImplementedError

    @property
    def ever_connected(self) -> bool:
        """Whether :attr:`connected` was ever true."""
        raise NotImplementedError

    # -- publisher and single connection: the client offers ---------------------------------

    def handle_offer(
        self, now: float, offer: rtc.SessionDescription, lookup: TrackLookup
    ) -> OfferResult:
        """Apply a client's offer. Raises :class:`lkpy.sdp.SdpError` and changes nothing then."""
        raise NotImplementedError

    def section_tracks(self) -> tuple[MediaSectionTrack, ...]:
        """Tracks being sent by the client that have no receiver yet, for a late AddTrack."""
        raise NotImplementedError

    def create_receiver(
        self,
        track: MediaSectionTrack,
        *,
        clock_group: int,
        screen_share: bool = False,
        encodings: tuple[RtpEncoding, ...] | None = None,
    ) -> int:
        """Receive ``track``; returns the engine's receiver. The same again for the same section."""
        raise NotImplementedError

    # -- subscriber: we offer ----------------------------------------------------------------

    def handle_answer(self, now: float, answer: rtc.SessionDescription) -> AnswerResult:
        """Apply the client's answer. Answers to an older offer are ignored."""
        raise NotImplementedError

    def restart_ice(self, now: float) -> None:
        """Restart ICE with a fresh offer. Only where we offer; elsewhere the client restarts."""
        raise NotImplementedError

    # -- down tracks ---------------------------------------------------------------------------

    def add_down_track(
        self,
        *,
        receiver: int,
        kind: MediaKind,
        track_sid: str,
        stream_id: str,
        codecs: tuple[RtpCodec, ...],
        stereo: bool = False,
        red: bool = False,
        max_spatial: int = 2,
        max_temporal: int = 3,
        muted: bool = False,
    ) -> DownTrackHandle:
        """Send a published track to this client. Call :meth:`negotiate` after the last of a batch.

        ``codecs`` are the publisher's, ``stream_id`` is ``PA_x|TR_y``.
        """
        raise NotImplementedError

    def update_down_track(
        self, handle: DownTrackHandle, *, max_spatial: int, max_temporal: int, muted: bool
    ) -> None:
        """Change what may be sent; remembered until it is bound."""
        raise NotImplementedError

    def remove_down_track(self, handle: DownTrackHandle) -> None:
        """Stop sending. Idempotent. Call :meth:`negotiate` after the last of a batch."""
        raise NotImplementedError

    def mid_to_track_id(self) -> dict[str, str]:
        """Track sid per mid in which we send."""
        raise NotImplementedError

    # -- time ----------------------------------------------------------------------------------

    def negotiate(self, now: float, *, force: bool = False) -> None:
        """Ask for a negotiation: debounced, or at once with ``force``."""
        raise NotImplementedError

    def next_deadline(self) -> float | None:
        """When :meth:`poll` has something to do; None: only after another call."""
        raise NotImplementedError

    def poll(self, now: float) -> list[Output]:
        """What to send now. Call after every other method and at :meth:`next_deadline`."""
        raise NotImplementedError

    # -- candidates ----------------------------------------------------------------------------

    def add_remote_candidate(self, candidate_init: str) -> None:
        """A trickled candidate, JSON. Raises :class:`lkpy.sdp.SdpError` when it does not parse."""
        raise NotImplementedError

    def local_candidates(self) -> list[str]:
        """Our candidates as JSON ``RTCIceCandidateInit``; they are fixed per worker."""
        raise NotImplementedError

    def local_trickles(self) -> list[rtc.TrickleRequest]:
        """One message per candidate, the last with ``final``; send them after a description."""
        raise NotImplementedError

    # -- engine events, end --------------------------------------------------------------------

    def handle_event(self, event: Event) -> None:
        """Take IceStateChanged, DtlsStateChanged and TransportClosed of this transport."""
        raise NotImplementedError

    def close(self) -> None:
        """Close the connection and all it carries. Idempotent."""
        raise NotImplementedError
