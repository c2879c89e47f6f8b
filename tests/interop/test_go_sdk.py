"""The official Go SDK: scenarios of a program (``go/``) that plays every participant itself."""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
from collections.abc import AsyncIterator

import pytest

from .conftest import RunningServer
from .go_kit import Scenario, playing
from .tcp_proxy import TcpProxy, tcp_proxy

pytestmark = [pytest.mark.go, pytest.mark.timeout(600)]

BOTH_TOPOLOGIES = (
    "audio-and-video", "subscriptions", "no-auto-subscribe", "track-permissions", "active-speakers",
    "data-packets", "text-streams", "byte-streams", "rpc", "publish-permission",
    "subscribe-permission", "mute-by-api", "subscriptions-by-api", "same-identity",
    "signal-reconnect", "node-failure", "migration",
)  # fmt: skip
OTHERS = (
    # With a single peer connection livekit-server 1.13.11 forwards only the lowest layer.
    "simulcast",
    "publish-with-joining", "data-not-permitted", "rpc-errors", "own-attributes",
    "attributes-not-permitted", "attributes-by-api", "publish-sources", "data-by-api", "removed",
    "room-deleted", "hidden", "refused", "server-leave", "speaker", "encrypted-media",
    "encrypted-data", "api-rooms", "api-participants", "api-dispatch", "api-refusals",
    "api-services",
)  # fmt: skip


@pytest.mark.parametrize("scenario", BOTH_TOPOLOGIES)
@pytest.mark.parametrize("topology", ["single-pc", "dual-pc"])
async def test_in_both_topologies(
    go_program: pathlib.Path, server: RunningServer, room_name: str, scenario: str, topology: str
) -> None:
    async with playing(go_program, scenario, server, room_name, topology=topology) as run:
        await run.passed()


@pytest.mark.parametrize("scenario", OTHERS)
async def test_scenario(
    go_program: pathlib.Path, server: RunningServer, room_name: str, scenario: str
) -> None:
    async with playing(go_program, scenario, server, room_name) as run:
        await run.passed()


@contextlib.asynccontextmanager
async def playing_behind_a_proxy(
    program: pathlib.Path, scenario: str, server: RunningServer, room: str, topology: str
) -> AsyncIterator[tuple[Scenario, TcpProxy]]:
    """Run a scenario in which alice's signal connection passes a proxy."""
    async with (
        tcp_proxy(server.url) as (proxy, url),
        playing(program, scenario, server, room, url, topology=topology) as run,
    ):
        yield run, proxy


@pytest.mark.parametrize("topology", ["single-pc", "dual-pc"])
async def test_signal_connection_cut(
    go_program: pathlib.Path, server: RunningServer, room_name: str, topology: str
) -> None:
    async with playing_behind_a_proxy(go_program, "signal-cut", server, room_name, topology) as (
        run,
        proxy,
    ):
        await run.asked("cut")
        assert proxy.cut() >= 1
        run.done()
        await run.passed()


@pytest.mark.parametrize("topology", ["single-pc", "dual-pc"])
async def test_signal_connection_away_for_three_seconds(
    go_program: pathlib.Path, server: RunningServer, room_name: str, topology: str
) -> None:
    async with playing_behind_a_proxy(go_program, "signal-away", server, room_name, topology) as (
        run,
        proxy,
    ):
        await run.asked("close")
        proxy.open = False
        assert proxy.cut() >= 1
        run.done()
        await run.asked("open after three seconds")
        await asyncio.sleep(3)
        proxy.open = True
        run.done()
        await run.passed()


async def test_what_changes_during_a_cut_is_known_after_it(
    go_program: pathlib.Path, server: RunningServer, room_name: str
) -> None:
    async with playing_behind_a_proxy(
        go_program, "changes-in-a-cut", server, room_name, "dual-pc"
    ) as (run, proxy):
        await run.asked("close")
        proxy.open = False
        proxy.cut()
        run.done()
        await run.asked("open")
        proxy.open = True
        run.done()
        await run.passed()


async def test_webhooks_are_verified(
    go_program: pathlib.Path, webhook_server: tuple[RunningServer, int], room_name: str
) -> None:
    server, port = webhook_server
    async with playing(go_program, "webhooks", server, room_name, str(port)) as run:
        await run.passed()
