//! One stream with several layers: what each subscriber gets of it can be decoded, and ends where
//! it says.

mod common;

use std::collections::HashMap;

use common::svc::{Mark, Mode, SvcCall, mark_of};
use proptest::prelude::*;
use rtp::seq::diff_u16;

const MODES: [Mode; 3] = [Mode::Full, Mode::Key, Mode::Vp9];

fn pictures(call: &mut SvcCall, count: usize) -> Vec<(u8, usize)> {
    for _ in 0..count {
        call.picture(false);
    }
    call.sent()
}

#[test]
fn a_subscriber_gets_the_layers_it_wants() {
    for mode in MODES {
        for (spatial, temporal) in [(2, 2), (1, 2), (0, 2), (2, 0), (0, 0), (1, 1), (2, 3)] {
            let mut call = SvcCall::with(mode, |config| {
                config.max_spatial = spatial;
                config.max_temporal = temporal;
            });
            call.picture(true);
            let layers = spatial as usize + 1;
            assert_eq!(call.sent(), [(0, layers)], "{mode:?}");
            let expected = [2, 1, 2, 0, 2, 1, 2, 0]
                .into_iter()
                .filter(|&t| t as i8 <= temporal)
                // Between key pictures the top layer needs no other.
                .map(|t| (t, if mode == Mode::Key { 1 } else { layers }));
            let expected: Vec<_> = expected.collect();
            assert_eq!(
                pictures(&mut call, 8),
                expected,
                "{mode:?} {spatial} {temporal}"
            );
            let reported = call.down_track.take_layer_change();
            assert_eq!(reported, Some((spatial, temporal.min(2))), "{mode:?}");
        }
    }
}

#[test]
fn nothing_is_sent_before_a_key_picture() {
    for mode in MODES {
        let mut call = SvcCall::new(mode);
        assert_eq!(pictures(&mut call, 4), [], "{mode:?}");
        assert!(call.asked(), "{mode:?}");
        call.picture(true);
        assert_eq!(call.sent(), [(0, 3)], "{mode:?}");
    }
}

#[test]
fn a_higher_spatial_layer_begins_with_a_key_picture_that_is_asked_for() {
    for mode in MODES {
        let mut call = SvcCall::with(mode, |config| config.max_spatial = 0);
        call.picture(true);
        pictures(&mut call, 7);
        assert!(!call.asked(), "{mode:?}");
        call.want(1, 3);
        let before = pictures(&mut call, 4);
        assert!(
            before.iter().all(|&(_, layers)| layers == 1),
            "{mode:?} {before:?}"
        );
        assert!(call.asked(), "{mode:?}");
        call.picture(true);
        assert_eq!(call.sent(), [(0, 2)], "{mode:?}");
        call.now += std::time::Duration::from_secs(2);
        call.picture(false);
        assert!(!call.asked(), "{mode:?}");
    }
}

#[test]
fn a_lower_spatial_layer_begins_at_once_if_it_was_sent_along() {
    for mode in MODES {
        let mut call = SvcCall::new(mode);
        call.picture(true);
        pictures(&mut call, 7);
        call.want(0, 3);
        call.picture(false);
        assert_eq!(call.sent(), [(0, 1)], "{mode:?}");
        let spatial = call.down_track.take_layer_change().unwrap().0;
        // Without the lower layers' frames the top layer goes on until there is a key picture.
        let (expected, asked) = if mode == Mode::Key {
            (2, true)
        } else {
            (0, false)
        };
        assert_eq!((spatial, call.asked()), (expected, asked), "{mode:?}");
        call.picture(true);
        assert_eq!(call.sent(), [(0, 1)], "{mode:?}");
        assert_eq!(call.down_track.stats(call.now).spatial, 0, "{mode:?}");
    }
}

#[test]
fn temporal_layers_change_without_a_key_picture() {
    for mode in MODES {
        let mut call = SvcCall::new(mode);
        call.picture(true);
        pictures(&mut call, 3);
        let temporal = |pictures: Vec<(u8, usize)>| -> Vec<u8> {
            pictures.into_iter().map(|(temporal, _)| temporal).collect()
        };
        call.want(2, 0);
        assert_eq!(temporal(pictures(&mut call, 4)), [0], "{mode:?}");
        call.want(2, 2);
        assert_eq!(temporal(pictures(&mut call, 4)), [0, 2, 1, 2], "{mode:?}");
        assert!(!call.asked(), "{mode:?}");
    }
}

#[test]
fn a_layer_that_the_publisher_does_not_send_is_not_asked_for() {
    let mut call = SvcCall::new(Mode::Vp9);
    for picture in 0..40 {
        call.now += common::FRAME;
        for packet in call.publisher.picture(picture == 0, 2, 2) {
            call.receive(&packet);
        }
        call.forward();
    }
    assert!(!call.asked());
    assert_eq!(call.down_track.take_layer_change(), Some((1, 2)));
    let live: Vec<_> = call.receiver.take_layer_change().unwrap().collect();
    assert_eq!(live, [0, 1]);
}

#[test]
fn each_spatial_layer_has_its_figures() {
    for mode in MODES {
        let mut call = SvcCall::new(mode);
        call.picture(true);
        pictures(&mut call, 40);
        let stats: Vec<_> = call.receiver.stats(call.now).collect();
        assert_eq!(stats.len(), 3);
        for (spatial, layer) in (0..).zip(&stats) {
            let expected = (spatial, true, 82, 41);
            let found = (layer.spatial, layer.live, layer.packets, layer.frames);
            assert_eq!(found, expected, "{mode:?}");
            assert!(layer.bitrate_bps > 1000.0);
        }
        assert_eq!(stats[0].key_frames, 1);
        assert_eq!(stats[1].key_frames, 0);
    }
}

#[test]
fn a_descriptor_tells_the_decode_targets_that_are_sent() {
    let mut call = SvcCall::with(Mode::Full, |config| config.max_spatial = 1);
    call.picture(true);
    call.picture(false);
    for sent in std::mem::take(&mut call.sink.sent) {
        let descriptor = call.descriptor(&sent);
        assert_eq!(descriptor.active_targets, Some(0b11_1111));
    }
}

#[test]
fn a_retransmission_has_the_descriptor_of_its_first_sending() {
    let mut call = SvcCall::with(Mode::Full, |config| config.max_spatial = 1);
    call.picture(true);
    let first = std::mem::take(&mut call.sink.sent);
    call.want(0, 3);
    for original in &first {
        let sequences = [original.header.sequence];
        call.down_track
            .handle_nack(call.now, sequences, &call.receiver, &mut call.sink);
        let again = call.sink.sent.pop().unwrap();
        assert_eq!(
            again.unwrap_rtx(),
            (original.header.sequence, original.payload.clone())
        );
        assert_eq!(call.descriptor(&again), call.descriptor(original));
        assert_eq!(again.header.marker, original.header.marker);
    }
}

#[test]
fn frame_numbers_go_on_when_the_subscriber_pauses() {
    let mut call = SvcCall::new(Mode::Full);
    call.picture(true);
    pictures(&mut call, 3);
    call.down_track.update(call.now, 2, 3, true, &call.receiver);
    for _ in 0..30_000 {
        call.publisher.frame = call.publisher.frame.wrapping_add(1);
    }
    call.down_track
        .update(call.now, 2, 3, false, &call.receiver);
    call.picture(true);
    let sent = std::mem::take(&mut call.sink.sent);
    // Four pictures of three frames came before.
    let number = call.descriptor(&sent[0]).frame_number;
    assert_eq!(number, 65_401u16.wrapping_add(12));
}

#[derive(Clone, Debug)]
enum Step {
    Picture { key: bool, lost: u16, swapped: bool },
    Want(i8, i8),
    Mute(bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let picture = (
        prop::bool::weighted(0.1),
        any::<u16>(),
        prop::bool::weighted(0.1),
    );
    let step = prop_oneof![
        12 => picture.prop_map(|(key, lost, swapped)| Step::Picture { key, lost, swapped }),
        2 => (-1i8..3, -1i8..4).prop_map(|(spatial, temporal)| Step::Want(spatial, temporal)),
        1 => any::<bool>().prop_map(Step::Mute),
    ];
    prop::collection::vec(step, 1..80)
}

/// Runs `steps` and returns what was sent, and the outgoing numbers that were kept for packets
/// which the publisher's network lost.
fn run(mode: Mode, steps: &[Step], lossy: bool) -> SvcCall {
    let mut call = SvcCall::new(mode);
    call.picture(true);
    let (mut spatial, mut temporal, mut muted) = (2, 3, false);
    for step in steps {
        match *step {
            Step::Picture { key, lost, swapped } => {
                let mut packets = call.publisher.picture(key, 3, 2);
                call.now += common::FRAME;
                if lossy && swapped {
                    packets.swap(2, 3);
                }
                for (index, packet) in packets.iter().enumerate() {
                    // One packet in sixteen, but never of what a picture begins with.
                    if !lossy || index == 0 || lost >> index & 0x1001 != 0x1001 {
                        call.receive(packet);
                    }
                }
                call.forward();
            }
            Step::Want(s, t) => {
                (spatial, temporal) = (s, t);
                call.down_track
                    .update(call.now, s, t, muted, &call.receiver);
            }
            Step::Mute(m) => {
                muted = m;
                let receiver = &call.receiver;
                call.down_track
                    .update(call.now, spatial, temporal, m, receiver);
            }
        }
    }
    call
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Without loss: numbers without holes, pictures that end with the only marker, and nothing
    /// that refers to a frame that was left out.
    #[test]
    fn what_is_sent_can_be_decoded(mode in prop::sample::select(&MODES), steps in steps()) {
        let mut call = run(mode, &steps, false);
        let sent = std::mem::take(&mut call.sink.sent);
        for pair in sent.windows(2) {
            prop_assert_eq!(diff_u16(pair[1].header.sequence, pair[0].header.sequence), 1);
            let (before, after) = (mark(&pair[0]), mark(&pair[1]));
            let ends = before.picture != after.picture;
            prop_assert_eq!(pair[0].header.marker, ends, "{:?} {:?}", before, after);
            prop_assert_eq!(pair[0].header.timestamp == pair[1].header.timestamp, !ends);
        }
        let mut known = HashMap::new();
        let mut last: Option<u16> = None;
        for packet in &sent {
            let mark = mark(packet);
            let made = call.publisher.made.iter().find(|made| made.number == mark.frame).unwrap();
            for reference in &made.references {
                prop_assert!(known.contains_key(reference), "{:?} needs {}", mark, reference);
            }
            let packets: &mut u32 = known.entry(mark.frame).or_default();
            *packets += 1;
            if mode != Mode::Vp9 {
                let descriptor = call.descriptor(packet);
                let step = last.map_or(1, |last| diff_u16(descriptor.frame_number, last));
                prop_assert_eq!(step.signum(), i16::from(*packets == 1));
                last = Some(descriptor.frame_number);
                let active = descriptor.active_targets.unwrap();
                let target = 8 - (active.leading_zeros() - 23) as u8;
                prop_assert!(mark.spatial <= target / 3);
                prop_assert!(mark.temporal <= target % 3);
            }
        }
        let last_picture = sent.last().map(|packet| mark(packet).picture);
        for (frame, packets) in &known {
            let whole = *packets == 2;
            prop_assert!(whole, "half of {frame} of {last_picture:?}");
        }
    }

    /// With loss and reordering: no number is used twice, and holes stay only where packets are
    /// missing.
    #[test]
    fn loss_leaves_holes_and_nothing_else(
        mode in prop::sample::select(&MODES), steps in steps(),
    ) {
        let mut call = run(mode, &steps, true);
        let mut numbers: Vec<u64> = Vec::new();
        let mut unwrapper = rtp::seq::SeqUnwrapper::new();
        for packet in &call.sink.sent {
            numbers.push(unwrapper.unwrap(packet.header.sequence));
        }
        let count = numbers.len();
        numbers.sort_unstable();
        numbers.dedup();
        prop_assert_eq!(numbers.len(), count);
        let lost = call.receiver.stats(call.now).next().unwrap().packets_lost;
        let holes = numbers.last().map_or(0, |last| last - numbers[0] + 1) - count as u64;
        prop_assert!(holes <= lost.max(0) as u64, "{holes} holes, {lost} lost");
    }
}

fn mark(sent: &common::Sent) -> Mark {
    mark_of(&sent.payload).expect("it has a payload")
}
