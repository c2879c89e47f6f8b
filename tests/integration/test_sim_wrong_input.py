"""Ten whole `lkpy sim run` with something wrong: what is said, where, and with which exit code."""

from __future__ import annotations

import asyncio
import pathlib
import sys

import pytest

from tests.interop.conftest import RunningServer, run_server
from tests.patience import PATIENCE_S

GOOD = """\
version: 1
name: wrong
duration: 2s
groups:
  - name: all
    count: 1
    publish:
      - { kind: audio }
slo:
  - joined == 1
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> RunningServer:
    with run_server(tmp_path_factory.mktemp("server")) as running:
        yield running


async def run(directory: pathlib.Path, text: str | None, *options: str) -> tuple[int, str]:
    """Run one scenario; returns the exit code and what was said."""
    path = directory / "wrong.yaml"
    if text is not None:
        path.write_text(text)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "lkpy", "sim", "run", str(path)),
        *("--report", str(directory / "report"), *options),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await asyncio.wait_for(process.communicate(), PATIENCE_S)
    said = errors.decode() + output.decode()
    assert "Traceback" not in said
    return process.returncode or 0, said


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (GOOD.replace("count: 1", "cuont: 1"), ["wrong.yaml:6:5", "cuont", "count"]),
        (GOOD.replace("duration: 2s\n", ""), ["wrong.yaml:1:1", "`duration` is missing"]),
        (GOOD.replace("count: 1", "count: -3"), ["wrong.yaml:6:", "count"]),
        (GOOD.replace("kind: audio", "kind: smell"), ["wrong.yaml:8:", "smell"]),
        (GOOD.replace("joined == 1", "joined =< 1"), ["wrong.yaml:10:", "joined =< 1"]),
        (GOOD.replace("name: all", "name: [all"), ["wrong.yaml:"]),
        ("scenarios:\n  - label: x\n    instructions: y\n", ["agent scenario"]),
        (None, ["wrong.yaml"]),
    ],
    ids=["key", "missing", "range", "kind", "slo", "yaml", "agents", "file"],
)
async def test_wrong_scenarios(tmp_path: pathlib.Path, text: str | None, words: list[str]) -> None:
    code, said = await run(tmp_path, text)
    assert code == 2, said
    for word in words:
        assert word in said


async def test_nobody_answers(tmp_path: pathlib.Path) -> None:
    options = ["--url", "ws://127.0.0.1:9", "--api-key", "devkey", "--api-secret", "secret"]
    code, said = await run(tmp_path, GOOD, *options)
    assert code == 3, said
    assert "ws://127.0.0.1:9" in said


async def test_the_secret_is_wrong(tmp_path: pathlib.Path, server: RunningServer) -> None:
    options = ["--url", server.url, "--api-key", server.api_key, "--api-secret", "wrong"]
    code, said = await run(tmp_path, GOOD, *options)
    assert code == 3, said
    assert "401" in said or "invalid" in said or "unauthor" in said
