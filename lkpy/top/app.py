"""The terminal monitor: keys and snapshots in, one table out. The model decides what is shown."""

from __future__ import annotations

import asyncio
import contextlib
from typing import ClassVar

from textual import events, work
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from lkpy.errors import LkpyError
from lkpy.stats.v1 import stats_pb2 as stats
from lkpy.text import one_line
from lkpy.top import model, views
from lkpy.top.source import StatsSource
from lkpy.top.table import LineTable

RETRY_S = 2.0
INTERVALS_MS = (200, 500, 1000, 2000, 5000, 10_000)
KEYS = "enter open  esc back  / filter  s sort  r reverse  space pause  ? help  q quit"
HELP = """\
[b]lkpy top[/b]: rooms → participants → tracks

  ↑ ↓  j k    move                PgUp PgDn g G  move far
  enter → l   open                esc ← h        back
  s           sort by the next column
  r           reverse the order
  /           filter; esc in the filter clears it
  space       pause: the picture stands still
  + -         faster, slower
  q           quit

[b]Filter[/b]: words that must all hold.
  foo          a cell contains foo       !foo  none does
  kind:agent   that column contains agent
  out>2M  loss>1  rtt<50  compare numbers (bit/s, %, ms)

[b]Columns[/b]: IN and OUT are the server's side: IN is what
participants send. LOSS% and RTT of down tracks are from the
receivers' reports; - is not known. RATE is in bit/s, JIT
and RTT in ms. EST: bit/s that a participant says it can
receive; CAP: what its video has to share. LIMIT: the layer
that there is room for / the one that is wanted.
"""


class HelpScreen(ModalScreen[None]):
    """The keys, until any of them is pressed."""

    DEFAULT_CSS = """
    HelpScreen { align: center middle; }
    HelpScreen > VerticalScroll { width: 90%; max-width: 100; height: auto; max-height: 90%;
        border: round $primary; padding: 0 1; }
    """

    def compose(self) -> ComposeResult:
        with VerticalScroll():
            yield Static(HELP)

    def on_key(self) -> None:
        self.dismiss()


class TopApp(App[None]):
    """``lkpy top``."""

    ENABLE_COMMAND_PALETTE = False
    TITLE = "lkpy top"
    DEFAULT_CSS = """
    Screen { layout: vertical; }
    #summary { height: 2; }
    #crumbs { height: 1; text-style: bold; }
    #filter { display: none; height: 1; border: none; padding: 0; background: $surface; }
    #filter.shown { display: block; }
    #keys { height: 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "quit"),
        Binding("escape,left,h", "leave", "back"),
        Binding("slash", "filter", "filter"),
        Binding("s", "sort", "sort"),
        Binding("r", "reverse", "reverse"),
        Binding("space", "pause", "pause"),
        Binding("plus,equals_sign", "rate(-1)", "faster"),
        Binding("minus", "rate(1)", "slower"),
        Binding("question_mark,f1", "help", "help"),
    ]

    def __init__(self, source: StatsSource, *, interval_ms: int, ascii_only: bool = False) -> None:
        super().__init__(ansi_color=True)
        self._source = source
        self._interval_ms = interval_ms
        self._ascii = ascii_only
        self._path = model.Path()
        self._history = model.History()
        self._snapshot: stats.Snapshot | None = None
        self._sort: dict[model.View, str] = {}
        self._descending: dict[model.View, bool] = {}
        self._wanted: dict[model.View, str] = {}
        self._paused = False
        self._status = f"connecting to {source.url} …"

    def compose(self) -> ComposeResult:
        yield Static(id="summary", markup=False)
        yield Static(id="crumbs", markup=False)
        yield LineTable(ascii_only=self._ascii)
        yield Input(id="filter", placeholder="filter: words, !word, column:word, out>2M")
        yield Static(KEYS, id="keys", markup=False)

    def on_mount(self) -> None:
        self.query_one(LineTable).focus()
        self._draw()
        self._follow()

    @work(exclusive=True, group="follow")
    async def _follow(self) -> None:
        while True:
            try:
                async with contextlib.aclosing(self._source.stream(self._interval_ms)) as snapshots:
                    async for snapshot in snapshots:
                        self._status = ""
                        self._take(snapshot)
            except LkpyError as error:
                self._status = f"{one_line(error.message)} (trying again; q quits)"
                self._draw()
            await asyncio.sleep(RETRY_S)

    def _take(self, snapshot: stats.Snapshot) -> None:
        self._history.observe(snapshot)
        if not self._paused:
            self._snapshot = snapshot
            self._draw()

    def _draw(self) -> None:
        if self._snapshot is None:
            self.query_one("#summary", Static).update(self._status)
            return
        table = self._table(self._snapshot)
        view = table.view
        sort = self._sort.get(view, table.sort)
        descending = self._descending.get(view, True)
        wanted = self._wanted.get(view, "")
        rows = model.arrange(table, sort, descending, wanted)
        first, second = model.header(self._snapshot, self._history, ascii_only=self._ascii)
        self.query_one("#summary", Static).update(f"{self._status or first}\n{second}")
        notes = [f"{view.value.upper()}  {table.title}", f"{len(rows)} of {len(table.rows)}"]
        if wanted:
            notes.append(f"filter: {wanted}")
        if self._paused:
            notes.append("PAUSED")
        notes.append(f"every {self._interval_ms / 1000:g} s")
        self.query_one("#crumbs", Static).update("  ".join(notes))
        self.query_one(LineTable).show(table.columns, rows, sort, descending)

    def _table(self, snapshot: stats.Snapshot) -> model.Table:
        """The table of the current path, or of the nearest level that still exists."""
        while True:
            table = views.build(snapshot, self._path, self._history, ascii_only=self._ascii)
            if table is not None:
                return table
            self._path = self._path.leave()

    def _go(self, path: model.Path) -> None:
        if path != self._path:
            self._path = path
            self.query_one(LineTable).to_top()
            self._draw()

    def on_line_table_opened(self, message: LineTable.Opened) -> None:
        self._go(self._path.enter(message.key))

    def action_leave(self) -> None:
        self._go(self._path.leave())

    def action_sort(self) -> None:
        if self._snapshot is None:
            return
        table = self._table(self._snapshot)
        keys = ["", *(column.key for column in table.columns)]
        current = self._sort.get(table.view, table.sort)
        self._sort[table.view] = keys[(keys.index(current) + 1) % len(keys)]
        self._draw()

    def action_reverse(self) -> None:
        view = self._path.view
        self._descending[view] = not self._descending.get(view, True)
        self._draw()

    def action_pause(self) -> None:
        self._paused = not self._paused
        self._draw()

    def action_rate(self, step: int) -> None:
        nearest = min(INTERVALS_MS, key=lambda ms: abs(ms - self._interval_ms))
        index = INTERVALS_MS.index(nearest) + step
        self._interval_ms = INTERVALS_MS[max(0, min(index, len(INTERVALS_MS) - 1))]
        self._draw()
        self._follow()

    def action_help(self) -> None:
        self.push_screen(HelpScreen())

    def action_filter(self) -> None:
        line = self.query_one("#filter", Input)
        line.value = self._wanted.get(self._path.view, "")
        line.add_class("shown")
        line.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        self._wanted[self._path.view] = event.value
        self._draw()

    def on_input_submitted(self) -> None:
        self._close_filter()

    def on_key(self, event: events.Key) -> None:
        if event.key == "escape" and self.query_one("#filter", Input).has_focus:
            self._wanted[self._path.view] = ""
            self._close_filter()
            self._draw()
            event.prevent_default()
            event.stop()

    def _close_filter(self) -> None:
        self.query_one("#filter", Input).remove_class("shown")
        self.query_one(LineTable).focus()
