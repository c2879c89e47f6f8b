"""Offers, answers and candidates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from livekit.protocol import rtc

from lkpy.sdp import SdpError
from lkpy.server.rtc.participant import Participant


def offer(participant: Participant, request: rtc.SessionDescription) -> None:
    """The client offers on its publisher or single connection."""
    participant.join_offer.client_is_ready()
    # Which may have ended the session.
    if not participant.closed:
        participant.handle_offer(request)


def answer(participant: Participant, request: rtc.SessionDescription) -> None:
    """The client answers the subscriber connection's offer."""
    participant.transports.handle_answer(participant.now(), request)


def trickle(participant: Participant, request: rtc.TrickleRequest) -> None:
    """A candidate of the client."""
    participant.join_offer.client_is_ready()
    try:
        participant.transports.add_remote_candidate(request)
    except SdpError as error:
        participant.signals.request_response(
            rtc.RequestResponse(
                reason=rtc.RequestResponse.Reason.UNCLASSIFIED_ERROR,
                message=error.message,
                trickle=request,
            )
        )


HANDLERS: Mapping[str, Callable[[Participant, Any], None]] = {
    "offer": offer,
    "answer": answer,
    "trickle": trickle,
}
