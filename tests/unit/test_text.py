"""Others' words on a terminal."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from lkpy.text import cut, fitted, json_text, one_line, printable

NASTY = "\x1b]0;PWN\x07\x9b31m\u202eevil\u200b\u2066\ud83d\n\r\x00"
ANY = st.text(st.characters())


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("alice", "alice"),
        ("Ünïcödé 日本 👋", "Ünïcödé 日本 👋"),
        ("\x1b]0;PWN\x07", r"\x1b]0;PWN\x07"),
        ("a\x9b31mb", r"a\x9b31mb"),
        ("gnp.\u202egpj", r"gnp.\u202egpj"),
        ("a\u200bb", r"a\u200bb"),
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        ("\u2028", r"\u2028"),
        ("❤\ufe0f", "❤"),
    ],
)
def test_what_does_not_print_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(ANY)
def test_nothing_steers_a_terminal(text: str) -> None:
    for shown in (one_line(text), json_text([text])):
        assert shown.isprintable()
        assert not {unicodedata.category(char) for char in shown} & {"Cc", "Cf", "Cs", "Zl", "Zp"}


@given(ANY)
def test_json_is_the_same_json(text: str) -> None:
    for indent in (None, 2):
        assert json.loads(json_text({text: [text]}, indent=indent)) == {text: [text]}


@given(ANY, st.integers(1, 40), st.booleans())
def test_a_cell_is_exactly_as_wide_as_its_column(text: str, width: int, left: bool) -> None:
    shown = one_line(text)
    assert cell_len(fitted(shown, width, left=left)) == width
    assert cell_len(cut(shown, width)) <= width


def test_what_is_cut_is_marked() -> None:
    assert fitted("participant", 6) == "parti…"
    assert fitted("日本語日本語", 6) == "日本… "
    assert fitted("7", 3, left=False) == "  7"
    assert fitted("long enough", 4, ellipsis="~") == "lon~"
