"""livekit-client in headless Chromium: permissions, dynacast, backup codec, regression."""

from __future__ import annotations

import pytest

from tests.browser.page import PAIR, run_page
from tests.interop.conftest import RunningServer

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("topology", ["single", "dual"])
def test_tracks(server: RunningServer, topology: str) -> None:
    result = run_page(server, "tracks.mjs", topology, identities=(*PAIR, "carol"))
    assert result["ok"], result
    assert (result["first"], result["backup"]) == ("video/VP9", "video/VP8")
    assert result["refused"]
    assert 4500 < result["pausedAfter"] < 8000
    assert result["wokeAfter"] < 2000
    assert result["encodings"]["vp9"] == 0
    assert result["unsubscribed"] == 1, "another codec is not another track"
