"""``lkpy sim`` with right and wrong input; nothing here starts a server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.ports import free_port
from tests.unit.test_cli import Done, lkpy
from tests.unit.test_sim_report import built
from tests.unit.test_sim_scenario import GOOD

SCENARIOS = Path(__file__).parents[2] / "scenarios"


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    path = tmp_path / "talk.yaml"
    path.write_text(GOOD)
    return path


def is_error(done: Done, exit_code: int, *words: str) -> None:
    assert done.returncode == exit_code, done.stderr
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr


@pytest.mark.parametrize("path", sorted(SCENARIOS.glob("*.yaml")), ids=lambda path: path.stem)
def test_our_scenarios_are_valid_and_planned(path: Path) -> None:
    done = lkpy("sim", "validate", str(path))
    assert (done.returncode, done.stderr) == (0, "")
    assert "valid" in done.stdout
    assert path.stem in lkpy("sim", "plan", str(path)).stdout


def test_a_plan_as_a_table_and_as_json(scenario: Path) -> None:
    table = lkpy("sim", "plan", str(scenario), "--actions")
    assert "audience-2" in table.stdout
    assert "packets/s" in table.stdout
    document = json.loads(lkpy("sim", "plan", str(scenario), "--json", "--seed", "9").stdout)
    assert document["seed"] == 9
    assert len(document["clients"]) == 4
    assert len(document["actions"]) == 4


def test_the_schema_is_json() -> None:
    assert json.loads(lkpy("sim", "schema").stdout)["title"] == "Scenario"


def test_an_invalid_scenario_is_shown_with_its_line(scenario: Path) -> None:
    scenario.write_text(GOOD.replace("subscribe: false", "subscrib: false"))
    for command in ("validate", "plan", "run"):
        is_error(lkpy("sim", command, str(scenario)), 2, "talk.yaml:9:5", "did you mean", "^")


def test_errors_are_json_when_asked(scenario: Path) -> None:
    scenario.write_text("version: 1")
    done = lkpy("sim", "validate", str(scenario), "--json")
    assert done.returncode == 2
    assert "missing" in json.loads(done.stderr)["message"]
    assert done.stdout == ""


def test_a_missing_file(tmp_path: Path) -> None:
    is_error(lkpy("sim", "run", str(tmp_path / "no.yaml")), 2, "no such file", "hint")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--mode", "triple"], "auto, single or dual"),
        (["--duration", "soon"], "not a duration"),
        (["--duration", "0"], "zero"),
        (["--url", "host:7880"], "'host:7880' is no server's address"),
        (["--url", "ws://"], "'ws://' is no server's address"),
        (["--url", "ws://127.0.0.1:1"], "LIVEKIT_API_KEY"),
    ],
)
def test_wrong_options(scenario: Path, arguments: list[str], words: str) -> None:
    is_error(lkpy("sim", "run", str(scenario), *arguments), 2, words)


def test_an_unreachable_server(scenario: Path, tmp_path: Path) -> None:
    done = lkpy(
        "sim",
        "run",
        str(scenario),
        "-q",
        "--url",
        f"ws://127.0.0.1:{free_port()}",
        "--report",
        str(tmp_path / "out"),
        LIVEKIT_API_KEY="key",
        LIVEKIT_API_SECRET="a secret that is longer than 32 characters",
        LKPY_CACHE_DIR=str(tmp_path / "cache"),
    )
    is_error(done, 3, "cannot reach", "hint")


def test_a_run_can_be_shown_again(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text(json.dumps(built()))
    assert "✗ join.p95 < 100ms" in lkpy("sim", "report", str(path)).stdout
    page, xml = tmp_path / "again.html", tmp_path / "again.xml"
    done = lkpy("sim", "report", str(path), "--html", str(page), "--junit", str(xml))
    assert (done.returncode, done.stdout) == (0, "")
    assert page.read_text().startswith("<!doctype html>")
    assert "<testsuite " in xml.read_text()


def test_a_terminal_without_utf_8_gets_the_verdict_too(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text(json.dumps(built()))
    done = subprocess.run(
        [sys.executable, "-m", "lkpy", "sim", "report", str(path)],
        env={**os.environ, "PYTHONIOENCODING": "ascii", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "? join.p95 < 100ms" in done.stdout
    assert "SLO breached" in done.stdout


def test_what_is_no_run_cannot_be_shown(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    is_error(lkpy("sim", "report", str(path)), 2, "cannot read")
    path.write_text("{}")
    is_error(lkpy("sim", "report", str(path)), 2, "not a result")
