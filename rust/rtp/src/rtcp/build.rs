//! Building RTCP packets.

use super::feedback::Remb;
use super::report::{ReportBlock, SenderInfo};
use super::xr::{DLRR, RRTR};
use super::{DlrrEntry, FirEntry, feedback_type, packet_type, sdes_item};

/// Most items that the 5-bit count field can count; also the most in other lists.
const MAX_COUNT: usize = 31;

/// Appends RTCP packets to a buffer. One after the other they make a compound packet; the order is
/// the caller's (RFC 3550 6.1 wants a report first unless reduced size was negotiated).
///
/// The buffer grows if it must: reuse it to avoid allocating.
#[derive(Debug)]
pub struct RtcpWriter<'a> {
    buf: &'a mut Vec<u8>,
}

impl<'a> RtcpWriter<'a> {
    /// A writer that appends to `buf`.
    pub fn new(buf: &'a mut Vec<u8>) -> Self {
        Self { buf }
    }

    /// Number of bytes in the buffer, what was there before included.
    pub fn len(&self) -> usize {
        self.buf.len()
    }

    /// Whether the buffer is empty.
    pub fn is_empty(&self) -> bool {
        self.buf.is_empty()
    }

    /// A sender report. Blocks past the 31st go into receiver reports after it (RFC 3550 6.4.1).
    pub fn sender_report(&mut self, ssrc: u32, info: &SenderInfo, reports: &[ReportBlock]) {
        let (first, rest) = reports.split_at(reports.len().min(MAX_COUNT));
        let start = self.begin(packet_type::SENDER_REPORT, first.len() as u8);
        self.word(ssrc);
        info.write(self.buf);
        first.iter().for_each(|report| report.write(self.buf));
        self.finish(start);
        if !rest.is_empty() {
            self.receiver_report(ssrc, rest);
        }
    }

    /// A receiver report; an empty one is valid. Each has up to 31 blocks, so that there may be
    /// more than one packet.
    pub fn receiver_report(&mut self, ssrc: u32, reports: &[ReportBlock]) {
        let (first, rest) = reports.split_at(reports.len().min(MAX_COUNT));
        for chunk in std::iter::once(first).chain(rest.chunks(MAX_COUNT)) {
            let start = self.begin(packet_type::RECEIVER_REPORT, chunk.len() as u8);
            self.word(ssrc);
            chunk.iter().for_each(|report| report.write(self.buf));
            self.finish(start);
        }
    }

    /// A source description with the canonical name of one source, cut off at 255 bytes.
    pub fn sdes_cname(&mut self, ssrc: u32, cname: &str) {
        let name = &cname.as_bytes()[..cname.len().min(255)];
        let start = self.begin(packet_type::SDES, 1);
        self.word(ssrc);
        self.buf
            .extend_from_slice(&[sdes_item::CNAME, name.len() as u8]);
        self.buf.extend_from_slice(name);
        // At least one zero byte ends the items.
        let len = self.buf.len() + 1 - start;
        self.buf.resize(start + len.next_multiple_of(4), 0);
        self.finish(start);
    }

    /// A goodbye for some sources, in packets of 31.
    pub fn bye(&mut self, ssrcs: &[u32]) {
        for chunk in ssrcs.chunks(MAX_COUNT) {
            let start = self.begin(packet_type::BYE, chunk.len() as u8);
            chunk.iter().for_each(|&ssrc| self.word(ssrc));
            self.finish(start);
        }
    }

    /// A generic NACK for `sequences`, which ascend (over the wrap, if they must). Nothing is
    /// written for none. Returns the number of sequence numbers asked for.
    pub fn nack(
        &mut self,
        sender_ssrc: u32,
        media_ssrc: u32,
        sequences: impl IntoIterator<Item = u16>,
    ) -> usize {
        let mut sequences = sequences.into_iter();
        let Some(mut pid) = sequences.next() else {
            return 0;
        };
        let start = self.begin(packet_type::RTPFB, feedback_type::NACK);
        self.word(sender_ssrc);
        self.word(media_ssrc);
        let (mut mask, mut count) = (0u16, 1);
        for sequence in sequences {
            let distance = sequence.wrapping_sub(pid);
            match distance {
                0 => continue,
                1..=16 => mask |= 1 << (distance - 1),
                _ => {
                    self.word(u32::from(pid) << 16 | u32::from(mask));
                    (pid, mask) = (sequence, 0);
                }
            }
            count += 1;
        }
        self.word(u32::from(pid) << 16 | u32::from(mask));
        self.finish(start);
        count
    }

    /// A picture loss indication.
    pub fn pli(&mut self, sender_ssrc: u32, media_ssrc: u32) {
        let start = self.begin(packet_type::PSFB, feedback_type::PLI);
        self.word(sender_ssrc);
        self.word(media_ssrc);
        self.finish(start);
    }

    /// A full intra request.
    pub fn fir(&mut self, sender_ssrc: u32, entries: &[FirEntry]) {
        let start = self.begin(packet_type::PSFB, feedback_type::FIR);
        self.word(sender_ssrc);
        self.word(0);
        for entry in entries {
            self.word(entry.ssrc);
            self.word(u32::from(entry.command) << 24);
        }
        self.finish(start);
    }

    /// A receiver estimated maximum bitrate, in bits per second rounded down to 18 significant
    /// bits, for up to 255 streams.
    pub fn remb(&mut self, sender_ssrc: u32, bitrate: u64, ssrcs: &[u32]) {
        let ssrcs = &ssrcs[..ssrcs.len().min(255)];
        let start = self.begin(packet_type::PSFB, feedback_type::AFB);
        self.word(sender_ssrc);
        self.word(0);
        self.buf.extend_from_slice(b"REMB");
        self.word((ssrcs.len() as u32) << 24 | Remb::encode_bitrate(bitrate));
        ssrcs.iter().for_each(|&ssrc| self.word(ssrc));
        self.finish(start);
    }

    /// An extended report with a receiver reference time (RFC 3611 4.4).
    pub fn receiver_reference_time(&mut self, ssrc: u32, ntp: u64) {
        let start = self.begin(packet_type::XR, 0);
        self.word(ssrc);
        self.word(u32::from(RRTR) << 24 | 2);
        self.buf.extend_from_slice(&ntp.to_be_bytes());
        self.finish(start);
    }

    /// Extended reports with delays since receiver reference times (RFC 3611 4.5), of up to 31
    /// receivers each.
    pub fn dlrr(&mut self, ssrc: u32, entries: &[DlrrEntry]) {
        for chunk in entries.chunks(MAX_COUNT) {
            let start = self.begin(packet_type::XR, 0);
            self.word(ssrc);
            self.word(u32::from(DLRR) << 24 | (3 * chunk.len() as u32));
            for entry in chunk {
                self.word(entry.ssrc);
                self.word(entry.last_rr);
                self.word(entry.delay_since_last_rr);
            }
            self.finish(start);
        }
    }

    /// Begins a packet; the returned place goes to `finish`.
    pub(crate) fn begin(&mut self, packet_type: u8, count: u8) -> usize {
        let start = self.buf.len();
        self.buf
            .extend_from_slice(&[0x80 | count, packet_type, 0, 0]);
        start
    }

    pub(crate) fn word(&mut self, word: u32) {
        self.buf.extend_from_slice(&word.to_be_bytes());
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.buf.extend_from_slice(bytes);
    }

    /// Ends a packet: pads it to whole words, if need be, and writes its length.
    pub(crate) fn finish(&mut self, start: usize) {
        let unpadded = self.buf.len() - start;
        let len = unpadded.next_multiple_of(4);
        if len > unpadded {
            self.buf.resize(start + len, 0);
            self.buf[start + len - 1] = (len - unpadded) as u8;
            self.buf[start] |= 0x20;
        }
        let words = (len / 4 - 1) as u16;
        self.buf[start + 2..start + 4].copy_from_slice(&words.to_be_bytes());
    }
}
