//! Layers of a video track and what each takes.

use crate::params::MAX_SPATIAL_LAYERS;

/// Temporal layers of a track: 0 lowest.
pub const MAX_TEMPORAL_LAYERS: usize = 4;

/// A spatial and a temporal layer, and everything below. The order is that in which layers are
/// handed out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct VideoLayer {
    /// 0 lowest.
    pub spatial: u8,
    /// 0 lowest.
    pub temporal: u8,
}

impl VideoLayer {
    /// A layer by its two numbers.
    pub const fn new(spatial: u8, temporal: u8) -> Self {
        Self { spatial, temporal }
    }

    /// All layers that there can be, lowest first.
    pub(crate) fn all() -> impl DoubleEndedIterator<Item = Self> {
        let temporals = MAX_TEMPORAL_LAYERS as u8;
        (0..MAX_SPATIAL_LAYERS as u8 * temporals)
            .map(move |n| Self::new(n / temporals, n % temporals))
    }

    /// Whether neither number is above that of `max`.
    pub(crate) fn is_within(self, max: Self) -> bool {
        self.spatial <= max.spatial && self.temporal <= max.temporal
    }
}

/// A figure for each layer, by spatial and temporal layer.
pub(crate) type PerLayer<T> = [[T; MAX_TEMPORAL_LAYERS]; MAX_SPATIAL_LAYERS];

/// Bits per second that sending up to each layer takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LayerBitrates(PerLayer<u64>);

impl LayerBitrates {
    /// From what each layer takes by itself, 0 if there is no such layer. A temporal layer needs
    /// those below; a spatial layer does so only if it is `nested`, in one stream with them.
    pub fn new(own: &[[u64; MAX_TEMPORAL_LAYERS]; MAX_SPATIAL_LAYERS], nested: bool) -> Self {
        let mut sums = Self::default();
        for layer in VideoLayer::all() {
            let (spatial, temporal) = (usize::from(layer.spatial), usize::from(layer.temporal));
            if own[spatial][temporal] > 0 {
                let lowest = if nested { 0 } else { spatial };
                let needed = own[lowest..=spatial]
                    .iter()
                    .flat_map(|own| &own[..=temporal]);
                sums.0[spatial][temporal] = needed.sum();
            }
        }
        sums
    }

    /// What sending up to `layer` takes; 0 if there is no such layer.
    pub fn get(&self, layer: VideoLayer) -> u64 {
        let spatial = self.0.get(usize::from(layer.spatial));
        let bps = spatial.and_then(|spatial| spatial.get(usize::from(layer.temporal)));
        bps.copied().unwrap_or(0)
    }

    /// The layers that there are within `max`, lowest first, with what they take.
    pub(crate) fn within(
        &self,
        max: VideoLayer,
    ) -> impl DoubleEndedIterator<Item = (VideoLayer, u64)> + '_ {
        let layers = VideoLayer::all().filter(move |layer| layer.is_within(max));
        layers
            .map(|layer| (layer, self.get(layer)))
            .filter(|&(_, bps)| bps > 0)
    }

    /// What is `wanted`, or the lowest spatial layer above if there is none within.
    pub(crate) fn within_reach(&self, wanted: VideoLayer) -> VideoLayer {
        let spatial = wanted.spatial..MAX_SPATIAL_LAYERS as u8;
        let mut nearest = spatial.map(|spatial| VideoLayer { spatial, ..wanted });
        let found = nearest.find(|&layer| self.within(layer).next().is_some());
        found.unwrap_or(wanted)
    }

    /// Which layers there are, as bits.
    pub(crate) fn present(&self) -> u16 {
        let layers = VideoLayer::all().enumerate();
        layers.fold(0, |bits, (bit, layer)| {
            bits | u16::from(self.get(layer) > 0) << bit
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temporal_layers_need_those_below_and_nested_spatial_ones_too() {
        let own = [[100, 50, 0, 0], [300, 0, 200, 0], [0; 4]];
        for (nested, expected) in [(false, [100, 150, 300, 500]), (true, [100, 150, 400, 650])] {
            let bitrates = LayerBitrates::new(&own, nested);
            let all = VideoLayer::new(2, 3);
            let found: Vec<_> = bitrates.within(all).map(|(_, bps)| bps).collect();
            assert_eq!(found, expected);
            assert_eq!(bitrates.get(VideoLayer::new(1, 1)), 0);
            assert_eq!(bitrates.get(VideoLayer::new(9, 9)), 0);
            assert_eq!(bitrates.present(), 0b0101_0011);
        }
    }

    #[test]
    fn what_is_wanted_or_the_lowest_above() {
        let middle_and_high = LayerBitrates::new(&[[0; 4], [1; 4], [1; 4]], false);
        let low = LayerBitrates::new(&[[1; 4], [0; 4], [0; 4]], false);
        for (bitrates, wanted, expected) in [
            (middle_and_high, 0, 1),
            (middle_and_high, 1, 1),
            (middle_and_high, 2, 2),
            (low, 2, 2),
            (LayerBitrates::default(), 1, 1),
        ] {
            let found = bitrates.within_reach(VideoLayer::new(wanted, 2));
            assert_eq!(found, VideoLayer::new(expected, 2), "{bitrates:?}");
        }
    }

    #[test]
    fn a_limit_holds_for_both_numbers() {
        let bitrates = LayerBitrates::new(&[[1; 4]; 3], false);
        let layers: Vec<_> = bitrates
            .within(VideoLayer::new(1, 1))
            .map(|l| l.0)
            .collect();
        let expected = [(0, 0), (0, 1), (1, 0), (1, 1)].map(|(s, t)| VideoLayer::new(s, t));
        assert_eq!(layers, expected);
    }
}
