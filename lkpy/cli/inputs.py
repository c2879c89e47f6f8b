"""Reading what people give as JSON, as files and as ``key=value``; what is wrong is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lkpy.cli.output import EXIT_FAILURE, fail


def json_object(text: str, what: str, *, exit_code: int = EXIT_FAILURE) -> dict[str, Any]:
    """A JSON object; exits when it is none."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        fail(f"{what}: not JSON: {error}", exit_code=exit_code)
    if not isinstance(value, dict):
        fail(f"{what}: expected a JSON object", exit_code=exit_code)
    return value


def file_text(path: Path, *, exit_code: int = EXIT_FAILURE) -> str:
    """A file's text; exits when it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        fail(f"{path}: cannot read: {reason}", exit_code=exit_code)


def attributes(
    pairs: list[str], file: Path | None, *, exit_code: int = EXIT_FAILURE
) -> dict[str, str]:
    """Attributes of a JSON file and of ``key=value`` words, which win; exits when one is none."""
    values: dict[str, Any] = {}
    if file:
        values = json_object(file_text(file, exit_code=exit_code), str(file), exit_code=exit_code)
    if not all(isinstance(value, str) for value in values.values()):
        fail(f"{file}: attributes map strings to strings", exit_code=exit_code)
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator or not key:
            fail(f"--attribute {pair}: expected key=value", exit_code=exit_code)
        values[key] = value
    return values
