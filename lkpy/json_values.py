"""Text that somebody else wrote as JSON."""

from __future__ import annotations

from typing import TypeVar

T = TypeVar("T")


def well_formed(value: T) -> T:
    """The same JSON value without lone surrogates: JSON can escape half a character
    (``"\\ud800"``), which no encoding can carry. Each becomes U+FFFD, as in Go's decoder."""
    if isinstance(value, str):
        if value.isascii():
            return value
        pairs = value.encode("utf-16-le", "surrogatepass")
        return pairs.decode("utf-16-le", "replace")  # type: ignore[return-value]
    if isinstance(value, dict):
        return {well_formed(key): well_formed(inner) for key, inner in value.items()}  # type: ignore[return-value]
    if isinstance(value, list):
        return [well_formed(inner) for inner in value]  # type: ignore[return-value]
    return value
