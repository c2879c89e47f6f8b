//! Events to Python: dataclasses of `lkpy.engine.api`, built by position.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyTuple};

use engine::api::{
    DataDownTrackStats, DataTrackStats, DownTrackStats, DtlsState, Event, IceState, LayerStats,
    StatsCollected, TransportStats, WorkerStats,
};

/// The classes of `lkpy.engine.api`, looked up once.
pub(crate) struct Builder {
    ice_state: [Py<PyAny>; 5],
    dtls_state: [Py<PyAny>; 5],
    ice_state_changed: Py<PyAny>,
    dtls_state_changed: Py<PyAny>,
    transport_closed: Py<PyAny>,
    data_channel_opened: Py<PyAny>,
    data_channel_closed: Py<PyAny>,
    data_received: Py<PyAny>,
    data_channel_overflow: Py<PyAny>,
    packets_dropped: Py<PyAny>,
    receiver_layers_changed: Py<PyAny>,
    receiver_stalled: Py<PyAny>,
    down_track_stalled: Py<PyAny>,
    stream_states_changed: Py<PyAny>,
    audio_levels: Py<PyAny>,
    worker_failed: Py<PyAny>,
    worker_stalled: Py<PyAny>,
    command_failed: Py<PyAny>,
    stats_collected: Py<PyAny>,
    transport_stats: Py<PyAny>,
    layer_stats: Py<PyAny>,
    down_track_stats: Py<PyAny>,
    data_track_stats: Py<PyAny>,
    data_down_track_stats: Py<PyAny>,
    worker_stats: Py<PyAny>,
}

impl Builder {
    pub(crate) fn new(py: Python<'_>) -> PyResult<Self> {
        let api = py.import("lkpy.engine.api")?;
        let class = |name: &str| Ok::<_, PyErr>(api.getattr(name)?.unbind());
        let members = |name: &str, members: [&str; 5]| {
            let class = api.getattr(name)?;
            let mut found = Vec::new();
            for member in members {
                found.push(class.getattr(member)?.unbind());
            }
            <[Py<PyAny>; 5]>::try_from(found)
                .map_err(|_| pyo3::exceptions::PyTypeError::new_err("five states"))
        };
        Ok(Self {
            ice_state: members(
                "IceState",
                ["NEW", "CHECKING", "CONNECTED", "DISCONNECTED", "FAILED"],
            )?,
            dtls_state: members(
                "DtlsState",
                ["NEW", "CONNECTING", "CONNECTED", "CLOSED", "FAILED"],
            )?,
            ice_state_changed: class("IceStateChanged")?,
            dtls_state_changed: class("DtlsStateChanged")?,
            transport_closed: class("TransportClosed")?,
            data_channel_opened: class("DataChannelOpened")?,
            data_channel_closed: class("DataChannelClosed")?,
            data_received: class("DataReceived")?,
            data_channel_overflow: class("DataChannelOverflow")?,
            packets_dropped: class("PacketsDropped")?,
            receiver_layers_changed: class("ReceiverLayersChanged")?,
            receiver_stalled: class("ReceiverStalled")?,
            down_track_stalled: class("DownTrackStalled")?,
            stream_states_changed: class("StreamStatesChanged")?,
            audio_levels: class("AudioLevels")?,
            worker_failed: class("WorkerFailed")?,
            worker_stalled: class("WorkerStalled")?,
            command_failed: class("CommandFailed")?,
            stats_collected: class("StatsCollected")?,
            transport_stats: class("TransportStats")?,
            layer_stats: class("LayerStats")?,
            down_track_stats: class("DownTrackStats")?,
            data_track_stats: class("DataTrackStats")?,
            data_down_track_stats: class("DataDownTrackStats")?,
            worker_stats: class("WorkerStats")?,
        })
    }

    pub(crate) fn build<'py>(&self, py: Python<'py>, event: Event) -> PyResult<Bound<'py, PyAny>> {
        match event {
            Event::IceStateChanged {
                transport,
                state,
                local,
                remote,
                protocol,
            } => {
                let state = self.ice_state(state).bind(py);
                let fields = (transport, state, local, remote, protocol);
                self.ice_state_changed.bind(py).call1(fields)
            }
            Event::DtlsStateChanged {
                transport,
                state,
                srtp_profile,
                reason,
            } => {
                let state = self.dtls_state(state).bind(py);
                let fields = (transport, state, srtp_profile, reason);
                self.dtls_state_changed.bind(py).call1(fields)
            }
            Event::TransportClosed { transport, reason } => {
                self.transport_closed.bind(py).call1((transport, reason))
            }
            Event::DataChannelOpened {
                transport,
                stream_id,
                label,
                protocol,
                ordered,
                max_retransmits,
            } => self.data_channel_opened.bind(py).call1((
                transport,
                stream_id,
                label,
                protocol,
                ordered,
                max_retransmits,
            )),
            Event::DataChannelClosed {
                transport,
                stream_id,
            } => self
                .data_channel_closed
                .bind(py)
                .call1((transport, stream_id)),
            Event::DataReceived {
                transport,
                stream_id,
                payload,
                binary,
            } => {
                let payload = PyBytes::new(py, &payload);
                let fields = (transport, stream_id, payload, binary);
                self.data_received.bind(py).call1(fields)
            }
            Event::DataChannelOverflow {
                transport,
                stream_id,
                buffered,
            } => {
                let fields = (transport, stream_id, buffered);
                self.data_channel_overflow.bind(py).call1(fields)
            }
            Event::PacketsDropped { transport, reason } => {
                self.packets_dropped.bind(py).call1((transport, reason))
            }
            Event::ReceiverLayersChanged {
                receiver,
                layers,
                mime_type,
            } => {
                let fields = (receiver, PyTuple::new(py, layers)?, mime_type);
                self.receiver_layers_changed.bind(py).call1(fields)
            }
            Event::ReceiverStalled {
                receiver,
                stalled,
                cause,
                elapsed_ms,
            } => {
                let fields = (receiver, stalled, cause, elapsed_ms);
                self.receiver_stalled.bind(py).call1(fields)
            }
            Event::DownTrackStalled {
                transport,
                down_track,
                stalled,
                cause,
                elapsed_ms,
            } => {
                let fields = (transport, down_track, stalled, cause, elapsed_ms);
                self.down_track_stalled.bind(py).call1(fields)
            }
            Event::StreamStatesChanged { transport, states } => {
                let fields = (transport, PyTuple::new(py, states)?);
                self.stream_states_changed.bind(py).call1(fields)
            }
            Event::AudioLevels { worker, levels } => {
                let fields = (worker, PyTuple::new(py, levels)?);
                self.audio_levels.bind(py).call1(fields)
            }
            Event::WorkerFailed {
                worker,
                reason,
                replaced,
            } => {
                let fields = (worker, reason, replaced);
                self.worker_failed.bind(py).call1(fields)
            }
            Event::WorkerStalled {
                worker,
                stalled,
                elapsed_ms,
            } => {
                let fields = (worker, stalled, elapsed_ms);
                self.worker_stalled.bind(py).call1(fields)
            }
            Event::CommandFailed {
                command,
                subject,
                code,
                message,
            } => {
                let fields = (command, subject, code.as_str(), message);
                self.command_failed.bind(py).call1(fields)
            }
            Event::StatsCollected(stats) => self.stats(py, &stats),
        }
    }

    fn stats<'py>(&self, py: Python<'py>, stats: &StatsCollected) -> PyResult<Bound<'py, PyAny>> {
        let worker = self.worker_stats(py, &stats.worker)?;
        let transports = all(py, &stats.transports, |stats| {
            self.transport_stats(py, stats)
        })?;
        let layers = all(py, &stats.layers, |stats| self.layer_stats(py, stats))?;
        let down_tracks = all(py, &stats.down_tracks, |s| self.down_track_stats(py, s))?;
        let data_tracks = all(py, &stats.data_tracks, |s| self.data_track_stats(py, s))?;
        let data_down_tracks = all(py, &stats.data_down_tracks, |stats| {
            self.data_down_track_stats(py, stats)
        })?;
        let fields = (
            stats.request,
            worker,
            transports,
            layers,
            down_tracks,
            data_tracks,
            data_down_tracks,
        );
        self.stats_collected.bind(py).call1(fields)
    }

    fn transport_stats<'py>(
        &self,
        py: Python<'py>,
        stats: &TransportStats,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.transport_stats.bind(py).call1((
            stats.transport,
            stats.packets_received,
            stats.bytes_received,
            stats.packets_sent,
            stats.bytes_sent,
            stats.srtp_errors,
            stats.rtt_ms,
            stats.retransmissions_sent,
            stats.estimate_bps,
            stats.capacity_bps,
            counts(py, &stats.drops_by_reason)?,
        ))
    }

    fn layer_stats<'py>(&self, py: Python<'py>, stats: &LayerStats) -> PyResult<Bound<'py, PyAny>> {
        let fields = PyDict::new(py);
        fields.set_item("receiver", stats.receiver)?;
        fields.set_item("spatial", stats.spatial)?;
        fields.set_item("ssrc", stats.ssrc)?;
        fields.set_item("rid", &stats.rid)?;
        fields.set_item("live", stats.live)?;
        fields.set_item("packets", stats.packets)?;
        fields.set_item("bytes", stats.bytes)?;
        fields.set_item("packets_lost", stats.packets_lost)?;
        fields.set_item("packets_recovered", stats.packets_recovered)?;
        fields.set_item("duplicates", stats.duplicates)?;
        fields.set_item("jitter_ms", stats.jitter_ms)?;
        fields.set_item("bitrate_bps", stats.bitrate_bps)?;
        fields.set_item("frames", stats.frames)?;
        fields.set_item("key_frames", stats.key_frames)?;
        fields.set_item("nacks_sent", stats.nacks_sent)?;
        fields.set_item("plis_sent", stats.plis_sent)?;
        self.layer_stats.bind(py).call((), Some(&fields))
    }

    fn down_track_stats<'py>(
        &self,
        py: Python<'py>,
        stats: &DownTrackStats,
    ) -> PyResult<Bound<'py, PyAny>> {
        let fields = PyDict::new(py);
        fields.set_item("down_track", stats.down_track)?;
        fields.set_item("ssrc", stats.ssrc)?;
        fields.set_item("spatial", stats.spatial)?;
        fields.set_item("temporal", stats.temporal)?;
        fields.set_item("allowed_spatial", stats.allowed_spatial)?;
        fields.set_item("allowed_temporal", stats.allowed_temporal)?;
        fields.set_item("deficient", stats.deficient)?;
        fields.set_item("muted", stats.muted)?;
        fields.set_item("packets", stats.packets)?;
        fields.set_item("bytes", stats.bytes)?;
        fields.set_item("retransmissions", stats.retransmissions)?;
        fields.set_item("retransmissions_capped", stats.retransmissions_capped)?;
        fields.set_item("bitrate_bps", stats.bitrate_bps)?;
        fields.set_item("packets_lost", stats.packets_lost)?;
        fields.set_item("fraction_lost", stats.fraction_lost)?;
        fields.set_item("jitter_ms", stats.jitter_ms)?;
        fields.set_item("rtt_ms", stats.rtt_ms)?;
        fields.set_item("nacks_received", stats.nacks_received)?;
        fields.set_item("plis_received", stats.plis_received)?;
        fields.set_item("key_frames", stats.key_frames)?;
        self.down_track_stats.bind(py).call((), Some(&fields))
    }

    fn data_track_stats<'py>(
        &self,
        py: Python<'py>,
        stats: &DataTrackStats,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.data_track_stats.bind(py).call1((
            stats.data_track,
            stats.packets,
            stats.bytes,
            stats.frames,
            stats.packets_lost,
        ))
    }

    fn data_down_track_stats<'py>(
        &self,
        py: Python<'py>,
        stats: &DataDownTrackStats,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.data_down_track_stats.bind(py).call1((
            stats.data_down_track,
            stats.packets,
            stats.bytes,
            stats.packets_dropped,
        ))
    }

    fn worker_stats<'py>(
        &self,
        py: Python<'py>,
        stats: &WorkerStats,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.worker_stats.bind(py).call1((
            stats.worker,
            stats.transports,
            stats.datagrams_received,
            stats.datagrams_sent,
            stats.datagrams_dropped,
            stats.send_calls,
            stats.send_would_block,
            stats.commands_dropped,
            stats.events_dropped,
            stats.panics,
            stats.cpu_seconds,
            counts(py, &stats.drops_by_reason)?,
        ))
    }

    fn ice_state(&self, state: IceState) -> &Py<PyAny> {
        &self.ice_state[match state {
            IceState::New => 0,
            IceState::Checking => 1,
            IceState::Connected => 2,
            IceState::Disconnected => 3,
            IceState::Failed => 4,
        }]
    }

    fn dtls_state(&self, state: DtlsState) -> &Py<PyAny> {
        &self.dtls_state[match state {
            DtlsState::New => 0,
            DtlsState::Connecting => 1,
            DtlsState::Connected => 2,
            DtlsState::Closed => 3,
            DtlsState::Failed => 4,
        }]
    }
}

/// A dict of what was counted.
fn counts<'py>(py: Python<'py>, counts: &[(&'static str, u64)]) -> PyResult<Bound<'py, PyDict>> {
    let built = PyDict::new(py);
    for (name, count) in counts {
        built.set_item(name, count)?;
    }
    Ok(built)
}

/// A tuple with one object for each of `items`.
fn all<'py, T>(
    py: Python<'py>,
    items: &[T],
    build: impl Fn(&T) -> PyResult<Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyTuple>> {
    let built: Vec<_> = items.iter().map(build).collect::<PyResult<_>>()?;
    PyTuple::new(py, built)
}
