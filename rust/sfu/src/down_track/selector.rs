//! Which spatial layer to send.

use std::time::{Duration, Instant};

use crate::params::MAX_SPATIAL_LAYERS;

/// How long after the first packet of a track a subscriber waits for a layer that has not been
/// seen yet before it takes the highest one that has.
const GRACE: Duration = Duration::from_secs(1);

/// How long after the first packet of a track a subscriber waits for a layer that it wants before it takes
/// one above: encoders begin their layers within a frame or two of each other. Key frames that come in
/// between are not lost ([`super::REPLAY_START`]).
const ABOVE_WAIT: Duration = Duration::from_millis(250);

/// A set of spatial layers, lowest in bit 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LayerSet(u8);

impl LayerSet {
    pub(crate) fn with(self, layer: u8, present: bool) -> Self {
        let bit = 1 << layer;
        Self(if present { self.0 | bit } else { self.0 & !bit })
    }

    pub(crate) fn contains(self, layer: u8) -> bool {
        self.0 >> layer & 1 != 0
    }

    /// The layers, lowest first.
    pub(crate) fn iter(self) -> impl Iterator<Item = u8> {
        (0..MAX_SPATIAL_LAYERS as u8).filter(move |&layer| self.contains(layer))
    }

    /// The highest layer that is not above `max`.
    fn highest(self, max: u8) -> Option<u8> {
        self.iter().take_while(|&layer| layer <= max).last()
    }

    /// The lowest layer that is above `max`.
    fn above(self, max: u8) -> Option<u8> {
        self.iter().find(|&layer| layer > max)
    }
}

/// What a receiver's layers are at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Layers {
    /// Those that were negotiated.
    pub(crate) published: LayerSet,
    /// Those that have ever sent.
    pub(crate) seen: LayerSet,
    /// Those of which packets come, though they may be few.
    pub(crate) sending: LayerSet,
    /// Those that send now.
    pub(crate) live: LayerSet,
    /// When the first packet of any layer came.
    pub(crate) began: Option<Instant>,
    /// How often the publisher began each of them anew.
    pub(crate) incarnations: [u32; MAX_SPATIAL_LAYERS],
}

impl Layers {
    /// What a subscriber that wants layers up to `max` is best given: the highest of them that comes. Only
    /// while none of them does, the lowest above: a picture that is too large is better than none
    /// (LiveKit overshoots too, `videolayerselector/simulcast.go`).
    fn nearest(&self, max: u8) -> Option<u8> {
        let wanted = self.live.highest(max).or(self.sending.highest(max));
        let above = || self.live.above(max).or(self.sending.above(max));
        wanted.or_else(above)
    }
}

/// The choice of one down track: what it sends and what it wants to send.
#[derive(Debug)]
pub(crate) struct Selector {
    max: Option<u8>,
    current: Option<u8>,
    target: Option<u8>,
    grace_end: Option<Instant>,
}

impl Selector {
    pub(crate) fn new(max_spatial: i8) -> Self {
        Self {
            max: u8::try_from(max_spatial).ok(),
            current: None,
            target: None,
            grace_end: None,
        }
    }

    /// The layer being sent.
    #[inline]
    pub(crate) fn current(&self) -> Option<u8> {
        self.current
    }

    /// The layer to be sent.
    #[inline]
    pub(crate) fn target(&self) -> Option<u8> {
        self.target
    }

    /// Whether anything may be sent at all.
    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        self.max.is_some()
    }

    /// Changes the highest layer wanted; negative: none.
    pub(crate) fn set_max(&mut self, max_spatial: i8) {
        self.max = u8::try_from(max_spatial).ok();
    }

    /// When the layer that is waited for is given up.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.grace_end
    }

    /// Chooses the target anew.
    pub(crate) fn retarget(&mut self, now: Instant, layers: Layers) {
        let wanted = self.max.and_then(|max| layers.published.highest(max));
        let unseen = wanted.filter(|&layer| !layers.seen.contains(layer));
        let nearest = self.max.and_then(|max| layers.nearest(max));
        let grace = match nearest > self.max {
            true => ABOVE_WAIT,
            false => GRACE,
        };
        let grace_end = layers.began.map(|began| began + grace);
        self.grace_end = grace_end.filter(|&end| unseen.is_some() && now < end);
        self.target = match unseen.filter(|_| self.grace_end.is_some()) {
            Some(layer) => Some(layer),
            None => nearest,
        };
    }

    /// Whether sending may begin, or go over, to `layer` at its key frame: it is the target or
    /// brings the stream nearer to it.
    pub(crate) fn wants_key_frame_of(&self, layer: u8) -> bool {
        let Some(target) = self.target else {
            return false;
        };
        match self.current {
            None => layer <= target,
            Some(current) if current < target => current < layer && layer <= target,
            Some(current) => target <= layer && layer < current,
        }
    }

    /// `layer` is sent from now on.
    pub(crate) fn switch_to(&mut self, layer: u8) {
        self.current = Some(layer);
    }

    /// Nothing is sent from now on.
    pub(crate) fn stop(&mut self) {
        self.current = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(layers: &[u8]) -> LayerSet {
        layers
            .iter()
            .fold(LayerSet::default(), |set, &layer| set.with(layer, true))
    }

    fn layers(live: &[u8]) -> Layers {
        Layers {
            published: set(&[0, 1, 2]),
            seen: set(&[0, 1, 2]),
            sending: set(live),
            live: set(live),
            began: Some(Instant::now()),
            incarnations: [0; MAX_SPATIAL_LAYERS],
        }
    }

    #[test]
    fn the_target_is_the_highest_live_layer_allowed_or_the_lowest_above() {
        let now = Instant::now();
        for (max, live, expected) in [
            (2, &[0, 1, 2][..], Some(2)),
            (1, &[0, 1, 2], Some(1)),
            (2, &[0, 1], Some(1)),
            (2, &[0], Some(0)),
            (1, &[0, 2], Some(0)),
            (0, &[1, 2], Some(1)),
            (0, &[2], Some(2)),
            (1, &[2], Some(2)),
            (2, &[], None),
            (-1, &[0, 1, 2], None),
        ] {
            let mut selector = Selector::new(max);
            selector.retarget(now, layers(live));
            assert_eq!(selector.target(), expected, "max {max}, live {live:?}");
        }
    }

    #[test]
    fn a_layer_not_seen_yet_is_waited_for_within_the_grace() {
        let now = Instant::now();
        let early = Layers {
            seen: set(&[0]),
            began: Some(now),
            ..layers(&[0])
        };
        let mut selector = Selector::new(2);
        selector.retarget(now, early);
        assert_eq!(
            (selector.target(), selector.deadline()),
            (Some(2), Some(now + GRACE))
        );
        selector.retarget(now + GRACE, early);
        assert_eq!((selector.target(), selector.deadline()), (Some(0), None));
    }

    #[test]
    fn what_trickles_is_better_than_nothing_and_than_what_is_above() {
        let now = Instant::now();
        for (max, live, sending, expected) in [
            (2, &[][..], &[1][..], Some(1)),
            (2, &[0], &[0, 2], Some(0)),
            (0, &[2], &[0, 2], Some(0)),
            (0, &[2], &[1, 2], Some(2)),
            (0, &[], &[1, 2], Some(1)),
        ] {
            let mut selector = Selector::new(max);
            let layers = Layers {
                sending: set(sending),
                ..layers(live)
            };
            selector.retarget(now, layers);
            assert_eq!(selector.target(), expected, "{max}: {live:?}, {sending:?}");
        }
    }

    #[test]
    fn a_layer_above_is_taken_soon_if_none_that_is_wanted_comes() {
        let now = Instant::now();
        let early = Layers {
            seen: set(&[2]),
            began: Some(now),
            ..layers(&[2])
        };
        let mut selector = Selector::new(1);
        selector.retarget(now, early);
        let soon = now + ABOVE_WAIT;
        assert_eq!(
            (selector.target(), selector.deadline()),
            (Some(1), Some(soon))
        );
        selector.retarget(soon, early);
        assert_eq!((selector.target(), selector.deadline()), (Some(2), None));
    }

    #[test]
    fn a_layer_seen_and_dead_is_not_waited_for() {
        let now = Instant::now();
        let mut selector = Selector::new(2);
        selector.retarget(now, layers(&[0, 1]));
        assert_eq!((selector.target(), selector.deadline()), (Some(1), None));
    }

    #[test]
    fn key_frames_that_bring_the_stream_nearer_to_its_target() {
        for (current, target, expected) in [
            (None, 2, [true, true, true]),
            (None, 0, [true, false, false]),
            (Some(0), 2, [false, true, true]),
            (Some(2), 0, [true, true, false]),
            (Some(1), 1, [false, false, false]),
        ] {
            let selector = Selector {
                max: Some(2),
                current,
                target: Some(target),
                grace_end: None,
            };
            let wanted = [0, 1, 2].map(|layer| selector.wants_key_frame_of(layer));
            assert_eq!(wanted, expected, "{current:?} to {target}");
        }
    }
}
