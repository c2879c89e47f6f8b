//! How an engine is started, and what is then fixed for its life.

use std::net::IpAddr;
use std::time::Duration;

use super::Candidate;

/// How to start an engine. Ports of 0 are chosen by the system.
#[derive(Clone, Debug, PartialEq)]
pub struct EngineConfig {
    /// Worker threads. Worker *i* binds `udp_port + i`, and `tcp_port + i`, on every address.
    pub workers: usize,
    /// Addresses to bind; a wildcard stands for every interface address that is up.
    pub bind: Vec<IpAddr>,
    /// First UDP port.
    pub udp_port: u16,
    /// First ICE-TCP port (RFC 6544); None: no ICE-TCP.
    pub tcp_port: Option<u16>,
    /// Addresses in candidates; None: those bound.
    pub advertise: Option<Vec<IpAddr>>,
    /// Ring size of a video layer in packets.
    pub packet_buffer_video: usize,
    /// Ring size of an audio track in packets.
    pub packet_buffer_audio: usize,
    /// Least time between two PLIs upstream, per spatial layer.
    pub pli_throttle: [Duration; sfu::MAX_SPATIAL_LAYERS],
    /// Bounds what a down track of audio sends again; None: all that is asked for.
    pub rtx_budget_audio: Option<sfu::RtxBudgetConfig>,
    /// The same for video.
    pub rtx_budget_video: Option<sfu::RtxBudgetConfig>,
    /// Observation window of audio levels.
    pub audio_interval: Duration,
    /// A packet counts as active when its audio level (-dBov) is at or below this number.
    pub audio_active_level: u8,
    /// Bring down tracks within what their subscriber's connection carries.
    pub congestion_control: bool,
    /// How that is done.
    pub allocator: sfu::AllocatorConfig,
    /// Silence after which a connected transport is disconnected.
    pub ice_disconnected: Duration,
    /// Further silence after which it has failed.
    pub ice_failed: Duration,
    /// Commands that may wait for one worker.
    pub command_queue: usize,
    /// Events that may wait for the control plane.
    pub event_queue: usize,
    /// Bytes that one data channel may hold before messages are dropped.
    pub data_channel_buffer: usize,
    /// How long data track packets may wait in a channel before others are dropped, measured by the
    /// bytes that leave it; zero: for any time.
    pub data_track_target_latency: Duration,
    /// The same for messages on lossy channels.
    pub data_lossy_target_latency: Duration,
    /// Bits per second at which a reliable channel with too much to send has to drain for its
    /// senders to wait for it; 0: nobody waits.
    pub data_slow_threshold: u64,
    /// A worker whose turn takes longer is reported as stalled.
    pub worker_stall: Duration,
    /// Tests may let workers fail. Off wherever anybody depends on the engine.
    pub fault_injection: bool,
}

/// How a test lets a worker fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A turn panics.
    Panic,
    /// A turn does not end before [`Self::Recover`].
    Hang,
    /// Ends [`Self::Hang`].
    Recover,
    /// The thread ends.
    Die,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            workers: 1,
            bind: vec![IpAddr::from([127, 0, 0, 1])],
            udp_port: 0,
            tcp_port: None,
            advertise: None,
            packet_buffer_video: 500,
            packet_buffer_audio: 200,
            pli_throttle: [500, 1000, 1000].map(Duration::from_millis),
            rtx_budget_audio: None,
            rtx_budget_video: None,
            audio_interval: Duration::from_millis(400),
            audio_active_level: 35,
            congestion_control: true,
            allocator: sfu::AllocatorConfig::default(),
            ice_disconnected: Duration::from_secs(10),
            ice_failed: Duration::from_secs(5),
            command_queue: 65_536,
            event_queue: 65_536,
            data_channel_buffer: 4 * 1024 * 1024,
            data_track_target_latency: Duration::from_millis(100),
            data_lossy_target_latency: Duration::ZERO,
            data_slow_threshold: 0,
            worker_stall: Duration::from_secs(5),
            fault_injection: false,
        }
    }
}

/// The candidates that peers of one worker are offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerInfo {
    /// Its number.
    pub worker: usize,
    /// Its candidates, best first.
    pub candidates: Vec<Candidate>,
}

/// What is fixed for the life of an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineInfo {
    /// Hash function of the certificate's fingerprint.
    pub fingerprint_algorithm: String,
    /// Upper-case hex bytes joined by colons.
    pub fingerprint: String,
    /// One entry per worker.
    pub workers: Vec<WorkerInfo>,
}
