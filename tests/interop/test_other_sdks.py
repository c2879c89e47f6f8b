"""The official SDKs of other languages, each a program of its own that plays both participants."""

from __future__ import annotations

import pathlib
import shutil
import subprocess

import pytest

from .conftest import RunningServer

HERE = pathlib.Path(__file__).parent


def run(command: list[str], server: RunningServer, room_name: str, directory: pathlib.Path) -> None:
    """Run a program of ``directory``; what it printed is shown if it does not pass."""
    result = subprocess.run(
        [*command, server.url, room_name, server.api_key, server.api_secret],
        cwd=directory, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    steps = [line for line in result.stdout.splitlines() if line.startswith("ok ")]
    assert result.returncode == 0, f"passed: {steps}\n{result.stdout}\n{result.stderr}"
    assert result.stdout.rstrip().endswith("passed")


@pytest.mark.node
def test_node_sdk(server: RunningServer, room_name: str) -> None:
    node = shutil.which("node")
    if not node:
        pytest.skip("Node.js is not installed")
    directory = HERE / "node"
    if not (directory / "node_modules").exists():
        pytest.skip("the npm packages are not installed: make test-interop")
    run([node, "pair.mjs"], server, room_name, directory)
