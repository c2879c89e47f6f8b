"""livekit-client in headless Chromium: a pair exchanges audio, video, layers and data."""

from __future__ import annotations

import json
import pathlib
import shutil
import subprocess
import uuid

import pytest

from tests.interop.conftest import RunningServer

pytestmark = pytest.mark.browser
HERE = pathlib.Path(__file__).parent


@pytest.mark.parametrize("topology", ["single", "dual"])
def test_pair(server: RunningServer, topology: str) -> None:
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
        [node, "pair.mjs", server.url, *tokens, chromium, topology],
        cwd=HERE, capture_output=True, text=True, timeout=110, check=False,
    )  # fmt: skip
    assert run.stdout, run.stderr
    result = json.loads(run.stdout)
    assert result["ok"], result["problems"]
    assert result["data"] == {"text": "hello bob", "from": "alice", "topic": "chat"}
    assert result["frame"] == {"text": "here", "name": "pose"}
    assert result["dataTrack"].startswith("DTR_")
    assert all(sid.startswith("TR_") for sid in result["published"])
    assert result["bob"]["audio"]["lost"] <= 0
