//! What each of several tracks gets of a connection that does not carry all of them.

#![allow(clippy::unwrap_used, reason = "it is a test")]

use std::time::{Duration, Instant};

use lkpy_sfu::{
    AllocatedTrack, Allocation, AllocatorConfig, LayerBitrates, StreamAllocator, StreamState,
    TrackSample, VideoLayer,
};

const KBPS: u64 = 1_000;
const MS: Duration = Duration::from_millis(1);

/// Three spatial layers with two temporal layers each: 60/100, 300/500 and 1000/1700 kbit/s.
fn simulcast() -> LayerBitrates {
    let own = [[60, 40, 0, 0], [300, 200, 0, 0], [1000, 700, 0, 0]];
    LayerBitrates::new(&own.map(|layer| layer.map(|kbps| kbps * KBPS)), false)
}

fn single(kbps: u64) -> LayerBitrates {
    LayerBitrates::new(&[[kbps * KBPS, 0, 0, 0], [0; 4], [0; 4]], false)
}

/// An allocator and what it has said so far.
struct Call {
    allocator: StreamAllocator,
    now: Instant,
    samples: Vec<(u64, TrackSample)>,
    allocations: Vec<(u64, Allocation)>,
    states: Vec<(u64, StreamState)>,
}

impl Call {
    fn new(allow_pause: bool) -> Self {
        Self::with_config(allow_pause, AllocatorConfig::default())
    }

    fn with_config(allow_pause: bool, config: AllocatorConfig) -> Self {
        let now = Instant::now();
        Self {
            allocator: StreamAllocator::with_config(now, true, allow_pause, config),
            now,
            samples: Vec::new(),
            allocations: Vec::new(),
            states: Vec::new(),
        }
    }

    fn drive(&mut self, what: impl FnOnce(&mut StreamAllocator, Instant)) {
        for &(key, sample) in &self.samples {
            self.allocator.observe(self.now, key, sample);
        }
        what(&mut self.allocator, self.now);
        for (key, allocation) in self.allocator.take_changes() {
            self.allocations.retain(|&(other, _)| other != key);
            self.allocations.push((key, allocation));
        }
        // What is not limited is sent at once.
        for (key, sample) in &self.samples {
            let wanted = sample.max.is_some() && sample.bitrates != LayerBitrates::default();
            if wanted && Self::find(&self.allocations, *key) != Allocation::Paused {
                self.allocator.resumed(*key);
            }
        }
        self.states.extend(self.allocator.take_states());
    }

    fn add(&mut self, key: u64, bitrates: LayerBitrates, screen_share: bool, multi_layered: bool) {
        let max = Some(VideoLayer::new(2, 3));
        let sample = TrackSample {
            bitrates,
            max,
            ..TrackSample::default()
        };
        self.samples.push((key, sample));
        self.allocator.add_track(AllocatedTrack {
            key,
            screen_share,
            multi_layered,
        });
        self.drive(|allocator, now| allocator.track_changed(now, key));
    }

    fn camera(&mut self, key: u64) {
        self.add(key, simulcast(), false, true);
    }

    fn change(&mut self, key: u64, change: impl FnOnce(&mut TrackSample)) {
        let found = self.samples.iter_mut().find(|(other, _)| *other == key);
        change(&mut found.unwrap().1);
        self.drive(|allocator, now| allocator.track_changed(now, key));
    }

    fn capacity(&mut self, kbps: u64) {
        let bps = Some(kbps * KBPS).filter(|&bps| bps > 0);
        self.drive(|allocator, now| allocator.override_capacity(now, bps));
    }

    /// One after the other, 200 ms apart.
    fn estimates(&mut self, kbps: impl IntoIterator<Item = u64>) {
        for kbps in kbps {
            self.now += 200 * MS;
            self.drive(|allocator, now| allocator.handle_estimate(now, kbps * KBPS));
        }
    }

    fn remove(&mut self, key: u64) {
        self.samples.retain(|&(other, _)| other != key);
        self.allocations.retain(|&(other, _)| other != key);
        self.drive(|allocator, now| allocator.remove_track(now, key));
    }

    /// Bytes of padding that are due.
    fn padding(&mut self) -> u64 {
        let mut padding = 0;
        self.drive(|allocator, now| padding = allocator.handle_timeout(now, 0));
        padding
    }

    fn is_deficient(&self) -> bool {
        self.allocator.deficient_tracks().next().is_some()
    }

    fn find(allocations: &[(u64, Allocation)], key: u64) -> Allocation {
        let found = allocations.iter().find(|&&(other, _)| other == key);
        found.map_or(Allocation::Optimal, |&(_, allocation)| allocation)
    }

    fn of(&self, key: u64) -> Allocation {
        Self::find(&self.allocations, key)
    }
}

fn limited(spatial: u8, temporal: u8) -> Allocation {
    Allocation::Limited(VideoLayer::new(spatial, temporal))
}

#[test]
fn nothing_is_limited_while_nothing_is_known() {
    let mut call = Call::new(true);
    for key in 0..50 {
        call.camera(key);
    }
    assert_eq!(call.allocations, []);
    assert!(!call.is_deficient());
    assert_eq!(
        (call.allocator.capacity(), call.allocator.next_deadline()),
        (None, None)
    );
}

#[test]
fn layers_are_handed_out_lowest_first_to_all() {
    for (kbps, first, second) in [
        (3400, Allocation::Optimal, Allocation::Optimal),
        (3399, limited(2, 1), limited(2, 0)),
        (2200, limited(2, 0), limited(2, 0)),
        (1000, limited(1, 1), limited(1, 1)),
        (999, limited(1, 1), limited(1, 0)),
        (300, limited(0, 1), limited(0, 1)),
        (200, limited(0, 1), limited(0, 1)),
        (120, limited(0, 0), limited(0, 0)),
        (119, limited(0, 1), Allocation::Paused),
        (60, limited(0, 0), Allocation::Paused),
        (59, Allocation::Paused, Allocation::Paused),
    ] {
        let mut call = Call::new(true);
        call.camera(1);
        call.camera(2);
        call.capacity(kbps);
        assert_eq!((call.of(1), call.of(2)), (first, second), "{kbps} kbit/s");
    }
}

#[test]
fn without_pausing_everybody_gets_the_lowest_layer() {
    let mut call = Call::new(false);
    for key in 1..=3 {
        call.camera(key);
    }
    call.capacity(1);
    for key in 1..=3 {
        assert_eq!(call.of(key), limited(0, 0));
    }
    assert!(
        call.states
            .iter()
            .all(|&(_, state)| state == StreamState::Active)
    );
}

#[test]
fn a_screen_share_goes_first() {
    let mut call = Call::new(true);
    call.camera(1);
    call.add(2, simulcast(), true, true);
    call.capacity(1060);
    assert_eq!((call.of(1), call.of(2)), (limited(1, 1), limited(1, 1)));
    call.capacity(60);
    assert_eq!(
        (call.of(1), call.of(2)),
        (Allocation::Paused, limited(0, 0))
    );
}

#[test]
fn a_screen_share_in_one_layer_is_never_limited() {
    let mut call = Call::new(true);
    call.camera(1);
    call.add(2, single(400), true, false);
    call.capacity(900);
    assert_eq!(
        (call.of(1), call.of(2)),
        (limited(1, 1), Allocation::Optimal)
    );
    call.capacity(300);
    assert_eq!(
        (call.of(1), call.of(2)),
        (Allocation::Paused, Allocation::Optimal)
    );
}

#[test]
fn the_subscriber_hears_of_pauses_and_resumptions_once() {
    let mut call = Call::new(true);
    call.camera(1);
    call.capacity(1);
    call.capacity(2);
    call.capacity(0);
    let states = [
        StreamState::Active,
        StreamState::Paused,
        StreamState::Active,
    ];
    assert_eq!(call.states, states.map(|state| (1, state)));
    assert_eq!(call.of(1), Allocation::Optimal);
    assert!(!call.is_deficient());
}

#[test]
fn a_mute_is_no_pause_and_leaves_its_share_to_others() {
    let mut call = Call::new(true);
    call.camera(1);
    call.camera(2);
    call.capacity(1000);
    call.change(1, |sample| sample.max = None);
    assert_eq!(call.of(2), limited(2, 0));
    assert_eq!(
        call.states,
        [(1, StreamState::Active), (2, StreamState::Active)]
    );
    // Nothing is left when it comes back, so that the other one gives.
    call.change(1, |sample| sample.max = Some(VideoLayer::new(2, 3)));
    assert_eq!((call.of(1), call.of(2)), (limited(1, 1), limited(1, 1)));
}

#[test]
fn a_track_that_comes_takes_what_is_left() {
    let mut call = Call::new(true);
    call.camera(1);
    call.capacity(1400);
    assert_eq!(call.of(1), limited(2, 0));
    call.camera(2);
    assert_eq!((call.of(1), call.of(2)), (limited(2, 0), limited(1, 0)));
}

#[test]
fn a_track_for_which_nobody_can_give_enough_is_paused() {
    let mut call = Call::new(true);
    call.camera(1);
    call.capacity(100);
    assert_eq!(call.of(1), limited(0, 1));
    call.add(2, single(200), false, false);
    assert_eq!(
        (call.of(1), call.of(2)),
        (limited(0, 1), Allocation::Paused)
    );
}

#[test]
fn a_subscriber_that_wants_less_leaves_room_and_one_that_wants_more_takes_what_is_left() {
    let mut call = Call::new(true);
    call.camera(1);
    call.camera(2);
    call.capacity(1000);
    call.change(1, |sample| sample.max = Some(VideoLayer::new(0, 3)));
    // The first has all that it wants now, the second takes the rest.
    assert_eq!((call.of(1), call.of(2)), (limited(0, 1), limited(1, 1)));
    call.change(1, |sample| sample.max = Some(VideoLayer::new(2, 3)));
    assert_eq!((call.of(1), call.of(2)), (limited(1, 1), limited(1, 1)));
    assert!(call.is_deficient());
}

#[test]
fn what_a_track_had_goes_to_others_when_it_ends() {
    let mut call = Call::new(true);
    call.camera(1);
    call.camera(2);
    call.capacity(2000);
    assert!(call.is_deficient());
    call.remove(1);
    assert_eq!(call.of(2), Allocation::Optimal);
    assert!(!call.is_deficient());
}

#[test]
fn a_source_that_falls_silent_begins_low() {
    let mut call = Call::new(true);
    call.camera(1);
    call.camera(2);
    call.capacity(1000);
    call.change(1, |sample| sample.bitrates = LayerBitrates::default());
    assert_eq!(call.of(1), limited(0, 0));
    assert_eq!(call.of(2), limited(2, 0));
}

#[test]
fn disabled_it_limits_nothing() {
    let now = Instant::now();
    let mut call = Call::new(true);
    call.allocator = StreamAllocator::new(now, false, true);
    call.camera(1);
    call.capacity(1);
    for _ in 0..100 {
        call.now += 100 * MS;
        call.drive(|allocator, now| allocator.handle_estimate(now, 1));
    }
    assert_eq!(call.of(1), Allocation::Optimal);
    assert_eq!(call.allocator.capacity(), None);
    assert!(call.allocator.is_stable() && !call.is_deficient());
}

#[test]
fn a_probe_goes_on_while_tracks_stay_as_they_are() {
    let mut call = Call::new(true);
    call.camera(1);
    call.estimates((600..1700).rev().step_by(90).chain([620; 20]));
    assert_eq!(call.of(1), limited(1, 1));
    call.change(1, |sample| sample.current = Some(VideoLayer::new(1, 1)));
    call.now += 100 * MS;
    assert!(call.padding() > 0);
    call.change(1, |_| {});
    call.now += 20 * MS;
    assert!(call.padding() > 0);
    call.change(1, |sample| sample.max = Some(VideoLayer::new(1, 3)));
    call.now += 20 * MS;
    assert_eq!(call.padding(), 0);
}

#[test]
fn how_much_more_a_probe_sends_is_configured() {
    // From 500 to 1000 kbit/s in portions of 10 ms, and of 1100 bytes at least.
    for (probe_overage_percent, probe_min_kbps, portion) in
        [(120, 200, 1100), (400, 200, 2500), (120, 4000, 5000)]
    {
        let config = AllocatorConfig {
            probe_overage_percent,
            probe_min_bps: probe_min_kbps * KBPS,
            ..AllocatorConfig::default()
        };
        let mut call = Call::with_config(true, config);
        call.camera(1);
        call.estimates((600..1700).rev().step_by(90).chain([620; 20]));
        call.change(1, |sample| sample.current = Some(VideoLayer::new(1, 1)));
        call.now += 100 * MS;
        assert_eq!(call.padding(), portion);
    }
}

#[test]
fn so_much_is_divided_at_least_whatever_is_estimated() {
    for (kbps, allocation) in [
        (0, limited(0, 1)),
        (500, limited(1, 1)),
        (1200, limited(2, 0)),
    ] {
        let config = AllocatorConfig {
            min_capacity: kbps * KBPS,
            ..AllocatorConfig::default()
        };
        let mut call = Call::with_config(true, config);
        call.camera(1);
        call.estimates((100..1300).rev().step_by(100).chain([100; 10]));
        assert_eq!(call.of(1), allocation, "{kbps} kbit/s");
        // It does not hold against what tests of applications ask for.
        call.capacity(60);
        assert_eq!(call.of(1), limited(0, 0));
    }
}

#[test]
fn after_silence_the_connection_is_probed_again() {
    for seconds in [1, 5] {
        let paused_min_wait = Duration::from_secs(seconds);
        let config = AllocatorConfig {
            paused_min_wait,
            ..AllocatorConfig::default()
        };
        let mut call = Call::with_config(true, config);
        call.camera(1);
        call.change(1, |sample| sample.packets = 1);
        let sent = call.now;
        call.estimates((10..1500).rev().step_by(133));
        assert_eq!(call.of(1), Allocation::Paused);
        let probed = (1..100).find_map(|_| {
            call.now += 100 * MS;
            (call.padding() > 0).then_some(call.now - sent)
        });
        let expected = paused_min_wait.max(2400 * MS);
        let late = probed.unwrap().saturating_sub(expected);
        assert!((100 * MS..=200 * MS).contains(&late), "{probed:?}");
    }
}
