"""``rtc.congestion_control`` of the configuration: what a subscriber's connection carries, and what
becomes of video for which there is no room.

Names and defaults are LiveKit's (``pkg/sfu/streamallocator``, ``pkg/sfu/bwe/remotebwe``,
``pkg/sfu/ccutils``).
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from lkpy.engine.allocation import (
    AllocatorConfig,
    EstimatorConfig,
    LossConfig,
    ObserverConfig,
    RegulatorConfig,
    TrendConfig,
)
from lkpy.server.config_types import Duration, Section

Wait = Annotated[Duration, Field(ge=0, le=86_400)]
Bps = Annotated[int, Field(ge=0, le=10**12)]
Percent = Annotated[int, Field(ge=0, le=10**6)]
RoundTrips = Annotated[int, Field(ge=0, le=1000)]
Samples = Annotated[int, Field(ge=1, le=100)]
"""All are compared with each other at every estimate."""
Share = Annotated[float, Field(ge=0, le=1)]
Tau = Annotated[float, Field(ge=-1, le=1)]
Factor = Annotated[float, Field(ge=0, le=1000)]


class TrendDetectorConfig(Section):
    """When a subscriber's estimates fall."""

    required_samples: Samples = 12
    required_samples_min: Samples = 8
    downward_trend_threshold: Tau = -0.6
    downward_trend_max_wait: Wait = 5.0
    collapse_threshold: Wait = 0.5
    validity_window: Wait = 10.0

    def to_engine(self) -> TrendConfig:
        """The same figures for the engine."""
        return TrendConfig(
            samples=self.required_samples,
            samples_min=self.required_samples_min,
            downward=self.downward_trend_threshold,
            max_wait_ms=_ms(self.downward_trend_max_wait),
            collapse_ms=_ms(self.collapse_threshold),
            validity_ms=_ms(self.validity_window),
        )


class ProbeTrendDetectorConfig(TrendDetectorConfig):
    """The same while a probe is sent."""

    required_samples: Samples = 3
    required_samples_min: Samples = 3
    downward_trend_threshold: Tau = 0.0
    collapse_threshold: Wait = 0.0


class NackTrackerConfig(Section):
    """When repeated NACKs mean congestion."""

    window_min_duration: Wait = 2.0
    window_max_duration: Wait = 3.0
    ratio_threshold: Share = 0.08

    def to_engine(self) -> LossConfig:
        """The same figures for the engine."""
        return LossConfig(
            window_min_ms=_ms(self.window_min_duration),
            window_max_ms=_ms(self.window_max_duration),
            threshold=self.ratio_threshold,
        )


class ProbeNackTrackerConfig(NackTrackerConfig):
    """The same while a probe is sent."""

    window_min_duration: Wait = 0.5
    window_max_duration: Wait = 1.0
    ratio_threshold: Share = 0.04


class ChannelObserverConfig(Section):
    """What means congestion."""

    estimate: TrendDetectorConfig = TrendDetectorConfig()
    nack: NackTrackerConfig = NackTrackerConfig()

    def to_engine(self) -> ObserverConfig:
        """The same figures for the engine."""
        return ObserverConfig(self.estimate.to_engine(), self.nack.to_engine())


class ProbeChannelObserverConfig(ChannelObserverConfig):
    """The same while a probe is sent."""

    estimate: ProbeTrendDetectorConfig = ProbeTrendDetectorConfig()
    nack: ProbeNackTrackerConfig = ProbeNackTrackerConfig()


class ProbeRegulatorConfig(Section):
    """How often to probe, and for how long."""

    base_interval: Wait = 3.0
    backoff_factor: Factor = 1.5
    max_interval: Wait = 120.0
    min_duration: Wait = 0.2
    max_duration: Wait = 20.0
    duration_increase_factor: Factor = 1.5

    def to_engine(self) -> RegulatorConfig:
        """The same figures for the engine."""
        return RegulatorConfig(
            base_interval_ms=_ms(self.base_interval),
            backoff=self.backoff_factor,
            max_interval_ms=_ms(self.max_interval),
            min_duration_ms=_ms(self.min_duration),
            max_duration_ms=_ms(self.max_duration),
            growth=self.duration_increase_factor,
        )


class ProbeControllerConfig(Section):
    """When to probe, and when a probe's result is known."""

    probe_regulator: ProbeRegulatorConfig = ProbeRegulatorConfig()
    settle_wait_num_rtt: RoundTrips = 5
    settle_wait_min: Wait = 0.25
    settle_wait_max: Wait = 5.0


class RemoteBweConfig(Section):
    """What a connection carries, by its subscriber's estimates (REMB) and NACKs."""

    nack_ratio_attenuator: Share = 0.4
    expected_usage_threshold: Factor = 0.95
    channel_observer_probe: ProbeChannelObserverConfig = ProbeChannelObserverConfig()
    channel_observer_non_probe: ChannelObserverConfig = ChannelObserverConfig()
    probe_controller: ProbeControllerConfig = ProbeControllerConfig()

    def to_engine(self) -> EstimatorConfig:
        """The same figures for the engine."""
        return EstimatorConfig(
            loss_attenuator=self.nack_ratio_attenuator,
            usage_threshold=self.expected_usage_threshold,
            normal=self.channel_observer_non_probe.to_engine(),
            probe=self.channel_observer_probe.to_engine(),
            regulator=self.probe_controller.probe_regulator.to_engine(),
            settle_rtts=self.probe_controller.settle_wait_num_rtt,
            settle_min_ms=_ms(self.probe_controller.settle_wait_min),
            settle_max_ms=_ms(self.probe_controller.settle_wait_max),
        )


class StreamAllocatorConfig(Section):
    """How a connection's bandwidth is divided."""

    min_channel_capacity: Bps = 0
    probe_overage_pct: Percent = 120
    probe_min_bps: Bps = 200_000
    paused_min_wait: Wait = 5.0


class CongestionControlConfig(Section):
    """What becomes of video for which a subscriber's connection has no room."""

    enabled: bool = True
    """If not, every subscriber is sent what it wants."""
    allow_pause: bool = False
    """Pause tracks whose lowest layer does not fit; clients may say otherwise."""
    stream_allocator: StreamAllocatorConfig = StreamAllocatorConfig()
    remote_bwe: RemoteBweConfig = RemoteBweConfig()

    def to_engine(self) -> AllocatorConfig:
        """The figures of both for the engine."""
        allocator = self.stream_allocator
        return AllocatorConfig(
            min_capacity=allocator.min_channel_capacity,
            probe_overage_percent=allocator.probe_overage_pct,
            probe_min_bps=allocator.probe_min_bps,
            paused_min_wait_ms=_ms(allocator.paused_min_wait),
            estimator=self.remote_bwe.to_engine(),
        )


def _ms(seconds: float) -> int:
    """Zero alone is 0, which has a meaning of its own in places."""
    return round(seconds * 1000) or int(seconds > 0)
