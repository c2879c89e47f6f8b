//! `AllocatorConfig` from Python.

use pyo3::prelude::*;

use crate::commands::{get, milliseconds};
use engine::api::{
    AllocatorConfig, EstimatorConfig, LossConfig, ObserverConfig, RegulatorConfig, TrendConfig,
};

type Object<'py> = Bound<'py, PyAny>;

pub(crate) fn read(config: &Object<'_>) -> PyResult<AllocatorConfig> {
    Ok(AllocatorConfig {
        min_capacity: get(config, "min_capacity")?,
        probe_overage_percent: get(config, "probe_overage_percent")?,
        probe_min_bps: get(config, "probe_min_bps")?,
        paused_min_wait: milliseconds(config, "paused_min_wait_ms")?,
        estimator: estimator(&get(config, "estimator")?)?,
    })
}

fn estimator(config: &Object<'_>) -> PyResult<EstimatorConfig> {
    Ok(EstimatorConfig {
        loss_attenuator: get(config, "loss_attenuator")?,
        usage_threshold: get(config, "usage_threshold")?,
        normal: observer(&get(config, "normal")?)?,
        probe: observer(&get(config, "probe")?)?,
        regulator: regulator(&get(config, "regulator")?)?,
        settle_rtts: get(config, "settle_rtts")?,
        settle_min: milliseconds(config, "settle_min_ms")?,
        settle_max: milliseconds(config, "settle_max_ms")?,
    })
}

fn observer(config: &Object<'_>) -> PyResult<ObserverConfig> {
    let (trend, losses): (Object<'_>, Object<'_>) = (get(config, "trend")?, get(config, "losses")?);
    Ok(ObserverConfig {
        trend: TrendConfig {
            samples: get(&trend, "samples")?,
            samples_min: get(&trend, "samples_min")?,
            downward: get(&trend, "downward")?,
            max_wait: milliseconds(&trend, "max_wait_ms")?,
            collapse: milliseconds(&trend, "collapse_ms")?,
            validity: milliseconds(&trend, "validity_ms")?,
        },
        losses: LossConfig {
            window_min: milliseconds(&losses, "window_min_ms")?,
            window_max: milliseconds(&losses, "window_max_ms")?,
            threshold: get(&losses, "threshold")?,
        },
    })
}

fn regulator(config: &Object<'_>) -> PyResult<RegulatorConfig> {
    Ok(RegulatorConfig {
        base_interval: milliseconds(config, "base_interval_ms")?,
        backoff: get(config, "backoff")?,
        max_interval: milliseconds(config, "max_interval_ms")?,
        min_duration: milliseconds(config, "min_duration_ms")?,
        max_duration: milliseconds(config, "max_duration_ms")?,
        growth: get(config, "growth")?,
    })
}
