//! What later descriptions change, on either side, takes effect while the stream goes on.

#![allow(clippy::unwrap_used, reason = "it is a test")]

mod common;

use std::time::Duration;

use common::call::{Call, DELTA, KEY};
use common::{RTX_PT, VIDEO_PT, receive, receiver_config, ssrc_of, vp8};
use lkpy_sfu::{CodecParameters, Encoding, HeaderExtension, RtpOutcome};
use rtp::extension::ExtensionKind;

/// Frames of the first layer, under a payload type and an ssrc.
fn send(call: &mut Call, frames: usize, key: bool, payload_type: u8, ssrc: u32) -> Vec<RtpOutcome> {
    let mut outcomes = Vec::new();
    for _ in 0..frames {
        call.now += common::FRAME;
        for published in call.layers[0].frame(key, 2) {
            let mut bytes = published.bytes;
            bytes[1] = bytes[1] & 0x80 | payload_type;
            bytes[8..12].copy_from_slice(&ssrc.to_be_bytes());
            outcomes.push(receive(&mut call.receiver, call.now, &bytes));
        }
        call.forward();
    }
    outcomes
}

fn renegotiate(
    call: &mut Call,
    codecs: Vec<CodecParameters>,
    encodings: Vec<Encoding>,
) -> Vec<u32> {
    let extensions = receiver_config(1).header_extensions;
    let receiver = &mut call.receiver;
    let ssrcs = receiver.renegotiate(call.now, codecs, extensions, encodings);
    ssrcs.collect()
}

/// Whether all packets so far came under one ssrc, without a hole.
fn assert_unbroken(call: &Call) {
    let headers = call.sink.sent.iter().map(|sent| sent.header);
    let media: Vec<_> = headers
        .filter(|header| header.ssrc == common::call::SSRC)
        .collect();
    for pair in media.windows(2) {
        assert_eq!(pair[1].sequence, pair[0].sequence.wrapping_add(1));
    }
}

fn codec(mime_type: &str, payload_type: u8) -> CodecParameters {
    CodecParameters {
        mime_type: mime_type.to_owned(),
        ..vp8(payload_type)
    }
}

#[test]
fn a_publisher_changes_its_payload_types() {
    let mut call = Call::new(1);
    let encodings = receiver_config(1).encodings;
    send(&mut call, 1, true, VIDEO_PT, ssrc_of(0));
    // VP8 has another number, and its own means VP9.
    let codecs = vec![codec("video/vp9", VIDEO_PT), vp8(100)];
    renegotiate(&mut call, codecs, encodings.clone());
    send(&mut call, 3, false, 100, ssrc_of(0));
    assert_eq!(call.sent().len(), 4);
    assert_eq!(call.receiver.codec().unwrap().mime_type, "video/vp8");
    let refused = send(&mut call, 1, false, 77, ssrc_of(0));
    assert_eq!(refused, [RtpOutcome::UnknownPayloadType; 2]);
    // One that is merely left out is still understood: packets may be on their way.
    renegotiate(&mut call, vec![codec("video/vp9", 50)], encodings);
    send(&mut call, 1, false, 100, ssrc_of(0));
    assert_eq!(call.sent().len(), 1);
    assert_unbroken(&call);
    assert_eq!(call.asked(), []);
}

#[test]
fn an_encoder_that_goes_on_in_another_codec_is_told_of() {
    let mut call = Call::new(1);
    let encodings = receiver_config(1).encodings;
    renegotiate(
        &mut call,
        vec![vp8(VIDEO_PT), codec("video/h264", 102)],
        encodings,
    );
    send(&mut call, 2, true, VIDEO_PT, ssrc_of(0));
    assert!(call.receiver.take_layer_change().is_some());
    send(&mut call, 1, true, 102, ssrc_of(0));
    assert_eq!(call.receiver.codec().unwrap().mime_type, "video/h264");
    assert_eq!(
        call.receiver
            .take_layer_change()
            .unwrap()
            .collect::<Vec<_>>(),
        [0]
    );
    send(&mut call, 2, false, 102, ssrc_of(0));
    assert!(call.receiver.take_layer_change().is_none());
}

#[test]
fn a_signalled_ssrc_replaces_another_when_it_comes() {
    let mut call = Call::new(1);
    send(&mut call, 1, true, VIDEO_PT, ssrc_of(0));
    let encoding = Encoding {
        ssrc: Some(7),
        rtx_ssrc: Some(8),
        ..Encoding::default()
    };
    let ssrcs = renegotiate(&mut call, vec![vp8(VIDEO_PT)], vec![encoding]);
    assert!(ssrcs.contains(&7) && ssrcs.contains(&8));
    send(&mut call, 3, false, VIDEO_PT, ssrc_of(0));
    assert_eq!(call.sent().len(), 4);
    send(&mut call, 1, false, VIDEO_PT, 7);
    assert_eq!((call.sent(), call.asked()), (vec![], vec![7]));
    send(&mut call, 2, true, VIDEO_PT, 7);
    assert_eq!(call.sent().len(), 2);
    assert_unbroken(&call);
}

#[test]
fn layers_come_and_go_by_a_later_offer() {
    let mut call = Call::new(3);
    let encodings = receiver_config(3).encodings;
    renegotiate(&mut call, vec![vp8(VIDEO_PT)], encodings[..1].to_vec());
    call.frames(&[KEY, None, None], 2);
    call.frames(&[DELTA, None, None], 2);
    assert_eq!(call.sent().last(), Some(&(0, 2)));
    assert!(!call.receiver.is_multi_layered());
    renegotiate(&mut call, vec![vp8(VIDEO_PT)], encodings);
    call.frames(&[DELTA, DELTA, KEY], 2);
    call.frames(&[DELTA, DELTA, DELTA], 2);
    assert_eq!(call.sent().last(), Some(&(2, 2)));
    assert_unbroken(&call);
}

#[test]
fn an_encoder_that_restarts_under_ssrcs_that_nobody_knows() {
    let mut call = Call::new(3);
    call.frames(&[KEY, KEY, KEY], 2);
    let sent = |call: &mut Call, key: bool| {
        call.now += common::FRAME;
        for layer in &mut call.layers {
            for published in layer.frame(key, 2) {
                let mut bytes = published.bytes;
                let ssrc = 5000 + u32::from(published.origin.layer);
                bytes[8..12].copy_from_slice(&ssrc.to_be_bytes());
                receive(&mut call.receiver, call.now, &bytes);
            }
        }
        call.forward();
    };
    for _ in 0..100 {
        sent(&mut call, false);
    }
    call.sink.sent.clear();
    let asked = call.asked();
    assert!(
        asked.iter().any(|ssrc| (5000..5003).contains(ssrc)),
        "{asked:?}"
    );
    for frame in 0..40 {
        sent(&mut call, frame == 0);
    }
    assert!(call.sent().len() > 30);
    assert_unbroken(&call);
}

#[test]
fn a_subscriber_changes_payload_types_and_ids_of_extensions() {
    let mid = |id| HeaderExtension {
        id,
        uri: ExtensionKind::Mid.uri().to_owned(),
    };
    let mut call = Call::with(1, |config| config.header_extensions = vec![mid(3)]);
    call.frames(&[KEY], 2);
    let (codecs, extensions) = (vec![vp8(120)], vec![mid(5)]);
    let down_track = &mut call.down_track;
    down_track.renegotiate(call.now, codecs, extensions, &call.receiver);
    call.frames(&[DELTA], 2);
    let written = |at: usize| {
        let sent = &call.sink.sent[at];
        let mut extensions = sent.header.extensions(&sent.bytes);
        (sent.header.payload_type, extensions.next().unwrap().0)
    };
    assert_eq!((written(0), written(3)), ((110, 3), (120, 5)));
    assert_unbroken(&call);
    // What went out before is not sent again, what went out since is, as the subscriber has it now.
    let sequences: Vec<_> = call
        .sink
        .sent
        .iter()
        .map(|sent| sent.header.sequence)
        .collect();
    call.sink.sent.clear();
    call.now += Duration::from_millis(500);
    call.nack(&sequences);
    let again: Vec<_> = call
        .sink
        .sent
        .iter()
        .map(|sent| sent.header.payload_type)
        .collect();
    assert_eq!(again, [121, 121]);
}

#[test]
fn a_subscriber_that_gives_rtx_up_gets_no_packet_twice_in_two_forms() {
    let mut call = Call::new(1);
    call.frames(&[KEY], 2);
    let plain = CodecParameters {
        rtx_payload_type: None,
        ..vp8(110)
    };
    let down_track = &mut call.down_track;
    down_track.renegotiate(call.now, vec![plain], Vec::new(), &call.receiver);
    call.frames(&[DELTA], 2);
    let sequences: Vec<_> = call
        .sink
        .sent
        .iter()
        .map(|sent| sent.header.sequence)
        .collect();
    let before: Vec<_> = call.sink.sent.drain(..).map(|sent| sent.bytes).collect();
    call.now += Duration::from_millis(500);
    call.nack(&sequences);
    let again: Vec<_> = call.sink.sent.drain(..).map(|sent| sent.bytes).collect();
    assert_eq!(again, before[2..]);
}

#[test]
fn a_subscriber_drops_the_codec_and_takes_it_again() {
    let mut call = Call::new(1);
    call.frames(&[KEY], 2);
    let other = vec![codec("video/h264", 112)];
    let down_track = &mut call.down_track;
    down_track.renegotiate(call.now, other, Vec::new(), &call.receiver);
    call.frames(&[DELTA], 2);
    assert_eq!(call.sent().len(), 1);
    assert!(!call.down_track.is_sendable());
    let down_track = &mut call.down_track;
    down_track.renegotiate(call.now, vec![vp8(110)], Vec::new(), &call.receiver);
    call.now += Duration::from_secs(1);
    call.frames(&[DELTA], 2);
    assert_eq!((call.sent(), call.asked()), (vec![], vec![ssrc_of(0)]));
    call.frames(&[KEY], 2);
    assert_eq!(call.sent().len(), 1);
    assert_eq!(RTX_PT, VIDEO_PT + 1);
}
