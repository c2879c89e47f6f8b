//! `EngineConfig` from Python, `EngineInfo` to it.

use std::net::IpAddr;
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::commands::{get, milliseconds};
use crate::{allocation, to_python};
use engine::api::{Candidate, Code, EngineConfig, EngineError, EngineInfo, RtxBudgetConfig};

pub(crate) fn read(config: &Bound<'_, PyAny>) -> PyResult<EngineConfig> {
    let py = config.py();
    let (low, middle, high): (u64, u64, u64) = get(config, "pli_throttle_ms")?;
    let advertise: Option<Vec<String>> = get(config, "advertise")?;
    let allocator: Option<Bound<'_, PyAny>> = get(config, "allocator")?;
    let allocator = allocator.as_ref().map(allocation::read).transpose()?;
    Ok(EngineConfig {
        workers: get(config, "workers")?,
        bind: addresses(py, &get::<Vec<String>>(config, "bind")?)?,
        udp_port: get(config, "udp_port")?,
        tcp_port: get(config, "tcp_port")?,
        advertise: advertise.map(|texts| addresses(py, &texts)).transpose()?,
        packet_buffer_video: get(config, "packet_buffer_size_video")?,
        packet_buffer_audio: get(config, "packet_buffer_size_audio")?,
        pli_throttle: [low, middle, high].map(Duration::from_millis),
        rtx_budget_audio: rtx_budget(config, "rtx_budget_audio")?,
        rtx_budget_video: rtx_budget(config, "rtx_budget_video")?,
        audio_interval: milliseconds(config, "audio_interval_ms")?,
        audio_active_level: get(config, "audio_active_level")?,
        congestion_control: get(config, "congestion_control")?,
        allocator: allocator.unwrap_or_default(),
        ice_disconnected: milliseconds(config, "ice_disconnected_ms")?,
        ice_failed: milliseconds(config, "ice_failed_ms")?,
        command_queue: get(config, "command_queue")?,
        event_queue: get(config, "event_queue")?,
        data_channel_buffer: get(config, "data_channel_buffer")?,
        data_track_target_latency: milliseconds(config, "data_track_target_latency_ms")?,
        data_lossy_target_latency: milliseconds(config, "data_lossy_target_latency_ms")?,
        data_slow_threshold: get(config, "data_slow_threshold")?,
        worker_stall: milliseconds(config, "worker_stall_ms")?,
        fault_injection: get(config, "fault_injection")?,
    })
}

fn rtx_budget(config: &Bound<'_, PyAny>, name: &str) -> PyResult<Option<RtxBudgetConfig>> {
    let budget: Option<(f64, usize)> = get(config, name)?;
    Ok(budget.map(|(ratio, burst)| RtxBudgetConfig { ratio, burst }))
}

pub(crate) fn info(py: Python<'_>, info: &EngineInfo) -> PyResult<Py<PyAny>> {
    let api = py.import("lkpy.engine.api")?;
    let candidate_class = api.getattr("IceCandidate")?;
    let candidate = |candidate: &Candidate| {
        candidate_class.call1((
            &candidate.foundation,
            candidate.component,
            &candidate.protocol,
            candidate.priority,
            &candidate.address,
            candidate.port,
            &candidate.kind,
            candidate.tcp_type.as_deref(),
        ))
    };
    let worker_class = api.getattr("WorkerInfo")?;
    let mut workers = Vec::new();
    for worker in &info.workers {
        let candidates: Vec<_> = worker
            .candidates
            .iter()
            .map(candidate)
            .collect::<PyResult<_>>()?;
        workers.push(worker_class.call1((worker.worker, PyTuple::new(py, candidates)?))?);
    }
    let workers = PyTuple::new(py, workers)?;
    let class = api.getattr("EngineInfo")?;
    let info = class.call1((&info.fingerprint_algorithm, &info.fingerprint, workers))?;
    Ok(info.unbind())
}

fn addresses(py: Python<'_>, texts: &[String]) -> PyResult<Vec<IpAddr>> {
    let parse = |text: &String| {
        text.parse().map_err(|_| {
            let message = format!("{text:?} is not an IP address");
            EngineError::new(Code::InvalidArgument, message)
        })
    };
    let parsed: Result<_, _> = texts.iter().map(parse).collect();
    parsed.map_err(|error| to_python(py, &error))
}
