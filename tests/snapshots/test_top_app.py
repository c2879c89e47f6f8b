"""The monitor as a person uses it, at 80x24, against a real HTTP server with made-up statistics."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from rich.cells import cell_len

from lkpy.errors import LkpyError
from lkpy.top.app import TopApp
from lkpy.top.source import PATH, StatsSource
from lkpy.top.table import LineTable
from tests.top_snapshots import snapshot
from tests.unit.test_top_model import hostile


@pytest.fixture
async def stats_url() -> AsyncIterator[str]:
    async def stats(request: web.Request) -> web.StreamResponse:
        if request.headers.get("Authorization") == "Bearer wrong":
            return web.Response(status=401, text="invalid authorization token")
        if request.headers.get("Upgrade", "").lower() != "websocket":
            return web.Response(body=snapshot().SerializeToString())
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_bytes(snapshot().SerializeToString())
        async for _ in socket:
            pass
        return socket

    app = web.Application()
    app.router.add_get(PATH, stats)
    async with TestServer(app, host="127.0.0.1") as server:
        yield str(server.make_url("")).rstrip("/")


def screen(app: TopApp) -> list[str]:
    """What the terminal shows, line by line."""
    width, height = app.size
    compositor = app.screen._compositor
    strips = compositor.render_strips()
    assert len(strips) == height
    return ["".join(segment.text for segment in strip)[:width].rstrip() for strip in strips]


async def shown(app: TopApp, pilot: object, text: str) -> list[str]:
    """Wait until ``text`` is on the screen."""
    for _ in range(200):
        await pilot.pause(0.02)  # type: ignore[attr-defined]
        lines = screen(app)
        if any(text in line for line in lines):
            return lines
    pytest.fail(f"{text!r} never appeared:\n" + "\n".join(screen(app)))


async def test_walk_through_the_views(stats_url: str) -> None:
    app = TopApp(StatsSource(stats_url), interval_ms=1000)
    async with app.run_test(size=(80, 24)) as pilot:
        lines = await shown(app, pilot, "room-1")
        assert lines[0].startswith("lkpy 0.1.0  serving")
        assert "part 8" in lines[1]
        assert [line.split()[0] for line in lines[4:6]] == ["room-1", "room-0"]
        assert all(len(line) <= 80 for line in lines)
        await pilot.press("enter")
        lines = await shown(app, pilot, "viewer-2")
        assert "PARTICIPANTS  room-1" in lines[2]
        assert "EST" in lines[3]
        assert any("viewer-2" in line and "640k" in line for line in lines)
        assert all(len(line) <= 80 for line in lines)
        await pilot.press("slash", *"publisher", "enter")
        lines = await shown(app, pilot, "1 of 4")
        await pilot.press("enter")
        lines = await shown(app, pilot, "camera")
        assert any("S2" in line and "off" in line for line in lines)
        await pilot.press("escape", "slash", "escape", "slash", *"viewer-2", "enter")
        await shown(app, pilot, "1 of 4")
        await pilot.press("enter")
        lines = await shown(app, pilot, "S1/S2")
        assert lines[3].split() == [
            *("TRACK", "FROM/TO", "CODEC", "LAYER", "LIMIT", "RATE"),
            *("FPS", "LOSS%", "RTT", "STATE"),
        ]
        assert all(len(line) <= 80 for line in lines)
        await pilot.press("escape", "escape")
        await shown(app, pilot, "ROOMS  rooms")


async def test_sort_reverse_pause_and_help(stats_url: str) -> None:
    app = TopApp(StatsSource(stats_url), interval_ms=1000, ascii_only=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await shown(app, pilot, "room-1")
        await pilot.press("r")
        lines = await shown(app, pilot, "room-0")
        assert lines[4].startswith("room-0")
        await pilot.press("space")
        await shown(app, pilot, "PAUSED")
        await pilot.press("question_mark")
        await shown(app, pilot, "Filter")
        await pilot.press("x")
        lines = await shown(app, pilot, "PAUSED")
        assert all(line.isascii() for line in lines[1:3])


async def test_cursor_follows_its_row(stats_url: str) -> None:
    app = TopApp(StatsSource(stats_url), interval_ms=1000)
    async with app.run_test(size=(80, 24)) as pilot:
        await shown(app, pilot, "room-1")
        table = app.query_one(LineTable)
        await pilot.press("j")
        assert table.selected == "RM_0"
        await pilot.press("r")
        assert table.selected == "RM_0"
        await pilot.press("G", "g")
        assert table.selected == "RM_0"


async def test_a_server_that_is_away_is_said_so() -> None:
    app = TopApp(StatsSource("ws://127.0.0.1:9"), interval_ms=1000)
    async with app.run_test(size=(80, 24)) as pilot:
        await shown(app, pilot, "cannot reach ws://127.0.0.1:9")


async def test_once_and_its_errors(stats_url: str) -> None:
    assert len((await StatsSource(stats_url).once()).rooms) == 2
    with pytest.raises(LkpyError, match="invalid authorization token") as refused:
        await StatsSource(stats_url, "wrong").once()
    assert refused.value.hint
    with pytest.raises(LkpyError, match="not an lkpy server"):
        await StatsSource(stats_url + "/elsewhere").once()


async def test_the_view_follows_the_cursor_when_rows_change_places(stats_url: str) -> None:
    """With more rows than lines, the row under the cursor is on the screen, and is what opens."""
    app = TopApp(StatsSource(stats_url), interval_ms=1000)
    async with app.run_test(size=(80, 20)) as pilot:
        await shown(app, pilot, "room-1")
        table = app.query_one(LineTable)
        order = list(range(100))
        dice = random.Random(7)
        for turn in range(12):
            observed = snapshot(rooms=100, subscribers=0)
            dice.shuffle(order)
            for room, rank in zip(observed.rooms, order, strict=True):
                room.bitrate_out_bps = 1000.0 * (rank + 1)
            app._take(observed)
            if turn == 0:
                await pilot.press(*"jjjjj")
                followed = table.selected
            await pilot.pause()
            assert table.selected == followed
            lines = screen(app)
            index = next(i for i, row in enumerate(table._rows) if row.key == followed)
            line = 4 + index - table.scroll_offset.y
            assert 4 <= line < 19, "the cursor is on the screen"
            name = table._rows[index].cells[0]
            assert lines[line].split()[0] == name
        await pilot.press("enter")
        assert any(f"PARTICIPANTS  {name}  " in text for text in screen(app))


async def test_the_last_column_keeps_its_last_character(stats_url: str) -> None:
    app = TopApp(StatsSource(stats_url), interval_ms=1000)
    async with app.run_test(size=(80, 20)) as pilot:
        await shown(app, pilot, "room-1")
        app._take(snapshot(rooms=60, subscribers=0))
        await pilot.pause()
        table = app.query_one(LineTable)
        titles = [table._columns[index].title for index, _ in table._layout]
        assert screen(app)[3].split()[-1] == titles[-1].split()[-1]
        assert table.scrollable_content_region.width == 79


async def test_names_that_would_steer_a_terminal(stats_url: str) -> None:
    app = TopApp(StatsSource(stats_url), interval_ms=1000)
    async with app.run_test(size=(80, 24)) as pilot:
        await shown(app, pilot, "room-1")
        app._take(hostile())
        await pilot.press("enter")
        await pilot.pause()
        lines = screen(app)
        assert r"\x1b]0;PWN" in lines[2]
        assert all(line.isprintable() for line in lines)
        assert all(cell_len(line) <= 80 for line in lines)
