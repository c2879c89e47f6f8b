//! Generic NACK, FIR and REMB.

use crate::bytes::{u16_at, u32_at};

/// A list of SSRCs inside a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SsrcList<'a>(pub(super) &'a [u8]);

impl<'a> SsrcList<'a> {
    /// The SSRCs.
    pub fn iter(&self) -> impl Iterator<Item = u32> + 'a {
        self.0.chunks_exact(4).filter_map(|word| u32_at(word, 0))
    }
}

/// A generic NACK (RFC 4585 6.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nack<'a> {
    /// Who asks.
    pub sender_ssrc: u32,
    /// The stream with the missing packets.
    pub media_ssrc: u32,
    pairs: &'a [u8],
}

impl<'a> Nack<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Option<Self> {
        Some(Self {
            sender_ssrc: u32_at(body, 0)?,
            media_ssrc: u32_at(body, 4)?,
            pairs: &body[8..],
        })
    }

    /// The missing sequence numbers: of each pair the packet id, and after it one for each bit of
    /// the bitmask.
    pub fn sequences(&self) -> impl Iterator<Item = u16> + 'a {
        self.pairs.chunks_exact(4).flat_map(|pair| {
            let (pid, mask) = (u16_at(pair, 0), u16_at(pair, 2).unwrap_or(0));
            let following = (0..16u16)
                .filter(move |bit| mask >> bit & 1 != 0)
                .map(move |bit| pid.unwrap_or(0).wrapping_add(bit + 1));
            pid.into_iter().chain(following)
        })
    }
}

/// A full intra request (RFC 5104 4.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fir<'a> {
    /// Who asks.
    pub sender_ssrc: u32,
    /// Not used by FIR; libwebrtc sends 0.
    pub media_ssrc: u32,
    entries: &'a [u8],
}

/// One stream of a full intra request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirEntry {
    /// Whose picture.
    pub ssrc: u32,
    /// Number of the command; the same number is the same command repeated.
    pub command: u8,
}

impl<'a> Fir<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Option<Self> {
        let entries = body.get(8..)?;
        entries.len().is_multiple_of(8).then_some(())?;
        Some(Self {
            sender_ssrc: u32_at(body, 0)?,
            media_ssrc: u32_at(body, 4)?,
            entries,
        })
    }

    /// The streams.
    pub fn entries(&self) -> impl Iterator<Item = FirEntry> + 'a {
        self.entries.chunks_exact(8).filter_map(|entry| {
            let (ssrc, command) = (u32_at(entry, 0)?, entry[4]);
            Some(FirEntry { ssrc, command })
        })
    }
}

/// Receiver estimated maximum bitrate (draft-alvestrand-rmcat-remb-03 2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remb<'a> {
    /// Who estimates.
    pub sender_ssrc: u32,
    /// The estimate for all the streams together, in bits per second. An exponent too large for 64
    /// bits gives `u64::MAX`.
    pub bitrate: u64,
    /// The streams.
    pub ssrcs: SsrcList<'a>,
}

impl<'a> Remb<'a> {
    pub(super) fn is_remb(body: &[u8]) -> bool {
        body.get(8..12) == Some(b"REMB")
    }

    pub(super) fn parse(body: &'a [u8]) -> Option<Self> {
        let word = u32_at(body, 12)?;
        let count = (word >> 24) as usize;
        let (exponent, mantissa) = (word >> 18 & 0x3f, u64::from(word & 0x3_ffff));
        let bitrate = if mantissa == 0 {
            0
        } else if exponent > mantissa.leading_zeros() {
            u64::MAX
        } else {
            mantissa << exponent
        };
        Some(Self {
            sender_ssrc: u32_at(body, 0)?,
            bitrate,
            ssrcs: SsrcList(body.get(16..16 + 4 * count)?),
        })
    }

    /// Exponent and mantissa of `bitrate`, rounded down to 18 significant bits.
    pub(super) fn encode_bitrate(bitrate: u64) -> u32 {
        let exponent = (64 - bitrate.leading_zeros()).saturating_sub(18);
        exponent << 18 | (bitrate >> exponent) as u32
    }
}
