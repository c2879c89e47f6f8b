"""What is known of rooms and participants outside the rooms themselves.

The API reads from here, as in LiveKit; entries follow the rooms' own announcements. This store
lives in the process and dies with it.
"""

from __future__ import annotations

from collections.abc import Collection

from livekit.protocol import models

from lkpy.ids import ParticipantIdentity, RoomName


class LocalStore:
    """Rooms by name, participants by room and identity. Returns what it was given: callers copy
    before they change anything."""

    def __init__(self) -> None:
        self._rooms: dict[RoomName, models.Room] = {}
        self._participants: dict[RoomName, dict[ParticipantIdentity, models.ParticipantInfo]] = {}

    def load_room(self, name: RoomName) -> models.Room | None:
        """A room, if it exists."""
        return self._rooms.get(name)

    def store_room(self, info: models.Room) -> None:
        """Create or replace a room."""
        self._rooms[RoomName(info.name)] = info

    def delete_room(self, name: RoomName) -> None:
        """Forget a room with its participants. Idempotent."""
        self._rooms.pop(name, None)
        self._participants.pop(name, None)

    def list_rooms(self, names: Collection[str] = ()) -> list[models.Room]:
        """All rooms, or those of ``names`` that exist."""
        if not names:
            return list(self._rooms.values())
        wanted = set(names)
        return [room for name, room in self._rooms.items() if name in wanted]

    def store_participant(self, room: RoomName, info: models.ParticipantInfo) -> None:
        """Create or replace a participant of an existing room."""
        if room in self._rooms:
            identity = ParticipantIdentity(info.identity)
            self._participants.setdefault(room, {})[identity] = info

    def delete_participant(self, room: RoomName, info: models.ParticipantInfo) -> None:
        """Forget a participant, unless another session has taken its identity. Idempotent."""
        participants = self._participants.get(room, {})
        known = participants.get(ParticipantIdentity(info.identity))
        if known is not None and known.sid == info.sid:
            del participants[ParticipantIdentity(info.identity)]

    def load_participant(
        self, room: RoomName, identity: ParticipantIdentity
    ) -> models.ParticipantInfo | None:
        """A participant, if it is there."""
        return self._participants.get(room, {}).get(identity)

    def list_participants(self, room: RoomName) -> list[models.ParticipantInfo]:
        """Everybody in a room; empty for a room that does not exist."""
        return list(self._participants.get(room, {}).values())
