//! From the publisher's sequence numbers to the subscriber's.
//!
//! Forwarding runs in *eras*: one uninterrupted stretch of one source layer. Inside an era the
//! outgoing number is the incoming one minus an offset. The offset grows by one for each packet
//! left out on purpose, so that the subscriber sees no hole; a packet that is merely missing keeps
//! its number, so that the subscriber asks for it and a late arrival finds its place. It shrinks by
//! one for each packet that the source did not send. The offsets of the recent past are kept for
//! late packets.

use rtp::seq::ExtSeq;

/// Stretches between deliberate drops that are remembered: at 15 dropped frames a second the last
/// four seconds, well beyond the publisher's retransmissions.
const MAX_RANGES: usize = 64;

/// A longer hole than this is not filled any more: it is closed but for [`JUMP_HOLE`].
const MAX_GAP: u64 = 512;

/// What is left of a hole that is closed: the subscriber is to see that something is missing, and need
/// not ask for each packet.
const JUMP_HOLE: u64 = 1;

/// Incoming numbers from `start` to those that were left out before the next range share these
/// figures.
#[derive(Clone, Copy, Debug, Default)]
struct Range {
    start: ExtSeq,
    /// Incoming minus outgoing, wrapping.
    offset: u64,
    /// So many numbers just before `start` were left out.
    left_out: u32,
    /// Frames left out so far, for codecs that number their frames.
    picture_offset: u16,
    /// Highest temporal layer forwarded.
    max_temporal: u8,
}

/// Where an incoming packet belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// It advances the stream.
    Next,
    /// It was missing; `out` was kept for it.
    Late {
        /// Its outgoing number.
        out: u64,
        /// The picture offset of its time.
        picture_offset: u16,
        /// The highest temporal layer forwarded in its time.
        max_temporal: u8,
    },
    /// It has no outgoing number: before the era, left out, a repeat, or too long ago.
    Nowhere,
}

/// The numbering of one down track. Outgoing numbers are unwrapped; the wire has the low 16 bits.
#[derive(Debug)]
pub(crate) struct Numbering {
    ranges: [Range; MAX_RANGES],
    /// Ranges ever begun in this era; the newest is at `(count - 1) % MAX_RANGES`.
    count: usize,
    highest_in: ExtSeq,
    highest_out: u64,
    /// The first number after a hole that was closed, until something begins from there on that needs
    /// nothing from before.
    jump: Option<u64>,
}

impl Numbering {
    /// The first packet will be `first_out`.
    pub(crate) fn new(first_out: u64) -> Self {
        Self {
            ranges: [Range::default(); MAX_RANGES],
            count: 0,
            highest_in: 0,
            highest_out: first_out - 1,
            jump: None,
        }
    }

    /// Begins an era: `first_in` gets the number after the highest one sent.
    pub(crate) fn begin_era(&mut self, first_in: ExtSeq, picture_offset: u16, max_temporal: u8) {
        self.count = 0;
        self.push(Range {
            start: first_in,
            offset: first_in.wrapping_sub(self.highest_out + 1),
            left_out: 0,
            picture_offset,
            max_temporal,
        });
        self.highest_in = first_in - 1;
        self.jump = None;
    }

    /// The highest incoming number that was looked at in this era.
    pub(crate) fn highest_in(&self) -> ExtSeq {
        self.highest_in
    }

    /// Whether so much was missing that it was given up, and what was sent since may need it.
    pub(crate) fn has_jumped(&self) -> bool {
        self.jump.is_some()
    }

    /// What has the number `out` needs nothing from before.
    #[inline]
    pub(crate) fn begin_again(&mut self, out: u64) {
        self.jump = self.jump.filter(|&jump| out < jump);
    }

    /// The number of the next packet in order, unless some before it are missing.
    pub(crate) fn next_out(&self) -> u64 {
        self.highest_out + 1
    }

    /// The picture offset of the next packet in order.
    #[inline]
    pub(crate) fn picture_offset(&self) -> u16 {
        self.newest().picture_offset
    }

    /// The highest temporal layer forwarded from the next packet in order on.
    #[inline]
    pub(crate) fn max_temporal(&self) -> u8 {
        self.newest().max_temporal
    }

    /// Finds the place of an incoming packet.
    #[inline]
    pub(crate) fn place(&self, ext_seq: ExtSeq) -> Place {
        if ext_seq > self.highest_in {
            return Place::Next;
        }
        self.place_late(ext_seq)
    }

    /// Takes the next packet in order and returns its outgoing number. It must be
    /// [`Place::Next`].
    #[inline]
    pub(crate) fn take(&mut self, ext_seq: ExtSeq) -> u64 {
        self.close_jump(ext_seq);
        self.highest_in = ext_seq;
        self.highest_out = ext_seq.wrapping_sub(self.newest().offset);
        self.highest_out
    }

    /// The number `out` of [`Place::Late`] is used. It may be the highest one so far, if only
    /// packets left out came after the missing one.
    #[inline]
    pub(crate) fn take_late(&mut self, out: u64) {
        self.highest_out = self.highest_out.max(out);
    }

    /// The number after those that are taken, or kept for packets that are missing.
    pub(crate) fn first_free(&self) -> u64 {
        (self.highest_in + 1).wrapping_sub(self.newest().offset)
    }

    /// Takes [`Self::first_free`] for a packet that is not the source's. An era must have begun.
    pub(crate) fn insert(&mut self) {
        let start = self.highest_in + 1;
        self.highest_out = self.first_free();
        let newest = self.newest_mut();
        if newest.start == start {
            newest.offset = newest.offset.wrapping_sub(1);
            return;
        }
        let range = Range {
            start,
            offset: newest.offset.wrapping_sub(1),
            left_out: 0,
            ..*newest
        };
        self.push(range);
    }

    /// Leaves the next packet in order out. `new_picture`: it is the first of its frame to be.
    pub(crate) fn leave_out(&mut self, ext_seq: ExtSeq, new_picture: bool) {
        self.close_jump(ext_seq);
        self.highest_in = ext_seq;
        let newest = *self.newest();
        let goes_on = newest.start == ext_seq && self.count > 1;
        let range = Range {
            start: ext_seq + 1,
            offset: newest.offset.wrapping_add(1),
            left_out: if goes_on { newest.left_out + 1 } else { 1 },
            picture_offset: newest.picture_offset.wrapping_add(u16::from(new_picture)),
            ..newest
        };
        if goes_on {
            *self.newest_mut() = range;
        } else {
            self.push(range);
        }
    }

    /// Changes the highest temporal layer forwarded from `ext_seq`, the next packet, on.
    pub(crate) fn set_max_temporal(&mut self, ext_seq: ExtSeq, max_temporal: u8) {
        let newest = *self.newest();
        if newest.max_temporal == max_temporal {
            return;
        }
        self.close_jump(ext_seq);
        self.push(Range {
            start: ext_seq,
            left_out: 0,
            max_temporal,
            ..*self.newest()
        });
    }

    fn close_jump(&mut self, ext_seq: ExtSeq) {
        let gap = ext_seq - self.highest_in - 1;
        if gap > MAX_GAP {
            self.jump = Some(self.first_free() + JUMP_HOLE);
            let gap = gap - JUMP_HOLE;
            let newest = *self.newest();
            self.push(Range {
                start: ext_seq,
                offset: newest.offset.wrapping_add(gap),
                left_out: u32::try_from(gap).unwrap_or(u32::MAX),
                ..newest
            });
            self.highest_in = ext_seq - 1;
        }
    }

    fn place_late(&self, ext_seq: ExtSeq) -> Place {
        let kept = self.count.min(MAX_RANGES);
        let mut later: Option<&Range> = None;
        for back in 1..=kept {
            let range = &self.ranges[(self.count - back) % MAX_RANGES];
            if ext_seq >= range.start {
                let left_out =
                    later.is_some_and(|later| ext_seq + u64::from(later.left_out) >= later.start);
                if left_out {
                    return Place::Nowhere;
                }
                return Place::Late {
                    out: ext_seq.wrapping_sub(range.offset),
                    picture_offset: range.picture_offset,
                    max_temporal: range.max_temporal,
                };
            }
            later = Some(range);
        }
        Place::Nowhere
    }

    fn push(&mut self, range: Range) {
        self.ranges[self.count % MAX_RANGES] = range;
        self.count += 1;
    }

    #[inline]
    fn newest(&self) -> &Range {
        &self.ranges[self.count.wrapping_sub(1) % MAX_RANGES]
    }

    fn newest_mut(&mut self) -> &mut Range {
        &mut self.ranges[self.count.wrapping_sub(1) % MAX_RANGES]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn late(out: u64) -> Place {
        Place::Late {
            out,
            picture_offset: 0,
            max_temporal: 3,
        }
    }

    fn begun(first_in: ExtSeq) -> Numbering {
        let mut numbering = Numbering::new(1000);
        numbering.begin_era(first_in, 0, 3);
        numbering
    }

    #[test]
    fn loss_keeps_its_number() {
        let mut numbering = begun(70_000);
        assert_eq!(numbering.take(70_000), 1000);
        assert_eq!(numbering.take(70_003), 1003);
        assert_eq!(numbering.place(70_001), late(1001));
        assert_eq!(numbering.place(69_999), Place::Nowhere);
    }

    #[test]
    fn what_is_left_out_is_closed() {
        let mut numbering = begun(70_000);
        assert_eq!(numbering.take(70_000), 1000);
        numbering.leave_out(70_001, true);
        numbering.leave_out(70_002, false);
        assert_eq!(numbering.take(70_003), 1001);
        assert_eq!(numbering.place(70_001), Place::Nowhere);
        assert_eq!(numbering.place(70_002), Place::Nowhere);
        assert_eq!(numbering.picture_offset(), 1);
    }

    #[test]
    fn a_late_packet_between_those_left_out_has_its_place() {
        let mut numbering = begun(70_000);
        numbering.take(70_000);
        numbering.leave_out(70_001, true);
        numbering.leave_out(70_003, true);
        assert_eq!(numbering.take(70_004), 1002);
        assert_eq!(numbering.place(70_003), Place::Nowhere);
        assert_eq!(
            numbering.place(70_002),
            Place::Late {
                out: 1001,
                picture_offset: 1,
                max_temporal: 3
            }
        );
        assert_eq!(numbering.place(70_001), Place::Nowhere);
    }

    #[test]
    fn an_era_continues_after_the_highest_number_sent() {
        let mut numbering = begun(70_000);
        numbering.take(70_000);
        numbering.leave_out(70_005, true);
        numbering.begin_era(90_000, 0, 3);
        assert_eq!(numbering.take(90_000), 1001);
        assert_eq!(numbering.place(70_004), Place::Nowhere);
    }

    #[test]
    fn a_late_packet_may_have_the_highest_number() {
        let mut numbering = begun(70_000);
        numbering.take(70_000);
        numbering.leave_out(70_002, true);
        assert_eq!(numbering.place(70_001), late(1001));
        numbering.take_late(1001);
        numbering.begin_era(90_000, 0, 3);
        assert_eq!(numbering.take(90_000), 1002);
    }

    #[test]
    fn the_first_packet_of_an_era_may_be_left_out() {
        let mut numbering = begun(70_000);
        numbering.leave_out(70_000, false);
        numbering.leave_out(70_001, false);
        assert_eq!(numbering.take(70_002), 1000);
        assert_eq!(numbering.place(70_000), Place::Nowhere);
        assert_eq!(numbering.place(70_001), Place::Nowhere);
    }

    #[test]
    fn a_jump_of_the_source_is_closed_but_for_one_number() {
        let mut numbering = begun(70_000);
        numbering.take(70_000);
        assert_eq!(numbering.take(70_513), 1513);
        assert!(!numbering.has_jumped());
        let mut numbering = begun(70_000);
        numbering.take(70_000);
        assert_eq!(numbering.take(80_000), 1002);
        assert!(numbering.has_jumped());
        assert_eq!(numbering.place(70_001), late(1001));
        for ext_seq in [70_002, 75_000, 79_999] {
            assert_eq!(numbering.place(ext_seq), Place::Nowhere, "{ext_seq}");
        }
        assert_eq!(numbering.take(80_002), 1004);
        assert_eq!(numbering.place(80_001), late(1003));
        // A key frame in the hole changes nothing.
        numbering.begin_again(1001);
        assert!(numbering.has_jumped());
        numbering.begin_again(1002);
        assert!(!numbering.has_jumped());
    }

    #[test]
    fn what_is_inserted_comes_after_all_that_may_still_come() {
        let late_out = |numbering: &Numbering, ext_seq| match numbering.place(ext_seq) {
            Place::Late { out, .. } => Some(out),
            Place::Next | Place::Nowhere => None,
        };
        let mut numbering = begun(70_000);
        numbering.take(70_000);
        numbering.leave_out(70_002, true);
        numbering.insert();
        numbering.insert();
        assert_eq!(numbering.take(70_003), 1004);
        for (ext_seq, out) in [(70_000, Some(1000)), (70_001, Some(1001)), (70_002, None)] {
            assert_eq!(late_out(&numbering, ext_seq), out, "{ext_seq}");
        }
        numbering.insert();
        numbering.leave_out(70_004, false);
        numbering.leave_out(70_005, false);
        assert_eq!(numbering.take(70_007), 1007);
        for (ext_seq, out) in [
            (70_003, Some(1004)),
            (70_004, None),
            (70_005, None),
            (70_006, Some(1006)),
        ] {
            assert_eq!(late_out(&numbering, ext_seq), out, "{ext_seq}");
        }
        numbering.insert();
        numbering.begin_era(90_000, 0, 3);
        numbering.insert();
        assert_eq!(numbering.take(90_000), 1010);
    }

    #[test]
    fn late_packets_are_judged_by_the_temporal_limit_of_their_time() {
        let mut numbering = begun(70_000);
        numbering.take(70_000);
        numbering.set_max_temporal(70_003, 1);
        assert_eq!(numbering.take(70_003), 1003);
        assert_eq!(numbering.place(70_001), late(1001));
        assert_eq!(numbering.max_temporal(), 1);
    }
}
