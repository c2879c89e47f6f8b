"""A server that reports to the suite: where its webhooks go, and where its metrics are.

No client can ask a server to report, so the suite starts one of its own with the configuration
below. Another server has to be told the same before: ``LIVEKIT_WEBHOOK_PORT`` is the port in its
``webhook.urls`` (``http://127.0.0.1:PORT/``, signed with ``LIVEKIT_API_KEY``),
``LIVEKIT_PROMETHEUS_URL`` its metrics (``http://[user:password@]host:port/``) and
``LIVEKIT_DEBUG_URL`` the listener of ``debug_handler.port``. What is not given is skipped.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import os
import pathlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import jwt
import pytest
from aiohttp import web

from tests.conformance.kit import Target, until
from tests.interop.conftest import run_server
from tests.patience import PATIENCE_S
from tests.ports import free_ports

_CONFIG = """
webhook:
  api_key: devkey
  urls: ["http://127.0.0.1:{webhook}/"]
  filter_params: {{exclude_events: [{excluded}]}}
prometheus: {{port: {prometheus}, username: scraper, password: "pass:word"}}
debug_handler: {{port: {debug}}}
"""


@dataclass(frozen=True, slots=True)
class Reporting:
    """A server and its reports; what it does not report is None."""

    target: Target
    webhook_port: int | None
    prometheus_url: str | None
    debug_url: str | None


@contextlib.contextmanager
def reporting_server(
    directory: pathlib.Path, *, excluded: str = "", more: str = ""
) -> Iterator[Reporting]:
    """Ours; events of the name ``excluded`` are not sent. ``more`` is configuration."""
    webhook, prometheus, debug = free_ports(3)
    body = _CONFIG.format(webhook=webhook, prometheus=prometheus, debug=debug, excluded=excluded)
    body += more
    with run_server(directory, "--config-body", body) as running:
        yield Reporting(
            Target(running.http_url, running.api_key, running.api_secret, ours=True),
            webhook,
            f"http://scraper:pass%3Aword@127.0.0.1:{prometheus}/",
            f"http://127.0.0.1:{debug}",
        )


def other_server(target: Target) -> Reporting:
    """What the environment tells of a server that the suite did not start."""
    port = os.environ.get("LIVEKIT_WEBHOOK_PORT")
    return Reporting(
        target,
        int(port) if port else None,
        os.environ.get("LIVEKIT_PROMETHEUS_URL"),
        os.environ.get("LIVEKIT_DEBUG_URL"),
    )


@dataclass(frozen=True, slots=True)
class Webhook:
    """One request that came."""

    headers: dict[str, str]
    body: bytes
    at: float
    """Seconds of the event loop."""

    @property
    def event(self) -> dict[str, Any]:
        event: dict[str, Any] = json.loads(self.body)
        return event

    @property
    def name(self) -> str:
        name: str = self.event["event"]
        return name

    @property
    def room(self) -> str:
        name: str = self.event.get("room", {}).get("name", "")
        return name

    def verify(self, target: Target) -> dict[str, Any]:
        """The token's claims; it is bare, signed with the key's secret, and says what the body
        is."""
        token = self.headers["Authorization"]
        claims: dict[str, Any] = jwt.decode(token, target.secret, algorithms=["HS256"])
        digest = hashlib.sha256(self.body).digest()
        assert claims["sha256"] == base64.b64encode(digest).decode()
        assert claims["iss"] == target.key
        return claims


class Receiver:
    """Takes every webhook of the server; a test looks at those of its rooms."""

    def __init__(self) -> None:
        self.came: list[Webhook] = []
        self.statuses: dict[str, list[int]] = {}
        """Answers to the next requests about a room; then 200."""
        self.held: dict[str, asyncio.Event] = {}
        """Rooms whose webhooks are not answered before the event is set."""

    def of(self, room: str) -> list[Webhook]:
        """What came about a room."""
        return [webhook for webhook in self.came if webhook.room == room]

    def names(self, room: str) -> list[str]:
        """Events of a room, in the order in which they came."""
        return [webhook.name for webhook in self.of(room)]

    async def expect(self, room: str, name: str, *, timeout_s: float = PATIENCE_S) -> Webhook:
        """Wait for the first event of a name."""

        def found() -> list[Webhook]:
            return [webhook for webhook in self.of(room) if webhook.name == name]

        await until(found, f"{name}, came: {self.names(room)}", timeout_s=timeout_s)
        return found()[0]

    async def serve(self, request: web.Request) -> web.Response:
        """Keep a request and answer it."""
        now = asyncio.get_running_loop().time()
        webhook = Webhook(dict(request.headers), await request.read(), now)
        self.came.append(webhook)
        if webhook.room in self.held:
            await self.held[webhook.room].wait()
        statuses = self.statuses.get(webhook.room)
        return web.Response(status=statuses.pop(0) if statuses else 200)


@contextlib.asynccontextmanager
async def receiving(reporting: Reporting) -> AsyncIterator[Receiver]:
    """Receive the server's webhooks, or skip where it sends none to the suite."""
    if reporting.webhook_port is None:
        pytest.skip("LIVEKIT_WEBHOOK_PORT does not say where the server's webhooks go")
    receiver = Receiver()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", receiver.serve)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", reporting.webhook_port, reuse_address=True).start()
    try:
        yield receiver
    finally:
        for held in receiver.held.values():
            held.set()
        await runner.cleanup()
