"""Shows a configuration: every value, where it is from, and no secrets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import Message
from pydantic import BaseModel

from lkpy.server.config import ServerConfig
from lkpy.server.config_load import Loaded
from lkpy.server.config_schema import Kind, scalars
from lkpy.server.config_types import PortRange
from lkpy.server.config_yaml import Path
from lkpy.server.telemetry.redact import MASK, is_secret, redact

_COMMENT_COLUMN = 48


def as_yaml(loaded: Loaded) -> str:
    """A file that says the same, with a comment on each line that tells where the value is from."""
    lines: list[str] = []
    _write(loaded, loaded.config, (), lines)
    return "\n".join(lines) + "\n"


def as_dict(loaded: Loaded) -> dict[str, dict[str, Any]]:
    """``value`` and ``origin`` of every key, by its dotted name."""
    return {
        ".".join(path): {"value": value, "origin": loaded.origin(path)}
        for path, value in _values(loaded.config, ())
    }


def format_duration(seconds: float) -> str:
    """As Go writes it in a configuration: ``500ms``, ``1m30s``."""
    if seconds < 1:
        return f"{seconds * 1000:g}ms" if seconds else "0s"
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    parts = [(hours, "h"), (minutes, "m"), (rest, "s")]
    return "".join(f"{count:g}{unit}" for count, unit in parts if count)


def _write(loaded: Loaded, section: BaseModel, path: Path, lines: list[str]) -> None:
    indent = "  " * len(path)
    for name, item in type(section).model_fields.items():
        below, value = (*path, item.alias or name), getattr(section, name)
        if isinstance(value, BaseModel):
            lines.append(f"{indent}{below[-1]}:")
            _write(loaded, value, below, lines)
        else:
            text = json.dumps(_plain(value, below), ensure_ascii=False)
            line = f"{indent}{below[-1]}: {text}"
            lines.append(f"{line:<{_COMMENT_COLUMN}} # {loaded.origin(below)}")


def _values(section: BaseModel, path: Path) -> Iterator[tuple[Path, Any]]:
    for name, item in type(section).model_fields.items():
        below, value = (*path, item.alias or name), getattr(section, name)
        if isinstance(value, BaseModel):
            yield from _values(value, below)
        else:
            yield below, _plain(value, below)


def _plain(value: Any, path: Path) -> Any:  # noqa: ANN401 - any value of a configuration
    """The value as JSON has it, which YAML reads too."""
    if path == ("keys",):
        return dict.fromkeys(value, MASK)
    if value and not isinstance(value, bool | int) and is_secret(path[-1]):
        return MASK
    if path in _DURATIONS:
        return format_duration(value)
    if path == ("rtc", "node_ip"):
        return ",".join(value)
    if isinstance(value, PortRange):
        return value.start if value.start == value.end else f"{value.start}-{value.end}"
    if isinstance(value, Message):
        return _plain(json_format.MessageToDict(value, preserving_proto_field_name=True), path)
    if isinstance(value, BaseModel):
        return {name: inner for (name,), inner in _values(value, ())}
    if isinstance(value, tuple | list):
        return [_plain(inner, (*path, str(index))) for index, inner in enumerate(value)]
    if isinstance(value, dict):
        return {key: _plain(inner, (*path, key)) for key, inner in value.items()}
    return redact(value) if isinstance(value, str) else value


_DURATIONS = frozenset(scalar.path for scalar in scalars() if scalar.kind is Kind.DURATION)


def default_of(path: Path) -> str:
    """A key's default as it would be written, empty for none."""
    value: Any = ServerConfig()
    for name in path:
        fields = type(value).model_fields if isinstance(value, BaseModel) else {}
        field = next((n for n, item in fields.items() if (item.alias or n) == name), None)
        if field is None:
            return ""
        value = getattr(value, field)
    plain = _plain(value, path)
    return "" if plain in (None, "") else plain if isinstance(plain, str) else json.dumps(plain)
