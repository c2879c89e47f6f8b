//! What was sent, so that it can be sent again.
//!
//! Only where a packet came from and how it was rewritten is kept; the media is read from the
//! publisher's ring a second time.

use std::time::Duration;

use rtp::seq::{ExtSeq, diff_u16};
use rtp::vp8::Vp8Patch;

/// Times a packet is sent again as soon as it is asked for (LiveKit `sequencer.go`, `maxAck`).
const PROMPT_RESENDS: u8 = 3;

/// Times it is sent again in all. LiveKit stops after the prompt ones; a link that is gone for a
/// second takes them all, and the receiver, who asks ten times, then waits three seconds before it
/// asks for a key frame.
const MAX_RESENDS: u8 = 8;

/// Time before the first of the late ones; it doubles with each.
const LATE_RESEND: Duration = Duration::from_millis(200);

/// A repeated request within this time, or within two round trips if that is less, was made
/// before the answer to the one before it could arrive.
const IGNORE_REPEAT: Duration = Duration::from_millis(100);

/// What of a packet is rewritten besides its header's own fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Patch {
    /// Nothing.
    #[default]
    None,
    /// The numbers in its VP8 payload descriptor.
    Vp8(Vp8Patch),
    /// Its dependency descriptor.
    Descriptor {
        /// The outgoing frame number.
        frame_number: u16,
        /// The decode targets that the subscriber gets, target 0 in the lowest bit.
        active: u32,
    },
}

/// One packet sent.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sent {
    /// The publisher's sequence number in the ring of `layer`.
    pub(crate) ext_seq: ExtSeq,
    /// Low 32 bits of the outgoing sequence number; 0: nothing.
    out: u32,
    /// The outgoing timestamp.
    pub(crate) timestamp: u32,
    /// When it was last sent again, in milliseconds of the down track's life.
    resent_ms: u32,
    pub(crate) patch: Patch,
    pub(crate) layer: u8,
    pub(crate) marker: bool,
    /// It had no payload: it only filled the place of a packet that must not be sent.
    pub(crate) filler: bool,
    resends: u8,
}

impl Sent {
    /// A packet that will be sent.
    #[inline]
    pub(crate) fn media(
        ext_seq: ExtSeq,
        layer: u8,
        timestamp: u32,
        marker: bool,
        patch: Patch,
    ) -> Self {
        Self {
            ext_seq,
            timestamp,
            patch,
            layer,
            marker,
            ..Self::default()
        }
    }

    /// A packet without payload in the place of the publisher's packet `ext_seq`.
    pub(crate) fn filler(ext_seq: ExtSeq, layer: u8, timestamp: u32) -> Self {
        Self {
            ext_seq,
            timestamp,
            layer,
            filler: true,
            ..Self::default()
        }
    }

    /// The packet with the outgoing number `out`.
    #[inline]
    pub(crate) fn numbered(self, out: u64) -> Self {
        Self {
            out: out as u32,
            ..self
        }
    }

    /// Whether it was sent again before this time, so that its loss tells something of the
    /// connection as it is. What is still missing long after does not.
    pub(crate) fn is_repeat(&self) -> bool {
        (2..=PROMPT_RESENDS).contains(&self.resends)
    }

    /// The outgoing sequence number.
    pub(crate) fn sequence(&self) -> u16 {
        self.out as u16
    }
}

/// The packets sent last, by outgoing sequence number.
#[derive(Debug)]
pub(crate) struct History {
    /// Empty if nothing is ever sent again.
    sent: Box<[Sent]>,
    highest: u64,
    /// Nothing before this number is sent again: a key frame made it useless, or will.
    gate: u64,
    /// Outgoing timestamp of that key frame.
    key_frame: Option<u32>,
}

impl History {
    /// A history of `capacity` packets, which is 0 or a power of two.
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            sent: vec![Sent::default(); capacity].into_boxed_slice(),
            highest: 0,
            gate: 0,
            key_frame: None,
        }
    }

    /// Notes a packet sent as `out` and returns it with that number.
    #[inline]
    pub(crate) fn push(&mut self, out: u64, sent: Sent) -> Sent {
        let sent = sent.numbered(out);
        let mask = self.sent.len().wrapping_sub(1);
        if let Some(slot) = self.sent.get_mut(out as usize & mask) {
            *slot = sent;
        }
        self.highest = self.highest.max(out);
        if out < self.gate && self.key_frame == Some(sent.timestamp) && !sent.filler {
            // Not every packet of a key frame tells that it is one.
            self.gate = out;
        }
        sent
    }

    /// `out` belongs to a key frame with the outgoing `timestamp`. Returns whether it is another
    /// one than before.
    pub(crate) fn key_frame(&mut self, out: u64, timestamp: u32) -> bool {
        if self.key_frame == Some(timestamp) || out < self.gate {
            return false;
        }
        self.key_frame = Some(timestamp);
        self.gate = out;
        while self
            .slot(self.gate - 1)
            .is_some_and(|sent| sent.timestamp == timestamp && !sent.filler)
        {
            self.gate -= 1;
        }
        true
    }

    /// What was sent as `out`, if it is known yet.
    fn slot(&self, out: u64) -> Option<&Sent> {
        let mask = self.sent.len().wrapping_sub(1);
        let sent = self.sent.get(out as usize & mask)?;
        (sent.out == out as u32).then_some(sent)
    }

    /// The subscriber gave up what was sent so far and waits for a key frame.
    pub(crate) fn give_up(&mut self) {
        self.gate = self.highest + 1;
    }

    /// The packet to send again because `sequence` was asked for, if it is known, still of use,
    /// and was not sent again too often or just now.
    pub(crate) fn request(&mut self, sequence: u16, now_ms: u32, rtt: Duration) -> Option<Sent> {
        let sent = self.due(sequence, now_ms, rtt)?;
        sent.resends += 1;
        sent.resent_ms = now_ms;
        Some(*sent)
    }

    /// Whether [`Self::request`] would find the packet. It does not count as sent again.
    pub(crate) fn is_due(&mut self, sequence: u16, now_ms: u32, rtt: Duration) -> bool {
        self.due(sequence, now_ms, rtt).is_some()
    }

    /// The highest outgoing number.
    pub(crate) fn highest(&self) -> u64 {
        self.highest
    }

    fn due(&mut self, sequence: u16, now_ms: u32, rtt: Duration) -> Option<&mut Sent> {
        let back = diff_u16(self.highest as u16, sequence);
        let out = self.highest.checked_sub(u64::try_from(back).ok()?)?;
        if out < self.gate {
            return None;
        }
        let mask = self.sent.len().wrapping_sub(1);
        let sent = self.sent.get_mut(out as usize & mask)?;
        if sent.out != out as u32 || sent.resends >= MAX_RESENDS {
            return None;
        }
        let ignore = match sent.resends {
            0 => None,
            1..PROMPT_RESENDS => Some(IGNORE_REPEAT.min(2 * rtt)),
            resends => Some(LATE_RESEND * (1 << (resends - PROMPT_RESENDS))),
        };
        let since_ms = now_ms.wrapping_sub(sent.resent_ms);
        if ignore.is_some_and(|ignore| u128::from(since_ms) <= ignore.as_millis()) {
            return None;
        }
        Some(sent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(30);

    fn filled(outs: impl IntoIterator<Item = u64>) -> History {
        let mut history = History::new(16);
        for out in outs {
            history.push(out, Sent::filler(out + 1_000_000, 0, 0));
        }
        history
    }

    #[test]
    fn the_size_target_of_an_entry() {
        assert!(size_of::<Sent>() <= 32, "{}", size_of::<Sent>());
    }

    #[test]
    fn finds_packets_over_the_wrap_and_only_as_far_back_as_it_reaches() {
        let mut history = filled(65_520..65_540);
        for (sequence, expected) in [
            (65_535, Some(65_535)),
            (0, Some(65_536)),
            (3, Some(65_539)),
            (4, None),
            (65_524, Some(65_524)),
            (65_523, None),
        ] {
            let sent = history.request(sequence, 0, RTT);
            let out = sent.map(|sent| sent.ext_seq - 1_000_000);
            assert_eq!(out, expected, "{sequence}");
        }
    }

    #[test]
    fn a_hole_is_not_found() {
        let mut history = filled([100, 102]);
        assert!(history.request(101, 0, RTT).is_none());
    }

    #[test]
    fn repeats_are_ignored_for_two_round_trips_and_after_three_resends_for_longer_and_longer() {
        let mut history = filled([100]);
        let mut answered = |now_ms| {
            history
                .request(100, now_ms, RTT)
                .map(|sent| sent.is_repeat())
        };
        for (now_ms, expected) in [
            (5, Some(false)),
            (65, None),
            (66, Some(true)),
            (67, None),
            (127, Some(true)),
            (327, None),
            (328, Some(false)),
            (728, None),
            (729, Some(false)),
            (1_530, Some(false)),
            (3_131, Some(false)),
            (6_331, None),
            (6_332, Some(false)),
            (60_000, None),
        ] {
            assert_eq!(answered(now_ms), expected, "{now_ms} ms");
        }
    }

    #[test]
    fn a_packet_arrives_after_the_link_was_gone_for_a_second() {
        let mut history = filled([100]);
        let mut requests = (1..=10).map(|n| n * 200);
        let arrived = requests.find(|&ms| history.request(100, ms, RTT).is_some() && ms > 1000);
        assert_eq!(arrived, Some(1_600));
    }

    #[test]
    fn nothing_before_a_key_frame_is_sent_again() {
        let mut history = filled(100..105);
        let push = |history: &mut History, out, timestamp| {
            let sent = Sent::media(1_000_000 + out, 0, timestamp, false, Patch::None);
            history.push(out, sent);
        };
        // Its packets came out of order, not all of them tell what they are, and one of an earlier
        // key frame came last.
        push(&mut history, 107, 9000);
        assert!(history.key_frame(108, 9000));
        push(&mut history, 108, 9000);
        assert!(!history.key_frame(106, 9000));
        push(&mut history, 106, 9000);
        push(&mut history, 105, 9000);
        assert!(!history.key_frame(101, 6000));
        push(&mut history, 101, 6000);
        assert!(history.request(104, 0, RTT).is_none());
        for sequence in 105..=108 {
            assert!(history.request(sequence, 0, RTT).is_some(), "{sequence}");
        }
    }

    #[test]
    fn what_was_given_up_is_not_sent_again() {
        let mut history = filled(100..110);
        history.give_up();
        history.push(110, Sent::filler(1, 0, 0));
        assert!(history.request(109, 0, RTT).is_none());
        assert!(history.request(110, 0, RTT).is_some());
    }

    #[test]
    fn without_capacity_nothing_is_sent_again() {
        let mut history = History::new(0);
        history.push(1, Sent::default());
        assert!(history.request(1, 0, RTT).is_none());
    }
}
