"""What happens in rooms, as LiveKit's webhook events.

Sources: livekit-server ``pkg/telemetry/events.go`` (which event has which fields), protocol
``webhook/notifier.go`` (what an event is about) and ``webhook/filter.go``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from livekit.protocol import models
from livekit.protocol.webhook import WebhookEvent

from lkpy.server.telemetry.events import (
    ParticipantActive,
    ParticipantJoined,
    ParticipantLeft,
    RoomEnded,
    RoomStarted,
    TelemetryEvent,
    TelemetryParticipant,
    TelemetryRoom,
    TrackPublished,
    TrackUnpublished,
)

EVENTS = (
    "room_started",
    "room_finished",
    "participant_joined",
    "participant_left",
    "participant_connection_aborted",
    "track_published",
    "track_unpublished",
    "egress_started",
    "egress_updated",
    "egress_ended",
    "ingress_started",
    "ingress_ended",
    "agent_job_pending",
    "agent_job_started",
    "agent_job_ended",
)
"""Every name that LiveKit has; those of egress, ingress and agent jobs have no source here."""


class EventFilter:
    """Which events are sent: those included, or else all but those excluded."""

    def __init__(self, include: Collection[str], exclude: Collection[str]) -> None:
        self._include = frozenset(include)
        self._exclude = frozenset(exclude)

    def allows(self, name: str) -> bool:
        """Whether an event is sent."""
        return name in self._include if self._include else name not in self._exclude


def resource_of(event: WebhookEvent) -> str:
    """What the event is about: events of one resource are sent in order."""
    if event.HasField("egress_info"):
        return event.egress_info.egress_id
    if event.HasField("ingress_info"):
        return event.ingress_info.ingress_id
    if event.HasField("room"):
        return event.room.name
    if event.HasField("participant"):
        return event.participant.identity
    return event.track.sid or "default"


class WebhookListener:
    """Turns what rooms tell into webhook events.

    A participant has joined when it is active, and one that never was leaves as aborted.
    ``full_room``: track events carry the whole room instead of its sid and name.
    """

    def __init__(self, notify: Callable[[WebhookEvent], None], *, full_room: bool = False) -> None:
        self._notify = notify
        self._full_room = full_room
        self._active: dict[str, bool] = {}
        """Admitted sessions by sid, and whether they have been active."""

    def __call__(self, event: TelemetryEvent) -> None:
        """Something happened."""
        match event:
            case RoomStarted():
                self._notify(WebhookEvent(event="room_started", room=event.room.to_proto()))
            case RoomEnded():
                self._notify(
                    WebhookEvent(
                        event="room_finished",
                        room=event.room.to_proto(),
                        room_end_reason=event.reason,
                    )
                )
            case ParticipantJoined():
                self._active.setdefault(event.participant.sid, False)
            case ParticipantActive():
                self._joined(event)
            case ParticipantLeft():
                self._left(event)
            case TrackPublished():
                self._track("track_published", event.room, event.participant, event.track)
            case TrackUnpublished():
                self._track("track_unpublished", event.room, event.participant, event.track)
            case _:
                pass

    def _joined(self, event: ParticipantActive) -> None:
        if not self._active.get(event.participant.sid):
            self._active[event.participant.sid] = True
            self._participant("participant_joined", event.room, event.participant)

    def _left(self, event: ParticipantLeft) -> None:
        was_active = self._active.pop(event.participant.sid, None)
        if was_active is not None:
            name = "participant_left" if was_active else "participant_connection_aborted"
            self._participant(name, event.room, event.participant)

    def _participant(
        self, name: str, room: TelemetryRoom, participant: TelemetryParticipant
    ) -> None:
        info, record = participant.to_proto(), room.to_proto()
        self._notify(WebhookEvent(event=name, room=record, participant=info))

    def _track(
        self,
        name: str,
        room: TelemetryRoom,
        participant: TelemetryParticipant,
        track: models.TrackInfo,
    ) -> None:
        record, info = room.to_proto(), participant.to_proto()
        if not self._full_room:
            record = models.Room(sid=record.sid, name=record.name)
        who = models.ParticipantInfo(sid=info.sid, identity=info.identity)
        self._notify(WebhookEvent(event=name, room=record, participant=who, track=track))
