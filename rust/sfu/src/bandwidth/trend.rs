//! Whether a series of estimates rises or falls (Kendall's tau).

use std::time::{Duration, Instant};

/// What makes a trend.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrendConfig {
    /// Samples that are kept, and that make a trend.
    pub samples: usize,
    /// As few may make a falling one, if they stretch over `max_wait`.
    pub samples_min: usize,
    /// Tau below which the trend is downward.
    pub downward: f64,
    /// See `samples_min`.
    pub max_wait: Duration,
    /// An estimate that is repeated within this time is not another sample.
    pub collapse: Duration,
    /// Age at which a sample is forgotten; zero: at none.
    pub validity: Duration,
}

impl TrendConfig {
    pub(crate) const PROBE: Self = Self {
        samples: 3,
        samples_min: 3,
        downward: 0.0,
        max_wait: Duration::from_secs(5),
        collapse: Duration::ZERO,
        validity: Duration::from_secs(10),
    };

    pub(crate) const NORMAL: Self = Self {
        samples: 12,
        samples_min: 8,
        downward: -0.6,
        max_wait: Duration::from_secs(5),
        collapse: Duration::from_millis(500),
        validity: Duration::from_secs(10),
    };
}

#[derive(Debug)]
pub(crate) struct TrendDetector {
    config: TrendConfig,
    samples: Vec<(Instant, u64)>,
    count: usize,
    highest: u64,
    falling: bool,
}

impl TrendDetector {
    pub(crate) fn new(config: TrendConfig) -> Self {
        Self {
            config,
            samples: Vec::with_capacity(config.samples + 1),
            count: 0,
            highest: 0,
            falling: false,
        }
    }

    pub(crate) fn add(&mut self, now: Instant, value: u64) {
        self.count += 1;
        self.highest = self.highest.max(value);
        if let Some(&(at, last)) = self.samples.last()
            && last == value
            && now.saturating_duration_since(at) < self.config.collapse
        {
            return;
        }
        self.samples.push((now, value));
        self.prune(now);
        self.falling = self.is_downward();
    }

    /// Whether the samples fall.
    pub(crate) fn is_falling(&self) -> bool {
        self.falling
    }

    /// The highest value ever added.
    pub(crate) fn highest(&self) -> u64 {
        self.highest
    }

    /// Whether so many values were added that they mean something.
    pub(crate) fn has_enough(&self) -> bool {
        self.count >= self.config.samples
    }

    fn prune(&mut self, now: Instant) {
        let TrendConfig {
            samples, validity, ..
        } = self.config;
        let excess = self.samples.len().saturating_sub(samples);
        let is_old = |&&(at, _): &&(Instant, u64)| {
            !validity.is_zero() && now.saturating_duration_since(at) >= validity
        };
        let old = self.samples.iter().take_while(is_old).count();
        self.samples.drain(..excess.max(old));
        // Of a plateau at the beginning only the end counts.
        let first = self.samples.first().map(|&(_, value)| value);
        let plateau = self.samples.iter().take_while(|s| Some(s.1) == first);
        let plateau = plateau.count().saturating_sub(1);
        self.samples.drain(..plateau);
    }

    fn is_downward(&self) -> bool {
        let (Some(first), Some(last)) = (self.samples.first(), self.samples.last()) else {
            return false;
        };
        let waited = last.0.saturating_duration_since(first.0) > self.config.max_wait;
        let enough = self.samples.len() >= self.config.samples_min
            && (waited || self.samples.len() >= self.config.samples);
        enough && self.tau() < self.config.downward
    }

    fn tau(&self) -> f64 {
        let (mut rising, mut falling) = (0.0, 0.0);
        for (index, &(_, earlier)) in self.samples.iter().enumerate() {
            for &(_, later) in &self.samples[index + 1..] {
                match later.cmp(&earlier) {
                    std::cmp::Ordering::Greater => rising += 1.0,
                    std::cmp::Ordering::Less => falling += 1.0,
                    std::cmp::Ordering::Equal => {}
                }
            }
        }
        if rising + falling == 0.0 {
            return 0.0;
        }
        (rising - falling) / (rising + falling)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Adds `values` every `ms` milliseconds and says after which the trend was downward.
    fn run(config: TrendConfig, ms: u64, values: &[u64]) -> Vec<bool> {
        let start = Instant::now();
        let mut trend = TrendDetector::new(config);
        let falls = (0..).zip(values).map(|(index, &value)| {
            trend.add(start + Duration::from_millis(index * ms), value);
            trend.is_falling()
        });
        falls.collect()
    }

    #[test]
    fn twelve_falling_samples_are_a_trend() {
        let falling: Vec<_> = (0..13).map(|n| 1000 - n).collect();
        let falls = run(TrendConfig::NORMAL, 100, &falling);
        assert!(!falls[10] && falls[11] && falls[12], "{falls:?}");
    }

    #[test]
    fn eight_are_enough_if_they_take_long() {
        let falling: Vec<_> = (0..8).map(|n| 1000 - n).collect();
        assert!(run(TrendConfig::NORMAL, 800, &falling)[7]);
        assert!(!run(TrendConfig::NORMAL, 700, &falling)[7]);
    }

    #[test]
    fn how_many_and_for_how_long_is_configured() {
        let falling: Vec<_> = (0..8).map(|n| 1000 - n).collect();
        let first = |config| run(config, 800, &falling).iter().position(|&falls| falls);
        let normal = TrendConfig::NORMAL;
        let seconds = Duration::from_secs;
        for (config, expected) in [
            (normal, Some(7)),
            (
                TrendConfig {
                    samples: 5,
                    samples_min: 3,
                    ..normal
                },
                Some(4),
            ),
            (
                TrendConfig {
                    samples_min: 3,
                    max_wait: seconds(2),
                    ..normal
                },
                Some(3),
            ),
            (
                TrendConfig {
                    validity: seconds(2),
                    ..normal
                },
                None,
            ),
            (
                TrendConfig {
                    samples: 5,
                    samples_min: 6,
                    ..normal
                },
                None,
            ),
            (
                TrendConfig {
                    downward: -1.0,
                    ..normal
                },
                None,
            ),
        ] {
            assert_eq!(first(config), expected, "{config:?}");
        }
    }

    #[test]
    fn rising_wavering_or_steady_is_no_fall() {
        let rising: Vec<_> = (0..20).collect();
        let wavering: Vec<_> = (0..20).map(|n| 1000 + n % 2).collect();
        for values in [&rising[..], &wavering, &[500; 20]] {
            let falls = run(TrendConfig::NORMAL, 600, values);
            assert!(falls.iter().all(|&falls| !falls), "{values:?}");
        }
    }

    #[test]
    fn repeats_within_the_collapse_time_are_one_sample() {
        let mut values = vec![1000; 6];
        values.extend((0..11).map(|n| 999 - n));
        let falls = run(TrendConfig::NORMAL, 50, &values);
        assert!(!falls[15] && falls[16], "{falls:?}");
    }

    #[test]
    fn a_probe_needs_three() {
        assert_eq!(
            run(TrendConfig::PROBE, 50, &[9, 8, 7]),
            [false, false, true]
        );
        assert_eq!(
            run(TrendConfig::PROBE, 50, &[7, 8, 9]),
            [false, false, false]
        );
    }
}
