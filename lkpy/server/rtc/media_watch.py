"""What the engine says of a participant's media that does not flow: log lines, counts, and what the
statistics show meanwhile."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from livekit.protocol import rtc

from lkpy.engine.api import DownTrackStalled, PacketsDropped, ReceiverStalled
from lkpy.ids import ParticipantIdentity
from lkpy.server.rtc.media_track import MediaTrack
from lkpy.server.rtc.participant_room import ParticipantRoom
from lkpy.server.rtc.publishing import Publishing
from lkpy.server.rtc.subscribing import Subscribing
from lkpy.server.rtc.transport_manager import TransportManager
from lkpy.server.telemetry.events import (
    MediaStalled,
    Telemetry,
    TelemetryParticipant,
    TransportDropped,
)
from lkpy.server.telemetry.log import fields

logger = logging.getLogger(__name__)


class WatchedParticipant(TelemetryParticipant, Protocol):
    """The participant, as its watch sees it."""

    identity: ParticipantIdentity
    room: ParticipantRoom

    def now(self) -> float:
        """Monotonic seconds."""


@dataclass(frozen=True, slots=True)
class _Stall:
    since: float
    """Monotonic seconds."""
    cause: str


class MediaWatch:
    """Of one participant: what it publishes and what it receives."""

    def __init__(
        self,
        owner: WatchedParticipant,
        transports: TransportManager,
        publishing: Publishing,
        subscribing: Subscribing,
        telemetry: Telemetry,
    ) -> None:
        self._owner = owner
        self._transports = transports
        self._publishing = publishing
        self._subscribing = subscribing
        self._telemetry = telemetry
        self._stalls: dict[int, _Stall] = {}
        """By the engine's receiver or down track."""

    def handle_event(self, event: PacketsDropped | ReceiverStalled | DownTrackStalled) -> None:
        """Say it, and remember it as long as it lasts."""
        match event:
            case PacketsDropped():
                self._dropped(event)
            case ReceiverStalled():
                self._receiver(event)
            case DownTrackStalled():
                self._down_track(event)

    def stall(self, objects: Iterable[int]) -> tuple[float, str]:
        """Seconds for which one of the receivers or down tracks has not flowed, and why; 0 and
        empty if all of them do, or need not."""
        for identifier in objects:
            stall = self._stalls.get(identifier)
            if stall is not None:
                return self._owner.now() - stall.since, stall.cause
        return 0.0, ""

    def _dropped(self, event: PacketsDropped) -> None:
        transport = self._transports.of(event.transport)
        if transport is None:
            return
        target = rtc.SignalTarget.Name(transport.target).lower()
        logger.warning(
            "packets are dropped", extra=self._fields(transport=target, cause=event.reason)
        )
        self._telemetry.tell(TransportDropped(self._owner, transport.target, event.reason))

    def _receiver(self, event: ReceiverStalled) -> None:
        self._forget_closed()
        for track in self._publishing.tracks:
            if any(source.receiver == event.receiver for source in track.sources):
                self._changed(event.receiver, event, track, "incoming")

    def _down_track(self, event: DownTrackStalled) -> None:
        self._forget_closed()
        for subscribed in self._subscribing.tracks:
            if subscribed.handle.id == event.down_track:
                publisher = subscribed.publisher.identity
                self._changed(
                    event.down_track, event, subscribed.track, "outgoing", publisher=publisher
                )

    def _changed(
        self,
        identifier: int,
        event: ReceiverStalled | DownTrackStalled,
        track: MediaTrack,
        direction: str,
        **others: str,
    ) -> None:
        described = {"kind": track.kind, "direction": direction, "elapsed_ms": event.elapsed_ms}
        if not event.stalled:
            self._stalls.pop(identifier, None)
            logger.info(
                "media is not stalled any more",
                extra=self._fields(track=track.sid, **described, **others),
            )
            return
        since = self._owner.now() - event.elapsed_ms / 1000
        self._stalls[identifier] = _Stall(since, event.cause)
        logger.warning(
            "media is stalled",
            extra=self._fields(track=track.sid, cause=event.cause, **described, **others),
        )
        self._telemetry.tell(MediaStalled(self._owner, track.sid, direction, event.cause))

    def _forget_closed(self) -> None:
        """What was closed while it was stalled is not told any more."""
        if self._stalls:
            tracks = self._publishing.tracks
            there = {source.receiver for track in tracks for source in track.sources}
            there |= {subscribed.handle.id for subscribed in self._subscribing.tracks}
            self._stalls = {i: stall for i, stall in self._stalls.items() if i in there}

    def _fields(self, **others: Any) -> dict[str, Any]:  # noqa: ANN401 - any printable value
        return fields(
            room=self._owner.room.name,
            participant=self._owner.identity,
            pID=self._owner.sid,
            **others,
        )
