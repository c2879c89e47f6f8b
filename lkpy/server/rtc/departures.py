"""Who left a room lately, for clients that were away meanwhile. Pure; told ``now``.

A client that resumes learns who is here from a full list, and who is not any more from this
(livekit-server ``pkg/rtc/participant_signal.go`` sendDisconnectUpdatesForReconnect).
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from livekit.protocol import models

from lkpy.limits import DEPARTURES, DEPARTURES_BEFORE_S
from lkpy.server.rtc.client_info import takes_sessions_by_identity

if TYPE_CHECKING:
    from lkpy.server.rtc.participant import Participant

_DISCONNECTED_UPDATES = 9
"""Protocol version from which clients are told of departures after a resume."""


class Departures:
    """The last :data:`lkpy.limits.DEPARTURES` participants that left in public."""

    def __init__(self) -> None:
        self._left: deque[tuple[float, bool, models.ParticipantInfo]] = deque(maxlen=DEPARTURES)

    def add(self, now: float, participant: Participant, reason: models.DisconnectReason) -> None:
        """A participant left."""
        if participant.hidden:
            return
        info = participant.to_proto()
        brief = models.ParticipantInfo(
            sid=info.sid, identity=info.identity, version=info.version, state=info.state
        )
        self._left.append((now, reason == models.DisconnectReason.DUPLICATE_IDENTITY, brief))

    def seen_by(self, participant: Participant) -> list[models.ParticipantInfo]:
        """Those who left while ``participant`` was there, since shortly before it was last heard;
        the last one first."""
        client, connectivity = participant.client, participant.connectivity
        since = max(connectivity.began_at, connectivity.last_signal_at - DEPARTURES_BEFORE_S)
        if client.protocol < _DISCONNECTED_UPDATES:
            return []
        by_identity = takes_sessions_by_identity(client)
        return [
            info
            for left, replaced, info in reversed(self._left)
            if left >= since and not (replaced and by_identity)
        ]
