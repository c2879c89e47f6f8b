"""What every command shares: results on standard output, everything else on standard error."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from rich.console import Console

    from lkpy.errors import LkpyError

EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_SERVER = 3
"""The server is not there, is another one than it should be, or does not let us in."""


def result(text: str) -> None:
    """Print a result."""
    print(text, flush=True)


def result_json(value: Any) -> None:  # noqa: ANN401 - any JSON value
    """Print one JSON document."""
    from lkpy.text import json_text

    print(json_text(value, indent=2), flush=True)


def status(text: str) -> None:
    """Say what is going on."""
    print(text, file=sys.stderr, flush=True)


def warn(text: str) -> None:
    """Say what the user should know but need not fix."""
    from lkpy.text import printable

    print(f"{_paint('warning', '33')}: {printable(text)}", file=sys.stderr, flush=True)


def fail(
    error: LkpyError | str,
    *,
    hint: str | None = None,
    exit_code: int = EXIT_FAILURE,
    as_json: bool = False,
) -> NoReturn:
    """Say what went wrong and how to fix it, and exit."""
    from lkpy.text import json_text, printable

    message = error if isinstance(error, str) else error.message
    if not isinstance(error, str):
        hint = hint or error.hint
    if as_json:
        code = "invalid_argument" if isinstance(error, str) else str(error.code)
        document = {"code": code, "message": message, "hint": hint}
        print(json_text(document), file=sys.stderr, flush=True)
    else:
        # What a server answered may be in it, and what a participant told the server.
        print(f"{_paint('error', '31;1')}: {printable(message)}", file=sys.stderr)
        if hint:
            print(f"{_paint('hint', '36')}: {printable(hint)}", file=sys.stderr)
        sys.stderr.flush()
    raise SystemExit(exit_code)


def use_colour(stream: Any) -> bool:  # noqa: ANN401 - any text stream
    """``NO_COLOR`` and ``FORCE_COLOR`` (https://no-color.org), then whether it is a terminal."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR") or os.environ.get("CLICOLOR_FORCE"):
        return True
    return bool(stream.isatty()) and os.environ.get("TERM") != "dumb"


WIDE = 1000
"""Columns where there is no terminal: nothing is cut."""


def console(*, stderr: bool = False) -> Console:
    """A Rich console on one of the two streams."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    return Console(
        file=stream,
        no_color=not use_colour(stream),
        highlight=False,
        soft_wrap=True,
        width=None if stream.isatty() else WIDE,
    )


def _paint(word: str, style: str) -> str:
    return f"\x1b[{style}m{word}\x1b[0m" if use_colour(sys.stderr) else word
