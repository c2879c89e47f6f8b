"""ARCHITECTURE.md stays true: its links exist, and each step of a join is where the table says."""

from __future__ import annotations

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
TEXT = (ROOT / "ARCHITECTURE.md").read_text()
STEPS = re.findall(r"^\| (\d+) \| \[([^]]+)\]", TEXT, re.MULTILINE)


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#]+)\)", TEXT))))
def test_links_lead_somewhere(link: str) -> None:
    assert (ROOT / link).exists()


def test_the_table_has_every_step() -> None:
    assert [int(number) for number, _ in STEPS] == list(range(1, 16))


@pytest.mark.parametrize(("number", "path"), STEPS)
def test_the_file_documents_its_step(number: str, path: str) -> None:
    assert re.search(rf"Join step {number}\b", (ROOT / path).read_text())
