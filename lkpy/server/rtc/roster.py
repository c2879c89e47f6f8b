"""Everybody in a room, as those who enter or come back are told.

Every participant's record is serialised once per version; lists of them are put together from those
bytes. In protobuf's encoding a repeated field is its elements one after another, each behind the
field's tag and its length, and parsing them into a message appends them.
"""

from __future__ import annotations

from collections.abc import Iterable

from livekit.protocol import rtc

from lkpy.server.rtc.participant_record import ParticipantRecord

_LENGTH_DELIMITED = 2


def _tag(message: type[rtc.JoinResponse | rtc.ParticipantUpdate], field: str) -> bytes:
    number: int = message.DESCRIPTOR.fields_by_name[field].number
    return bytes([number << 3 | _LENGTH_DELIMITED])


_OTHERS = _tag(rtc.JoinResponse, "other_participants")
_UPDATED = _tag(rtc.ParticipantUpdate, "participants")


class Roster:
    """The public records of a room's participants, in the order in which they came."""

    def __init__(self) -> None:
        self._records: dict[str, ParticipantRecord] = {}
        """By participant sid."""
        self._listed: list[bytes] = []
        self._size = 0
        self._updates: list[rtc.SignalResponse] = []
        """Of ``_listed``, in pieces of ``_size``."""

    def entered(self, sid: str, record: ParticipantRecord) -> None:
        """Somebody is in the room from now on."""
        self._records[sid] = record

    def left(self, sid: str) -> None:
        """Somebody is not in the room any more. Idempotent."""
        self._records.pop(sid, None)

    def _public(self) -> list[bytes]:
        found = [record.public or record.publish() for record in self._records.values()]
        return list(filter(None, found))

    def others(self) -> bytes:
        """Everybody who is here, as other participants of a :class:`rtc.JoinResponse`: to be
        merged into one."""
        return _OTHERS.join([b"", *self._public()])

    def updates(self, size: int) -> list[rtc.SignalResponse]:
        """Updates about everybody, in messages of at most ``size`` bytes; only a participant that
        is larger makes a larger one. The same messages until somebody changes: they are not to be
        changed, and serialised once for all who come back."""
        public = self._public()
        if public != self._listed or size != self._size:
            self._listed, self._size = public, size
            self._updates = list(map(_update, _pieces(public, size)))
        return self._updates


def _pieces(records: Iterable[bytes], size: int) -> Iterable[list[bytes]]:
    piece: list[bytes] = []
    length = 0
    for record in records:
        if piece and length + len(record) > size:
            yield piece
            piece, length = [], 0
        piece.append(record)
        length += len(record)
    if piece:
        yield piece


def _update(records: list[bytes]) -> rtc.SignalResponse:
    response = rtc.SignalResponse()
    response.update.MergeFromString(_UPDATED.join([b"", *records]))
    return response
