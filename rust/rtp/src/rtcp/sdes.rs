//! Source descriptions and goodbyes (RFC 3550 6.5, 6.6).

use super::feedback::SsrcList;
use crate::bytes::u32_at;

/// SDES item types (RFC 3550 6.5).
pub mod sdes_item {
    /// Canonical end-point identifier.
    pub const CNAME: u8 = 1;
    /// Media section id (RFC 9143).
    pub const MID: u8 = 15;
}

/// A source description packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sdes<'a>(&'a [u8]);

impl<'a> Sdes<'a> {
    pub(super) fn parse(body: &'a [u8], count: u8) -> Option<Self> {
        let mut rest = body;
        for _ in 0..count {
            (_, rest) = SdesChunk::split(rest)?;
        }
        Some(Self(&body[..body.len() - rest.len()]))
    }

    /// The chunks, one for each source.
    pub fn chunks(&self) -> impl Iterator<Item = SdesChunk<'a>> + 'a {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let (chunk, after) = SdesChunk::split(rest)?;
            rest = after;
            Some(chunk)
        })
    }
}

/// The description of one source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SdesChunk<'a> {
    /// The source.
    pub ssrc: u32,
    items: &'a [u8],
}

impl<'a> SdesChunk<'a> {
    /// Takes one chunk off. Its items end with a zero byte; then there are zeros up to the next
    /// word.
    fn split(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let ssrc = u32_at(bytes, 0)?;
        let mut at = 4;
        while *bytes.get(at)? != 0 {
            at += 2 + usize::from(*bytes.get(at + 1)?);
        }
        let items = &bytes[4..at];
        let rest = bytes.get((at + 1).next_multiple_of(4)..)?;
        Some((Self { ssrc, items }, rest))
    }

    /// The items as `(type, value)`; see [`sdes_item`].
    pub fn items(&self) -> impl Iterator<Item = (u8, &'a [u8])> + 'a {
        let mut rest = self.items;
        std::iter::from_fn(move || {
            let (&[kind, len], after) = rest.split_first_chunk()?;
            let (value, after) = after.split_at_checked(usize::from(len))?;
            rest = after;
            Some((kind, value))
        })
    }
}

/// A goodbye packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bye<'a> {
    /// The sources that leave.
    pub ssrcs: SsrcList<'a>,
    /// Why, if given. Any bytes: it is meant to be UTF-8.
    pub reason: Option<&'a [u8]>,
}

impl<'a> Bye<'a> {
    pub(super) fn parse(body: &'a [u8], count: u8) -> Option<Self> {
        let (ssrcs, rest) = body.split_at_checked(4 * usize::from(count))?;
        let reason = match rest.split_first() {
            Some((&len, text)) => Some(text.get(..usize::from(len))?),
            None => None,
        };
        let ssrcs = SsrcList(ssrcs);
        Some(Self { ssrcs, reason })
    }
}
