"""What ``lkpy top`` shows: where the user is, tables, sorting, filtering and fitting. Pure.

A :class:`Path` says where the user is (all rooms, one room, one participant); :mod:`lkpy.top.views`
turns a snapshot into that view's :class:`Table`; :func:`arrange` sorts and filters it; :func:`fit`
chooses the columns for a width.
"""

from __future__ import annotations

import collections
import enum
from dataclasses import dataclass, field

from lkpy.stats.v1 import stats_pb2 as stats
from lkpy.text import fitted, one_line
from lkpy.top import units

ELLIPSIS, ASCII_ELLIPSIS = "…", "~"
"""What stands for the part of a cell that does not fit."""
HISTORY = 60
"""Observations kept for a sparkline."""


class View(enum.StrEnum):
    """The three tables, from far to near."""

    ROOMS = "rooms"
    PARTICIPANTS = "participants"
    TRACKS = "tracks"


@dataclass(frozen=True, slots=True)
class Path:
    """Where the user has drilled to, by SID: names can be taken again by others."""

    room: str | None = None
    participant: str | None = None

    @property
    def view(self) -> View:
        if self.room is None:
            return View.ROOMS
        return View.PARTICIPANTS if self.participant is None else View.TRACKS

    def enter(self, key: str) -> Path:
        """Go one level nearer into the row ``key``; from a track there is nowhere to go."""
        if self.room is None:
            return Path(room=key)
        return Path(self.room, key) if self.participant is None else self

    def leave(self) -> Path:
        """Go one level back."""
        return Path(self.room) if self.participant is not None else Path()


@dataclass(frozen=True, slots=True)
class Column:
    """A column; those with the highest ``priority`` number disappear first in a narrow terminal.

    ``flexible`` columns take the width that is left over.
    """

    key: str
    title: str
    width: int
    priority: int = 0
    left: bool = False
    flexible: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """``cells`` (shown) and ``values`` (sorted and compared) are parallel to the columns."""

    key: str
    cells: tuple[str, ...]
    values: tuple[float | str, ...]
    dim: bool = False
    alert: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """One view's columns and rows; ``rows`` are in the server's order."""

    view: View
    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    sort: str
    """Column to sort by before the user chose one; empty keeps the order."""


@dataclass(slots=True)
class History:
    """Outgoing bitrate of rooms and participants over the last :data:`HISTORY` snapshots."""

    series: dict[str, collections.deque[float]] = field(default_factory=dict)

    def observe(self, snapshot: stats.Snapshot) -> None:
        """Append one snapshot and forget what has gone."""
        seen: set[str] = set()
        for room in snapshot.rooms:
            self._append(seen, room.sid, room.bitrate_out_bps)
        self._append(seen, "", snapshot.server.bitrate_out_bps)
        for key in self.series.keys() - seen:
            del self.series[key]

    def _append(self, seen: set[str], key: str, value: float) -> None:
        seen.add(key)
        self.series.setdefault(key, collections.deque(maxlen=HISTORY)).append(value)

    def of(self, key: str) -> list[float]:
        """The series of a room's SID, or of the server for the empty key."""
        return list(self.series.get(key, ()))


def arrange(table: Table, sort: str, descending: bool, wanted: str) -> list[Row]:
    """Filter the rows by ``wanted`` (:class:`RowFilter`) and sort them by the column ``sort``."""
    keys = [column.key for column in table.columns]
    matches = RowFilter(wanted, keys)
    rows = [row for row in table.rows if matches(row)]
    if sort in keys:
        index = keys.index(sort)
        rows.sort(key=lambda row: _order(row.values[index]), reverse=descending)
    return rows


def _order(value: float | str) -> tuple[int, float, str]:
    return (1, 0.0, value.casefold()) if isinstance(value, str) else (0, value, "")


class RowFilter:
    """A row test from the filter line: words that must all hold.

    ``foo`` any cell contains foo · ``!foo`` none does · ``column:foo`` that cell does ·
    ``column>1`` and ``column<1`` compare numbers (bitrates in bit/s, loss in percent).
    """

    def __init__(self, wanted: str, keys: list[str]) -> None:
        self._words = wanted.casefold().split()
        self._keys = keys

    def __call__(self, row: Row) -> bool:
        return all(self._holds(word, row) for word in self._words)

    def _holds(self, word: str, row: Row) -> bool:
        if word.startswith("!") and len(word) > 1:
            return not self._holds(word[1:], row)
        for separator in (">", "<", ":"):
            key, found, operand = word.partition(separator)
            if found and key in self._keys:
                index = self._keys.index(key)
                if separator == ":":
                    return operand in row.cells[index].casefold()
                return self._compare(row.values[index], separator, operand, key)
        return any(word in cell.casefold() for cell in row.cells)

    @staticmethod
    def _compare(value: float | str, separator: str, operand: str, key: str) -> bool:
        scale = {"k": 1e3, "m": 1e6, "g": 1e9}.get(operand[-1:], 1.0)
        try:
            bound = float(operand.rstrip("kmg%")) * scale
        except ValueError:
            return True
        number = value if isinstance(value, float) else -1.0
        if key == "loss":
            number *= 100
        return number > bound if separator == ">" else 0 <= number < bound


def fit(columns: tuple[Column, ...], width: int) -> tuple[tuple[int, int], ...]:
    """Choose columns for ``width`` characters: pairs of (index, width), one blank between."""
    shown = list(range(len(columns)))

    def needed() -> int:
        return sum(columns[i].width for i in shown) + len(shown) - 1

    while needed() > width and any(columns[i].priority for i in shown):
        shown.remove(max(shown, key=lambda i: (columns[i].priority, i)))
    spare = max(0, width - needed())
    flexible = [i for i in shown if columns[i].flexible]
    extra = min(spare // len(flexible), 40) if flexible else 0
    return tuple((i, columns[i].width + (extra if i in flexible else 0)) for i in shown)


def line(
    columns: tuple[Column, ...],
    layout: tuple[tuple[int, int], ...],
    cells: tuple[str, ...],
    *,
    ellipsis: str = ELLIPSIS,
) -> str:
    """One line of text: cells cut and aligned to their widths on the screen."""
    return " ".join(
        fitted(cells[index], width, left=columns[index].left, ellipsis=ellipsis)
        for index, width in layout
    )


def header(
    snapshot: stats.Snapshot, history: History, *, ascii_only: bool = False
) -> tuple[str, str]:
    """The two lines of totals above the table."""
    server = snapshot.server
    up = units.age((snapshot.timestamp_ms - server.started_at_ms) / 1000)
    trend = units.sparkline(history.of(""), 16, ascii_only=ascii_only)
    first = one_line(
        f"lkpy {server.version}  {server.state}  up {up}  cpu {server.cpu_cores * 100:.0f}%"
        f" of {server.num_cpus} cores  mem {units.size(server.memory_bytes)}"
    )
    stalled = server.stalled_tracks + server.stalled_down_tracks
    second = (
        f"rooms {server.rooms}  part {server.participants}  trk {server.tracks}"
        f"  down {server.down_tracks}  in {units.bitrate(server.bitrate_in_bps)}"
        f"  out {units.bitrate(server.bitrate_out_bps)}"
        f"  pps {units.scaled(server.packets_in_pps)}/{units.scaled(server.packets_out_pps)}"
        f"{f'  stalled {stalled}' if stalled else ''}"
        f"  {trend}"
    )
    return first, second
