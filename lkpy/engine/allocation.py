"""How the engine divides what a subscriber's connection carries: the figures of its rules.

The engine's own defaults are LiveKit's; ``rust/sfu/src/allocator.rs`` and ``bandwidth`` say what
the figures do.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TrendConfig:
    """When estimates fall."""

    samples: int
    """Kept, and enough for a trend; 1 at least."""
    samples_min: int
    """Enough for a falling one that stretches over ``max_wait_ms``."""
    downward: float
    """Kendall's tau below which the trend is downward."""
    max_wait_ms: int
    collapse_ms: int
    """An estimate that is repeated within this time is not another sample."""
    validity_ms: int
    """Age at which a sample is forgotten; 0: at none."""


@dataclass(frozen=True, slots=True)
class LossConfig:
    """When repeated requests for lost packets mean congestion."""

    window_min_ms: int
    """They are counted for so long first; 0: they never mean it."""
    window_max_ms: int
    """Counting begins anew after this time; 0: it goes on."""
    threshold: float
    """Share of packets."""


@dataclass(frozen=True, slots=True)
class ObserverConfig:
    """How estimates and lost packets are judged."""

    trend: TrendConfig
    losses: LossConfig


@dataclass(frozen=True, slots=True)
class RegulatorConfig:
    """How often to probe, and for how long."""

    base_interval_ms: int
    backoff: float
    """After congestion the interval is longer by this factor, 0 or more."""
    max_interval_ms: int
    min_duration_ms: int
    max_duration_ms: int
    growth: float
    """After anything else the duration is longer by this factor, 0 or more."""


@dataclass(frozen=True, slots=True)
class EstimatorConfig:
    """What a connection carries."""

    loss_attenuator: float
    """Of repeatedly lost packets this share is taken off what is sent."""
    usage_threshold: float
    """A capacity above this share of what is sent changes nothing."""
    normal: ObserverConfig
    probe: ObserverConfig
    """Judges while a probe is sent."""
    regulator: RegulatorConfig
    settle_rtts: int
    """Round trips for which a probe's effect is waited for, within the two limits."""
    settle_min_ms: int
    settle_max_ms: int


@dataclass(frozen=True, slots=True)
class AllocatorConfig:
    """Who gets how much of it."""

    min_capacity: int
    """Bits per second that are divided at least."""
    probe_overage_percent: int
    """A probe sends so much of what the next layer takes in addition."""
    probe_min_bps: int
    """So much in addition at least."""
    paused_min_wait_ms: int
    """After so long without any packet congestion is forgotten."""
    estimator: EstimatorConfig
