"""What each signal request does, one small function per message (livekit-server
``pkg/rtc/signalling/signalhandler.go``).

A handler is called on the room's task with the participant that sent the message. It checks the
permission first, then changes one part, then answers.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from livekit.protocol import rtc

from lkpy.server.rtc.handlers import blobs, data, negotiation, session, subscriptions, tracks
from lkpy.server.rtc.participant import Participant
from lkpy.server.telemetry.log import about

logger = logging.getLogger(__name__)

Handler = Callable[[Participant, Any], None]

HANDLERS: Mapping[str, Handler] = {
    **negotiation.HANDLERS,
    **tracks.HANDLERS,
    **subscriptions.HANDLERS,
    **session.HANDLERS,
    **data.HANDLERS,
    **blobs.HANDLERS,
}
"""By the name of the request's field in ``SignalRequest``. Pings are answered where the socket
is and only say here that the client is there; ``update_layers`` does nothing, as in LiveKit."""


def handle_request(participant: Participant, request: rtc.SignalRequest) -> None:
    """Handle one signal request; those without a handler are ignored."""
    name = request.WhichOneof("message")
    handler = None if name is None else HANDLERS.get(name)
    if name is None or handler is None:
        logger.debug("signal request %s is not handled", name)
        return
    with about(participant=participant.identity, pID=participant.sid):
        try:
            handler(participant, getattr(request, name))
        except Exception:
            # Which costs this request only.
            logger.exception("signal request %s failed", name)
