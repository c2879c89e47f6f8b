"""What a participant wants to receive."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from livekit.protocol import rtc

from lkpy.errors import LkpyError
from lkpy.server.rtc.participant import Participant

logger = logging.getLogger(__name__)


def subscription(participant: Participant, request: rtc.UpdateSubscription) -> None:
    """The client subscribes or unsubscribes."""
    participant.subscribing.update(request)


def track_setting(participant: Participant, request: rtc.UpdateTrackSettings) -> None:
    """The client says which quality it wants."""
    participant.subscribing.update_settings(request)


def subscription_permission(participant: Participant, request: rtc.SubscriptionPermission) -> None:
    """A publisher says who may subscribe to its tracks. The protocol has no answer to it."""
    try:
        participant.room.tracks.update_permission(participant, request)
    except LkpyError as error:
        logger.warning("subscription permission is not changed: %s", error.message)
    else:
        participant.room.data_tracks.permission_updated(participant)


HANDLERS: Mapping[str, Callable[[Participant, Any], None]] = {
    "subscription": subscription,
    "track_setting": track_setting,
    "subscription_permission": subscription_permission,
}
