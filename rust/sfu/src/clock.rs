//! The publisher's clock, as seen through its sender reports.

use std::time::{Duration, Instant};

use rtp::ntp;

/// A report further than this from what the earlier ones said means that the clock was set.
const STEP: Duration = Duration::from_secs(1);

/// How fast the estimate follows reports that were longer on their way than the best one, as a
/// fraction of the time between them: more than two quartz clocks drift apart.
const DRIFT: u32 = 2000;

/// One sender report of one layer (RFC 3550 6.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SenderReport {
    /// The publisher's NTP clock.
    pub(crate) ntp: u64,
    /// The same moment on the layer's RTP clock.
    pub(crate) rtp_timestamp: u32,
    /// When it arrived.
    pub(crate) arrival: Instant,
}

impl SenderReport {
    /// The layer's RTP timestamp at `ntp`.
    pub(crate) fn timestamp_at(&self, ntp: u64, clock_rate: u32) -> u32 {
        self.rtp_timestamp
            .wrapping_add(ntp_ticks(ntp, self.ntp, clock_rate))
    }

    /// What `timestamp` of this report's layer is on the RTP clock of `other`'s layer.
    pub(crate) fn map_to(&self, other: &Self, timestamp: u32, clock_rate: u32) -> u32 {
        let since_report = timestamp.wrapping_sub(self.rtp_timestamp);
        other
            .timestamp_at(self.ntp, clock_rate)
            .wrapping_add(since_report)
    }
}

/// Ticks from `from` to `to`, wrapping.
fn ntp_ticks(to: u64, from: u64, clock_rate: u32) -> u32 {
    let difference = i128::from(to.wrapping_sub(from) as i64);
    ((difference * i128::from(clock_rate)) >> 32) as u32
}

/// Relates the local clock to the NTP clock of one publisher.
///
/// There is one for all tracks of a publisher (a *clock group*): whatever way a report took, all
/// tracks and layers are then placed on the same line, and lips stay in sync. The reports that
/// arrived fastest decide, so that the jitter of single reports does not show.
#[derive(Clone, Copy, Debug, Default)]
pub struct PublisherClock {
    base: Option<(Instant, u64)>,
}

impl PublisherClock {
    /// A clock of which nothing is known.
    pub fn new() -> Self {
        Self::default()
    }

    /// A sender report with NTP time `ntp` arrived.
    pub fn observe(&mut self, now: Instant, ntp: u64) {
        let (Some((base, _)), Some(expected)) = (self.base, self.ntp_at(now)) else {
            self.base = Some((now, ntp));
            return;
        };
        let ahead = ntp.wrapping_sub(expected) as i64;
        let stepped = ahead.unsigned_abs() > ntp::from_duration(STEP);
        let estimate = if ahead >= 0 || stepped {
            ntp
        } else {
            let drift = ntp::from_duration(now.saturating_duration_since(base) / DRIFT);
            expected.wrapping_sub(ahead.unsigned_abs().min(drift))
        };
        self.base = Some((now, estimate));
    }

    /// The publisher's NTP time now; `None` before the first report.
    pub fn ntp_at(&self, now: Instant) -> Option<u64> {
        let (base, ntp) = self.base?;
        Some(match now.checked_duration_since(base) {
            Some(later) => ntp.wrapping_add(ntp::from_duration(later)),
            None => ntp.wrapping_sub(ntp::from_duration(base - now)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn report(ntp_ms: u64, rtp_timestamp: u32, arrival: Instant) -> SenderReport {
        SenderReport {
            ntp: ntp::from_duration(Duration::from_millis(ntp_ms)),
            rtp_timestamp,
            arrival,
        }
    }

    #[test]
    fn maps_between_the_clocks_of_two_layers() {
        let now = Instant::now();
        let (low, high) = (report(10_000, 500, now), report(12_000, 1_000_000, now));
        // 100 ms after `high`'s report, 2,100 ms after `low`'s.
        assert_eq!(high.map_to(&low, 1_009_000, 90_000), 500 + 189_000);
        assert_eq!(low.map_to(&high, 500 + 189_000, 90_000), 1_009_000);
        // Before either report, over the wrap.
        assert_eq!(
            low.map_to(&high, 500u32.wrapping_sub(90_000), 90_000),
            1_000_000 - 270_000
        );
    }

    #[test]
    fn the_fastest_report_decides() {
        let start = Instant::now();
        let mut clock = PublisherClock::new();
        assert_eq!(clock.ntp_at(start), None);
        let second = |s: u64| ntp::from_duration(Duration::from_secs(s));
        clock.observe(start + 40 * MS, second(100));
        clock.observe(start + 1010 * MS, second(101));
        clock.observe(start + 2090 * MS, second(102));
        let error = second(103).wrapping_sub(clock.ntp_at(start + 3010 * MS).unwrap());
        assert!(ntp::to_duration(error) < MS, "{error}");
    }

    #[test]
    fn a_clock_that_was_set_is_followed_at_once() {
        let start = Instant::now();
        let mut clock = PublisherClock::new();
        let second = |s: u64| ntp::from_duration(Duration::from_secs(s));
        clock.observe(start, second(100));
        clock.observe(start + 1000 * MS, second(50));
        assert_eq!(clock.ntp_at(start + 1000 * MS), Some(second(50)));
    }
}
