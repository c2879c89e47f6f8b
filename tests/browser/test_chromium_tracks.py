"""livekit-client in headless Chromium: permissions, dynacast, backup codec, regression."""

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
def test_tracks(server: RunningServer, topology: str) -> None:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    node = shutil.which("node")
    assert chromium, "Chromium is not installed: sudo apt-get install -y chromium"
    assert node, "Node.js is not installed: sudo apt-get install -y nodejs npm"
    room = f"browser-{uuid.uuid4().hex[:8]}"
    tokens = [server.token(room, identity) for identity in ("alice", "bob", "carol")]
    run = subprocess.run(
        [node, "tracks.mjs", server.url, *tokens, chromium, topology],
        cwd=HERE, capture_output=True, text=True, timeout=150, check=False,
    )  # fmt: skip
    assert run.stdout, run.stderr
    result = json.loads(run.stdout)
    assert result["ok"], result
    assert (result["first"], result["backup"]) == ("video/VP9", "video/VP8")
    assert result["refused"]
    assert 4500 < result["pausedAfter"] < 8000
    assert result["wokeAfter"] < 2000
    assert result["encodings"]["vp9"] == 0
    assert result["unsubscribed"] == 1, "another codec is not another track"
