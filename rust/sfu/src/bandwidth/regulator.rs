//! When to probe, and for how long (LiveKit `ccutils/probe_regulator.go`).

use std::time::{Duration, Instant};

/// How often to probe, and for how long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RegulatorConfig {
    /// From the beginning of a probe to that of the next.
    pub base_interval: Duration,
    /// A probe that led to congestion makes that longer by this factor, 0 or more.
    pub backoff: f64,
    /// As long at most.
    pub max_interval: Duration,
    /// How long the first probe lasts, and one after congestion.
    pub min_duration: Duration,
    /// As long at most.
    pub max_duration: Duration,
    /// Any other probe is followed by one that is longer by this factor, 0 or more.
    pub growth: f64,
}

impl Default for RegulatorConfig {
    fn default() -> Self {
        Self {
            base_interval: Duration::from_secs(3),
            backoff: 1.5,
            max_interval: Duration::from_secs(120),
            min_duration: Duration::from_millis(200),
            max_duration: Duration::from_secs(20),
            growth: 1.5,
        }
    }
}

/// The first probe may begin at once. After one that led to congestion the next waits longer and is
/// short; after any other it may last longer.
#[derive(Debug)]
pub(crate) struct ProbeRegulator {
    config: RegulatorConfig,
    interval: Duration,
    duration: Duration,
    earliest: Instant,
}

impl ProbeRegulator {
    pub(crate) fn new(now: Instant, config: RegulatorConfig) -> Self {
        Self {
            config,
            interval: config.base_interval,
            duration: config.min_duration,
            earliest: now,
        }
    }

    pub(crate) fn may_probe(&self, now: Instant) -> bool {
        now >= self.earliest
    }

    /// What the last probe promised did not hold, for the `relapses`th time in a row: the next one
    /// waits twice as long each time. LiveKit does not do that.
    pub(crate) fn relapsed(&mut self, now: Instant, relapses: u32) {
        let wait = self.config.base_interval * 2u32.saturating_pow(relapses.min(16));
        let wait = wait.min(self.config.max_interval);
        self.earliest = self.earliest.max(now + wait);
        self.duration = self.config.min_duration;
    }

    /// How long the next probe lasts.
    pub(crate) fn duration(&self) -> Duration {
        self.duration
    }

    /// A probe that began at `began` is over.
    pub(crate) fn finished(&mut self, began: Instant, congesting: bool) {
        let config = &self.config;
        if congesting {
            let longer = self.interval.mul_f64(config.backoff);
            self.interval = longer.min(config.max_interval);
            self.duration = config.min_duration;
        } else {
            let longer = self.duration.mul_f64(config.growth);
            self.interval = config.base_interval;
            self.duration = longer.min(config.max_duration);
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
            let mut regulator = ProbeRegulator::new(start, RegulatorConfig::default());
            regulator.relapsed(start, relapses);
            assert!(!regulator.may_probe(start + Duration::from_secs(seconds - 1)));
            assert!(regulator.may_probe(start + Duration::from_secs(seconds)));
        }
    }

    #[test]
    fn congestion_puts_off_the_next_probe() {
        let start = Instant::now();
        let ms = Duration::from_millis;
        let config = RegulatorConfig::default();
        let mut regulator = ProbeRegulator::new(start, config);
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
        assert!(regulator.may_probe(start + config.max_interval));
        for _ in 0..20 {
            regulator.finished(start, false);
        }
        assert_eq!(regulator.duration(), config.max_duration);
    }

    #[test]
    fn how_often_and_how_long_is_configured() {
        let start = Instant::now();
        let seconds = Duration::from_secs;
        let mut regulator = ProbeRegulator::new(
            start,
            RegulatorConfig {
                base_interval: seconds(10),
                backoff: 2.0,
                max_interval: seconds(30),
                min_duration: seconds(1),
                max_duration: seconds(5),
                growth: 3.0,
            },
        );
        for (congesting, interval, duration) in [
            (true, 20, 1),
            (true, 30, 1),
            (false, 10, 3),
            (false, 10, 5),
            (true, 20, 1),
        ] {
            regulator.finished(start, congesting);
            assert!(!regulator.may_probe(start + seconds(interval - 1)));
            assert!(regulator.may_probe(start + seconds(interval)));
            assert_eq!(regulator.duration(), seconds(duration));
        }
    }
}
