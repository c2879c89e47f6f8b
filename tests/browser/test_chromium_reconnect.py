"""livekit-client in headless Chromium survives LiveKit's reconnect scenarios."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import time
from typing import Any

import pytest
from livekit import rtc

from tests.browser.chromium import Chromium, Page
from tests.interop.conftest import RunningServer
from tests.interop.sdk_kit import eventually
from tests.interop.tcp_proxy import tcp_proxy

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
ELSEWHERE = "LIVEKIT_TEST_URL" in os.environ
"""Whether another server is tested, of which less is asked where it was seen to do less."""
GAP_MS = {True: 5_000 if ELSEWHERE else 1_000, False: 5_000}
"""Longest time without a picture that is borne: after a resume, after a fresh join. livekit-server
took up to 3.1 s after a resume on the machine on which this was written."""


async def pictures(page: Page, start: float) -> dict[str, Any]:
    """Return the longest gap since ``start`` (ms since 1970) once pictures flow again."""

    async def flowing() -> dict[str, Any] | None:
        found: dict[str, Any] = await page.run("longestGap", start)
        return found if found["count"] > 10 and found["since"] < 500 else None

    found: dict[str, Any] = await eventually(f"{page.identity} to see pictures", flowing, 25)
    return found


async def talks(sender: Page, receiver: Page, text: str) -> None:
    """Send until something arrives: livekit-client loses what it sends in a session's first second.

    It reports ``Reconnected`` before.
    """

    async def arrived() -> list[Any]:
        await sender.run("send", text)
        return [event for event in await receiver.events("DataReceived") if event[0] == text]

    await eventually(f"{text} to reach {receiver.identity}", arrived)


async def settled(page: Page) -> None:
    """Wait until nothing happened to the connection for 3 s.

    Before that livekit-client joins anew, whatever it is told to do.
    """
    quiet = """() => room.state === "connected" && state.events.every((event) =>
        event.name !== "Reconnected" || event.at < Date.now() - 3_000)"""
    await eventually(f"{page.identity}'s connection to settle", lambda: page.run(quiet), 20)


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
            if resumed:
                await bob.run("send", scenario)
                await alice.event("DataReceived", scenario)
            else:
                await talks(bob, alice, scenario)
            await settled(bob)
        await bob.run("() => room.simulateScenario('server-leave')")
        assert await bob.event("Disconnected") == [rtc.DisconnectReason.SERVER_SHUTDOWN]


@pytest.mark.parametrize("closed_s", [0, 3])
async def test_a_signal_connection_that_is_cut(
    server: RunningServer, chromium: Chromium, room_name: str, topology: str, closed_s: int
) -> None:
    """Media flow on, and reliable data sent meanwhile come in order and once."""
    async with chromium.pages(2) as (alice, bob), tcp_proxy(server.url) as (proxy, url):
        await alice.join(server, room_name, "alice", topology)
        await bob.join(dataclasses.replace(server, url=url), room_name, "bob", topology)
        await alice.run("publish")
        await bob.run("publish")
        # livekit-client defers what is sent while it reconnects, and forgets it all afterwards when
        # the server has had nothing from it before.
        await talks(alice, bob, "first")
        await talks(bob, alice, "first")
        for page in (alice, bob):
            await page.sees()
            await page.run("watchPictures")
            await page.forget()
        start = time.time() * 1000
        proxy.open = closed_s == 0
        assert proxy.cut() == 1
        for number in range(8):
            await alice.run("send", str(number))
            await bob.run("send", str(number))
            await asyncio.sleep(closed_s / 8)
        proxy.open = True
        await bob.event("Reconnected", seconds=25)
        for page in (alice, bob):
            await page.event("DataReceived", "7")
            received = [event[0] for event in await page.events("DataReceived")]
            if ELSEWHERE or closed_s:
                # What livekit-client defers in an attempt that fails, it never sends after a later
                # packet has arrived. Elsewhere a packet or two were lost in every second run.
                assert received == sorted(set(received))
            else:
                assert received == list("01234567")
            gap = await pictures(page, start)
            assert gap["gap"] < GAP_MS[True]
        assert (await alice.remotes())["bob"]["sid"] == bob.sid
        assert await bob.events("Reconnecting") == [], "it resumed"
