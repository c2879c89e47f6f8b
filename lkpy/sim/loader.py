"""From a scenario file to a :class:`~lkpy.sim.scenario.Scenario`, or an error that points at it."""

from __future__ import annotations

import difflib
import os
import sys
import types
import typing
from collections.abc import Mapping
from pathlib import Path as FilePath

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from lkpy.errors import ConfigError
from lkpy.sim import document
from lkpy.sim.document import Document, Path, Position
from lkpy.sim.scenario import Scenario
from lkpy.sim.slo import SloError
from lkpy.sim.slo import parse as parse_slo

MAX_FILE_BYTES = 1 << 20


def load(path: FilePath, environment: Mapping[str, str] | None = None) -> Scenario:
    """Read and check a scenario file; ``-`` is standard input. Raises :class:`ConfigError`."""
    name = str(path)
    try:
        if name == "-":
            name = "standard input"
            raw = sys.stdin.buffer.read(MAX_FILE_BYTES + 1)
        else:
            with path.open("rb") as file:
                raw = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        hint = "scenarios are YAML files, such as scenarios/smoke.yaml"
        reason = (error.strerror or str(error)).lower()
        raise ConfigError(f"{name}: cannot read: {reason}", hint=hint) from None
    if len(raw) > MAX_FILE_BYTES:
        raise ConfigError(f"{name}: larger than 1 MiB: not a scenario")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise ConfigError(f"{name}:{line}:1: not UTF-8 text") from None
    return parse(text, name, os.environ if environment is None else environment)


def parse(text: str, name: str, environment: Mapping[str, str]) -> Scenario:
    """Check a scenario's text. Raises :class:`ConfigError` that begins ``file:line:column:``."""
    source = document.parse(text, name, environment)
    if not isinstance(source.data, dict):
        raise source.error(
            source.position(()),
            "a scenario is a mapping with `version`, `name`, `duration` and `groups`",
        )
    if _is_agent_scenarios(source.data):
        raise source.error(
            source.position(("scenarios",), key=True),
            "this is a LiveKit agent scenario file (conversations for `lk agent simulate`)",
            hint="lkpy sim wants load scenarios with `groups`; see scenarios/smoke.yaml",
        )
    try:
        scenario = Scenario.model_validate(source.data)
    except ValidationError as error:
        raise _explain(source, error) from None
    _check_slos(source, scenario)
    return scenario


def _is_agent_scenarios(data: Mapping[str, object]) -> bool:
    scenarios = data.get("scenarios")
    if "groups" in data or not isinstance(scenarios, list):
        return False
    words = {"label", "instructions", "agent_expectations"}
    return any(isinstance(item, dict) and words & item.keys() for item in scenarios)


def _check_slos(source: Document, scenario: Scenario) -> None:
    names = [group.name for group in scenario.groups]
    for index, text in enumerate(scenario.slo):
        try:
            parse_slo(text, names)
        except SloError as error:
            place = source.position(("slo", index))
            line = source.text.splitlines()[place.line - 1]
            # Inside a block or quoted scalar the text begins a little after the node does.
            start = line.find(text, place.column - 1)
            column = (start if start >= 0 else place.column - 1) + error.offset + 1
            raise source.error(Position(place.line, column), f"SLO: {error}") from None


def _explain(source: Document, error: ValidationError) -> ConfigError:
    """Turn pydantic's errors into one: an unknown key, which may be why another is missing, or else
    the first in the file; the others are counted."""
    errors = error.errors(include_url=False)
    # An item that is wrong also makes its list too short: that says nothing.
    errors = [
        details
        for details in errors
        if details["type"] != "too_short"
        or not any(_is_inside(other["loc"], details["loc"]) for other in errors)
    ]
    unknown = [details for details in errors if details["type"] == "extra_forbidden"]
    faults = [_fault(source, details) for details in unknown or errors]
    position, message, hint = min(faults, key=lambda fault: (fault[0].line, fault[0].column))
    if len(errors) > 1:
        message += f" (and {len(errors) - 1} more)"
    return source.error(position, message, hint=hint)


def _is_inside(inner: tuple[int | str, ...], outer: tuple[int | str, ...]) -> bool:
    return len(inner) > len(outer) and inner[: len(outer)] == outer


def _fault(source: Document, details: ErrorDetails) -> tuple[Position, str, str | None]:
    path = _existing(source, details["loc"])
    kind = details["type"]
    where = _spell(path)
    if kind == "extra_forbidden":
        key = str(details["loc"][-1])
        known = _fields(details["loc"][:-1])
        near = difflib.get_close_matches(key, known, n=1)
        message = f"unknown key `{key}`" + (f"; did you mean `{near[0]}`?" if near else "")
        hint = None if near else f"known keys here: {', '.join(known)}"
        return source.position(path, key=True), message, hint
    if kind == "missing":
        inside = f" in {where}" if where else ""
        return source.position(path), f"`{details['loc'][-1]}` is missing{inside}", None
    if kind in ("union_tag_not_found", "union_tag_invalid"):
        expected = "`kind: audio` or `kind: video`"
        return source.position(path), f"{where}: say {expected}", None
    message = details["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    return source.position(path), f"{where}: {message}" if where else message, None


def _existing(source: Document, location: tuple[int | str, ...]) -> Path:
    """Map pydantic's location to the file: union tags and missing keys are not in it."""
    path: Path = ()
    for part in location:
        if (*path, part) in source.values:
            path = (*path, part)
    return path


def _spell(path: Path) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _fields(location: tuple[int | str, ...]) -> list[str]:
    """Return the keys allowed at ``location``, by walking the models' annotations."""
    models: list[type[BaseModel]] = [Scenario]
    for part in location:
        if isinstance(part, int):
            continue
        following = [
            model
            for current in models
            for name, info in current.model_fields.items()
            if part in (name, info.alias)
            for model in _models(info.annotation)
        ]
        tagged = [m for m in models if _tag(m) == part]
        models = following or tagged or models
    return sorted(
        {info.alias or name for model in models for name, info in model.model_fields.items()}
    )


def _models(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    arguments: tuple[object, ...] = typing.get_args(annotation)
    if isinstance(annotation, types.UnionType) or arguments:
        return [model for argument in arguments for model in _models(argument)]
    return []


def _tag(model: type[BaseModel]) -> str | None:
    kind = model.model_fields.get("kind")
    values = typing.get_args(kind.annotation) if kind is not None else ()
    return values[0] if values else None
