//! Selection by VP9 payload descriptors (LiveKit `videolayerselector/vp9.go`).

use super::{Arrival, LayerPair, Patch, Selected};
use crate::packet::Vp9Frame;

/// The state of one down track.
#[derive(Debug, Default)]
pub(super) struct Vp9 {
    /// The layers being sent; none before the first key frame.
    current: Option<LayerPair>,
    /// The timestamp of the newest picture.
    picture: Option<u32>,
}

impl Vp9 {
    pub(super) fn current(&self) -> Option<LayerPair> {
        self.current
    }

    pub(super) fn select(
        &mut self,
        frame: &Vp9Frame,
        arrival: Arrival,
        key_frame: bool,
        wanted: LayerPair,
    ) -> Option<Selected> {
        let layer = LayerPair {
            spatial: frame.layer.spatial,
            temporal: frame.layer.temporal,
        };
        if !arrival.late {
            let begins = self.picture != Some(arrival.timestamp);
            self.picture = Some(arrival.timestamp);
            if begins && key_frame {
                self.current = Some(wanted);
            }
            if let Some(current) = &mut self.current {
                if begins {
                    current.spatial = current.spatial.min(wanted.spatial);
                    current.temporal = temporal(frame, begins, current.temporal, wanted.temporal);
                }
                let joins = frame.start && !frame.inter_picture;
                if joins && (current.spatial..=wanted.spatial).contains(&layer.spatial) {
                    current.spatial = layer.spatial;
                }
            }
        }
        let current = self.current.filter(|&current| layer.is_within(current))?;
        // A frame without earlier ones may be followed by one of the next layer, to go up to.
        let last = frame.inter_picture || wanted.spatial <= current.spatial;
        Some(Selected {
            marker: arrival.marker || frame.end && layer.spatial == current.spatial && last,
            patch: Patch::None,
        })
    }
}

/// The temporal layer from a new picture on: down at once, up where the picture says that it needs
/// nothing of its layer from before.
fn temporal(frame: &Vp9Frame, begins: bool, current: u8, wanted: u8) -> u8 {
    let layer = frame.layer;
    let joins = begins && frame.start && layer.switching_up;
    if joins && layer.temporal > current && layer.temporal <= wanted {
        return layer.temporal;
    }
    current.min(wanted)
}
