//! Statistics. Counters are totals since creation.

use super::Id;

/// One transport.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TransportStats {
    /// The transport.
    pub transport: Id,
    /// Datagrams received.
    pub packets_received: u64,
    /// Their bytes.
    pub bytes_received: u64,
    /// Datagrams sent.
    pub packets_sent: u64,
    /// Their bytes.
    pub bytes_sent: u64,
    /// Packets that failed authentication or replay checks.
    pub srtp_errors: u64,
    /// Round trip of the selected pair in ms, -1 if unknown.
    pub rtt_ms: f64,
    /// Packets sent again.
    pub retransmissions_sent: u64,
    /// Bits per second that the peer estimates it can receive, -1 if it never said.
    pub estimate_bps: f64,
    /// Bits per second that are divided among the down tracks of video, -1 if nothing limits them.
    pub capacity_bps: f64,
    /// Dropped datagrams and messages by reason.
    pub drops_by_reason: Vec<(&'static str, u64)>,
}

/// One spatial layer of a receiver.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LayerStats {
    /// The receiver.
    pub receiver: Id,
    /// The layer.
    pub spatial: u8,
    /// Its ssrc, 0 if not known yet.
    pub ssrc: u32,
    /// Its RTP stream id, or empty.
    pub rid: String,
    /// Whether packets arrive.
    pub live: bool,
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
    /// Packets that never arrived.
    pub packets_lost: i64,
    /// Packets that a NACK brought.
    pub packets_recovered: u64,
    /// Packets that arrived again.
    pub duplicates: u64,
    /// Interarrival jitter.
    pub jitter_ms: f64,
    /// Over the last second.
    pub bitrate_bps: f64,
    /// Frames.
    pub frames: u64,
    /// Key frames.
    pub key_frames: u64,
    /// Sequence numbers asked for.
    pub nacks_sent: u64,
    /// Key frames asked for.
    pub plis_sent: u64,
}

/// One down track.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DownTrackStats {
    /// The down track.
    pub down_track: Id,
    /// Its ssrc.
    pub ssrc: u32,
    /// Spatial layer being sent, -1: none.
    pub spatial: i8,
    /// Temporal layer being sent, -1: none.
    pub temporal: i8,
    /// Highest spatial layer that the subscriber wants and there is room for, -1: none.
    pub allowed_spatial: i8,
    /// The same for temporal layers.
    pub allowed_temporal: i8,
    /// There is no room for all that the subscriber wants and the publisher sends.
    pub deficient: bool,
    /// Muted by the subscriber.
    pub muted: bool,
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
    /// Packets sent again.
    pub retransmissions: u64,
    /// Packets that were asked for and not sent again, as the budget for that was spent.
    pub retransmissions_capped: u64,
    /// Over the last second.
    pub bitrate_bps: f64,
    /// As the subscriber reports it.
    pub packets_lost: i64,
    /// As the subscriber reports it, 0 to 1.
    pub fraction_lost: f64,
    /// As the subscriber reports it.
    pub jitter_ms: f64,
    /// By the subscriber's reports, -1 if unknown.
    pub rtt_ms: f64,
    /// Sequence numbers asked for by the subscriber.
    pub nacks_received: u64,
    /// Key frames asked for by the subscriber.
    pub plis_received: u64,
    /// Key frames sent.
    pub key_frames: u64,
}

/// One published data track.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DataTrackStats {
    /// The data track.
    pub data_track: Id,
    /// Packets, without those that came again.
    pub packets: u64,
    /// Bytes with headers.
    pub bytes: u64,
    /// Frames whose last packet came.
    pub frames: u64,
    /// Packets that never came.
    pub packets_lost: u64,
}

/// One data track on its way to a subscriber.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DataDownTrackStats {
    /// The data down track.
    pub data_down_track: Id,
    /// Packets sent.
    pub packets: u64,
    /// Their bytes with headers.
    pub bytes: u64,
    /// Packets that were not sent.
    pub packets_dropped: u64,
}

/// One worker.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WorkerStats {
    /// Its number.
    pub worker: usize,
    /// Transports it has.
    pub transports: usize,
    /// Datagrams received.
    pub datagrams_received: u64,
    /// Datagrams sent.
    pub datagrams_sent: u64,
    /// Datagrams that belonged to nobody or failed a check.
    pub datagrams_dropped: u64,
    /// System calls that sent.
    pub send_calls: u64,
    /// Of those, how many found the socket buffer full.
    pub send_would_block: u64,
    /// Commands refused because the queue was full.
    pub commands_dropped: u64,
    /// Events dropped because the queue was full.
    pub events_dropped: u64,
    /// Transports closed by a caught panic.
    pub panics: u64,
    /// CPU time of the worker's thread.
    pub cpu_seconds: f64,
    /// Dropped datagrams and messages by reason.
    pub drops_by_reason: Vec<(&'static str, u64)>,
}

/// One worker's answer to a request for statistics.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StatsCollected {
    /// The request's number.
    pub request: u64,
    /// The worker itself.
    pub worker: WorkerStats,
    /// Its transports.
    pub transports: Vec<TransportStats>,
    /// The layers of its receivers.
    pub layers: Vec<LayerStats>,
    /// Its down tracks.
    pub down_tracks: Vec<DownTrackStats>,
    /// Its published data tracks.
    pub data_tracks: Vec<DataTrackStats>,
    /// Its data down tracks.
    pub data_down_tracks: Vec<DataDownTrackStats>,
}
