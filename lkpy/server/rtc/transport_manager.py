"""The peer connections of one participant: who sends where, what is driven when.

The driving half of join step 10: offers, answers and candidates between signals and transports.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Protocol

from livekit.protocol import models, rtc

from lkpy.engine.api import Event, OpenDataChannel
from lkpy.sdp import SdpError, SdpTooLarge
from lkpy.server.rtc.answerer import TrackLookup
from lkpy.server.rtc.client_info import supports_negotiated_channels
from lkpy.server.rtc.engine_session import EngineSession
from lkpy.server.rtc.media_sections import DownTrackHandle
from lkpy.server.rtc.signals import SignalSender
from lkpy.server.rtc.timers import Timers
from lkpy.server.rtc.transport import PeerTransport
from lkpy.server.rtc.transport_types import (
    NegotiationFailed,
    OfferResult,
    SendMediaSectionsRequirement,
    SendOffer,
    TransportOptions,
)

logger = logging.getLogger(__name__)

RELIABLE, LOSSY, DATA_TRACK = "_reliable", "_lossy", "_data_track"
NEGOTIATED = {
    RELIABLE: rtc.NegotiatedDataChannelID.NDCI_RELIABLE,
    LOSSY: rtc.NegotiatedDataChannelID.NDCI_LOSSY,
    DATA_TRACK: rtc.NegotiatedDataChannelID.NDCI_DATA_TRACK,
}
"""Streams of the channels that clients of protocol 18 have agreed on."""


class TransportOwner(Protocol):
    """The participant, as its transports see it."""

    @property
    def sid(self) -> str:
        """Participant sid."""

    def now(self) -> float:
        """Monotonic seconds."""

    def negotiation_failed(self, why: str) -> None:
        """The client has to join afresh."""

    def down_tracks_settled(
        self, bound: tuple[DownTrackHandle, ...], unsupported: tuple[DownTrackHandle, ...]
    ) -> None:
        """Down tracks flow, or cannot."""


class TransportManager:
    """One single or two dual peer connections."""

    def __init__(
        self,
        owner: TransportOwner,
        engine: EngineSession,
        signals: SignalSender,
        timers: Timers,
        *,
        worker: int,
        single_pc: bool,
        subscriber_primary: bool,
        client: models.ClientInfo,
        options: TransportOptions,
        deliver: Callable[[Event], None],
    ) -> None:
        self._owner = owner
        self._engine = engine
        self._signals = signals
        self._timers = timers
        self._subscriber_primary = subscriber_primary
        self._data_tracks = options.data_tracks
        self._negotiated = (
            single_pc and not options.one_shot and supports_negotiated_channels(client)
        )
        """LiveKit's channels have streams that both sides know."""
        self._channels_opened = False
        self._offered = False
        """The client has made its first offer."""

        def make(target: rtc.SignalTarget) -> PeerTransport:
            transport = PeerTransport(
                engine,
                worker=worker,
                target=target,
                single_pc=single_pc,
                client=client,
                options=options,
                opens_channels=subscriber_primary,
            )
            engine.bind(transport.id, deliver)
            return transport

        self.publisher = make(rtc.SignalTarget.PUBLISHER)
        self.subscriber = None if single_pc else make(rtc.SignalTarget.SUBSCRIBER)

    @property
    def all(self) -> tuple[PeerTransport, ...]:
        """Every transport, the publisher first."""
        return (self.publisher,) if self.subscriber is None else (self.publisher, self.subscriber)

    @property
    def primary(self) -> PeerTransport:
        """The one that has to be connected for the participant to be active."""
        if self.subscriber is not None and self._subscriber_primary:
            return self.subscriber
        return self.publisher

    @property
    def ever_connected(self) -> bool:
        """Whether any transport was."""
        return any(transport.ever_connected for transport in self.all)

    @property
    def sending(self) -> PeerTransport:
        """The one that carries down tracks."""
        return self.publisher if self.subscriber is None else self.subscriber

    def of(self, identifier: int) -> PeerTransport | None:
        """The transport with the engine's id."""
        return next((t for t in self.all if t.id == identifier), None)

    # -- negotiation ------------------------------------------------------------------------------

    def start(self, now: float) -> None:
        """Make the first offer at once if the client's primary connection needs it."""
        if self.subscriber is None or not self._subscriber_primary:
            return
        self.open_channels()
        self.subscriber.negotiate(now, force=True)
        self.drive(now, self.subscriber)

    def open_channels(self) -> None:
        """Open the channels that the server makes: those of a subscriber that is primary, and those
        that both sides of a single connection have agreed on (``pkg/rtc/transportmanager.go``)."""
        if self._negotiated:
            transport, streams = self.publisher, NEGOTIATED
        elif self.subscriber is not None and self._subscriber_primary:
            transport, streams = self.subscriber, {}
        else:
            return
        labels = (LOSSY, DATA_TRACK) if self._data_tracks else (LOSSY,)
        self._channels_opened = True
        self._engine.submit(
            OpenDataChannel(transport.id, RELIABLE, negotiated=streams.get(RELIABLE)),
            *(
                OpenDataChannel(
                    transport.id,
                    label,
                    ordered=False,
                    max_retransmits=0,
                    negotiated=streams.get(label),
                )
                for label in labels
            ),
        )

    def override_capacity(self, bps: int) -> None:
        """As if the client could receive ``bps`` bits per second; 0: what it can."""
        self.sending.override_capacity(bps if bps > 0 else None)

    def prefer_tcp(self, preferred: bool) -> None:
        """Offer and take only TCP candidates from the next ICE generation on, where there are."""
        for transport in self.all:
            transport.prefer_tcp(preferred)

    def handle_offer(
        self, now: float, offer: rtc.SessionDescription, lookup: TrackLookup
    ) -> OfferResult | None:
        """Answer a client's offer. None: it was refused and the client has been told."""
        try:
            with self._engine.together():
                result = self.publisher.handle_offer(now, offer, lookup)
        except SdpTooLarge as error:
            self._signals.request_response(
                rtc.RequestResponse(
                    reason=rtc.RequestResponse.Reason.LIMIT_EXCEEDED,
                    message=f"offer: {error.message}",
                )
            )
            return None
        except SdpError as error:
            self._owner.negotiation_failed(f"offer: {error.message}")
            return None
        self._offered = True
        _log_ignored("offer", result.ignored)
        if self._negotiated and not self._channels_opened and self.publisher.takes_data:
            # Before the answer: the client's first message may follow it at once.
            self.open_channels()
        self._signals.send(rtc.SignalResponse(answer=result.answer))
        if result.send_candidates:
            self._send_candidates(self.publisher)
        self._owner.down_tracks_settled(result.bound, result.unsupported)
        return result

    def handle_answer(self, now: float, answer: rtc.SessionDescription) -> None:
        """Take a client's answer to the subscriber's offer; a single connection has none."""
        if self.subscriber is None:
            logger.debug("an answer for a single peer connection is ignored")
            return
        try:
            with self._engine.together():
                result = self.subscriber.handle_answer(now, answer)
        except SdpError as error:
            self._owner.negotiation_failed(f"answer: {error.message}")
            return
        _log_ignored("answer", result.ignored)
        self._owner.down_tracks_settled(result.bound, result.unsupported)
        self.drive(now, self.subscriber)

    def add_remote_candidate(self, trickle: rtc.TrickleRequest) -> None:
        """Take a trickled candidate. Raises :class:`lkpy.sdp.SdpError`."""
        target = self.publisher
        if trickle.target == rtc.SignalTarget.SUBSCRIBER and self.subscriber is not None:
            target = self.subscriber
        target.add_remote_candidate(trickle.candidateInit)

    def negotiate_sending(self, now: float) -> None:
        """What is sent has changed. A client that has not offered yet will, unasked."""
        if self.subscriber is None and not self._offered:
            return
        self.sending.negotiate(now)
        self.drive(now, self.sending)

    def resume(self, now: float) -> None:
        """The client is back: restart ICE where we offer, else ask again for what it may not have
        heard; there it restarts ICE itself."""
        if self.subscriber is not None:
            self.subscriber.restart_ice(now)
            self.drive(now, self.subscriber)
        elif self._offered:
            self.publisher.ask_again(now)
            self.drive(now, self.publisher)

    def drive(self, now: float, transport: PeerTransport) -> None:
        """Send what the transport wants sent and wake up when it next wants something."""
        for output in transport.poll(now):
            match output:
                case SendOffer():
                    self._signals.send(rtc.SignalResponse(offer=output.offer))
                    if output.send_candidates:
                        self._send_candidates(transport)
                case SendMediaSectionsRequirement():
                    requirement = rtc.MediaSectionsRequirement(
                        num_audios=output.audios, num_videos=output.videos
                    )
                    self._signals.send(rtc.SignalResponse(media_sections_requirement=requirement))
                case NegotiationFailed():
                    self._owner.negotiation_failed("no answer to our offer")
        deadline = transport.next_deadline()
        key = (self._owner.sid, "negotiation", transport.id)
        if deadline is None:
            self._timers.cancel(key)
        else:
            self._timers.set(key, deadline, partial(self._drive_again, transport))

    def _drive_again(self, transport: PeerTransport) -> None:
        self.drive(self._owner.now(), transport)

    def _send_candidates(self, transport: PeerTransport) -> None:
        for trickle in transport.local_trickles():
            self._signals.send(rtc.SignalResponse(trickle=trickle))

    def close(self) -> None:
        """Close every transport. Idempotent."""
        for transport in self.all:
            self._engine.unbind(transport.id)
            transport.close()


def _log_ignored(what: str, reasons: tuple[str, ...]) -> None:
    if reasons:
        logger.info("lines of the %s say nothing: %s", what, "; ".join(reasons))
