//! A subscriber behind a narrow link, under virtual time: the link queues and drops, the subscriber
//! estimates as browsers do (REMB), and the allocator has to find what fits.

use std::time::{Duration, Instant};

use lkpy_sfu::{
    AllocatedTrack, Allocation, LayerBitrates, StreamAllocator, TrackSample, VideoLayer,
};

const STEP: Duration = Duration::from_millis(10);
const PACKET: f64 = 1_000.0;

/// Bits per second of the three layers that the publisher sends.
const LAYERS: [u64; 3] = [150_000, 400_000, 1_500_000];

/// A link with a queue that holds what it carries in 300 ms, and the estimate of the receiver behind
/// it: down to 0.85 of what arrives when the queue grows, else slowly up.
struct Link {
    bps: f64,
    queued: f64,
    arrived: f64,
    estimate: f64,
    /// Time to the next report.
    report_in: Duration,
}

impl Link {
    fn new(bps: f64) -> Self {
        Self {
            bps,
            queued: 0.0,
            arrived: bps,
            estimate: 300_000.0,
            report_in: Duration::ZERO,
        }
    }

    /// Takes the bytes sent in one step. Returns the bytes dropped and the report, if one is due.
    fn carry(&mut self, bytes: f64) -> (f64, Option<u64>) {
        let seconds = STEP.as_secs_f64();
        let capacity = self.bps / 8.0 * seconds;
        let arriving = (self.queued + bytes).min(capacity);
        self.queued = self.queued + bytes - arriving;
        let limit = self.bps / 8.0 * 0.3;
        let dropped = (self.queued - limit).max(0.0);
        self.queued -= dropped;
        // What arrived, averaged over about half a second.
        self.arrived += (arriving * 8.0 / seconds - self.arrived) * 0.02;
        let delay = self.queued * 8.0 / self.bps;
        let before = self.estimate;
        if delay > 0.06 {
            self.estimate = self.estimate.min(0.85 * self.arrived);
        } else {
            let grown = self.estimate * (1.0 + 0.08 * seconds);
            let most = (1.5 * self.arrived).max(self.estimate);
            self.estimate = grown.max(self.estimate + 2_000.0 * seconds).min(most);
            if self.estimate < self.arrived {
                self.estimate = self.arrived;
            }
        }
        self.report_in = self.report_in.saturating_sub(STEP);
        let urgent = self.estimate < 0.97 * before;
        let due = self.report_in.is_zero() || urgent;
        if due {
            self.report_in = Duration::from_millis(200);
        }
        (dropped, due.then_some(self.estimate as u64))
    }
}

struct Call {
    allocator: StreamAllocator,
    link: Link,
    now: Instant,
    began: Instant,
    tracks: u64,
    sent: u64,
    /// The spatial layer of each track; -1: paused.
    layers: Vec<i8>,
    samples: Vec<TrackSample>,
    losses: f64,
    /// Times at which layers changed.
    changes: Vec<(Duration, u64, i8)>,
    random: u64,
}

impl Call {
    fn new(bps: f64, tracks: u64, allow_pause: bool) -> Self {
        let now = Instant::now();
        let mut call = Self {
            allocator: StreamAllocator::new(now, true, allow_pause),
            link: Link::new(bps),
            now,
            began: now,
            tracks,
            sent: 0,
            layers: vec![2; tracks as usize],
            samples: vec![TrackSample::default(); tracks as usize],
            losses: 0.0,
            changes: Vec::new(),
            random: 0x5eed,
        };
        for key in 0..tracks {
            call.allocator.add_track(AllocatedTrack {
                key,
                screen_share: false,
                multi_layered: true,
            });
            call.observe();
            call.allocator.track_changed(call.now, key);
        }
        call
    }

    /// Up to 10 % more or less than `value`, by a fixed seed.
    fn wobble(&mut self, value: f64) -> f64 {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        value * (0.9 + (self.random >> 40) as f64 / (1u64 << 24) as f64 * 0.2)
    }

    fn observe(&mut self) {
        for key in 0..self.tracks {
            let at = key as usize;
            let own = LAYERS.map(|bps| [self.wobble(bps as f64) as u64, 0, 0, 0]);
            let sample = &mut self.samples[at];
            sample.bitrates = LayerBitrates::new(&own, false);
            sample.max = Some(VideoLayer::new(2, 3));
            sample.current = u8::try_from(self.layers[at])
                .ok()
                .map(|s| VideoLayer::new(s, 0));
            self.allocator.observe(self.now, key, self.samples[at]);
        }
    }

    fn step(&mut self) {
        self.now += STEP;
        let mut bytes = 0.0;
        for at in 0..self.tracks as usize {
            if let Ok(layer) = usize::try_from(self.layers[at]) {
                let media = self.wobble(LAYERS[layer] as f64) / 8.0 * STEP.as_secs_f64();
                bytes += media;
            }
        }
        self.sent += bytes as u64;
        // Which track a packet belongs to does not matter for the loss.
        self.samples[0].packets = self.sent / PACKET as u64;
        let mut padding = 0;
        if self
            .allocator
            .next_deadline()
            .is_some_and(|at| at <= self.now)
        {
            self.observe();
            padding = self.allocator.handle_timeout(self.now, self.sent);
            self.allocator.padding_sent(padding);
            self.sent += padding;
        }
        let (dropped, report) = self.link.carry(bytes + padding as f64);
        self.losses += dropped / PACKET;
        // Half of what is lost is lost again when it is sent again.
        self.samples[0].repeated_nacks = (self.losses / 2.0) as u64;
        if let Some(estimate) = report {
            self.observe();
            self.allocator.handle_estimate(self.now, estimate);
        }
        let since = self.now - self.began;
        for (key, allocation) in self.allocator.take_changes() {
            let layer = match allocation {
                Allocation::Optimal => 2,
                Allocation::Limited(max) => max.spatial as i8,
                Allocation::Paused => -1,
            };
            if std::mem::replace(&mut self.layers[key as usize], layer) != layer {
                self.changes.push((since, key, layer));
            }
        }
    }

    fn run(&mut self, seconds: u64) {
        for _ in 0..seconds * 100 {
            self.step();
        }
    }

    /// Whether a track changed its layer in the last `seconds`.
    fn changes_within(&self, seconds: u64) -> usize {
        let since = (self.now - self.began).saturating_sub(Duration::from_secs(seconds));
        self.changes.iter().filter(|&&(at, ..)| at > since).count()
    }
}

#[test]
fn a_link_of_500_kbps_gets_the_layer_that_fits_and_keeps_it() {
    let mut call = Call::new(500_000.0, 1, false);
    call.run(10);
    assert_eq!(call.layers, [1], "{:?}", call.changes);
    call.run(110);
    assert_eq!(call.layers, [1], "{:?}", call.changes);
    assert!(call.changes.len() <= 3, "{:?}", call.changes);
}

#[test]
fn a_link_that_widens_gets_everything_within_half_a_minute() {
    let mut call = Call::new(500_000.0, 1, false);
    call.run(30);
    assert_eq!(call.layers, [1], "{:?}", call.changes);
    call.link.bps = 5_000_000.0;
    call.run(30);
    assert_eq!(call.layers, [2], "{:?}", call.changes);
    assert_eq!(call.allocator.deficient_tracks().count(), 0);
    call.run(60);
    assert_eq!(call.changes_within(60), 0, "{:?}", call.changes);
}

#[test]
fn a_link_that_carries_nothing_pauses_and_resumes() {
    let mut call = Call::new(100_000.0, 1, true);
    call.run(20);
    assert_eq!(call.layers, [-1], "{:?}", call.changes);
    call.link.bps = 5_000_000.0;
    call.run(60);
    assert_eq!(call.layers, [2], "{:?}", call.changes);
}

#[test]
fn four_tracks_share_a_link_fairly() {
    let mut call = Call::new(1_200_000.0, 4, false);
    call.run(300);
    assert!(
        call.layers.iter().all(|&layer| layer <= 1),
        "{:?}",
        call.changes
    );
    assert!(call.changes_within(120) <= 6, "{:?}", call.changes);
}

#[test]
fn a_wide_link_is_left_alone() {
    let mut call = Call::new(10_000_000.0, 3, false);
    call.run(60);
    assert_eq!(call.changes, []);
}
