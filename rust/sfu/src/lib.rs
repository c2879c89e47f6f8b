//! Receivers, down tracks and what lies between them, sans-IO.
//!
//! A [`Receiver`] is a published track: it stores each packet once, in one ring per spatial layer,
//! and talks RTCP with the publisher. A [`DownTrack`] is one track on its way to one subscriber: it
//! chooses a layer, gives packets their new numbers and writes them into the send batch of the
//! subscriber's transport, a [`PacketSink`].
//!
//! ```text
//! packet -> Receiver::handle_rtp -> ring ─┬─> DownTrack::forward -> PacketSink -> SRTP, socket
//!                                         ├─> DownTrack::forward -> PacketSink
//!                                         └─> ...
//! ```
//!
//! A [`StreamAllocator`] divides what a subscriber's connection carries among its video down tracks.
//!
//! Data tracks are not RTP: [`DataTrackHeader`] and [`Backlog`] are what forwarding them takes.
//!
//! Nothing here opens a socket or reads a clock: callers pass `now`. Forwarding a packet allocates
//! nothing (`tests/allocations.rs`), and its cost does not depend on how many down tracks there
//! are.

#![forbid(unsafe_code)]

mod allocator;
mod audio_level;
mod bandwidth;
mod bitrate;
mod clock;
mod data_track;
mod down_track;
mod packet;
mod params;
mod receiver;
mod ring;
mod sink;
mod throttle;
mod tracker;

pub use allocator::{
    AllocatedTrack, Allocation, AllocatorConfig, LayerBitrates, MAX_TEMPORAL_LAYERS,
    StreamAllocator, StreamState, TrackSample, VideoLayer,
};
pub use audio_level::AudioWindow;
pub use bandwidth::{EstimatorConfig, LossConfig, ObserverConfig, RegulatorConfig, TrendConfig};
pub use clock::PublisherClock;
pub use data_track::{Backlog, DataTrackCounters, DataTrackHeader, DataTrackStats};
pub use down_track::{DownTrack, DownTrackStats, RtxBudgetConfig, Silence};
pub use params::{
    CodecParameters, DownTrackConfig, Encoding, HeaderExtension, MAX_SPATIAL_LAYERS, MediaKind,
    PlayoutDelayLimits, ReceiverConfig,
};
pub use receiver::{LayerStats, Receiver, RtpOutcome};
pub use ring::MAX_PACKET_LEN;
pub use sink::{MAX_HEADER_GROWTH, PacketSink, Reserved};
