"""Answers to a client's offers: the publisher's connection of a pair, and the single connection.

Every m-line of the offer gets its answer in place. What the client sends is received with the
codecs it may publish; where it only receives, waiting down tracks are placed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from livekit.protocol import models

from lkpy.engine.api import CloseReceiver, DtlsRole, MediaKind, RenegotiateReceiver
from lkpy.limits import MAX_OFFERED_SECTIONS
from lkpy.sdp import (
    Codec,
    Direction,
    HeaderExtension,
    MediaDescription,
    Rid,
    SdpError,
    SdpTooLarge,
    SessionDescription,
    Setup,
    Simulcast,
    TransportAttributes,
)
from lkpy.server.rtc import codecs as codec_rules
from lkpy.server.rtc import descriptions
from lkpy.server.rtc.codecs import CodecTable, answer_codecs
from lkpy.server.rtc.direction_config import DirectionConfig, answer_extensions, engine_extensions
from lkpy.server.rtc.down_tracks import DownTracks
from lkpy.server.rtc.ice_dtls import EngineLink, IceDtls, RemoteEnd
from lkpy.server.rtc.media_sections import (
    ClosedSection,
    DownTrackHandle,
    MediaSectionTrack,
    RefusedSection,
    Section,
    describe_sender,
    encodings,
    track_id,
)

_SHOWN = 32
"""Characters shown of a name that the client chose."""
_CODECS_SHOWN = 8

TrackLookup: TypeAlias = Callable[[str, MediaKind], models.TrackInfo | None]
"""Published or pending TrackInfo for (cid of the section, kind); it may record ``sdp_cid``."""


@dataclass(frozen=True, slots=True)
class AnswererConfig:
    """What this client may send and receive."""

    publish: CodecTable
    receive: DirectionConfig
    subscribe: CodecTable
    send: DirectionConfig
    keeps_codec_order: bool
    supports_red: bool


@dataclass(slots=True)
class Answer:
    """One answer in the making, and what changed by it."""

    description: SessionDescription
    tracks: list[MediaSectionTrack] = field(default_factory=list)
    changed: list[MediaSectionTrack] = field(default_factory=list)
    closed: list[ClosedSection] = field(default_factory=list)
    bound: list[DownTrackHandle] = field(default_factory=list)
    unsupported: list[DownTrackHandle] = field(default_factory=list)
    refused: list[RefusedSection] = field(default_factory=list)
    progress: bool = False
    """Whether another offer could place more down tracks than this one did."""


class Answerer:
    """The media sections of a connection in which the client offers."""

    def __init__(
        self,
        engine: EngineLink,
        transport: IceDtls,
        down_tracks: DownTracks,
        config: AnswererConfig,
    ) -> None:
        self.sections: list[Section] = []
        self._engine = engine
        self._transport = transport
        self._down_tracks = down_tracks
        self._config = config
        self._origin = descriptions.Origin()

    # -- the offer ------------------------------------------------------------------------------

    def check(self, offer: SessionDescription) -> None:
        """Raise :class:`SdpError` when ``offer`` cannot follow the one before."""
        if len(offer.media) > MAX_OFFERED_SECTIONS:
            raise SdpTooLarge(f"more than {MAX_OFFERED_SECTIONS} media sections")
        if len(offer.media) < len(self.sections):
            raise SdpError(
                f"the offer has {len(offer.media)} media sections, "
                f"the one before had {len(self.sections)}"
            )
        descriptions.check_mids(offer)

    def answer(self, offer: SessionDescription, remote: RemoteEnd, lookup: TrackLookup) -> Answer:
        """Apply a checked offer whose transport has been taken."""
        answer = Answer(
            descriptions.session(
                self._origin,
                self._transport.fingerprint,
                lite=self._transport.lite,
                allow_mixed=offer.extmap_allow_mixed
                or any(media.extmap_allow_mixed for media in offer.media),
            )
        )
        known = len(self.sections)
        for index, media in enumerate(offer.media):
            self._align(index, media, remote, answer)
            self._receive(self.sections[index], media, lookup, answer)
        self._place(offer, answer)
        passive = self._transport.role is DtlsRole.SERVER
        ours = descriptions.transport_attributes(
            self._transport, Setup.PASSIVE if passive else Setup.ACTIVE
        )
        for section, media in zip(self.sections, offer.media, strict=True):
            answer.description.media.append(self._describe(section, media, ours))
        answer.progress = (
            len(self.sections) > known
            or bool(answer.bound)
            or any(
                section.free_for(kind)
                for kind in MediaKind
                if self._down_tracks.waiting(kind)
                for section in self.sections
            )
        )
        # Only what was offered as a bundle may be answered as one (RFC 9143 7.3.1).
        descriptions.finish(answer.description, bundle=bool(offer.bundle))
        return answer

    def _align(
        self, index: int, media: MediaDescription, remote: RemoteEnd, answer: Answer
    ) -> None:
        """Bring the section at ``index`` in line with the offer's m-line."""
        if index == len(self.sections):
            self.sections.append(Section(media.mid or "", media.kind))
        section = self.sections[index]
        if (section.mid, section.kind) != (media.mid or section.mid, media.kind):
            # The client recycles a stopped m-line (RFC 8829 5.2.2).
            self._leave(section, answer)
            section = self.sections[index] = Section(media.mid or "", media.kind)
        why = "" if media.rejected else self._why_refused(section, media, remote)
        section.usable = not media.rejected and not why
        if why and not section.refused:
            cid = track_id(media)[1] if media.sends else ""
            answer.refused.append(RefusedSection(section.mid, media.kind[:_SHOWN], cid, why))
        section.refused = bool(why)
        section.client_receives = section.usable and media.receives
        if not section.usable:
            self._leave(section, answer)
        elif section.sender is not None and (section.sender.removed or not media.receives):
            self._down_tracks.displace(section)

    def _why_refused(self, section: Section, media: MediaDescription, remote: RemoteEnd) -> str:
        """Why the section cannot be used; empty when it can."""
        if media.mid not in remote.bundle:
            return "it is not on the transport of the bundle"
        if section.media_kind is not None:
            return (
                ""
                if self._codecs(section, media)
                else f"no codec of it is enabled: {_named(media)}"
            )
        if not descriptions.is_data_section(media):
            return "it is neither audio nor video nor for data channels"
        if any(s.usable and s.kind == "application" for s in self.sections if s is not section):
            return "there is another one for data channels"
        return ""

    def _leave(self, section: Section, answer: Answer) -> None:
        self._down_tracks.displace(section)
        self._end_track(section, answer)
        section.sending = False

    # -- what the client sends ------------------------------------------------------------------

    def _receive(
        self, section: Section, media: MediaDescription, lookup: TrackLookup, answer: Answer
    ) -> None:
        kind = section.media_kind
        if kind is None or not section.usable or not media.sends:
            self._end_track(section, answer)
            return
        stream, cid = track_id(media)
        before = section.track
        if before is not None and not cid:
            # What goes on need not be named again.
            stream, cid = before.stream_id, before.cid
        if before is not None and not self._goes_on(before, section, media, cid):
            self._end_track(section, answer)
            before = None
        if section.info is None:
            info = lookup(cid, kind)
            if info is not None:
                section.info = models.TrackInfo()
                section.info.CopyFrom(info)
        section.track = track = MediaSectionTrack(
            mid=section.mid,
            kind=kind,
            cid=cid,
            stream_id=stream,
            codecs=codec_rules.engine_codecs(kind, self._codecs(section, media, cid)),
            header_extensions=engine_extensions(
                self._extensions(kind, media), self._config.receive.extensions(kind)
            ),
            encodings=encodings(media),
        )
        if before is None:
            answer.tracks.append(track)
        elif section.receiver is not None and before != track:
            answer.changed.append(track)
            self._engine.submit(
                RenegotiateReceiver(
                    section.receiver, track.codecs, track.header_extensions, track.encodings
                )
            )

    def _goes_on(
        self, before: MediaSectionTrack, section: Section, media: MediaDescription, cid: str
    ) -> bool:
        """Whether it is the same track, in a codec that it had."""
        mimes = {codec_rules.mime_type(before.kind, c) for c in self._codecs(section, media, cid)}
        return before.cid == cid and not mimes.isdisjoint(before.mime_types)

    def _end_track(self, section: Section, answer: Answer) -> None:
        track, receiver = section.track, section.receiver
        section.track = section.receiver = section.info = None
        if track is not None:
            if receiver is not None:
                self._engine.release(CloseReceiver(receiver))
            answer.closed.append(ClosedSection(track.mid, track.kind, track.cid, receiver))

    # -- what we send -----------------------------------------------------------------------------

    def _place(self, offer: SessionDescription, answer: Answer) -> None:
        for section, media in zip(self.sections, offer.media, strict=True):
            kind = section.media_kind
            if section.sender is not None:
                # It was renewed in its section, or the section is described anew.
                self._bind(section.sender, section, media, answer)
            while kind is not None and section.free_for(kind):
                handle = self._down_tracks.next_waiting(kind)
                if handle is None:
                    break
                self._down_tracks.place(handle, section)
                self._bind(handle, section, media, answer)

    def _bind(
        self, handle: DownTrackHandle, section: Section, media: MediaDescription, answer: Answer
    ) -> None:
        usable = self._down_tracks.source_codecs(handle, self._codecs(section, media))
        extensions = self._extensions(handle.kind, media)
        if handle.bound and self._down_tracks.goes_on(handle, usable):
            self._down_tracks.renegotiate(handle, usable, extensions)
            return
        if handle.bound:
            self._down_tracks.renew(handle)
        if usable:
            self._down_tracks.bind(handle, usable, extensions)
            answer.bound.append(handle)
        else:
            section.sender = None
            self._down_tracks.reject(handle)
            answer.unsupported.append(handle)

    # -- the answer -------------------------------------------------------------------------------

    def _describe(
        self, section: Section, media: MediaDescription, ours: TransportAttributes
    ) -> MediaDescription:
        if not section.usable:
            return descriptions.rejected(media)
        kind = section.media_kind
        if kind is None:
            return descriptions.answered_data_section(media, section.mid, ours)
        section.sending = section.sender is not None
        described = MediaDescription(
            media.kind,
            protocol=media.protocol,
            mid=section.mid,
            mid_implied=media.mid_implied,
            direction=Direction.of(sends=section.sending, receives=media.sends),
            codecs=self._codecs(section, media, section.track.cid if section.track else ""),
            header_extensions=self._extensions(kind, media),
            transport=ours,
            rtcp_mux=True,
            rtcp_rsize=media.rtcp_rsize,
        )
        if section.sender is not None:
            describe_sender(described, section.sender)
        rids = media.simulcast.send if media.simulcast is not None and media.sends else ()
        if rids:
            described.rids = [Rid(rid, "recv") for rid in rids]
            described.simulcast = Simulcast(recv=rids)
        return described

    def _extensions(self, kind: MediaKind, media: MediaDescription) -> tuple[HeaderExtension, ...]:
        return answer_extensions(media.header_extensions, self._config.receive.extensions(kind))

    def _codecs(
        self, section: Section, media: MediaDescription, cid: str = ""
    ) -> tuple[Codec, ...]:
        """The section's codecs in the answer's order."""
        kind = section.media_kind
        if kind is None:
            return ()
        config = self._config
        if not media.sends:
            accepted = answer_codecs(
                kind, media.codecs, config.subscribe, config.send.feedback(kind), h264_high=False
            )
            sender = section.sender
            if kind is MediaKind.AUDIO and sender is not None:
                nack = not (sender.red and config.supports_red)
                accepted = codec_rules.subscriber_opus(accepted, stereo=sender.stereo, nack=nack)
            return accepted
        accepted = answer_codecs(
            kind, media.codecs, config.publish, config.receive.feedback(kind), h264_high=True
        )
        if kind is MediaKind.AUDIO:
            accepted = codec_rules.with_nack(codec_rules.offered_stereo(accepted, media.codecs))
        if section.info is None:
            return accepted
        if kind is MediaKind.VIDEO:
            wanted = codec_rules.preferred_mime(section.info, cid)
            only = not config.keeps_codec_order
            return codec_rules.prefer(kind, accepted, wanted, only=only)
        accepted = codec_rules.prefer_audio(accepted, section.info, cid)
        return codec_rules.publisher_opus(accepted, section.info)


def _named(media: MediaDescription) -> str:
    """The codecs of ``media`` for whoever wonders why none is taken."""
    shown = (f"{codec.name[:_SHOWN] or '?'}/{codec.clock_rate}" for codec in media.codecs)
    names = list(dict.fromkeys(shown))
    more = ["..."] if len(names) > _CODECS_SHOWN else []
    return ", ".join(names[:_CODECS_SHOWN] + more) or "it names none"
