//! When to probe, and for how long (LiveKit `ccutils/probe_regulator.go`).

use std::time::{Duration, Instant};

const BASE_INTERVAL: Duration = Duration::from_secs(3);
const MAX_INTERVAL: Duration = Duration::from_secs(120);
const MIN_DURATION: Duration = Duration::from_millis(200);
const MAX_DURATION: Duration = Duration::from_secs(20);
const FACTOR: f64 = 1.5;

/// The first probe may begin at once. After one that led to congestion the next waits longer and is
/// short; after any other it may last longer.
#[derive(Debug)]
pub(crate) struct ProbeRegulator {
    interval: Duration,
    duration: Duration,
    earliest: Instant,
}

impl ProbeRegulator {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            interval: BASE_INTERVAL,
            duration: MIN_DURATION,
            earliest: now,
        }
    }

    pub(crate) fn may_probe(&self, now: Instant) -> bool {
        now >= self.earliest
    }

    /// What the last probe promised did not hold, for the `relapses`th time in a row: the next one
    /// waits twice as long each time. LiveKit does not do that.
    pub(crate) fn relapsed(&mut self, now: Instant, relapses: u32) {
        let wait = BASE_INTERVAL * 2u32.saturating_pow(relapses.min(16));
        self.earliest = self.earliest.max(now + wait.min(MAX_INTERVAL));
        self.duration = MIN_DURATION;
    }

    /// How long the next probe lasts.
    pub(crate) fn duration(&self) -> Duration {
        self.duration
    }

    /// A probe that began at `began` is over.
    pub(crate) fn finished(&mut self, began: Instant, congesting: bool) {
        if congesting {
            self.interval = self.interval.mul_f64(FACTOR).min(MAX_INTERVAL);
            self.duration = MIN_DURATION;
        } else {
            self.interval = BASE_INTERVAL;
            self.duration = self.duration.mul_f64(FACTOR).min(MAX_DURATION);
        }
        self.earliest = began + self.interval;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relapses_double_the_wait() {
        let start = Instant::now();
        for (relapses, seconds) in [(1, 6), (2, 12), (5, 96), (6, 120), (99, 120)] {
            let mut regulator = ProbeRegulator::new(start);
            regulator.relapsed(start, relapses);
            assert!(!regulator.may_probe(start + Duration::from_secs(seconds - 1)));
            assert!(regulator.may_probe(start + Duration::from_secs(seconds)));
        }
    }

    #[test]
    fn congestion_puts_off_the_next_probe() {
        let start = Instant::now();
        let ms = Duration::from_millis;
        let mut regulator = ProbeRegulator::new(start);
        assert!(regulator.may_probe(start));
        for (congesting, interval, duration) in [
            (true, 4500, 200),
            (true, 6750, 200),
            (false, 3000, 300),
            (false, 3000, 450),
            (true, 4500, 200),
        ] {
            regulator.finished(start, congesting);
            assert!(!regulator.may_probe(start + ms(interval - 1)));
            assert!(regulator.may_probe(start + ms(interval)));
            assert_eq!(regulator.duration(), ms(duration));
        }
        for _ in 0..20 {
            regulator.finished(start, true);
        }
        assert!(regulator.may_probe(start + MAX_INTERVAL));
        for _ in 0..20 {
            regulator.finished(start, false);
        }
        assert_eq!(regulator.duration(), MAX_DURATION);
    }
}
