"""A room's own facts: who counts, when it is idle, what clients see of it. Pure; told ``now``.

Source: livekit-server ``pkg/rtc/room.go`` (``updateProto``, ``CloseIfEmpty``).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from livekit.protocol import models


class Member(Protocol):
    """What counts of a participant."""

    @property
    def is_dependent(self) -> bool:
        """It is there for others."""

    @property
    def is_publisher(self) -> bool:
        """It has published."""

    @property
    def is_recorder(self) -> bool:
        """It records."""


class RoomState:
    """The room's record and its idle time."""

    def __init__(self, info: models.Room, now: float) -> None:
        self.info = models.Room()
        """Changed in place: copy it to keep it."""
        self.info.CopyFrom(info)
        self._opened_at = now
        self._entered = False
        """Somebody who counts was here."""
        self._left_at: float | None = None

    @property
    def full(self) -> bool:
        """Nobody more who counts may enter."""
        limit = self.info.max_participants
        return limit > 0 and self.info.num_participants >= limit

    def entered(self, member: Member) -> None:
        """A participant came."""
        self._entered = self._entered or not member.is_dependent

    def left(self, now: float) -> None:
        """A participant left."""
        self._left_at = now

    def recount(self, members: Collection[Member]) -> bool:
        """Count; True: the recording flag changed, which clients hear of at once."""
        recording = any(member.is_recorder for member in members)
        changed = recording != self.info.active_recording
        self.info.active_recording = recording
        self.info.num_participants = sum(not member.is_dependent for member in members)
        self.info.num_publishers = sum(member.is_publisher for member in members)
        return changed

    def expired(self, now: float) -> bool:
        """Nobody who counts is here, and has not been for the room's timeout: the one after the
        last one left, or the one for rooms that nobody entered."""
        if self.info.num_participants > 0:
            return False
        if self._entered and self._left_at is not None:
            return now - self._left_at >= self.info.departure_timeout
        return now - self._opened_at >= self.info.empty_timeout
