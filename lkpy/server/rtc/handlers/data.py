"""Data tracks: publishing them and subscribing to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from livekit.protocol import rtc

from lkpy.server.rtc.participant import Participant

_Reason = rtc.RequestResponse.Reason


def publish_data_track(participant: Participant, request: rtc.PublishDataTrackRequest) -> None:
    """Publish a data track."""
    options = participant.room.options
    if participant.claims.permission.can_publish_data and options.data_tracks:
        reason, message = participant.data_tracks.refusal(request, options.limits)
    else:
        reason, message = _Reason.NOT_ALLOWED, "does not have permission to publish data"
    if reason != _Reason.OK:
        participant.signals.request_response(
            rtc.RequestResponse(reason=reason, message=message, publish_data_track=request)
        )
        return
    track = participant.data_tracks.publish(request)
    answer = rtc.PublishDataTrackResponse(info=track.info)
    response = rtc.SignalResponse(publish_data_track_response=answer)
    tracks = participant.room.data_tracks
    # In LiveKit's order: who becomes a publisher by the track has its answer before the update.
    if participant.is_publisher:
        tracks.published(participant, track)
        participant.signals.send(response)
    else:
        participant.signals.send(response)
        tracks.published(participant, track)


def unpublish_data_track(participant: Participant, request: rtc.UnpublishDataTrackRequest) -> None:
    """Unpublish a data track."""
    track = participant.data_tracks.unpublish(request.pub_handle)
    if track is None:
        participant.signals.request_response(
            rtc.RequestResponse(reason=_Reason.NOT_FOUND, unpublish_data_track=request)
        )
        return
    participant.room.data_tracks.unpublished(participant, [track])
    response = rtc.UnpublishDataTrackResponse(info=track.info)
    participant.signals.send(rtc.SignalResponse(unpublish_data_track_response=response))


def update_data_subscription(participant: Participant, request: rtc.UpdateDataSubscription) -> None:
    """Subscribe to data tracks or unsubscribe."""
    participant.data_subscriptions.update(request)


HANDLERS: Mapping[str, Callable[[Participant, Any], None]] = {
    "publish_data_track_request": publish_data_track,
    "unpublish_data_track_request": unpublish_data_track,
    "update_data_subscription": update_data_subscription,
}
