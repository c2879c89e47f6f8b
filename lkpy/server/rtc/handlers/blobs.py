"""Data blobs: storing one's own and reading those of others. Errors carry the request's id only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from livekit.protocol import rtc

from lkpy.ids import ParticipantIdentity
from lkpy.server.rtc.participant import Participant

_Reason = rtc.RequestResponse.Reason


def store_data_blob(participant: Participant, request: rtc.StoreDataBlobRequest) -> None:
    """Keep a blob for others."""
    options = participant.room.options
    if options.data_blobs:
        reason, message = participant.data_blobs.refusal(request.blob, options.limits)
    else:
        reason, message = _Reason.NOT_ALLOWED, "data blob not enabled"
    if reason != _Reason.OK:
        _refuse(participant, request.request_id, reason, message)
        return
    participant.data_blobs.store(request.blob)
    response = rtc.StoreDataBlobResponse(request_id=request.request_id, key=request.blob.key)
    participant.signals.send(rtc.SignalResponse(store_data_blob_response=response))


def get_data_blob(participant: Participant, request: rtc.GetDataBlobRequest) -> None:
    """Read a blob of a participant in the room. Where none can be stored none is found."""
    number = request.request_id
    if not request.HasField("key"):
        _refuse(participant, number, _Reason.INVALID_REQUEST, "data blob key is required")
        return
    owner = participant.room.participant(ParticipantIdentity(request.participant_identity))
    if owner is None:
        _refuse(participant, number, _Reason.NOT_FOUND, "participant not found")
        return
    blob = owner.data_blobs.get(request.key)
    if blob is None:
        _refuse(participant, number, _Reason.NOT_FOUND, "data blob not found")
        return
    response = rtc.GetDataBlobResponse(request_id=number, blob=blob)
    participant.signals.send(rtc.SignalResponse(get_data_blob_response=response))


def _refuse(
    participant: Participant, number: int, reason: rtc.RequestResponse.Reason, message: str
) -> None:
    participant.signals.request_response(
        rtc.RequestResponse(request_id=number, reason=reason, message=message)
    )


HANDLERS: Mapping[str, Callable[[Participant, Any], None]] = {
    "store_data_blob_request": store_data_blob,
    "get_data_blob_request": get_data_blob,
}
