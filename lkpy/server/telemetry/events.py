"""What happens on a server, as told to whoever counts or reports: a closed set of frozen events.

They follow livekit-server's ``TelemetryService`` (``pkg/telemetry/telemetryservice.go``). Rooms and
routes tell them and know nobody who listens.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from livekit.protocol import models, rtc

logger = logging.getLogger(__name__)


class TelemetryRoom(Protocol):
    """What a listener may ask of a room."""

    def to_proto(self) -> models.Room:
        """A copy of the room's record."""


class TelemetryParticipant(Protocol):
    """What a listener may ask of a participant."""

    @property
    def sid(self) -> str:
        """This session's sid."""

    @property
    def client(self) -> models.ClientInfo:
        """What it runs."""

    def to_proto(self) -> models.ParticipantInfo:
        """The participant as others see it; copy it to change it."""


# -- rooms ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RoomStarted:
    """A live room began."""

    room: TelemetryRoom


@dataclass(frozen=True, slots=True)
class RoomEnded:
    """A live room ended; everybody has left it."""

    room: TelemetryRoom
    reason: models.RoomEndReason = models.RoomEndReason.ROOM_END_UNKNOWN


# -- participants ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ParticipantJoined:
    """A session was admitted; it has no media connection yet."""

    room: TelemetryRoom
    participant: TelemetryParticipant


@dataclass(frozen=True, slots=True)
class ParticipantActive:
    """A session's primary media connection is there. Told again when it comes back."""

    room: TelemetryRoom
    participant: TelemetryParticipant


@dataclass(frozen=True, slots=True)
class ParticipantLeft:
    """A session ended, be it one whose admission failed half-way."""

    room: TelemetryRoom
    participant: TelemetryParticipant


@dataclass(frozen=True, slots=True)
class TransportChanged:
    """A peer connection came up to some point. Told again when it comes back."""

    participant: TelemetryParticipant
    target: rtc.SignalTarget
    state: str
    """``ice_connected``, ``connected`` or ``fully_established`` (with data channels), the words of
    ``livekit_peer_connection_state``."""


# -- tracks ---------------------------------------------------------------------------------------
# A track's description is changed in place later: a listener copies what it keeps.


@dataclass(frozen=True, slots=True)
class TrackPublishRequested:
    """A client was allowed to publish a track."""

    participant: TelemetryParticipant
    track: models.TrackInfo


@dataclass(frozen=True, slots=True)
class TrackPublished:
    """The room knows a track."""

    room: TelemetryRoom
    participant: TelemetryParticipant
    track: models.TrackInfo


@dataclass(frozen=True, slots=True)
class TrackUnpublished:
    """A track that the room knew is gone."""

    room: TelemetryRoom
    participant: TelemetryParticipant
    track: models.TrackInfo


@dataclass(frozen=True, slots=True)
class TrackSubscribeRequested:
    """A down track is made for a participant."""

    participant: TelemetryParticipant
    track: models.TrackInfo


@dataclass(frozen=True, slots=True)
class TrackSubscribed:
    """A track flows to a participant."""

    participant: TelemetryParticipant
    track: models.TrackInfo


@dataclass(frozen=True, slots=True)
class TrackSubscribeFailed:
    """A subscription was given up."""

    participant: TelemetryParticipant
    track_sid: str
    error: models.SubscriptionError


@dataclass(frozen=True, slots=True)
class QualityMeasured:
    """The connection quality of a participant, once per window."""

    quality: rtc.ConnectionQualityInfo


@dataclass(frozen=True, slots=True)
class DataStreamBegan:
    """A text or byte stream goes through a room."""

    header: models.DataStream.Header
    destinations: int
    """Participants it names; 0: everybody."""


@dataclass(frozen=True, slots=True)
class TransportDropped:
    """Packets from or for a participant begin to be dropped."""

    participant: TelemetryParticipant
    target: rtc.SignalTarget
    reason: str
    """The engine's."""


@dataclass(frozen=True, slots=True)
class MediaStalled:
    """Media of a participant that should flow does not."""

    participant: TelemetryParticipant
    track_sid: str
    direction: str
    """``incoming`` for a published track, ``outgoing`` for a subscribed one."""
    cause: str
    """The engine's."""


# -- the media engine -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class MediaWorkerFailed:
    """A worker of the media engine lost everything that was on it."""

    worker: int
    replaced: bool
    """It goes on."""


@dataclass(frozen=True, slots=True)
class MediaWorkerStalled:
    """A turn of a worker does not end, or has ended after all."""

    worker: int
    stalled: bool


# -- routes ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SignalConnected:
    """A signal connection was opened."""

    protocol: int
    latency_s: float
    """Since its request came."""


@dataclass(frozen=True, slots=True)
class SignalFailed:
    """A join was refused."""

    stage: str
    """``signal_validation_failed`` or ``signal_failed``, states of
    ``livekit_participant_join_total``."""


@dataclass(frozen=True, slots=True)
class JoinHandled:
    """The node's gate has dealt with a join."""

    outcome: str
    """``admitted``, ``queued`` (and something else later), ``refused`` for too many, or
    ``abandoned`` by a client that went away before its turn."""


@dataclass(frozen=True, slots=True)
class SignalLimited:
    """A client wanted more of a signal connection than it may have."""

    reason: str
    """``refused`` (a request that holds too much) and ``held_back`` (too many requests) leave the
    connection; ``malformed``, ``too_fast``, ``not_reading`` and ``overflow`` (200 responses wait)
    end it."""


@dataclass(frozen=True, slots=True)
class ApiCalled:
    """A Twirp call was answered."""

    service: str
    method: str
    """Empty when the path names none."""
    status: int
    code: str
    """Twirp's error code; empty for success."""
    duration_s: float


@dataclass(frozen=True, slots=True)
class AgentWorkersChanged:
    """A worker came or went."""

    count: int
    """That there are now."""


@dataclass(frozen=True, slots=True)
class AgentJobRequested:
    """A worker was looked for."""

    outcome: str
    """``assigned``, or the code of the error."""


@dataclass(frozen=True, slots=True)
class MessageDropped:
    """A full queue refused what may be lost."""

    queue: str


TelemetryEvent: TypeAlias = (
    RoomStarted
    | AgentJobRequested
    | AgentWorkersChanged
    | RoomEnded
    | ParticipantJoined
    | ParticipantActive
    | ParticipantLeft
    | TransportChanged
    | TrackPublishRequested
    | TrackPublished
    | TrackUnpublished
    | TrackSubscribeRequested
    | TrackSubscribed
    | TrackSubscribeFailed
    | QualityMeasured
    | DataStreamBegan
    | TransportDropped
    | MediaStalled
    | MediaWorkerFailed
    | MediaWorkerStalled
    | SignalConnected
    | SignalFailed
    | JoinHandled
    | SignalLimited
    | ApiCalled
    | MessageDropped
)

Listener: TypeAlias = Callable[[TelemetryEvent], None]
"""Called on the event loop, in the order in which things happen to a room. Must not wait."""


class Telemetry:
    """Hands events to listeners. The fault of one costs neither the teller nor the others."""

    def __init__(self, *listeners: Listener) -> None:
        self._listeners = listeners

    def tell(self, event: TelemetryEvent) -> None:
        """Something happened."""
        for listener in self._listeners:
            try:
                listener(event)
            except Exception:
                logger.exception("telemetry failed on %s", type(event).__name__)


NO_TELEMETRY = Telemetry()
"""Nobody listens."""
