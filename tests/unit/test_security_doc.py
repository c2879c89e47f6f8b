"""What SECURITY.md, docs/security.md and ARCHITECTURE.md promise is shown by tests that exist."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "SECURITY.md", ROOT / "docs" / "security.md", ROOT / "ARCHITECTURE.md"]
ROWS = (
    [f"T{number}" for number in range(1, 18)]
    + [f"N{number}" for number in range(1, 5)]
    + [f"J{number}" for number in range(1, 13)]
    + [f"W{number}" for number in range(1, 14)]
    + [f"C{number}" for number in range(1, 12)]
)
WITHOUT_A_TEST = {"N1", "N2", "N3", "W8", "C1", "C2", "C3", "C4", "C7", "C11"}
"""Rows that say why instead."""

_PYTHON = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
_RUST = re.compile(r"`(rust/\w+): (\w+)`")
_ROW = re.compile(r"^\| ([TNJWC]\d+) \|(.*)\|$", re.MULTILINE)


@cache
def python_tests(file: str) -> frozenset[str]:
    tree = ast.parse((ROOT / file).read_text())
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, kinds))


@cache
def rust_functions(crate: str) -> frozenset[str]:
    files = (ROOT / crate).rglob("*.rs")
    return frozenset(
        name
        for file in files
        if "target" not in file.parts
        for name in re.findall(r"\bfn (\w+)\s*\(", file.read_text())
    )


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_test_that_is_named_exists(document: Path) -> None:
    text = document.read_text()
    named = _PYTHON.findall(text)
    missing = [f"{file}::{name}" for file, name in named if name not in python_tests(file)]
    rust = _RUST.findall(text)
    missing += [f"{crate}: {name}" for crate, name in rust if name not in rust_functions(crate)]
    assert missing == []
    assert len(named) > 5
    assert text.count("::test_") == len(named), "each is written in the same way"


def test_every_row_is_there_once_and_has_a_test_or_a_reason() -> None:
    rows = _ROW.findall((ROOT / "docs" / "security.md").read_text())
    assert [name for name, _ in rows] == ROWS
    shown = {name for name, text in rows if _PYTHON.search(text) or _RUST.search(text)}
    assert set(ROWS) - shown == WITHOUT_A_TEST


def test_rows_in_tests_are_rows_of_the_document() -> None:
    """A test that is named after a row is listed there."""
    text = (ROOT / "docs" / "security.md").read_text()
    rows = dict(_ROW.findall(text))
    for file in sorted((ROOT / "tests").rglob("test_*.py")):
        path = file.relative_to(ROOT).as_posix()
        for name in python_tests(path):
            found = re.match(r"test_row_([a-z]\d+)_", name)
            if found is not None and found[1].upper() in rows:
                assert f"{path}::{name}" in rows[found[1].upper()], name
