"""livekit-client in headless Chromium: a pair exchanges audio, video, layers and data."""

from __future__ import annotations

import json
import pathlib
import shutil
import subprocess
import uuid
from typing import Any

import pytest

from tests.interop.conftest import RunningServer

pytestmark = pytest.mark.browser
HERE = pathlib.Path(__file__).parent


def run_page(server: RunningServer, script: str, *arguments: str) -> dict[str, Any]:
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
    tokens = [server.token(room, identity) for identity in ("alice", "bob")]
    run = subprocess.run(
        [node, script, server.url, *tokens, chromium, *arguments],
        cwd=HERE, capture_output=True, text=True, timeout=150, check=False,
    )  # fmt: skip
    assert run.stdout, run.stderr
    result: dict[str, Any] = json.loads(run.stdout)
    return result


@pytest.mark.parametrize("topology", ["single", "dual"])
def test_pair(server: RunningServer, topology: str) -> None:
    result = run_page(server, "pair.mjs", topology)
    assert result["ok"], result["problems"]
    assert result["data"] == {"text": "hello bob", "from": "alice", "topic": "chat"}
    assert result["frame"] == {"text": "here", "name": "pose"}
    assert result["dataTrack"].startswith("DTR_")
    assert all(sid.startswith("TR_") for sid in result["published"])
    assert result["bob"]["audio"]["lost"] <= 0


@pytest.mark.parametrize(
    ("codec", "mode"), [("vp9", "L3T3_KEY"), ("vp9", "L3T3"), ("av1", "L3T3_KEY"), ("av1", "L3T3")]
)
def test_layers_of_one_stream(server: RunningServer, codec: str, mode: str) -> None:
    result = run_page(server, "layers.mjs", codec, mode)
    assert result["ok"], result
    assert result["last"]["codec"].lower() == f"video/{codec}"
    assert result["widths"] == [240, 480, 960, 240, 960]
