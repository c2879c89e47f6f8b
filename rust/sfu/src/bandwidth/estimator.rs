//! Whether a connection is congested, what it carries then, and what probes find out.

use std::time::{Duration, Instant};

use super::losses::{LossConfig, LossTracker};
use super::regulator::{ProbeRegulator, RegulatorConfig};
use super::trend::{TrendConfig, TrendDetector};

/// A capacity that nothing has limited yet, in bits per second.
pub(crate) const UNLIMITED: u64 = 100_000_000;

/// Congestion so soon after a probe found more room shows that there is none.
const RELAPSE: Duration = Duration::from_secs(15);

const DEFAULT_RTT: Duration = Duration::from_millis(70);

/// How estimates and lost packets are judged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ObserverConfig {
    /// When estimates fall.
    pub trend: TrendConfig,
    /// When packets stay lost.
    pub losses: LossConfig,
}

/// How the estimator judges. The defaults are LiveKit's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EstimatorConfig {
    /// Of repeatedly lost packets this share, 0 to 1, is taken off what is sent.
    pub loss_attenuator: f64,
    /// A capacity above this share of what is sent changes nothing.
    pub usage_threshold: f64,
    /// Judges while no probe is sent.
    pub normal: ObserverConfig,
    /// Judges a probe.
    pub probe: ObserverConfig,
    /// When to probe.
    pub regulator: RegulatorConfig,
    /// After a probe its effect is waited for: so many round trips, `settle_min` at least and
    /// `settle_max` at most.
    pub settle_rtts: u32,
    /// See `settle_rtts`.
    pub settle_min: Duration,
    /// See `settle_rtts`.
    pub settle_max: Duration,
}

impl Default for EstimatorConfig {
    fn default() -> Self {
        Self {
            loss_attenuator: 0.4,
            usage_threshold: 0.95,
            normal: ObserverConfig {
                trend: TrendConfig::NORMAL,
                losses: LossConfig::NORMAL,
            },
            probe: ObserverConfig {
                trend: TrendConfig::PROBE,
                losses: LossConfig::PROBE,
            },
            regulator: RegulatorConfig::default(),
            settle_rtts: 5,
            settle_min: Duration::from_millis(250),
            settle_max: Duration::from_secs(5),
        }
    }
}

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
    config: EstimatorConfig,
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
    pub(crate) fn new(now: Instant, config: EstimatorConfig) -> Self {
        Self {
            config,
            estimate: 0,
            expected: 0,
            capacity: UNLIMITED,
            outdated: false,
            congested: false,
            trend: TrendDetector::new(config.normal.trend),
            losses: LossTracker::new(config.normal.losses),
            regulator: ProbeRegulator::new(now, config.regulator),
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
            ..Self::new(now, self.config)
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
        let config = &self.config;
        let carried = match cause {
            Cause::Estimate => self.estimate,
            Cause::Loss => {
                let lost = config.loss_attenuator * self.losses.ratio();
                share(self.expected, 1.0 - lost)
            }
        };
        let capacity = carried.min(self.estimate);
        let known = capacity == self.capacity && !self.outdated;
        if capacity > share(self.expected, config.usage_threshold) || known {
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
            let config = &self.config;
            let settle = (self.rtt * config.settle_rtts).max(config.settle_min);
            let settle = settle.min(config.settle_max);
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
        let config = if probe {
            &self.config.probe
        } else {
            &self.config.normal
        };
        self.trend = TrendDetector::new(config.trend);
        self.losses = LossTracker::new(config.losses);
    }
}

fn share(bps: u64, share: f64) -> u64 {
    (bps as f64 * share) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const MBPS: u64 = 1_000_000;

    fn make(now: Instant) -> Estimator {
        Estimator::new(now, EstimatorConfig::default())
    }

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
        let mut estimator = make(now);
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
        let mut estimator = make(now);
        let falling = (0..40).map(|n| 9 * MBPS - n * 100_000);
        assert_eq!(feed(&mut estimator, &mut now, 2 * MBPS, falling), []);
        assert!(!estimator.is_congested());
    }

    #[test]
    fn packets_that_stay_lost_are_congestion() {
        let start = Instant::now();
        let mut estimator = make(start);
        let taken = (0..12).find_map(|n| {
            let now = start + Duration::from_millis(200 * n);
            let lowered = estimator.take(now, 5 * MBPS, MBPS, 20, 5);
            lowered.then(|| estimator.capacity())
        });
        // A quarter of the packets, of which 0.4 is taken off.
        assert_eq!(taken, Some(900_000));
    }

    #[test]
    fn what_loss_takes_off_and_what_is_worth_a_change_is_configured() {
        let start = Instant::now();
        for (loss_attenuator, usage_threshold, capacity) in [
            (0.8, 0.95, Some(800_000)),
            (0.4, 0.85, None),
            (0.8, 0.85, Some(800_000)),
        ] {
            let config = EstimatorConfig {
                loss_attenuator,
                usage_threshold,
                ..EstimatorConfig::default()
            };
            let mut estimator = Estimator::new(start, config);
            let taken = (0..12).find_map(|n| {
                let now = start + Duration::from_millis(200 * n);
                let lowered = estimator.take(now, 5 * MBPS, MBPS, 20, 5);
                lowered.then(|| estimator.capacity())
            });
            assert_eq!(taken, capacity);
        }
    }

    #[test]
    fn a_probe_settles_for_round_trips_within_limits() {
        let start = Instant::now();
        let ms = Duration::from_millis;
        for (settle_rtts, settle_min, settle_max, settled) in [
            (10, 250, 5000, 1000),
            (1, 250, 5000, 250),
            (100, 250, 5000, 5000),
            (5, 5000, 300, 300),
        ] {
            let config = EstimatorConfig {
                settle_rtts,
                settle_min: ms(settle_min),
                settle_max: ms(settle_max),
                ..EstimatorConfig::default()
            };
            let mut estimator = Estimator::new(start, config);
            estimator.set_rtt(ms(100));
            estimator.probe_began(start, MBPS, 2 * MBPS);
            estimator.probe_ended(start);
            assert_eq!(estimator.take_probe_result(start + ms(settled - 1)), None);
            let result = estimator.take_probe_result(start + ms(settled));
            assert_eq!(result, Some(ProbeResult::Clear));
        }
    }

    #[test]
    fn a_good_probe_raises_the_capacity_after_it_has_settled() {
        let mut now = Instant::now();
        let mut estimator = make(now);
        let falling = (0..12).map(|n| 2 * MBPS - n * 100_000);
        feed(&mut estimator, &mut now, 2 * MBPS, falling);
        feed(&mut estimator, &mut now, 800_000, [901_000; 30]);
        estimator.probe_began(now, 800_000, 1_500_000);
        feed(&mut estimator, &mut now, 800_000, [MBPS, 2 * MBPS]);
        assert!(!estimator.probe_reached());
        feed(&mut estimator, &mut now, 800_000, [3 * MBPS]);
        assert!(estimator.probe_reached());
        estimator.probe_ended(now);
        assert_eq!(
            estimator.take_probe_result(now + Duration::from_millis(250)),
            None
        );
        let result = estimator.take_probe_result(now + DEFAULT_RTT * 5);
        assert_eq!(result, Some(ProbeResult::Clear));
        assert_eq!(estimator.capacity(), 1_500_000);
        assert!(!estimator.may_probe(now));
    }

    #[test]
    fn a_probe_with_falling_estimates_fails_and_changes_no_capacity() {
        let mut now = Instant::now();
        let mut estimator = make(now);
        estimator.probe_began(now, MBPS, 2 * MBPS);
        let estimates = [MBPS, 900_000, 800_000, 5 * MBPS, 6 * MBPS];
        assert_eq!(feed(&mut estimator, &mut now, MBPS, estimates), []);
        assert!(!estimator.probe_reached());
        estimator.probe_ended(now);
        let result = estimator.take_probe_result(now + Duration::from_secs(5));
        assert_eq!(result, Some(ProbeResult::Congesting));
        assert!(!estimator.is_congested());
        assert_eq!(estimator.capacity(), UNLIMITED);
    }

    #[test]
    fn after_a_long_silence_a_capacity_holds_until_a_probe_meets_no_congestion() {
        let mut now = Instant::now();
        let mut estimator = make(now);
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
            now += Duration::from_secs(5);
            assert_eq!(estimator.take_probe_result(now), Some(result));
            assert_eq!(estimator.capacity(), capacity);
        }
    }
}
