"""livekit-client behind a narrow link: the picture shrinks, stays fluent, and grows again."""

from __future__ import annotations

import asyncio
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import pytest

from tests.browser.chromium import Chromium, Page, run_chromium
from tests.browser.link import FAR, NEAR, Link, run_link
from tests.interop.conftest import RunningServer, run_server
from tests.interop.sdk_kit import eventually

pytestmark = [pytest.mark.browser, pytest.mark.network]


@pytest.fixture
def link() -> Iterator[Link]:
    if not os.environ.get("LKPY_NETWORK_NAMESPACE"):
        pytest.skip("needs a network namespace of its own: make test-network")
    with run_link() as link:
        yield link


@pytest.fixture
def distant(link: Link) -> Iterator[Chromium]:
    """A browser at the far end of the link."""
    with run_chromium(FAR, link.enter) as browser:
        yield browser


@pytest.fixture
def reachable(link: Link, tmp_path: pathlib.Path) -> Iterator[RunningServer]:
    """A server whose media comes over the link."""
    with run_server(tmp_path, "--bind", NEAR, "--node-ip", NEAR) as server:
        url = server.url.replace("127.0.0.1", NEAR)
        yield RunningServer(url, server.api_key, server.api_secret)


async def fluent(page: Page, widest: int) -> dict[str, Any]:
    """Wait for ten seconds of pictures at most ``widest`` pixels wide without a stop."""
    calm: list[dict[str, Any]] = []

    async def check() -> dict[str, Any] | None:
        await asyncio.sleep(1)
        found = await page.inbound()
        if calm and (found["width"] > widest or found["frames"] < calm[-1]["frames"] + 3):
            calm.clear()
        calm.append(found)
        return found if len(calm) > 10 else None

    return await eventually(f"ten fluent seconds within {widest} pixels", check, 60)


@pytest.mark.parametrize("single", [False, True], ids=["dual", "single"])
async def test_a_narrow_link_gets_a_small_picture(
    link: Link,
    reachable: RunningServer,
    chromium: Chromium,
    distant: Chromium,
    room_name: str,
    single: bool,
) -> None:
    topology = "single" if single else "dual"
    async with chromium.pages(1) as (alice,), distant.pages(1) as (bob,):
        await alice.join(reachable, room_name, "alice", topology)
        await bob.join(reachable, room_name, "bob", topology)
        await alice.run("publishSimulcast")
        await bob.sees_width(1280)
        link.throttle(300)
        await fluent(bob, 640)
        link.throttle(100_000)
        await bob.sees_width(1280, seconds=90)
