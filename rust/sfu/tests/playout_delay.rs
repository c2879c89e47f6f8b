//! The playout delay that a subscriber of video is told.

#![allow(clippy::unwrap_used, reason = "it is a test")]

mod common;

use common::call::{Call, DELTA, KEY, SSRC};
use common::{MS, Sent, down_track_config};
use lkpy_sfu::{DownTrack, HeaderExtension, PlayoutDelayLimits, Receiver};
use rtp::extension::{ExtensionKind, PlayoutDelay};
use rtp::rtcp::ReportBlock;

const ID: u8 = 3;
const LIMITS: PlayoutDelayLimits = PlayoutDelayLimits {
    min_ms: 200,
    max_ms: 1000,
};

fn call(rtx: bool) -> Call {
    Call::with(1, |config| {
        config.rtx_ssrc = config.rtx_ssrc.filter(|_| rtx);
        config.playout_delay = Some(LIMITS);
        config.header_extensions = vec![HeaderExtension {
            id: ID,
            uri: ExtensionKind::PlayoutDelay.uri().to_owned(),
        }];
    })
}

/// The least delay that a packet asks for, in milliseconds.
fn delay(sent: &Sent) -> Option<u16> {
    let mut extensions = sent.header.extensions(&sent.bytes);
    let (_, value) = extensions.find(|&(id, _)| id == ID)?;
    let delay = PlayoutDelay::parse(value).unwrap();
    assert_eq!(delay.max * 10, LIMITS.max_ms);
    Some(delay.min * 10)
}

fn delays(call: &mut Call) -> Vec<Option<u16>> {
    call.sink.sent.drain(..).map(|sent| delay(&sent)).collect()
}

fn report(call: &mut Call, highest: u16, jitter_ms: u32) {
    let block = ReportBlock {
        ssrc: SSRC,
        highest_sequence: 7 << 16 | u32::from(highest),
        jitter: 90 * jitter_ms,
        ..ReportBlock::default()
    };
    call.down_track.handle_report_block(call.now, &block);
}

#[test]
fn packets_say_it_until_the_subscriber_knows() {
    let mut call = call(true);
    call.frames(&[KEY], 2);
    let first = call.sink.sent[0].header.sequence;
    assert_eq!(delays(&mut call), [Some(200); 2]);
    report(&mut call, first.wrapping_sub(1), 20);
    call.frames(&[DELTA], 1);
    assert_eq!(delays(&mut call), [Some(200)]);
    report(&mut call, first, 20);
    call.frames(&[DELTA], 2);
    assert_eq!(delays(&mut call), [None; 2]);
    // More jitter: 80 ms more after a second.
    call.now += 1000 * MS;
    report(&mut call, first.wrapping_add(4), 500);
    call.frames(&[DELTA], 1);
    assert_eq!(delays(&mut call), [Some(280)]);
    // Of the packets so far, none says that.
    report(&mut call, first.wrapping_add(4), 28);
    call.frames(&[DELTA], 1);
    assert_eq!(delays(&mut call), [Some(280)]);
    report(&mut call, first.wrapping_add(5), 28);
    call.frames(&[DELTA], 1);
    assert_eq!(delays(&mut call), [None]);
}

#[test]
fn packets_sent_again_say_it_if_they_are_others() {
    let mut call = call(true);
    call.frames(&[KEY], 3);
    let first = call.sink.sent[0].header.sequence;
    call.nack(&[first]);
    assert_eq!(delays(&mut call), [Some(200); 4]);
    report(&mut call, first, 20);
    call.now += 1000 * MS;
    call.nack(&[first]);
    assert_eq!(delays(&mut call), [None]);
}

#[test]
fn packets_that_are_sent_again_as_they_were_do_not_say_it() {
    let mut call = call(false);
    call.frames(&[KEY], 1);
    let first = call.sink.sent[0].clone();
    call.nack(&[first.header.sequence]);
    assert_eq!(call.sink.sent[1], first);
    assert_eq!(delays(&mut call), [None; 2]);
}

#[test]
fn audio_has_none() {
    let mut call = call(true);
    let mut config = common::receiver_config(0);
    config.kind = lkpy_sfu::MediaKind::Audio;
    config.codecs = vec![common::opus(111)];
    call.receiver = Receiver::new(call.now, config);
    let mut config = down_track_config(call.now, SSRC);
    config.playout_delay = Some(LIMITS);
    config.header_extensions = vec![HeaderExtension {
        id: ID,
        uri: ExtensionKind::PlayoutDelay.uri().to_owned(),
    }];
    call.down_track = DownTrack::new(call.now, config, &call.receiver);
    call.down_track
        .set_connected(call.now, true, &call.receiver);
    let mut bytes = vec![0x80, 111, 0, 1, 0, 0, 0, 1, 0, 0, 0, 9];
    bytes.extend([0xfc; 20]);
    common::receive(&mut call.receiver, call.now, &bytes);
    call.forward();
    assert_eq!(delays(&mut call), [None]);
}
