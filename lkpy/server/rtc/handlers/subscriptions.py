"""What a participant wants to receive."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from livekit.protocol import rtc

from lkpy.server.rtc.participant import Participant


def subscription(participant: Participant, request: rtc.UpdateSubscription) -> None:
    """The client subscribes or unsubscribes."""
    participant.subscribing.update(request)


def track_setting(participant: Participant, request: rtc.UpdateTrackSettings) -> None:
    """The client says which quality it wants."""
    participant.subscribing.update_settings(request)


HANDLERS: Mapping[str, Callable[[Participant, Any], None]] = {
    "subscription": subscription,
    "track_setting": track_setting,
}
