//! What the association answers: learnt from, weighed, and cut to size.

use bytes::Bytes;

use super::Guard;
use super::wire::{self, HEADER, kind};
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
        match first {
            kind::INIT | kind::INIT_ACK => self.own_tag = Some(wire::u32_at(&packet, 16)),
            kind::SACK => self.learn(&packet),
            _ => {}
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
        let packet = if packet.len() <= room {
            packet
        } else if first == kind::SACK && room >= SACK {
            shorten(&packet, room)
        } else {
            self.refused.unanswered += 1;
            return None;
        };
        if is_answer {
            self.credit -= packet.len();
        }
        Some(packet)
    }

    /// What the association has, by its own account.
    fn learn(&mut self, sack: &[u8]) {
        let blocks = sack[SACK..].chunks_exact(4);
        let gaps = blocks.map(|block| (wire::u16_at(block, 0), wire::u16_at(block, 2)));
        let window = wire::u32_at(sack, 20);
        self.held_bytes = limits::SCTP_RECEIVE_BUFFER.saturating_sub(window) as usize;
        if self.held_bytes == 0 {
            self.held = 0;
        }
        if let Some(order) = &mut self.order
            && !order.agree(wire::u32_at(sack, 16), gaps)
        {
            self.refused.disagreed += 1;
        }
    }
}

/// A SACK with as many gaps as go into `room` bytes: the peer hears of the others later.
fn shorten(sack: &[u8], room: usize) -> Bytes {
    let blocks = (room - SACK) / 4;
    let mut short = sack[..SACK + 4 * blocks].to_vec();
    short[HEADER + 2..HEADER + 4].copy_from_slice(&(16 + 4 * blocks as u16).to_be_bytes());
    short[24..26].copy_from_slice(&(blocks as u16).to_be_bytes());
    short[26..28].fill(0);
    wire::seal(&mut short);
    short.into()
}
