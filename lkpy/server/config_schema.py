"""Which keys a configuration has, of what kind, and how flags and the environment name them."""

from __future__ import annotations

import enum
import functools
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, BeforeValidator
from pydantic.fields import FieldInfo

from lkpy.server.config import ServerConfig
from lkpy.server.config_keys import livekit_keys
from lkpy.server.config_types import parse_duration, parse_node_ip, parse_ports
from lkpy.server.config_yaml import Path

FREE_FORM = ("keys", "room.room_configurations")
"""Mappings whose keys are the operator's."""


class Kind(enum.StrEnum):
    """What a value is."""

    BOOL = "bool"
    INT = "int"
    FLOAT = "float"
    DURATION = "duration"
    TEXT = "str"
    LIST = "list"
    MAP = "map"


@dataclass(frozen=True, slots=True)
class Scalar:
    """A key with one value, which therefore has a flag and a variable."""

    path: Path
    kind: Kind

    @property
    def flag(self) -> str:
        """``--rtc.tcp_port``."""
        return "--" + ".".join(self.path)

    @property
    def variable(self) -> str:
        """``LIVEKIT_RTC_TCP_PORT``."""
        return "LIVEKIT_" + "_".join(self.path).upper()


_PARTS = (
    Scalar(("rtc", "node_ip", "ipv4"), Kind.TEXT),
    Scalar(("rtc", "node_ip", "ipv6"), Kind.TEXT),
    Scalar(("rtc", "udp_port", "start"), Kind.INT),
    Scalar(("rtc", "udp_port", "end"), Kind.INT),
)
"""Flags of LiveKit for parts of what a file has as one text."""


@functools.cache
def scalars() -> tuple[Scalar, ...]:
    """Every key with one value, in the order of their names."""
    scalars = (*_of_livekit(), *_of_model(ServerConfig, ()), *_PARTS)
    found = {scalar.path: scalar for scalar in scalars}
    return tuple(found[path] for path in sorted(found))


def model_at(path: Path) -> type[BaseModel] | None:
    """The model of a section, None where there is none."""
    model: type[BaseModel] = ServerConfig
    for name in path:
        annotation = next(
            (f.annotation for n, f in model.model_fields.items() if (f.alias or n) == name), None
        )
        if not _is_model(annotation):
            return None
        model = typing.cast("type[BaseModel]", annotation)
    return model


def names_at(path: Path) -> set[str] | None:
    """Keys known under ``path``, None when what is below is not known here."""
    model = model_at(path)
    names = set(_tree().get(path, ()))
    if model is not None:
        names |= {item.alias or name for name, item in model.model_fields.items()}
    return names or (set() if _livekits(path) == "section" else None)


def pending_kind(path: Path) -> Kind | None:
    """The kind of a key whose feature is not here; of a whole section of them MAP."""
    parent = model_at(path[:-1])
    if parent is not None and any(
        (item.alias or name) == path[-1] for name, item in parent.model_fields.items()
    ):
        return None
    kind = _livekits(path)
    if kind is not None and kind != "section":
        return Kind(kind)
    return Kind.MAP if kind or path in _tree() else None


def _livekits(path: Path) -> str | None:
    key = livekit_keys().get(".".join(path))
    return None if key is None else key.kind


@functools.cache
def _tree() -> dict[Path, set[str]]:
    """Names under each section of LiveKit's file."""
    tree: dict[Path, set[str]] = {}
    for name in livekit_keys():
        if "[]" not in name:
            path = tuple(name.split("."))
            for depth, part in enumerate(path):
                tree.setdefault(path[:depth], set()).add(part)
    return tree


def _of_model(model: type[BaseModel], path: Path) -> Iterator[Scalar]:
    for name, item in model.model_fields.items():
        below = (*path, item.alias or name)
        if _is_model(item.annotation):
            yield from _of_model(typing.cast("type[BaseModel]", item.annotation), below)
        elif (kind := _kind(item)) not in (Kind.LIST, Kind.MAP):
            yield Scalar(below, kind)


def _of_livekit() -> Iterator[Scalar]:
    for name, key in livekit_keys().items():
        if "[]" not in name and key.kind not in ("list", "map", "section"):
            yield Scalar(tuple(name.split(".")), Kind(key.kind))


def _is_model(annotation: Any) -> bool:  # noqa: ANN401 - any annotation
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _kind(item: FieldInfo) -> Kind:
    readers = {part.func for part in item.metadata if isinstance(part, BeforeValidator)}
    if parse_duration in readers:
        return Kind.DURATION
    if readers & {parse_ports, parse_node_ip}:
        return Kind.TEXT
    annotation: Any = item.annotation
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        annotation = typing.get_args(annotation)[0]
    plain = {bool: Kind.BOOL, int: Kind.INT, float: Kind.FLOAT, tuple: Kind.LIST, dict: Kind.MAP}
    return plain.get(typing.get_origin(annotation) or annotation, Kind.TEXT)
