//! Whether a connection is congested, what it carries then, and what probes find out.

use std::time::{Duration, Instant};

use super::losses::{LossConfig, LossTracker};
use super::regulator::ProbeRegulator;
use super::trend::{TrendConfig, TrendDetector};

/// A capacity that nothing has limited yet, in bits per second.
pub(crate) const UNLIMITED: u64 = 100_000_000;

/// Of repeatedly lost packets this share is taken off what is sent.
const LOSS_ATTENUATOR: f64 = 0.4;

/// A capacity above this share of what is sent changes nothing.
const USAGE_THRESHOLD: f64 = 0.95;

/// After a probe its effect is waited for: so many round trips, within limits.
const SETTLE_RTTS: u32 = 5;
const SETTLE_MIN: Duration = Duration::from_millis(250);
const SETTLE_MAX: Duration = Duration::from_secs(5);

/// Congestion so soon after a probe found more room shows that there is none.
const RELAPSE: Duration = Duration::from_secs(15);

const DEFAULT_RTT: Duration = Duration::from_millis(70);

/// What a finished probe found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProbeResult {
    /// More is too much.
    Congesting,
    /// More may be sent, if any was seen to arrive.
    Clear,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    Estimate,
    Loss,
}

#[derive(Clone, Copy, Debug)]
struct Probe {
    began: Instant,
    /// Bits per second that it sends.
    goal: u64,
    /// When its result is known; none while it is being sent.
    settled: Option<Instant>,
}

#[derive(Debug)]
pub(crate) struct Estimator {
    /// The last estimate and what was to be sent when it came, in bits per second.
    estimate: u64,
    expected: u64,
    /// What may be sent, in bits per second.
    capacity: u64,
    /// Nothing was sent for so long that the connection may carry anything by now: the next probe
    /// without congestion lifts `capacity`.
    outdated: bool,
    congested: bool,
    trend: TrendDetector,
    losses: LossTracker,
    regulator: ProbeRegulator,
    probe: Option<Probe>,
    /// When a probe found more room, and how often in a row that did not hold.
    raised: Option<Instant>,
    relapses: u32,
    rtt: Duration,
}

impl Estimator {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            estimate: 0,
            expected: 0,
            capacity: UNLIMITED,
            outdated: false,
            congested: false,
            trend: TrendDetector::new(TrendConfig::NORMAL),
            losses: LossTracker::new(LossConfig::NORMAL),
            regulator: ProbeRegulator::new(now),
            probe: None,
            raised: None,
            relapses: 0,
            rtt: DEFAULT_RTT,
        }
    }

    /// Begins anew: nothing limits the connection.
    pub(crate) fn reset(&mut self, now: Instant) {
        let (rtt, estimate) = (self.rtt, self.estimate);
        *self = Self {
            rtt,
            estimate,
            ..Self::new(now)
        };
    }

    /// Nothing was sent for long: no longer congested, as far as is known. What may be sent stays.
    pub(crate) fn forget_congestion(&mut self, now: Instant) {
        let capacity = self.capacity;
        self.reset(now);
        self.capacity = capacity;
        self.outdated = true;
    }

    pub(crate) fn set_rtt(&mut self, rtt: Duration) {
        self.rtt = rtt;
    }

    /// The subscriber's last estimate in bits per second, 0 before the first.
    pub(crate) fn estimate(&self) -> u64 {
        self.estimate
    }

    /// Bits per second that may be sent; [`UNLIMITED`] if nothing is known.
    pub(crate) fn capacity(&self) -> u64 {
        self.capacity
    }

    pub(crate) fn is_congested(&self) -> bool {
        self.congested
    }

    /// Takes an estimate of the subscriber, with what is meant to be sent to it and how many packets
    /// were sent, and repeatedly asked for, since the last. Returns whether that lowered the
    /// capacity, within which everything has to be brought.
    pub(crate) fn take(
        &mut self,
        now: Instant,
        estimate: u64,
        expected: u64,
        packets: u64,
        repeated: u64,
    ) -> bool {
        self.estimate = estimate;
        self.expected = expected;
        // A probe that went wrong stays so until it is over.
        if self.congested && self.probe.is_some() {
            return false;
        }
        self.trend.add(now, estimate);
        self.losses.add(now, packets, repeated);
        let Some(cause) = self.cause(now) else {
            self.congested = false;
            return false;
        };
        if self.probe.is_some() {
            self.congested = true;
            return false;
        }
        let lowered = self.lower_capacity(cause);
        self.congested |= lowered;
        if lowered {
            self.note_relapse(now);
        }
        lowered
    }

    fn cause(&self, now: Instant) -> Option<Cause> {
        if self.trend.is_falling() {
            return Some(Cause::Estimate);
        }
        self.losses.is_triggered(now).then_some(Cause::Loss)
    }

    fn lower_capacity(&mut self, cause: Cause) -> bool {
        let carried = match cause {
            Cause::Estimate => self.estimate,
            Cause::Loss => share(self.expected, 1.0 - LOSS_ATTENUATOR * self.losses.ratio()),
        };
        let capacity = carried.min(self.estimate);
        let known = capacity == self.capacity && !self.outdated;
        if capacity > share(self.expected, USAGE_THRESHOLD) || known {
            return false;
        }
        self.capacity = capacity;
        self.outdated = false;
        true
    }

    fn note_relapse(&mut self, now: Instant) {
        let Some(raised) = self.raised.take() else {
            return;
        };
        if now.saturating_duration_since(raised) > RELAPSE {
            self.relapses = 0;
            return;
        }
        self.relapses += 1;
        self.regulator.relapsed(now, self.relapses);
    }

    // -- probes ---------------------------------------------------------------------------------

    pub(crate) fn may_probe(&self, now: Instant) -> bool {
        !self.congested && self.probe.is_none() && self.regulator.may_probe(now)
    }

    /// How long the next probe lasts.
    pub(crate) fn probe_duration(&self) -> Duration {
        self.regulator.duration()
    }

    /// A probe begins: `goal` bits per second are sent instead of `expected`.
    pub(crate) fn probe_began(&mut self, now: Instant, expected: u64, goal: u64) {
        self.expected = expected;
        self.probe = Some(Probe {
            began: now,
            goal,
            settled: None,
        });
        self.observe_anew(true);
    }

    /// Nothing more is sent for the probe.
    pub(crate) fn probe_ended(&mut self, now: Instant) {
        if let Some(probe) = &mut self.probe {
            let settle = (self.rtt * SETTLE_RTTS).clamp(SETTLE_MIN, SETTLE_MAX);
            probe.settled.get_or_insert(now + settle);
        }
    }

    /// Whether the running probe has shown that its goal can be sent.
    pub(crate) fn probe_reached(&self) -> bool {
        let sending = self.probe.filter(|probe| probe.settled.is_none());
        let reached = sending.is_some_and(|probe| self.trend.highest() > probe.goal);
        reached && !self.congested && self.trend.has_enough()
    }

    /// The result of a probe that has ended and settled, once.
    pub(crate) fn take_probe_result(&mut self, now: Instant) -> Option<ProbeResult> {
        let due = |probe: &Probe| probe.settled.is_some_and(|settled| settled <= now);
        let Probe { began, goal, .. } = self.probe.filter(due)?;
        let congesting = self.congested;
        if !congesting && self.outdated {
            self.capacity = UNLIMITED;
            self.outdated = false;
        } else if !congesting && self.trend.has_enough() {
            // Estimates run ahead of what was sent, which is all that is known to have arrived.
            let shown = self.trend.highest().min(goal);
            self.raised = (shown > self.capacity).then_some(now).or(self.raised);
            self.capacity = self.capacity.max(shown);
        }
        self.probe = None;
        self.congested = false;
        self.observe_anew(false);
        self.regulator.finished(began, congesting);
        Some(if congesting {
            ProbeResult::Congesting
        } else {
            ProbeResult::Clear
        })
    }

    fn observe_anew(&mut self, probe: bool) {
        let (trend, losses) = if probe {
            (TrendConfig::PROBE, LossConfig::PROBE)
        } else {
            (TrendConfig::NORMAL, LossConfig::NORMAL)
        };
        self.trend = TrendDetector::new(trend);
        self.losses = LossTracker::new(losses);
    }
}

fn share(bps: u64, share: f64) -> u64 {
    (bps as f64 * share) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const MBPS: u64 = 1_000_000;

    /// Feeds estimates every 200 ms and collects the capacities.
    fn feed(
        estimator: &mut Estimator,
        now: &mut Instant,
        expected: u64,
        estimates: impl IntoIterator<Item = u64>,
    ) -> Vec<u64> {
        let capacities = estimates.into_iter().filter_map(|estimate| {
            *now += Duration::from_millis(200);
            let lowered = estimator.take(*now, estimate, expected, 20, 0);
            lowered.then(|| estimator.capacity())
        });
        capacities.collect()
    }

    #[test]
    fn falling_estimates_below_what_is_sent_are_congestion() {
        let mut now = Instant::now();
        let mut estimator = Estimator::new(now);
        let falling = (0..12).map(|n| 2 * MBPS - n * 100_000);
        assert_eq!(feed(&mut estimator, &mut now, 2 * MBPS, falling), [900_000]);
        assert!(estimator.is_congested() && !estimator.may_probe(now));
        // It does not fall further.
        assert_eq!(feed(&mut estimator, &mut now, 900_000, [901_000; 30]), []);
        assert!(!estimator.is_congested() && estimator.may_probe(now));
    }

    #[test]
    fn estimates_above_what_is_sent_mean_nothing() {
        let mut now = Instant::now();
        let mut estimator = Estimator::new(now);
        let falling = (0..40).map(|n| 9 * MBPS - n * 100_000);
        assert_eq!(feed(&mut estimator, &mut now, 2 * MBPS, falling), []);
        assert!(!estimator.is_congested());
    }

    #[test]
    fn packets_that_stay_lost_are_congestion() {
        let start = Instant::now();
        let mut estimator = Estimator::new(start);
        let taken = (0..12).find_map(|n| {
            let now = start + Duration::from_millis(200 * n);
            let lowered = estimator.take(now, 5 * MBPS, MBPS, 20, 5);
            lowered.then(|| estimator.capacity())
        });
        // A quarter of the packets, of which 0.4 is taken off.
        assert_eq!(taken, Some(900_000));
    }

    #[test]
    fn a_good_probe_raises_the_capacity_after_it_has_settled() {
        let mut now = Instant::now();
        let mut estimator = Estimator::new(now);
        let falling = (0..12).map(|n| 2 * MBPS - n * 100_000);
        feed(&mut estimator, &mut now, 2 * MBPS, falling);
        feed(&mut estimator, &mut now, 800_000, [901_000; 30]);
        estimator.probe_began(now, 800_000, 1_500_000);
        feed(&mut estimator, &mut now, 800_000, [MBPS, 2 * MBPS]);
        assert!(!estimator.probe_reached());
        feed(&mut estimator, &mut now, 800_000, [3 * MBPS]);
        assert!(estimator.probe_reached());
        estimator.probe_ended(now);
        assert_eq!(estimator.take_probe_result(now + SETTLE_MIN), None);
        let result = estimator.take_probe_result(now + DEFAULT_RTT * SETTLE_RTTS);
        assert_eq!(result, Some(ProbeResult::Clear));
        assert_eq!(estimator.capacity(), 1_500_000);
        assert!(!estimator.may_probe(now));
    }

    #[test]
    fn a_probe_with_falling_estimates_fails_and_changes_no_capacity() {
        let mut now = Instant::now();
        let mut estimator = Estimator::new(now);
        estimator.probe_began(now, MBPS, 2 * MBPS);
        let estimates = [MBPS, 900_000, 800_000, 5 * MBPS, 6 * MBPS];
        assert_eq!(feed(&mut estimator, &mut now, MBPS, estimates), []);
        assert!(!estimator.probe_reached());
        estimator.probe_ended(now);
        let result = estimator.take_probe_result(now + SETTLE_MAX);
        assert_eq!(result, Some(ProbeResult::Congesting));
        assert!(!estimator.is_congested());
        assert_eq!(estimator.capacity(), UNLIMITED);
    }

    #[test]
    fn after_a_long_silence_a_capacity_holds_until_a_probe_meets_no_congestion() {
        let mut now = Instant::now();
        let mut estimator = Estimator::new(now);
        let falling = (0..12).map(|n| 2 * MBPS - n * 100_000);
        feed(&mut estimator, &mut now, 2 * MBPS, falling);
        estimator.forget_congestion(now);
        assert!(!estimator.is_congested() && estimator.may_probe(now));
        for (estimates, result, capacity) in [
            (
                [900_000, 800_000, 700_000],
                ProbeResult::Congesting,
                900_000,
            ),
            ([900_000; 3], ProbeResult::Clear, UNLIMITED),
        ] {
            estimator.probe_began(now, 0, 200_000);
            feed(&mut estimator, &mut now, 0, estimates);
            estimator.probe_ended(now);
            now += SETTLE_MAX;
            assert_eq!(estimator.take_probe_result(now), Some(result));
            assert_eq!(estimator.capacity(), capacity);
        }
    }
}
