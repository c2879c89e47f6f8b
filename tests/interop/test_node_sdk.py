"""The official Node SDK, ``@livekit/rtc-node``: scripts that play their participants themselves."""

from __future__ import annotations

import pytest

from .conftest import RunningServer
from .node_kit import play, scenarios

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
