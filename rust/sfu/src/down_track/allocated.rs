//! A down track in the allocation of its connection's bandwidth.

use std::time::Instant;

use super::DownTrack;
use crate::allocator::{Allocation, TrackSample, VideoLayer};
use crate::params::MediaKind;
use crate::receiver::Receiver;
use crate::sink::PacketSink;

impl DownTrack {
    /// What there is room for, of what the subscriber wants.
    pub fn set_allocation(&mut self, now: Instant, allocation: Allocation, source: &Receiver) {
        self.allocation = allocation;
        self.limit(now, source);
    }

    /// What the track is like, for the allocation.
    pub fn sample(&self, now: Instant, source: &mut Receiver) -> TrackSample {
        let (packets, repeated_nacks) = self.stream.nack_counts();
        let idle = !self.connected || self.muted || source.is_muted();
        let bitrates = source.bitrates(now);
        let wanted = video_layer(self.wanted).filter(|_| !idle);
        TrackSample {
            bitrates,
            max: wanted.map(|wanted| bitrates.within_reach(wanted)),
            current: video_layer(self.layers()),
            packets,
            repeated_nacks,
        }
    }

    /// Sends about `bytes` of padding to see what the connection carries, for video. Returns how many
    /// were sent: none without RTX in the middle of a frame.
    pub fn send_padding<S: PacketSink + ?Sized>(
        &mut self,
        now: Instant,
        bytes: usize,
        sink: &mut S,
    ) -> usize {
        if !self.connected || self.kind == MediaKind::Audio {
            return 0;
        }
        self.stream.set_now(now);
        // What stopped in the middle of a frame goes on with a key frame.
        let between_frames = self.stream.is_at_frame_end() || self.selector.current().is_none();
        self.stream.send_padding(bytes, between_frames, sink)
    }

    pub(super) fn allowed(&self) -> (i8, i8) {
        let (spatial, temporal) = self.wanted;
        match self.allocation {
            Allocation::Optimal => self.wanted,
            Allocation::Limited(max) => (
                spatial.min(max.spatial as i8),
                temporal.min(max.temporal as i8),
            ),
            Allocation::Paused => (-1, -1),
        }
    }

    /// Applies what is wanted and what there is room for.
    pub(super) fn limit(&mut self, now: Instant, source: &Receiver) {
        let (spatial, temporal) = self.allowed();
        self.selector.set_max(spatial);
        self.stream.set_max(spatial, temporal);
        if self.stream.waits_for_key_frame() {
            self.requests.ask_again_now();
        }
        self.settle(now, source);
    }
}

/// The layer with these numbers; none if one is negative.
fn video_layer((spatial, temporal): (i8, i8)) -> Option<VideoLayer> {
    let (spatial, temporal) = (u8::try_from(spatial).ok()?, u8::try_from(temporal).ok()?);
    Some(VideoLayer { spatial, temporal })
}
