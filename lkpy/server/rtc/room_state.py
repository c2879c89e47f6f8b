"""A room's own facts: who counts, when it is idle, what clients see of it. Pure; told ``now``.

Source: livekit-server ``pkg/rtc/room.go`` (``updateProto``, ``CloseIfEmpty``).
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from livekit.protocol import models


class Member(Protocol):
    """What counts of a participant."""

    @property
    def sid(self) -> str:
        """Participant sid."""

    @property
    def is_dependent(self) -> bool:
        """It is there for others."""

    @property
    def is_publisher(self) -> bool:
        """It has published."""

    @property
    def is_recorder(self) -> bool:
        """It records."""


class _Counted(NamedTuple):
    """As what a member was counted."""

    independent: bool
    publisher: bool
    recorder: bool


_NOTHING = _Counted(False, False, False)


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
        self._counted: dict[str, _Counted] = {}
        """Members by sid."""
        self._recorders = 0

    @property
    def full(self) -> bool:
        """Nobody more who counts may enter."""
        limit = self.info.max_participants
        return limit > 0 and self.info.num_participants >= limit

    def count(self, member: Member) -> bool:
        """A member came or changed; True: the recording flag changed, which clients hear of at
        once."""
        self._entered = self._entered or not member.is_dependent
        counted = _Counted(not member.is_dependent, member.is_publisher, member.is_recorder)
        before = self._counted.get(member.sid, _NOTHING)
        self._counted[member.sid] = counted
        return self._change(before, counted)

    def left(self, now: float, member: Member) -> bool:
        """A member left; True as from :meth:`count`."""
        self._left_at = now
        return self._change(self._counted.pop(member.sid, _NOTHING), _NOTHING)

    def _change(self, before: _Counted, after: _Counted) -> bool:
        self.info.num_participants += after.independent - before.independent
        self.info.num_publishers += after.publisher - before.publisher
        self._recorders += after.recorder - before.recorder
        recording = self._recorders > 0
        changed = recording != self.info.active_recording
        self.info.active_recording = recording
        return changed

    def expires_at(self) -> float | None:
        """When the room is to end if nobody who counts comes, with the timeout after the last one
        left or the one for rooms that nobody entered; None while somebody who counts is here."""
        if self.info.num_participants > 0:
            return None
        if self._entered and self._left_at is not None:
            return self._left_at + self.info.departure_timeout
        return self._opened_at + self.info.empty_timeout
