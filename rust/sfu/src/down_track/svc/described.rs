//! Selection by dependency descriptors (LiveKit `videolayerselector/dependencydescriptor.go`).
//!
//! A *decode target* is a pair of layers with all that they need. Each is protected by a *chain*:
//! as long as no frame of the chain was left out, every frame of the target can be decoded. So the
//! subscriber gets the highest target that is wanted, sent by the publisher and whose chain is
//! intact; a chain that was not followed is intact again from its next frame that needs nothing.

use rtp::dependency::{DecodeTarget, MAX_TARGETS};

use super::{Arrival, LayerPair, Patch, Selected};
use crate::down_track::sent_log::SentLog;
use crate::packet::DescribedFrame;
use crate::params::MAX_SPATIAL_LAYERS;
use crate::receiver::CurrentStructure;

/// The decode targets in force.
#[derive(Clone, Copy, Debug)]
struct Targets {
    /// Number of the key frame that brought them.
    key_frame: u64,
    targets: [DecodeTarget; MAX_TARGETS],
    count: u8,
    chains: u8,
}

/// The state of one down track.
#[derive(Debug, Default)]
pub(super) struct Described {
    targets: Option<Targets>,
    /// The decode targets that the publisher sends, target 0 in the lowest bit.
    active: u32,
    /// Chains of which nothing was left out, chain 0 in the lowest bit.
    intact: u8,
    /// The target being sent.
    current: Option<u8>,
    /// The timestamp of the picture it was chosen for.
    picture: Option<u32>,
    log: SentLog,
    /// Incoming minus outgoing frame number.
    frame_offset: u64,
    /// The highest outgoing frame number.
    highest_sent: Option<u64>,
}

impl Described {
    /// Begins an era with a frame of this number, or with a stream without descriptors. Outgoing
    /// frame numbers go on, for receivers take a key frame with a lower one for an old one.
    pub(super) fn begin_era(&mut self, first: Option<u64>) {
        let highest_sent = self.highest_sent;
        let next = highest_sent.map(|highest| highest + 1).or(first);
        *self = Self {
            frame_offset: match (first, next) {
                (Some(first), Some(next)) => first.wrapping_sub(next),
                _ => 0,
            },
            highest_sent,
            ..Self::default()
        };
    }

    /// Whether the stream has descriptors.
    pub(super) fn is_in_use(&self) -> bool {
        self.targets.is_some()
    }

    /// The layers of the target being sent.
    pub(super) fn current(&self) -> Option<LayerPair> {
        let targets = self.targets.as_ref()?;
        Some(layers(targets.get(self.current?)))
    }

    /// Whether the publisher sends a wanted spatial layer that only a key frame makes decodable.
    pub(super) fn waits_for_key_frame(&self, wanted: LayerPair) -> bool {
        let Some(targets) = &self.targets else {
            return false;
        };
        let spatial = |best: Option<u8>| best.map(|target| targets.get(target).spatial);
        let best = spatial(self.nearest(targets, wanted, |_| true));
        best != spatial(self.nearest(targets, wanted, |target| self.is_intact(target)))
    }

    pub(super) fn select(
        &mut self,
        frame: &DescribedFrame,
        arrival: Arrival,
        wanted: LayerPair,
        structure: Option<&CurrentStructure>,
    ) -> Option<Selected> {
        let sent = match self.log.get(frame.number) {
            Some(sent) => sent,
            None if self.log.is_forgotten(frame.number) => false,
            None => {
                let sent = self.decide(frame, arrival, wanted, structure);
                self.log.set(frame.number, sent);
                sent
            }
        };
        let targets = self.targets.as_ref().filter(|_| sent)?;
        let target = layers(targets.get(self.current?));
        let number = frame.number.wrapping_sub(self.frame_offset);
        self.highest_sent = self.highest_sent.max(Some(number));
        Some(Selected {
            marker: arrival.marker || frame.end && frame.dependencies.spatial == target.spatial,
            patch: Patch::Descriptor {
                frame_number: number as u16,
                active: targets.within(target) & self.active,
            },
        })
    }

    /// Whether a frame is sent of which this is the first packet to come.
    fn decide(
        &mut self,
        frame: &DescribedFrame,
        arrival: Arrival,
        wanted: LayerPair,
        structure: Option<&CurrentStructure>,
    ) -> bool {
        if !arrival.late {
            self.take_structure(frame, structure);
        }
        let Some(targets) = self.targets else {
            return false;
        };
        if targets.key_frame != frame.key_frame {
            return false;
        }
        if !arrival.late {
            self.follow(frame, &targets);
            if self.picture != Some(arrival.timestamp) {
                self.picture = Some(arrival.timestamp);
                self.choose(frame, &targets, wanted);
            }
        }
        let dependencies = &frame.dependencies;
        let references = || dependencies.references.iter().take_while(|&&r| r != 0);
        self.current.is_some_and(|target| {
            // What was not seen yet may still come.
            let left_out = |&distance: &u16| self.was_left_out(frame, distance.into());
            dependencies.is_present(target) && !references().any(left_out)
        })
    }

    /// A key frame brings other targets; none of their chains was followed.
    fn take_structure(&mut self, frame: &DescribedFrame, structure: Option<&CurrentStructure>) {
        let known = self.targets.map(|targets| targets.key_frame);
        let Some(structure) = structure.filter(|structure| {
            structure.key_frame == frame.key_frame && known < Some(frame.key_frame)
        }) else {
            return;
        };
        let mut targets = Targets {
            key_frame: structure.key_frame,
            targets: [DecodeTarget::default(); MAX_TARGETS],
            count: 0,
            chains: structure.structure.chains(),
        };
        for (slot, target) in targets
            .targets
            .iter_mut()
            .zip(structure.structure.targets())
        {
            *slot = *target;
            targets.count += 1;
        }
        self.targets = Some(targets);
        self.active = 0;
        self.intact = 0;
        self.current = None;
        self.picture = None;
    }

    /// Follows the chains over the next frame in order.
    fn follow(&mut self, frame: &DescribedFrame, targets: &Targets) {
        if frame.active != self.active {
            // The frames of a chain that begins to be sent now were not left out: there were none.
            self.intact &= targets.chains_of(self.active);
            self.active = frame.active;
        }
        for chain in 0..targets.chains {
            let distance = frame.dependencies.chains[usize::from(chain)];
            if distance == 0 {
                self.intact |= 1 << chain;
            } else if self.was_left_out(frame, distance.into()) {
                self.intact &= !(1 << chain);
            }
        }
    }

    /// Chooses the target for the picture that `frame` begins. If a lower one is wanted that cannot
    /// begin here, the higher one goes on until it can. A higher spatial layer begins with a frame
    /// of the lowest temporal one: others refer to frames that no chain protects.
    fn choose(&mut self, frame: &DescribedFrame, targets: &Targets, mut wanted: LayerPair) {
        let usable =
            |&target: &u8| self.active >> target & 1 != 0 && self.is_intact(targets.get(target));
        let current = self.current.filter(usable);
        if let Some(current) = current
            && frame.dependencies.temporal > 0
        {
            wanted.spatial = wanted.spatial.min(targets.get(current).spatial);
        }
        let is_intact = |target: &DecodeTarget| self.is_intact(target);
        let best = self.best(targets, wanted, is_intact).or(current);
        self.current = best.or_else(|| self.nearest(targets, wanted, is_intact));
    }

    /// The highest target within `wanted` that the publisher sends and that `test` allows.
    fn best(
        &self,
        targets: &Targets,
        wanted: LayerPair,
        test: impl Fn(&DecodeTarget) -> bool,
    ) -> Option<u8> {
        let sent = (0..targets.count).filter(|&target| self.active >> target & 1 != 0);
        let allowed = sent.filter(|&target| {
            let target = targets.get(target);
            layers(target).is_within(wanted) && test(target)
        });
        // Of targets with the same layers the first.
        allowed
            .rev()
            .max_by_key(|&target| layers(targets.get(target)))
    }

    /// [`Self::best`], or if the publisher sends nothing within `wanted` the lowest spatial layer above.
    fn nearest(
        &self,
        targets: &Targets,
        wanted: LayerPair,
        test: impl Fn(&DecodeTarget) -> bool + Copy,
    ) -> Option<u8> {
        if self.best(targets, wanted, |_| true).is_some() {
            return self.best(targets, wanted, test);
        }
        let above = wanted.spatial.saturating_add(1)..MAX_SPATIAL_LAYERS as u8;
        let mut above = above.map(|spatial| LayerPair { spatial, ..wanted });
        above.find_map(|wanted| self.best(targets, wanted, test))
    }

    fn is_intact(&self, target: &DecodeTarget) -> bool {
        // Encoders that make no chains let every frame be decoded.
        target
            .chain
            .is_none_or(|chain| self.intact >> chain & 1 != 0)
    }

    fn was_left_out(&self, frame: &DescribedFrame, distance: u64) -> bool {
        let number = frame.number.checked_sub(distance);
        number.is_some_and(|number| self.log.get(number) == Some(false))
    }
}

impl Targets {
    fn get(&self, target: u8) -> &DecodeTarget {
        &self.targets[usize::from(target)]
    }

    /// The targets whose layers are within `limit`.
    fn within(&self, limit: LayerPair) -> u32 {
        self.mask(|target| layers(target).is_within(limit))
    }

    /// The chains that protect any of `targets`.
    fn chains_of(&self, targets: u32) -> u8 {
        let sent = (0..self.count).filter(|&target| targets >> target & 1 != 0);
        let chains = sent.filter_map(|target| self.get(target).chain);
        chains.fold(0, |chains, chain| chains | 1 << chain)
    }

    fn mask(&self, test: impl Fn(&DecodeTarget) -> bool) -> u32 {
        let targets = (0..self.count).filter(|&target| test(self.get(target)));
        targets.fold(0, |mask, target| mask | 1 << target)
    }
}

fn layers(target: &DecodeTarget) -> LayerPair {
    LayerPair {
        spatial: target.spatial,
        temporal: target.temporal,
    }
}
