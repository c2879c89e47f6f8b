"""The official server SDK for Node, ``livekit-server-sdk``: every client, and each way it fails."""

from __future__ import annotations

import pytest

from .conftest import RunningServer
from .node_kit import play, scenarios

pytestmark = pytest.mark.node


@pytest.mark.parametrize("name", scenarios("server_rooms.mjs"))
async def test_room_service(server: RunningServer, room_name: str, name: str) -> None:
    await play("server_rooms.mjs", name, server, room_name)


@pytest.mark.parametrize("name", scenarios("server_services.mjs"))
async def test_other_services_and_tokens(server: RunningServer, room_name: str, name: str) -> None:
    await play("server_services.mjs", name, server, room_name)


@pytest.mark.parametrize("name", scenarios("webhooks.mjs"))
async def test_webhooks(
    webhook_server: tuple[RunningServer, int], room_name: str, name: str
) -> None:
    server, port = webhook_server
    await play("webhooks.mjs", name, server, room_name, port=port)
