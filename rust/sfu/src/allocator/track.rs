//! One video track in an allocation: what it wants, what it gets, what it could give.

use super::layers::{LayerBitrates, VideoLayer};

/// Of two transitions that save as much, the one without a key frame is this much better.
const SPATIAL_TRANSITION_COST: u64 = 10;

/// What a down track may send.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Allocation {
    /// Whatever the subscriber wants.
    #[default]
    Optimal,
    /// Nothing above this layer.
    Limited(VideoLayer),
    /// Nothing: there is no room for it.
    Paused,
}

/// Whether a track is sent, as the subscriber is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamState {
    /// It is not wanted, or the publisher sends nothing.
    Inactive,
    /// It is sent.
    Active,
    /// There is no room for it.
    Paused,
}

/// What a down track is like at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrackSample {
    /// What the publisher sends.
    pub bitrates: LayerBitrates,
    /// The highest layer that the subscriber wants; none: it wants nothing, or nothing can come.
    pub max: Option<VideoLayer>,
    /// The layer being sent.
    pub current: Option<VideoLayer>,
    /// Media packets sent so far.
    pub packets: u64,
    /// Requests so far for packets that had been sent again already.
    pub repeated_nacks: u64,
}

/// What changes if a track goes from one layer to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Transition {
    pub(super) from: Option<VideoLayer>,
    pub(super) to: Option<VideoLayer>,
    /// Bits per second more, or less.
    pub(super) delta: i64,
}

#[derive(Debug)]
pub(super) struct Track {
    pub(super) key: u64,
    pub(super) priority: u8,
    /// It takes part in the allocation.
    pub(super) managed: bool,
    pub(super) sample: TrackSample,
    pub(super) state: StreamState,
    /// It gets less than it wants.
    pub(super) deficient: bool,
    /// What it was told last to send.
    pub(super) told: Allocation,
    /// What was wanted, and which layers there were, when it was allocated last.
    allocated_for: Option<(Option<VideoLayer>, u16)>,
    allocation: Allocation,
    target: Option<VideoLayer>,
    provisional: Option<VideoLayer>,
}

impl Track {
    pub(super) fn new(key: u64, priority: u8, managed: bool) -> Self {
        Self {
            key,
            priority,
            managed,
            sample: TrackSample::default(),
            state: StreamState::Inactive,
            deficient: false,
            told: Allocation::Optimal,
            allocated_for: None,
            // It is sent once there is found to be room.
            allocation: Allocation::Limited(VideoLayer::default()),
            target: None,
            provisional: None,
        }
    }

    pub(super) fn allocation(&self) -> Allocation {
        self.allocation
    }

    /// Whether what is wanted, or what there is, is not what it was allocated for.
    pub(super) fn has_changed(&self) -> bool {
        self.allocated_for != Some(self.asked())
    }

    fn asked(&self) -> (Option<VideoLayer>, u16) {
        (self.sample.max, self.sample.bitrates.present())
    }

    /// The highest layer that it could be sent in.
    fn desired(&self) -> Option<(VideoLayer, u64)> {
        self.sample.bitrates.within(self.sample.max?).next_back()
    }

    fn bps(&self, layer: Option<VideoLayer>) -> u64 {
        layer.map_or(0, |layer| self.sample.bitrates.get(layer))
    }

    fn target(&self) -> Option<VideoLayer> {
        match self.allocation {
            Allocation::Optimal => self.desired().map(|(layer, _)| layer),
            Allocation::Limited(_) | Allocation::Paused => self.target,
        }
    }

    /// What it is expected to take, in bits per second.
    pub(super) fn expected(&self) -> u64 {
        if self.sample.max.is_none() {
            return 0;
        }
        self.bps(self.target())
    }

    /// Spatial layers, with temporal ones as fractions, by which it falls short of what it wants.
    /// Nothing at all is one further.
    pub(super) fn distance(&self) -> f64 {
        let Some((desired, _)) = self.desired() else {
            return 0.0;
        };
        let temporals = f64::from(self.temporals());
        let place =
            |layer: VideoLayer| f64::from(layer.spatial) + f64::from(layer.temporal) / temporals;
        place(desired) - self.target().map_or(-1.0, place)
    }

    fn temporals(&self) -> u8 {
        let all = VideoLayer::new(u8::MAX, u8::MAX);
        let layers = self.sample.bitrates.within(all);
        layers.map(|(layer, _)| layer.temporal).max().unwrap_or(0) + 1
    }

    // -- allocation -----------------------------------------------------------------------------

    /// It gets whatever it wants.
    pub(super) fn allocate_optimal(&mut self) {
        self.deficient = false;
        self.settle(Allocation::Optimal, None);
    }

    /// There is nothing for it.
    pub(super) fn pause(&mut self) {
        self.provisional = None;
        self.commit();
    }

    /// Before a series of [`Self::offer`].
    pub(super) fn prepare(&mut self) {
        self.provisional = None;
    }

    /// Takes `layer`, for the time being, if it fits, or if it is the only way not to pause.
    /// Returns by how much the sum of what is taken grows, and whether it was taken.
    pub(super) fn offer(&mut self, room: i64, layer: VideoLayer, allow_pause: bool) -> Option<i64> {
        let wanted = self.sample.max.is_some_and(|max| layer.is_within(max));
        let bps = self.sample.bitrates.get(layer);
        if !wanted || bps == 0 {
            return None;
        }
        let growth = bps as i64 - self.bps(self.provisional) as i64;
        let forced = !allow_pause && self.provisional.is_none();
        if growth > room && !forced {
            return None;
        }
        self.provisional = Some(layer);
        Some(growth)
    }

    /// What was taken for the time being holds.
    pub(super) fn commit(&mut self) {
        let Some((_, optimal)) = self.desired() else {
            // Should something come after all, it begins low.
            self.deficient = false;
            let current = self.sample.current.unwrap_or_default();
            let max = self.sample.max.map_or(0, |max| max.spatial);
            let limit = VideoLayer::new(current.spatial.min(max), current.temporal);
            return self.settle(Allocation::Limited(limit), None);
        };
        let target = self.provisional;
        self.deficient = self.bps(target) < optimal;
        let allocation = target.map_or(Allocation::Paused, Allocation::Limited);
        self.settle(allocation, target);
    }

    fn settle(&mut self, allocation: Allocation, target: Option<VideoLayer>) {
        self.allocation = allocation;
        self.target = target;
        self.allocated_for = Some(self.asked());
        if self.sample.max.is_none() {
            self.state = StreamState::Inactive;
        }
    }

    /// While others fall short: what is sent stays, what is not begins as low as possible, and what
    /// is not wanted goes. The layer is taken for the time being.
    pub(super) fn cooperate(&mut self) -> Transition {
        let from = self.target();
        let bitrates = &self.sample.bitrates;
        let within = |max| bitrates.within(max);
        let lowest = self.sample.max.and_then(|max| within(max).next());
        let highest = self.desired().map(|(layer, _)| layer);
        let to = match (from, highest) {
            (Some(from), Some(highest)) => {
                let kept = from <= highest && bitrates.get(from) > 0;
                Some(if kept { from } else { from.min(highest) })
            }
            _ => lowest.map(|(layer, _)| layer),
        };
        let to = to.map(|to| match bitrates.get(to) {
            0 => lowest.map_or(to, |(layer, _)| layer),
            _ => to,
        });
        self.provisional = to;
        self.transition(from, to)
    }

    /// What it can give so that another track is sent at all: the most bits for the least harm. The
    /// layer is taken for the time being.
    pub(super) fn best_offer(&mut self) -> Transition {
        let from = self.target();
        let Some(target) = from else {
            self.provisional = None;
            return self.transition(from, None);
        };
        let (taken, temporals) = (self.bps(from), u64::from(self.temporals()));
        let value = |&(layer, bps): &(VideoLayer, u64)| {
            let spatial = u64::from(target.spatial - layer.spatial);
            let temporal = u64::from(target.temporal - layer.temporal);
            let cost = spatial.min(1) * SPATIAL_TRANSITION_COST + spatial * temporals + temporal;
            let saved = taken.saturating_sub(bps);
            (saved / cost.max(1), saved)
        };
        let offers = self.sample.bitrates.within(target);
        let offers = offers.filter(|&(layer, bps)| layer != target && bps < taken);
        let best = offers.max_by_key(value).map(|(layer, _)| layer);
        let to = best.or(from);
        self.provisional = to;
        self.transition(from, to)
    }

    fn transition(&self, from: Option<VideoLayer>, to: Option<VideoLayer>) -> Transition {
        Transition {
            from,
            to,
            delta: self.bps(to) as i64 - self.bps(from) as i64,
        }
    }

    /// The next better layer and how much more it takes.
    pub(super) fn next_higher(&self) -> Option<(VideoLayer, i64)> {
        let max = self.sample.max?;
        let target = self.target();
        let taken = self.bps(target);
        let mut higher = self.sample.bitrates.within(max);
        let better = |&(layer, bps): &(VideoLayer, u64)| match target {
            // A high temporal layer may take more than the next spatial layer's lowest.
            Some(target) => layer > target && bps >= taken,
            None => true,
        };
        let (layer, bps) = higher.find(better)?;
        Some((layer, bps as i64 - taken as i64))
    }

    /// Whether what it was given last is being sent.
    pub(super) fn has_settled(&self) -> bool {
        let spatial = |layer: Option<VideoLayer>| layer.map(|layer| layer.spatial);
        self.target.is_none() || spatial(self.target) == spatial(self.sample.current)
    }

    /// Takes its next better layer if that fits. Returns how much more that takes.
    pub(super) fn raise(&mut self, room: i64) -> Option<i64> {
        let (layer, delta) = self.next_higher()?;
        if !self.deficient || delta > room {
            return None;
        }
        self.provisional = Some(layer);
        self.commit();
        Some(delta)
    }
}
