//! When a down track asks for a key frame.

use std::time::{Duration, Instant};

/// Least and greatest time between two requests for the same key frame.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(1));

/// Paces the requests of one down track: the first at once, the next after two round trips within
/// [`RETRY`]. The receiver's own throttle may refuse each of them, hence the repetition; a request
/// that it refused is made again as soon as it would pass.
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

    /// A request was made. `refused_until`: in vain, because of an earlier one.
    pub(crate) fn asked(&mut self, now: Instant, rtt: Duration, refused_until: Option<Instant>) {
        let interval = now + (2 * rtt).clamp(RETRY.0, RETRY.1);
        let passes = refused_until.filter(|&until| until > now);
        self.next = Some(passes.map_or(interval, |passes| passes.min(interval)));
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
            requests.asked(now, Duration::from_millis(rtt_ms), None);
            assert_eq!(requests.next(), now + Duration::from_millis(interval_ms));
            requests.ask_again_now();
            assert_eq!(requests.next(), now);
        }
    }

    #[test]
    fn a_refused_request_is_made_again_when_it_passes() {
        let now = Instant::now();
        let ms = Duration::from_millis;
        for (passes_ms, next_ms) in [(30, 30), (200, 200), (700, 200), (0, 200)] {
            let mut requests = KeyFrameRequests::new(now);
            requests.asked(now, ms(70), Some(now + ms(passes_ms)));
            assert_eq!(requests.next(), now + ms(next_ms), "{passes_ms} ms");
        }
    }
}
