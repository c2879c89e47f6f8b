"""The official server SDK for Node, ``livekit-server-sdk``: every client, and each way it fails."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from .conftest import RunningServer, run_server
from .node_kit import play, scenarios

pytestmark = pytest.mark.node


@pytest.mark.parametrize("name", scenarios("server_rooms.mjs"))
async def test_room_service(server: RunningServer, room_name: str, name: str) -> None:
    await play("server_rooms.mjs", name, server, room_name)


@pytest.mark.parametrize("name", scenarios("server_services.mjs"))
async def test_other_services_and_tokens(server: RunningServer, room_name: str, name: str) -> None:
    await play("server_services.mjs", name, server, room_name)


@pytest.fixture(scope="module")
def telling(
    server: RunningServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[RunningServer, int]]:
    """A server whose webhooks go to a port, and the port.

    Another server is told before: ``LIVEKIT_WEBHOOK_PORT`` is the port in its ``webhook.urls``.
    """
    if os.environ.get("LIVEKIT_TEST_URL"):
        if not (given := os.environ.get("LIVEKIT_WEBHOOK_PORT")):
            pytest.skip("LIVEKIT_WEBHOOK_PORT is not given")
        yield server, int(given)
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = f"webhook: {{api_key: devkey, urls: ['http://127.0.0.1:{port}/']}}"
    with run_server(tmp_path_factory.mktemp("webhooks"), "--config-body", config) as running:
        yield running, port


@pytest.mark.parametrize("name", scenarios("webhooks.mjs"))
async def test_webhooks(telling: tuple[RunningServer, int], room_name: str, name: str) -> None:
    server, port = telling
    await play("webhooks.mjs", name, server, room_name, port=port)
