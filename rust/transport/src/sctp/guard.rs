//! What stands before the association: the receiving side of SCTP, so that a peer's packets cost what they
//! are worth.
//!
//! The association (`sctp-proto`) keeps each chunk that comes ahead, sorts and scans what it keeps for the
//! next one, and reports every gap. So it is shown no DATA: chunks are put in order here, messages are
//! handed to the channels, and the association is told by a FORWARD-TSN that the peer has gone on, which it
//! acknowledges. What else it sees is first read exactly as it will read it. What is answered is
//! acknowledged and weighed here (see `answers`).

mod answers;
mod arrivals;
mod order;
mod streams;
pub(super) mod wire;

use bytes::Bytes;
use rustc_hash::FxHashSet;
use sctp_proto::PayloadProtocolIdentifier as Ppid;

use crate::limits;
use crate::types::SctpRefused;
pub(super) use order::Message;
use order::{Order, Output, Piece, Place};
use wire::{Chunk, Chunks, HEADER, kind};

/// The stream of what the association is told in place of DATA if the peer does not know FORWARD-TSN. No
/// channel has it.
pub(super) const SINK: u16 = limits::SCTP_STREAMS;

/// Averages of lengths are kept as so many times their value.
const AVERAGE_OF: usize = 256;

/// What the guard asks of the association.
pub(super) trait Streams {
    /// Streams that it has.
    fn ids(&self) -> Vec<u16>;
    /// Whether it has this one.
    fn has(&mut self, id: u16) -> bool;
    /// Makes one that it has not; whether that is possible yet.
    fn open(&mut self, id: u16) -> bool;
}

#[derive(Debug, Default)]
pub(super) struct Guard {
    /// Known once the peer's INIT or INIT ACK was seen.
    order: Option<Order>,
    /// The cumulative TSN that the association knows.
    told: u32,
    /// The verification tag of packets to us.
    own_tag: Option<u32>,
    /// Ports and verification tag of packets to the peer.
    header: Option<[u8; 8]>,
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
    /// Messages that wait to be read, and their bytes.
    unread: usize,
    unread_bytes: usize,
    /// Bytes of a DATA chunk of late, times [`AVERAGE_OF`].
    average: usize,
    /// The peer waits for a SACK.
    owes_sack: bool,
    /// Bytes that may be answered.
    credit: usize,
    /// The last TSN that was sent, and the last that the peer acknowledged with all before it.
    sent: u32,
    acked: u32,
    /// A packet with an acknowledgement that the association has not seen yet.
    held_sack: Option<Bytes>,
    out: Output,
    scratch: Vec<u8>,
    pub(super) refused: SctpRefused,
}

/// Counted while a packet is looked at.
#[derive(Default)]
struct Packet {
    is_established: bool,
    controls: usize,
    data: usize,
}

impl Guard {
    /// For an association that begins. What was refused before is still counted.
    pub fn restart(&mut self) {
        *self = Self {
            credit: limits::SCTP_ANSWER_CREDIT,
            average: limits::SCTP_PAYLOAD as usize * AVERAGE_OF,
            refused: self.refused,
            ..Self::default()
        };
    }

    /// A packet of the peer as the association may see it, or `None`.
    pub fn inbound(
        &mut self,
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
        let mut changed = !wire::is_padded(&packet);
        for chunk in Chunks::of(&packet) {
            let Some(chunk) = chunk else {
                self.refused.malformed += 1;
                changed = true;
                break;
            };
            if self.judge(chunk, &packet, &mut state, streams) {
                changed |= self.tell(&mut out, streams);
                wire::push(&mut out, chunk.0);
            } else {
                changed = true;
            }
        }
        changed |= self.tell(&mut out, streams);
        let is_empty = out.len() == HEADER;
        self.credit = (self.credit + packet.len()).min(limits::SCTP_ANSWER_CREDIT_MAX);
        self.refused.discarded += std::mem::take(&mut self.out.discarded);
        self.refused.too_large += self.out.oversized.len() as u64;
        let passed = if is_empty {
            None
        } else if changed {
            wire::seal(&mut out);
            Some(Bytes::copy_from_slice(&out))
        } else {
            Some(packet)
        };
        out.shrink_to(4 * limits::SCTP_PACKET);
        self.scratch = out;
        passed
    }

    /// Tells the association how far the peer has gone; whether there was anything to tell.
    fn tell(&mut self, out: &mut Vec<u8>, streams: &mut impl Streams) -> bool {
        let Some(order) = &self.order else {
            return false;
        };
        let tsn = order.cumulative();
        if tsn == self.told {
            return false;
        }
        if self.forwards {
            out.extend([kind::FORWARD_TSN, 0, 0, 8]);
            out.extend(tsn.to_be_bytes());
            self.told = tsn;
            return true;
        }
        if !streams.has(SINK) && streams.open(SINK) {
            self.streams += 1;
        }
        while self.told != tsn {
            self.told = self.told.wrapping_add(1);
            // Whole, unordered, of one byte.
            out.extend([kind::DATA, 7, 0, 17]);
            out.extend(self.told.to_be_bytes());
            out.extend(SINK.to_be_bytes());
            out.extend([0; 10]);
        }
        true
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

    /// Whether the association may see a chunk.
    fn judge(
        &mut self,
        chunk: Chunk<'_>,
        bytes: &[u8],
        packet: &mut Packet,
        streams: &mut impl Streams,
    ) -> bool {
        if !chunk.is_exact() {
            return self.refuse(chunk.may_be_skipped());
        }
        if chunk.kind() == kind::DATA {
            self.take_data(chunk, packet, streams);
            return false;
        }
        packet.controls += 1;
        if packet.controls > limits::SCTP_CONTROL_CHUNKS {
            self.refused.too_costly += 1;
            return false;
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
            kind::SACK if chunk.has_ascending_gaps() => return self.judge_sack(chunk, bytes),
            kind::SACK => false,
            // It is not fatal in itself (RFC 9260 3.3.10), but the association would end, and not
            // read what follows.
            kind::ERROR => return self.refuse(true),
            kind::RECONFIG => return self.judge_reset(chunk, packet, streams),
            kind::FORWARD_TSN => return self.judge_forward(chunk, packet),
            _ => true,
        };
        keeps || self.refuse(false)
    }

    /// What is malformed, or what ordinary peers send too.
    fn refuse(&mut self, is_ordinary: bool) -> bool {
        let refused = &mut self.refused;
        let counter = match is_ordinary {
            true => &mut refused.ignored,
            false => &mut refused.malformed,
        };
        *counter += 1;
        false
    }

    /// INIT or INIT ACK.
    fn begin(&mut self, chunk: Chunk<'_>, packet: &Packet) -> bool {
        if packet.is_established || self.has_data {
            return false;
        }
        let initial_tsn = wire::u32_at(chunk.0, 16);
        self.order = Some(Order::new(initial_tsn));
        self.told = initial_tsn.wrapping_sub(1);
        self.forwards = chunk.supports_forward_tsn();
        self.next_reset = initial_tsn;
        true
    }

    fn take_data(&mut self, chunk: Chunk<'_>, state: &mut Packet, streams: &mut impl Streams) {
        state.data += 1;
        let tsn = wire::u32_at(chunk.0, 4);
        let piece = Piece {
            stream: wire::u16_at(chunk.0, 8),
            ssn: wire::u16_at(chunk.0, 10),
            ends: chunk.flags() & 1 != 0,
            begins: chunk.flags() & 2 != 0,
            unordered: chunk.flags() & 4 != 0,
            kind: Ppid::from(wire::u32_at(chunk.0, 12)),
        };
        if !self.admits(tsn, piece.stream, state, streams) {
            return;
        }
        let Some(order) = &mut self.order else {
            return;
        };
        self.has_data = true;
        let payload = &chunk.0[16..];
        self.average -= self.average / 8;
        self.average += payload.len() * AVERAGE_OF / 8;
        order.receive(tsn, piece, payload, &mut self.out);
        let wants_sack = chunk.flags() & 8 != 0;
        self.owes_sack |= wants_sack || order.ahead() > 0;
    }

    /// With much on its way an acknowledgement with gaps waits until the association is asked for packets;
    /// a later one takes its place.
    fn judge_sack(&mut self, chunk: Chunk<'_>, bytes: &[u8]) -> bool {
        let cumulative = wire::u32_at(chunk.0, 4);
        let progress = cumulative.wrapping_sub(self.acked) as i32;
        if progress < 0 || progress as usize > self.in_flight() {
            // Of the past, or of nothing that was sent.
            return true;
        }
        self.acked = cumulative;
        self.held_sack = None;
        let has_gaps = wire::u16_at(chunk.0, 12) > 0;
        if has_gaps && self.in_flight() > limits::SCTP_UNPACED {
            self.held_sack = Some(only(bytes, chunk));
        }
        self.held_sack.is_none()
    }

    /// TSNs from the first that the peer has not acknowledged to the last that was sent.
    pub fn in_flight(&self) -> usize {
        self.sent.wrapping_sub(self.acked) as usize
    }

    #[cfg(any(test, feature = "raw-sctp"))]
    pub fn last_sent(&self) -> u32 {
        self.sent
    }

    pub fn take_held_sack(&mut self) -> Option<Bytes> {
        self.held_sack.take()
    }

    /// Whether a DATA chunk is taken.
    fn admits(
        &mut self,
        tsn: u32,
        stream: u16,
        state: &Packet,
        streams: &mut impl Streams,
    ) -> bool {
        let Some(order) = self.order.as_ref().filter(|_| state.is_established) else {
            // Perhaps it overtook the COOKIE ACK.
            return self.refuse(true);
        };
        let place = order.place(tsn);
        let is_beyond = order.is_beyond(tsn);
        let is_full = is_beyond && self.used() >= limits::SCTP_RECEIVE_BUFFER as usize;
        // The peer waits for it, or asks whether its window is still closed.
        self.owes_sack |= place != Place::Fresh || is_full;
        let is_many = is_beyond && self.unread >= limits::SCTP_HELD_MESSAGES;
        let refused = &mut self.refused;
        let counter = match place {
            Place::TooFar => &mut refused.too_far,
            Place::Duplicate => return false,
            Place::Fresh if state.data > limits::SCTP_DATA_CHUNKS => &mut refused.too_costly,
            Place::Fresh if is_many => &mut refused.too_much_held,
            Place::Fresh if is_full => return false,
            Place::Fresh if self.closing.contains(&stream) => &mut refused.closing,
            Place::Fresh if streams.has(stream) => return true,
            Place::Fresh
                if stream >= limits::SCTP_STREAMS || self.streams >= limits::SCTP_LIVE_STREAMS =>
            {
                &mut refused.too_many_streams
            }
            Place::Fresh if streams.open(stream) => {
                self.streams += 1;
                return true;
            }
            // Its reset is under way.
            Place::Fresh => &mut refused.closing,
        };
        *counter += 1;
        false
    }

    /// Payload that is kept: what waits for something that is missing, and for being read.
    fn used(&self) -> usize {
        self.order.as_ref().map_or(0, Order::bytes) + self.unread_bytes
    }

    /// Messages that arrived since the last call.
    pub fn take_messages(&mut self) -> Vec<Message> {
        std::mem::take(&mut self.out.messages)
    }

    /// A message waits to be read.
    pub fn waits(&mut self, bytes: usize) {
        self.unread += 1;
        self.unread_bytes += bytes;
    }

    /// It does not any more.
    pub fn read(&mut self, bytes: usize) {
        self.unread = self.unread.saturating_sub(1);
        self.unread_bytes = self.unread_bytes.saturating_sub(bytes);
    }

    pub fn stream_made(&mut self) {
        self.streams += 1;
    }

    pub fn stream_gone(&mut self) {
        self.streams = self.streams.saturating_sub(1);
    }

    pub fn reset_begun(&mut self) {
        self.resets += 1;
    }

    pub fn reset_done(&mut self) {
        self.resets = self.resets.saturating_sub(1);
    }

    /// A stream that the peer has reset has nothing left to be read.
    pub fn closed(&mut self, id: u16) {
        self.closing.remove(&id);
    }

    /// Streams on which messages were too large since the last call.
    pub fn take_oversized(&mut self) -> Vec<u16> {
        std::mem::take(&mut self.out.oversized)
    }
}

/// The packet with no other chunk than this one.
fn only(packet: &[u8], chunk: Chunk<'_>) -> Bytes {
    let mut only = packet[..HEADER].to_vec();
    wire::push(&mut only, chunk.0);
    wire::seal(&mut only);
    only.into()
}
