//! RTCP: parsing compound packets and building them.
//!
//! [`parse`] walks a compound packet, or a reduced-size one (RFC 5506). It is strict about lengths
//! and lenient about everything else: packet types in any order, padding on any packet, unknown
//! types. Lists inside a packet are checked when the packet is parsed, so that going through them
//! afterwards cannot fail, and are read from the bytes without allocating.

mod build;
mod feedback;
mod report;
mod sdes;
mod transport_cc;
mod xr;

use thiserror::Error;

use crate::bytes::u32_at;

pub use build::RtcpWriter;
pub use feedback::{Fir, FirEntry, Nack, Remb, SsrcList};
pub use report::{ReportBlock, ReportBlocks, SenderInfo};
pub use sdes::{Bye, Sdes, SdesChunk, sdes_item};
pub use transport_cc::{PacketStatus, TransportFeedback};
pub use xr::{DlrrEntry, DlrrList, Xr, XrBlock};

pub(crate) use transport_cc::{TICK_US, TICKS_PER_REFERENCE};

/// RTCP packet types.
pub mod packet_type {
    /// Sender report (RFC 3550 6.4.1).
    pub const SENDER_REPORT: u8 = 200;
    /// Receiver report (RFC 3550 6.4.2).
    pub const RECEIVER_REPORT: u8 = 201;
    /// Source description (RFC 3550 6.5).
    pub const SDES: u8 = 202;
    /// Goodbye (RFC 3550 6.6).
    pub const BYE: u8 = 203;
    /// Transport layer feedback (RFC 4585 6.2).
    pub const RTPFB: u8 = 205;
    /// Payload-specific feedback (RFC 4585 6.3).
    pub const PSFB: u8 = 206;
    /// Extended report (RFC 3611).
    pub const XR: u8 = 207;
}

/// Feedback message types, the count field of RTPFB and PSFB packets.
pub mod feedback_type {
    /// RTPFB: generic NACK (RFC 4585 6.2.1).
    pub const NACK: u8 = 1;
    /// RTPFB: transport-wide congestion control feedback.
    pub const TRANSPORT_CC: u8 = 15;
    /// PSFB: picture loss indication (RFC 4585 6.3.1).
    pub const PLI: u8 = 1;
    /// PSFB: full intra request (RFC 5104 4.3.1).
    pub const FIR: u8 = 4;
    /// PSFB: application layer feedback, of which REMB is one.
    pub const AFB: u8 = 15;
}

/// Why bytes are not an RTCP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RtcpError {
    /// Fewer bytes than the length field says, or than a header has.
    #[error("truncated RTCP packet")]
    Truncated,
    /// The version is not 2.
    #[error("RTCP version {0}, not 2")]
    Version(u8),
    /// The padding length is zero, or more than the packet has. That it should be a multiple of four
    /// is not asked for: transport-cc feedback is padded to whole words in practice.
    #[error("RTCP padding length {0} is impossible")]
    Padding(u8),
    /// The packet is shorter than its type, its counts or its inner lengths say.
    #[error("malformed RTCP packet of type {0}")]
    Malformed(u8),
}

/// One RTCP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// Sender report.
    SenderReport {
        /// The sender.
        ssrc: u32,
        /// Its clock and counters.
        info: SenderInfo,
        /// What it receives.
        reports: ReportBlocks<'a>,
    },
    /// Receiver report.
    ReceiverReport {
        /// The reporter.
        ssrc: u32,
        /// What it receives.
        reports: ReportBlocks<'a>,
    },
    /// Source description.
    Sdes(Sdes<'a>),
    /// Goodbye.
    Bye(Bye<'a>),
    /// Generic NACK.
    Nack(Nack<'a>),
    /// Picture loss indication.
    Pli {
        /// Who asks.
        sender_ssrc: u32,
        /// Whose picture.
        media_ssrc: u32,
    },
    /// Full intra request.
    Fir(Fir<'a>),
    /// Receiver estimated maximum bitrate.
    Remb(Remb<'a>),
    /// Transport-wide congestion control feedback.
    TransportCc(TransportFeedback<'a>),
    /// Extended report.
    Xr(Xr<'a>),
    /// Anything else.
    Unknown {
        /// Packet type.
        packet_type: u8,
        /// The five bits after version and padding.
        count: u8,
        /// What follows the first word, without padding.
        body: &'a [u8],
    },
}

/// Iterates over the packets of a compound packet.
///
/// A packet whose contents are malformed gives an error and the next one follows; a packet whose
/// length, version or padding is wrong gives an error and ends the iteration.
pub fn parse(compound: &[u8]) -> Packets<'_> {
    Packets { rest: compound }
}

/// See [`parse`].
#[derive(Clone, Debug)]
pub struct Packets<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Packets<'a> {
    type Item = Result<Packet<'a>, RtcpError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        match Raw::split(self.rest) {
            Ok(raw) => {
                self.rest = raw.rest;
                let packet = raw.parse();
                Some(packet.ok_or(RtcpError::Malformed(raw.packet_type)))
            }
            Err(error) => {
                self.rest = &[];
                Some(Err(error))
            }
        }
    }
}

/// One packet taken off a compound one.
struct Raw<'a> {
    count: u8,
    packet_type: u8,
    /// What follows the first word, without padding.
    body: &'a [u8],
    /// What follows the packet.
    rest: &'a [u8],
}

impl<'a> Raw<'a> {
    fn split(bytes: &'a [u8]) -> Result<Self, RtcpError> {
        let &[first, packet_type, len_high, len_low] =
            bytes.first_chunk().ok_or(RtcpError::Truncated)?;
        let version = first >> 6;
        if version != 2 {
            return Err(RtcpError::Version(version));
        }
        let len = 4 * (usize::from(u16::from_be_bytes([len_high, len_low])) + 1);
        let (packet, rest) = bytes.split_at_checked(len).ok_or(RtcpError::Truncated)?;
        let mut body = &packet[4..];
        if first & 0x20 != 0 {
            let padding = body.last().copied().unwrap_or(0);
            if padding == 0 || usize::from(padding) > body.len() {
                return Err(RtcpError::Padding(padding));
            }
            body = &body[..body.len() - usize::from(padding)];
        }
        Ok(Self {
            count: first & 0x1f,
            packet_type,
            body,
            rest,
        })
    }

    /// `None` if the body is malformed.
    fn parse(&self) -> Option<Packet<'a>> {
        let Self {
            count,
            packet_type,
            body,
            ..
        } = *self;
        Some(match (packet_type, count) {
            (packet_type::SENDER_REPORT, _) => Packet::SenderReport {
                ssrc: u32_at(body, 0)?,
                info: SenderInfo::parse(body.get(4..)?)?,
                reports: ReportBlocks::parse(body.get(24..)?, count)?,
            },
            (packet_type::RECEIVER_REPORT, _) => Packet::ReceiverReport {
                ssrc: u32_at(body, 0)?,
                reports: ReportBlocks::parse(body.get(4..)?, count)?,
            },
            (packet_type::SDES, _) => Packet::Sdes(Sdes::parse(body, count)?),
            (packet_type::BYE, _) => Packet::Bye(Bye::parse(body, count)?),
            (packet_type::RTPFB, feedback_type::NACK) => Packet::Nack(Nack::parse(body)?),
            (packet_type::RTPFB, feedback_type::TRANSPORT_CC) => {
                Packet::TransportCc(TransportFeedback::parse(body)?)
            }
            (packet_type::PSFB, feedback_type::PLI) => Packet::Pli {
                sender_ssrc: u32_at(body, 0)?,
                media_ssrc: u32_at(body, 4)?,
            },
            (packet_type::PSFB, feedback_type::FIR) => Packet::Fir(Fir::parse(body)?),
            (packet_type::PSFB, feedback_type::AFB) if Remb::is_remb(body) => {
                Packet::Remb(Remb::parse(body)?)
            }
            (packet_type::XR, _) => Packet::Xr(Xr::parse(body)?),
            _ => Packet::Unknown {
                packet_type,
                count,
                body,
            },
        })
    }
}

#[cfg(test)]
mod tests;
