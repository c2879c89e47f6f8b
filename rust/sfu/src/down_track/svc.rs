//! Which frames of a stream with several layers (SVC) one subscriber gets.
//!
//! One RTP stream carries all layers; a subscriber gets those up to some spatial and temporal layer
//! and everything that they need. What needs what is told by dependency descriptors
//! ([`described`]), or less exactly by VP9 payload descriptors ([`vp9`]). Layers are changed between
//! pictures, so that what was sent of a picture always ends with a marker.

mod described;
mod vp9;

use super::history::Patch;
use described::Described;
use vp9::Vp9;

use crate::packet::{PacketInfo, Svc};
use crate::receiver::Receiver;

/// A spatial and a temporal layer, and everything below.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LayerPair {
    pub(crate) spatial: u8,
    pub(crate) temporal: u8,
}

impl LayerPair {
    /// Whether both layers are within `limit`.
    #[inline]
    fn is_within(self, limit: Self) -> bool {
        self.spatial <= limit.spatial && self.temporal <= limit.temporal
    }
}

/// What is sent of a packet, apart from what it says itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Selected {
    /// The picture ends with this packet, as the subscriber sees it.
    pub(crate) marker: bool,
    /// How its dependency descriptor changes.
    pub(crate) patch: Patch,
}

/// One packet, as it came.
#[derive(Clone, Copy, Debug)]
struct Arrival {
    timestamp: u32,
    marker: bool,
    /// It was missing before: it changes nothing for those that came after it.
    late: bool,
}

/// The choice of one down track.
#[derive(Debug, Default)]
pub(crate) struct SvcSelector {
    described: Described,
    vp9: Vp9,
    /// The highest layers sent in this era.
    sent: Option<LayerPair>,
    /// The lowest and the highest spatial layer that comes.
    lowest: u8,
    highest: u8,
}

impl SvcSelector {
    /// Begins an era with the packet `first`.
    pub(crate) fn begin_era(&mut self, first: &PacketInfo) {
        self.sent = None;
        self.vp9 = Vp9::default();
        let first = match &first.svc {
            Some(Svc::Described(frame)) => Some(frame.number),
            _ => None,
        };
        self.described.begin_era(first);
    }

    /// Whether a packet is sent to a subscriber that gets layers up to `wanted`, and how. None: it
    /// is not.
    #[inline]
    pub(crate) fn select(
        &mut self,
        svc: &Svc,
        info: &PacketInfo,
        late: bool,
        wanted: LayerPair,
        source: &Receiver,
    ) -> Option<Selected> {
        let arrival = Arrival {
            timestamp: info.timestamp,
            marker: info.marker,
            late,
        };
        self.lowest = source.lowest_spatial().unwrap_or(0);
        self.highest = source.highest_spatial().unwrap_or(0);
        let selected = match svc {
            Svc::Described(frame) => {
                self.described
                    .select(frame, arrival, wanted, source.structure())?
            }
            Svc::Vp9(frame) => {
                let wanted = self.within_reach(wanted);
                self.vp9.select(frame, arrival, info.key_frame, wanted)?
            }
            Svc::Unknown => return None,
        };
        let sent = self.sent.get_or_insert_default();
        sent.spatial = sent.spatial.max(svc.spatial());
        sent.temporal = sent.temporal.max(svc.temporal());
        Some(selected)
    }

    /// The layers being sent; `None` if the stream has none.
    pub(crate) fn current(&self) -> Option<LayerPair> {
        let sent = self.sent?;
        let limit = self.described.current().or(self.vp9.current())?;
        Some(LayerPair {
            spatial: limit.spatial.min(sent.spatial),
            temporal: limit.temporal.min(sent.temporal),
        })
    }

    /// Whether only a key frame brings the spatial layer that is wanted.
    pub(crate) fn waits_for_key_frame(&self, wanted: LayerPair) -> bool {
        if self.described.is_in_use() {
            return self.described.waits_for_key_frame(wanted);
        }
        let wanted = self.within_reach(wanted);
        let current = self.vp9.current();
        current.is_some_and(|current| current.spatial < wanted.spatial.min(self.highest))
    }

    /// What is wanted, or the lowest layer if all that come are above. Descriptors tell which there are,
    /// where there are descriptors.
    fn within_reach(&self, wanted: LayerPair) -> LayerPair {
        LayerPair {
            spatial: wanted.spatial.max(self.lowest),
            ..wanted
        }
    }
}
