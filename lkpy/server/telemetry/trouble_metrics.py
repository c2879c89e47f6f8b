"""What is counted of media that goes wrong."""

from __future__ import annotations

from collections.abc import Iterator

from livekit.protocol import rtc

from lkpy.server.telemetry.events import (
    MediaStalled,
    MediaWorkerFailed,
    MediaWorkerStalled,
    TelemetryEvent,
    TransportDropped,
)
from lkpy.server.telemetry.exposition import Counter, Gauge, Instrument


class TroubleMetrics:
    """A listener that counts failures of the media engine and of what it carries."""

    def __init__(self) -> None:
        self.worker_failures = Counter(
            "lkpy_engine_worker_failures_total",
            ("replaced",),
            "Media workers that lost everything that was on them.",
        )
        self.workers_stalled = Gauge(
            "lkpy_engine_worker_stalled", ("worker",), "1 while a turn of the worker does not end."
        )

        self.dropping = Counter(
            "lkpy_dropping_transports_total",
            ("transport", "reason"),
            "Connections whose packets began to be dropped, by why.",
        )

        self.stalls = Counter(
            "lkpy_media_stalls_total",
            ("direction", "cause"),
            "Tracks that should have flowed and did not for seconds.",
        )

    def instruments(self) -> Iterator[Instrument]:
        """Everything that is counted here."""
        for value in vars(self).values():
            if isinstance(value, Instrument):
                yield value

    def __call__(self, event: TelemetryEvent) -> None:
        """Count."""
        match event:
            case MediaWorkerFailed():
                self.worker_failures.add("true" if event.replaced else "false")
                self.workers_stalled.set(str(event.worker), to=0)
            case MediaWorkerStalled():
                self.workers_stalled.set(str(event.worker), to=float(event.stalled))
            case MediaStalled():
                self.stalls.add(event.direction, event.cause)
            case TransportDropped():
                target = rtc.SignalTarget.Name(event.target).lower()
                self.dropping.add(target, event.reason)
            case _:
                pass
