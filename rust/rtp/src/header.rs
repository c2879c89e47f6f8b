//! The RTP header (RFC 3550 5.1): a copyable view of a packet, and the writer.

use std::ops::Range;

use thiserror::Error;

use crate::bytes::{u16_at, u32_at};
use crate::extension::{ExtensionIter, ONE_BYTE_PROFILE, TWO_BYTE_PROFILE};

/// Length of an RTP header without CSRCs and extensions, in bytes.
pub const FIXED_LEN: usize = 12;

/// Why bytes are not an RTP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum HeaderError {
    /// Fewer bytes than the header says it has.
    #[error("truncated RTP header")]
    Truncated,
    /// The version is not 2.
    #[error("RTP version {0}, not 2")]
    Version(u8),
    /// More than 65,535 bytes, which no datagram has.
    #[error("RTP packet of {0} bytes")]
    TooLong(usize),
    /// The padding bit is set, and the padding length is zero or more than the payload has.
    #[error("RTP padding length {0} is impossible")]
    Padding(u8),
}

/// A parsed RTP header. It holds offsets, not borrows: give its methods the packet it was parsed
/// from. With another, shorter packet they return empty slices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RtpHeader {
    /// The marker bit.
    pub marker: bool,
    /// Payload type, 0 to 127.
    pub payload_type: u8,
    /// Sequence number.
    pub sequence: u16,
    /// RTP timestamp, in units of the codec's clock.
    pub timestamp: u32,
    /// Synchronisation source.
    pub ssrc: u32,
    csrc_count: u8,
    padding_len: u8,
    extension_profile: u16,
    extension_end: u16,
    header_len: u16,
    payload_end: u16,
}

impl RtpHeader {
    /// Parses a plain (decrypted) packet, padding included.
    ///
    /// A packet that is all padding has an empty payload; that is how libwebrtc probes.
    #[inline]
    pub fn parse(packet: &[u8]) -> Result<Self, HeaderError> {
        let mut header = Self::parse_encrypted(packet)?;
        if packet[0] & 0x20 != 0 {
            let padding = packet[packet.len() - 1];
            let payload = packet.len() - usize::from(header.header_len);
            if padding == 0 || usize::from(padding) > payload {
                return Err(HeaderError::Padding(padding));
            }
            header.padding_len = padding;
            header.payload_end -= u16::from(padding);
        }
        Ok(header)
    }

    /// Parses the header of a packet whose payload is still encrypted: everything after the header
    /// counts as payload and the padding bit is not looked at.
    #[inline]
    pub fn parse_encrypted(packet: &[u8]) -> Result<Self, HeaderError> {
        let fixed: &[u8; FIXED_LEN] = packet.first_chunk().ok_or(HeaderError::Truncated)?;
        let version = fixed[0] >> 6;
        if version != 2 {
            return Err(HeaderError::Version(version));
        }
        let payload_end =
            u16::try_from(packet.len()).map_err(|_| HeaderError::TooLong(packet.len()))?;
        let csrc_count = fixed[0] & 0x0f;
        let mut header_len = FIXED_LEN + 4 * usize::from(csrc_count);
        let mut extension_profile = 0;
        let mut extension_end = header_len;
        if fixed[0] & 0x10 != 0 {
            let word = u32_at(packet, header_len).ok_or(HeaderError::Truncated)?;
            extension_profile = (word >> 16) as u16;
            header_len += 4 + 4 * usize::from(word as u16);
            extension_end = header_len;
        }
        if header_len > packet.len() {
            return Err(HeaderError::Truncated);
        }
        Ok(Self {
            marker: fixed[1] & 0x80 != 0,
            payload_type: fixed[1] & 0x7f,
            sequence: u16::from_be_bytes([fixed[2], fixed[3]]),
            timestamp: u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]),
            ssrc: u32::from_be_bytes([fixed[8], fixed[9], fixed[10], fixed[11]]),
            csrc_count,
            padding_len: 0,
            extension_profile,
            extension_end: extension_end as u16,
            header_len: header_len as u16,
            payload_end,
        })
    }

    /// Length of the header with CSRCs and extensions, in bytes: where the payload begins.
    #[inline]
    pub fn header_len(&self) -> usize {
        usize::from(self.header_len)
    }

    /// Number of padding bytes at the end, the length byte included.
    #[inline]
    pub fn padding_len(&self) -> usize {
        usize::from(self.padding_len)
    }

    /// Where the payload is, without padding.
    #[inline]
    pub fn payload_range(&self) -> Range<usize> {
        usize::from(self.header_len)..usize::from(self.payload_end)
    }

    /// The payload without padding.
    #[inline]
    pub fn payload<'a>(&self, packet: &'a [u8]) -> &'a [u8] {
        packet.get(self.payload_range()).unwrap_or_default()
    }

    /// The payload without padding, writable.
    #[inline]
    pub fn payload_mut<'a>(&self, packet: &'a mut [u8]) -> &'a mut [u8] {
        packet.get_mut(self.payload_range()).unwrap_or_default()
    }

    /// The contributing sources in network byte order, four bytes each.
    #[inline]
    pub fn csrcs<'a>(&self, packet: &'a [u8]) -> &'a [u8] {
        let end = FIXED_LEN + 4 * usize::from(self.csrc_count);
        packet.get(FIXED_LEN..end).unwrap_or_default()
    }

    /// The profile word of the header extension (RFC 8285: `0xBEDE` or `0x100.`), if there is one.
    #[inline]
    pub fn extension_profile(&self) -> Option<u16> {
        (self.extension_end > self.csrc_end()).then_some(self.extension_profile)
    }

    /// Where the header extension's elements are, without its first word; empty if there is none.
    #[inline]
    pub fn extension_range(&self) -> Range<usize> {
        match self.extension_profile() {
            Some(_) => usize::from(self.csrc_end()) + 4..usize::from(self.extension_end),
            None => 0..0,
        }
    }

    /// Iterates over the elements of the header extension, if it is one of RFC 8285.
    #[inline]
    pub fn extensions<'a>(&self, packet: &'a [u8]) -> ExtensionIter<'a> {
        let block = packet.get(self.extension_range()).unwrap_or_default();
        ExtensionIter::new(self.extension_profile, block)
    }

    fn csrc_end(&self) -> u16 {
        FIXED_LEN as u16 + 4 * u16::from(self.csrc_count)
    }
}

/// The sequence number of an RTP packet, encrypted or not, without parsing the rest.
#[inline]
pub fn peek_sequence(packet: &[u8]) -> Option<u16> {
    u16_at(packet, 2)
}

/// The SSRC of an RTP packet, encrypted or not, without parsing the rest.
#[inline]
pub fn peek_ssrc(packet: &[u8]) -> Option<u32> {
    u32_at(packet, 8)
}

/// What the header writer writes into the fixed part. The padding bit is never set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeaderFields<'a> {
    /// The marker bit.
    pub marker: bool,
    /// Payload type; only the low 7 bits are written.
    pub payload_type: u8,
    /// Sequence number.
    pub sequence: u16,
    /// RTP timestamp.
    pub timestamp: u32,
    /// Synchronisation source.
    pub ssrc: u32,
    /// Contributing sources in network byte order, as [`RtpHeader::csrcs`] gives them.
    pub csrcs: &'a [u8],
}

/// Why a header cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum WriteError {
    /// The buffer is too short.
    #[error("buffer too short for the RTP header")]
    BufferTooShort,
    /// The CSRCs are not whole words, or more than 15.
    #[error("{0} bytes of CSRCs")]
    Csrcs(usize),
    /// An extension has id 0, or more than 255 bytes.
    #[error("header extension {id} of {len} bytes cannot be encoded")]
    Extension {
        /// Its id.
        id: u8,
        /// Its length in bytes.
        len: usize,
    },
}

/// Writes a header into `buf` and returns its length.
///
/// `extensions` gives `(id, value)` in the order of writing. They take the one-byte form of RFC
/// 8285 if all fit it (ids 1 to 14, 1 to 16 bytes), otherwise the two-byte form, which is allowed
/// only if the remote side said `a=extmap-allow-mixed` or was given an id above 14. Without
/// extensions there is no extension block.
#[inline]
pub fn write_header<'a, I>(
    buf: &mut [u8],
    fields: &HeaderFields<'_>,
    extensions: I,
) -> Result<usize, WriteError>
where
    I: IntoIterator<Item = (u8, &'a [u8])> + Clone,
{
    let csrcs = fields.csrcs.len();
    if !csrcs.is_multiple_of(4) || csrcs > 60 {
        return Err(WriteError::Csrcs(csrcs));
    }
    let mut at = FIXED_LEN + csrcs;
    if buf.len() < at {
        return Err(WriteError::BufferTooShort);
    }
    buf[0] = 0x80 | (csrcs / 4) as u8;
    buf[1] = u8::from(fields.marker) << 7 | fields.payload_type & 0x7f;
    buf[2..4].copy_from_slice(&fields.sequence.to_be_bytes());
    buf[4..8].copy_from_slice(&fields.timestamp.to_be_bytes());
    buf[8..12].copy_from_slice(&fields.ssrc.to_be_bytes());
    buf[FIXED_LEN..at].copy_from_slice(fields.csrcs);

    let mut any = false;
    let mut two_byte = false;
    for (id, value) in extensions.clone() {
        if id == 0 || value.len() > 255 {
            let len = value.len();
            return Err(WriteError::Extension { id, len });
        }
        any = true;
        two_byte |= id > 14 || value.is_empty() || value.len() > 16;
    }
    if !any {
        return Ok(at);
    }

    let block = at;
    at += 4;
    for (id, value) in extensions {
        let start = at + if two_byte { 2 } else { 1 };
        let end = start + value.len();
        let element = buf.get_mut(at..end).ok_or(WriteError::BufferTooShort)?;
        if two_byte {
            element[0] = id;
            element[1] = value.len() as u8;
        } else {
            element[0] = id << 4 | (value.len() - 1) as u8;
        }
        element[start - at..].copy_from_slice(value);
        at = end;
    }
    let end = at.next_multiple_of(4);
    buf.get_mut(at..end)
        .ok_or(WriteError::BufferTooShort)?
        .fill(0);
    let profile = if two_byte {
        TWO_BYTE_PROFILE
    } else {
        ONE_BYTE_PROFILE
    };
    let words = ((end - block) / 4 - 1) as u16;
    buf[block..block + 2].copy_from_slice(&profile.to_be_bytes());
    buf[block + 2..block + 4].copy_from_slice(&words.to_be_bytes());
    buf[0] |= 0x10;
    Ok(end)
}

#[cfg(test)]
#[path = "header_tests.rs"]
mod tests;
