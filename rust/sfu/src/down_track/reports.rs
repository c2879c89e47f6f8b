//! What the subscriber's receiver reports say (RFC 3550 6.4).

use std::time::{Duration, Instant};

use rtp::ntp;
use rtp::rtcp::ReportBlock;

use super::stats::DownTrackStats;

/// Round trip that is assumed before one was measured (LiveKit `sequencer.go`).
const DEFAULT_RTT: Duration = Duration::from_millis(70);

/// Sender reports that are remembered to measure round trips by.
const REMEMBERED: usize = 4;

/// The reports of one down track, in both directions.
#[derive(Debug)]
pub(crate) struct Reports {
    /// Middle 32 bits of the NTP time of the last sender reports, and when they were sent. The
    /// publisher's clock is in them, so the round trip is measured by the local one.
    sent: [(u32, Instant); REMEMBERED],
    sent_count: usize,
    rtt: Option<Duration>,
    block: ReportBlock,
    jitter: Duration,
    plis: u64,
}

impl Reports {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            sent: [(0, now); REMEMBERED],
            sent_count: 0,
            rtt: None,
            block: ReportBlock::default(),
            jitter: Duration::ZERO,
            plis: 0,
        }
    }

    /// The measured round trip, or a plausible one.
    pub(crate) fn rtt(&self) -> Duration {
        self.rtt.unwrap_or(DEFAULT_RTT)
    }

    /// The jitter of the subscriber's last report.
    pub(crate) fn jitter(&self) -> Duration {
        self.jitter
    }

    pub(crate) fn set_rtt(&mut self, rtt: Duration) {
        self.rtt = Some(rtt);
    }

    pub(crate) fn count_pli(&mut self) {
        self.plis += 1;
    }

    /// A sender report with NTP time `ntp` was sent.
    pub(crate) fn sender_report_sent(&mut self, now: Instant, ntp: u64) {
        self.sent[self.sent_count % REMEMBERED] = (ntp::middle_32(ntp), now);
        self.sent_count += 1;
    }

    pub(crate) fn handle_report_block(
        &mut self,
        now: Instant,
        block: &ReportBlock,
        clock_rate: u32,
    ) {
        self.block = *block;
        let jitter_ns = u64::from(block.jitter) * 1_000_000_000 / u64::from(clock_rate.max(1));
        self.jitter = Duration::from_nanos(jitter_ns);
        let known = self.sent.iter().take(self.sent_count);
        let Some((_, sent)) = known.copied().find(|&(ntp, _)| ntp == block.last_sr) else {
            return;
        };
        let delay = ntp::to_duration(u64::from(block.delay_since_last_sr) << 16);
        if let Some(rtt) = now.saturating_duration_since(sent).checked_sub(delay) {
            self.rtt = Some(rtt);
        }
    }

    pub(crate) fn fill(&self, stats: &mut DownTrackStats) {
        stats.packets_lost = i64::from(self.block.cumulative_lost);
        stats.fraction_lost = f64::from(self.block.fraction_lost) / 256.0;
        stats.jitter = self.jitter;
        stats.rtt = self.rtt;
        stats.plis_received = self.plis;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_by_the_local_clock() {
        let start = Instant::now();
        let ms = Duration::from_millis;
        let mut reports = Reports::new(start);
        assert_eq!(reports.rtt(), DEFAULT_RTT);
        for report in 0..6 {
            reports.sender_report_sent(
                start + ms(report * 1000),
                0xdead_beef_0000_0000 + (report << 32),
            );
        }
        let block = |last_sr, delay| ReportBlock {
            last_sr,
            delay_since_last_sr: ntp::delay_32(delay),
            ..ReportBlock::default()
        };
        // Report 5 was sent at 5 s, waited 250 ms, and its answer came 40 ms later than that.
        reports.handle_report_block(
            start + ms(5290),
            &block(0xbeef_0000 + (5 << 16), ms(250)),
            90_000,
        );
        let error = reports.rtt().abs_diff(ms(40));
        assert!(error < ms(1), "{error:?}");
        // Report 0 is forgotten; nobody knows what 0 refers to.
        for last_sr in [0xbeef_0000, 0] {
            let before = reports.rtt();
            reports.handle_report_block(start + ms(9000), &block(last_sr, ms(0)), 90_000);
            assert_eq!(reports.rtt(), before);
        }
    }

    #[test]
    fn fills_the_statistics() {
        let now = Instant::now();
        let mut reports = Reports::new(now);
        let block = ReportBlock {
            fraction_lost: 64,
            cumulative_lost: 12,
            jitter: 900,
            ..ReportBlock::default()
        };
        reports.handle_report_block(now, &block, 90_000);
        let mut stats = DownTrackStats::default();
        reports.fill(&mut stats);
        assert_eq!((stats.packets_lost, stats.fraction_lost), (12, 0.25));
        assert_eq!((stats.jitter, stats.rtt), (Duration::from_millis(10), None));
    }
}
