//! The spatial layers that come in one stream (SVC): which are alive, and how much each sends.

use std::time::Instant;

use super::stats::LayerStats;
use crate::allocator::PerLayer;
use crate::bitrate::LayerBitrateMeter;
use crate::down_track::selector::LayerSet;
use crate::packet::PacketInfo;
use crate::params::MAX_SPATIAL_LAYERS;
use crate::tracker::{StreamTracker, TrackerConfig};

#[derive(Debug)]
struct SpatialLayer {
    tracker: StreamTracker,
    bitrate: LayerBitrateMeter,
    packets: u64,
    bytes: u64,
    frames: u64,
}

/// The layers of one stream.
#[derive(Debug)]
pub(crate) struct SpatialLayers {
    layers: [SpatialLayer; MAX_SPATIAL_LAYERS],
    live: LayerSet,
    /// Those of which packets come, though they may be few.
    sending: LayerSet,
}

impl SpatialLayers {
    pub(crate) fn new(now: Instant, screen_share: bool) -> Self {
        Self {
            layers: [0, 1, 2].map(|spatial| SpatialLayer {
                tracker: StreamTracker::new(TrackerConfig::of(spatial, screen_share)),
                bitrate: LayerBitrateMeter::new(now, screen_share),
                packets: 0,
                bytes: 0,
                frames: 0,
            }),
            live: LayerSet::default(),
            sending: LayerSet::default(),
        }
    }

    /// The layers that send now.
    pub(crate) fn live(&self) -> LayerSet {
        self.live
    }

    /// The layers of which packets come, though they may be few.
    pub(crate) fn sending(&self) -> LayerSet {
        self.sending
    }

    /// A packet of `spatial` was stored; layers above those that are known belong to the highest.
    /// Returns whether the set of live layers changed.
    pub(crate) fn observe(&mut self, now: Instant, info: &PacketInfo, len: usize) -> bool {
        let spatial = info.svc.as_ref().map_or(0, |svc| svc.spatial());
        let spatial = usize::from(spatial).min(MAX_SPATIAL_LAYERS - 1);
        let layer = &mut self.layers[spatial];
        layer.packets += 1;
        layer.bytes += len as u64;
        layer.frames += u64::from(info.svc.as_ref().is_some_and(|svc| svc.frame_start()));
        let temporal = info.svc.as_ref().map_or(0, |svc| svc.temporal());
        layer.bitrate.add(now, temporal, len);
        !info.is_padding() && layer.tracker.observe(now) && self.update()
    }

    /// Bits per second of each layer by itself; none of layers that are not live.
    pub(crate) fn bitrates(&mut self, now: Instant) -> PerLayer<u64> {
        self.layers
            .each_mut()
            .map(|layer| match layer.tracker.is_live() {
                true => layer.bitrate.by_layer(now),
                false => Default::default(),
            })
    }

    pub(crate) fn set_paused(&mut self, now: Instant, paused: bool) {
        for layer in &mut self.layers {
            layer.tracker.set_paused(now, paused);
        }
    }

    /// Ends the trackers' cycles. Returns whether the set of live layers changed.
    pub(crate) fn check(&mut self, now: Instant) -> bool {
        let mut changed = false;
        for layer in &mut self.layers {
            changed |= layer.tracker.check(now);
        }
        changed && self.update()
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        let deadlines = self.layers.iter().filter_map(|l| l.tracker.deadline());
        deadlines.min()
    }

    /// The figures of each layer that has sent; `stream` are those of all together. Loss, jitter
    /// and feedback are the stream's and told with its lowest layer.
    pub(crate) fn stats(
        &mut self,
        now: Instant,
        stream: LayerStats,
    ) -> impl Iterator<Item = LayerStats> + '_ {
        let live = self.live;
        let ssrc = stream.ssrc;
        let mut lowest = Some(stream);
        let layers = (0..).zip(&mut self.layers);
        let sent = layers.filter(|(spatial, layer)| *spatial == 0 || layer.packets > 0);
        sent.map(move |(spatial, layer)| LayerStats {
            spatial,
            live: live.contains(spatial),
            packets: layer.packets,
            bytes: layer.bytes,
            bitrate_bps: layer.bitrate.bps(now),
            frames: layer.frames,
            ..lowest.take().unwrap_or_else(|| LayerStats::of(ssrc))
        })
    }

    fn update(&mut self) -> bool {
        let set = |test: fn(&StreamTracker) -> bool| {
            let layers = (0..).zip(&self.layers);
            layers.fold(LayerSet::default(), |set, (spatial, layer)| {
                set.with(spatial, test(&layer.tracker))
            })
        };
        let live = set(StreamTracker::is_live);
        self.sending = set(StreamTracker::is_sending);
        std::mem::replace(&mut self.live, live) != live
    }
}
