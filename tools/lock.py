"""Pin every package that a checkout needs: ``python tools/lock.py`` (see ``make lock``).

Reads the dependencies, the dev group and the build requirement of ``pyproject.toml`` and lets
pip-compile choose the newest versions that go together.
"""

import pathlib
import subprocess
import sys
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent


def group(groups: dict[str, list[str | dict[str, str]]], name: str) -> list[str]:
    """Return a dependency group with its includes (PEP 735)."""
    found: list[str] = []
    for entry in groups[name]:
        if isinstance(entry, dict):
            found += group(groups, entry["include-group"])
        else:
            found.append(entry)
    return found


def main() -> int:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [
        *project["build-system"]["requires"],
        *project["project"]["dependencies"],
        *group(project["dependency-groups"], "dev"),
    ]
    source = ROOT / "build" / "requirements.in"
    source.parent.mkdir(exist_ok=True)
    source.write_text("\n".join(sorted(wanted)) + "\n")
    return subprocess.call(
        [
            sys.executable,
            "-m",
            "piptools",
            "compile",
            "--quiet",
            "--strip-extras",
            "--upgrade",
            "--no-emit-index-url",
            "--no-emit-find-links",
            "--no-emit-trusted-host",
            "--no-header",
            "--no-annotate",
            "--output-file",
            str(ROOT / "requirements.lock"),
            str(source),
        ],
    )


if __name__ == "__main__":
    sys.exit(main())
