"""Who listens to a server: webhooks, metrics and debug routes, put together from the configuration.

Metrics and debug routes have ports of their own, on the addresses of the main one; in development
the main port serves the debug routes too.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

from lkpy.clock import Clock
from lkpy.errors import LkpyError
from lkpy.server.config import ServerConfig
from lkpy.server.http.debug import DebugRoom, DebugService
from lkpy.server.http.guard import Unauthenticated
from lkpy.server.http.prometheus import PrometheusService
from lkpy.server.http.side_listener import Handler, SideListener
from lkpy.server.http.signal_socket import SocketRegistry
from lkpy.server.routing.admission import Admission
from lkpy.server.telemetry.events import Listener, Telemetry
from lkpy.server.telemetry.log import fields
from lkpy.server.telemetry.scrape import Scraper
from lkpy.server.telemetry.webhook_events import WebhookListener
from lkpy.server.telemetry.webhook_metrics import WebhookMetrics
from lkpy.server.telemetry.webhook_notifier import WebhookNotifier, WebhookOptions
from lkpy.stats.v1 import stats_pb2

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Sources:
    """What is asked of the server when somebody wants to know."""

    node_id: str
    collect: Callable[[], Awaitable[stats_pb2.Snapshot]]
    rooms: Callable[[], Iterable[DebugRoom]]
    sockets: Callable[[], SocketRegistry]
    admission: Callable[[], Admission]
    unauthenticated: Unauthenticated = field(default_factory=Unauthenticated)
    """Shared with the main port."""


class Reporting:
    """Tells others of what happens here; they ask on :attr:`prometheus` and :attr:`debugger`."""

    def __init__(self, config: ServerConfig, clock: Clock, sources: Sources) -> None:
        self._sources = sources
        counts = WebhookMetrics()
        listeners: list[Listener] = []
        self._webhooks = _webhooks(config, clock, counts)
        if self._webhooks is not None:
            full_room = config.room.enable_full_room_in_webhooks
            listeners.append(WebhookListener(self._webhooks.notify, full_room=full_room))
        self._scraper: Scraper | None = None
        self.prometheus: SideListener | None = None
        if config.prometheus.port:
            self._scraper = Scraper(sources.node_id, clock, counts, sources.collect)
            listeners += [self._scraper.server, self._scraper.trouble, self._scraper.agents]
            access = config.prometheus
            service = PrometheusService(
                self._scrape, username=access.username, password=access.password
            )
            self.prometheus = self._side(config, service.serve, access.port)
        self.debug = DebugService(sources.rooms, sources.collect)
        self.debugger: SideListener | None = None
        if config.debug_handler.port:
            self.debugger = self._side(config, self.debug.serve, config.debug_handler.port)
        self.telemetry = Telemetry(*listeners)

    async def start(self) -> None:
        """Listen and begin to report. Raises :class:`lkpy.errors.LkpyError`."""
        for name, side in (("prometheus", self.prometheus), ("debug_handler", self.debugger)):
            if side is None:
                continue
            try:
                await side.start()
            except LkpyError as error:
                error.hint = f"change {name}.port in the configuration, or free the port"
                raise
            logger.info("listening", extra=fields(listener=name, port=side.port))
        if self._scraper is not None:
            self._scraper.start()
        if self._webhooks is not None:
            self._webhooks.start()

    async def stop(self) -> None:
        """Send the webhooks that are left, within a bounded time, and end. Idempotent."""
        if self._webhooks is not None:
            await self._webhooks.stop()
        if self._scraper is not None:
            await self._scraper.stop()
        for side in (self.prometheus, self.debugger):
            if side is not None:
                await side.stop()

    def _side(self, config: ServerConfig, handler: Handler, port: int) -> SideListener:
        return SideListener(handler, config.bind_addresses, port, self._sources.unauthenticated)

    async def _scrape(self) -> str:
        if self._scraper is None:
            raise RuntimeError("there are no metrics without their listener")
        sockets, admission = self._sources.sockets(), self._sources.admission()
        refused = self._sources.unauthenticated.refused
        queued = 0 if self._webhooks is None else self._webhooks.queued()
        return await self._scraper.text(
            signal_messages=sockets.messages(),
            signal_connections=len(sockets),
            signal_closing=len(sockets.closing),
            webhooks_queued=queued,
            http_held=self._sources.unauthenticated.held + admission.line.held,
            joins_waiting=admission.waiting,
            http_refused={str(reason): n for reason, n in refused.items()},
        )


def _webhooks(config: ServerConfig, clock: Clock, counts: WebhookMetrics) -> WebhookNotifier | None:
    webhook = config.webhook
    if not webhook.urls:
        return None
    options = WebhookOptions(
        urls=webhook.urls,
        api_key=webhook.api_key,
        api_secret=config.keys[webhook.api_key],
        include_events=webhook.filter_params.include_events,
        exclude_events=webhook.filter_params.exclude_events,
        max_depth=webhook.resource_url_notifier.max_depth,
        max_age_s=webhook.resource_url_notifier.max_age,
    )
    return WebhookNotifier(options, clock, counts)
