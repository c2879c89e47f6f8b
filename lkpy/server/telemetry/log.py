"""Structured logs with LiveKit's keys, as ``key=value`` text or as JSON lines.

A message is a constant sentence; what it is about goes into fields. Tokens, network addresses and
metadata belong in neither; what looks like a secret all the same (mostly in an exception's text) is
taken out of the finished line. What all lines of a task are about it says once, with
:class:`about`.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping
from contextvars import ContextVar, Token
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, TextIO

from lkpy.server.telemetry.redact import redact

_FIELDS = "lkpy_fields"
_ABOUT: ContextVar[Mapping[str, Any]] = ContextVar("lkpy_about", default=MappingProxyType({}))


def fields(
    *,
    room: str | None = None,
    participant: str | None = None,
    pID: str | None = None,
    track: str | None = None,
    connID: str | None = None,
    node: str | None = None,
    **others: Any,  # noqa: ANN401 - any printable value
) -> dict[str, Any]:
    """The ``extra`` of a log call: LiveKit's keys first, values of None left out."""
    named = {
        "room": room,
        "participant": participant,
        "pID": pID,
        "track": track,
        "connID": connID,
        "node": node,
    }
    return {_FIELDS: {k: v for k, v in (named | others).items() if v is not None}}


class about:
    """``with about(participant=identity):`` gives these fields to every line that is logged inside,
    also by parts that do not know them; :meth:`begin` to every line of the running task."""

    __slots__ = ("_named", "_token")

    def __init__(self, **named: str) -> None:
        self._named = named
        self._token: Token[Mapping[str, Any]] | None = None

    def begin(self) -> None:
        """From now on."""
        _ABOUT.set({**_ABOUT.get(), **self._named})

    def __enter__(self) -> None:
        self._token = _ABOUT.set({**_ABOUT.get(), **self._named})

    def __exit__(self, *_: object) -> None:
        if self._token is not None:
            _ABOUT.reset(self._token)


def _record_fields(record: logging.LogRecord) -> dict[str, Any]:
    values: dict[str, Any] = {**_ABOUT.get(), **getattr(record, _FIELDS, {})}
    if record.exc_info and record.exc_info[0] is not None:
        values["exception"] = logging.Formatter().formatException(record.exc_info)
    return values


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


def _quote(value: object) -> str:
    text = str(value)
    plain = text.isprintable() and not any(c in ' "=' for c in text) and text != ""
    return text if plain else json.dumps(text, ensure_ascii=False)


class TextFormatter(logging.Formatter):
    """``time LEVEL message key=value …``"""

    def format(self, record: logging.LogRecord) -> str:
        """One line, except that a traceback keeps its own lines."""
        values = _record_fields(record)
        exception = values.pop("exception", None)
        pairs = "".join(f" {key}={_quote(value)}" for key, value in values.items())
        line = f"{_time(record)} {record.levelname:<7} {record.getMessage()}{pairs}"
        return redact(line if exception is None else f"{line}\n{exception}")


class JsonFormatter(logging.Formatter):
    """One JSON object a line, with zap's names for time, level and message."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        head = {
            "level": record.levelname.lower(),
            "ts": _time(record),
            "logger": record.name,
            "msg": record.getMessage(),
        }
        return redact(json.dumps(head | _record_fields(record), ensure_ascii=False, default=str))


class _BadRequests(logging.Filter):
    """aiohttp logs requests that it cannot parse as errors, with their sender's address and a piece
    of them, which may be the middle of a token. What remains is that there was one."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if any(kind.__name__ == "HttpProcessingError" for kind in type(error).__mro__):
            record.levelno, record.levelname = logging.INFO, "INFO"
            record.msg, record.args, record.exc_info = "refused what is no HTTP request", (), None
            record.__dict__.update(fields(error=type(error).__name__))
            return logging.getLogger("lkpy").isEnabledFor(logging.INFO)
        if record.args:
            record.msg, record.args = record.msg.partition(" from %s")[0], ()
        return True


def configure(*, level: str = "info", as_json: bool = False, stream: TextIO | None = None) -> None:
    """Send lkpy's logs to standard error. Other libraries' are shown from warnings up."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if as_json else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("lkpy").setLevel(level.upper())
    # aiohttp's access log would repeat tokens in query strings.
    logging.getLogger("aiohttp.access").setLevel(logging.CRITICAL)
    server = logging.getLogger("aiohttp.server")
    server.filters[:] = [_BadRequests()]
