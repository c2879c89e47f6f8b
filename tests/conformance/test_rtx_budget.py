"""``rtc.rtx_budget``: a bound on what is sent again. Another server than ours has to have the
configuration below (``LIVEKIT_RTX_BUDGET=1`` says that it has)."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest
import pytest_asyncio
from aiortc.rtp import RtpPacket

from tests.conformance import media
from tests.conformance.kit import Lobby, Target, until
from tests.conformance.reporting_kit import Reporting, reporting_server
from tests.conformance.rtp_kit import RtpTap

BUDGET = "rtc: {rtx_budget: {video: {max_ratio: 0.000001, burst_bytes: 0}}}\n"
"""One packet of 1,500 bytes, or several that are smaller, and nothing more."""


@pytest.fixture(scope="module")
def limited(
    reporting: Reporting, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Target, str | None]]:
    """A server with that budget, and where its metrics are."""
    if not reporting.target.ours:
        if not os.environ.get("LIVEKIT_RTX_BUDGET"):
            pytest.skip("the server has no rtc.rtx_budget")
        yield reporting.target, reporting.prometheus_url
        return
    directory = tmp_path_factory.mktemp("budget")
    with reporting_server(directory, more=BUDGET) as running:
        yield running.target, running.prometheus_url


@pytest_asyncio.fixture
async def lobby(limited: tuple[Target, str | None]) -> AsyncIterator[Lobby]:
    async with aiohttp.ClientSession() as session, Lobby(limited[0], session) as opened:
        yield opened


async def test_no_more_is_sent_again_than_the_budget_allows(
    lobby: Lobby, limited: tuple[Target, str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    tap = RtpTap(monkeypatch)
    alice = await media.join(lobby, "alice", single=True)
    bob = await media.join(lobby, "bob", single=True)
    track, _ = await alice.publish(kind="video")
    await bob.receives(track.sid)
    ssrc = RtpPacket.parse(tap.video(bob)[0]).ssrc
    seen = len(tap.video(bob))
    count = 0

    def every_third(packet: bytes) -> bool:
        nonlocal count
        if RtpPacket.parse(packet).ssrc != ssrc:
            return False
        count += 1
        return count % 3 == 0

    tap.lost = every_third
    await until(lambda: len(tap.video(bob)) > seen + 150, "more video")
    again = [len(RtpPacket.parse(packet).payload) for packet in tap.retransmissions(bob)]
    again = [size for size in again if size > 2]
    assert again, "a budget is no less than a packet"
    assert sum(again[:-1]) < 1500, again
    if limited[1] is None:
        return

    async def capped() -> float:
        assert limited[1] is not None
        async with lobby.session.get(limited[1]) as response:
            lines = (await response.text()).splitlines()
        name = "livekit_rtx_capped_total{"
        return sum(float(line.split()[-1]) for line in lines if line.startswith(name))

    assert await capped() > 0
