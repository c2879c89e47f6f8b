"""A published track: its codecs, which of them have media, and what subscribers may be sent. Pure
(LiveKit ``pkg/rtc/mediatrack.go``, ``mediatrackreceiver.go``)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from livekit.protocol import models

from lkpy.engine.api import MediaKind, RtpCodec
from lkpy.server.rtc.media_sections import MediaSectionTrack
from lkpy.server.rtc.track_info import codec_of, describe_section, mime_name, set_mime

_OPUS, _RED = "audio/opus", "audio/red"


@dataclass(slots=True, eq=False)
class Source:
    """One codec of a published track: its media section and receiver."""

    mid: str
    receiver: int
    mime_type: str
    """Lower-case; what the client was told to send."""
    codecs: tuple[RtpCodec, ...]
    """What a subscriber has to accept one of."""
    negotiated: tuple[RtpCodec, ...] = ()
    """What the client may send, whatever it was told."""
    encodings: int = 1
    """Streams that were negotiated."""


class Subscriber(Protocol):
    """Who receives a track, as the track sees it."""

    def refresh(self, track: MediaTrack, /) -> None:
        """The track's description changed."""


@dataclass(slots=True, eq=False)
class MediaTrack:
    """A published track."""

    info: models.TrackInfo
    cids: set[str]
    sources: list[Source] = field(default_factory=list)
    potential: tuple[RtpCodec, ...] = ()
    """Codecs that the track was announced with and whose media has not begun: subscribers may ask
    for them."""
    regression_target: str = ""
    """Lower-case mime type of the codec that all subscribers are given once it is published."""
    regressed: set[str] = field(default_factory=set)
    """Lower-case mime types that are given up for :attr:`regression_target`."""
    announced: bool = False
    """Others know of it."""
    flowing: bool = False
    """Its media has begun."""
    seen: bool = False
    """Its publisher was told that somebody subscribed."""
    _subscribers: dict[str, Subscriber] = field(default_factory=dict)
    """Who receives it, by sid."""

    @property
    def sid(self) -> str:
        return self.info.sid

    @property
    def kind(self) -> MediaKind:
        audio = self.info.type == models.TrackType.AUDIO
        return MediaKind.AUDIO if audio else MediaKind.VIDEO

    # -- subscribers ------------------------------------------------------------------------------

    @property
    def subscribers(self) -> list[Subscriber]:
        """Who receives it."""
        return list(self._subscribers.values())

    def subscribed(self, sid: str, subscriber: Subscriber) -> None:
        """A participant receives it from now on."""
        self._subscribers[sid] = subscriber

    def unsubscribed(self, sid: str) -> None:
        """A participant receives it no more. Idempotent."""
        self._subscribers.pop(sid, None)

    # -- publishing -------------------------------------------------------------------------------

    def begin(self, section: MediaSectionTrack, receiver: int) -> Source:
        """Media comes in ``section``."""
        codec = codec_of(self.info, section.cid)
        mime = section.mime_types[0] if section.mime_types else ""
        # A client that names its codecs sends the one that it named. Otherwise, and between Opus
        # and RED, it may send any that was negotiated.
        named = bool(codec.mime_type) and (
            self.kind is MediaKind.VIDEO or len(self.info.codecs) > 1
        )
        sent = {_OPUS, _RED} if mime in (_OPUS, _RED) else {mime}
        codecs = tuple(c for c in section.codecs if not named or c.mime_type in sent)
        first = not self.sources
        source = Source(section.mid, receiver, mime, codecs, section.codecs, len(section.encodings))
        self.sources.append(source)
        describe_section(self.info, codec, section, mime_name(mime))
        if first and section.simulcast:
            self.info.simulcast = True
        if first and named:
            self._announce_codecs(section)
        return source

    def _announce_codecs(self, section: MediaSectionTrack) -> None:
        """The section negotiates the other codecs too, so their parameters are known."""
        others = [codec.mime_type.lower() for codec in self.info.codecs]
        self.potential = tuple(codec for codec in section.codecs if codec.mime_type in others)
        if self.info.backup_codec_policy != models.BackupCodecPolicy.SIMULCAST and len(others) > 1:
            self.regression_target = others[1]

    def renegotiated(self, section: MediaSectionTrack) -> bool:
        """A later offer describes the section of a source otherwise. Returns whether that concerns
        others: numbers of payload types and header extensions do not."""
        for source in self.sources:
            if source.mid != section.mid:
                continue
            before = self.info.SerializeToString(), _formats(source.codecs), source.encodings
            mimes = {codec.mime_type for codec in source.codecs}
            codecs = tuple(c for c in section.codecs if c.mime_type in mimes)
            source.codecs = codecs or source.codecs
            source.negotiated, source.encodings = section.codecs, len(section.encodings)
            known = (codec for codec in self.info.codecs if codec.mid == section.mid)
            codec = next(known, self.info.codecs[0])
            describe_section(self.info, codec, section, mime_name(source.mime_type))
            after = self.info.SerializeToString(), _formats(source.codecs), source.encodings
            return before != after
        return False

    def regress(self, may_regress: Callable[[], bool]) -> list[str]:
        """A source has begun. Returns the mime types whose subscribers are given the regression
        target's media from now on. ``may_regress`` decides where the policy leaves it open."""
        target = self.regression_target
        published = {s.mime_type for s in self.sources}
        if not target or target not in published or len(published) == 1:
            return []
        policy = self.info.backup_codec_policy
        if policy != models.BackupCodecPolicy.REGRESSION and not may_regress():
            return []
        given_up = sorted(published - {target} - self.regressed)
        self.regressed.update(given_up)
        return given_up

    def section_closed(self, mid: str) -> bool:
        """A section's sender went away. Returns whether it was one of this track's."""
        for source in self.sources:
            if source.mid == mid:
                self.sources.remove(source)
                ended = {codec.mime_type for codec in source.codecs}
                self.potential = tuple(c for c in self.potential if c.mime_type not in ended)
                return True
        return False

    def media_began(self, receiver: int, mime_type: str) -> bool:
        """Media came in. Returns whether it is in another codec than was known of its section: than
        it was told to send, or than came before. A codec of a track that is published in several is
        looked for in the section of its own."""
        self.flowing = True
        if not mime_type or any(s.mime_type == mime_type for s in self.sources):
            return False
        if self.kind is MediaKind.AUDIO and len(self.info.codecs) > 1:
            return False
        for source in self.sources:
            if source.receiver == receiver:
                unsent, source.mime_type = source.mime_type, mime_type
                self.potential = tuple(c for c in self.potential if c.mime_type != unsent)
                if all(codec.mime_type != mime_type for codec in source.codecs):
                    source.codecs = tuple(c for c in source.negotiated if c.mime_type == mime_type)
                if len(self.info.codecs) == 1:
                    set_mime(self.info, source.mid, mime_name(mime_type))
                return True
        return False

    def encodings_of(self, mime_type: str) -> int:
        """Streams that were negotiated for a codec; 0: it has no media."""
        counts = (s.encodings for s in self.sources if s.mime_type == mime_type)
        return max(counts, default=0)

    @property
    def awaits_backup(self) -> models.SimulcastCodecInfo | None:
        """A codec whose media the client has announced and not begun to send."""
        mids = {source.mid for source in self.sources}
        for codec in self.info.codecs[1:]:
            matched = bool(codec.sdp_cid) and not codec.mid
            if codec.cid and codec.mid not in mids and not matched:
                return codec
        return None

    # -- subscribing ------------------------------------------------------------------------------

    def upstream(self) -> tuple[tuple[RtpCodec, ...], Mapping[str, int]]:
        """What a subscriber has to accept one of, the publisher's preference first, and the
        receiver of each mime type that has media."""
        codecs: dict[str, list[RtpCodec]] = {}
        receivers: dict[str, int] = {}
        for source in self.sources:
            if source.mime_type in self.regressed:
                continue
            for codec in sorted(source.codecs, key=lambda c: c.mime_type != source.mime_type):
                if codec.mime_type in receivers and receivers[codec.mime_type] != source.receiver:
                    continue
                receivers[codec.mime_type] = source.receiver
                codecs.setdefault(codec.mime_type, []).append(codec)
        for codec in self.potential:
            if codec.mime_type not in receivers and codec.mime_type not in self.regressed:
                codecs.setdefault(codec.mime_type, []).append(codec)
        order = {c.mime_type.lower(): index for index, c in enumerate(self.info.codecs)}
        ranked = sorted(codecs, key=lambda mime: order.get(mime, len(order)))
        return tuple(codec for mime in ranked for codec in codecs[mime]), receivers


def _formats(codecs: tuple[RtpCodec, ...]) -> list[tuple[str, str]]:
    return [(codec.mime_type, codec.fmtp) for codec in codecs]
