//! Reading dependency descriptors, which mean something only together with those before them.

use rtp::dependency::{Descriptor, Structure};
use rtp::seq::SeqUnwrapper;

use crate::packet::{DescribedFrame, ExtensionRef};

/// A key frame whose number is this far behind is not late: the encoder numbers its frames anew.
/// At 30 pictures a second of three layers it is 11 seconds.
const RESTART_BEHIND: u64 = 1000;

/// The structure in force, and the frame number of the key frame that brought it.
#[derive(Debug)]
pub(crate) struct CurrentStructure {
    pub(crate) structure: Structure,
    pub(crate) key_frame: u64,
    active: u32,
}

/// The descriptors of one stream.
#[derive(Debug, Default)]
pub(crate) struct DescriptorReader {
    current: Option<Box<CurrentStructure>>,
    unwrapper: SeqUnwrapper,
    /// Added to what the unwrapper says, so that numbers grow even when the encoder begins anew.
    base: u64,
}

impl DescriptorReader {
    pub(crate) fn current(&self) -> Option<&CurrentStructure> {
        self.current.as_deref()
    }

    /// The stream begins anew.
    pub(crate) fn restart(&mut self) {
        self.base += self
            .unwrapper
            .highest()
            .map_or(0, |highest| highest | 0xffff);
        self.unwrapper = SeqUnwrapper::new();
        self.current = None;
    }

    /// Reads the descriptor `value`, which is at `place` in its packet. `None` if it cannot be
    /// read, or if a later key frame made it useless.
    pub(crate) fn read(&mut self, value: &[u8], place: ExtensionRef) -> Option<DescribedFrame> {
        let known = self.current.as_ref().map(|current| &current.structure);
        let (descriptor, attached) = Descriptor::parse(value, known).ok()?;
        if let Some(structure) = attached {
            // Those alone begin something (A.8.2).
            if !descriptor.start {
                return None;
            }
            self.take(structure, descriptor.frame_number);
        }
        let newest = self.unwrapper.highest();
        let raw = self.unwrapper.unwrap(descriptor.frame_number);
        let number = self.base + raw;
        let current = self.current.as_mut()?;
        if number < current.key_frame {
            return None;
        }
        if let Some(active) = descriptor.active_targets
            && newest.is_none_or(|newest| raw >= newest)
        {
            current.active = active;
        }
        Some(DescribedFrame {
            number,
            key_frame: current.key_frame,
            active: current.active,
            dependencies: descriptor.dependencies,
            layout: descriptor.layout,
            place,
            start: descriptor.start,
            end: descriptor.end,
        })
    }

    fn take(&mut self, structure: Structure, frame_number: u16) {
        let number = self.base + self.unwrapper.peek(frame_number);
        let behind = self
            .current
            .as_ref()
            .map_or(0, |current| current.key_frame.saturating_sub(number));
        if behind > RESTART_BEHIND {
            self.restart();
        } else if behind > 0 {
            return;
        }
        let current = CurrentStructure {
            active: structure.all_targets(),
            key_frame: self.base + self.unwrapper.peek(frame_number),
            structure,
        };
        match &mut self.current {
            Some(known) => **known = current,
            None => self.current = Some(Box::new(current)),
        }
    }
}
