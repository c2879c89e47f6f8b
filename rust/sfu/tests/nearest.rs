//! A subscriber gets something whenever something comes that it can decode: the layer that it wants, or
//! the nearest that lives.

#![allow(clippy::unwrap_used, reason = "it is a test")]

mod common;

use std::time::Duration;

use common::call::{Call, DELTA, KEY};
use common::svc::{Mode, SvcCall};
use common::{down_track_config, ssrc_of};
use lkpy_sfu::{AllocatedTrack, StreamState};
use lkpy_sfu::{Allocation, DownTrack, StreamAllocator, VideoLayer};

/// Frames of about `ms` milliseconds.
fn frames_in(ms: u64) -> usize {
    ms.div_ceil(33) as usize
}

/// Sends frames of each layer for which `key` says something, with key frames where they are asked for, and
/// returns the layers of what the subscriber got of the last of them.
fn run(call: &mut Call, alive: [bool; 3], count: usize) -> Option<u8> {
    for _ in 0..count {
        let asked = call.asked();
        let key = [0, 1, 2].map(|layer| {
            let is_asked = asked.contains(&ssrc_of(layer));
            alive[usize::from(layer)].then_some(is_asked)
        });
        call.sink.sent.clear();
        call.frames(&key, 5);
    }
    call.sent().last().map(|sent| sent.0)
}

#[test]
fn whatever_lives_is_sent_whatever_is_wanted() {
    for max in 0..=2 {
        for (alive, nearest) in [
            ([true, false, false], [0, 0, 0]),
            ([false, true, false], [1, 1, 1]),
            ([false, false, true], [2, 2, 2]),
            ([true, true, false], [0, 1, 1]),
            ([true, false, true], [0, 0, 2]),
            ([false, true, true], [1, 1, 2]),
            ([true, true, true], [0, 1, 2]),
        ] {
            let mut call = Call::with(3, |config| config.max_spatial = max);
            let sent = run(&mut call, alive, frames_in(2500));
            let expected = Some(nearest[max as usize]);
            assert_eq!(sent, expected, "up to {max} of {alive:?}");
        }
    }
}

#[test]
fn a_layer_above_begins_with_its_first_key_frame() {
    let mut call = Call::with(3, |config| config.max_spatial = 0);
    call.frames(&[None, None, KEY], 5);
    for _ in 0..frames_in(200) {
        call.frames(&[None, None, DELTA], 5);
    }
    assert_eq!(call.sent(), []);
    for _ in 0..2 {
        call.frames(&[None, None, DELTA], 5);
    }
    assert_eq!(call.sent().first(), Some(&(2, 1)));
}

#[test]
fn a_wanted_layer_that_begins_late_replaces_the_one_above() {
    let mut call = Call::with(3, |config| config.max_spatial = 0);
    assert_eq!(run(&mut call, [false, false, true], 60), Some(2));
    call.frames(&[None, DELTA, DELTA], 5);
    assert_eq!(call.asked(), [ssrc_of(1)]);
    call.sent();
    call.frames(&[None, KEY, DELTA], 5);
    call.frames(&[None, DELTA, DELTA], 5);
    assert_eq!(call.sent().last().map(|sent| sent.0), Some(1));
    assert_eq!(run(&mut call, [true, true, true], 5), Some(0));
    // It stays there.
    assert_eq!(run(&mut call, [true, true, true], 100), Some(0));
}

#[test]
fn a_wanted_layer_that_dies_is_replaced_from_above_and_comes_back() {
    let mut call = Call::with(3, |config| config.max_spatial = 0);
    assert_eq!(run(&mut call, [true, true, true], 60), Some(0));
    assert_eq!(
        run(&mut call, [false, true, true], frames_in(2600)),
        Some(1)
    );
    assert_eq!(
        run(&mut call, [false, false, true], frames_in(2600)),
        Some(2)
    );
    assert_eq!(run(&mut call, [true, false, true], 5), Some(0));
}

#[test]
fn a_layer_that_trickles_is_sent_to_who_comes_late() {
    // Two frames a second, one packet each: never enough for a live layer.
    let mut call = Call::with(3, |config| config.max_spatial = 1);
    let trickle = |call: &mut Call, key| {
        call.now += Duration::from_millis(300);
        call.frames(&[None, key, None], 1);
    };
    trickle(&mut call, KEY);
    for _ in 0..20 {
        trickle(&mut call, DELTA);
    }
    assert!(!call.receiver.live_layers().any(|layer| layer == 1));
    let mut late = DownTrack::new(call.now, down_track_config(call.now, 77), &call.receiver);
    late.set_connected(call.now, true, &call.receiver);
    call.down_track = late;
    trickle(&mut call, DELTA);
    assert_eq!(call.asked(), [ssrc_of(1)]);
    call.sent();
    trickle(&mut call, KEY);
    assert_eq!(call.sent().len(), 1);
}

#[test]
fn a_subscriber_that_wants_nothing_gets_nothing() {
    for (max, muted) in [(-1, false), (0, true)] {
        let mut call = Call::with(3, |config| config.max_spatial = 2);
        call.update(max, 3, muted);
        assert_eq!(run(&mut call, [false, false, true], 60), None);
        call.update(0, 3, false);
        assert_eq!(run(&mut call, [false, false, true], 60), Some(2));
    }
}

#[test]
fn an_encoder_that_drops_the_lower_layers_of_one_stream() {
    for mode in [Mode::Full, Mode::Key, Mode::Vp9] {
        for max in 0..=2 {
            let mut call = SvcCall::with(mode, |config| config.max_spatial = max);
            call.publisher.lowest = 1;
            call.picture(true);
            for _ in 0..8 {
                call.picture(false);
            }
            let layers = if max == 2 && mode != Mode::Key { 2 } else { 1 };
            assert_eq!(call.sent().last(), Some(&(0, layers)), "{mode:?} {max}");
            // The lowest layer comes back with a key picture.
            call.publisher.lowest = 0;
            call.picture(true);
            assert_eq!(call.sent(), [(0, max as usize + 1)], "{mode:?} {max}");
        }
    }
}

#[test]
fn a_layer_above_is_paid_for_where_bandwidth_is_short() {
    for (capacity, allow_pause, expected) in [
        (10_000_000, true, Some(Allocation::Optimal)),
        (
            1_000,
            false,
            Some(Allocation::Limited(VideoLayer::new(2, 0))),
        ),
        (1_000, true, Some(Allocation::Paused)),
    ] {
        let mut call = Call::with(3, |config| config.max_spatial = 0);
        run(&mut call, [false, false, true], 60);
        let mut allocator = StreamAllocator::new(call.now, true, allow_pause);
        allocator.add_track(AllocatedTrack {
            key: 1,
            screen_share: false,
            multi_layered: true,
        });
        let sample = call.down_track.sample(call.now, &mut call.receiver);
        allocator.observe(call.now, 1, sample);
        allocator.track_changed(call.now, 1);
        allocator.override_capacity(call.now, Some(capacity));
        let changes: Vec<_> = allocator.take_changes().collect();
        let allocation = changes.last().map(|&(_, allocation)| allocation);
        let allocation = allocation.or(Some(Allocation::Optimal));
        assert_eq!(allocation, expected, "{capacity}");
        let paused = allocator.take_states().contains(&(1, StreamState::Paused));
        assert_eq!(paused, expected == Some(Allocation::Paused));
        call.down_track
            .set_allocation(call.now, allocation.unwrap(), &call.receiver);
        let sent = run(&mut call, [false, false, true], 10);
        let expected = (expected != Some(Allocation::Paused)).then_some(2);
        assert_eq!(sent, expected, "{capacity}");
    }
}
