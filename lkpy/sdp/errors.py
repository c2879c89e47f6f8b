"""The error of this package."""

from __future__ import annotations

from lkpy.errors import Code, LkpyError


class SdpError(LkpyError):
    """A description or candidate is malformed or cannot be used; the message says where."""

    def __init__(self, message: str, *, line: int | None = None) -> None:
        super().__init__(
            Code.INVALID_ARGUMENT, message if line is None else f"line {line}: {message}"
        )
        self.line = line
        """Line of the description, counted from 1."""


class SdpTooLarge(SdpError):
    """A description has more of something than anybody needs."""
