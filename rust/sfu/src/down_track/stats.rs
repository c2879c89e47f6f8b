//! What a down track counts.

use std::time::Duration;

/// Totals of one down track since its creation. Loss, jitter and round trip are the subscriber's.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct DownTrackStats {
    /// Ssrc of the media.
    pub ssrc: u32,
    /// Spatial layer being sent, -1 for none.
    pub spatial: i8,
    /// Highest temporal layer being sent, -1 for none.
    pub temporal: i8,
    /// Highest spatial layer that is wanted and that there is room for, -1 for none.
    pub allowed_spatial: i8,
    /// The same for temporal layers.
    pub allowed_temporal: i8,
    /// Whether the subscriber muted it.
    pub muted: bool,
    /// Media packets, retransmissions not counted.
    pub packets: u64,
    /// Bytes of their headers and payloads.
    pub bytes: u64,
    /// Packets sent again.
    pub retransmissions: u64,
    /// Packets that were asked for and not sent again, as the budget for that was spent.
    pub retransmissions_capped: u64,
    /// Packets that found no room in the send batch.
    pub dropped: u64,
    /// Bits per second of packets and retransmissions over the last second.
    pub bitrate_bps: f64,
    /// Packets that the subscriber says it lost, in all.
    pub packets_lost: i64,
    /// Share of packets lost since the report before, 0 to 1.
    pub fraction_lost: f64,
    /// Interarrival jitter.
    pub jitter: Duration,
    /// Round trip by the subscriber's reports.
    pub rtt: Option<Duration>,
    /// Sequence numbers asked for.
    pub nacks_received: u64,
    /// Picture loss indications and full intra requests.
    pub plis_received: u64,
    /// Key frames sent.
    pub key_frames: u64,
}
