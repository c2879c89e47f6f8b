"""Counts of webhooks, under LiveKit's names (protocol ``webhook/stats.go``)."""

from __future__ import annotations

from lkpy.server.telemetry.exposition import Counter, Histogram


class WebhookMetrics:
    """How many events were sent, given up or dropped, and how long their queues were."""

    def __init__(self) -> None:
        self.dispatch = Counter("livekit_webhook_dispatch_total", ("status", "reason"))
        self.queue_length = Histogram(
            "livekit_webhook_queue_length", (1, 2, 3, 4, 5, 10, 20, 40, 80)
        )

    def dispatched(self, status: str, reason: str = "") -> None:
        """An event's way ended: ``success``, ``failure`` or ``drop`` with a reason."""
        self.dispatch.add(status, reason)

    def queued(self, depth: int) -> None:
        """An event was queued as the ``depth``-th of its resource."""
        self.queue_length.observe(depth)
