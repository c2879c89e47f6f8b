//! What was negotiated for a track, in the vocabulary of ORTC.

use std::time::{Duration, Instant};

use crate::down_track::RtxBudgetConfig;

/// Spatial layers of a track: 0 lowest.
pub const MAX_SPATIAL_LAYERS: usize = 3;

/// Kind of a track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaKind {
    /// Audio: forwarded at once, never waits for anything.
    Audio,
    /// Video: begins and changes layers on key frames.
    Video,
}

/// The payload type of a codec that is not sent any more.
pub(crate) const NO_PAYLOAD_TYPE: u8 = 0xff;

/// One negotiated codec of a media section.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CodecParameters {
    /// RTP payload type.
    pub payload_type: u8,
    /// Lower-case, e.g. `video/vp8`.
    pub mime_type: String,
    /// RTP clock rate in Hz.
    pub clock_rate: u32,
    /// Payload type of its retransmissions (RFC 4588).
    pub rtx_payload_type: Option<u8>,
    /// Format parameters as in SDP; tells two profiles of one mime type apart.
    pub fmtp: String,
    /// Whether generic NACK was negotiated (RFC 4585 6.2.1).
    pub nack: bool,
    /// Whether PLI was negotiated (RFC 4585 6.3.1).
    pub pli: bool,
}

/// One negotiated RTP header extension (RFC 8285).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderExtension {
    /// 1 to 255.
    pub id: u8,
    /// What it means.
    pub uri: String,
}

/// One incoming encoding, named by rid (RFC 8852) or by ssrc.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encoding {
    /// Its layer, 0 lowest.
    pub spatial: u8,
    /// Its RTP stream id.
    pub rid: Option<String>,
    /// Its ssrc, if signalled.
    pub ssrc: Option<u32>,
    /// The ssrc of its retransmissions, if signalled.
    pub rtx_ssrc: Option<u32>,
}

/// Everything a [`crate::Receiver`] is made from.
#[derive(Clone, Debug)]
pub struct ReceiverConfig {
    /// Audio or video.
    pub kind: MediaKind,
    /// The publisher's codecs.
    pub codecs: Vec<CodecParameters>,
    /// The publisher's header extensions.
    pub header_extensions: Vec<HeaderExtension>,
    /// The expected encodings. Empty: one encoding of whatever ssrc comes first.
    pub encodings: Vec<Encoding>,
    /// A screen share sends few frames, so its layers are given more time before they count as
    /// dead.
    pub screen_share: bool,
    /// Ring size of a video layer in packets; rounded up to a power of two.
    pub packet_buffer_video: usize,
    /// Ring size of an audio track in packets; rounded up to a power of two.
    pub packet_buffer_audio: usize,
    /// Least time between two PLIs upstream, per spatial layer.
    pub pli_throttle: [Duration; MAX_SPATIAL_LAYERS],
    /// A packet counts as active when its audio level (-dBov) is at or below this number.
    pub audio_active_level: u8,
    /// Ssrc that our own RTCP to the publisher carries.
    pub rtcp_ssrc: u32,
}

impl ReceiverConfig {
    /// A receiver of `kind` with LiveKit's defaults and nothing negotiated.
    pub fn new(kind: MediaKind) -> Self {
        Self {
            kind,
            codecs: Vec::new(),
            header_extensions: Vec::new(),
            encodings: Vec::new(),
            screen_share: false,
            packet_buffer_video: 500,
            packet_buffer_audio: 200,
            pli_throttle: [500, 1000, 1000].map(Duration::from_millis),
            audio_active_level: 35,
            rtcp_ssrc: 1,
        }
    }
}

/// Between what limits a subscriber's playout delay is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlayoutDelayLimits {
    /// Least delay in milliseconds.
    pub min_ms: u16,
    /// Greatest delay in milliseconds.
    pub max_ms: u16,
}

/// Everything a [`crate::DownTrack`] is made from.
#[derive(Clone, Debug)]
pub struct DownTrackConfig {
    /// The media section's id; written into packets if the mid extension was negotiated.
    pub mid: String,
    /// Ssrc of the outgoing media.
    pub ssrc: u32,
    /// Ssrc of retransmissions. None: lost packets are sent again as they were, byte for byte, so
    /// that packets carry neither absolute send time nor transport-wide sequence number.
    pub rtx_ssrc: Option<u32>,
    /// Canonical name for SDES (RFC 3550 6.5.1).
    pub cname: String,
    /// The subscriber's codecs.
    pub codecs: Vec<CodecParameters>,
    /// The subscriber's header extensions.
    pub header_extensions: Vec<HeaderExtension>,
    /// Highest spatial layer to send; negative: send nothing.
    pub max_spatial: i8,
    /// Highest temporal layer to send; negative: send nothing.
    pub max_temporal: i8,
    /// Whether to begin muted.
    pub muted: bool,
    /// Whether RED (RFC 2198) goes out as plain Opus to a subscriber that has no RED, and Opus as
    /// RED to one whose first codec is RED.
    pub translate_red: bool,
    /// Limits of the playout delay that a subscriber of video is told, if it negotiated that
    /// extension: in between, the delay follows its jitter.
    pub playout_delay: Option<PlayoutDelayLimits>,
    /// Whether frames end without LiveKit's packet trailer, whose length is at their end.
    pub strip_trailer: bool,
    /// Bounds what is sent again. None: all that is asked for.
    pub rtx_budget: Option<RtxBudgetConfig>,
    /// Any moment in the past, the same for all down tracks of a transport: absolute send times
    /// count from it.
    pub epoch: Instant,
}
