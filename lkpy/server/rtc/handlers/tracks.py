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
        _not_found(participant, request.sid, rtc.RequestResponse(mute=request))


def update_audio_track(participant: Participant, request: rtc.UpdateLocalAudioTrack) -> None:
    """An audio track's features change."""
    if not participant.publishing.update_audio(request.track_sid, request.features):
        echo = rtc.RequestResponse(update_audio_track=request)
        _not_found(participant, request.track_sid, echo)


def update_video_track(participant: Participant, request: rtc.UpdateLocalVideoTrack) -> None:
    """A video track's size changes."""
    if not participant.publishing.update_video(request.track_sid, request.width, request.height):
        echo = rtc.RequestResponse(update_video_track=request)
        _not_found(participant, request.track_sid, echo)


def _not_found(participant: Participant, sid: str, answer: rtc.RequestResponse) -> None:
    """Send ``answer``, which echoes the request, as a refusal."""
    answer.reason = rtc.RequestResponse.Reason.NOT_FOUND
    answer.message = f"no track {sid}"
    participant.signals.request_response(answer)


HANDLERS: Mapping[str, Callable[[Participant, Any], None]] = {
    "add_track": add_track,
    "mute": mute,
    "update_audio_track": update_audio_track,
    "update_video_track": update_video_track,
}
