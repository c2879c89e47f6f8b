//! The dependency descriptor (AV1 RTP specification, appendix A), as far as forwarding needs it:
//! which decode targets a frame belongs to, what it refers to, and rewriting it for a receiver that
//! gets fewer targets.

mod bits;
mod rewrite;
mod structure;

use thiserror::Error;

use bits::BitReader;
pub use rewrite::rewrite;
pub use structure::{DecodeTarget, Structure};

/// Decode targets that a structure can have (A.8.3: `dt_cnt_minus_one` has 5 bits).
pub const MAX_TARGETS: usize = 32;

/// Chains that are followed. Encoders make one for each spatial layer; a structure with more is
/// taken as if it had none.
pub const MAX_CHAINS: usize = 8;

/// References of one frame that are followed; those beyond are not looked at.
pub const MAX_REFERENCES: usize = 8;

/// Bits before the structure or the bitmask: the mandatory fields and the five flags.
const FLAGS_END: usize = 29;

/// Why a dependency descriptor cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DescriptorError {
    /// It ends before its fields do.
    #[error("truncated dependency descriptor")]
    Truncated,
    /// It refers to a structure that has not come.
    #[error("dependency descriptor without its structure")]
    NoStructure,
    /// Its template is not one of the structure's.
    #[error("dependency descriptor with the unknown template {0}")]
    UnknownTemplate(u8),
    /// More than 64 templates.
    #[error("dependency structure with too many templates")]
    TooManyTemplates,
}

/// What a frame depends on, by a template or of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dependencies {
    /// Spatial layer.
    pub spatial: u8,
    /// Temporal layer.
    pub temporal: u8,
    /// Two bits for each decode target, target 0 lowest; see [`Self::is_present`].
    pub indications: u64,
    /// Distances in frame numbers to the frames that this one refers to; 0: none.
    pub references: [u16; MAX_REFERENCES],
    /// For each chain the distance to the chain's frame before this one; 0: the chain begins here.
    pub chains: [u8; MAX_CHAINS],
}

impl Dependencies {
    /// Whether the frame is part of the decode target with this index.
    #[inline]
    pub fn is_present(&self, target: u8) -> bool {
        self.indications >> (2 * u32::from(target)) & 3 != 0
    }
}

/// Where the parts of a descriptor are, in bits; the input of [`rewrite`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DescriptorLayout {
    /// Number of decode targets: the width of the bitmask.
    targets: u8,
    /// End of the flags and the structure, where the bitmask is or would be.
    mask: u16,
    /// What follows the bitmask.
    rest: u16,
    end: u16,
}

/// A parsed dependency descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// The packet is the first of its frame.
    pub start: bool,
    /// The packet is the last of its frame.
    pub end: bool,
    /// Number of the frame, wrapping.
    pub frame_number: u16,
    /// The active decode targets, target 0 in the lowest bit, if the packet tells them.
    pub active_targets: Option<u32>,
    /// What the frame depends on.
    pub dependencies: Dependencies,
    /// Where its parts are.
    pub layout: DescriptorLayout,
}

impl Descriptor {
    /// Parses the value of the header extension. `known` is the structure sent last; a packet that
    /// has one of its own is parsed by that, which is returned too.
    ///
    /// # Errors
    ///
    /// See [`DescriptorError`].
    #[inline]
    pub fn parse(
        value: &[u8],
        known: Option<&Structure>,
    ) -> Result<(Self, Option<Structure>), DescriptorError> {
        let mut bits = BitReader::new(value);
        let start = bits.flag()?;
        let end = bits.flag()?;
        let template = bits.read(6)? as u8;
        let frame_number = bits.read(16)? as u16;
        let extended = value.len() > 3;
        let mut flag = || if extended { bits.flag() } else { Ok(false) };
        let has_structure = flag()?;
        let has_mask = flag()?;
        let (own_indications, own_references, own_chains) = (flag()?, flag()?, flag()?);
        let attached = if has_structure {
            Some(Structure::parse(&mut bits)?)
        } else {
            None
        };
        let structure = attached
            .as_ref()
            .or(known)
            .ok_or(DescriptorError::NoStructure)?;
        let targets = structure.targets().len() as u8;
        let mask = if extended { bits.at() } else { FLAGS_END };
        let active_targets = match has_mask {
            true => Some(bits.read(u32::from(targets))?),
            false => has_structure.then_some(structure.all_targets()),
        };
        let rest = if extended { bits.at() } else { FLAGS_END };
        let mut dependencies = *structure.template(template)?;
        if own_indications {
            dependencies.indications = structure::indications(&mut bits, targets)?;
        }
        if own_references {
            dependencies.references = references(&mut bits)?;
        }
        if own_chains {
            for chain in 0..structure.declared_chains() {
                let distance = bits.read(8)? as u8;
                if let Some(slot) = dependencies.chains.get_mut(usize::from(chain)) {
                    *slot = distance;
                }
            }
        }
        let layout = DescriptorLayout {
            targets,
            mask: mask as u16,
            rest: rest as u16,
            end: if extended { bits.at() } else { FLAGS_END } as u16,
        };
        let descriptor = Self {
            start,
            end,
            frame_number,
            active_targets,
            dependencies,
            layout,
        };
        Ok((descriptor, attached))
    }
}

/// A frame's own references (`frame_fdiffs`).
fn references(bits: &mut BitReader<'_>) -> Result<[u16; MAX_REFERENCES], DescriptorError> {
    let mut found = [0; MAX_REFERENCES];
    let mut slots = found.iter_mut();
    loop {
        let size = bits.read(2)?;
        if size == 0 {
            return Ok(found);
        }
        let distance = bits.read(4 * size)? as u16 + 1;
        if let Some(slot) = slots.next() {
            *slot = distance;
        }
    }
}
