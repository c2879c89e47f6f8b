//! The receiving side of transport-wide congestion control
//! (draft-holmer-rmcat-transport-wide-cc-extensions-01): notes arrivals and builds feedback.

use std::collections::VecDeque;
use std::time::Instant;

use crate::rtcp::{RtcpWriter, TICK_US, TICKS_PER_REFERENCE, feedback_type, packet_type::RTPFB};
use crate::seq::SeqUnwrapper;

/// Greatest length of one feedback packet, in bytes: fits any path with the report around it.
const MAX_FEEDBACK_LEN: usize = 1100;

/// Length of a feedback packet before its chunks, in bytes.
const FEEDBACK_HEADER_LEN: usize = 20;

/// Most sequence numbers that are kept.
const MAX_SPAN: u64 = 1 << 14;

/// A jump further than this starts over: no network holds back so many packets, and each one
/// skipped costs time and feedback.
const MAX_JUMP: u64 = 1 << 10;

/// How long reported arrivals are kept, so that a late packet is reported with its neighbours and
/// duplicates are known: 500 ms, as in libwebrtc.
const HISTORY_TICKS: i64 = 500_000 / TICK_US as i64;

/// Arrival of a packet that has not arrived.
const MISSING: i64 = i64::MIN;

/// Most statuses that one run length chunk tells.
const MAX_RUN: usize = 0x1fff;

/// Status symbols: the number of bytes of the receive delta.
const SYMBOL_MISSING: u8 = 0;
const SYMBOL_SMALL: u8 = 1;
const SYMBOL_LARGE: u8 = 2;

/// Records when packets with transport-wide sequence numbers arrive on one transport.
#[derive(Debug)]
pub struct TwccRecorder {
    /// Zero of the ticks.
    epoch: Instant,
    unwrapper: SeqUnwrapper,
    /// Arrival of `first` and what follows, in ticks, or `MISSING`. The last one has arrived.
    arrivals: VecDeque<i64>,
    first: u64,
    /// The first sequence number that the next feedback reports.
    unreported: u64,
    pending: usize,
    duplicates: u64,
    feedback_count: u8,
    /// Scratch for one feedback packet.
    symbols: Vec<u8>,
    deltas: Vec<i16>,
}

impl TwccRecorder {
    /// A recorder whose clock starts at `now`.
    pub fn new(now: Instant) -> Self {
        Self {
            epoch: now,
            unwrapper: SeqUnwrapper::new(),
            arrivals: VecDeque::with_capacity(1024),
            first: 0,
            unreported: 0,
            pending: 0,
            duplicates: 0,
            feedback_count: 0,
            symbols: Vec::with_capacity(1024),
            deltas: Vec::with_capacity(1024),
        }
    }

    /// Notes that the packet with transport-wide sequence number `sequence` arrived. Returns
    /// whether it was new. Of a duplicate the first arrival counts; a packet from before everything
    /// that is kept is ignored, for what was reported about its neighbours is not known any more.
    pub fn record(&mut self, now: Instant, sequence: u16) -> bool {
        let arrival = self.ticks(now);
        let started = self.unwrapper.highest().is_some();
        let sequence = self.unwrapper.unwrap(sequence);
        let end = self.first + self.arrivals.len() as u64;
        if !started || sequence > end + MAX_JUMP {
            self.arrivals.clear();
            (self.first, self.unreported) = (sequence, sequence);
        } else if sequence < self.first {
            return false;
        }
        let at = (sequence - self.first) as usize;
        while self.arrivals.len() <= at {
            self.arrivals.push_back(MISSING);
        }
        if self.arrivals[at] != MISSING {
            self.duplicates += 1;
            return false;
        }
        self.arrivals[at] = arrival;
        while self.arrivals.len() as u64 > MAX_SPAN {
            self.arrivals.pop_front();
            self.first += 1;
        }
        self.unreported = self.unreported.clamp(self.first, sequence.max(self.first));
        self.pending += 1;
        true
    }

    /// Number of packets noted since the last feedback.
    pub fn pending(&self) -> usize {
        self.pending
    }

    /// Number of packets that arrived again.
    pub fn duplicates(&self) -> u64 {
        self.duplicates
    }

    /// Appends feedback on everything since the last feedback to `buf`, in packets of at most 1,100
    /// bytes, and returns their number. Packets that arrived late are reported with all that
    /// follow them. Nothing is written if nothing arrived.
    pub fn build_feedback(
        &mut self,
        now: Instant,
        sender_ssrc: u32,
        media_ssrc: u32,
        buf: &mut Vec<u8>,
    ) -> usize {
        if self.pending == 0 {
            return 0;
        }
        let end = self.first + self.arrivals.len() as u64;
        let mut writer = RtcpWriter::new(buf);
        let mut packets = 0;
        while self.unreported < end {
            self.write_packet(&mut writer, sender_ssrc, media_ssrc);
            packets += 1;
        }
        self.pending = 0;
        self.forget(self.ticks(now) - HISTORY_TICKS);
        packets
    }

    /// Forgets everything up to the last packet that arrived before `oldest`, in order of sequence
    /// numbers. What is missing after it may still arrive.
    fn forget(&mut self, oldest: i64) {
        let mut count = 0;
        for (at, &arrival) in self.arrivals.iter().enumerate() {
            if arrival >= oldest {
                break;
            }
            if arrival != MISSING {
                count = at + 1;
            }
        }
        self.arrivals.drain(..count);
        self.first += count as u64;
    }

    /// Writes one packet from `unreported` on and moves it past what was reported.
    fn write_packet(&mut self, writer: &mut RtcpWriter<'_>, sender_ssrc: u32, media_ssrc: u32) {
        let base = self.unreported;
        let reference = self.collect((base - self.first) as usize);
        self.unreported += self.symbols.len() as u64;

        let start = writer.begin(RTPFB, feedback_type::TRANSPORT_CC);
        writer.word(sender_ssrc);
        writer.word(media_ssrc);
        writer.word(u32::from(base as u16) << 16 | self.symbols.len() as u32);
        writer.word((reference as u32) << 8 | u32::from(self.feedback_count));
        self.feedback_count = self.feedback_count.wrapping_add(1);
        let mut rest = self.symbols.as_slice();
        while !rest.is_empty() {
            let (chunk, len) = next_chunk(rest);
            writer.bytes(&chunk.to_be_bytes());
            rest = &rest[len..];
        }
        let received = self
            .symbols
            .iter()
            .filter(|&&symbol| symbol != SYMBOL_MISSING);
        for (&symbol, delta) in received.zip(&self.deltas) {
            let bytes = delta.to_be_bytes();
            writer.bytes(&bytes[bytes.len() - usize::from(symbol)..]);
        }
        writer.finish(start);
    }

    /// Puts as many statuses from `arrivals[from]` on as go into one packet into the scratch, and
    /// returns the reference time. A delta that does not fit 16 bits ends the packet, as does its
    /// length: a chunk covers at least seven statuses, the last one aside.
    fn collect(&mut self, from: usize) -> i64 {
        self.symbols.clear();
        self.deltas.clear();
        let mut received = self.arrivals.range(from..).filter(|&&at| at != MISSING);
        let reference = received
            .next()
            .map_or(0, |at| at.div_euclid(TICKS_PER_REFERENCE));
        let mut previous = reference * TICKS_PER_REFERENCE;
        let mut deltas_len = 0;
        for &arrival in self.arrivals.range(from..) {
            let chunks_len = 2 * (self.symbols.len() / 7 + 1);
            if FEEDBACK_HEADER_LEN + chunks_len + deltas_len + 2 > MAX_FEEDBACK_LEN {
                break;
            }
            if arrival == MISSING {
                self.symbols.push(SYMBOL_MISSING);
                continue;
            }
            let Ok(delta) = i16::try_from(arrival - previous) else {
                break;
            };
            let small = (0..=0xff).contains(&delta);
            let symbol = if small { SYMBOL_SMALL } else { SYMBOL_LARGE };
            self.symbols.push(symbol);
            self.deltas.push(delta);
            deltas_len += usize::from(symbol);
            previous = arrival;
        }
        reference
    }

    fn ticks(&self, now: Instant) -> i64 {
        let since = now.saturating_duration_since(self.epoch);
        (since.as_micros() / u128::from(TICK_US)) as i64
    }
}

/// The next chunk for `symbols`, which is not empty, and the number of symbols it covers: a run if
/// it is long or is all there is, otherwise 14 symbols of one bit if they fit, otherwise a shorter
/// run, otherwise 7 symbols of two bits.
fn next_chunk(symbols: &[u8]) -> (u16, usize) {
    let first = symbols[0];
    let run = symbols
        .iter()
        .take(MAX_RUN)
        .take_while(|&&symbol| symbol == first)
        .count();
    let run_chunk = (u16::from(first) << 13 | run as u16, run);
    if run == symbols.len() || run >= 14 {
        return run_chunk;
    }
    let short = &symbols[..symbols.len().min(14)];
    if !short.contains(&SYMBOL_LARGE) {
        let bits = short
            .iter()
            .enumerate()
            .fold(0x8000, |bits, (at, &symbol)| {
                bits | u16::from(symbol) << (13 - at)
            });
        return (bits, short.len());
    }
    if run >= 7 {
        return run_chunk;
    }
    let short = &symbols[..symbols.len().min(7)];
    let bits = short
        .iter()
        .enumerate()
        .fold(0xc000, |bits, (at, &symbol)| {
            bits | u16::from(symbol) << (12 - 2 * at)
        });
    (bits, short.len())
}

#[cfg(test)]
#[path = "twcc_tests.rs"]
mod tests;
