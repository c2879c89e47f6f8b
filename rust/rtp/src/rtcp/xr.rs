//! Extended reports (RFC 3611): the two blocks that measure round trips of receivers.

use crate::bytes::{u16_at, u32_at, u64_at};

/// Block type of a receiver reference time (RFC 3611 4.4).
pub(super) const RRTR: u8 = 4;

/// Block type of a delay since the last receiver reference time (RFC 3611 4.5).
pub(super) const DLRR: u8 = 5;

/// An extended report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Xr<'a> {
    /// Who reports.
    pub ssrc: u32,
    blocks: &'a [u8],
}

/// One block of an extended report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XrBlock<'a> {
    /// Receiver reference time: the reporter's NTP clock (UQ32.32).
    ReceiverReferenceTime {
        /// The time.
        ntp: u64,
    },
    /// Delay since the last receiver reference time, for each of some receivers.
    Dlrr(DlrrList<'a>),
    /// Anything else.
    Unknown {
        /// Block type.
        block_type: u8,
        /// What follows the block's first word.
        body: &'a [u8],
    },
}

/// The entries of a DLRR block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DlrrList<'a>(&'a [u8]);

/// One receiver in a DLRR block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DlrrEntry {
    /// The receiver.
    pub ssrc: u32,
    /// The middle 32 bits of its last reference time, or 0.
    pub last_rr: u32,
    /// Delay since that, in 1/65,536 s.
    pub delay_since_last_rr: u32,
}

impl<'a> DlrrList<'a> {
    /// The entries.
    pub fn iter(&self) -> impl Iterator<Item = DlrrEntry> + 'a {
        self.0.chunks_exact(12).filter_map(|entry| {
            Some(DlrrEntry {
                ssrc: u32_at(entry, 0)?,
                last_rr: u32_at(entry, 4)?,
                delay_since_last_rr: u32_at(entry, 8)?,
            })
        })
    }
}

impl<'a> Xr<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Option<Self> {
        let ssrc = u32_at(body, 0)?;
        let blocks = &body[4..];
        let mut rest = blocks;
        while !rest.is_empty() {
            (_, rest) = split_block(rest)?;
        }
        Some(Self { ssrc, blocks })
    }

    /// The blocks.
    pub fn blocks(&self) -> impl Iterator<Item = XrBlock<'a>> + 'a {
        let mut rest = self.blocks;
        std::iter::from_fn(move || {
            let (block, after) = split_block(rest)?;
            rest = after;
            Some(block)
        })
    }
}

/// Takes one block off.
fn split_block(bytes: &[u8]) -> Option<(XrBlock<'_>, &[u8])> {
    let block_type = *bytes.first()?;
    let len = 4 * usize::from(u16_at(bytes, 2)?);
    let (body, rest) = bytes[4..].split_at_checked(len)?;
    let block = match block_type {
        RRTR => XrBlock::ReceiverReferenceTime {
            ntp: u64_at(body, 0)?,
        },
        DLRR if len.is_multiple_of(12) => XrBlock::Dlrr(DlrrList(body)),
        DLRR => return None,
        _ => XrBlock::Unknown { block_type, body },
    };
    Some((block, rest))
}
