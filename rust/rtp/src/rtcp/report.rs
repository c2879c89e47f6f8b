//! Sender info and report blocks (RFC 3550 6.4).

use crate::bytes::{u32_at, u64_at};

/// Length of a report block, in bytes.
const BLOCK_LEN: usize = 24;

/// The sender's part of a sender report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SenderInfo {
    /// When the report was made, on the sender's NTP clock (UQ32.32).
    pub ntp: u64,
    /// The same moment as an RTP timestamp of the stream.
    pub rtp_timestamp: u32,
    /// Packets sent, wrapping.
    pub packet_count: u32,
    /// Payload bytes sent, wrapping.
    pub octet_count: u32,
}

impl SenderInfo {
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            ntp: u64_at(bytes, 0)?,
            rtp_timestamp: u32_at(bytes, 8)?,
            packet_count: u32_at(bytes, 12)?,
            octet_count: u32_at(bytes, 16)?,
        })
    }

    pub(super) fn write(&self, buf: &mut Vec<u8>) {
        buf.extend_from_slice(&self.ntp.to_be_bytes());
        for word in [self.rtp_timestamp, self.packet_count, self.octet_count] {
            buf.extend_from_slice(&word.to_be_bytes());
        }
    }
}

/// What a receiver says about one stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReportBlock {
    /// The stream.
    pub ssrc: u32,
    /// Loss since the last report, in 1/256.
    pub fraction_lost: u8,
    /// Packets lost since the beginning, 24 bits, negative if there were more duplicates.
    pub cumulative_lost: i32,
    /// Highest sequence number received, with wraps in the high half.
    pub highest_sequence: u32,
    /// Interarrival jitter, in units of the codec's clock.
    pub jitter: u32,
    /// The middle 32 bits of the NTP time of the last sender report, or 0.
    pub last_sr: u32,
    /// Delay since that report, in 1/65,536 s.
    pub delay_since_last_sr: u32,
}

impl ReportBlock {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let loss = u32_at(bytes, 4)?;
        Some(Self {
            ssrc: u32_at(bytes, 0)?,
            fraction_lost: (loss >> 24) as u8,
            cumulative_lost: (loss << 8) as i32 >> 8,
            highest_sequence: u32_at(bytes, 8)?,
            jitter: u32_at(bytes, 12)?,
            last_sr: u32_at(bytes, 16)?,
            delay_since_last_sr: u32_at(bytes, 20)?,
        })
    }

    pub(super) fn write(&self, buf: &mut Vec<u8>) {
        let cumulative = self.cumulative_lost.clamp(-0x80_0000, 0x7f_ffff) as u32 & 0xff_ffff;
        let words = [
            self.ssrc,
            u32::from(self.fraction_lost) << 24 | cumulative,
            self.highest_sequence,
            self.jitter,
            self.last_sr,
            self.delay_since_last_sr,
        ];
        for word in words {
            buf.extend_from_slice(&word.to_be_bytes());
        }
    }
}

/// The report blocks of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReportBlocks<'a>(&'a [u8]);

impl<'a> ReportBlocks<'a> {
    /// Takes `count` blocks; what follows them is a profile's extension and is left alone.
    pub(super) fn parse(bytes: &'a [u8], count: u8) -> Option<Self> {
        bytes.get(..BLOCK_LEN * usize::from(count)).map(Self)
    }

    /// The blocks.
    pub fn iter(&self) -> impl Iterator<Item = ReportBlock> + 'a {
        self.0
            .chunks_exact(BLOCK_LEN)
            .filter_map(ReportBlock::parse)
    }
}
