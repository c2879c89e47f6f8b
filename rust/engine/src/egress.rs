//! The send batch: datagrams side by side in one buffer, in runs that the kernel takes whole.
//!
//! A *run* is what UDP_SEGMENT sends with one message: datagrams of equal size for one address, of
//! which only the last may be shorter. A packet is written and sealed where it will be sent from.

use sfu::{PacketSink, Reserved};
use transport::CandidatePair;

use rtp::srtp::{MAX_RTP_OVERHEAD, SrtpContext};

/// Datagrams in one run at most: UDP_MAX_SEGMENTS of older kernels.
const MAX_SEGMENTS: usize = 64;

/// Bytes in one run at most: the largest UDP payload over IPv4.
const MAX_RUN_LEN: usize = 65_507;

/// Bytes collected before they are sent. Small enough to stay in the cache between being written
/// and being sent.
const BUFFER_LEN: usize = 256 * 1024;

/// Room for one packet with what SRTP adds.
const PACKET_ROOM: usize = sfu::MAX_PACKET_LEN + sfu::MAX_HEADER_GROWTH + MAX_RTP_OVERHEAD;

/// Datagrams of equal size for one address, side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// From where to where.
    pub pair: CandidatePair,
    /// Where the first one begins in the batch's bytes.
    pub start: usize,
    /// Bytes in all.
    pub len: usize,
    /// Bytes of each; the last one may have fewer.
    pub segment: usize,
}

impl Run {
    /// Number of datagrams.
    pub fn count(&self) -> usize {
        self.len.div_ceil(self.segment)
    }

    /// The run's bytes.
    pub fn bytes<'a>(&self, batch: &'a [u8]) -> &'a [u8] {
        &batch[self.start..self.start + self.len]
    }

    /// Whether one more datagram of `len` bytes can follow.
    fn takes(&self, len: usize) -> bool {
        self.len.is_multiple_of(self.segment)
            && len <= self.segment
            && self.count() < MAX_SEGMENTS
            && self.len + len <= MAX_RUN_LEN
    }
}

/// What the output counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutputCounters {
    /// System calls that sent.
    pub send_calls: u64,
    /// Of those, how many found the socket buffer full.
    pub would_block: u64,
    /// Datagrams given up because the socket buffer stayed full.
    pub dropped: u64,
    /// Datagrams that the system refused (unreachable, too large, not permitted).
    pub refused: u64,
}

impl std::ops::Add for OutputCounters {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            send_calls: self.send_calls + other.send_calls,
            would_block: self.would_block + other.would_block,
            dropped: self.dropped + other.dropped,
            refused: self.refused + other.refused,
        }
    }
}

/// Where batches go: sockets, or a test.
pub trait PacketOutput {
    /// Sends the runs, which lie in `bytes`. Nothing is returned: what cannot be sent is lost and
    /// counted.
    fn send(&mut self, runs: &[Run], bytes: &[u8]);

    /// Tries again what could not be sent. Returns whether something still waits.
    fn retry(&mut self) -> bool;

    /// Totals since the beginning.
    fn counters(&self) -> OutputCounters;
}

/// Collects datagrams and hands them on when there are many, or on [`Egress::flush`].
pub(crate) struct Egress {
    buffer: Box<[u8]>,
    len: usize,
    runs: Vec<Run>,
    output: Box<dyn PacketOutput>,
    datagrams: u64,
    /// What an output that this one replaces had counted.
    before: OutputCounters,
}

impl Egress {
    pub(crate) fn new(output: Box<dyn PacketOutput>) -> Self {
        Self {
            buffer: vec![0; BUFFER_LEN].into_boxed_slice(),
            len: 0,
            runs: Vec::with_capacity(256),
            output,
            datagrams: 0,
            before: OutputCounters::default(),
        }
    }

    /// Datagrams taken since the beginning.
    pub(crate) fn datagrams(&self) -> u64 {
        self.datagrams
    }

    pub(crate) fn counters(&self) -> OutputCounters {
        self.output.counters() + self.before
    }

    /// Goes on counting where `failed` has stopped.
    pub(crate) fn inherit(&mut self, failed: &Self) {
        self.datagrams = failed.datagrams;
        self.before = failed.counters();
    }

    pub(crate) fn retry(&mut self) -> bool {
        self.output.retry()
    }

    /// Sends what was collected.
    pub(crate) fn flush(&mut self) {
        if !self.runs.is_empty() {
            self.output.send(&self.runs, &self.buffer[..self.len]);
        }
        self.runs.clear();
        self.len = 0;
    }

    /// Adds one datagram, which is copied.
    pub(crate) fn push(&mut self, pair: CandidatePair, bytes: &[u8]) {
        if bytes.is_empty() || bytes.len() > MAX_RUN_LEN {
            return;
        }
        self.room(bytes.len())[..bytes.len()].copy_from_slice(bytes);
        self.add(pair, bytes.len());
    }

    /// Room for at least `len` bytes, at most [`MAX_RUN_LEN`].
    #[inline]
    fn room(&mut self, len: usize) -> &mut [u8] {
        if self.buffer.len() - self.len < len {
            self.flush();
        }
        &mut self.buffer[self.len..]
    }

    /// Takes `len` bytes that were written into the room.
    #[inline]
    fn add(&mut self, pair: CandidatePair, len: usize) {
        match self.runs.last_mut() {
            Some(run) if run.takes(len) && run.pair == pair => run.len += len,
            _ => self.runs.push(Run {
                pair,
                start: self.len,
                len,
                segment: len,
            }),
        }
        self.len += len;
        self.datagrams += 1;
    }
}

/// What one transport has sent.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sent {
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    /// The transport-wide sequence number that comes next.
    pub(crate) transport_sequence: u16,
}

/// The way of a down track's packets: sealed with the transport's keys into the batch.
pub(crate) struct SealingSink<'a> {
    pub(crate) egress: &'a mut Egress,
    pub(crate) srtp: &'a mut SrtpContext,
    pub(crate) pair: CandidatePair,
    pub(crate) sent: &'a mut Sent,
}

impl PacketSink for SealingSink<'_> {
    #[inline]
    fn reserve(&mut self) -> Option<Reserved<'_>> {
        let room = self.egress.room(PACKET_ROOM);
        Some(Reserved {
            buf: &mut room[..PACKET_ROOM - MAX_RTP_OVERHEAD],
            transport_sequence: self.sent.transport_sequence,
        })
    }

    #[inline]
    fn commit(&mut self, header_len: usize, len: usize, uses_transport_sequence: bool) {
        let room = &mut self.egress.buffer[self.egress.len..];
        // It fails only when the key is used up: 2^48 packets.
        let Ok(sealed) = self.srtp.protect_rtp(room, header_len, len) else {
            return;
        };
        self.egress.add(self.pair, sealed);
        self.sent.packets += 1;
        self.sent.bytes += sealed as u64;
        let used = u16::from(uses_transport_sequence);
        self.sent.transport_sequence = self.sent.transport_sequence.wrapping_add(used);
    }
}

#[cfg(test)]
#[path = "egress_tests.rs"]
mod tests;
