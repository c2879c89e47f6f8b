//! How often a publisher is asked for key frames.

use std::time::{Duration, Instant};

/// Least time between two requests. The first passes at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Throttle {
    interval: Duration,
    last: Option<Instant>,
}

impl Throttle {
    pub(crate) fn new(interval: Duration) -> Self {
        Self {
            interval,
            last: None,
        }
    }

    /// Whether a request may pass now; if so, the next has to wait.
    pub(crate) fn allow(&mut self, now: Instant) -> bool {
        let due = self
            .last
            .is_none_or(|last| now.saturating_duration_since(last) >= self.interval);
        if due {
            self.last = Some(now);
        }
        due
    }

    /// When the next request may pass; `None`: at any time.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.last.map(|last| last + self.interval)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_at_once_then_by_interval() {
        let start = Instant::now();
        let mut throttle = Throttle::new(Duration::from_millis(500));
        let table = [
            (0, true),
            (1, false),
            (499, false),
            (500, true),
            (999, false),
            (1000, true),
        ];
        for (ms, expected) in table {
            assert_eq!(
                throttle.allow(start + Duration::from_millis(ms)),
                expected,
                "{ms} ms"
            );
        }
    }
}
