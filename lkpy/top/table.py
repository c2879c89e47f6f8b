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

from lkpy.text import fitted
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

    def __init__(self, *, ascii_only: bool = False) -> None:
        super().__init__()
        self._ellipsis = model.ASCII_ELLIPSIS if ascii_only else model.ELLIPSIS
        self._arrows = ("^", "v") if ascii_only else ("▲", "▼")
        self._columns: tuple[model.Column, ...] = ()
        self._rows: list[model.Row] = []
        self._layout: tuple[tuple[int, int], ...] = ()
        self._layout_width = 0
        self._cursor = 0
        self._sort = ("", False)

    @property
    def selected(self) -> str | None:
        """Key of the row under the cursor."""
        return self._rows[self._cursor].key if self._rows else None

    def show(
        self, columns: tuple[model.Column, ...], rows: list[model.Row], sort: str, descending: bool
    ) -> None:
        """Replace what is shown; the cursor follows the key it was on, and the view the cursor."""
        selected = self.selected
        self._columns = columns
        self._rows = rows
        self._sort = (sort, descending)
        keys = [row.key for row in rows]
        if selected in keys:
            self._cursor = keys.index(selected)
        self._cursor = min(self._cursor, max(0, len(rows) - 1))
        self._fit()
        self._follow()
        self.refresh()

    def to_top(self) -> None:
        """Put the cursor on the first row."""
        self._cursor = 0
        self.scroll_to(y=0, animate=False, immediate=True)

    def on_resize(self) -> None:
        self._fit()
        self._follow()

    def _fit(self) -> None:
        self.virtual_size = Size(self.size.width, len(self._rows) + 1)
        self._layout_width = 0

    @property
    def _visible(self) -> int:
        """Rows that fit below the header."""
        return max(1, self.size.height - 1)

    def _follow(self) -> None:
        """Move the view as little as brings the cursor into it."""
        top = int(self.scroll_offset.y)
        if self._cursor < top:
            self.scroll_to(y=self._cursor, animate=False, immediate=True)
        elif self._cursor >= top + self._visible:
            self.scroll_to(y=self._cursor - self._visible + 1, animate=False, immediate=True)

    def render_line(self, y: int) -> Strip:
        """Render the header in the first visible line and rows below it."""
        width = self.scrollable_content_region.width
        if width != self._layout_width:
            # A scrollbar that comes or goes changes the width too, and says nothing.
            self._layout = model.fit(self._columns, max(20, width))
            self._layout_width = width
        if y == 0:
            return self._text(self._header(), width, Style(bold=True, reverse=True))
        index = y - 1 + self.scroll_offset.y
        if index >= len(self._rows):
            return self._text("", width, Style())
        row = self._rows[index]
        style = Style(dim=row.dim, bold=row.alert, color="red" if row.alert else None)
        if index == self._cursor:
            style += Style(reverse=True)
        return self._text(self._line(row.cells), width, style)

    def _line(self, cells: tuple[str, ...]) -> str:
        return model.line(self._columns, self._layout, cells, ellipsis=self._ellipsis)

    def _header(self) -> str:
        sort, descending = self._sort
        arrow = self._arrows[descending]
        return self._line(
            tuple(
                column.title + arrow if column.key == sort else column.title
                for column in self._columns
            )
        )

    def _text(self, text: str, width: int, style: Style) -> Strip:
        return Strip([Segment(fitted(text, width, ellipsis=self._ellipsis), style)], width)

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
        self._follow()
        self.refresh()
