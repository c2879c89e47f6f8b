"""livekit-client in headless Chromium survives LiveKit's reconnect scenarios."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

import pytest
from livekit import rtc

from tests.browser.chromium import Chromium, Page
from tests.interop.conftest import RunningServer
from tests.interop.sdk_kit import eventually

pytestmark = pytest.mark.browser
RESUMES = (
    "signal-reconnect",
    "disconnect-signal-on-resume",
    "disconnect-signal-on-resume-no-messages",
)
"""Scenarios in which the peer connections stay."""
SCENARIOS = (
    "signal-reconnect",
    "resume-reconnect",
    "disconnect-signal-on-resume",
    "disconnect-signal-on-resume-no-messages",
    "full-reconnect",
    "node-failure",
    "migration",
    "force-tcp",
)
GAP_MS = {True: 1_000, False: 5_000}
"""Longest time without a picture that is borne: after a resume, after a fresh join."""
if "LIVEKIT_TEST_URL" in os.environ:
    # livekit-server took up to 3.1 s after a resume on the machine on which this was written.
    GAP_MS[True] = 5_000


async def pictures(page: Page, start: float) -> dict[str, Any]:
    """Return the longest gap since ``start`` (ms since 1970) once pictures flow again."""

    async def flowing() -> dict[str, Any] | None:
        found: dict[str, Any] = await page.run("longestGap", start)
        return found if found["count"] > 10 and found["since"] < 500 else None

    found: dict[str, Any] = await eventually(f"{page.identity} to see pictures", flowing, 25)
    return found


async def test_reconnect(
    server: RunningServer, chromium: Chromium, room_name: str, topology: str
) -> None:
    async with chromium.pages(2) as (alice, bob):
        for page, identity in ((alice, "alice"), (bob, "bob")):
            await page.join(server, room_name, identity, topology)
            await page.run("publish")
            await page.run("watchPictures")
        for page in (alice, bob):
            await pictures(page, 0)
        for scenario in SCENARIOS:
            await bob.forget()
            start = time.time() * 1000
            await bob.run("(scenario) => room.simulateScenario(scenario)", scenario)
            await bob.event("Reconnected", seconds=25)
            reconnected = time.time() * 1000
            await asyncio.sleep(1)
            resumed = scenario in RESUMES
            for page in (alice, bob):
                await pictures(page, reconnected)
                gap = await page.run("longestGap", start)
                assert gap["gap"] < GAP_MS[resumed], (scenario, page.identity, gap)
            await bob.run("send", scenario)
            if resumed:
                await alice.event("DataReceived", scenario)
        await bob.run("() => room.simulateScenario('server-leave')")
        assert await bob.event("Disconnected") == [rtc.DisconnectReason.STATE_MISMATCH]
