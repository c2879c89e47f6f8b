//! Which of the things that are numbered one by one were sent: frames, or packets.

/// How many are remembered. Of 30 pictures a second with three layers it is almost three seconds,
/// of audio packets five.
const REMEMBERED: u64 = 256;

/// What became of the recent past, by numbers.
#[derive(Debug, Default)]
pub(crate) struct SentLog {
    /// One more than the highest number; 0: nothing is known.
    end: u64,
    known: [u64; (REMEMBERED / 64) as usize],
    sent: [u64; (REMEMBERED / 64) as usize],
}

impl SentLog {
    /// Whether it was sent; `None`: it was not seen, or too long ago.
    #[inline]
    pub(crate) fn get(&self, number: u64) -> Option<bool> {
        let (word, bit) = place(number);
        let known =
            number < self.end && self.end - number <= REMEMBERED && self.known[word] & bit != 0;
        known.then(|| self.sent[word] & bit != 0)
    }

    /// Whether it is too old to be remembered.
    #[inline]
    pub(crate) fn is_forgotten(&self, number: u64) -> bool {
        number + REMEMBERED < self.end
    }

    /// Notes whether it is sent.
    #[inline]
    pub(crate) fn set(&mut self, number: u64, sent: bool) {
        if self.is_forgotten(number) {
            return;
        }
        if number >= self.end {
            let forgotten = self.end.max((number + 1).saturating_sub(REMEMBERED));
            for passed in forgotten..=number {
                let (word, bit) = place(passed);
                self.known[word] &= !bit;
            }
            self.end = number + 1;
        }
        let (word, bit) = place(number);
        self.known[word] |= bit;
        if sent {
            self.sent[word] |= bit;
        } else {
            self.sent[word] &= !bit;
        }
    }
}

#[inline]
fn place(number: u64) -> (usize, u64) {
    let slot = number % REMEMBERED;
    ((slot / 64) as usize, 1 << (slot % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_the_recent_past() {
        let mut log = SentLog::default();
        assert_eq!(log.get(0), None);
        log.set(1000, true);
        log.set(1002, false);
        assert_eq!(log.get(1000), Some(true));
        assert_eq!(log.get(1001), None);
        assert_eq!(log.get(1002), Some(false));
        log.set(1001, true);
        assert_eq!(log.get(1001), Some(true));
        log.set(1000 + REMEMBERED, true);
        assert_eq!(log.get(1000), None);
        assert_eq!(log.get(1001), Some(true));
        log.set(1000, true);
        assert_eq!((log.get(1000), log.is_forgotten(1000)), (None, true));
        // A jump forgets everything, also what shares a slot.
        log.set(100_000, false);
        assert_eq!(log.get(100_000 - REMEMBERED + 1), None);
        assert_eq!(log.get(1000 + REMEMBERED), None);
        assert_eq!(log.get(100_000), Some(false));
    }
}
