"""FFmpeg publishes by WHIP, and a browser plays it."""

from __future__ import annotations

import pytest

from tests.browser.chromium import Chromium
from tests.conformance.ffmpeg_kit import needs_whip, publishing
from tests.interop.conftest import RunningServer

pytestmark = [pytest.mark.browser, needs_whip]


async def test_a_page_plays_what_ffmpeg_publishes(
    server: RunningServer, chromium: Chromium, room_name: str, topology: str
) -> None:
    async with chromium.pages(1) as (bob,):
        await bob.join(server, room_name, "bob", topology)
        token = server.token(room_name, "ffmpeg")
        async with publishing(server.http_url, token, "baseline"):
            await bob.sees_width(320)
            await bob.hears()
