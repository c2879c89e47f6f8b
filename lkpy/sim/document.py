"""YAML that remembers where everything was written, so that errors can point at it.

``${NAME}`` and ``${NAME:-default}`` are replaced from the environment inside values, after
parsing: a variable's content can never change the document's structure. Pure: the caller
passes the text and the environment.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from lkpy.errors import ConfigError

try:
    from yaml import CSafeLoader as _Loader
except ImportError:  # PyYAML without libyaml
    from yaml import SafeLoader as _Loader  # type: ignore[assignment]

Path = tuple[str | int, ...]

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
# Inside ``${…}`` these characters mean something to YAML (flow mappings, comments, keys), so they
# travel through the parser as private-use characters of the same width: columns stay true.
_STRUCTURE = "{}[],#: "
_HIDE = {ord(char): 0xE000 + index for index, char in enumerate(_STRUCTURE)}
_SHOW = {private: char for char, private in _HIDE.items()}


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a file; both numbers start at 1."""

    line: int
    column: int


@dataclass(frozen=True)
class Document:
    """Plain data with the position of every key and value."""

    name: str
    text: str
    data: object
    values: Mapping[Path, Position] = field(default_factory=dict)
    keys: Mapping[Path, Position] = field(default_factory=dict)

    def position(self, path: Path, *, key: bool = False) -> Position:
        """Return where ``path`` was written, or its nearest parent that exists."""
        table = self.keys if key else self.values
        while path:
            if path in table:
                return table[path]
            path, table = path[:-1], self.values
        return self.values.get((), Position(1, 1))

    def error(self, position: Position, message: str, *, hint: str | None = None) -> ConfigError:
        """Build an error that shows the source line with a caret under the column."""
        return ConfigError(
            f"{self.name}:{position.line}:{position.column}: {message}"
            f"{excerpt(self.text, position)}",
            hint=hint,
        )


def excerpt(text: str, position: Position) -> str:
    """Return ``position``'s line and a caret, indented; empty when there is no such line."""
    lines = text.splitlines()
    if not 1 <= position.line <= len(lines):
        return ""
    line = lines[position.line - 1]
    number = str(position.line)
    # Tabs are kept in the margin so that the caret lands under the right character.
    margin = "".join("\t" if char == "\t" else " " for char in line[: position.column - 1])
    return f"\n  {number} | {line}\n  {' ' * len(number)} | {margin}^"


def parse(text: str, name: str, environment: Mapping[str, str]) -> Document:
    """Parse ``text``. Raises :class:`ConfigError` with the place of the fault."""
    hidden = _VARIABLE.sub(lambda match: "$" + match.group(0)[1:].translate(_HIDE), text)
    try:
        root = yaml.compose(hidden, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        position = Position(mark.line + 1, mark.column + 1) if mark else Position(1, 1)
        problem = error.problem or "not valid YAML"
        raise Document(name, text, None).error(position, f"not valid YAML: {problem}") from None
    except yaml.YAMLError as error:
        first = str(error).splitlines()[0]
        raise Document(name, text, None).error(Position(1, 1), f"not valid YAML: {first}") from None
    builder = _Builder(name, text, environment)
    data = builder.build(root, ()) if root is not None else None
    return Document(name, text, data, builder.values, builder.keys)


class _Builder:
    """Turns YAML nodes into data and records positions."""

    def __init__(self, name: str, text: str, environment: Mapping[str, str]) -> None:
        self.values: dict[Path, Position] = {}
        self.keys: dict[Path, Position] = {}
        self._source = Document(name, text, None)
        self._environment = environment
        self._active: set[int] = set()
        self._budget = 200_000

    def build(self, node: yaml.Node, path: Path) -> object:
        position = _position(node)
        self.values[path] = position
        self._budget -= 1
        if id(node) in self._active or self._budget < 0:
            raise self._source.error(position, "an alias refers to itself or expands too far")
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, position)
        self._active.add(id(node))
        try:
            if isinstance(node, yaml.SequenceNode):
                return [self.build(child, (*path, index)) for index, child in enumerate(node.value)]
            return self._mapping(node, path)
        finally:
            self._active.discard(id(node))

    def _mapping(self, node: yaml.Node, path: Path) -> dict[str, object]:
        result: dict[str, object] = {}
        for key_node, value_node in node.value:
            position = _position(key_node)
            if not isinstance(key_node, yaml.ScalarNode):
                raise self._source.error(position, "a key must be a plain word")
            key = str(key_node.value).translate(_SHOW)
            if key in result:
                first = self.keys[(*path, key)]
                raise self._source.error(
                    position, f"`{key}` is written twice; the first is on line {first.line}"
                )
            self.keys[(*path, key)] = position
            result[key] = self.build(value_node, (*path, key))
        return result

    def _scalar(self, node: yaml.ScalarNode, position: Position) -> object:
        raw = str(node.value)
        shown = raw.translate(_SHOW)
        expanded = _VARIABLE.sub(lambda match: self._variable(match, position), shown)
        tag = node.tag
        if expanded != shown and not node.style:
            # An unquoted variable may hold a number or a boolean, as an unquoted value may.
            tag = _resolve(expanded)
        try:
            return _construct(yaml.ScalarNode(tag, expanded, node.start_mark, node.end_mark))
        except (yaml.YAMLError, ValueError):
            raise self._source.error(position, f"{expanded!r} cannot be read as {tag}") from None

    def _variable(self, match: re.Match[str], position: Position) -> str:
        name, default = match.group(1), match.group(2)
        value = self._environment.get(name, "")
        if value:
            return value
        if default is not None:
            return default
        raise self._source.error(
            position,
            f"environment variable {name} is not set",
            hint=f"set {name}, or give a default: ${{{name}:-value}}",
        )


def _resolve(value: str) -> str:
    resolver: Any = yaml.SafeLoader("")
    return str(resolver.resolve(yaml.ScalarNode, value, (True, False)))


def _construct(node: yaml.ScalarNode) -> object:
    constructor: Any = yaml.SafeLoader("")
    value: object = constructor.construct_object(node)
    return value


def _position(node: yaml.Node) -> Position:
    return Position(node.start_mark.line + 1, node.start_mark.column + 1)
