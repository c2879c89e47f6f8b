"""One line-rendered table for every view.

Textual's DataTable lays every cell out again on each update; rendering lines on demand costs a
tenth of it, because only the visible lines are made.
"""

from __future__ import annotations

from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from lkpy.top import model


class LineTable(ScrollView, can_focus=True):
    """Rows of text with a cursor that stays on its row's key when rows move."""

    DEFAULT_CSS = "LineTable { height: 1fr; scrollbar-size-vertical: 1; overflow-x: hidden; }"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "up", show=False),
        Binding("down,j", "move(1)", "down", show=False),
        Binding("pageup", "page(-1)", "page up", show=False),
        Binding("pagedown", "page(1)", "page down", show=False),
        Binding("home,g", "jump(0)", "first", show=False),
        Binding("end,G", "jump(-1)", "last", show=False),
        Binding("enter,right,l", "open", "open"),
    ]

    class Opened(Message):
        """The user pressed enter on the row ``key``."""

        def __init__(self, key: str) -> None:
            super().__init__()
            self.key = key

    def __init__(self) -> None:
        super().__init__()
        self._columns: tuple[model.Column, ...] = ()
        self._rows: list[model.Row] = []
        self._layout: tuple[tuple[int, int], ...] = ()
        self._cursor = 0
        self._sort = ("", False)

    @property
    def selected(self) -> str | None:
        """Key of the row under the cursor."""
        return self._rows[self._cursor].key if self._rows else None

    def show(
        self, columns: tuple[model.Column, ...], rows: list[model.Row], sort: str, descending: bool
    ) -> None:
        """Replace what is shown; the cursor follows the key it was on."""
        selected = self.selected
        self._columns = columns
        self._rows = rows
        self._sort = (sort, descending)
        keys = [row.key for row in rows]
        if selected in keys:
            self._cursor = keys.index(selected)
        self._cursor = min(self._cursor, max(0, len(rows) - 1))
        self._fit()
        self.refresh()

    def to_top(self) -> None:
        """Put the cursor on the first row."""
        self._cursor = 0
        self.scroll_to(y=0, animate=False)

    def on_resize(self) -> None:
        self._fit()

    def _fit(self) -> None:
        self._layout = model.fit(self._columns, max(20, self.size.width))
        self.virtual_size = Size(self.size.width, len(self._rows) + 1)

    def render_line(self, y: int) -> Strip:
        """Render the header in the first visible line and rows below it."""
        width = self.size.width
        if y == 0:
            return self._text(self._header(), width, Style(bold=True, reverse=True))
        index = y - 1 + self.scroll_offset.y
        if index >= len(self._rows):
            return self._text("", width, Style())
        row = self._rows[index]
        style = Style(dim=row.dim, bold=row.alert, color="red" if row.alert else None)
        if index == self._cursor:
            style += Style(reverse=True)
        return self._text(model.line(self._columns, self._layout, row.cells), width, style)

    def _header(self) -> str:
        sort, descending = self._sort
        titles = tuple(
            column.title + ("▼" if descending else "▲") if column.key == sort else column.title
            for column in self._columns
        )
        return model.line(self._columns, self._layout, titles)

    @staticmethod
    def _text(text: str, width: int, style: Style) -> Strip:
        return Strip([Segment(text.ljust(width)[:width], style)], width)

    def action_move(self, by: int) -> None:
        self._go(self._cursor + by)

    def action_page(self, pages: int) -> None:
        self._go(self._cursor + pages * max(1, self.size.height - 2))

    def action_jump(self, to: int) -> None:
        self._go(to if to >= 0 else len(self._rows) - 1)

    def action_open(self) -> None:
        if (key := self.selected) is not None:
            self.post_message(self.Opened(key))

    def _go(self, index: int) -> None:
        self._cursor = max(0, min(index, len(self._rows) - 1))
        visible = max(1, self.size.height - 1)
        top = int(self.scroll_offset.y)
        if self._cursor < top:
            self.scroll_to(y=self._cursor, animate=False)
        elif self._cursor >= top + visible:
            self.scroll_to(y=self._cursor - visible + 1, animate=False)
        self.refresh()
