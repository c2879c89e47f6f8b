"""RTP header extensions and RTCP feedback by direction (LiveKit ``pkg/rtc/config.go``)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

from lkpy.engine.api import MediaKind, RtpHeaderExtension
from lkpy.sdp import Direction, Hashed, HeaderExtension

MID = "urn:ietf:params:rtp-hdrext:sdes:mid"
RID = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id"
REPAIRED_RID = "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id"
AUDIO_LEVEL = "urn:ietf:params:rtp-hdrext:ssrc-audio-level"
TRANSPORT_CC = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"
ABS_SEND_TIME = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time"
FRAME_MARKING = "urn:ietf:params:rtp-hdrext:framemarking"
DEPENDENCY_DESCRIPTOR = (
    "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension"
)
ABS_CAPTURE_TIME = "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time"
PLAYOUT_DELAY = "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay"

_VIDEO_RECOVERY = ("ccm fir", "nack", "nack pli")


@dataclass(frozen=True, slots=True)
class DirectionConfig:
    """What is negotiated in one direction of media."""

    audio_extensions: tuple[str, ...]
    video_extensions: tuple[str, ...]
    audio_feedback: tuple[str, ...]
    video_feedback: tuple[str, ...]

    def extensions(self, kind: MediaKind) -> tuple[str, ...]:
        """Header extension URIs for ``kind``."""
        return self.audio_extensions if kind is MediaKind.AUDIO else self.video_extensions

    def feedback(self, kind: MediaKind) -> tuple[str, ...]:
        """RTCP feedback for ``kind``."""
        return self.audio_feedback if kind is MediaKind.AUDIO else self.video_feedback

    def with_playout_delay(self) -> DirectionConfig:
        """The same, with the playout delay of video."""
        return replace(self, video_extensions=(*self.video_extensions, PLAYOUT_DELAY))


PUBLISHER = DirectionConfig(
    audio_extensions=(MID, RID, AUDIO_LEVEL, ABS_CAPTURE_TIME),
    video_extensions=(
        MID,
        RID,
        TRANSPORT_CC,
        FRAME_MARKING,
        DEPENDENCY_DESCRIPTOR,
        REPAIRED_RID,
        ABS_CAPTURE_TIME,
    ),
    audio_feedback=("nack",),
    video_feedback=("transport-cc", *_VIDEO_RECOVERY),
)
"""The publisher's connection of a pair."""

SINGLE = DirectionConfig(
    audio_extensions=PUBLISHER.audio_extensions,
    video_extensions=(*PUBLISHER.video_extensions, ABS_SEND_TIME),
    audio_feedback=PUBLISHER.audio_feedback,
    video_feedback=("transport-cc", "goog-remb", *_VIDEO_RECOVERY),
)
"""Published media of a single connection, and its header extensions both ways."""


def subscriber(*, send_side_bwe: bool) -> DirectionConfig:
    """Media towards a subscriber: it estimates bandwidth (REMB), or we do (transport-cc)."""
    extension, feedback = (
        (TRANSPORT_CC, "transport-cc") if send_side_bwe else (ABS_SEND_TIME, "goog-remb")
    )
    return DirectionConfig(
        audio_extensions=(ABS_CAPTURE_TIME,),
        video_extensions=(DEPENDENCY_DESCRIPTOR, ABS_CAPTURE_TIME, extension),
        audio_feedback=("nack",),
        video_feedback=(*_VIDEO_RECOVERY, feedback),
    )


@lru_cache(maxsize=256)
def answer_extensions(
    offered: tuple[HeaderExtension, ...], wanted: tuple[str, ...]
) -> tuple[HeaderExtension, ...]:
    """The offered extensions that are wanted, with the offer's ids; the first where one is offered
    with several."""
    chosen: dict[str, HeaderExtension] = {}
    for extension in offered:
        if extension.uri in wanted and extension.direction is not Direction.INACTIVE:
            chosen.setdefault(extension.uri, HeaderExtension(extension.id, extension.uri))
    return Hashed(chosen.values())


def engine_extensions(
    negotiated: tuple[HeaderExtension, ...], used: tuple[str, ...]
) -> tuple[RtpHeaderExtension, ...]:
    """Those of the negotiated extensions that are ``used``, as the engine takes them."""
    return tuple(RtpHeaderExtension(e.id, e.uri) for e in negotiated if e.uri in used)
