//! Sequence numbers and timestamps that wrap: unwrapping and comparing.

/// An unwrapped RTP sequence number: the low 16 bits are the number on the wire, the rest counts
/// wraps. An unwrapper starts counting at one wrap, so that packets from before the first one
/// seen still have a number.
pub type ExtSeq = u64;

/// An unwrapped RTP timestamp: the low 32 bits are the timestamp on the wire.
pub type ExtTimestamp = u64;

/// The distance from `b` to `a` on the 16-bit circle: positive when `a` is ahead of `b`.
#[inline]
pub const fn diff_u16(a: u16, b: u16) -> i16 {
    a.wrapping_sub(b) as i16
}

/// The distance from `b` to `a` on the 32-bit circle: positive when `a` is ahead of `b`.
#[inline]
pub const fn diff_u32(a: u32, b: u32) -> i32 {
    a.wrapping_sub(b) as i32
}

/// Whether sequence number `a` comes after `b`. Numbers exactly half the circle apart are not
/// newer than each other.
#[inline]
pub const fn is_newer_u16(a: u16, b: u16) -> bool {
    diff_u16(a, b) > 0
}

/// Whether timestamp `a` comes after `b`. Timestamps exactly half the circle apart are not newer
/// than each other.
#[inline]
pub const fn is_newer_u32(a: u32, b: u32) -> bool {
    diff_u32(a, b) > 0
}

/// Unwraps 16-bit sequence numbers to the number nearest to the highest one seen.
#[derive(Clone, Copy, Debug, Default)]
pub struct SeqUnwrapper {
    highest: Option<ExtSeq>,
}

impl SeqUnwrapper {
    /// An unwrapper that has seen nothing.
    pub const fn new() -> Self {
        Self { highest: None }
    }

    /// Unwraps `seq` and remembers it if it is the highest.
    #[inline]
    pub fn unwrap(&mut self, seq: u16) -> ExtSeq {
        let ext = self.peek(seq);
        if self.highest.is_none_or(|highest| ext > highest) {
            self.highest = Some(ext);
        }
        ext
    }

    /// Unwraps `seq` without remembering it.
    #[inline]
    pub fn peek(&self, seq: u16) -> ExtSeq {
        match self.highest {
            None => (1 << 16) | ExtSeq::from(seq),
            Some(highest) => {
                highest.saturating_add_signed(i64::from(diff_u16(seq, highest as u16)))
            }
        }
    }

    /// The highest sequence number seen.
    #[inline]
    pub const fn highest(&self) -> Option<ExtSeq> {
        self.highest
    }
}

/// Unwraps 32-bit RTP timestamps to the one nearest to the highest one seen.
#[derive(Clone, Copy, Debug, Default)]
pub struct TsUnwrapper {
    highest: Option<ExtTimestamp>,
}

impl TsUnwrapper {
    /// An unwrapper that has seen nothing.
    pub const fn new() -> Self {
        Self { highest: None }
    }

    /// Unwraps `timestamp` and remembers it if it is the highest.
    #[inline]
    pub fn unwrap(&mut self, timestamp: u32) -> ExtTimestamp {
        let ext = self.peek(timestamp);
        if self.highest.is_none_or(|highest| ext > highest) {
            self.highest = Some(ext);
        }
        ext
    }

    /// Unwraps `timestamp` without remembering it.
    #[inline]
    pub fn peek(&self, timestamp: u32) -> ExtTimestamp {
        match self.highest {
            None => (1 << 32) | ExtTimestamp::from(timestamp),
            Some(highest) => {
                highest.saturating_add_signed(i64::from(diff_u32(timestamp, highest as u32)))
            }
        }
    }

    /// The highest timestamp seen.
    #[inline]
    pub const fn highest(&self) -> Option<ExtTimestamp> {
        self.highest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn unwraps_forwards_over_the_wrap() {
        let mut unwrapper = SeqUnwrapper::new();
        assert_eq!(unwrapper.unwrap(65_534), 65_536 + 65_534);
        assert_eq!(unwrapper.unwrap(1), 131_072 + 1);
        assert_eq!(unwrapper.unwrap(65_535), 65_536 + 65_535);
        assert_eq!(unwrapper.highest(), Some(131_073));
    }

    #[test]
    fn packets_before_the_first_have_numbers_below_it() {
        let mut unwrapper = SeqUnwrapper::new();
        let first = unwrapper.unwrap(3);
        assert_eq!(unwrapper.unwrap(65_533), first - 6);
        assert_eq!(unwrapper.highest(), Some(first));
    }

    #[test]
    fn peek_does_not_remember() {
        let mut unwrapper = SeqUnwrapper::new();
        unwrapper.unwrap(10);
        assert_eq!(unwrapper.peek(20), 65_536 + 20);
        assert_eq!(unwrapper.highest(), Some(65_536 + 10));
    }

    #[test]
    fn comparisons_wrap() {
        assert!(is_newer_u16(0, 65_535));
        assert!(!is_newer_u16(65_535, 0));
        assert!(!is_newer_u16(5, 5));
        assert!(!is_newer_u16(32_768, 0) && !is_newer_u16(0, 32_768));
        assert!(is_newer_u32(3, u32::MAX));
        assert!(!is_newer_u32(u32::MAX, 3));
        assert_eq!(diff_u32(3, u32::MAX), 4);
    }

    #[test]
    fn timestamps_unwrap_over_the_wrap() {
        let mut unwrapper = TsUnwrapper::new();
        let first = unwrapper.unwrap(u32::MAX - 100);
        assert_eq!(unwrapper.unwrap(100), first + 201);
        assert_eq!(unwrapper.unwrap(u32::MAX), first + 100);
        assert_eq!(unwrapper.highest(), Some(first + 201));
    }

    proptest! {
        #[test]
        fn follows_a_walk_of_small_steps(start: u16, steps in prop::collection::vec(-1000i64..3000, 1..200)) {
            let mut unwrapper = SeqUnwrapper::new();
            let mut expected = unwrapper.unwrap(start);
            for step in steps {
                expected = expected.saturating_add_signed(step).max(unwrapper.highest().unwrap() - 30_000);
                prop_assert_eq!(unwrapper.unwrap(expected as u16), expected);
            }
        }

        #[test]
        fn the_low_bits_are_the_input(seqs: Vec<u16>, timestamps: Vec<u32>) {
            let (mut seq_unwrapper, mut ts_unwrapper) = (SeqUnwrapper::new(), TsUnwrapper::new());
            for seq in seqs {
                prop_assert_eq!(seq_unwrapper.unwrap(seq) as u16, seq);
            }
            for timestamp in timestamps {
                prop_assert_eq!(ts_unwrapper.unwrap(timestamp) as u32, timestamp);
            }
        }
    }
}
