"""Runs a script of this directory in headless Chromium against a server."""

from __future__ import annotations

import json
import pathlib
import shutil
import subprocess
import uuid
from collections.abc import Sequence
from typing import Any

from tests.interop.conftest import RunningServer

HERE = pathlib.Path(__file__).parent
PAIR = ("alice", "bob")


def run_page(
    server: RunningServer,
    script: str,
    *arguments: str,
    identities: Sequence[str] = PAIR,
    timeout_s: float = 150,
) -> dict[str, Any]:
    """Run a script with tokens for a room of its own and return what it prints."""
    chromium = (
        shutil.which("chromium")
        or shutil.which("chromium-browser")
        or shutil.which("google-chrome")
    )
    node = shutil.which("node")
    assert chromium, "Chromium is not installed: sudo apt-get install -y chromium"
    assert node, "Node.js is not installed: sudo apt-get install -y nodejs npm"
    room = f"browser-{uuid.uuid4().hex[:8]}"
    tokens = [server.token(room, identity) for identity in identities]
    run = subprocess.run(
        [node, script, server.url, *tokens, chromium, *arguments],
        cwd=HERE, capture_output=True, text=True, timeout=timeout_s, check=False,
    )  # fmt: skip
    assert run.stdout, run.stderr
    result: dict[str, Any] = json.loads(run.stdout)
    return result
