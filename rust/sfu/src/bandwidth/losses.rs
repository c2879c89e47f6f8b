//! Whether packets that were sent again are asked for once more: then the connection loses more than
//! it should.

use std::time::{Duration, Instant};

/// When lost packets mean congestion.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LossConfig {
    /// Requests are counted for so long before they mean something; zero: they never do.
    pub window_min: Duration,
    /// After this time counting begins anew; zero: it goes on.
    pub window_max: Duration,
    /// Share of repeated requests among packets above which there is congestion.
    pub threshold: f64,
}

impl LossConfig {
    pub(crate) const PROBE: Self = Self {
        window_min: Duration::from_millis(500),
        window_max: Duration::from_secs(1),
        threshold: 0.04,
    };

    pub(crate) const NORMAL: Self = Self {
        window_min: Duration::from_secs(2),
        window_max: Duration::from_secs(3),
        threshold: 0.08,
    };
}

#[derive(Debug)]
pub(crate) struct LossTracker {
    config: LossConfig,
    /// When the first repeated request came.
    began: Option<Instant>,
    packets: u64,
    repeated: u64,
}

impl LossTracker {
    pub(crate) fn new(config: LossConfig) -> Self {
        Self {
            config,
            began: None,
            packets: 0,
            repeated: 0,
        }
    }

    /// So many packets were sent since the last call, and so many asked for repeatedly.
    pub(crate) fn add(&mut self, now: Instant, packets: u64, repeated: u64) {
        let age = |began| now.saturating_duration_since(began);
        let window = self.config.window_max;
        if !window.is_zero() && self.began.is_some_and(|began| age(began) > window) {
            *self = Self::new(self.config);
        }
        if self.began.is_none() && repeated > 0 {
            self.began = Some(now);
        }
        if self.began.is_some() {
            self.packets += packets;
            self.repeated += repeated;
        }
    }

    /// Share of repeated requests, 0 to 1.
    pub(crate) fn ratio(&self) -> f64 {
        if self.packets == 0 {
            return 0.0;
        }
        (self.repeated as f64 / self.packets as f64).min(1.0)
    }

    pub(crate) fn is_triggered(&self, now: Instant) -> bool {
        let age = |began| now.saturating_duration_since(began);
        let window = self.config.window_min;
        let long_enough = self.began.is_some_and(|began| age(began) > window);
        !window.is_zero() && long_enough && self.ratio() > self.config.threshold
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_requests_count_from_the_first_for_two_to_three_seconds() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut losses = LossTracker::new(LossConfig::NORMAL);
        losses.add(at(0), 1000, 0);
        assert_eq!(losses.ratio(), 0.0);
        for (ms, triggered) in [(1000, false), (2000, false), (3000, false), (3001, true)] {
            losses.add(at(ms), 100, 10);
            assert_eq!(losses.is_triggered(at(ms)), triggered, "{ms} ms");
        }
        assert_eq!(losses.ratio(), 0.1);
        losses.add(at(4001), 100, 0);
        assert_eq!(losses.ratio(), 0.0);
    }

    #[test]
    fn a_window_of_zero_never_ends_or_never_counts() {
        let start = Instant::now();
        let late = start + Duration::from_secs(60);
        for (window_min, window_max, triggered) in [(1, 0, true), (0, 0, false), (1, 3, false)] {
            let mut losses = LossTracker::new(LossConfig {
                window_min: Duration::from_secs(window_min),
                window_max: Duration::from_secs(window_max),
                ..LossConfig::NORMAL
            });
            losses.add(start, 100, 50);
            losses.add(late, 1, 0);
            assert_eq!(losses.is_triggered(late), triggered);
        }
    }

    #[test]
    fn few_are_no_congestion() {
        let start = Instant::now();
        let mut losses = LossTracker::new(LossConfig::PROBE);
        losses.add(start, 100, 4);
        assert!(!losses.is_triggered(start + Duration::from_millis(600)));
        losses.add(start, 0, 1);
        assert!(losses.is_triggered(start + Duration::from_millis(600)));
    }
}
