"""A session description in parts (RFC 8866, with the attributes of RFC 8829).

Attributes that this package does not know are kept as they came, so that a description can be
read, changed and written without losing anything.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar

from lkpy.sdp.candidate import Candidate

T = TypeVar("T")


class Direction(enum.StrEnum):
    """Direction of a media section, from the side that wrote the description."""

    SENDRECV = "sendrecv"
    SENDONLY = "sendonly"
    RECVONLY = "recvonly"
    INACTIVE = "inactive"

    @property
    def sends(self) -> bool:
        """Whether the writer sends."""
        return self in (Direction.SENDRECV, Direction.SENDONLY)

    @property
    def receives(self) -> bool:
        """Whether the writer receives."""
        return self in (Direction.SENDRECV, Direction.RECVONLY)

    @classmethod
    def of(cls, *, sends: bool, receives: bool) -> Direction:
        """Return the direction with these halves."""
        if sends:
            return cls.SENDRECV if receives else cls.SENDONLY
        return cls.RECVONLY if receives else cls.INACTIVE


class Setup(enum.StrEnum):
    """``a=setup`` (RFC 5763): active is the DTLS client."""

    ACTPASS = "actpass"
    ACTIVE = "active"
    PASSIVE = "passive"
    HOLDCONN = "holdconn"


class Hashed(tuple[T, ...]):
    """A tuple that is a cache key many times in every negotiation: its hash is computed once."""

    _known: int

    def __hash__(self) -> int:
        try:
            return self._known
        except AttributeError:
            self._known = super().__hash__()
            return self._known


@dataclass(frozen=True)
class Codec:
    """One payload type of a media section with its ``rtpmap``, ``fmtp`` and ``rtcp-fb``."""

    payload_type: int
    name: str
    """As written, e.g. ``opus`` or ``VP8``; empty when the description does not map it."""
    clock_rate: int = 0
    """0: not written."""
    channels: int = 0
    """0: not written."""
    fmtp: str = ""
    feedback: tuple[str, ...] = ()
    """E.g. ``nack``, ``nack pli``, ``transport-cc``."""

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        return hash((self.payload_type, self.name, self.fmtp, self.feedback))

    @cached_property
    def parameters(self) -> dict[str, str]:
        """``fmtp`` as a mapping with lower-case names; a bare word maps to ``""``."""
        parts = (part.strip().partition("=") for part in self.fmtp.split(";") if part.strip())
        return {name.strip().lower(): value.strip() for name, _, value in parts}

    @cached_property
    def lines(self) -> tuple[str, ...]:
        """The attribute lines, without line ends."""
        number = self.payload_type
        lines: list[str] = []
        if self.name:
            rate = f"/{self.clock_rate}" if self.clock_rate or self.channels else ""
            channels = f"/{self.channels}" if self.channels else ""
            lines.append(f"a=rtpmap:{number} {self.name}{rate}{channels}")
        if self.fmtp:
            lines.append(f"a=fmtp:{number} {self.fmtp}")
        lines += [f"a=rtcp-fb:{number} {feedback}" for feedback in self.feedback]
        return tuple(lines)


@dataclass(frozen=True, slots=True)
class HeaderExtension:
    """``a=extmap`` (RFC 8285 8)."""

    id: int
    uri: str
    direction: Direction | None = None
    attributes: str = ""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """``a=fingerprint`` (RFC 8122): lower-case algorithm, upper-case hex joined by colons."""

    algorithm: str
    value: str


@dataclass(frozen=True, slots=True)
class Msid:
    """``a=msid`` (RFC 8830). ``stream`` is ``-`` for none, ``track`` may be empty."""

    stream: str
    track: str = ""


@dataclass(frozen=True, slots=True)
class SsrcGroup:
    """``a=ssrc-group`` (RFC 5576), e.g. ``FID`` (RTX pairs) and ``SIM`` (simulcast)."""

    semantics: str
    ssrcs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Rid:
    """``a=rid`` (RFC 8851)."""

    id: str
    direction: str
    """``send`` or ``recv``."""
    restrictions: str = ""


@dataclass(frozen=True, slots=True)
class Simulcast:
    """``a=simulcast`` (RFC 8853): rids in the order written; of alternatives only the first is
    kept and a pause mark (``~``) is dropped."""

    send: tuple[str, ...] = ()
    recv: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Group:
    """``a=group`` (RFC 5888)."""

    semantics: str
    mids: tuple[str, ...]


@dataclass(slots=True)
class TransportAttributes:
    """ICE and DTLS attributes; they may stand at session level, in media sections, or both."""

    ice_ufrag: str | None = None
    ice_pwd: str | None = None
    ice_options: str | None = None
    fingerprints: list[Fingerprint] = field(default_factory=list)
    setup: Setup | None = None


@dataclass(slots=True)
class MediaDescription:
    """One media section."""

    kind: str
    """``audio``, ``video``, ``application`` or whatever else was written."""
    port: int = 9
    protocol: str = "UDP/TLS/RTP/SAVPF"
    formats: tuple[str, ...] = ()
    """The m-line's formats; payload types where ``codecs`` is not empty."""
    mid: str | None = None
    mid_implied: bool = False
    """Whoever reads it has named it; it is not written."""
    direction: Direction | None = None
    """None: not written, which means sendrecv."""
    codecs: tuple[Codec, ...] = ()
    header_extensions: tuple[HeaderExtension, ...] = ()
    transport: TransportAttributes = field(default_factory=TransportAttributes)
    msids: list[Msid] = field(default_factory=list)
    ssrcs: dict[int, dict[str, str]] = field(default_factory=dict)
    """Attributes per SSRC in the order written; an attribute without a value maps to ``""``."""
    ssrc_groups: list[SsrcGroup] = field(default_factory=list)
    rids: list[Rid] = field(default_factory=list)
    simulcast: Simulcast | None = None
    candidates: list[Candidate] = field(default_factory=list)
    end_of_candidates: bool = False
    rtcp_mux: bool = False
    rtcp_rsize: bool = False
    bundle_only: bool = False
    extmap_allow_mixed: bool = False
    sctp_port: int | None = None
    max_message_size: int | None = None
    connection: str | None = "IN IP4 0.0.0.0"
    bandwidth: list[str] = field(default_factory=list)
    attributes: list[tuple[str, str | None]] = field(default_factory=list)
    """Attributes that have no field here."""

    @property
    def sends(self) -> bool:
        """Whether the writer sends in this section."""
        return self.direction is None or self.direction.sends

    @property
    def receives(self) -> bool:
        """Whether the writer receives in this section."""
        return self.direction is None or self.direction.receives

    @property
    def rejected(self) -> bool:
        """Port 0 stops a section, unless it is there only as part of a bundle (RFC 9143 6)."""
        return self.port == 0 and not self.bundle_only


@dataclass(slots=True)
class SessionDescription:
    """A whole description."""

    origin: str = "- 0 0 IN IP4 127.0.0.1"
    name: str = "-"
    timing: str = "0 0"
    groups: list[Group] = field(default_factory=list)
    ice_lite: bool = False
    extmap_allow_mixed: bool = False
    msid_semantic: str | None = None
    transport: TransportAttributes = field(default_factory=TransportAttributes)
    attributes: list[tuple[str, str | None]] = field(default_factory=list)
    other_lines: list[str] = field(default_factory=list)
    """Session lines that WebRTC does not use (``i=``, ``c=``, ``b=`` ...), whole."""
    candidates: list[Candidate] = field(default_factory=list)
    """Some write them before all sections."""
    media: list[MediaDescription] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list, compare=False)
    """Why lines of it say nothing, at most :data:`lkpy.limits.SDP_IGNORED` of them."""

    @classmethod
    def parse(cls, text: str) -> SessionDescription:
        """Parse ``text``. Raises :class:`lkpy.sdp.SdpError` with the line at fault."""
        from lkpy.sdp.parser import parse

        return parse(text)

    def __str__(self) -> str:
        from lkpy.sdp.writer import write

        return write(self)

    @property
    def bundle(self) -> tuple[str, ...]:
        """Mids of the first BUNDLE group; the first of them carries the transport attributes."""
        return next((group.mids for group in self.groups if group.semantics == "BUNDLE"), ())

    def section(self, mid: str) -> MediaDescription | None:
        """The section with this mid."""
        return next((media for media in self.media if media.mid == mid), None)

    def transport_of(self, media: MediaDescription) -> TransportAttributes:
        """The transport attributes that hold in ``media``: its own before the session's."""
        own, session = media.transport, self.transport
        return TransportAttributes(
            ice_ufrag=own.ice_ufrag or session.ice_ufrag,
            ice_pwd=own.ice_pwd or session.ice_pwd,
            ice_options=own.ice_options or session.ice_options,
            fingerprints=own.fingerprints or session.fingerprints,
            setup=own.setup or session.setup,
        )

    def active_media(self) -> Iterator[MediaDescription]:
        """Sections that are not rejected."""
        return (media for media in self.media if not media.rejected)
