"""The official Go SDK: a program of scenarios (``go/``) that plays every participant itself."""

from __future__ import annotations

import pathlib
import shutil
import subprocess

import pytest

from .conftest import RunningServer

pytestmark = [pytest.mark.go, pytest.mark.timeout(600)]

DIRECTORY = pathlib.Path(__file__).parent / "go"


@pytest.fixture(scope="session")
def go_program(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The program, built once: the first build of a machine takes minutes."""
    go = shutil.which("go")
    if not go:
        pytest.skip("Go is not installed")
    program = tmp_path_factory.mktemp("go") / "interop"
    built = subprocess.run(
        [go, "build", "-buildvcs=false", "-o", str(program), "."],
        cwd=DIRECTORY, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    return program


def test_go_sdk(go_program: pathlib.Path, server: RunningServer, room_name: str) -> None:
    result = subprocess.run(
        [go_program, server.url, room_name, server.api_key, server.api_secret],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    steps = [line for line in result.stdout.splitlines() if line.startswith("ok ")]
    assert result.returncode == 0, f"passed: {steps}\n{result.stdout}\n{result.stderr}"
    assert result.stdout.rstrip().endswith("passed")
