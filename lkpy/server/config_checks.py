"""Checks keys before values: unknown ones, and those whose features are not here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from lkpy.errors import ConfigError
from lkpy.server.config_keys import CHOICES, REFUSED, livekit_keys
from lkpy.server.config_schema import FREE_FORM, Kind, model_at, names_at, pending_kind
from lkpy.server.config_types import parse_duration
from lkpy.server.config_yaml import Path, suggestion

_TYPES: dict[Kind, tuple[type, ...]] = {
    Kind.BOOL: (bool,),
    Kind.INT: (int,),
    Kind.FLOAT: (int, float),
    Kind.TEXT: (str, int, float),
    Kind.LIST: (list,),
    Kind.MAP: (dict,),
}


@dataclass(slots=True)
class Checked:
    """What is left of a configuration, and what was found about the rest."""

    values: dict[str, Any] = field(default_factory=dict)
    """Only keys that :class:`lkpy.server.config.ServerConfig` has."""
    errors: list[ConfigError] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def check_keys(values: dict[str, Any], place: Callable[[Path], str], *, strict: bool) -> Checked:
    """Sort the keys; ``place`` says where one was written. Unknown keys are errors, or warnings
    when not ``strict``."""
    checks = _Checks(place, strict)
    checks.found.values = checks.section(values, ())
    return checks.found


class _Checks:
    def __init__(self, place: Callable[[Path], str], strict: bool) -> None:
        self.found = Checked()
        self._place = place
        self._strict = strict

    def section(self, values: dict[str, Any], path: Path) -> dict[str, Any]:
        """The keys of a section that are to be read."""
        kept: dict[str, Any] = {}
        names = names_at(path)
        for key, value in values.items():
            below = (*path, str(key))
            if names is not None and str(key) not in names:
                self._unknown(below, names)
            elif (kind := pending_kind(below)) is not None:
                self._pending(value, below, kind)
            elif (
                isinstance(value, dict)
                and ".".join(below) not in FREE_FORM
                and model_at(below) is not None
            ):
                kept[str(key)] = self.section(value, below)
            else:
                kept[str(key)] = value
        return kept

    def _unknown(self, path: Path, names: set[str]) -> None:
        text = f"{self._place(path)}: unknown key '{'.'.join(path)}'{suggestion(path[-1], names)}"
        if self._strict:
            self.found.errors.append(ConfigError(text))
        else:
            self.found.warnings.append(text)

    def _pending(self, value: object, path: Path, kind: Kind | None) -> None:
        """``kind`` None: below a mapping whose keys are not known here."""
        dotted = ".".join(path)
        if kind is not None and value is not None and not _fits(value, kind):
            text = f"{self._place(path)}: '{dotted}': expected {_ARTICLES[kind]}"
            self.found.errors.append(ConfigError(text))
        elif dotted in CHOICES and value and value not in CHOICES[dotted]:
            text = f"{self._place(path)}: '{dotted}': expected one of {', '.join(CHOICES[dotted])}"
            self.found.errors.append(ConfigError(text))
        elif not value or _is_default(value, path):
            pass
        elif dotted in REFUSED:
            text = f"{self._place(path)}: '{dotted}' is set, but not supported"
            self.found.errors.append(ConfigError(text, hint=REFUSED[dotted]))
        elif isinstance(value, dict):
            names = names_at(path)
            for key, inner in value.items():
                below = (*path, str(key))
                if names is not None and str(key) not in names:
                    self._unknown(below, names)
                else:
                    self._pending(inner, below, pending_kind(below))
        else:
            self.found.warnings.append(f"{self._place(path)}: '{dotted}' has no effect")


_ARTICLES = {
    Kind.BOOL: "true or false",
    Kind.INT: "a whole number",
    Kind.FLOAT: "a number",
    Kind.DURATION: "a duration such as 500ms, 2s or 1m30s",
    Kind.TEXT: "text",
    Kind.LIST: "a list",
    Kind.MAP: "a mapping of keys to values",
}


def _is_default(value: object, path: Path) -> bool:
    """Whether livekit-server does the same when nothing is said."""
    key = livekit_keys().get(".".join(path))
    if key is None:
        return False
    if key.kind == Kind.DURATION and key.default is not None:
        return parse_duration(value) == parse_duration(key.default)
    return value == key.default


def _fits(value: object, kind: Kind) -> bool:
    if kind is Kind.DURATION:
        try:
            return isinstance(parse_duration(value), int | float)
        except ValueError:
            return False
    return isinstance(value, _TYPES[kind]) and (kind is Kind.BOOL or not isinstance(value, bool))


def from_text(text: str, kind: Kind) -> object:
    """A value of a flag or variable, as YAML would have it where that is another type."""
    truths = {"true": True, "1": True, "false": False, "0": False}
    if kind is Kind.BOOL:
        return truths.get(text.lower(), text)
    try:
        return {Kind.INT: int, Kind.FLOAT: float}[kind](text)
    except (KeyError, ValueError):
        return text
