//! Parsing transport-wide congestion control feedback
//! (draft-holmer-rmcat-transport-wide-cc-extensions-01 3.1). [`crate::twcc`] builds it.

use crate::bytes::{u16_at, u32_at};

/// Microseconds in one tick, the unit of receive deltas.
pub(crate) const TICK_US: u64 = 250;

/// Ticks in one unit of the reference time, 64 ms.
pub(crate) const TICKS_PER_REFERENCE: i64 = 256;

/// A feedback packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransportFeedback<'a> {
    /// Who reports.
    pub sender_ssrc: u32,
    /// Any stream of the transport that is reported on.
    pub media_ssrc: u32,
    /// First transport-wide sequence number reported.
    pub base_sequence: u16,
    /// Number of sequence numbers reported, received or not.
    pub status_count: u16,
    /// Reference time in units of 64 ms on a clock of the reporter, 24 bits, wrapping.
    pub reference_time: i32,
    /// Number of this feedback packet, wrapping.
    pub feedback_count: u8,
    chunks: &'a [u8],
    deltas: &'a [u8],
}

/// What a feedback packet says about one sequence number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketStatus {
    /// Transport-wide sequence number.
    pub sequence: u16,
    /// When it arrived, in ticks of 250 us after the reference time; `None` if it did not.
    pub arrival: Option<i32>,
}

/// How one packet status chunk is read: a run of one symbol, or a vector of symbols.
#[derive(Clone, Copy)]
struct Chunk(u16);

impl Chunk {
    /// Number of statuses in the chunk.
    fn len(self) -> u16 {
        match self.0 >> 14 {
            0 | 1 => self.0 & 0x1fff,
            2 => 14,
            _ => 7,
        }
    }

    fn is_run(self) -> bool {
        self.0 & 0x8000 == 0
    }

    /// The symbol at `at`, which is less than `len`: the number of bytes of its delta, or 3.
    fn symbol(self, at: u16) -> u8 {
        let bits = match self.0 >> 14 {
            0 | 1 => self.0 >> 13,
            2 => self.0 >> (13 - at) & 1,
            _ => self.0 >> (12 - 2 * at),
        };
        (bits & 3) as u8
    }
}

impl<'a> TransportFeedback<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Option<Self> {
        let (base_sequence, status_count) = (u16_at(body, 8)?, u16_at(body, 10)?);
        let time = u32_at(body, 12)?;
        let rest = &body[16..];

        let (mut left, mut chunks_len, mut deltas_len) = (status_count, 0, 0);
        while left > 0 {
            let chunk = Chunk(u16_at(rest, chunks_len)?);
            let len = chunk.len().min(left);
            let symbols = if chunk.is_run() { 1 } else { len };
            let times = usize::from(len / symbols.max(1));
            for at in 0..symbols {
                match chunk.symbol(at) {
                    3 => return None,
                    size => deltas_len += usize::from(size) * times,
                }
            }
            left -= len;
            chunks_len += 2;
        }
        let (chunks, rest) = rest.split_at(chunks_len);
        Some(Self {
            sender_ssrc: u32_at(body, 0)?,
            media_ssrc: u32_at(body, 4)?,
            base_sequence,
            status_count,
            reference_time: time as i32 >> 8,
            feedback_count: time as u8,
            chunks,
            deltas: rest.get(..deltas_len)?,
        })
    }

    /// The statuses, from the base sequence number on.
    pub fn statuses(&self) -> impl Iterator<Item = PacketStatus> + 'a {
        let feedback = *self;
        let (mut chunks, mut deltas) = (feedback.chunks, feedback.deltas);
        let (mut chunk, mut at) = (Chunk(0), 0);
        let mut arrival = 0i32;
        (0..feedback.status_count).map_while(move |offset| {
            while at >= chunk.len() {
                chunk = Chunk(u16_at(chunks, 0)?);
                chunks = &chunks[2..];
                at = 0;
            }
            let size = chunk.symbol(at);
            at += 1;
            let delta = match size {
                1 => i32::from(*deltas.first()?),
                2 => i32::from(u16_at(deltas, 0)? as i16),
                _ => 0,
            };
            deltas = deltas.get(usize::from(size)..)?;
            arrival = arrival.saturating_add(delta);
            Some(PacketStatus {
                sequence: feedback.base_sequence.wrapping_add(offset),
                arrival: (size != 0).then_some(arrival),
            })
        })
    }
}
