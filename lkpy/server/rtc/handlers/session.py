"""The session itself: its end, its resumption and its metadata."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from livekit.protocol import models, rtc

from lkpy.server.rtc.participant import Participant
from lkpy.server.rtc.signals import Action
from lkpy.server.rtc.simulation import simulate
from lkpy.server.rtc.sync_state import apply, unknown_track

logger = logging.getLogger(__name__)

_Reason = models.DisconnectReason
_LEAVE_REASONS = {_Reason.USER_UNAVAILABLE, _Reason.USER_REJECTED, _Reason.AGENT_ERROR}
"""What a client may give as the reason for its leave; others mean that it just left."""


def leave(participant: Participant, request: rtc.LeaveRequest) -> None:
    """The client leaves."""
    told = request.reason in _LEAVE_REASONS
    reason = request.reason if told else _Reason.CLIENT_INITIATED
    participant.room.close_participant(participant, reason)


def update_metadata(participant: Participant, request: rtc.UpdateParticipantMetadata) -> None:
    """The client changes its own name, metadata or attributes."""
    limits, before = participant.room.options.limits, participant.claims.described
    reason, message = participant.claims.update_metadata(request, limits)
    if reason == rtc.RequestResponse.Reason.OK and participant.claims.is_told(before, request):
        participant.info_changed()
    participant.signals.request_response(
        rtc.RequestResponse(
            request_id=request.request_id,
            reason=reason,
            message=message,
            update_metadata=request,
        )
    )


def sync_state(participant: Participant, request: rtc.SyncState) -> None:
    """The client says what it has, after it came back."""
    unknown = unknown_track(request, participant)
    if unknown is None:
        apply(request, participant)
    else:
        logger.info("unknown to the server after a resume: %s", unknown)
        participant.give_up(_Reason.STATE_MISMATCH, Action.RECONNECT)


HANDLERS: Mapping[str, Callable[[Participant, Any], None]] = {
    "leave": leave,
    "sync_state": sync_state,
    "simulate": simulate,
    "update_metadata": update_metadata,
}
