//! What a peer gives up (RFC 3758), and the streams that it resets (RFC 6525).

use rustc_hash::FxHashMap;

use super::wire::{self, Chunk};
use super::{Guard, Packet, Streams};
use crate::limits;

impl Guard {
    /// What is given up the association hears of with all else that is in order then.
    pub(super) fn judge_forward(&mut self, chunk: Chunk<'_>, packet: &Packet) -> bool {
        let tsn = wire::u32_at(chunk.0, 4);
        let mut given_up: FxHashMap<u16, u16> = FxHashMap::default();
        let mut is_closing = false;
        for (stream, ssn) in chunk.forwarded().take(limits::SCTP_LIVE_STREAMS + 1) {
            given_up.insert(stream, ssn);
            is_closing |= self.closing.contains(&stream);
        }
        // One of the past changes nothing, and its answer is what the peer waits for.
        let order = self.order.as_ref();
        let is_past = order.is_some_and(|order| order.has_all_to(tsn));
        if is_closing && !is_past {
            self.refused.closing += 1;
            return false;
        }
        let is_small = given_up.len() <= limits::SCTP_LIVE_STREAMS
            && given_up.len() == chunk.forwarded().count();
        let order = self
            .order
            .as_mut()
            .filter(|_| packet.is_established && self.forwards && is_small);
        let Some(order) = order else {
            return self.refuse(false);
        };
        if is_past {
            // The association answers it.
            return true;
        }
        // The association hears of the last one of a packet, and would take it for one of the past.
        if tsn.wrapping_sub(self.told) > limits::SCTP_FORWARD_DISTANCE {
            self.refused.too_far += 1;
            return false;
        }
        self.has_data = true;
        order.forward(tsn, &given_up, &mut self.out);
        self.owes_sack |= order.ahead() > 0;
        false
    }

    /// A request to reset streams is left for later while something sent before is missing, and while the
    /// last generation of a stream was not read yet.
    pub(super) fn judge_reset(
        &mut self,
        chunk: Chunk<'_>,
        packet: &Packet,
        streams: &mut impl Streams,
    ) -> bool {
        let Some(order) = self.order.as_mut().filter(|_| packet.is_established) else {
            return self.refuse(true);
        };
        let Some(Some(reset)) = chunk.resets() else {
            return true;
        };
        if reset.sequence != self.next_reset {
            // An old one is answered again, any other refused.
            return true;
        }
        if !order.has_all_to(reset.last_tsn) {
            return self.refuse(true);
        }
        if self.resets >= limits::CHANNELS {
            return self.refuse(false);
        }
        let is_all = reset.streams().next().is_none();
        let ids = if is_all {
            streams.ids()
        } else {
            reset.streams().collect()
        };
        if ids.iter().any(|id| order.is_open(*id)) {
            return self.refuse(false);
        }
        if ids.iter().any(|id| self.closing.contains(id)) {
            self.refused.closing += 1;
            return false;
        }
        self.next_reset = self.next_reset.wrapping_add(1);
        if is_all {
            order.reset_all();
        }
        for id in ids {
            order.reset(id);
            if streams.has(id) {
                self.closing.insert(id);
            }
        }
        true
    }
}
