//! The layers of a receiver as a whole: which there are, which live, and how often each began anew.

use super::Receiver;
use super::layer::Layer;
use crate::down_track::selector::{LayerSet, Layers};
use crate::params::MAX_SPATIAL_LAYERS;

impl Receiver {
    /// The live layers, lowest first, if they or the codec changed since the last call. The first answer
    /// also says that media has begun.
    pub fn take_layer_change(&mut self) -> Option<impl Iterator<Item = u8> + use<>> {
        let changed = self.codec.is_some() && !self.layers_reported;
        self.layers_reported |= changed;
        changed.then(|| self.live_layers())
    }

    /// The live layers, lowest first.
    pub fn live_layers(&self) -> impl Iterator<Item = u8> + use<> {
        let spatial = self.spatial_layers.as_ref();
        spatial.map_or(self.layer_sets.live, |s| s.live()).iter()
    }

    pub(crate) fn layers(&self) -> Layers {
        self.layer_sets
    }

    /// Changes whenever [`Self::layers`] does.
    #[inline]
    pub(crate) fn layers_generation(&self) -> u32 {
        self.layers_generation
    }

    fn incarnations(&self) -> [u32; MAX_SPATIAL_LAYERS] {
        let mut incarnations = [0; MAX_SPATIAL_LAYERS];
        for (incarnation, layer) in incarnations.iter_mut().zip(&self.layers) {
            *incarnation = layer.incarnation();
        }
        incarnations
    }

    pub(super) fn update_layer_sets(&mut self) {
        let set = |test: fn(&Layer) -> bool| {
            let layers = (0..).zip(&self.layers);
            layers.fold(LayerSet::default(), |set, (spatial, layer)| {
                set.with(spatial, test(layer))
            })
        };
        let sets = Layers {
            published: set(Layer::is_published),
            seen: set(Layer::is_seen),
            sending: set(Layer::is_sending),
            live: set(Layer::is_live),
            began: self.began,
            incarnations: self.incarnations(),
        };
        if sets.live != self.layer_sets.live {
            self.layers_reported = false;
        }
        if sets != self.layer_sets {
            self.layer_sets = sets;
            self.layers_generation = self.layers_generation.wrapping_add(1);
        }
    }
}
