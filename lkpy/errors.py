"""The error tree: every error carries a code and says who can fix it.

Codes are psrpc's strings, because the same error leaves through HTTP (Twirp), WebSocket
(``RequestResponse``, ``LeaveRequest``) and the bus; :data:`HTTP_STATUS` maps them once.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping


class Code(enum.StrEnum):
    """psrpc's error codes (``psrpc/errors.go``); Twirp uses the same names."""

    CANCELED = "canceled"
    UNKNOWN = "unknown"
    INVALID_ARGUMENT = "invalid_argument"
    MALFORMED = "malformed"
    DEADLINE_EXCEEDED = "deadline_exceeded"
    NOT_FOUND = "not_found"
    ALREADY_EXISTS = "already_exists"
    PERMISSION_DENIED = "permission_denied"
    RESOURCE_EXHAUSTED = "resource_exhausted"
    FAILED_PRECONDITION = "failed_precondition"
    ABORTED = "aborted"
    OUT_OF_RANGE = "out_of_range"
    UNIMPLEMENTED = "unimplemented"
    INTERNAL = "internal"
    UNAVAILABLE = "unavailable"
    DATA_LOSS = "dataloss"
    UNAUTHENTICATED = "unauthenticated"


HTTP_STATUS: dict[Code, int] = {
    Code.CANCELED: 408,
    Code.UNKNOWN: 500,
    Code.INVALID_ARGUMENT: 400,
    Code.MALFORMED: 400,
    Code.DEADLINE_EXCEEDED: 408,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.PERMISSION_DENIED: 403,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 412,
    Code.ABORTED: 409,
    Code.OUT_OF_RANGE: 400,
    Code.UNIMPLEMENTED: 501,
    Code.INTERNAL: 500,
    Code.UNAVAILABLE: 503,
    Code.DATA_LOSS: 500,
    Code.UNAUTHENTICATED: 401,
}
"""Status of a Twirp error by code (https://twitchtv.github.io/twirp/docs/errors.html)."""


class Blame(enum.StrEnum):
    """Who can fix an error."""

    CLIENT = "client"
    OPERATOR = "operator"
    PEER = "peer"
    US = "us"


class LkpyError(Exception):
    """An error with a code. ``hint`` is one sentence on what to do, for the CLI's ``hint:``."""

    def __init__(
        self,
        code: Code,
        message: str,
        *,
        blame: Blame = Blame.CLIENT,
        hint: str | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.blame = blame
        self.hint = hint

    @property
    def http_status(self) -> int:
        """HTTP status for this error's code."""
        return HTTP_STATUS[self.code]


class TwirpError(LkpyError):
    """An error that an API method makes itself, with Twirp's metadata. Its message reaches clients
    as it is, unlike that of errors which come from rooms and stores."""

    def __init__(self, code: Code, message: str, meta: Mapping[str, str] | None = None) -> None:
        super().__init__(code, message)
        self.meta = meta


class ConfigError(LkpyError):
    """A configuration or scenario file is wrong; the message begins ``file:line:column:``."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(Code.INVALID_ARGUMENT, message, blame=Blame.OPERATOR, hint=hint)
