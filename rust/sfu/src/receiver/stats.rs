//! What a receiver counts.

use std::time::Duration;

/// Totals of one spatial layer since the receiver's creation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LayerStats {
    /// The layer, 0 lowest.
    pub spatial: u8,
    /// Its ssrc, 0 while unknown.
    pub ssrc: u32,
    /// Its RTP stream id.
    pub rid: Option<String>,
    /// Whether packets are coming.
    pub live: bool,
    /// Packets, without duplicates.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Packets that did not come by themselves; some were recovered.
    pub packets_lost: i64,
    /// Packets that came as retransmissions.
    pub packets_recovered: u64,
    /// Packets that came again.
    pub duplicates: u64,
    /// Interarrival jitter (RFC 3550 6.4.1).
    pub jitter: Duration,
    /// Bits per second over the last second.
    pub bitrate_bps: f64,
    /// Frames, by their timestamps.
    pub frames: u64,
    /// Key frames among them.
    pub key_frames: u64,
    /// Sequence numbers asked for again.
    pub nacks_sent: u64,
    /// Key frames asked for.
    pub plis_sent: u64,
}

impl LayerStats {
    /// Nothing counted on `ssrc`.
    pub(crate) fn of(ssrc: u32) -> Self {
        Self {
            ssrc,
            ..Self::default()
        }
    }
}
