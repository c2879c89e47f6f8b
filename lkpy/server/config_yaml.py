"""Reads YAML and remembers where everything was: errors name file, line and column."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from lkpy.errors import ConfigError

Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """A mapping with the place of every key, by path."""

    source: str
    """File name, or the name of the variable or option that held the text."""
    values: dict[str, Any] = field(default_factory=dict)
    marks: Mapping[Path, tuple[int, int]] = field(default_factory=dict)
    """Line and column, from 1."""

    def place(self, path: Path) -> str:
        """``source:line:column`` of the nearest key at or above ``path``."""
        while path:
            if path in self.marks:
                line, column = self.marks[path]
                return f"{self.source}:{line}:{column}"
            path = path[:-1]
        return self.source


def parse(text: str, source: str) -> Document:
    """Read one YAML mapping. Raises :class:`ConfigError`."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        marks = dict(_marks(node, (), source, set())) if node is not None else {}
        values = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{source}:{mark.line + 1}:{mark.column + 1}" if mark else source
        raise ConfigError(f"{place}: not valid YAML: {error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{source}: not valid YAML: {error}") from error
    except RecursionError as error:
        raise ConfigError(f"{source}: nested too deeply") from error
    if values is None:
        return Document(source)
    if not isinstance(values, dict):
        raise ConfigError(
            f"{source}:1:1: expected a mapping of keys to values, found {_kind(values)}",
            hint="a configuration begins with lines such as `port: 7880`",
        )
    return Document(source, values, marks)


def suggestion(word: str, known: Collection[str]) -> str:
    """``, did you mean 'x'?`` when one of the known words is close."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f", did you mean '{close[0]}'?" if close else ""


def _kind(value: object) -> str:
    names = {str: "text", list: "a list", bool: "a boolean", int: "a number", float: "a number"}
    return names.get(type(value), type(value).__name__)


def _marks(
    node: yaml.Node, path: Path, source: str, visited: set[int]
) -> Iterator[tuple[Path, tuple[int, int]]]:
    """Places of all keys; a node that aliases repeat is visited where it was written."""
    if id(node) in visited:
        return
    visited.add(id(node))
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            line, column = key.start_mark.line + 1, key.start_mark.column + 1
            if key.value in seen:
                raise ConfigError(f"{source}:{line}:{column}: key '{key.value}' is given twice")
            seen.add(key.value)
            inner = (*path, str(key.value))
            yield inner, (line, column)
            yield from _marks(value, inner, source, visited)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            inner = (*path, str(index))
            yield inner, (item.start_mark.line + 1, item.start_mark.column + 1)
            yield from _marks(item, inner, source, visited)
