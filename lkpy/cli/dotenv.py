"""Variables from ``.env`` files of the working directory, for what the environment does not say."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FILES = (".env.local", ".env")
"""The first that has a variable wins, as with the tools that write them."""

_LINE = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*?)\s*")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}


@dataclass(frozen=True, slots=True)
class Variable:
    """A value and the file it is from."""

    value: str
    file: str


def read(directory: Path) -> dict[str, Variable]:
    """The variables of the files in a directory; files that cannot be read count as absent."""
    found: dict[str, Variable] = {}
    for name in FILES:
        try:
            text = (directory / name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            continue
        for variable, value in parse(text):
            found.setdefault(variable, Variable(value, name))
    return found


def parse(text: str) -> Iterator[tuple[str, str]]:
    """``NAME=value`` lines. Values may be quoted; other lines and comments are passed over."""
    for line in text.splitlines():
        match = _LINE.fullmatch(line)
        if match is not None:
            yield match[1], _unquote(match[2])


def _unquote(text: str) -> str:
    quote = text[:1]
    if quote not in ("'", '"'):
        # A comment needs a space before it: secrets may hold a number sign.
        return re.split(r"\s+#|^#", text)[0]
    inner = re.match(r"'([^']*)'" if quote == "'" else r'"((?:[^"\\]|\\.)*)"', text)
    if inner is None:
        return text
    if quote == "'":
        return inner[1]
    return re.sub(r"\\(.)", lambda found: _ESCAPES.get(found[1], found[1]), inner[1])
