"""The session itself: its end and its metadata."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from livekit.protocol import models, rtc

from lkpy.server.rtc.participant import Participant

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
    limits = participant.room.options.limits
    reason, message = participant.claims.update_metadata(request, limits)
    if reason == rtc.RequestResponse.Reason.OK:
        participant.info_changed()
    participant.signals.request_response(
        rtc.RequestResponse(
            request_id=request.request_id,
            reason=reason,
            message=message,
            update_metadata=request,
        )
    )


HANDLERS: Mapping[str, Callable[[Participant, Any], None]] = {
    "leave": leave,
    "update_metadata": update_metadata,
}
