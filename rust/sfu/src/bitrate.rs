//! Bits per second over the last second.

use std::time::{Duration, Instant};

const BUCKETS: usize = 10;
const BUCKET: Duration = Duration::from_millis(100);

/// A sliding window of one second in tenths.
#[derive(Clone, Debug)]
pub(crate) struct BitrateMeter {
    bytes: [u32; BUCKETS],
    newest: usize,
    /// When the newest tenth is over.
    end: Instant,
}

impl BitrateMeter {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            bytes: [0; BUCKETS],
            newest: 0,
            end: now + BUCKET,
        }
    }

    #[inline]
    fn advance(&mut self, now: Instant) {
        if now >= self.end {
            self.begin_tenth(now);
        }
    }

    #[cold]
    fn begin_tenth(&mut self, now: Instant) {
        let late = now.saturating_duration_since(self.end);
        let skipped = (late.as_millis() / BUCKET.as_millis()) as u32;
        self.end += BUCKET * (skipped + 1);
        for _ in 0..=skipped.min(BUCKETS as u32) {
            self.newest = (self.newest + 1) % BUCKETS;
            self.bytes[self.newest] = 0;
        }
    }

    #[inline]
    pub(crate) fn add(&mut self, now: Instant, bytes: usize) {
        self.advance(now);
        let bucket = &mut self.bytes[self.newest];
        *bucket = bucket.saturating_add(bytes as u32);
    }

    /// Bits per second; the youngest tenth is not over yet and counts as it is.
    pub(crate) fn bps(&mut self, now: Instant) -> f64 {
        self.advance(now);
        let bytes: u64 = self.bytes.iter().map(|&bytes| u64::from(bytes)).sum();
        bytes as f64 * 8.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measures_a_steady_stream_and_forgets_it() {
        let start = Instant::now();
        let mut meter = BitrateMeter::new(start);
        for ms in 0..3000 {
            meter.add(start + Duration::from_millis(ms), 125);
        }
        let now = start + Duration::from_millis(2999);
        assert_eq!(meter.bps(now), 1_000_000.0);
        assert_eq!(meter.bps(now + Duration::from_millis(500)), 500_000.0);
        assert_eq!(meter.bps(now + Duration::from_secs(2)), 0.0);
    }
}
