"""The kinds of values in a configuration, and how they are written."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

_DURATION = re.compile(r"([0-9]*\.?[0-9]+)(ns|us|µs|ms|s|m|h)")
_UNITS_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def parse_duration(value: object) -> object:
    """Go's durations (``1m30s``, ``500ms``) as seconds; bare integers are nanoseconds."""
    if isinstance(value, bool):
        raise ValueError("expected a duration such as 500ms")  # noqa: TRY004 - pydantic's way
    if isinstance(value, int):
        return value * 1e-9
    if isinstance(value, str):
        parts = _DURATION.findall(value)
        if not parts or "".join(number + unit for number, unit in parts) != value:
            raise ValueError("expected a duration such as 500ms, 2s or 1m30s")
        return sum(float(number) * _UNITS_S[unit] for number, unit in parts)
    return value


@dataclass(frozen=True, slots=True)
class PortRange:
    """Ports ``start`` to ``end``, both included."""

    start: int
    end: int


def parse_ports(value: object) -> object:
    """``7882`` or ``7882-7892``, or LiveKit's mapping of ``start`` and ``end``."""
    if isinstance(value, PortRange) or value is None:
        return value
    if isinstance(value, dict):
        start = value.get("start") or 0
        value = f"{start}-{value.get('end') or start}"
    match = re.fullmatch(r"(\d+)(?:-(\d+))?", str(value))
    if match is None or isinstance(value, bool):
        raise ValueError("expected a port or a range such as 7882-7892")
    start, end = int(match[1]), int(match[2] or match[1])
    if not start <= end <= 65535:
        raise ValueError("ports are 0 to 65535, the lower one first")
    return PortRange(start, end)


def parse_node_ip(value: object) -> object:
    """``v4[,v6]``, or LiveKit's mapping of families to addresses."""
    if isinstance(value, dict):
        value = ",".join(str(part) for part in value.values() if part)
    if not isinstance(value, str):
        return value
    addresses = [part.strip() for part in value.split(",") if part.strip()]
    for address in addresses:
        ipaddress.ip_address(address)
    return tuple(addresses)


def parse_address(value: str) -> str:
    """An IPv4 or IPv6 address."""
    ipaddress.ip_address(value)
    return value


def parse_network(value: str) -> str:
    """A CIDR block such as 10.0.0.0/8; bits after the prefix do not count."""
    ipaddress.ip_network(value, strict=False)
    if "/" not in value:
        raise ValueError("expected a CIDR block such as 10.0.0.0/8")
    return value


def is_loopback(address: str) -> bool:
    """Whether an address cannot be reached from other machines."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


Duration = Annotated[float, BeforeValidator(parse_duration)]
Port = Annotated[int, Field(ge=0, le=65535)]
Count = Annotated[int, Field(ge=0)]
Limit = Annotated[int, AfterValidator(lambda value: max(0, value))]
"""0 and, as LiveKit's sample writes it, -1 mean none."""


class Section(BaseModel):
    """A part of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)
