"""The monitor's pure half: numbers, views, filter, sort, fit."""

from __future__ import annotations

import json

import pytest
from rich.cells import cell_len

from lkpy.stats.v1 import stats_pb2 as stats
from lkpy.top import model, plain, units, views
from tests.top_snapshots import snapshot


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (999, "999"),
        (999.7, "1.00k"),
        (1_234_567, "1.23M"),
        (99_960, "100k"),
        (2.5e9, "2.50G"),
        (-1, "-"),
    ],
)
def test_scaled(value: float, text: str) -> None:
    assert units.scaled(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(5, "5s"), (65, "1m05s"), (11_520, "3h12m"), (200_000, "2d07h")]
)
def test_age(seconds: float, text: str) -> None:
    assert units.age(seconds) == text


def test_sparkline_scales_to_its_own_maximum() -> None:
    assert units.sparkline([0, 5, 10], 8) == "▁▅█"
    assert units.sparkline([0.0] * 3, 2, ascii_only=True) == "__"


def test_drilling_goes_down_and_up() -> None:
    path = model.Path()
    assert path.view is model.View.ROOMS
    room = path.enter("RM_1")
    who = room.enter("PA_1_0")
    assert (room.view, who.view) == (model.View.PARTICIPANTS, model.View.TRACKS)
    assert who.enter("TR_x") == who
    assert who.leave() == room
    assert room.leave() == path == path.leave()


def test_rooms_are_sorted_by_outgoing_bitrate() -> None:
    observed = snapshot()
    table = views.build(observed, model.Path(), model.History())
    assert table is not None
    rows = model.arrange(table, table.sort, True, "")
    assert [row.key for row in rows] == ["RM_1", "RM_0"]
    assert [row.key for row in model.arrange(table, table.sort, False, "")] == ["RM_0", "RM_1"]


@pytest.mark.parametrize(
    ("wanted", "keys"),
    [
        ("viewer-0", ["PA_0_0"]),
        ("identity:viewer !viewer-0", ["PA_0_1", "PA_0_2"]),
        ("loss>5", ["PA_0_1"]),
        ("in>1M", ["PA_0_pub"]),
        ("out<1", ["PA_0_pub"]),
        ("nothing-like-this", []),
    ],
)
def test_filter(wanted: str, keys: list[str]) -> None:
    table = views.build(snapshot(), model.Path("RM_0"), model.History())
    assert table is not None
    assert [row.key for row in model.arrange(table, "identity", False, wanted)] == keys


def test_a_simulcast_track_shows_its_layers() -> None:
    table = views.build(snapshot(), model.Path("RM_0", "PA_0_pub"), model.History())
    assert table is not None
    assert [row.key for row in table.rows] == ["TR_VC0", "TR_VC0/0", "TR_VC0/1", "TR_VC0/2"]
    layer = [column.key for column in table.columns].index("layer")
    assert [row.cells[layer] for row in table.rows] == ["2/3", "S0", "S1", "S2"]


def cells(path: model.Path, observed: stats.Snapshot, row: str) -> dict[str, str]:
    """A row of a view, by the keys of its columns."""
    table = views.build(observed, path, model.History())
    assert table is not None
    (found,) = [found for found in table.rows if found.key.startswith(row)]
    return {column.key: cell for column, cell in zip(table.columns, found.cells, strict=True)} | {
        "alert": str(found.alert)
    }


def test_a_participant_shows_what_its_connection_carries() -> None:
    room = model.Path("RM_0")
    wide, narrow, sends = (cells(room, snapshot(), f"PA_0_{who}") for who in ("0", "2", "pub"))
    assert (wide["est"], wide["cap"], wide["alert"]) == ("2.40M", "-", "False")
    assert (narrow["est"], narrow["cap"], narrow["alert"]) == ("640k", "600k", "True")
    assert (sends["est"], sends["cap"]) == ("-", "-")


@pytest.mark.parametrize(
    ("changes", "limit", "state"),
    [
        ({}, "S1/S2", "live"),
        ({"allowed_spatial": 2, "allowed_temporal": 0}, "T0/T3", "live"),
        ({"allowed_spatial": -1, "paused": True, "active": False}, "-/S2", "paused"),
        ({"deficient": False, "active": False}, "-", "waits"),
        ({"deficient": False, "muted": True}, "-", "muted"),
    ],
)
def test_a_down_track_shows_what_there_is_room_for(
    changes: dict[str, object], limit: str, state: str
) -> None:
    observed = snapshot(rooms=1)
    (down,) = observed.rooms[0].participants[3].subscribed
    for field, value in changes.items():
        setattr(down, field, value)
    row = cells(model.Path("RM_0", "PA_0_2"), observed, "TR_VC0")
    assert (row["layer"], row["limit"], row["state"]) == ("S1T2", limit, state)


def test_a_track_that_does_not_flow_says_why() -> None:
    observed = snapshot(rooms=1)
    people = {person.sid: person for person in observed.rooms[0].participants}
    (track,) = (t for t in people["PA_0_pub"].published if t.sid == "TR_VC0")
    track.stalled_s, track.stall_cause = 6.0, "dropped_srtp_invalid"
    (down,) = people["PA_0_2"].subscribed
    down.stalled_s, down.stall_cause = 7.0, "waiting_for_key_frame"
    table = views.build(observed, model.Path("RM_0", "PA_0_pub"), model.History())
    assert table is not None
    (found,) = (row for row in table.rows if row.key == "TR_VC0")
    assert found.alert
    assert found.cells[1].endswith(": dropped srtp invalid")
    assert found.cells[-1] == "stall"
    row = cells(model.Path("RM_0", "PA_0_2"), observed, "TR_VC0")
    assert (row["state"], row["alert"]) == ("stall", "True")
    assert row["track"].endswith(": waiting for key frame")


def test_the_header_counts_what_does_not_flow() -> None:
    observed = snapshot()
    assert "stalled" not in model.header(observed, model.History())[1]
    observed.server.stalled_tracks, observed.server.stalled_down_tracks = 1, 2
    assert "stalled 3 " in model.header(observed, model.History())[1]


def test_what_has_gone_has_no_table() -> None:
    assert views.build(snapshot(), model.Path("RM_gone"), model.History()) is None
    assert views.build(snapshot(), model.Path("RM_0", "PA_gone"), model.History()) is None


@pytest.mark.parametrize(
    "columns", [views.ROOM_COLUMNS, views.PARTICIPANT_COLUMNS, views.TRACK_COLUMNS]
)
@pytest.mark.parametrize("width", [80, 100, 132, 200])
def test_columns_fit_the_width(columns: tuple[model.Column, ...], width: int) -> None:
    layout = model.fit(columns, width)
    titles = tuple(column.title for column in columns)
    assert len(model.line(columns, layout, titles)) <= width
    assert {index for index, _ in layout} >= {i for i, c in enumerate(columns) if not c.priority}


def test_history_forgets_rooms_that_have_gone() -> None:
    history = model.History()
    history.observe(snapshot(rooms=2))
    history.observe(snapshot(rooms=1))
    assert len(history.of("RM_0")) == 2
    assert history.of("RM_1") == []


def test_json_has_numbers_and_zeros() -> None:
    fields = json.loads(plain.as_json(snapshot(rooms=1)))
    assert fields["server"]["memory_bytes"] == 212_000_000
    assert fields["rooms"][0]["participants"][1]["subscribed"][0]["packets"] == 500
    assert fields["rooms"][0]["participants"][1]["published"] == []
    assert fields["server"]["region"] == ""


def test_text_lists_rooms_then_their_participants() -> None:
    lines = list(plain.as_text(snapshot()))
    assert sum("viewer-1" in line for line in lines) == 2
    assert max(map(len, lines)) <= plain.WIDTH


HOSTILE = "\x1b]0;PWN\a\x9b31m\n\u202eevil👩\u200d👩日本語e\u0301"


def hostile() -> stats.Snapshot:
    """Everything that a client, or whoever mints its token, can name."""
    observed = snapshot()
    observed.server.version = HOSTILE
    for room in observed.rooms:
        room.name = HOSTILE
        for who in room.participants:
            who.identity = who.name = who.sdk = who.sdk_version = HOSTILE
            for track in who.published:
                track.name = track.source = track.mime_type = HOSTILE
                for layer in track.layers:
                    layer.rid = HOSTILE
            for down in who.subscribed:
                down.publisher_identity = down.source = down.mime_type = HOSTILE
    return observed


def test_what_clients_call_themselves_reaches_no_terminal() -> None:
    observed = hostile()
    paths = [model.Path(), model.Path("RM_0"), model.Path("RM_0", "PA_0_pub")]
    paths += [model.Path("RM_0", who.sid) for who in observed.rooms[0].participants]
    shown = [*model.header(observed, model.History()), *plain.as_text(observed)]
    for path in paths:
        table = views.build(observed, path, model.History())
        assert table is not None
        shown.append(table.title)
        layout = model.fit(table.columns, 100)
        width = sum(width for _, width in layout) + len(layout) - 1
        for row in table.rows:
            shown.extend(row.cells)
            text = model.line(table.columns, layout, row.cells)
            assert cell_len(text) == width, "wide characters move no column"
            shown.append(text)
    assert all(text.isprintable() for text in shown)
    assert plain.as_json(observed).replace("\n", "").isprintable()


def test_a_received_track_has_its_name() -> None:
    table = views.build(snapshot(), model.Path("RM_0", "PA_0_0"), model.History(), ascii_only=True)
    assert table is not None
    received = [row for row in table.rows if row.values[0] == "down"]
    assert [row.cells[:2] for row in received] == [("v", "camera")]
