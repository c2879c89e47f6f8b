"""Servers that run on this machine, so that ``lkpy top`` finds them without an address.

A server leaves one small file named after its process in the user's runtime directory; whoever
looks skips and removes those whose process has gone. No secrets are in it.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class LocalServer:
    """One running server; ``started_at`` is Unix seconds."""

    url: str
    pid: int
    started_at: float


def directory() -> pathlib.Path:
    """``$XDG_RUNTIME_DIR/lkpy`` or a directory of this user under the system's temporary one."""
    base = os.environ.get("XDG_RUNTIME_DIR")
    return (
        pathlib.Path(base, "lkpy")
        if base
        else pathlib.Path(tempfile.gettempdir(), f"lkpy-{os.getuid()}")
    )


@contextlib.contextmanager
def announced(url: str, started_at: float) -> Iterator[None]:
    """Announce this process's server while the block runs; an unwritable file is no error."""
    server = LocalServer(url, os.getpid(), started_at)
    path = directory() / f"{server.pid}.json"
    with contextlib.suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(server)))
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()


def running() -> list[LocalServer]:
    """Servers of this user that are alive, the newest first."""
    found = []
    for path in directory().glob("*.json"):
        try:
            if path.stat().st_uid != os.getuid():
                continue
            server = LocalServer(**json.loads(path.read_text()))
            os.kill(server.pid, 0)
        except ProcessLookupError:
            with contextlib.suppress(OSError):
                path.unlink()
        except (OSError, ValueError, TypeError):
            continue
        else:
            found.append(server)
    return sorted(found, key=lambda server: -server.started_at)
