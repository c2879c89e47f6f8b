//! What is answered: SACKs, which tell of what the association has not seen, and all else that the
//! association says, weighed.

use bytes::Bytes;

use super::order::Order;
use super::wire::{self, HEADER, kind};
use super::{AVERAGE_OF, Guard};
use crate::limits;

/// Length of a packet with a SACK without gaps.
const SACK: usize = HEADER + 16;

impl Guard {
    /// A packet of the association as the peer may see it, or `None`.
    pub(in crate::sctp) fn outbound(&mut self, packet: Bytes) -> Option<Bytes> {
        if packet.len() < HEADER + 4 {
            return None;
        }
        let first = packet[HEADER];
        if matches!(first, kind::INIT | kind::INIT_ACK) {
            self.own_tag = Some(wire::u32_at(&packet, 16));
            self.sent = wire::u32_at(&packet, 28).wrapping_sub(1);
            self.acked = self.sent;
        }
        if first == kind::DATA {
            let chunks = wire::Chunks::of(&packet).flatten();
            for chunk in chunks.filter(|chunk| chunk.kind() == kind::DATA && chunk.is_exact()) {
                let tsn = wire::u32_at(chunk.0, 4);
                if tsn.wrapping_sub(self.sent) as i32 > 0 {
                    self.sent = tsn;
                }
            }
        }
        if first != kind::INIT {
            self.header = packet[..8].try_into().ok();
        }
        let is_answer = !matches!(
            first,
            kind::DATA | kind::INIT | kind::COOKIE_ECHO | kind::ABORT | kind::SHUTDOWN
        );
        let room = if is_answer {
            self.credit.min(limits::SCTP_PACKET)
        } else {
            limits::SCTP_PACKET
        };
        let packet = if first == kind::SACK && room >= SACK {
            // With all gaps, or later.
            self.owes_sack = self.order.as_ref().is_some_and(|order| order.ahead() > 0);
            if self.owes_sack {
                return None;
            }
            let sack = self.sack(room);
            let is_agreed = sack[HEADER + 4..HEADER + 8] == packet[HEADER + 4..HEADER + 8];
            self.refused.disagreed += u64::from(!is_agreed);
            sack
        } else if packet.len() <= room {
            packet
        } else {
            self.refused.unanswered += 1;
            return None;
        };
        if is_answer {
            self.credit -= packet.len();
        }
        Some(packet)
    }

    /// A SACK that the peer waits for, and that the association knows nothing of. One that tells of more
    /// gaps than may be answered yet waits for the peer's next packets, unless it `is_due`.
    pub(in crate::sctp) fn owed_sack(&mut self, is_due: bool) -> Option<Bytes> {
        let most = self.credit.min(limits::SCTP_PACKET);
        if !self.owes_sack || most < SACK || self.header.is_none() {
            return None;
        }
        let sack = self.sack(if is_due { most } else { limits::SCTP_PACKET });
        if sack.len() > most {
            return None;
        }
        self.owes_sack = false;
        self.credit -= sack.len();
        Some(sack)
    }

    pub(in crate::sctp) fn owes_sack(&self) -> bool {
        self.owes_sack
    }

    /// A SACK with as many gaps as go into `room` bytes: the peer hears of the others later.
    fn sack(&self, room: usize) -> Bytes {
        let window = self.window() as u32;
        let mut sack = Vec::with_capacity(SACK);
        sack.extend(self.header.unwrap_or_default());
        sack.extend([0, 0, 0, 0, kind::SACK, 0, 0, 0]);
        sack.extend(self.told.to_be_bytes());
        sack.extend(window.to_be_bytes());
        sack.extend([0; 4]);
        if let Some(order) = &self.order {
            for (start, end) in order.gaps().take((room - SACK) / 4) {
                sack.extend(start.to_be_bytes());
                sack.extend(end.to_be_bytes());
            }
        }
        let len = sack.len() - HEADER;
        sack[HEADER + 2..HEADER + 4].copy_from_slice(&(len as u16).to_be_bytes());
        let blocks = (len - 16) / 4;
        sack[24..26].copy_from_slice(&(blocks as u16).to_be_bytes());
        wire::seal(&mut sack);
        sack.into()
    }

    /// Bytes of messages that may come. They count as chunks too: many small ones take more room than
    /// what they say, and a peer that keeps to its window is never refused one.
    fn window(&self) -> usize {
        let ahead = self.order.as_ref().map_or(0, Order::ahead);
        let chunks = (limits::SCTP_TSN_DISTANCE.saturating_sub(ahead))
            .min(limits::SCTP_HELD_MESSAGES.saturating_sub(self.unread));
        let buffer = limits::SCTP_RECEIVE_BUFFER as usize;
        buffer
            .saturating_sub(self.used())
            .min(chunks * self.average / AVERAGE_OF)
    }
}
