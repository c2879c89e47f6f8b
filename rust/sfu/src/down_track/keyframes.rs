//! When a down track asks for a key frame.

use std::time::{Duration, Instant};

/// Least and greatest time between two requests for the same key frame.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(1));

/// Paces the requests of one down track: the first at once, the next after two round trips within
/// [`RETRY`]. The receiver's own throttle may refuse each of them, hence the repetition.
#[derive(Debug)]
pub(crate) struct KeyFrameRequests {
    next: Option<Instant>,
    created: Instant,
}

impl KeyFrameRequests {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            next: None,
            created: now,
        }
    }

    /// When the next request is due, if there is something to ask for.
    pub(crate) fn next(&self) -> Instant {
        self.next.unwrap_or(self.created)
    }

    /// The situation changed: do not wait for the rest of the interval.
    pub(crate) fn ask_again_now(&mut self) {
        self.next = None;
    }

    /// A request was made.
    pub(crate) fn asked(&mut self, now: Instant, rtt: Duration) {
        self.next = Some(now + (2 * rtt).clamp(RETRY.0, RETRY.1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_two_round_trips_within_bounds() {
        let now = Instant::now();
        for (rtt_ms, interval_ms) in [(1, 200), (150, 300), (900, 1000)] {
            let mut requests = KeyFrameRequests::new(now);
            assert_eq!(requests.next(), now);
            requests.asked(now, Duration::from_millis(rtt_ms));
            assert_eq!(requests.next(), now + Duration::from_millis(interval_ms));
            requests.ask_again_now();
            assert_eq!(requests.next(), now);
        }
    }
}
