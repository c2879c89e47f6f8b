//! Whether a layer is alive (LiveKit's packet stream tracker).
//!
//! A layer is live from its first packet. Every cycle its packets are counted: too few, and it is
//! dead at once; then it needs [`TrackerConfig::cycles`] good cycles in a row to be live again, so
//! that a layer that trickles does not flap. A layer that was silent for a whole cycle was turned
//! off rather than starved, and is live again from its next packet.
//!
//! A layer that is not live may still be *sending*: its last packet came within
//! [`TrackerConfig::silence`]. It is better than none, and than one above it.

use std::time::{Duration, Instant};

/// Longer than the pauses of a camera of one frame per second, and of a screen that hardly changes.
const CAMERA_SILENCE: Duration = Duration::from_secs(2);
const SCREEN_SILENCE: Duration = Duration::from_secs(4);

/// The figures of one layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TrackerConfig {
    /// Packets that a good cycle has at least.
    pub(crate) samples: u32,
    /// Good cycles in a row that bring a starved layer back.
    pub(crate) cycles: u32,
    /// Length of a cycle.
    pub(crate) cycle: Duration,
    /// After so long without a packet a layer sends no more.
    pub(crate) silence: Duration,
}

impl TrackerConfig {
    /// LiveKit's figures (`streamtracker/streamtracker_packet.go`).
    pub(crate) fn of(spatial: u8, screen_share: bool) -> Self {
        let (samples, cycles, ms) = match (screen_share, spatial) {
            (true, _) => (1, 1, 2000),
            (false, 0) => (1, 4, 500),
            (false, _) => (5, 20, 500),
        };
        let cycle = Duration::from_millis(ms);
        Self {
            samples,
            cycles,
            cycle,
            silence: if screen_share {
                SCREEN_SILENCE
            } else {
                CAMERA_SILENCE
            },
        }
    }
}

/// Counts the packets of one layer.
#[derive(Debug)]
pub(crate) struct StreamTracker {
    config: TrackerConfig,
    live: bool,
    count: u32,
    good_cycles: u32,
    /// End of the current cycle; none while nothing is expected to arrive.
    cycle_end: Option<Instant>,
    /// When the last packet came; none: too long ago, or never.
    newest: Option<Instant>,
    /// Nothing came in the last cycle, or ever.
    quiet: bool,
    paused: bool,
}

impl StreamTracker {
    pub(crate) fn new(config: TrackerConfig) -> Self {
        Self {
            config,
            live: false,
            count: 0,
            good_cycles: 0,
            cycle_end: None,
            newest: None,
            quiet: true,
            paused: false,
        }
    }

    pub(crate) fn is_live(&self) -> bool {
        self.live
    }

    /// Whether packets come, though they may be few.
    pub(crate) fn is_sending(&self) -> bool {
        self.newest.is_some()
    }

    /// A packet with payload arrived. Returns whether the layer has just come alive.
    #[inline]
    pub(crate) fn observe(&mut self, now: Instant) -> bool {
        self.count += 1;
        if self.paused {
            return false;
        }
        self.newest = Some(now);
        if !std::mem::replace(&mut self.quiet, false) {
            return false;
        }
        self.cycle_end = Some(now + self.config.cycle);
        self.good_cycles = 0;
        !std::mem::replace(&mut self.live, true)
    }

    /// While paused (publisher muted) the layer stays as it is.
    pub(crate) fn set_paused(&mut self, now: Instant, paused: bool) {
        self.paused = paused;
        self.count = 0;
        self.newest = self.newest.map(|_| now);
        self.cycle_end = (!paused && self.is_sending()).then(|| now + self.config.cycle);
    }

    /// When [`Self::check`] has something to do.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.cycle_end
    }

    /// Ends the cycles that are over. Returns whether the layer's life changed, or whether it sends.
    pub(crate) fn check(&mut self, now: Instant) -> bool {
        let before = (self.live, self.is_sending());
        while let Some(end) = self.cycle_end.filter(|&end| end <= now) {
            let count = std::mem::take(&mut self.count);
            if count >= self.config.samples {
                self.good_cycles += 1;
                self.live |= self.good_cycles >= self.config.cycles;
            } else {
                self.good_cycles = 0;
                self.live = false;
            }
            self.quiet = count == 0;
            let silence = self.config.silence;
            let newest = self.newest;
            self.newest = newest.filter(|&at| end.saturating_duration_since(at) < silence);
            self.cycle_end = self.is_sending().then(|| end + self.config.cycle);
        }
        (self.live, self.is_sending()) != before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs cycles with the given packet counts and says after which the layer was live.
    fn run(config: TrackerConfig, counts: &[u32]) -> Vec<bool> {
        let mut now = Instant::now();
        let mut tracker = StreamTracker::new(config);
        tracker.observe(now);
        assert!(tracker.is_live());
        let mut lives = Vec::new();
        for (cycle, &count) in counts.iter().enumerate() {
            for _ in usize::from(cycle == 0)..count as usize {
                tracker.observe(now);
            }
            now += config.cycle;
            tracker.check(now);
            lives.push(tracker.is_live());
        }
        lives
    }

    #[test]
    fn the_table_of_figures() {
        let ms = Duration::from_millis;
        for (spatial, screen, samples, cycles, cycle, silence) in [
            (0, false, 1, 4, ms(500), ms(2000)),
            (1, false, 5, 20, ms(500), ms(2000)),
            (2, false, 5, 20, ms(500), ms(2000)),
            (0, true, 1, 1, ms(2000), ms(4000)),
            (2, true, 1, 1, ms(2000), ms(4000)),
        ] {
            let expected = TrackerConfig {
                samples,
                cycles,
                cycle,
                silence,
            };
            assert_eq!(TrackerConfig::of(spatial, screen), expected);
        }
    }

    #[test]
    fn too_few_packets_in_a_cycle_kill_a_layer() {
        let config = TrackerConfig::of(1, false);
        assert_eq!(run(config, &[5, 4]), [true, false]);
    }

    #[test]
    fn a_starved_layer_needs_its_cycles_to_return() {
        let config = TrackerConfig::of(1, false);
        let mut counts = vec![5, 2];
        counts.extend([5; 20]);
        let lives = run(config, &counts);
        assert!(lives[1..21].iter().all(|live| !live));
        assert!(lives[21]);
    }

    #[test]
    fn a_silent_layer_returns_with_its_next_packet() {
        let config = TrackerConfig::of(2, false);
        assert_eq!(run(config, &[5, 0, 6]), [true, false, true]);
    }

    #[test]
    fn a_layer_that_trickles_sends_until_it_was_silent_for_long() {
        let config = TrackerConfig::of(1, false);
        let start = Instant::now();
        let ms = |ms| start + Duration::from_millis(ms);
        let mut tracker = StreamTracker::new(config);
        assert!(!tracker.is_sending());
        for second in 0..5 {
            tracker.observe(ms(second * 1200));
            assert!(tracker.is_live(), "it was silent for a cycle");
            tracker.check(ms(second * 1200 + 1100));
            assert!(!tracker.is_live() && tracker.is_sending());
        }
        assert!(!tracker.check(ms(6799)));
        assert!(tracker.check(ms(6800)));
        assert!(!tracker.is_sending());
        assert_eq!(tracker.deadline(), None);
    }

    #[test]
    fn a_paused_layer_stays_live() {
        let config = TrackerConfig::of(0, false);
        let start = Instant::now();
        let mut tracker = StreamTracker::new(config);
        assert!(tracker.observe(start));
        tracker.set_paused(start, true);
        assert_eq!(tracker.deadline(), None);
        assert!(!tracker.check(start + Duration::from_secs(60)));
        assert!(tracker.is_live());
        tracker.set_paused(start + Duration::from_secs(60), false);
        assert!(tracker.check(start + Duration::from_secs(61)));
        assert!(!tracker.is_live());
    }
}
