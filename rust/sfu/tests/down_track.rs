//! Which layer a down track sends, and when.

#![allow(clippy::unwrap_used, reason = "it is a test")]

mod common;

use std::time::Duration;

use common::call::{Call, DELTA, KEY};
use common::{FRAME, MS, down_track_config, receive, receiver_config, ssrc_of};
use lkpy_sfu::{DownTrack, Receiver, VideoLayer};

#[test]
fn video_begins_with_a_key_frame_which_is_asked_for_at_once() {
    let mut call = Call::new(1);
    call.frames(&[DELTA], 2);
    assert_eq!(call.asked(), [ssrc_of(0)]);
    call.frames(&[DELTA], 2);
    assert_eq!(call.sent(), []);
    call.frames(&[KEY], 2);
    call.frames(&[DELTA], 2);
    assert_eq!(call.sent(), [(0, 3), (0, 4)]);
    assert_eq!(call.down_track.next_deadline(), None);
}

#[test]
fn a_subscriber_that_comes_just_after_a_key_frame_is_served_from_the_ring() {
    let mut call = Call::new(1);
    call.frames(&[KEY], 3);
    call.frames(&[DELTA], 3);
    let mut late = DownTrack::new(call.now, down_track_config(call.now, 77), &call.receiver);
    late.set_connected(call.now, true, &call.receiver);
    call.sink.sent.clear();
    std::mem::swap(&mut call.down_track, &mut late);
    call.frames(&[DELTA], 3);
    assert_eq!(call.sink.sent.len(), 9);
    assert_eq!(call.sent(), [(0, 1), (0, 2), (0, 3)]);
}

#[test]
fn nothing_is_sent_or_asked_for_before_the_transport_is_connected() {
    let mut call = Call::new(1);
    let now = call.now;
    call.down_track.set_connected(now, false, &call.receiver);
    call.frames(&[KEY], 1);
    assert_eq!((call.sent(), call.asked()), (vec![], vec![]));
    assert_eq!(call.down_track.next_deadline(), None);
}

#[test]
fn layers_change_on_key_frames_up_and_down() {
    let mut call = Call::new(3);
    call.frames(&[KEY, None, None], 2);
    assert_eq!(call.sent(), [(0, 1)]);
    assert_eq!(call.down_track.take_layer_change(), Some((0, 0)));
    assert_eq!(call.down_track.take_layer_change(), None);
    call.frames(&[DELTA, DELTA, DELTA], 2);
    assert_eq!(call.sent(), [(0, 2)]);
    assert!(call.asked().contains(&ssrc_of(2)));
    call.frames(&[DELTA, DELTA, KEY], 2);
    call.frames(&[DELTA, DELTA, DELTA], 2);
    // The last frame of the old layer was complete: it came in the same turn.
    assert_eq!(call.sent().last(), Some(&(2, 3)));
    assert_eq!(call.down_track.take_layer_change(), Some((2, 2)));
    call.update(1, 3, false);
    call.frames(&[DELTA, DELTA, DELTA], 2);
    assert_eq!(call.sent(), [(2, 4)]);
    assert_eq!(call.asked(), [ssrc_of(1)]);
    call.frames(&[DELTA, KEY, DELTA], 2);
    call.frames(&[DELTA, DELTA, DELTA], 2);
    assert_eq!(call.sent().last(), Some(&(1, 6)));
}

#[test]
fn a_switch_waits_for_the_end_of_the_frame_being_sent() {
    let mut call = Call::new(2);
    call.frames(&[KEY, None], 1);
    let low = call.layers[0].frame(false, 3);
    let high = call.layers[1].frame(true, 2);
    call.now += FRAME;
    receive(&mut call.receiver, call.now, &low[0].bytes);
    call.forward();
    for published in [&low[1], &high[0]] {
        receive(&mut call.receiver, call.now, &published.bytes);
    }
    call.forward();
    assert_eq!(call.sent(), [(0, 1), (0, 2)]);
    for published in [&low[2], &high[1]] {
        receive(&mut call.receiver, call.now, &published.bytes);
    }
    call.forward();
    let markers: Vec<_> = call
        .sink
        .sent
        .iter()
        .map(|sent| sent.header.marker)
        .collect();
    assert_eq!(markers, [true, false, true]);
    assert_eq!(call.sent(), [(0, 2), (1, 1)]);
}

#[test]
fn a_switch_does_not_wait_for_long() {
    let mut call = Call::new(2);
    call.frames(&[KEY, None], 1);
    let low = call.layers[0].frame(false, 2);
    let high = call.layers[1].frame(true, 2);
    call.now += FRAME;
    receive(&mut call.receiver, call.now, &low[0].bytes);
    call.forward();
    receive(&mut call.receiver, call.now, &high[0].bytes);
    call.forward();
    call.now += 25 * MS;
    receive(&mut call.receiver, call.now, &high[1].bytes);
    call.forward();
    assert_eq!(call.sent(), [(0, 1), (0, 2), (1, 1)]);
}

#[test]
fn a_layer_that_dies_is_replaced_and_comes_back() {
    let mut call = Call::new(3);
    call.frames(&[KEY, KEY, KEY], 5);
    call.sent();
    for _ in 0..40 {
        call.frames(&[DELTA, DELTA, None], 5);
    }
    assert!(call.asked().contains(&ssrc_of(1)));
    assert_eq!(call.sent(), []);
    call.frames(&[DELTA, KEY, None], 5);
    call.frames(&[DELTA, DELTA, None], 5);
    assert_eq!(call.sent().last().map(|sent| sent.0), Some(1));
    call.frames(&[DELTA, DELTA, KEY], 5);
    call.frames(&[DELTA, DELTA, DELTA], 5);
    assert_eq!(call.sent().last().map(|sent| sent.0), Some(2));
}

#[test]
fn temporal_layers_go_down_at_a_frame_and_up_at_a_layer_sync() {
    temporal_layers_change(Call::new(1));
}

#[test]
fn temporal_layers_that_dependency_descriptors_tell_change_at_the_same_frames() {
    temporal_layers_change(Call::described(1));
}

#[test]
fn each_stream_has_its_own_dependency_structure() {
    let mut call = Call::described(2);
    call.frames(&[KEY, KEY], 2);
    for _ in 0..40 {
        call.frames(&[DELTA, DELTA], 2);
    }
    let bitrates = call.receiver.bitrates(call.now);
    for (spatial, temporal) in [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)] {
        let layer = VideoLayer::new(spatial, temporal);
        assert!(bitrates.get(layer) > 0, "{layer:?} in {bitrates:?}");
    }
}

fn temporal_layers_change(mut call: Call) {
    call.frames(&[KEY], 2);
    let temporals = |call: &mut Call, frames: usize| {
        for _ in 0..frames {
            call.frames(&[DELTA], 2);
        }
        let origins = call.sink.sent.drain(..).filter_map(|sent| sent.origin());
        let mut temporals: Vec<_> = origins
            .map(|origin| (origin.frame, origin.temporal))
            .collect();
        temporals.dedup();
        temporals
            .into_iter()
            .map(|(_, temporal)| temporal)
            .collect::<Vec<_>>()
    };
    // The pattern of the publisher is 0 2 1 2; the first 2 and the 1 are sync frames.
    assert_eq!(temporals(&mut call, 4), [0, 2, 1, 2, 0]);
    call.update(2, 0, false);
    assert_eq!(temporals(&mut call, 4), [0]);
    call.update(2, 1, false);
    assert_eq!(temporals(&mut call, 8), [1, 0, 1, 0]);
    call.update(2, 2, false);
    // Right after the change comes a 2 that needs frames that were not sent.
    assert_eq!(temporals(&mut call, 8), [2, 1, 2, 0, 2, 1, 2, 0]);
}

#[test]
fn muting_stops_and_unmuting_goes_on_with_a_key_frame_and_time_that_has_passed() {
    let mut call = Call::new(1);
    call.frames(&[KEY], 2);
    call.frames(&[DELTA], 2);
    let before = call.sink.sent.last().unwrap().header;
    assert_eq!(call.down_track.take_layer_change(), Some((0, 2)));
    call.update(2, 3, true);
    assert_eq!(call.down_track.take_layer_change(), Some((-1, -1)));
    call.sent();
    for _ in 0..30 {
        call.frames(&[DELTA], 2);
    }
    assert_eq!((call.sent(), call.asked()), (vec![], vec![]));
    call.update(2, 3, false);
    call.frames(&[DELTA], 2);
    assert_eq!((call.sent(), call.asked()), (vec![], vec![ssrc_of(0)]));
    call.frames(&[KEY], 2);
    let after = call.sink.sent.first().unwrap().header;
    assert_eq!(after.sequence, before.sequence.wrapping_add(1));
    assert_eq!(after.timestamp, before.timestamp.wrapping_add(32 * 2970));
}

#[test]
fn a_muted_publisher_is_not_asked_and_its_clock_may_stand_still() {
    let mut call = Call::new(1);
    call.frames(&[KEY], 2);
    let before = call.sink.sent.last().unwrap().header;
    call.receiver.set_muted(call.now, true);
    call.down_track.handle_timeout(call.now, &mut call.receiver);
    assert_eq!(call.down_track.next_deadline(), None);
    call.now += Duration::from_secs(10);
    call.receiver.set_muted(call.now, false);
    call.down_track.handle_timeout(call.now, &mut call.receiver);
    assert_eq!(call.asked(), [ssrc_of(0)]);
    call.sent();
    // 33 ms later by the publisher's RTP clock.
    call.frames(&[KEY], 2);
    let after = call.sink.sent.first().unwrap().header;
    assert_eq!(after.sequence, before.sequence.wrapping_add(1));
    let passed = after.timestamp.wrapping_sub(before.timestamp);
    assert_eq!(passed, 10 * 90_000 + 2970);
}

#[test]
fn another_source_continues_the_stream() {
    let mut call = Call::new(1);
    call.frames(&[KEY], 2);
    let before = call.sink.sent.last().unwrap().header;
    call.sent();
    call.receiver = Receiver::new(call.now, receiver_config(1));
    call.layers[0].sequence = 30_000;
    call.layers[0].timestamp = 7;
    call.down_track.set_source(call.now, &call.receiver);
    call.nack(&[before.sequence]);
    call.frames(&[DELTA], 2);
    assert_eq!(call.sent(), []);
    call.frames(&[KEY], 2);
    let after = call.sink.sent.first().unwrap().header;
    assert_eq!(after.sequence, before.sequence.wrapping_add(1));
    assert_eq!(after.timestamp, before.timestamp.wrapping_add(2 * 2970));
}
