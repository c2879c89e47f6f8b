//! Whatever goes out twice under one ssrc and sequence number is the same packet, byte for byte:
//! AES-GCM makes its nonce of these two.

#![allow(clippy::unwrap_used, reason = "it is a test")]

mod common;

use std::collections::HashMap;
use std::time::Instant;

use common::call::{Call, SSRC};
use common::{
    MS, Published, PublishedLayer, Sent, Sink, down_track_config, receive, receiver_config, report,
    vp8,
};
use lkpy_sfu::{CodecParameters, DownTrack, HeaderExtension, PublisherClock, Receiver};
use proptest::prelude::*;
use rtp::extension::ExtensionKind;
use rtp::ntp;

const ABS_SEND_TIME: u8 = 2;
const TRANSPORT_CC: u8 = 3;
const CAPTURE_TIME: u8 = 4;
const UNKNOWN: u8 = 5;

/// Payload type of a codec that never has RTX.
const OTHER_PT: u8 = 100;

/// What the subscriber negotiated against loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Repair {
    Nothing,
    Rtx,
    NoRtxSsrc,
    NoRtxPayloadType,
}

fn extensions() -> Vec<HeaderExtension> {
    let known = [
        (1, ExtensionKind::Mid.uri()),
        (ABS_SEND_TIME, ExtensionKind::AbsSendTime.uri()),
        (TRANSPORT_CC, ExtensionKind::TransportCc.uri()),
        (CAPTURE_TIME, ExtensionKind::AbsCaptureTime.uri()),
        (UNKNOWN, "urn:unheard-of"),
    ];
    let extension = |(id, uri): (u8, &str)| HeaderExtension {
        id,
        uri: uri.to_owned(),
    };
    known.map(extension).into()
}

fn other() -> CodecParameters {
    CodecParameters {
        mime_type: "video/unheard-of".to_owned(),
        rtx_payload_type: None,
        ..vp8(OTHER_PT)
    }
}

fn receiver(now: Instant) -> Receiver {
    let mut config = receiver_config(2);
    config.codecs.push(other());
    config.header_extensions = extensions();
    Receiver::new(now, config)
}

fn call(repair: Repair) -> Call {
    let now = Instant::now();
    let receiver = receiver(now);
    let mut config = down_track_config(now, SSRC);
    config.codecs = vec![vp8(110), other()];
    config.header_extensions = extensions();
    for codec in &mut config.codecs {
        codec.nack = repair != Repair::Nothing;
        let rtx = repair != Repair::NoRtxPayloadType;
        codec.rtx_payload_type = codec.rtx_payload_type.filter(|_| rtx);
    }
    config.rtx_ssrc = config.rtx_ssrc.filter(|_| repair != Repair::NoRtxSsrc);
    let mut down_track = DownTrack::new(now, config, &receiver);
    down_track.set_connected(now, true, &receiver);
    Call {
        now,
        receiver,
        layers: [0, 1].map(PublishedLayer::new).into(),
        down_track,
        sink: Sink::default(),
        clock: PublisherClock::new(),
    }
}

/// The packet with header extensions of its own: a capture time, and a value whose length changes
/// the form of the extension block.
fn extended(published: &Published, other_codec: bool) -> Vec<u8> {
    let number = published.origin.packet;
    let unknown = vec![number as u8; [1, 4, 18][number as usize % 3]];
    let mut block = vec![CAPTURE_TIME, 8];
    block.extend(u64::from(number).to_be_bytes());
    block.extend([UNKNOWN, unknown.len() as u8]);
    block.extend(unknown);
    block.resize(block.len().next_multiple_of(4), 0);
    let words = block.len() as u8 / 4;
    block.splice(0..0, [0x10, 0, 0, words]);
    let mut bytes = published.bytes.clone();
    bytes[0] |= 0x10;
    if other_codec {
        bytes[1] = bytes[1] & 0x80 | OTHER_PT;
    }
    bytes.splice(12..12, block);
    bytes
}

fn report_capture_clock(call: &mut Call) {
    let layers = call.layers.clone();
    let ntp = ntp::from_unix(1000 * MS);
    report(&mut call.receiver, call.now, ntp, &layers, &mut call.clock);
}

/// A frame on each layer; bit n of `lost`: the n-th packet is put aside.
fn publish(call: &mut Call, key: bool, other_codec: bool, lost: u8) -> Vec<Vec<u8>> {
    call.now += 33 * MS;
    let frames = call.layers.iter_mut().map(|layer| layer.frame(key, 3));
    let mut missing = Vec::new();
    for (index, published) in frames.flatten().enumerate() {
        let bytes = extended(&published, other_codec);
        if lost >> index & 1 == 0 {
            receive(&mut call.receiver, call.now, &bytes);
        } else {
            missing.push(bytes);
        }
    }
    call.forward();
    missing
}

fn arrive(call: &mut Call, packets: &[Vec<u8>]) {
    for bytes in packets {
        receive(&mut call.receiver, call.now, bytes);
    }
    call.forward();
}

/// How many packets went out under numbers that were used before. Fewer than 2^16 packets of an
/// ssrc, so none of its numbers may come to mean something else.
fn check_repeats(sent: &[Sent]) -> Result<usize, TestCaseError> {
    let mut known = HashMap::new();
    let mut repeats = 0;
    for (index, sent) in sent.iter().enumerate() {
        let name = (sent.header.ssrc, sent.header.sequence);
        if let Some(before) = known.insert(name, &sent.bytes) {
            prop_assert_eq!(before, &sent.bytes, "packet {}, {:?}", index, name);
            prop_assert_eq!(name.0, SSRC, "a retransmission has a number of its own");
            repeats += 1;
        }
    }
    Ok(repeats)
}

fn carried(sent: &Sent) -> (bool, bool) {
    let has = |wanted| {
        let mut ids = sent.header.extensions(&sent.bytes).map(|(id, _)| id);
        ids.any(|id| id == wanted)
    };
    assert_eq!(has(TRANSPORT_CC), sent.numbered);
    (has(ABS_SEND_TIME), has(TRANSPORT_CC))
}

#[test]
fn only_what_cannot_be_repeated_tells_of_its_sending() {
    for (repair, other_codec, once, repeats) in [
        (Repair::Nothing, false, true, 0),
        (Repair::Rtx, false, true, 0),
        (Repair::Rtx, true, false, 6),
        (Repair::NoRtxSsrc, false, false, 6),
        (Repair::NoRtxPayloadType, false, false, 6),
    ] {
        let name = format!("{repair:?}, other codec: {other_codec}");
        let mut call = call(repair);
        call.update(0, 3, false);
        publish(&mut call, true, other_codec, 0);
        publish(&mut call, false, other_codec, 0);
        // From here on capture times are passed on, but not in those that went out before.
        report_capture_clock(&mut call);
        call.now += 200 * MS;
        let sequences: Vec<_> = call.sink.sent.iter().map(|s| s.header.sequence).collect();
        assert_eq!(sequences.len(), 6, "{name}");
        call.nack(&sequences);
        let resent = if repair == Repair::Nothing { 0 } else { 6 };
        assert_eq!(call.sink.sent.len(), 6 + resent, "{name}");
        for sent in &call.sink.sent {
            assert_eq!(carried(sent), (once, once), "{name}");
        }
        assert_eq!(check_repeats(&call.sink.sent).unwrap(), repeats, "{name}");
    }
}

fn pad(call: &mut Call, bytes: usize) -> usize {
    call.down_track
        .send_padding(call.now, bytes, &mut call.sink)
}

#[test]
fn padding_in_the_stream_is_like_its_neighbours_and_never_repeated() {
    for repair in [Repair::NoRtxSsrc, Repair::NoRtxPayloadType] {
        let mut call = call(repair);
        call.update(0, 3, false);
        assert_eq!(pad(&mut call, 600), 0, "nothing was sent yet");
        publish(&mut call, true, false, 0);
        call.sink.full = true;
        assert_eq!(pad(&mut call, 600), 0);
        call.sink.full = false;
        assert!((600..900).contains(&pad(&mut call, 600)));
        publish(&mut call, false, false, 0);
        let sent = &call.sink.sent;
        let (first, media) = (sent[0].header.sequence, sent[2].header);
        let numbers = sent.iter().map(|sent| sent.header.sequence);
        assert!(numbers.eq((0..9).map(|n| first.wrapping_add(n))));
        for padding in &sent[3..6] {
            let header = &padding.header;
            assert_eq!((header.padding_len(), padding.payload.len()), (255, 0));
            assert_eq!((header.ssrc, header.marker), (SSRC, false));
            assert_eq!(header.payload_type, media.payload_type);
            assert_eq!(header.timestamp, media.timestamp);
            assert_eq!(carried(padding), carried(&sent[2]));
        }
        call.now += 200 * MS;
        call.nack(&[3, 4, 5].map(|n| first.wrapping_add(n)));
        assert_eq!(call.sink.sent.len(), 9);
    }
}

#[test]
fn a_filler_is_repeated_as_it_was() {
    let mut call = call(Repair::NoRtxSsrc);
    call.update(0, 0, false);
    publish(&mut call, true, false, 0);
    let unwanted = publish(&mut call, false, false, 0b10);
    arrive(&mut call, &unwanted);
    let filler = call.sink.sent.last().unwrap().clone();
    assert_eq!(filler.payload, []);
    for _ in 0..3 {
        call.now += 200 * MS;
        call.nack(&[filler.header.sequence]);
    }
    assert_eq!(check_repeats(&call.sink.sent).unwrap(), 3);
}

#[derive(Clone, Debug)]
enum Step {
    Frame {
        key: bool,
        other_codec: bool,
        lost: u8,
    },
    /// What was put aside arrives.
    Recover,
    /// The subscriber asks for packets this far behind the newest.
    Nack(Vec<u16>),
    Update(i8, i8),
    /// The send batch is full, or has room again.
    Full(bool),
    Report,
    /// The publisher numbers its packets anew.
    Renumber(u16),
    PictureLost,
    ReplaceSource,
    Padding,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let rare = prop::bool::weighted(0.2);
    let frame = (rare, any::<bool>(), any::<u8>(), any::<u8>());
    let step = prop_oneof![
        12 => frame.prop_map(|(key, other_codec, a, b)| Step::Frame {
            key,
            other_codec,
            lost: a & b,
        }),
        4 => Just(Step::Recover),
        8 => prop::collection::vec(0..40u16, 1..20).prop_map(Step::Nack),
        2 => (0..2i8, 0..3i8).prop_map(|(spatial, temporal)| Step::Update(spatial, temporal)),
        1 => any::<bool>().prop_map(Step::Full),
        1 => Just(Step::Report),
        1 => (5000..60_000u16).prop_map(Step::Renumber),
        1 => Just(Step::PictureLost),
        1 => Just(Step::ReplaceSource),
        4 => Just(Step::Padding),
    ];
    prop::collection::vec(step, 10..120)
}

fn take(call: &mut Call, step: &Step, missing: &mut Vec<Vec<u8>>) {
    match *step {
        Step::Frame {
            key,
            other_codec,
            lost,
        } => missing.extend(publish(call, key, other_codec, lost)),
        Step::Recover => arrive(call, &std::mem::take(missing)),
        Step::Nack(ref behind) => {
            call.now += 70 * MS;
            let sent = call.sink.sent.iter().rev();
            let newest = sent.map(|s| &s.header).find(|h| h.ssrc == SSRC);
            let newest = newest.map_or(0, |header| header.sequence);
            let sequences: Vec<_> = behind.iter().map(|&b| newest.wrapping_sub(b)).collect();
            call.nack(&sequences);
        }
        Step::Update(max_spatial, max_temporal) => call.update(max_spatial, max_temporal, false),
        Step::Full(full) => call.sink.full = full,
        Step::Report => report_capture_clock(call),
        Step::Renumber(jump) => {
            for layer in &mut call.layers {
                layer.sequence = layer.sequence.wrapping_add(jump);
            }
        }
        Step::PictureLost => call.down_track.handle_pli(call.now, &mut call.receiver),
        Step::ReplaceSource => {
            call.receiver = receiver(call.now);
            call.down_track.set_source(call.now, &call.receiver);
        }
        Step::Padding => {
            pad(call, 600);
        }
    }
}

proptest! {
    #[test]
    fn one_number_means_one_packet(
        repair in prop::sample::select(vec![
            Repair::Nothing,
            Repair::Rtx,
            Repair::NoRtxSsrc,
            Repair::NoRtxPayloadType,
        ]),
        steps in steps(),
    ) {
        let mut call = call(repair);
        let mut missing = Vec::new();
        publish(&mut call, true, false, 0);
        for step in &steps {
            take(&mut call, step, &mut missing);
        }
        check_repeats(&call.sink.sent)?;
    }
}
