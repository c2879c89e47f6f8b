//! Frames with LiveKit's packet trailer, to subscribers that know it and those that do not.

#![allow(clippy::unwrap_used, reason = "it is a test")]

mod common;

use common::call::{Call, DELTA, KEY};
use common::receive;

/// No elements.
const TRAILER: [u8; 5] = [0xff ^ 5, b'L', b'K', b'T', b'S'];

/// A call in which a frame of two packets was sent, both ending with a trailer.
fn call(strip: bool, rtx: bool) -> Call {
    let mut call = Call::with(1, |config| {
        config.strip_trailer = strip;
        config.rtx_ssrc = config.rtx_ssrc.filter(|_| rtx);
    });
    call.frames(&[KEY], 1);
    call.sink.sent.clear();
    for published in call.layers[0].frame(false, 2) {
        let mut bytes = published.bytes;
        bytes.extend(TRAILER);
        receive(&mut call.receiver, call.now, &bytes);
    }
    call.forward();
    call
}

fn with_trailer(call: &Call) -> Vec<bool> {
    let sent = call.sink.sent.iter();
    sent.map(|sent| sent.payload.ends_with(&TRAILER)).collect()
}

#[test]
fn it_is_taken_off_the_last_packet_of_a_frame() {
    let mut call = call(true, true);
    assert_eq!(with_trailer(&call), [true, false]);
    let last = call.sink.sent[1].clone();
    assert!(last.header.marker);
    assert_eq!(last.payload.len(), call.sink.sent[0].payload.len() - 5);
    call.nack(&[last.header.sequence]);
    let (_, again) = call.sink.sent[2].unwrap_rtx();
    assert_eq!(again, last.payload);
    // A frame without one stays as it is.
    call.frames(&[DELTA], 1);
    let len = call.sink.sent.last().unwrap().payload.len();
    assert_eq!(len, last.payload.len());
}

#[test]
fn it_is_taken_off_packets_that_are_sent_again_as_they_were() {
    let mut call = call(true, false);
    let last = call.sink.sent[1].clone();
    call.nack(&[last.header.sequence]);
    assert_eq!(call.sink.sent[2], last);
}

#[test]
fn those_who_know_it_get_it() {
    let mut call = call(false, true);
    let sequence = call.sink.sent[1].header.sequence;
    call.nack(&[sequence]);
    assert_eq!(with_trailer(&call), [true; 3]);
}
