//! Deciding which missing packets to ask for, and when.
//!
//! The constants are LiveKit's (mediatransportutil `pkg/nack`): a packet is asked for 20 ms after
//! its absence was noticed, in case it was only reordered, then every round trip times 1.25 for
//! each try before, between 20 and 400 ms, five times in all.

use std::time::{Duration, Instant};

use crate::seq::ExtSeq;

/// Round trip that is assumed before one was measured.
pub const DEFAULT_RTT: Duration = Duration::from_millis(70);

/// Most packets that are missed at a time; the oldest are given up for newer ones.
pub const MAX_OUTSTANDING: usize = 100;

/// Times a packet is asked for.
pub const MAX_TRIES: u8 = 5;

/// Time before asking first, and least time between asking.
pub const MIN_INTERVAL: Duration = Duration::from_millis(20);

/// Greatest time between asking.
pub const MAX_INTERVAL: Duration = Duration::from_millis(400);

/// Age at which a packet is given up whatever else.
pub const MAX_AGE: Duration = Duration::from_secs(120);

/// Growth of the interval with each try.
const BACKOFF: f64 = 1.25;

/// Weight of a new round trip measurement in the smoothed one.
const RTT_SMOOTHING: f64 = 0.75;

/// A packet that is missing.
#[derive(Clone, Copy, Debug)]
struct Missing {
    sequence: ExtSeq,
    noticed: Instant,
    due: Instant,
    tries: u8,
}

/// What a generator has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NackStats {
    /// Requests made: sequence numbers, each as often as it was asked for.
    pub requested: u64,
    /// Packets that arrived after they had been asked for.
    pub recovered: u64,
    /// Packets that were given up.
    pub abandoned: u64,
}

/// The missing packets of one stream. It allocates only when created.
#[derive(Debug)]
pub struct NackGenerator {
    /// In order of sequence numbers.
    missing: Vec<Missing>,
    highest: Option<ExtSeq>,
    rtt: Duration,
    measured: bool,
    stats: NackStats,
}

impl Default for NackGenerator {
    fn default() -> Self {
        Self::new()
    }
}

impl NackGenerator {
    /// A generator for a stream of which no packet was seen.
    pub fn new() -> Self {
        Self {
            missing: Vec::with_capacity(MAX_OUTSTANDING),
            highest: None,
            rtt: DEFAULT_RTT,
            measured: false,
            stats: NackStats::default(),
        }
    }

    /// Takes a measured round trip, which is smoothed; zero is no measurement.
    pub fn set_rtt(&mut self, rtt: Duration) {
        if rtt.is_zero() {
            return;
        }
        self.rtt = if self.measured {
            rtt.mul_f64(RTT_SMOOTHING) + self.rtt.mul_f64(1.0 - RTT_SMOOTHING)
        } else {
            rtt
        };
        self.measured = true;
    }

    /// The round trip that intervals are based on.
    pub fn rtt(&self) -> Duration {
        self.rtt
    }

    /// Notes that `sequence` arrived: it is no longer missing, and what was skipped before it is.
    pub fn received(&mut self, now: Instant, sequence: ExtSeq) {
        let Some(highest) = self.highest else {
            self.highest = Some(sequence);
            return;
        };
        if sequence <= highest {
            if let Some(missing) = self.remove(sequence)
                && missing.tries > 0
            {
                self.stats.recovered += 1;
            }
            return;
        }
        self.highest = Some(sequence);
        let skipped = sequence - highest - 1;
        let first = highest + 1 + skipped.saturating_sub(MAX_OUTSTANDING as u64);
        let new = (sequence - first) as usize;
        let excess = (self.missing.len() + new).saturating_sub(MAX_OUTSTANDING);
        self.missing.drain(..excess);
        self.stats.abandoned += excess as u64 + skipped.saturating_sub(MAX_OUTSTANDING as u64);
        self.missing
            .extend((first..sequence).map(|sequence| Missing {
                sequence,
                noticed: now,
                due: now + MIN_INTERVAL,
                tries: 0,
            }));
    }

    /// Gives up everything missing up to `sequence`: for example what precedes a key frame.
    pub fn abandon_up_to(&mut self, sequence: ExtSeq) {
        let count = self
            .missing
            .partition_point(|missing| missing.sequence <= sequence);
        self.missing.drain(..count);
        self.stats.abandoned += count as u64;
    }

    /// Replaces the contents of `out` by the sequence numbers to ask for now, in ascending order.
    pub fn poll(&mut self, now: Instant, out: &mut Vec<u16>) {
        out.clear();
        let rtt = self.rtt;
        let stats = &mut self.stats;
        self.missing.retain_mut(|missing| {
            if missing.due > now {
                return true;
            }
            if missing.tries >= MAX_TRIES || now.duration_since(missing.noticed) > MAX_AGE {
                stats.abandoned += 1;
                return false;
            }
            out.push(missing.sequence as u16);
            stats.requested += 1;
            missing.due = now + interval(rtt, missing.tries);
            missing.tries += 1;
            true
        });
    }

    /// When `poll` has something to do next.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.missing.iter().map(|missing| missing.due).min()
    }

    /// Number of packets that are missing.
    pub fn outstanding(&self) -> usize {
        self.missing.len()
    }

    /// What was done so far.
    pub fn stats(&self) -> NackStats {
        self.stats
    }

    fn remove(&mut self, sequence: ExtSeq) -> Option<Missing> {
        let at = self
            .missing
            .binary_search_by_key(&sequence, |missing| missing.sequence)
            .ok()?;
        Some(self.missing.remove(at))
    }
}

/// Time to the next request after one that followed `tries` others.
fn interval(rtt: Duration, tries: u8) -> Duration {
    rtt.mul_f64(BACKOFF.powi(i32::from(tries)))
        .clamp(MIN_INTERVAL, MAX_INTERVAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Polls every millisecond and returns `(ms, sequence numbers)` of each request.
    fn requests(generator: &mut NackGenerator, start: Instant, ms: u32) -> Vec<(u32, Vec<u16>)> {
        let mut out = Vec::new();
        let mut requests = Vec::new();
        for at in 0..=ms {
            generator.poll(start + MS * at, &mut out);
            if !out.is_empty() {
                requests.push((at, out.clone()));
            }
        }
        requests
    }

    #[test]
    fn schedules_by_round_trip() {
        let cases: [(u64, [u32; 5]); 4] = [
            // (rtt in ms, times of the five requests in ms)
            (0, [20, 90, 178, 288, 425]),
            (10, [20, 40, 60, 80, 100]),
            (100, [20, 120, 245, 402, 598]),
            (1000, [20, 420, 820, 1220, 1620]),
        ];
        for (rtt, expected) in cases {
            let start = Instant::now();
            let mut generator = NackGenerator::new();
            generator.set_rtt(Duration::from_millis(rtt));
            generator.received(start, 10);
            generator.received(start, 12);
            let times: Vec<_> = requests(&mut generator, start, 3000)
                .into_iter()
                .map(|(at, sequences)| {
                    assert_eq!(sequences, [11]);
                    at
                })
                .collect();
            assert_eq!(times, expected, "rtt {rtt} ms");
            assert_eq!(generator.outstanding(), 0);
            let stats = NackStats {
                requested: 5,
                recovered: 0,
                abandoned: 1,
            };
            assert_eq!(generator.stats(), stats);
        }
    }

    #[test]
    fn a_reordered_packet_is_not_asked_for() {
        let start = Instant::now();
        let mut generator = NackGenerator::new();
        for sequence in [1, 2, 5, 4, 3] {
            generator.received(start, sequence);
        }
        assert_eq!(requests(&mut generator, start, 100), []);
        assert_eq!(generator.stats(), NackStats::default());
        assert_eq!(generator.next_deadline(), None);
    }

    #[test]
    fn a_recovered_packet_is_not_asked_for_again() {
        let start = Instant::now();
        let mut generator = NackGenerator::new();
        generator.received(start, 65_534);
        generator.received(start, 65_538);
        assert_eq!(generator.next_deadline(), Some(start + MIN_INTERVAL));
        let all = (20, vec![65_535, 0, 1]);
        assert_eq!(requests(&mut generator, start, 50), [all]);
        generator.received(start + MS * 60, 65_536);
        let rest = (90, vec![65_535, 1]);
        assert_eq!(requests(&mut generator, start, 100), [rest]);
        assert_eq!(generator.stats().recovered, 1);
    }

    #[test]
    fn a_duplicate_or_old_packet_changes_nothing() {
        let start = Instant::now();
        let mut generator = NackGenerator::new();
        for sequence in [100, 100, 99, 3] {
            generator.received(start, sequence);
        }
        assert_eq!(generator.outstanding(), 0);
        generator.received(start, 101);
        assert_eq!(generator.outstanding(), 0);
    }

    #[test]
    fn keeps_the_newest_hundred() {
        let start = Instant::now();
        let mut generator = NackGenerator::new();
        generator.received(start, 0);
        generator.received(start, 61);
        assert_eq!(
            (generator.outstanding(), generator.stats().abandoned),
            (60, 0)
        );
        generator.received(start, 122);
        assert_eq!(
            (generator.outstanding(), generator.stats().abandoned),
            (100, 20)
        );
        let mut out = Vec::new();
        generator.poll(start + MIN_INTERVAL, &mut out);
        assert_eq!((out[0], out[99]), (21, 121));
        generator.received(start, 10_123);
        assert_eq!(generator.outstanding(), MAX_OUTSTANDING);
        assert_eq!(generator.stats().abandoned, 20 + 10_000);
        generator.poll(start + MIN_INTERVAL, &mut out);
        assert_eq!((out[0], out[99]), (10_023, 10_122));
    }

    #[test]
    fn abandons_what_precedes_a_sequence_number() {
        let start = Instant::now();
        let mut generator = NackGenerator::new();
        generator.received(start, 0);
        generator.received(start, 10);
        generator.abandon_up_to(6);
        let rest = (20, vec![7, 8, 9]);
        assert_eq!(requests(&mut generator, start, 20), [rest]);
        assert_eq!(generator.stats().abandoned, 6);
    }

    #[test]
    fn gives_up_after_two_minutes_without_a_poll() {
        let start = Instant::now();
        let mut generator = NackGenerator::new();
        generator.received(start, 0);
        generator.received(start, 2);
        let mut out = vec![7];
        generator.poll(start + MAX_AGE + MS, &mut out);
        assert!(out.is_empty());
        assert_eq!(generator.outstanding(), 0);
    }

    #[test]
    fn round_trips_are_smoothed() {
        let mut generator = NackGenerator::new();
        assert_eq!(generator.rtt(), DEFAULT_RTT);
        generator.set_rtt(MS * 100);
        assert_eq!(generator.rtt(), MS * 100);
        generator.set_rtt(MS * 200);
        assert_eq!(generator.rtt(), MS * 175);
        generator.set_rtt(Duration::ZERO);
        assert_eq!(generator.rtt(), MS * 175);
    }
}
