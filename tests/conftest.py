"""What holds for every test."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# A processor that somebody else has makes an example slow, not wrong.
settings.register_profile("lkpy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("lkpy")
