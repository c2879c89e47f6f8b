"""Who listens to a server: webhooks, put together from the configuration."""

from __future__ import annotations

from lkpy.clock import Clock
from lkpy.server.config import ServerConfig
from lkpy.server.telemetry.events import Listener, Telemetry
from lkpy.server.telemetry.webhook_events import WebhookListener
from lkpy.server.telemetry.webhook_metrics import WebhookMetrics
from lkpy.server.telemetry.webhook_notifier import WebhookNotifier, WebhookOptions


class Reporting:
    """Tells others of what happens here."""

    def __init__(self, config: ServerConfig, clock: Clock) -> None:
        self._webhooks = _webhooks(config, clock)
        listeners: list[Listener] = []
        if self._webhooks is not None:
            full_room = config.room.enable_full_room_in_webhooks
            listeners.append(WebhookListener(self._webhooks.notify, full_room=full_room))
        self.telemetry = Telemetry(*listeners)

    def start(self) -> None:
        """Begin to report, on the running loop."""
        if self._webhooks is not None:
            self._webhooks.start()

    async def stop(self) -> None:
        """Report what is left, within a bounded time, and end. Idempotent."""
        if self._webhooks is not None:
            await self._webhooks.stop()


def _webhooks(config: ServerConfig, clock: Clock) -> WebhookNotifier | None:
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
    return WebhookNotifier(options, clock, WebhookMetrics())
