"""The official SDKs of Node.js: scripts (``node/``) that play their participants themselves."""

from __future__ import annotations

import pathlib
import shutil
import subprocess

import pytest

from .conftest import RunningServer

pytestmark = pytest.mark.node

DIRECTORY = pathlib.Path(__file__).parent / "node"


def test_node_sdk(server: RunningServer, room_name: str) -> None:
    node = shutil.which("node")
    if not node:
        pytest.skip("Node.js is not installed")
    if not (DIRECTORY / "node_modules").exists():
        pytest.skip("the npm packages are not installed: make test-interop")
    result = subprocess.run(
        [node, "pair.mjs", server.url, room_name, server.api_key, server.api_secret],
        cwd=DIRECTORY, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    steps = [line for line in result.stdout.splitlines() if line.startswith("ok ")]
    assert result.returncode == 0, f"passed: {steps}\n{result.stdout}\n{result.stderr}"
    assert result.stdout.rstrip().endswith("passed")
