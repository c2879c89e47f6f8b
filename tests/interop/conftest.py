"""A real ``lkpy server`` in its own process, and tokens for it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Iterator

import pytest
from livekit import api

from tests.patience import PATIENCE_S
from tests.ports import free_port

from . import go_kit


@dataclasses.dataclass(frozen=True)
class RunningServer:
    """Where the server is and whom it trusts."""

    url: str
    api_key: str
    api_secret: str

    @property
    def http_url(self) -> str:
        return self.url.replace("ws", "http", 1)

    def token(self, room: str, identity: str, **grants: object) -> str:
        """Mint a join token with the official SDK, not with ours."""
        return (
            api.AccessToken(self.api_key, self.api_secret)
            .with_identity(identity)
            .with_grants(api.VideoGrants(room_join=True, room=room, **grants))
            .to_jwt()
        )


@contextlib.contextmanager
def run_server(directory: pathlib.Path, *arguments: str) -> Iterator[RunningServer]:
    """Start ``lkpy server`` on free loopback ports and stop it at the end."""
    ready = directory / "ready.json"
    log = directory / "server.log"
    command = [
        *(sys.executable, "-m", "lkpy", "server", "start", "--dev"),
        *("--bind", "127.0.0.1", "--port", "0", "--udp-port", "0", "--tcp-port", "0"),
        *("--ready-file", str(ready)),
        *arguments,
    ]
    with (
        log.open("wb") as output,
        subprocess.Popen(command, stdout=output, stderr=output) as process,
    ):
        try:
            deadline = time.monotonic() + PATIENCE_S
            while not ready.exists():
                if process.poll() is not None or time.monotonic() > deadline:
                    pytest.fail(f"the server did not start:\n{log.read_text()}")
                time.sleep(0.02)
            info = json.loads(ready.read_text())
            yield RunningServer(info["url"], info["api_key"], info["api_secret"])
        finally:
            process.terminate()
            try:
                process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.terminate()
                try:
                    process.wait(PATIENCE_S)
                except subprocess.TimeoutExpired:
                    process.kill()
                    pytest.fail("two SIGTERMs did not stop the server")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server for the session. ``LIVEKIT_TEST_URL`` points the tests at another one (dev keys)."""
    if url := os.environ.get("LIVEKIT_TEST_URL"):
        yield RunningServer(url, "devkey", "secret")
        return
    with run_server(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture(scope="session")
def webhook_server(
    server: RunningServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[RunningServer, int]]:
    """A server and the port that its webhooks go to.

    Another server has to be configured so before: ``LIVEKIT_WEBHOOK_PORT`` is the port in its
    ``webhook.urls``.
    """
    if os.environ.get("LIVEKIT_TEST_URL"):
        given = os.environ.get("LIVEKIT_WEBHOOK_PORT")
        if not given:
            pytest.skip("LIVEKIT_WEBHOOK_PORT does not say where the server's webhooks go")
        yield server, int(given)
        return
    port = free_port()
    body = f"webhook: {{api_key: devkey, urls: ['http://127.0.0.1:{port}/']}}"
    with run_server(tmp_path_factory.mktemp("webhooks"), "--config-body", body) as running:
        yield running, port


@pytest.fixture
def room_name() -> str:
    return f"sdk-{uuid.uuid4().hex[:8]}"


@pytest.fixture
async def admin(server: RunningServer) -> AsyncIterator[api.LiveKitAPI]:
    """The server API with the server's own key, through the official package."""
    async with api.LiveKitAPI(server.http_url, server.api_key, server.api_secret) as client:
        yield client


@pytest.fixture(scope="session")
def go_program(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The program of the Go SDK's scenarios, built once."""
    go = shutil.which("go")
    if not go:
        pytest.skip("Go is not installed")
    program = tmp_path_factory.mktemp("go") / "interop"
    go_kit.build(go, program)
    return program
