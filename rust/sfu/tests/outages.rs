//! More packets are missing than are kept numbers for: the subscriber sees that something is missing, and
//! the publisher is asked for a key frame.

#![allow(clippy::unwrap_used, reason = "it is a test")]

mod common;

use common::encoder::{Coding, EncoderCall};
use common::svc::{Mode, SvcCall};
use common::{FRAME, as_rtx, ssrc_of};

const CODINGS: [Coding; 6] = [
    Coding::H264,
    Coding::H265,
    Coding::Vp8,
    Coding::Vp8Bare,
    Coding::Vp9,
    Coding::Av1,
];

#[test]
fn a_long_outage_leaves_a_hole_and_a_key_frame_is_asked_for_until_it_comes() {
    for coding in CODINGS {
        for missing in [513, 600, 2999] {
            let mut call = EncoderCall::new(coding);
            call.frame(true);
            (0..40).for_each(|_| call.frame(false));
            let (_, before) = call.sent().pop().unwrap();
            let asked = call.asked;
            for _ in 0..90 {
                call.turn(&[]);
            }
            call.encoder.skip(missing);
            call.frame(false);
            let (_, after) = call.sent().remove(0);
            let step = after.header.sequence.wrapping_sub(before.header.sequence);
            assert_eq!(step, 2, "{coding:?} {missing}");
            assert_eq!(call.asked, asked + 1, "{coding:?} {missing}");
            (0..40).for_each(|_| call.frame(false));
            assert!(call.asked > asked + 1, "{coding:?} {missing}");
            call.frame(true);
            let asked = call.asked;
            (0..40).for_each(|_| call.frame(false));
            assert_eq!(call.asked, asked, "{coding:?} {missing}");
        }
    }
}

#[test]
fn an_outage_that_can_be_filled_is_the_subscribers_to_judge() {
    for coding in CODINGS {
        let mut call = EncoderCall::new(coding);
        call.frame(true);
        call.frame(false);
        let (_, before) = call.sent().pop().unwrap();
        let asked = call.asked;
        call.encoder.skip(511);
        call.frame(false);
        let (_, after) = call.sent().remove(0);
        let step = after.header.sequence.wrapping_sub(before.header.sequence);
        assert_eq!((step, call.asked), (512, asked), "{coding:?}");
    }
}

#[test]
fn a_key_frame_from_before_the_outage_does_not_end_it() {
    use common::call::{Call, DELTA, KEY};
    let mut call = Call::new(1);
    call.frames(&[KEY], 2);
    (0..40).for_each(|_| call.frames(&[DELTA], 2));
    let late = call.layers[0].frame(true, 1);
    call.frames(&[DELTA], 600);
    call.layers[0].sequence = call.layers[0].sequence.wrapping_add(600);
    call.asked();
    call.frames(&[DELTA], 2);
    assert_eq!(call.asked(), [ssrc_of(0)]);
    common::receive(&mut call.receiver, call.now, &as_rtx(&late[0], 1));
    (0..40).for_each(|_| call.frames(&[DELTA], 2));
    assert!(!call.asked().is_empty());
}

#[test]
fn streams_of_several_layers_ask_for_a_key_frame_too() {
    for mode in [Mode::Full, Mode::Key, Mode::Vp9] {
        let mut call = SvcCall::new(mode);
        // Nothing else is to wait for a key frame.
        call.want(if mode == Mode::Key { 0 } else { 2 }, 2);
        call.picture(true);
        (0..100).for_each(|_| call.picture(false));
        call.asked();
        let before = call.sink.sent.last().unwrap().header.sequence;
        let sent = call.sink.sent.len();
        for _ in 0..100 {
            call.now += FRAME;
            call.publisher.picture(false, 3, 2);
            call.forward();
        }
        call.picture(false);
        assert!(call.asked(), "{mode:?}");
        let after = call.sink.sent.get(sent).unwrap().header.sequence;
        assert!(after.wrapping_sub(before) > 1, "{mode:?}");
        call.picture(true);
        call.now += 40 * FRAME;
        call.asked();
        call.picture(false);
        assert!(!call.asked(), "{mode:?}");
    }
}
