"""Writing a run's report files."""

from __future__ import annotations

import json
from collections.abc import Mapping
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


def write(document: Mapping[str, Any], report: Report, where: Path) -> dict[str, Path]:
    """Write all files; return their paths by kind."""
    paths = {
        "json": where / report.json_,
        "html": where / report.html,
        "junit": where / report.junit,
    }
    paths["json"].write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", "utf-8")
    paths["html"].write_text(html.render(document), "utf-8")
    paths["junit"].write_text(junit.render(document), "utf-8")
    return paths
