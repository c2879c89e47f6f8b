//! Temporal layers of streams that tell them in dependency descriptors only: Chromium leaves
//! everything out of VP8's payload descriptors when it sends these (LiveKit `buffer_base.go` takes
//! them from there too).

use super::descriptors::DescriptorReader;
use crate::packet::ExtensionRef;

/// Frames whose layers are remembered. Encoders refer to frames at most eight back.
const REMEMBERED: u64 = 64;

/// The frame did not come.
const MISSING: u8 = u8::MAX;

/// Where a frame belongs among temporal layers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TemporalPlace {
    pub(crate) layer: u8,
    /// The highest layer among the frames that it refers to.
    pub(crate) depends_on: u8,
}

/// The frames of one stream.
#[derive(Debug)]
pub(crate) struct TemporalReader {
    descriptors: DescriptorReader,
    newest: u64,
    /// Layers of the last frames, by number.
    layers: [u8; REMEMBERED as usize],
}

impl Default for TemporalReader {
    fn default() -> Self {
        Self {
            descriptors: DescriptorReader::default(),
            newest: 0,
            layers: [MISSING; REMEMBERED as usize],
        }
    }
}

impl TemporalReader {
    /// The stream begins anew.
    pub(crate) fn restart(&mut self) {
        self.descriptors.restart();
    }

    /// Reads the descriptor `value`, which is at `place` in its packet. `None` if it cannot be
    /// read.
    pub(crate) fn read(&mut self, value: &[u8], place: ExtensionRef) -> Option<TemporalPlace> {
        let frame = self.descriptors.read(value, place)?;
        let layer = frame.dependencies.temporal;
        self.note(frame.number, layer);
        let references = frame.dependencies.references.iter();
        let depends_on = references
            .take_while(|&&distance| distance > 0)
            .map(|&distance| self.layer_of(frame.number.checked_sub(distance.into())))
            // Who refers to what nobody knows may need the frames of its own layer.
            .map(|referred| referred.unwrap_or(layer))
            .max();
        Some(TemporalPlace {
            layer,
            depends_on: depends_on.unwrap_or(0),
        })
    }

    fn note(&mut self, number: u64, layer: u8) {
        if number > self.newest {
            let first = (self.newest + 1).max((number + 1).saturating_sub(REMEMBERED));
            for skipped in first..number {
                self.layers[(skipped % REMEMBERED) as usize] = MISSING;
            }
            self.newest = number;
        }
        if number + REMEMBERED > self.newest {
            self.layers[(number % REMEMBERED) as usize] = layer;
        }
    }

    fn layer_of(&self, number: Option<u64>) -> Option<u8> {
        let number = number.filter(|number| number + REMEMBERED > self.newest)?;
        let layer = self.layers[(number % REMEMBERED) as usize];
        (layer != MISSING).then_some(layer)
    }
}
