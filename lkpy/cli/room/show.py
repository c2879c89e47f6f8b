"""How rooms, participants and tracks are shown: as JSON, as tables, as lines."""

from __future__ import annotations

import base64
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from google.protobuf.message import Message
from livekit.protocol import models
from rich.cells import cell_len

from lkpy.cli.output import WIDE, use_colour
from lkpy.text import fitted, json_text, one_line
from lkpy.top import units


def plain(message: Message) -> dict[str, Any]:
    """A message with the field names of LiveKit's protocol, zeros included.

    Enums are names, bytes are base64; 64-bit integers are numbers, not the strings of proto JSON:
    scripts compare them.
    """
    return {
        field.name: _value(field, getattr(message, field.name))
        for field in message.DESCRIPTOR.fields
        if not field.has_presence or message.HasField(field.name)
    }


def _value(field: Any, value: Any) -> Any:  # noqa: ANN401 - a descriptor has two types, a value any
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_value(field, item) for item in value]
    if isinstance(value, Message):
        return plain(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if field.enum_type is not None:
        known = field.enum_type.values_by_number.get(value)
        return known.name if known is not None else value
    return value


def compact(value: object) -> str:
    """A JSON document on one line, for streams of them."""
    return json_text(value)


# -- tables -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Table:
    """Titles, and rows of as many cells. ``numbers`` are aligned to the right; columns of
    ``yielding`` give way where the terminal is narrow, those named first as the first."""

    titles: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    numbers: frozenset[str] = frozenset()
    yielding: tuple[str, ...] = ()


LEAST_WIDTH = 8
"""Cells that a column keeps when it gives way."""


def lines(table: Table, width: int | None = None) -> list[str]:
    """The lines of a table, at most as wide as the terminal; nothing is cut where there is none."""
    if width is None:
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else WIDE
    cells = [table.titles, *(tuple(one_line(cell) or "-" for cell in row) for row in table.rows)]
    widths = {
        title: max(cell_len(row[index]) for row in cells)
        for index, title in enumerate(table.titles)
    }
    excess = sum(widths.values()) + 2 * (len(widths) - 1) - width
    for title in table.yielding:
        given = min(max(0, excess), max(0, widths[title] - LEAST_WIDTH))
        widths[title] -= given
        excess -= given
    drawn = []
    for row in cells:
        parts = []
        for title, cell in zip(table.titles, row, strict=True):
            parts.append(fitted(cell, widths[title], left=title not in table.numbers))
        drawn.append("  ".join(parts).rstrip())
    if use_colour(sys.stdout):
        drawn[0] = f"\x1b[2m{drawn[0]}\x1b[0m"
    return drawn


def rooms_table(rooms: Iterable[models.Room], now: float) -> Table:
    """One line per room."""
    rows = [
        (
            room.name,
            room.sid,
            units.age(now - room.creation_time) if room.creation_time else "",
            f"{room.num_participants}"
            + (f"/{room.max_participants}" if room.max_participants else ""),
            f"{room.num_publishers}",
            room.metadata,
        )
        for room in rooms
    ]
    return Table(
        ("room", "sid", "age", "part", "pub", "metadata"),
        rows,
        numbers=frozenset({"age", "part", "pub"}),
        yielding=("metadata", "room"),
    )


def participants_table(participants: Iterable[models.ParticipantInfo], now: float) -> Table:
    """One line per participant."""
    rows = [
        (
            who.identity,
            who.name,
            who.sid,
            _state(who),
            _kind(who),
            units.age(now - who.joined_at) if who.joined_at else "",
            f"{len(who.tracks)}",
            f"{sum(track.muted for track in who.tracks)}",
        )
        for who in participants
    ]
    return Table(
        ("identity", "name", "sid", "state", "kind", "age", "tracks", "muted"),
        rows,
        numbers=frozenset({"age", "tracks", "muted"}),
        yielding=("name", "identity"),
    )


def tracks_table(tracks: Iterable[models.TrackInfo]) -> Table:
    """One line per track."""
    rows = [
        (
            track.sid,
            models.TrackType.Name(track.type).lower(),
            models.TrackSource.Name(track.source).lower(),
            track.mime_type.partition("/")[2].lower(),
            f"{track.width}x{track.height}" if track.width else "",
            "yes" if track.muted else "no",
            track.name,
        )
        for track in tracks
    ]
    titles = ("track", "type", "source", "codec", "size", "muted", "name")
    return Table(titles, rows, yielding=("name",))


# -- one thing ----------------------------------------------------------------------------------


def room_lines(room: models.Room) -> Iterator[str]:
    """A room's facts, one a line."""
    yield from _facts(
        {
            "room": room.name,
            "sid": room.sid,
            "created": _time(room.creation_time),
            "participants": f"{room.num_participants}"
            + (f" of at most {room.max_participants}" if room.max_participants else ""),
            "publishers": f"{room.num_publishers}",
            "empty timeout": f"{room.empty_timeout} s",
            "departure timeout": f"{room.departure_timeout} s",
            "metadata": room.metadata,
        }
    )


def participant_lines(who: models.ParticipantInfo) -> Iterator[str]:
    """A participant's facts and tracks."""
    yield from _facts(
        {
            "identity": who.identity,
            "name": who.name,
            "sid": who.sid,
            "state": _state(who),
            "kind": _kind(who),
            "joined": _time(who.joined_at),
            "may": _permission(who.permission),
            "metadata": who.metadata,
            "attributes": " ".join(
                f"{key}={who.attributes[key]}" for key in sorted(who.attributes)
            ),
        }
    )
    if who.tracks:
        yield ""
        yield from lines(tracks_table(who.tracks))


def attributes_text(attributes: Mapping[str, str]) -> str:
    """Attributes as people give them to the command line."""
    return " ".join(f"{key}={attributes[key]}" for key in sorted(attributes))


def _facts(facts: Mapping[str, str]) -> Iterator[str]:
    width = max(map(len, facts))
    for title, value in facts.items():
        if value:
            yield f"{title:<{width}}  {one_line(value)}"


def _time(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC" if seconds else ""


def _state(who: models.ParticipantInfo) -> str:
    return models.ParticipantInfo.State.Name(who.state).lower()


def _kind(who: models.ParticipantInfo) -> str:
    return models.ParticipantInfo.Kind.Name(who.kind).lower()


def _permission(permission: models.ParticipantPermission) -> str:
    words = {
        "publish": permission.can_publish,
        "subscribe": permission.can_subscribe,
        "send data": permission.can_publish_data,
        "change its metadata": permission.can_update_metadata,
    }
    return ", ".join(word for word, allowed in words.items() if allowed) or "nothing"
