"""Our offers and the client's answers to them: the subscriber's connection of a pair."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from lkpy.engine.api import MediaKind
from lkpy.sdp import (
    Codec,
    Direction,
    HeaderExtension,
    MediaDescription,
    SdpError,
    SessionDescription,
    Setup,
    TransportAttributes,
)
from lkpy.server.rtc import codecs as codec_rules
from lkpy.server.rtc import descriptions
from lkpy.server.rtc.codecs import CodecTable
from lkpy.server.rtc.direction_config import DirectionConfig, answer_extensions
from lkpy.server.rtc.down_tracks import DownTracks
from lkpy.server.rtc.ice_dtls import IceDtls
from lkpy.server.rtc.media_sections import DownTrackHandle, Section, describe_sender

_DATA_MID = "0"


@dataclass(frozen=True, slots=True)
class OffererConfig:
    """What this client may receive."""

    subscribe: CodecTable
    send: DirectionConfig
    reuse_sections: bool
    supports_red: bool
    data: bool
    """We open data channels on this connection."""


@dataclass(slots=True)
class Applied:
    """What changed by an answer."""

    bound: list[DownTrackHandle] = field(default_factory=list)
    unsupported: list[DownTrackHandle] = field(default_factory=list)
    renewed: bool = False
    """There is something to offer because of it."""


class Offerer:
    """The media sections of a connection in which we offer and only send.

    A later answer counts like the first: what it changes is changed in the engine.
    """

    def __init__(self, transport: IceDtls, down_tracks: DownTracks, config: OffererConfig) -> None:
        self.sections = [Section(_DATA_MID, "application")] if config.data else []
        self._transport = transport
        self._down_tracks = down_tracks
        self._config = config
        self._origin = descriptions.Origin()
        self._offered: list[MediaDescription] = []
        uris = dict.fromkeys((*config.send.video_extensions, *config.send.audio_extensions))
        self._extension_ids = {uri: number for number, uri in enumerate(uris, 1)}

    # -- offer ------------------------------------------------------------------------------------

    @property
    def empty(self) -> bool:
        """Whether there is nothing to offer, nor ever was."""
        return not self.sections and not any(map(self._down_tracks.waiting, MediaKind))

    def offer(self) -> SessionDescription:
        """Describe all sections, the waiting down tracks placed in free or further ones."""
        self._place()
        description = descriptions.session(
            self._origin,
            self._transport.fingerprint,
            lite=self._transport.lite,
            allow_mixed=True,
        )
        ours = descriptions.transport_attributes(self._transport, Setup.ACTPASS)
        self._offered = [self._describe(section, ours) for section in self.sections]
        description.media = list(self._offered)
        return descriptions.finish(description)

    def _place(self) -> None:
        for section in self.sections:
            if section.sender is not None and section.sender.removed:
                section.sender = None
        for kind in MediaKind:
            while (handle := self._down_tracks.next_waiting(kind)) is not None:
                self._down_tracks.place(handle, self._section_for(kind))

    def _section_for(self, kind: MediaKind) -> Section:
        if self._config.reuse_sections:
            for section in self.sections:
                if section.free_for(kind):
                    return section
        section = Section(str(len(self.sections)), kind)
        self.sections.append(section)
        return section

    def _describe(self, section: Section, ours: TransportAttributes) -> MediaDescription:
        kind = section.media_kind
        if kind is None:
            return descriptions.data_section(section.mid, ours)
        if not section.usable:
            return descriptions.rejected(
                MediaDescription(section.kind, mid=section.mid, formats=("0",))
            )
        sender = section.sender
        # Also when no answer ever comes to this offer, the client may have seen it.
        section.sending = section.sending or sender is not None
        described = MediaDescription(
            section.kind,
            mid=section.mid,
            # Not inactive: the Go SDK receives nothing on a section that two offers in a row have
            # called that (pion/webrtc 4.2.19, ``SetRemoteDescription`` and
            # ``configureRTPReceivers``). livekit-server says recvonly too.
            direction=Direction.SENDONLY if sender is not None else Direction.RECVONLY,
            codecs=self._codecs(kind, sender),
            header_extensions=tuple(
                HeaderExtension(self._extension_ids[uri], uri)
                for uri in self._config.send.extensions(kind)
            ),
            transport=ours,
            rtcp_mux=True,
            rtcp_rsize=True,
        )
        if sender is not None:
            describe_sender(described, sender)
        return described

    def _codecs(self, kind: MediaKind, sender: DownTrackHandle | None) -> tuple[Codec, ...]:
        codecs = codec_rules.offer_codecs(
            kind, self._config.subscribe, self._config.send.feedback(kind)
        )
        if kind is MediaKind.AUDIO and sender is not None:
            nack = not (sender.red and self._config.supports_red)
            return codec_rules.subscriber_opus(codecs, stereo=sender.stereo, nack=nack)
        return codecs

    # -- answer -----------------------------------------------------------------------------------

    def align(self, answer: SessionDescription) -> None:
        """Put the sections of ``answer`` into the order of the last offer, by ``a=mid``, or by
        place where there is none. One that is left out is rejected; those that were not offered
        come last."""
        named = {media.mid: media for media in answer.media if media.mid is not None}
        aligned = []
        for index, ours in enumerate(self._offered):
            theirs = named.pop(ours.mid or "", None)
            if theirs is None and index < len(answer.media) and answer.media[index].mid is None:
                theirs = answer.media[index]
                theirs.mid = ours.mid
            aligned.append(theirs if theirs is not None else descriptions.rejected(ours))
        known = set(map(id, aligned))
        answer.media = aligned + [media for media in answer.media if id(media) not in known]

    def check(self, answer: SessionDescription) -> None:
        """Raise :class:`SdpError` when ``answer`` does not answer the last offer."""
        if len(answer.media) != len(self._offered):
            raise SdpError(
                f"the answer has {len(answer.media)} media sections, "
                f"the offer had {len(self._offered)}"
            )
        for offered, answered in zip(self._offered, answer.media, strict=True):
            if (offered.mid, offered.kind) != (answered.mid, answered.kind):
                raise SdpError(f"the answer to section {offered.mid} is for another section")

    def apply(self, answer: SessionDescription) -> Applied:
        """Apply a checked answer whose transport has been taken."""
        applied = Applied()
        for section, offered, answered in zip(
            self.sections, self._offered, answer.media, strict=False
        ):
            kind = section.media_kind
            if kind is None or not section.usable:
                continue
            receives = not answered.rejected and answered.receives
            section.usable = not answered.rejected
            section.client_receives = section.usable
            section.sending = receives and offered.sends
            sender = section.sender
            if sender is None or sender.removed or not offered.sends:
                continue
            if sender.bound and not answered.rejected:
                self._down_tracks.pause(sender, not receives)
                if not receives:
                    continue
            codecs = self._negotiated(offered, answered) if receives else ()
            usable = self._down_tracks.source_codecs(sender, codecs)
            uris = self._config.send.extensions(kind)
            extensions = answer_extensions(answered.header_extensions, uris)
            if sender.bound and self._down_tracks.goes_on(sender, usable):
                self._down_tracks.renegotiate(sender, usable, extensions)
            elif not usable:
                section.sender = None
                self._down_tracks.reject(sender)
                applied.unsupported.append(sender)
            elif sender.bound:
                # Another codec is another stream, which has to be offered.
                self._down_tracks.renew(sender)
                applied.renewed = True
            else:
                self._down_tracks.bind(sender, usable, extensions)
                applied.bound.append(sender)
        return applied

    def _negotiated(
        self, offered: MediaDescription, answered: MediaDescription
    ) -> tuple[Codec, ...]:
        """The answer's codecs that we offered. They should have the offer's payload types (RFC 3264
        6.1); where they do not, the client has told how it wants to receive them."""
        known = codec_rules.registered_as(answered.codecs, offered.codecs)
        return tuple(
            replace(
                codec,
                clock_rate=known[codec.payload_type].clock_rate,
                feedback=tuple(
                    f for f in codec.feedback if f in known[codec.payload_type].feedback
                ),
            )
            if codec.name.lower() != "rtx"
            else codec
            for codec in answered.codecs
            if codec.payload_type in known
        )
