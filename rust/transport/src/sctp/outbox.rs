//! Messages on their way out: what the association is given, and when it is asked for packets.
//!
//! The association (`sctp-proto`) goes through all that is on its way for each chunk that it sends, each
//! acknowledgement with gaps, and several times whenever it is asked for packets. How much is on its way
//! is the peer's choice. So it is given no more than [`limits::SCTP_IN_FLIGHT`] chunks, it is asked the less
//! often the more there is, and of acknowledgements with gaps it sees the last one then. Messages count as
//! what they take, not as what they say.

use std::collections::VecDeque;
use std::time::Instant;

use sctp_proto::{Association, PayloadProtocolIdentifier as Ppid};

use super::{Phase, Sctp};
use crate::limits;

/// The messages of a channel that the peer has not acknowledged.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// Those that the association does not have yet.
    waiting: VecDeque<(Ppid, Box<[u8]>)>,
    waiting_bytes: usize,
    /// Lengths of those that it has, oldest first, and their sum.
    given: VecDeque<u32>,
    given_bytes: usize,
    /// Chunks of those.
    chunks: usize,
}

fn chunks_of(len: u32) -> usize {
    len.div_ceil(limits::SCTP_PAYLOAD) as usize
}

impl Outbox {
    /// What the messages take here.
    pub fn size(&self) -> usize {
        let messages = self.given.len() + self.waiting.len();
        self.bytes() + messages * limits::MESSAGE_OVERHEAD
    }

    pub fn bytes(&self) -> usize {
        self.given_bytes + self.waiting_bytes
    }

    pub fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    pub fn push(&mut self, kind: Ppid, bytes: &[u8]) {
        self.waiting_bytes += bytes.len();
        self.waiting.push_back((kind, bytes.into()));
    }

    /// Forgets what the association has not any more.
    pub fn settle(&mut self, association: &mut Association, id: u16) {
        if self.given.is_empty() {
            return;
        }
        let stream = association.stream(id).ok();
        let held = stream.and_then(|stream| stream.buffered_amount().ok());
        let held = held.unwrap_or(0);
        while self.given_bytes > held
            && let Some(&len) = self.given.front()
        {
            // A part of it is acknowledged.
            if self.given_bytes - (len as usize) < held {
                return;
            }
            self.given.pop_front();
            self.given_bytes -= len as usize;
            self.chunks -= chunks_of(len);
        }
    }

    /// Gives the association the next message; whether there was one.
    fn give(&mut self, association: &mut Association, id: u16) -> bool {
        let Some((kind, bytes)) = self.waiting.pop_front() else {
            return false;
        };
        self.waiting_bytes -= bytes.len();
        let stream = association.stream(id).ok();
        let taken = stream.and_then(|mut stream| stream.write_with_ppi(&bytes, kind).ok());
        // What is not taken is of a channel that is being closed.
        if taken.is_some() {
            let len = bytes.len() as u32;
            self.given.push_back(len);
            self.given_bytes += bytes.len();
            self.chunks += chunks_of(len);
        }
        true
    }
}

/// When the association was asked for packets, and when it is again.
#[derive(Debug, Default)]
pub(super) struct Pace {
    asked: Option<Instant>,
    pub due: Option<Instant>,
}

impl Pace {
    /// Whether it may be asked, with so many chunks on their way.
    fn allows(&mut self, now: Instant, in_flight: usize) -> bool {
        let spacing = limits::SCTP_PACE * in_flight.saturating_sub(limits::SCTP_UNPACED) as u32;
        let next = self.asked.map(|at| at + spacing).filter(|&at| at > now);
        self.due = next;
        if next.is_none() {
            self.asked = Some(now);
        }
        next.is_none()
    }
}

impl Sctp {
    /// Gives the association as much as may be on its way, a message of each channel in turn.
    pub(super) fn feed(&mut self) {
        let Phase::Running { association, .. } = &mut self.phase else {
            return;
        };
        let mut chunks = 0;
        for (&id, channel) in &mut self.channels {
            channel.outbox.settle(association, id);
            chunks += channel.outbox.chunks;
        }
        let mut in_flight = chunks.max(self.guard.in_flight());
        let mut gave = true;
        while std::mem::take(&mut gave) {
            for (&id, channel) in &mut self.channels {
                if in_flight >= limits::SCTP_IN_FLIGHT {
                    return;
                }
                let before = channel.outbox.chunks;
                gave |= channel.outbox.give(association, id);
                in_flight += channel.outbox.chunks - before;
            }
        }
    }

    /// Asks the association for packets, if it is time for that.
    pub(super) fn transmit(&mut self, now: Instant) {
        if self.pace.allows(now, self.guard.in_flight()) {
            if let Some(sack) = self.guard.take_held_sack() {
                self.handle_passed(now, sack);
                self.feed();
            }
            self.flush(now);
        }
    }
}

const _: () = assert!(limits::SCTP_UNPACED < limits::SCTP_IN_FLIGHT);
