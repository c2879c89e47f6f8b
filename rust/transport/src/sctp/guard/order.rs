//! What a peer has sent, put in order: messages from DATA chunks.
//!
//! Fragments have consecutive TSNs (RFC 9260 6.9), so that in the order of TSNs no more than one message
//! is incomplete. What arrives ahead waits in a ring that is as long as a TSN may be ahead, unless it is
//! a whole message that nothing has to come before: that is one which is unordered, or its stream's
//! next. Each chunk costs the same, whatever there is already.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;
use sctp_proto::PayloadProtocolIdentifier as Ppid;

use super::arrivals::Arrivals;
use crate::limits;

/// A DATA chunk without its payload.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    pub stream: u16,
    pub ssn: u16,
    pub begins: bool,
    pub ends: bool,
    pub unordered: bool,
    pub kind: Ppid,
}

/// A message that arrived.
#[derive(Debug)]
pub(in crate::sctp) struct Message {
    pub stream: u16,
    pub kind: Ppid,
    pub bytes: Vec<u8>,
}

/// Where a TSN stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It was received.
    Duplicate,
    /// It is the next one, or there is a gap before it.
    Fresh,
    /// Too far ahead.
    TooFar,
}

/// What is known of a TSN behind the cumulative one.
#[derive(Debug)]
enum Slot {
    Missing,
    Waiting(Piece, Box<[u8]>),
    /// Its message was delivered, or is not wanted.
    Done,
}

/// The message of which the last piece in order is one.
#[derive(Debug)]
enum Open {
    /// It ended.
    No,
    /// It goes on.
    Message { first: Piece, bytes: Vec<u8> },
    /// It was thrown away and goes on.
    Discarded,
}

/// What came out.
#[derive(Debug, Default)]
pub(super) struct Output {
    pub messages: Vec<Message>,
    /// Streams with a message that is larger than [`limits::MESSAGE_MAX`].
    pub oversized: Vec<u16>,
    /// Chunks of messages that have no beginning, no end, or come twice.
    pub discarded: u64,
}

/// Whether a sequence number of a stream is before another (RFC 1982).
fn is_before(ssn: u16, other: u16) -> bool {
    ssn != other && other.wrapping_sub(ssn) < 0x8000
}

#[derive(Debug)]
pub(super) struct Order {
    /// The last TSN before which nothing is missing.
    cumulative: u32,
    /// What is known of those behind it. The first is missing, the last is not.
    ahead: VecDeque<Slot>,
    arrivals: Arrivals,
    open: Open,
    /// The sequence number of each stream's next message; the first has 0.
    next: FxHashMap<u16, u16>,
    /// Payload that waits here.
    bytes: usize,
}

impl Order {
    pub fn new(initial_tsn: u32) -> Self {
        Self {
            cumulative: initial_tsn.wrapping_sub(1),
            ahead: VecDeque::new(),
            arrivals: Arrivals::default(),
            open: Open::No,
            next: FxHashMap::default(),
            bytes: 0,
        }
    }

    pub fn cumulative(&self) -> u32 {
        self.cumulative
    }

    /// Payload that waits for what is missing before it, or for the end of its message.
    pub fn bytes(&self) -> usize {
        let open = match &self.open {
            Open::Message { bytes, .. } => bytes.len(),
            _ => 0,
        };
        self.bytes + open
    }

    /// TSNs from the first missing one to the highest received.
    pub fn ahead(&self) -> usize {
        self.ahead.len()
    }

    /// The gap blocks of a SACK.
    pub fn gaps(&self) -> impl Iterator<Item = (u16, u16)> {
        self.arrivals.blocks(self.cumulative, self.ahead.len())
    }

    /// Whether nothing is missing up to `tsn`.
    pub fn has_all_to(&self, tsn: u32) -> bool {
        self.cumulative.wrapping_sub(tsn) as i32 >= 0
    }

    /// Whether the message that is open is of this stream.
    pub fn is_open(&self, id: u16) -> bool {
        matches!(&self.open, Open::Message { first, .. } if first.stream == id)
    }

    /// Whether all that was received came before `tsn`.
    pub fn is_beyond(&self, tsn: u32) -> bool {
        tsn.wrapping_sub(self.cumulative) as i32 > self.ahead.len() as i32
    }

    pub fn place(&self, tsn: u32) -> Place {
        let distance = tsn.wrapping_sub(self.cumulative) as i32;
        if distance <= 0 {
            return Place::Duplicate;
        }
        if distance as usize > limits::SCTP_TSN_DISTANCE {
            return Place::TooFar;
        }
        match self.ahead.get(distance as usize - 1) {
            None | Some(Slot::Missing) => Place::Fresh,
            Some(_) => Place::Duplicate,
        }
    }

    /// Takes a piece whose place is [`Place::Fresh`], with its payload.
    pub fn receive(&mut self, tsn: u32, piece: Piece, bytes: &[u8], out: &mut Output) {
        let at = tsn.wrapping_sub(self.cumulative) as usize - 1;
        if at == 0 {
            self.ahead.pop_front();
            self.cumulative = tsn;
            self.step(piece, bytes, out);
            self.go_on(out);
            return self.deliver_next(piece.stream, out);
        }
        self.arrivals.insert(tsn);
        if self.ahead.len() <= at {
            if self.ahead.capacity() <= at {
                let capacity = (at + 1).next_power_of_two();
                self.ahead.reserve_exact(capacity - self.ahead.len());
            }
            self.ahead.resize_with(at + 1, || Slot::Missing);
        }
        self.bytes += bytes.len();
        self.ahead[at] = Slot::Waiting(piece, bytes.into());
        if let Some((first, last)) = self.whole(at) {
            self.deliver_early(first, last, out);
            if !piece.unordered {
                // Perhaps it is what others of its stream have waited for.
                self.deliver_next(piece.stream, out);
            }
        }
    }

    /// What a stream goes on with, if that waits for nothing but what is missing of others.
    fn deliver_next(&mut self, stream: u16, out: &mut Output) {
        let mut from = 0;
        while let Some((first, last)) = self.next_of(stream, from) {
            self.deliver_early(first, last, out);
            from = last + 1;
        }
    }

    /// What waits without a gap is in order now.
    fn go_on(&mut self, out: &mut Output) {
        while let Some(Slot::Waiting(..) | Slot::Done) = self.ahead.front() {
            self.cumulative = self.cumulative.wrapping_add(1);
            self.arrivals.remove(self.cumulative);
            match self.ahead.pop_front() {
                Some(Slot::Waiting(piece, bytes)) => {
                    self.bytes -= bytes.len();
                    self.step(piece, &bytes, out);
                }
                _ => self.break_off(out),
            }
        }
        if self.ahead.is_empty() {
            self.ahead.shrink_to(limits::SCTP_DATA_CHUNKS);
        }
    }

    /// The message that is open will have no end.
    fn break_off(&mut self, out: &mut Output) {
        if let Open::Message { first, .. } = std::mem::replace(&mut self.open, Open::No) {
            out.discarded += 1;
            self.done(&first);
        }
    }

    /// The next piece in order.
    fn step(&mut self, piece: Piece, payload: &[u8], out: &mut Output) {
        if piece.begins {
            self.break_off(out);
            self.open = if !piece.unordered && self.is_past(&piece) {
                out.discarded += 1;
                Open::Discarded
            } else {
                Open::Message {
                    first: piece,
                    bytes: Vec::new(),
                }
            };
        } else if !matches!(&self.open, Open::Message { first, .. } if first.goes_on(&piece)) {
            out.discarded += u64::from(!matches!(self.open, Open::Discarded));
            self.break_off(out);
            self.open = Open::Discarded;
        }
        if let Open::Message { first, bytes } = &mut self.open {
            if bytes.len() + payload.len() > limits::MESSAGE_MAX {
                out.oversized.push(first.stream);
                self.break_off(out);
                self.open = Open::Discarded;
            } else {
                bytes.extend_from_slice(payload);
            }
        }
        if piece.ends
            && let Open::Message { first, bytes } = std::mem::replace(&mut self.open, Open::No)
        {
            self.done(&first);
            out.messages.push(Message {
                stream: first.stream,
                kind: first.kind,
                bytes,
            });
        }
    }

    /// Whether the stream has gone on to a later message.
    fn is_past(&self, piece: &Piece) -> bool {
        let next = self.next.get(&piece.stream);
        next.is_some_and(|&next| is_before(piece.ssn, next))
    }

    fn is_next(&self, piece: &Piece) -> bool {
        self.next.get(&piece.stream).copied().unwrap_or(0) == piece.ssn
    }

    fn done(&mut self, piece: &Piece) {
        if !piece.unordered {
            self.skip_to(piece.stream, piece.ssn.wrapping_add(1));
        }
    }

    fn skip_to(&mut self, stream: u16, ssn: u16) {
        let next = self.next.entry(stream).or_insert(ssn);
        if is_before(*next, ssn) {
            *next = ssn;
        }
    }

    fn waiting(&self, at: usize) -> Option<&Piece> {
        match self.ahead.get(at) {
            Some(Slot::Waiting(piece, _)) => Some(piece),
            _ => None,
        }
    }

    /// The first and the last piece of the whole message around this one, if it may be delivered.
    fn whole(&self, at: usize) -> Option<(usize, usize)> {
        let piece = self.waiting(at)?;
        if !piece.unordered && !self.is_next(piece) {
            return None;
        }
        let (mut first, mut last) = (at, at);
        while !self.waiting(first)?.begins {
            first = first.checked_sub(1)?;
            let before = self.waiting(first).filter(|before| before.goes_on(piece));
            if before?.ends || last - first >= limits::SCTP_MESSAGE_PIECES {
                return None;
            }
        }
        while !self.waiting(last)?.ends {
            last += 1;
            let after = self.waiting(last).filter(|after| piece.goes_on(after));
            if after?.begins || last - first >= limits::SCTP_MESSAGE_PIECES {
                return None;
            }
        }
        Some((first, last))
    }

    /// The next message of an ordered stream, if it is whole and among those right behind.
    fn next_of(&self, stream: u16, from: usize) -> Option<(usize, usize)> {
        let to = self
            .ahead
            .len()
            .min(from.saturating_add(limits::SCTP_LOOK_AHEAD));
        let is_next = |&at: &usize| {
            self.waiting(at).is_some_and(|piece| {
                piece.stream == stream && piece.begins && !piece.unordered && self.is_next(piece)
            })
        };
        self.whole((from..to).find(is_next)?)
    }

    fn deliver_early(&mut self, first: usize, last: usize, out: &mut Output) {
        let mut bytes = Vec::new();
        let mut head = None;
        for slot in self.ahead.range_mut(first..=last) {
            if let Slot::Waiting(piece, payload) = std::mem::replace(slot, Slot::Done) {
                self.bytes -= payload.len();
                bytes.extend_from_slice(&payload);
                head.get_or_insert(piece);
            }
        }
        let Some(head) = head else {
            return;
        };
        self.done(&head);
        if bytes.len() > limits::MESSAGE_MAX {
            out.oversized.push(head.stream);
            return;
        }
        out.messages.push(Message {
            stream: head.stream,
            kind: head.kind,
            bytes,
        });
    }

    /// The peer gives up everything to `tsn` (RFC 3758 3.6): what arrived whole is delivered.
    pub fn forward(&mut self, tsn: u32, streams: &FxHashMap<u16, u16>, out: &mut Output) {
        let distance = tsn.wrapping_sub(self.cumulative) as i32;
        if distance <= 0 {
            return;
        }
        let mut given_up = Output::default();
        for _ in 0..self.ahead.len().min(distance as usize) {
            self.cumulative = self.cumulative.wrapping_add(1);
            self.arrivals.remove(self.cumulative);
            match self.ahead.pop_front() {
                Some(Slot::Waiting(piece, bytes)) => {
                    self.bytes -= bytes.len();
                    self.step(piece, &bytes, &mut given_up);
                }
                Some(Slot::Done) => self.break_off(&mut given_up),
                // A message with a piece missing is none.
                _ => {
                    self.break_off(&mut given_up);
                    self.open = Open::Discarded;
                }
            }
        }
        out.messages.append(&mut given_up.messages);
        out.oversized.append(&mut given_up.oversized);
        self.break_off(&mut given_up);
        self.open = Open::Discarded;
        self.cumulative = tsn;
        for (&stream, &ssn) in streams {
            self.skip_to(stream, ssn.wrapping_add(1));
        }
        self.go_on(out);
        // A stream may go on behind what was given up of it.
        for &stream in streams.keys().take(limits::SCTP_FORWARDED_AT_ONCE) {
            self.deliver_next(stream, out);
        }
    }

    /// The peer has reset a stream: its next message is the first.
    pub fn reset(&mut self, stream: u16) {
        self.next.remove(&stream);
    }

    pub fn reset_all(&mut self) {
        self.next.clear();
    }
}

impl Piece {
    /// Whether another is of the same message, if it is of the same run.
    fn goes_on(&self, other: &Self) -> bool {
        (self.stream, self.unordered) == (other.stream, other.unordered)
            && (self.unordered || self.ssn == other.ssn)
    }
}
