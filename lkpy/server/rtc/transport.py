"""One peer connection as the control plane sees it: descriptions in, engine commands out.

Join step 10. The parts: :mod:`negotiation` says when, :mod:`answerer` and :mod:`offerer` keep the
media sections, :mod:`down_tracks` what is sent in them, :mod:`ice_dtls` the way to the client.
"""

from __future__ import annotations

import secrets

from livekit.protocol import models, rtc

from lkpy.engine.api import (
    CreateReceiver,
    DtlsState,
    Event,
    IceState,
    MediaKind,
    RtpEncoding,
)
from lkpy.errors import Blame, Code, LkpyError
from lkpy.limits import MAX_OFFERED_SECTIONS
from lkpy.sdp import IceFragment, SdpError, SessionDescription, Setup
from lkpy.server.rtc import descriptions
from lkpy.server.rtc.answerer import Answerer, AnswererConfig, TrackLookup
from lkpy.server.rtc.client_info import (
    keeps_answer_codec_order,
    supports_audio_red,
    supports_ice_lite,
    supports_transceiver_reuse,
)
from lkpy.server.rtc.codecs import codec_table
from lkpy.server.rtc.direction_config import PUBLISHER, SINGLE, subscriber
from lkpy.server.rtc.down_tracks import DownTracks
from lkpy.server.rtc.ice_candidates import (
    candidate_init,
    parse_candidate_init,
    trickle_requests,
)
from lkpy.server.rtc.ice_dtls import EngineLink, IceDtls, remote_end
from lkpy.server.rtc.media_sections import MediaSectionTrack, Section
from lkpy.server.rtc.negotiation import Action, Negotiation
from lkpy.server.rtc.offerer import Offerer, OffererConfig
from lkpy.server.rtc.transport_types import (
    AnswerResult,
    NegotiationFailed,
    OfferResult,
    Output,
    SendMediaSectionsRequirement,
    SendOffer,
    TransportOptions,
)


class PeerTransport:
    """One peer connection. No I/O and no clock: it is told ``now`` and submits commands.

    ``target`` PUBLISHER without ``single_pc`` is the dual publisher (we answer, receive only),
    with it the single connection (we answer, both ways); SUBSCRIBER is the dual subscriber (we
    offer; with ``opens_channels`` a section for data channels, too). The caller routes engine
    events of :attr:`id` to :meth:`handle_event`.
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
        opens_channels: bool = True,
    ) -> None:
        self.target = target
        self._engine = engine
        lite = options.ice_lite and supports_ice_lite(client)
        sends = single_pc or target == rtc.SignalTarget.SUBSCRIBER
        self._transport = IceDtls(
            engine, worker=worker, lite=lite, allow_pause=sends and options.allow_pause
        )
        send = subscriber(send_side_bwe=options.send_side_bwe)
        receive = SINGLE if single_pc else PUBLISHER
        if options.playout_delay is not None:
            send, receive = send.with_playout_delay(), receive.with_playout_delay()
        self.down_tracks = DownTracks(
            engine,
            self.id,
            {kind: send.extensions(kind) for kind in MediaKind},
            active_red=options.active_red_encoding,
            playout_delay=options.playout_delay,
        )
        """What is sent. Call :meth:`negotiate` after the last of several changes."""
        publish, subscribe = map(codec_table, (options.publish_codecs, options.subscribe_codecs))
        self._answerer: Answerer | None = None
        self._offerer: Offerer | None = None
        self._requested = dict.fromkeys(MediaKind, 0)
        """Sections asked for since the last answer."""
        self._described_ufrag = ""
        """Generation whose candidates were announced."""
        self._restarting = False
        self._one_shot = options.one_shot
        if target == rtc.SignalTarget.SUBSCRIBER:
            self._offerer = Offerer(
                self._transport,
                self.down_tracks,
                OffererConfig(
                    subscribe=subscribe,
                    send=send,
                    reuse_sections=supports_transceiver_reuse(client) and not options.sync_streams,
                    supports_red=supports_audio_red(client),
                    data=opens_channels,
                ),
            )
            # RFC 8445 6.1.1: the offerer controls, but a lite agent never does.
            self._transport.create(controlling=not lite)
        else:
            self._answerer = Answerer(
                engine,
                self._transport,
                self.down_tracks,
                AnswererConfig(
                    publish=publish,
                    receive=receive,
                    subscribe=subscribe,
                    send=send,
                    keeps_codec_order=keeps_answer_codec_order(client),
                    supports_red=supports_audio_red(client),
                ),
            )
        self._negotiation = Negotiation(
            offers=self._offerer is not None, first_offer_id=secrets.randbelow(256) + 1
        )

    # -- state ---------------------------------------------------------------------------------

    @property
    def id(self) -> int:
        """The engine's transport."""
        return self._transport.id

    @property
    def created(self) -> bool:
        """The engine has it: from the first offer, until it is closed."""
        return self._transport.created

    @property
    def ice_state(self) -> IceState:
        """As the engine last reported it."""
        return self._transport.ice_state

    @property
    def dtls_state(self) -> DtlsState:
        """As the engine last reported it."""
        return self._transport.dtls_state

    @property
    def connected(self) -> bool:
        """ICE and DTLS are connected."""
        return self._transport.connected

    @property
    def ever_connected(self) -> bool:
        """Whether :attr:`connected` was ever true."""
        return self._transport.ever_connected

    @property
    def failure(self) -> str:
        """Why the connection is lost; empty while it is not."""
        return self._transport.failure

    @property
    def dead(self) -> bool:
        """The connection is gone and no ICE restart brings it back."""
        return self._transport.dead

    @property
    def path(self) -> tuple[str, str, str]:
        """Local and remote address of the nominated pair and its protocol; empty before."""
        path = self._transport.path
        return path.local, path.remote, path.protocol

    @property
    def srtp_profile(self) -> str:
        """IANA name, once DTLS is connected."""
        return self._transport.srtp_profile

    @property
    def _sections(self) -> list[Section]:
        if self._offerer is not None:
            return self._offerer.sections
        return self._answerer.sections if self._answerer is not None else []

    @property
    def takes_data(self) -> bool:
        """A section for data channels was negotiated."""
        return any(section.usable and section.kind == "application" for section in self._sections)

    # -- publisher and single connection: the client offers -------------------------------------

    def handle_offer(
        self, now: float, offer: rtc.SessionDescription, lookup: TrackLookup
    ) -> OfferResult:
        """Apply a client's offer. Raises :class:`lkpy.sdp.SdpError` and changes nothing then."""
        if self._answerer is None:
            raise SdpError("an offer for the connection in which the server offers")
        description = SessionDescription.parse(offer.sdp)
        descriptions.complete(description, known=len(self._answerer.sections))
        self._answerer.check(description)
        remote = remote_end(description, default_setup=Setup.ACTIVE)
        self._transport.check_remote(remote)

        # The client offered, so it controls unless it is lite (RFC 8445 6.1.1).
        self._transport.create(controlling=remote.lite and not self._transport.lite)
        if self._transport.restarts(remote):
            self._transport.restart()
        self._transport.set_remote(remote)
        self._follow_data(description)
        answer = self._answerer.answer(description, remote, lookup)
        if self._one_shot:
            _complete(answer.description, self._transport)

        self._requested = dict.fromkeys(MediaKind, 0)
        if not any(map(self.down_tracks.waiting, MediaKind)):
            self._negotiation.settled()
        elif answer.progress:
            self._negotiation.request(now)
        return OfferResult(
            answer=rtc.SessionDescription(
                type="answer",
                sdp=str(answer.description),
                id=offer.id,
                mid_to_track_id=self.mid_to_track_id(),
            ),
            tracks=tuple(answer.tracks),
            changed=tuple(answer.changed),
            closed=tuple(answer.closed),
            bound=tuple(answer.bound),
            unsupported=tuple(answer.unsupported),
            refused=tuple(answer.refused),
            ignored=tuple(description.ignored),
            send_candidates=self._announces_candidates() and not self._one_shot,
        )

    def section_tracks(self) -> tuple[MediaSectionTrack, ...]:
        """Tracks being sent by the client that have no receiver yet, for a late AddTrack."""
        return tuple(
            section.track
            for section in self._sections
            if section.track is not None and section.receiver is None
        )

    def create_receiver(
        self,
        track: MediaSectionTrack,
        *,
        clock_group: int,
        screen_share: bool = False,
        encodings: tuple[RtpEncoding, ...] | None = None,
    ) -> int:
        """Receive ``track``; returns the engine's receiver. The same again for the same section.

        Raises :class:`LkpyError` (``not_found``) when the client has stopped sending it.
        """
        for section in self._sections:
            if section.track is None or section.mid != track.mid or section.track.cid != track.cid:
                continue
            if section.receiver is None:
                section.receiver = self._engine.new_id()
                self._engine.submit(
                    CreateReceiver(
                        receiver=section.receiver,
                        transport=self.id,
                        mid=track.mid,
                        kind=track.kind,
                        codecs=section.track.codecs,
                        header_extensions=section.track.header_extensions,
                        encodings=encodings or section.track.encodings,
                        clock_group=clock_group,
                        screen_share=screen_share,
                    )
                )
            return section.receiver
        raise LkpyError(
            Code.NOT_FOUND, f"section {track.mid} does not send {track.cid}", blame=Blame.CLIENT
        )

    def _follow_data(self, description: SessionDescription) -> None:
        """What the client says of data messages holds from now on."""
        for media in description.active_media():
            if descriptions.is_data_section(media):
                return self._transport.set_max_message_size(media.max_message_size)
        self._transport.set_max_message_size(None, data=False)

    # -- subscriber: we offer --------------------------------------------------------------------

    def handle_answer(self, now: float, answer: rtc.SessionDescription) -> AnswerResult:
        """Apply the client's answer. Raises :class:`lkpy.sdp.SdpError` and changes nothing then.

        Answers that fit no offer that is out are ignored: after :meth:`restart_ice` the answer to
        the offer before may still come.
        """
        if self._offerer is None:
            raise SdpError("an answer for the connection in which the client offers")
        description = SessionDescription.parse(answer.sdp)
        self._offerer.align(description)
        remote = remote_end(description, default_setup=Setup.ACTIVE)
        self._transport.check_remote(remote)
        known = self._transport.remote is not None and not self._transport.restarts(remote)
        stale = self._restarting and answer.id == 0 and known
        if stale or not self._negotiation.expects(answer.id):
            return AnswerResult()
        self._offerer.check(description)
        self._negotiation.answered(now)
        self._restarting = False
        self._transport.set_remote(remote)
        self._follow_data(description)
        applied = self._offerer.apply(description)
        if applied.renewed:
            self._negotiation.request(now)
        return AnswerResult(
            tuple(applied.bound), tuple(applied.unsupported), tuple(description.ignored)
        )

    def restart_ice(self, now: float) -> None:
        """Restart ICE with a fresh offer. Only where we offer; elsewhere the client restarts."""
        if self._offerer is None or not self._described_ufrag:
            return
        self._negotiation.abandon()
        self._transport.restart()
        self._restarting = True
        self._negotiation.request(now, force=True)

    def ask_again(self, now: float) -> None:
        """What was asked of the client may not have reached it. Only where the client offers."""
        if self._offerer is None and any(map(self.down_tracks.waiting, MediaKind)):
            self._requested = dict.fromkeys(MediaKind, 0)
            self._negotiation.request(now, force=True)

    # -- sections ---------------------------------------------------------------------------------

    def mid_to_track_id(self) -> dict[str, str]:
        """Track sid per mid in which we send."""
        return {
            section.mid: section.sender.track_sid
            for section in self._sections
            if section.sender is not None and not section.sender.removed
        }

    def media_sections_requirement(self) -> tuple[int, int]:
        """How many more audio and video sections the client must offer; counts as asked for."""
        return self._require(MediaKind.AUDIO), self._require(MediaKind.VIDEO)

    def _require(self, kind: MediaKind) -> int:
        free = sum(section.free_for(kind) for section in self._sections)
        more = max(0, self.down_tracks.waiting(kind) - free - self._requested[kind])
        # More than an offer may have would leave the client without any answer.
        room = MAX_OFFERED_SECTIONS - len(self._sections) - sum(self._requested.values())
        more = min(more, max(0, room))
        self._requested[kind] += more
        return more

    # -- time --------------------------------------------------------------------------------------

    def negotiate(self, now: float, *, force: bool = False) -> None:
        """Ask for a negotiation: debounced, or at once with ``force``."""
        self._negotiation.request(now, force=force)

    def next_deadline(self) -> float | None:
        """When :meth:`poll` has something to do; None: only after another call."""
        return self._negotiation.next_deadline()

    def poll(self, now: float) -> list[Output]:
        """What to send now. Call after every other method and at :meth:`next_deadline`."""
        outputs: list[Output] = []
        for action in self._negotiation.poll(now, connected=self.connected):
            match action:
                case Action.SEND_OFFER if self._offerer is not None and self._offerer.empty:
                    # What was to be sent is gone again.
                    self._negotiation.abandon()
                case Action.SEND_OFFER if self._offerer is not None:
                    outputs.append(self._send_offer(self._offerer))
                case Action.REQUEST_OFFER:
                    outputs.append(SendMediaSectionsRequirement(*self.media_sections_requirement()))
                case Action.FAIL:
                    outputs.append(NegotiationFailed())
        return outputs

    def _send_offer(self, offerer: Offerer) -> SendOffer:
        return SendOffer(
            rtc.SessionDescription(
                type="offer",
                sdp=str(offerer.offer()),
                id=self._negotiation.offer_id,
                mid_to_track_id=self.mid_to_track_id(),
            ),
            send_candidates=self._announces_candidates(),
        )

    def prefer_tcp(self, preferred: bool) -> None:
        """Describe and take only TCP candidates, where there are."""
        self._transport.prefer_tcp = preferred

    def override_capacity(self, bps: int | None) -> None:
        """As if it carried ``bps`` bits per second of video; None: what it carries."""
        self._transport.override_capacity(bps)

    # -- candidates --------------------------------------------------------------------------------

    @property
    def ice_ufrag(self) -> str:
        """Of our ICE generation: it names the client's ICE session."""
        return self._transport.local.ufrag

    def trickle(self, fragment: IceFragment) -> None:
        """Take candidates of the client's ICE generation. Raises :class:`lkpy.sdp.SdpError`."""
        self._transport.trickle(fragment)

    def restart_with(self, fragment: IceFragment) -> IceFragment:
        """The client restarts ICE without an offer. Raises :class:`lkpy.sdp.SdpError`."""
        return self._transport.restart_with(fragment)

    def add_remote_candidate(self, candidate_init: str) -> None:
        """A trickled candidate, JSON. Raises :class:`lkpy.sdp.SdpError` when it does not parse."""
        candidate = parse_candidate_init(candidate_init)
        if candidate is not None:
            self._transport.add_candidate(candidate)

    def local_candidates(self) -> list[str]:
        """Our candidates as JSON ``RTCIceCandidateInit``; they are fixed per worker."""
        mid, index = self._tagged_section()
        return [
            candidate_init(candidate, ufrag=self._transport.local.ufrag, mid=mid, index=index)
            for candidate in self._transport.candidates
        ]

    def local_trickles(self) -> list[rtc.TrickleRequest]:
        """One message per candidate, the last with ``final``; send them after a description."""
        return trickle_requests(self.local_candidates(), self.target)

    def _tagged_section(self) -> tuple[str, int]:
        for index, section in enumerate(self._sections):
            if section.usable:
                return section.mid, index
        return "0", 0

    def _announces_candidates(self) -> bool:
        ufrag = self._transport.local.ufrag
        announced, self._described_ufrag = self._described_ufrag, ufrag
        return announced != ufrag

    # -- engine events, end ------------------------------------------------------------------------

    def handle_event(self, event: Event) -> None:
        """Take IceStateChanged, DtlsStateChanged and TransportClosed of this transport."""
        self._transport.handle_event(event)

    def close(self) -> None:
        """Close the connection and all it carries. Idempotent."""
        self._transport.close()


def _complete(description: SessionDescription, transport: IceDtls) -> None:
    """Put our candidates into the section that carries the transport."""
    tagged = next(description.active_media(), None)
    if tagged is not None:
        tagged.candidates.extend(transport.described_candidates())
        tagged.end_of_candidates = True
