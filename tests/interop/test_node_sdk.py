"""The official Node SDK, ``@livekit/rtc-node``: scripts that play their participants themselves."""

from __future__ import annotations

import pytest

from .conftest import RunningServer
from .node_kit import play, scenarios
from .tcp_proxy import tcp_proxy

pytestmark = pytest.mark.node


@pytest.mark.parametrize("name", scenarios("media.mjs"))
async def test_media(server: RunningServer, room_name: str, name: str) -> None:
    await play("media.mjs", name, server, room_name)


@pytest.mark.parametrize("name", scenarios("participants.mjs"))
async def test_participants(server: RunningServer, room_name: str, name: str) -> None:
    await play("participants.mjs", name, server, room_name)


@pytest.mark.parametrize("name", scenarios("data.mjs"))
async def test_data(server: RunningServer, room_name: str, name: str) -> None:
    await play("data.mjs", name, server, room_name)


@pytest.mark.parametrize("name", scenarios("reconnect.mjs"))
async def test_reconnect(server: RunningServer, room_name: str, name: str) -> None:
    async with tcp_proxy(server.url) as (proxy, url):

        def admit(new: bool) -> None:
            proxy.open = new

        answers = {
            "cut": lambda _: proxy.cut(),
            "close": lambda _: admit(False),
            "open": lambda _: admit(True),
        }
        await play("reconnect.mjs", name, server, room_name, answers, proxy=url)
