"""livekit-client in headless Chromium: a pair exchanges audio, video, layers and data."""

from __future__ import annotations

import pytest

from tests.browser.page import run_page
from tests.interop.conftest import RunningServer

pytestmark = pytest.mark.browser


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
