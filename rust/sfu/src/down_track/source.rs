//! Following what happens to the source of a down track.

use std::time::Instant;

use super::DownTrack;
use crate::receiver::Receiver;

impl DownTrack {
    /// Reads from another receiver from now on. The stream goes on with the next key frame.
    pub fn set_source(&mut self, now: Instant, source: &Receiver) {
        self.stop_era();
        self.rejected = None;
        self.source_paused = true;
        self.source_muted = source.is_muted();
        self.kind = source.kind();
        self.source_pauses = source.pauses();
        self.incarnations = source.layers().incarnations;
        self.negotiations = source.negotiations();
        self.stream.set_source(&self.config, source);
        self.settle(now, source);
    }

    /// Notices what happened to the source.
    pub(super) fn follow_source(&mut self, now: Instant, source: &Receiver) {
        self.source_muted = source.is_muted();
        if source.pauses() != self.source_pauses {
            self.source_pauses = source.pauses();
            self.source_paused = true;
            self.stop_era();
        }
        if source.negotiations() != self.negotiations {
            self.follow_negotiation(now, source);
        }
        if source.layers_generation() != self.layers_generation {
            self.retarget(now, source);
        }
    }

    /// Ends the era of a layer that the publisher began anew: its numbers, timestamps and references have
    /// nothing to do with what was sent.
    fn follow_incarnations(&mut self, source: &Receiver) {
        let incarnations = source.layers().incarnations;
        let before = std::mem::replace(&mut self.incarnations, incarnations);
        for (layer, (before, now)) in (0..).zip(before.into_iter().zip(incarnations)) {
            if before == now {
                continue;
            }
            self.pending = self.pending.filter(|pending| pending.layer != layer);
            self.stream.layer_began_anew(layer);
            if self.selector.current() == Some(layer) {
                self.stop_era();
            }
        }
    }

    pub(super) fn retarget(&mut self, now: Instant, source: &Receiver) {
        self.follow_incarnations(source);
        let before = self.selector.target();
        self.layers_generation = source.layers_generation();
        self.selector.retarget(now, source.layers());
        if self.selector.target() != before {
            self.seeking_since = Some(now);
            self.requests.ask_again_now();
        }
    }
}
