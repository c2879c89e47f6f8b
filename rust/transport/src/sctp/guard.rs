//! What a peer may make its association do.
//!
//! The association (`sctp-proto`) keeps what a peer sends for as long as it makes sense to nobody, and
//! sorts, sums and scans it for each chunk. Here its packets are looked at before it sees them: each
//! chunk is read exactly as the association will read it, what would cost it too much is taken out
//! (a peer sends it again), and what keeps to no protocol is given up in the peer's name with a
//! FORWARD-TSN, so that it is acknowledged and forgotten. What the association answers is weighed
//! against what it was sent.
//!
//! What may cost time is bounded by the packet, and by the millisecond for the sake of peers that send
//! small messages over a bad network.

mod answers;
mod order;
mod streams;
pub(super) mod wire;

use std::time::Instant;

use bytes::Bytes;
use rustc_hash::FxHashSet;

use crate::limits;
use crate::types::SctpRefused;
use order::{Discard, Order, Piece, Place};
use wire::{Chunk, Chunks, HEADER, kind};

/// What the guard asks of the association.
pub(super) trait Streams {
    /// Streams that it has.
    fn ids(&self) -> Vec<u16>;
    /// Whether it has this one.
    fn has(&mut self, id: u16) -> bool;
}

/// What happens to a chunk.
enum Verdict {
    Keep,
    Refuse,
    /// These messages are given up in the peer's name instead.
    Discard(Discard),
}

#[derive(Debug, Default)]
pub(super) struct Guard {
    /// Known once the peer's INIT or INIT ACK was seen.
    order: Option<Order>,
    /// The verification tag of packets to us.
    own_tag: Option<u32>,
    /// The Initiate Tag of the peer's INIT.
    init_tag: Option<u32>,
    /// The peer knows FORWARD-TSN.
    forwards: bool,
    has_data: bool,
    has_init_ack: bool,
    /// The sequence number of the peer's next request to reset streams.
    next_reset: u32,
    /// Streams that the peer has reset, and perhaps not everything was read yet.
    closing: FxHashSet<u16>,
    /// Resets that the peer began and has not finished: the association has answered each with one of
    /// its own, which it keeps until the peer answers that.
    resets: usize,
    /// Live streams of the association.
    streams: usize,
    /// Chunks and bytes that the association keeps for reading.
    held: usize,
    held_bytes: usize,
    /// Chunks that the association may be made to go through.
    work: usize,
    /// When more of it was given for the time that passed.
    last: Option<Instant>,
    /// Bytes that may be answered.
    credit: usize,
    /// Streams whose messages were too large.
    oversized: Vec<u16>,
    /// The peer keeps to no protocol, and what it sends cannot be given up in its name.
    is_hopeless: bool,
    scratch: Vec<u8>,
    pub(super) refused: SctpRefused,
}

/// Counted while a packet is looked at.
#[derive(Default)]
struct Packet {
    is_established: bool,
    controls: usize,
    data: usize,
    /// Streams that its chunks make.
    made: Vec<u16>,
}

impl Guard {
    /// For an association that begins. What was refused before is still counted.
    pub fn restart(&mut self) {
        *self = Self {
            credit: limits::SCTP_ANSWER_CREDIT,
            work: limits::SCTP_WORK_MAX,
            refused: self.refused,
            ..Self::default()
        };
    }

    /// A packet of the peer as the association may see it, or `None`.
    pub fn inbound(
        &mut self,
        now: Instant,
        packet: Bytes,
        is_established: bool,
        streams: &mut impl Streams,
    ) -> Option<Bytes> {
        if !self.is_addressed(&packet) {
            self.refused.malformed += 1;
            return None;
        }
        let mut chunks = Chunks::of(&packet).flatten();
        if let Some(abort) = chunks.find(|chunk| chunk.kind() == kind::ABORT) {
            // Nothing else in the packet counts.
            return Some(only(&packet, abort));
        }
        let mut out = std::mem::take(&mut self.scratch);
        out.clear();
        out.extend_from_slice(&packet[..HEADER]);
        let mut state = Packet {
            is_established,
            ..Packet::default()
        };
        let mut discard = None;
        let mut changed = !wire::is_padded(&packet);
        for chunk in Chunks::of(&packet) {
            let Some(chunk) = chunk else {
                self.refused.malformed += 1;
                changed = true;
                break;
            };
            match self.judge(chunk, &mut state, streams) {
                Verdict::Keep => {
                    push_forward_tsn(&mut out, &mut discard);
                    wire::push(&mut out, chunk.0);
                }
                Verdict::Refuse => changed = true,
                Verdict::Discard(another) => {
                    match &mut discard {
                        Some(discard) => discard.merge(&another),
                        None => discard = Some(another),
                    }
                    changed = true;
                }
            }
        }
        push_forward_tsn(&mut out, &mut discard);
        let is_empty = out.len() == HEADER;
        let last = *self.last.get_or_insert(now);
        let milliseconds = now.saturating_duration_since(last).as_millis() as usize;
        if milliseconds > 0 {
            self.last = Some(now);
        }
        let passed = 1 + milliseconds;
        let work = limits::SCTP_WORK.saturating_mul(passed);
        self.work = (self.work + work).min(limits::SCTP_WORK_MAX);
        self.credit = (self.credit + packet.len()).min(limits::SCTP_ANSWER_CREDIT_MAX);
        let passed = if is_empty {
            None
        } else if changed {
            wire::seal(&mut out);
            Some(Bytes::copy_from_slice(&out))
        } else {
            Some(packet)
        };
        self.scratch = out;
        passed
    }

    /// Whether the association would take the packet for its own.
    fn is_addressed(&self, packet: &[u8]) -> bool {
        if !wire::is_sealed(packet) || wire::u16_at(packet, 0) == 0 || wire::u16_at(packet, 2) == 0
        {
            return false;
        }
        let tag = wire::u32_at(packet, 4);
        match packet[HEADER] {
            // Alone in its packet (RFC 9260 6.10), as is INIT ACK.
            kind::INIT => tag == 0 && Chunks::of(packet).count() == 1,
            kind::INIT_ACK => self.own_tag == Some(tag) && Chunks::of(packet).count() == 1,
            _ => self.own_tag == Some(tag),
        }
    }

    fn judge(
        &mut self,
        chunk: Chunk<'_>,
        packet: &mut Packet,
        streams: &mut impl Streams,
    ) -> Verdict {
        if !chunk.is_exact() {
            return self.refuse(chunk.may_be_skipped());
        }
        if chunk.kind() == kind::DATA {
            return self.judge_data(chunk, packet, streams);
        }
        packet.controls += 1;
        if packet.controls > limits::SCTP_CONTROL_CHUNKS {
            self.refused.too_costly += 1;
            return Verdict::Refuse;
        }
        let keeps = match chunk.kind() {
            kind::INIT => {
                let tag = wire::u32_at(chunk.0, 4);
                *self.init_tag.get_or_insert(tag) == tag && self.begin(chunk, packet)
            }
            kind::INIT_ACK => {
                if std::mem::replace(&mut self.has_init_ack, true) {
                    return self.refuse(true);
                }
                self.begin(chunk, packet)
            }
            kind::COOKIE_ECHO | kind::COOKIE_ACK => {
                packet.is_established = true;
                true
            }
            kind::SACK => chunk.has_ascending_gaps(),
            // It is not fatal in itself (RFC 9260 3.3.10), but the association would end, and not
            // read what follows.
            kind::ERROR => return self.refuse(true),
            kind::RECONFIG => return self.judge_reset(chunk, packet, streams),
            kind::FORWARD_TSN => return self.judge_forward(chunk, packet, streams),
            _ => true,
        };
        if keeps {
            return Verdict::Keep;
        }
        self.refuse(false)
    }

    /// What is malformed, or what ordinary peers send too.
    fn refuse(&mut self, is_ordinary: bool) -> Verdict {
        let refused = &mut self.refused;
        let counter = match is_ordinary {
            true => &mut refused.ignored,
            false => &mut refused.malformed,
        };
        *counter += 1;
        Verdict::Refuse
    }

    /// INIT or INIT ACK.
    fn begin(&mut self, chunk: Chunk<'_>, packet: &Packet) -> bool {
        if packet.is_established || self.has_data {
            return false;
        }
        let initial_tsn = wire::u32_at(chunk.0, 16);
        self.order = Some(Order::new(initial_tsn));
        self.forwards = chunk.supports_forward_tsn();
        self.next_reset = initial_tsn;
        true
    }

    fn judge_data(
        &mut self,
        chunk: Chunk<'_>,
        packet: &mut Packet,
        streams: &mut impl Streams,
    ) -> Verdict {
        let Some(order) = self.order.as_mut().filter(|_| packet.is_established) else {
            // Perhaps it overtook the COOKIE ACK.
            return self.refuse(true);
        };
        let tsn = wire::u32_at(chunk.0, 4);
        let piece = Piece {
            stream: wire::u16_at(chunk.0, 8),
            ssn: wire::u16_at(chunk.0, 10),
            len: (chunk.0.len() - 16) as u16,
            ends: chunk.flags() & 1 != 0,
            begins: chunk.flags() & 2 != 0,
            unordered: chunk.flags() & 4 != 0,
        };
        packet.data += 1;
        let place = order.place(tsn);
        let refused = &mut self.refused;
        let counter = match place {
            Place::TooFar => Some(&mut refused.too_far),
            Place::TooManyGaps => Some(&mut refused.too_many_gaps),
            // The answer tells of all that arrived ahead.
            _ if packet.data == 1 && self.work < order.ahead() => Some(&mut refused.too_costly),
            _ if packet.data > limits::SCTP_DATA_CHUNKS => Some(&mut refused.too_costly),
            _ => None,
        };
        if let Some(counter) = counter {
            *counter += 1;
            return Verdict::Refuse;
        }
        if packet.data == 1 {
            self.work -= order.ahead();
        }
        if place == Place::Duplicate {
            // It is acknowledged again: that may be what the peer waits for.
            return Verdict::Keep;
        }
        // It is thrown away alone, once it is the next one.
        if place == Place::Ahead && order.is_unwanted(piece.stream) {
            refused.closing += 1;
            return Verdict::Refuse;
        }
        let exists = streams.has(piece.stream);
        if self.closing.contains(&piece.stream) {
            if exists {
                refused.closing += 1;
                return Verdict::Refuse;
            }
            self.closing.remove(&piece.stream);
        }
        if !exists && !packet.made.contains(&piece.stream) {
            if piece.stream >= limits::SCTP_STREAMS
                || self.streams + packet.made.len() >= limits::SCTP_LIVE_STREAMS
            {
                refused.too_many_streams += 1;
                return Verdict::Refuse;
            }
            packet.made.push(piece.stream);
        }
        let Some(work) = self
            .work
            .checked_sub(self.streams + order.ahead() + self.held / 2)
        else {
            refused.too_costly += 1;
            return Verdict::Refuse;
        };
        self.work = work;
        if order.is_beyond(tsn) {
            if self.held >= limits::SCTP_HELD_CHUNKS {
                refused.too_much_held += 1;
                return Verdict::Refuse;
            }
            // The association will refuse it, and say that its window is closed.
            if self.held_bytes >= limits::SCTP_RECEIVE_BUFFER as usize {
                return Verdict::Keep;
            }
        }
        self.has_data = true;
        let discard = if place == Place::Next {
            order.advance(piece)
        } else {
            order.insert(tsn, piece);
            None
        };
        match discard {
            Some(discard) => self.discard(discard),
            None => {
                self.held += 1;
                self.held_bytes += usize::from(piece.len);
                Verdict::Keep
            }
        }
    }

    fn discard(&mut self, mut discard: Discard) -> Verdict {
        self.is_hopeless |= !self.forwards;
        self.refused.discarded += 1;
        self.refused.too_large += discard.oversized.len() as u64;
        self.oversized.append(&mut discard.oversized);
        Verdict::Discard(discard)
    }

    /// A message was read: so many chunks and bytes.
    pub fn read(&mut self, chunks: usize, bytes: usize) {
        self.held = self.held.saturating_sub(chunks);
        self.held_bytes = self.held_bytes.saturating_sub(bytes);
    }

    /// Everything that could be read was.
    pub fn is_drained(&mut self) {
        if let Some(order) = &self.order
            && order.ahead() == 0
        {
            self.held = order.open_pieces();
        }
    }

    pub fn stream_made(&mut self) {
        self.streams += 1;
    }

    pub fn stream_gone(&mut self, id: u16) {
        self.streams = self.streams.saturating_sub(1);
        self.closing.remove(&id);
    }

    pub fn reset_begun(&mut self) {
        self.resets += 1;
    }

    pub fn reset_done(&mut self) {
        self.resets = self.resets.saturating_sub(1);
    }

    /// Nobody will read what a stream has.
    pub fn unwant(&mut self, stream: u16) {
        if let Some(order) = self.order.as_mut().filter(|_| self.forwards) {
            order.unwant(stream);
        }
    }

    /// Streams on which messages were too large since the last call.
    pub fn take_oversized(&mut self) -> Vec<u16> {
        std::mem::take(&mut self.oversized)
    }

    /// Whether nothing is left but to end the association.
    pub fn is_hopeless(&self) -> bool {
        self.is_hopeless
    }
}

/// The packet with no other chunk than this one.
fn only(packet: &[u8], chunk: Chunk<'_>) -> Bytes {
    let mut only = packet[..HEADER].to_vec();
    wire::push(&mut only, chunk.0);
    wire::seal(&mut only);
    only.into()
}

/// What the peer would have sent had it given up these messages.
fn push_forward_tsn(packet: &mut Vec<u8>, discard: &mut Option<Discard>) {
    let Some(discard) = discard.take() else {
        return;
    };
    let len = 8 + 4 * discard.streams.len() as u16;
    packet.extend([kind::FORWARD_TSN, 0]);
    packet.extend(len.to_be_bytes());
    packet.extend(discard.tsn.to_be_bytes());
    for (stream, ssn) in discard.streams {
        packet.extend(stream.to_be_bytes());
        packet.extend(ssn.to_be_bytes());
    }
}
