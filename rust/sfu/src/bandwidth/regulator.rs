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
