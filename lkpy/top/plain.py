"""``lkpy top --once``: one snapshot as text or JSON, for pipes and scripts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

from google.protobuf.message import Message

from lkpy.stats.v1 import stats_pb2 as stats
from lkpy.top import model, views

WIDTH = 160


def as_json(snapshot: stats.Snapshot) -> str:
    """The snapshot with the field names of ``proto/lkpy/stats/v1/stats.proto``, zeros included.

    64-bit integers are numbers, not the strings of proto JSON: scripts compare them.
    """
    return json.dumps(_plain(snapshot), indent=2)


def _plain(message: Message) -> dict[str, object]:
    return {field.name: _value(getattr(message, field.name)) for field in message.DESCRIPTOR.fields}


def _value(value: object) -> object:
    if isinstance(value, Message):
        return _plain(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_value(item) for item in value]
    return value


def as_text(
    snapshot: stats.Snapshot, room: str | None = None, *, ascii_only: bool = False
) -> Iterator[str]:
    """The header, all rooms and each room's participants, or only those of ``room``."""
    history = model.History()
    history.observe(snapshot)
    yield from model.header(snapshot, history, ascii_only=ascii_only)
    ellipsis = model.ASCII_ELLIPSIS if ascii_only else model.ELLIPSIS
    paths = [model.Path()] if room is None else []
    paths += [model.Path(r.sid) for r in snapshot.rooms if room in (None, r.name)]
    for path in paths:
        table = views.build(snapshot, path, history, ascii_only=ascii_only)
        if table is None:
            continue
        yield ""
        yield f"{table.view.value.upper()}  {table.title}"
        layout = model.fit(table.columns, WIDTH)
        yield model.line(table.columns, layout, tuple(c.title for c in table.columns)).rstrip()
        for row in model.arrange(table, table.sort, True, ""):
            yield model.line(table.columns, layout, row.cells, ellipsis=ellipsis).rstrip()
