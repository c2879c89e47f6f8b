"""Others' words on a terminal: what a client chose must neither steer it nor move its columns."""

from __future__ import annotations

import json
import re
from typing import Any

from rich.cells import cell_len, set_cell_size

# Variation selectors change how wide a terminal draws what stands before them, and not every
# terminal agrees; nothing is lost without them.
_SELECTORS = re.compile("[\ufe00-\ufe0f]")


def printable(text: str) -> str:
    """Escape what does not print: control characters of both sets, bidirectional controls, joiners.

    New lines and tabs stay. ``\\x1b`` is then four visible characters, as in Python.
    """
    text = _SELECTORS.sub("", text)
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() or char in "\n\t" else char.encode("unicode_escape").decode()
        for char in text
    )


def one_line(text: str) -> str:
    """Return :func:`printable` text on one line."""
    return printable(text).replace("\n", " ").replace("\t", " ")


def json_text(value: Any, *, indent: int | None = None) -> str:  # noqa: ANN401 - any JSON value
    """Return a JSON document that can be shown: what does not print is written as ``\\uXXXX``."""
    separators = (",", ":") if indent is None else None
    text = json.dumps(value, ensure_ascii=False, indent=indent, separators=separators)
    # JSON escapes control characters below 32 by itself: a new line here is one of the layout.
    return "".join(
        char if char.isprintable() or char == "\n" else json.dumps(char)[1:-1] for char in text
    )


def cut(text: str, width: int, *, ellipsis: str = "…") -> str:
    """Return ``text`` in at most ``width`` cells; what is missing is marked."""
    if cell_len(text) <= width:
        return text
    return f"{set_cell_size(text, max(0, width - cell_len(ellipsis))).rstrip()}{ellipsis}"


def fitted(text: str, width: int, *, left: bool = True, ellipsis: str = "…") -> str:
    """Return ``text`` in exactly ``width`` cells: cut, or padded on the side that is free."""
    text = cut(text, width, ellipsis=ellipsis)
    gap = " " * (width - cell_len(text))
    return text + gap if left else gap + text
