"""livekit-client in headless Chromium survives LiveKit's reconnect scenarios."""

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
RESUMES = (
    "signal-reconnect",
    "disconnect-signal-on-resume",
    "disconnect-signal-on-resume-no-messages",
)
"""Scenarios in which the peer connections stay."""
GAP_MS = {True: 1_000, False: 5_000}
"""Longest time without a picture that is borne: after a resume, after a fresh join. livekit-server
took up to 3.1 s and 1.5 s on the machine on which this was written."""


@pytest.mark.parametrize("topology", ["single", "dual"])
def test_reconnect(server: RunningServer, topology: str) -> None:
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
        [node, "reconnect.mjs", server.url, *tokens, chromium, topology],
        cwd=HERE, capture_output=True, text=True, timeout=110, check=False,
    )  # fmt: skip
    assert run.stdout, run.stderr
    result = json.loads(run.stdout)
    assert result["ok"], result["problems"]
    for scenario, times in result["scenarios"].items():
        resumed = scenario in RESUMES
        for name in ("alice", "bob"):
            assert times[name]["gap"] < GAP_MS[resumed], (scenario, name, times)
        if resumed:
            assert times["data"], "reliable data must arrive after a resume"
