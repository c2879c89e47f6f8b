"""One scrape: every source brought up to date, then the text."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Callable, Mapping

from lkpy.clock import Clock
from lkpy.errors import LkpyError
from lkpy.limits import MEDIA_SAMPLE_INTERVAL_S
from lkpy.server.background import background
from lkpy.server.telemetry.agent_metrics import AgentMetrics
from lkpy.server.telemetry.exposition import Counter, Gauge, render
from lkpy.server.telemetry.log import fields
from lkpy.server.telemetry.media_metrics import MediaMetrics
from lkpy.server.telemetry.metrics import ServerMetrics
from lkpy.server.telemetry.process_metrics import InterfaceMetrics, ProcessMetrics
from lkpy.server.telemetry.trouble_metrics import TroubleMetrics
from lkpy.server.telemetry.webhook_metrics import WebhookMetrics
from lkpy.stats.v1 import stats_pb2

logger = logging.getLogger(__name__)


class Scraper:
    """Owns the metrics of a server.

    Media is also looked at every few seconds, so that little is lost of what closes between two
    scrapes. ``collect`` observes the whole server.
    """

    def __init__(
        self,
        node_id: str,
        clock: Clock,
        webhooks: WebhookMetrics,
        collect: Callable[[], Awaitable[stats_pb2.Snapshot]],
    ) -> None:
        self.server = ServerMetrics(clock)
        self._signal_messages = Counter("livekit_node_messages", ("type", "status", "direction"))
        self._signal_connections = Gauge("lkpy_signal_connections", (), "Open signal connections.")
        self._signal_closing = Gauge(
            "lkpy_signal_connections_closing", (), "Those whose last bytes are still on their way."
        )
        self._webhook_queue = Gauge(
            "lkpy_webhook_queue_length", (), "Events that wait to be sent, of all URLs."
        )
        self._http_held = Gauge(
            "lkpy_http_unauthenticated_bytes", (), "Held for clients that have shown no token yet."
        )
        self._joins_waiting = Gauge(
            "lkpy_joins_waiting", (), "Requests to join that wait to be looked at or to start."
        )
        self._http_refused = Counter(
            "lkpy_http_refused_total", ("reason",), "HTTP connections that broke a bound."
        )
        self._labels = {"node_id": node_id, "node_type": "SERVER"}
        self.trouble = TroubleMetrics()
        self.agents = AgentMetrics()
        self._media = MediaMetrics()
        self._updating = asyncio.Lock()
        """Held by one of those who bring it up to date: they let others have their turn."""
        self._process = ProcessMetrics()
        self._interfaces = InterfaceMetrics()
        self._webhooks = webhooks
        self._collect = collect
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to sample, on the running loop."""
        self._task = background("media metrics", self._run)

    async def stop(self) -> None:
        """Sample no more. Idempotent."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(MEDIA_SAMPLE_INTERVAL_S)
            snapshot = await self._snapshot()
            if snapshot is not None:
                async with self._updating:
                    await self._media.update(snapshot)
                    await self._media.sample(snapshot)

    async def _snapshot(self) -> stats_pb2.Snapshot | None:
        try:
            return await self._collect()
        except LkpyError as error:
            logger.warning("observing media failed", extra=fields(error=error.message))
        except Exception:
            # Metrics of everything else go on.
            logger.exception("observing media failed")
        return None

    async def text(
        self,
        *,
        signal_messages: tuple[int, int],
        signal_connections: int,
        signal_closing: int,
        webhooks_queued: int,
        http_held: int = 0,
        joins_waiting: int = 0,
        http_refused: Mapping[str, int] | None = None,
    ) -> str:
        """Everything, in Prometheus' text format. An engine that does not answer leaves what was
        known of media before. ``signal_messages``: requests and responses so far."""
        for direction, count in zip(("request", "response"), signal_messages, strict=True):
            self._signal_messages.set("signal", "success", direction, to=count)
        self._signal_connections.set(to=signal_connections)
        self._signal_closing.set(to=signal_closing)
        self._webhook_queue.set(to=webhooks_queued)
        self._http_held.set(to=http_held)
        self._joins_waiting.set(to=joins_waiting)
        for reason, times in (http_refused or {}).items():
            self._http_refused.set(reason, to=times)
        snapshot = await self._snapshot()
        if snapshot is not None:
            async with self._updating:
                await self._media.update(snapshot)
        self._process.update()
        self._interfaces.update()
        instruments = itertools.chain(
            self.server.instruments(),
            self._media.instruments(),
            self.trouble.instruments(),
            self.agents.instruments(),
            (self._signal_messages, self._signal_connections, self._signal_closing),
            (self._webhook_queue, self._http_held, self._http_refused, self._joins_waiting),
            (self._webhooks.dispatch, self._webhooks.queue_length, self._interfaces.packets),
        )
        return render(instruments, self._labels) + render(self._process.instruments(), {})
