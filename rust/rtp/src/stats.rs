//! Reception statistics of one stream (RFC 3550 6.4, A.1, A.3, A.8).

use std::time::{Duration, Instant};

use crate::ntp;
use crate::rtcp::ReportBlock;
use crate::seq::ExtSeq;

/// Counts the packets of one stream and fills its report blocks.
///
/// Packets that arrive again must not be given to it, or loss comes out too low; count them by
/// [`Self::duplicate`].
#[derive(Clone, Debug)]
pub struct ReceptionStats {
    clock_rate: u32,
    epoch: Instant,
    /// First and highest sequence number.
    range: Option<(ExtSeq, ExtSeq)>,
    packets: u64,
    bytes: u64,
    duplicates: u64,
    /// Expected and received packets at the last report.
    reported: (u64, u64),
    /// Transit time of the last packet, in RTP time units, wrapping.
    transit: Option<u32>,
    /// Interarrival jitter, in 1/16 RTP time units.
    jitter: u32,
    /// NTP time of the last sender report, and when it arrived.
    last_sr: Option<(u64, Instant)>,
}

impl ReceptionStats {
    /// Statistics of a stream with a clock of `clock_rate` Hz. `now` is only a reference.
    pub fn new(clock_rate: u32, now: Instant) -> Self {
        Self {
            clock_rate,
            epoch: now,
            range: None,
            packets: 0,
            bytes: 0,
            duplicates: 0,
            reported: (0, 0),
            transit: None,
            jitter: 0,
            last_sr: None,
        }
    }

    /// Notes a packet of `bytes` bytes. `jitter` says whether its arrival tells something about
    /// the network: a retransmission's does not.
    #[inline]
    pub fn received(
        &mut self,
        now: Instant,
        sequence: ExtSeq,
        rtp_timestamp: u32,
        bytes: usize,
        jitter: bool,
    ) {
        self.range = Some(match self.range {
            None => (sequence, sequence),
            Some((first, highest)) => (first.min(sequence), highest.max(sequence)),
        });
        self.packets += 1;
        self.bytes += bytes as u64;
        if jitter {
            let arrival = self.rtp_units(now.saturating_duration_since(self.epoch));
            self.update_jitter(arrival.wrapping_sub(rtp_timestamp));
        }
    }

    /// Notes a packet that had arrived before.
    pub fn duplicate(&mut self) {
        self.duplicates += 1;
    }

    /// Notes a sender report that carried `ntp`.
    pub fn sender_report(&mut self, now: Instant, ntp: u64) {
        self.last_sr = Some((ntp, now));
    }

    /// A report block on what arrived since the last one (RFC 3550 A.3), or `None` if nothing ever
    /// did.
    pub fn report_block(&mut self, now: Instant, ssrc: u32) -> Option<ReportBlock> {
        let (_, highest) = self.range?;
        let now_counts = (self.expected(), self.packets);
        // A packet from before the first one moves the beginning, hence the signs.
        let expected = now_counts.0.wrapping_sub(self.reported.0) as i64;
        let lost = expected - now_counts.1.wrapping_sub(self.reported.1) as i64;
        self.reported = now_counts;
        let fraction_lost = if expected > 0 && lost > 0 {
            (lost * 256 / expected).min(255) as u8
        } else {
            0
        };
        let (last_sr, delay_since_last_sr) = match self.last_sr {
            None => (0, 0),
            Some((ntp, at)) => (
                ntp::middle_32(ntp),
                ntp::delay_32(now.saturating_duration_since(at)),
            ),
        };
        Some(ReportBlock {
            ssrc,
            fraction_lost,
            cumulative_lost: self.lost().clamp(-0x80_0000, 0x7f_ffff) as i32,
            // The unwrapper starts at one wrap; RTCP counts from zero.
            highest_sequence: highest.wrapping_sub(1 << 16) as u32,
            jitter: self.jitter >> 4,
            last_sr,
            delay_since_last_sr,
        })
    }

    /// Packets received, without duplicates.
    pub fn packets(&self) -> u64 {
        self.packets
    }

    /// Bytes received, without duplicates.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Packets that arrived again.
    pub fn duplicates(&self) -> u64 {
        self.duplicates
    }

    /// Packets between the first and the last that have not arrived.
    pub fn lost(&self) -> i64 {
        self.expected() as i64 - self.packets as i64
    }

    /// Interarrival jitter.
    pub fn jitter(&self) -> Duration {
        if self.clock_rate == 0 {
            return Duration::ZERO;
        }
        let nanos = u64::from(self.jitter >> 4) * 1_000_000_000 / u64::from(self.clock_rate);
        Duration::from_nanos(nanos)
    }

    fn expected(&self) -> u64 {
        self.range.map_or(0, |(first, highest)| highest - first + 1)
    }

    /// The integer form of RFC 3550 A.8: a running mean with gain 1/16, scaled by 16.
    fn update_jitter(&mut self, transit: u32) {
        if let Some(last) = self.transit.replace(transit) {
            let difference = (transit.wrapping_sub(last) as i32).unsigned_abs();
            let decay = (self.jitter + 8) >> 4;
            self.jitter = self.jitter.saturating_add(difference) - decay;
        }
    }

    /// A duration in RTP time units, wrapping.
    fn rtp_units(&self, duration: Duration) -> u32 {
        let micros = duration.as_micros() as u64;
        (micros.wrapping_mul(u64::from(self.clock_rate)) / 1_000_000) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seq::SeqUnwrapper;

    const MS: Duration = Duration::from_millis(1);

    fn receive(stats: &mut ReceptionStats, now: Instant, sequences: impl IntoIterator<Item = u64>) {
        for sequence in sequences {
            stats.received(now, sequence, 0, 100, false);
        }
    }

    #[test]
    fn loss_since_the_last_report() {
        let now = Instant::now();
        let mut stats = ReceptionStats::new(90_000, now);
        assert_eq!(stats.report_block(now, 7), None);
        // (received, fraction lost in 1/256, cumulative lost)
        let cases: [(Vec<u64>, u8, i32); 5] = [
            ((100..110).collect(), 0, 0),
            (vec![110, 111, 112, 119], 153, 6),
            (vec![113, 114, 115], 0, 3),
            (vec![], 0, 3),
            (vec![121], 128, 4),
        ];
        for (sequences, fraction_lost, cumulative_lost) in cases {
            receive(&mut stats, now, sequences.clone());
            let block = stats.report_block(now, 7).unwrap();
            let loss = (block.fraction_lost, block.cumulative_lost);
            assert_eq!(loss, (fraction_lost, cumulative_lost), "{sequences:?}");
        }
        assert_eq!((stats.packets(), stats.bytes()), (18, 1800));
        stats.duplicate();
        assert_eq!(stats.duplicates(), 1);
    }

    #[test]
    fn total_loss_saturates() {
        let now = Instant::now();
        let mut stats = ReceptionStats::new(90_000, now);
        receive(&mut stats, now, [0]);
        stats.report_block(now, 7).unwrap();
        receive(&mut stats, now, [1 << 30]);
        let block = stats.report_block(now, 7).unwrap();
        assert_eq!(block.fraction_lost, 255);
        assert_eq!(block.cumulative_lost, 0x7f_ffff);
    }

    #[test]
    fn highest_sequence_counts_wraps_from_zero() {
        let now = Instant::now();
        let mut stats = ReceptionStats::new(90_000, now);
        let mut unwrapper = SeqUnwrapper::new();
        let mut highest = |sequence| {
            receive(&mut stats, now, [unwrapper.unwrap(sequence)]);
            stats.report_block(now, 7).unwrap().highest_sequence
        };
        assert_eq!(highest(65_535), 65_535);
        assert_eq!(highest(3), 0x1_0003);
    }

    #[test]
    fn jitter_of_even_arrivals_is_zero() {
        let start = Instant::now();
        let mut stats = ReceptionStats::new(48_000, start);
        for index in 0..100 {
            let timestamp = u32::MAX.wrapping_add(960 * index);
            stats.received(start + MS * 20 * index, index.into(), timestamp, 1, true);
        }
        assert_eq!(stats.jitter(), Duration::ZERO);
    }

    /// Arrivals alternate between on time and 10 ms late, so every transit time differs from the
    /// last by 480 units. The floating-point form of RFC 3550 6.4.1 gives the expected values.
    #[test]
    fn jitter_follows_the_running_mean() {
        let start = Instant::now();
        let mut stats = ReceptionStats::new(48_000, start);
        let mut expected = 0.0f64;
        for index in 0..200u32 {
            let late = MS * 10 * (index % 2);
            let arrival = start + MS * 20 * index + late;
            stats.received(arrival, index.into(), 960 * index, 1, true);
            if index > 0 {
                expected += (480.0 - expected) / 16.0;
            }
            let jitter = f64::from(stats.report_block(arrival, 7).unwrap().jitter);
            assert!(
                (jitter - expected).abs() <= 2.0,
                "{index}: {jitter} {expected}"
            );
        }
        assert!((expected - 480.0).abs() < 1.0);
        assert_eq!(stats.jitter().as_millis(), 9);
    }

    #[test]
    fn retransmissions_do_not_count_as_jitter() {
        let start = Instant::now();
        let mut stats = ReceptionStats::new(90_000, start);
        stats.received(start, 0, 0, 1, true);
        stats.received(start + MS * 500, 1, 0, 1, false);
        stats.received(start + MS * 20, 2, 1800, 1, true);
        assert_eq!(stats.jitter(), Duration::ZERO);
    }

    #[test]
    fn sender_reports_are_echoed() {
        let start = Instant::now();
        let mut stats = ReceptionStats::new(90_000, start);
        receive(&mut stats, start, [1]);
        let block = stats.report_block(start, 7).unwrap();
        assert_eq!((block.last_sr, block.delay_since_last_sr), (0, 0));
        stats.sender_report(start, 0x1234_5678_9abc_def0);
        let block = stats.report_block(start + MS * 500, 7).unwrap();
        assert_eq!(block.ssrc, 7);
        assert_eq!(block.last_sr, 0x5678_9abc);
        assert_eq!(block.delay_since_last_sr, 32_768);
    }

    #[test]
    fn extreme_jitter_saturates() {
        let start = Instant::now();
        let mut stats = ReceptionStats::new(90_000, start);
        for index in 0..100u32 {
            stats.received(start, index.into(), (index % 2) << 31, 1, true);
        }
        assert!(stats.report_block(start, 7).unwrap().jitter > 1 << 24);
    }
}
