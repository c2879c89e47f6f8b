"""``rtc.congestion_control``: every figure reaches the engine, or is refused by name."""

from __future__ import annotations

import pytest

from lkpy.engine.allocation import (
    AllocatorConfig,
    EstimatorConfig,
    LossConfig,
    ObserverConfig,
    RegulatorConfig,
    TrendConfig,
)
from lkpy.errors import ConfigError
from lkpy.server.config import RtcConfig
from lkpy.server.config_load import load
from lkpy.server.media import engine_config

KEYS = f"keys: {{key: {'s' * 32}}}\n"

LIVEKITS_DEFAULTS = AllocatorConfig(
    min_capacity=0,
    probe_overage_percent=120,
    probe_min_bps=200_000,
    paused_min_wait_ms=5_000,
    estimator=EstimatorConfig(
        loss_attenuator=0.4,
        usage_threshold=0.95,
        normal=ObserverConfig(
            TrendConfig(12, 8, -0.6, max_wait_ms=5_000, collapse_ms=500, validity_ms=10_000),
            LossConfig(2_000, 3_000, 0.08),
        ),
        probe=ObserverConfig(
            TrendConfig(3, 3, 0.0, max_wait_ms=5_000, collapse_ms=0, validity_ms=10_000),
            LossConfig(500, 1_000, 0.04),
        ),
        regulator=RegulatorConfig(3_000, 1.5, 120_000, 200, 20_000, 1.5),
        settle_rtts=5,
        settle_min_ms=250,
        settle_max_ms=5_000,
    ),
)
"""livekit-server 1.13.11: ``streamallocator.go``, ``remote_bwe.go`` and what they are made of."""

FILE = """
rtc:
  congestion_control:
    stream_allocator:
      min_channel_capacity: 1
      probe_overage_pct: 2
      probe_min_bps: 3
      paused_min_wait: 4ms
      probe_mode: padding
      disable_etimation_unmanaged_tracks: false
    remote_bwe:
      nack_ratio_attenuator: 0.5
      expected_usage_threshold: 6
      channel_observer_non_probe:
        estimate:
          required_samples: 7
          required_samples_min: 8
          downward_trend_threshold: -0.9
          downward_trend_max_wait: 10ms
          collapse_threshold: 11ms
          validity_window: 12ms
        nack: {window_min_duration: 13ms, window_max_duration: 14ms, ratio_threshold: 0.15}
      channel_observer_probe:
        estimate:
          required_samples: 16
          required_samples_min: 17
          downward_trend_threshold: 0.18
          downward_trend_max_wait: 19ms
          collapse_threshold: 20ms
          validity_window: 21ms
        nack: {window_min_duration: 22ms, window_max_duration: 23ms, ratio_threshold: 0.24}
      probe_controller:
        settle_wait_num_rtt: 25
        settle_wait_min: 26ms
        settle_wait_max: 27ms
        probe_regulator:
          base_interval: 28ms
          backoff_factor: 29
          max_interval: 30ms
          min_duration: 31ms
          max_duration: 32ms
          duration_increase_factor: 33
"""


def allocator(text: str) -> AllocatorConfig | None:
    return engine_config(load(config_body=KEYS + text).config).allocator


def test_the_defaults_are_livekits() -> None:
    assert allocator("") == LIVEKITS_DEFAULTS


def test_every_figure_reaches_the_engine() -> None:
    assert allocator(FILE) == AllocatorConfig(
        min_capacity=1,
        probe_overage_percent=2,
        probe_min_bps=3,
        paused_min_wait_ms=4,
        estimator=EstimatorConfig(
            loss_attenuator=0.5,
            usage_threshold=6,
            normal=ObserverConfig(TrendConfig(7, 8, -0.9, 10, 11, 12), LossConfig(13, 14, 0.15)),
            probe=ObserverConfig(TrendConfig(16, 17, 0.18, 19, 20, 21), LossConfig(22, 23, 0.24)),
            regulator=RegulatorConfig(28, 29, 30, 31, 32, 33),
            settle_rtts=25,
            settle_min_ms=26,
            settle_max_ms=27,
        ),
    )
    assert load(config_body=KEYS + FILE).warnings == ()


def test_what_a_file_leaves_out_keeps_the_default_of_its_place() -> None:
    section = RtcConfig.model_validate(
        {
            "congestion_control": {
                "remote_bwe": {"channel_observer_probe": {"estimate": {"required_samples": 5}}}
            }
        }
    )
    engine = section.congestion_control.to_engine().estimator
    assert engine.probe.trend == TrendConfig(5, 3, 0.0, 5_000, 0, 10_000)
    assert engine.probe.losses == LIVEKITS_DEFAULTS.estimator.probe.losses
    assert engine.normal == LIVEKITS_DEFAULTS.estimator.normal


def test_only_zero_is_zero() -> None:
    for text, expected in [("0s", 0), ("10us", 1), ("700ns", 1), ("1500us", 2)]:
        figures = allocator(
            f"rtc: {{congestion_control: {{stream_allocator: {{paused_min_wait: {text}}}}}}}"
        )
        assert figures is not None
        assert figures.paused_min_wait_ms == expected


def test_flags_and_variables() -> None:
    variable = "LIVEKIT_RTC_CONGESTION_CONTROL_REMOTE_BWE_PROBE_CONTROLLER_SETTLE_WAIT_MIN"
    loaded = load(environ={"LIVEKIT_CONFIG": KEYS, variable: "1m"})
    engine = loaded.config.rtc.congestion_control.to_engine()
    assert engine.estimator.settle_min_ms == 60_000


STREAM_ALLOCATOR = "rtc.congestion_control.stream_allocator"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stream_allocator: {probe_min_bps: many}", "probe_min_bps': Input should be a valid int"),
        ("stream_allocator: {min_channel_capacity: -1}", "should be greater than or equal to 0"),
        ("stream_allocator: {paused_min_wait: soon}", "paused_min_wait': expected a duration"),
        ("stream_allocator: {probe_mode: media}", f"'{STREAM_ALLOCATOR}.probe_mode' is set, but"),
        ("stream_allocator: {probe_mode: [x]}", "probe_mode': expected text"),
        (
            "stream_allocator: {disable_etimation_unmanaged_tracks: true}",
            "disable_etimation_unmanaged_tracks' is set, but not supported",
        ),
        ("stream_allocator: {probe_min: 1}", "did you mean 'probe_min_bps'?"),
        ("remote_bwe: 5", "'rtc.congestion_control.remote_bwe': expected a mapping"),
        ("remote_bwe: {nack_ratio_attenuator: .nan}", "nack_ratio_attenuator'"),
        ("remote_bwe: {chanel_observer_probe: {}}", "did you mean 'channel_observer_probe'?"),
        ("remote_bwe: {channel_observer_probe: {nack: {ratio_treshold: 1}}}", "'ratio_threshold'?"),
        (
            "remote_bwe: {channel_observer_probe: {estimate: {required_samples: 0}}}",
            "channel_observer_probe.estimate.required_samples': Input should be greater",
        ),
        (
            "remote_bwe: {probe_controller: {probe_regulator: {backoff_factor: -1}}}",
            "probe_regulator.backoff_factor': Input should be greater",
        ),
        (
            "remote_bwe: {probe_controller: {probe_regulator: {max_interval: 999999h}}}",
            "probe_regulator.max_interval': Input should be less than or equal to 86400",
        ),
    ],
)
def test_what_is_wrong_is_named(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load(config_body=KEYS + f"rtc: {{congestion_control: {{{text}}}}}")
    assert message in refused.value.message
