"""Writing a run's report files."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lkpy.errors import ConfigError
from lkpy.sim.report import html, junit
from lkpy.sim.scenario import Report


def directory(report: Report, name: str, override: Path | None = None) -> Path:
    """Return where the files of run ``name`` go."""
    return override or Path(report.directory.replace("{name}", name))


def prepare(where: Path) -> None:
    """Make the directory before the run, not after it. Raises :class:`ConfigError`."""
    try:
        where.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConfigError(
            f"cannot write reports to {where}: {reason}", hint="choose another with --report DIR"
        ) from None


def write(
    document: Mapping[str, Any], report: Report, where: Path
) -> tuple[dict[str, Path], list[str]]:
    """Write all files; return the paths of those written by kind, and why the others were not."""
    files: dict[str, tuple[str, Callable[[Mapping[str, Any]], str]]] = {
        "json": (report.json_, _json),
        "html": (report.html, html.render),
        "junit": (report.junit, junit.render),
    }
    written: dict[str, Path] = {}
    failures: list[str] = []
    for kind, (name, render) in files.items():
        path = where / name
        try:
            # Whoever cleaned up during a long run took the directory too.
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(render(document), "utf-8")
            written[kind] = path
        except OSError as error:
            failures.append(f"cannot write {path}: {(error.strerror or str(error)).lower()}")
    return written, failures


def _json(document: Mapping[str, Any]) -> str:
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"
