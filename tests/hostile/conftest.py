"""What tests of hostile clients share."""

from __future__ import annotations

from collections import Counter

import pytest

from lkpy.server.telemetry.events import SignalLimited, TelemetryEvent
from tests.control_plane import Harness


@pytest.fixture
def told(server: Harness) -> Counter[str]:
    """How often signal connections of the test's ``server`` were limited, by reason."""
    counts: Counter[str] = Counter()

    def listen(event: TelemetryEvent) -> None:
        if isinstance(event, SignalLimited):
            counts[event.reason] += 1

    telemetry = server.server._reporting.telemetry
    telemetry._listeners = (*telemetry._listeners, listen)
    return counts
