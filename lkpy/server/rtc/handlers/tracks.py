"""What a participant says of its own tracks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from livekit.protocol import rtc

from lkpy.server.rtc.participant import Participant


def add_track(participant: Participant, request: rtc.AddTrackRequest) -> None:
    """A track will be published."""
    participant.publishing.add_track(request)


def mute(participant: Participant, request: rtc.MuteTrackRequest) -> None:
    """A track is muted or unmuted."""
    if participant.publishing.mute(request.sid, muted=request.muted) is None:
        participant.signals.request_response(
            rtc.RequestResponse(
                reason=rtc.RequestResponse.Reason.NOT_FOUND,
                message=f"no track {request.sid}",
                mute=request,
            )
        )


def update_audio_track(participant: Participant, request: rtc.UpdateLocalAudioTrack) -> None:
    """An audio track's features change."""
    if not participant.publishing.update_audio(request.track_sid, request.features):
        participant.signals.request_response(
            rtc.RequestResponse(
                reason=rtc.RequestResponse.Reason.NOT_FOUND,
                message=f"no track {request.track_sid}",
                update_audio_track=request,
            )
        )


def update_video_track(participant: Participant, request: rtc.UpdateLocalVideoTrack) -> None:
    """A video track's size changes."""
    if not participant.publishing.update_video(request.track_sid, request.width, request.height):
        participant.signals.request_response(
            rtc.RequestResponse(
                reason=rtc.RequestResponse.Reason.NOT_FOUND,
                message=f"no track {request.track_sid}",
                update_video_track=request,
            )
        )


HANDLERS: Mapping[str, Callable[[Participant, Any], None]] = {
    "add_track": add_track,
    "mute": mute,
    "update_audio_track": update_audio_track,
    "update_video_track": update_video_track,
}
