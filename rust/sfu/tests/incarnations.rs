//! A publisher that begins anew, with another ssrc or other numbers: the subscriber's stream goes on with
//! a key frame, and what comes late changes nothing.

#![allow(clippy::unwrap_used, reason = "it is a test")]

mod common;

use std::time::{Duration, Instant};

use common::encoder::{Coding, Encoder, EncoderCall};
use common::svc::{Mode, SvcCall};
use common::{FRAME, MS, Sent, Sink, down_track_config, opus, receive};
use lkpy_sfu::{
    DownTrack, HeaderExtension, MediaKind, PublisherClock, Receiver, ReceiverConfig, RtpOutcome,
};
use rtp::RtpHeader;
use rtp::extension::{ExtensionKind, ExtensionMap, ParsedExtensions};
use rtp::header::{HeaderFields, write_header};
use rtp::rtcp::{self, Packet as Rtcp, RtcpWriter, SenderInfo};

const CODINGS: [Coding; 6] = [
    Coding::H264,
    Coding::H265,
    Coding::Vp8,
    Coding::Vp8Bare,
    Coding::Vp9,
    Coding::Av1,
];

fn step(before: &Sent, after: &Sent) -> (u16, i32) {
    let sequence = after.header.sequence.wrapping_sub(before.header.sequence);
    let timestamp = after.header.timestamp.wrapping_sub(before.header.timestamp);
    (sequence, timestamp as i32)
}

/// Another ssrc, or the same with other numbers.
fn ways(encoder: &Encoder) -> [(u32, u16, u32); 3] {
    [
        (encoder.ssrc + 5, 40_000, 3_500_000_000),
        (encoder.ssrc + 5, encoder.sequence, 17),
        (encoder.ssrc, encoder.sequence.wrapping_add(30_000), 42),
    ]
}

#[test]
fn the_stream_goes_on_with_a_key_frame_and_the_time_that_has_passed() {
    for coding in CODINGS {
        for way in 0..3 {
            let mut call = EncoderCall::new(coding);
            call.frame(true);
            (0..20).for_each(|_| call.frame(false));
            let (_, before) = call.sent().pop().unwrap();
            let (ssrc, sequence, timestamp) = ways(&call.encoder)[way];
            call.encoder.begin_anew(ssrc, sequence, timestamp);
            let asked = call.asked;
            (0..4).for_each(|_| call.frame(false));
            assert_eq!(call.sent().len(), 0, "{coding:?} {way}");
            assert_eq!(call.asked, asked + 1, "{coding:?} {way}");
            call.frame(true);
            let sent = call.sent();
            assert_eq!((sent[0].0.incarnation, sent[0].0.index), (1, 0));
            assert_eq!(step(&before, &sent[0].1), (1, 5 * 2970), "{coding:?} {way}");
        }
    }
}

#[test]
fn picture_ids_go_on() {
    let mut call = EncoderCall::new(Coding::Vp8);
    call.frame(true);
    call.frame(false);
    call.encoder.begin_anew(5, 9, 9);
    call.frame(true);
    call.frame(false);
    let ids: Vec<_> = call.sent().iter().map(|(_, sent)| sent.vp8()).collect();
    let ids: Vec<_> = ids
        .iter()
        .map(|vp8| vp8.picture_id.unwrap().value)
        .collect();
    assert_eq!(ids[0], 0x7fff);
    assert_eq!(ids, [ids[0], ids[0], 0, 0, 1, 1, 2, 2]);
}

#[test]
fn a_late_packet_of_what_was_before_changes_nothing() {
    for coding in CODINGS {
        for way in 0..3 {
            let mut call = EncoderCall::new(coding);
            call.frame(true);
            let late = call.encoder.frame(false, 6);
            let (ssrc, sequence, timestamp) = ways(&call.encoder)[way];
            call.encoder.begin_anew(ssrc, sequence, timestamp);
            call.frame(false);
            call.frame(true);
            call.sent();
            let asked = call.asked;
            for packet in &late {
                let outcome = call.receive(&packet.bytes);
                assert_eq!(outcome, RtpOutcome::Refused, "{coding:?} {way}");
            }
            call.frame(false);
            let ssrcs: Vec<_> = call.receiver.ssrcs().collect();
            assert_eq!(ssrcs, [ssrc]);
            let sent = call.sent();
            assert!(sent.iter().all(|(mark, _)| mark.incarnation == 1));
            assert_eq!((sent.len(), call.asked), (2, asked), "{coding:?} {way}");
        }
    }
}

#[test]
fn an_ssrc_that_was_replaced_may_come_back_when_the_other_is_silent() {
    let mut call = EncoderCall::new(Coding::Vp8);
    call.frame(true);
    call.encoder.begin_anew(5, 100, 100);
    call.frame(true);
    call.encoder.begin_anew(77, 30_000, 100);
    call.frame(true);
    call.now += Duration::from_secs(3);
    call.frame(true);
    let incarnations: Vec<_> = call
        .sent()
        .iter()
        .map(|(mark, _)| mark.incarnation)
        .collect();
    assert_eq!(incarnations, [0, 0, 1, 1, 2, 2]);
}

#[test]
fn what_arrives_in_one_turn_with_the_change_is_told_apart() {
    for coding in CODINGS {
        let mut call = EncoderCall::new(coding);
        call.frame(true);
        call.sent();
        let mut packets = call.encoder.frame(false, 2);
        call.encoder.begin_anew(5, 9, 9);
        packets.extend(call.encoder.frame(true, 2));
        call.turn(&packets);
        let sent = call.sent();
        assert!(sent.iter().all(|(mark, _)| mark.incarnation == 1));
        assert_eq!(sent[0].0.index, 0, "{coding:?}");
    }
}

#[test]
fn a_sender_report_of_what_was_before_says_nothing_of_what_is_now() {
    let mut call = EncoderCall::new(Coding::Vp8);
    let mut clock = PublisherClock::new();
    let mut report = |call: &mut EncoderCall, ntp: Option<u64>| {
        let info = SenderInfo {
            ntp: ntp.unwrap_or(0),
            rtp_timestamp: call.encoder.timestamp,
            ..SenderInfo::default()
        };
        if ntp.is_some() {
            let (now, ssrc) = (call.now, call.encoder.ssrc);
            assert!(
                call.receiver
                    .handle_sender_report(now, ssrc, &info, &mut clock)
            );
        }
        let mut buf = Vec::new();
        let mut writer = RtcpWriter::new(&mut buf);
        call.down_track
            .write_sender_report(call.now, &call.receiver, &clock, &mut writer);
        match rtcp::parse(&buf).next()? {
            Ok(Rtcp::SenderReport { info, .. }) => Some(info.rtp_timestamp),
            other => panic!("{other:?}"),
        }
    };
    call.frame(true);
    assert!(report(&mut call, Some(1 << 40)).is_some());
    call.encoder.begin_anew(5, 9, 9);
    call.frame(false);
    assert_eq!(report(&mut call, None), None);
    let ntp = (1 << 40) + rtp::ntp::from_duration(FRAME);
    assert_eq!(report(&mut call, Some(ntp)), None);
    call.frame(true);
    let (_, last) = call.sent().pop().unwrap();
    let told = report(&mut call, None).unwrap();
    // The report said when the frame was that is sent now.
    let behind = last.header.timestamp.wrapping_sub(told) as i32;
    assert!(behind.abs() <= 2970, "{behind}");
}

#[test]
fn layers_of_simulcast_begin_anew_one_by_one() {
    use common::call::{Call, DELTA, KEY};
    let mut call = Call::new(3);
    call.frames(&[KEY, KEY, KEY], 2);
    (0..5).for_each(|_| call.frames(&[DELTA, DELTA, DELTA], 2));
    call.sent();
    // One that is not being sent changes nothing for the subscriber.
    call.layers[0].sequence = call.layers[0].sequence.wrapping_add(30_000);
    call.layers[0].timestamp ^= 0x4000_0000;
    call.asked();
    (0..3).for_each(|_| call.frames(&[DELTA, DELTA, DELTA], 2));
    assert_eq!(call.asked(), []);
    let before = call.sink.sent.last().unwrap().clone();
    assert_eq!(call.sent(), [(2, 7), (2, 8), (2, 9)]);
    // It can be gone over to.
    call.update(0, 3, false);
    call.frames(&[KEY, DELTA, DELTA], 2);
    let after = call
        .sink
        .sent
        .iter()
        .find(|sent| sent.origin().unwrap().layer == 0);
    assert_eq!(step(&before, after.unwrap()).1, 2970);
    call.sent();
    // The one being sent waits for a key frame.
    call.layers[0].sequence = call.layers[0].sequence.wrapping_add(30_000);
    (0..3).for_each(|_| call.frames(&[DELTA, DELTA, DELTA], 2));
    assert_eq!(call.sent(), []);
    assert_eq!(call.asked(), [common::ssrc_of(0)]);
    call.frames(&[KEY, DELTA, DELTA], 2);
    assert_eq!(call.sent(), [(0, 14)]);
}

#[test]
fn streams_of_several_layers_go_on_with_a_key_frame() {
    for mode in [Mode::Full, Mode::Key, Mode::Vp9] {
        let mut call = SvcCall::new(mode);
        call.picture(true);
        (0..8).for_each(|_| call.picture(false));
        assert_eq!(call.sent().len(), 9);
        call.publisher.sequence = call.publisher.sequence.wrapping_add(30_000);
        // Frame numbers near those before: what refers to them must not find them.
        call.publisher.frame = call.publisher.frame.wrapping_sub(5);
        call.asked();
        (0..4).for_each(|_| call.picture(false));
        assert_eq!(call.sent(), [], "{mode:?}");
        assert!(call.asked(), "{mode:?}");
        call.picture(true);
        call.picture(false);
        let layers = if mode == Mode::Key { 1 } else { 3 };
        assert_eq!(call.sent(), [(0, 3), (2, layers)], "{mode:?}");
    }
}

/// A microphone.
struct Microphone {
    now: Instant,
    receiver: Receiver,
    down_track: DownTrack,
    sink: Sink,
}

impl Microphone {
    fn new() -> Self {
        let now = Instant::now();
        let mut config = ReceiverConfig::new(MediaKind::Audio);
        config.codecs = vec![opus(111)];
        config.header_extensions = vec![HeaderExtension {
            id: 1,
            uri: ExtensionKind::AudioLevel.uri().to_owned(),
        }];
        let receiver = Receiver::new(now, config);
        let mut down_track = DownTrack::new(now, down_track_config(now, 9000), &receiver);
        down_track.set_connected(now, true, &receiver);
        Self {
            now,
            receiver,
            down_track,
            sink: Sink::default(),
        }
    }

    /// Whether a level is heard.
    fn packet(&mut self, ssrc: u32, sequence: u16, timestamp: u32) -> bool {
        self.now += 20 * MS;
        let fields = HeaderFields {
            payload_type: 111,
            sequence,
            timestamp,
            ssrc,
            ..HeaderFields::default()
        };
        let mut bytes = vec![0; 64];
        let len = write_header(&mut bytes, &fields, [(1u8, &[10u8][..])]).unwrap();
        bytes.truncate(len);
        bytes.extend([1, 2, 3]);
        let map = ExtensionMap::from_uris([(1, ExtensionKind::AudioLevel.uri())]);
        let header = RtpHeader::parse(&bytes).unwrap();
        let extensions = ParsedExtensions::parse(&map, &header, &bytes);
        self.receiver
            .handle_rtp(self.now, &header, &extensions, &bytes);
        self.down_track
            .forward(self.now, &self.receiver, &mut self.sink);
        self.receiver.end_batch();
        self.receiver.take_audio_level().is_some()
    }
}

#[test]
fn a_microphone_is_heard_on_whatever_its_numbers_and_timestamps_do() {
    let mut microphone = Microphone::new();
    let before = [(5, 100, 3_000_000_000u32), (5, 101, 3_000_000_960)];
    for (ssrc, sequence, timestamp) in before {
        assert!(microphone.packet(ssrc, sequence, timestamp));
    }
    // Another ssrc with a lower timestamp, then other numbers, of which the first is not believed.
    let after = [
        (6, 7, 1_000_000_000u32, true),
        (6, 8, 1_000_000_960, true),
        (6, 40_000, u32::MAX - 500, false),
        (6, 40_001, 459, true),
        (6, 40_002, 1419, true),
    ];
    for (ssrc, sequence, timestamp, heard) in after {
        let level = microphone.packet(ssrc, sequence, timestamp);
        assert_eq!(level, heard, "{ssrc} {sequence}");
    }
    let sent = &microphone.sink.sent;
    let steps: Vec<_> = sent
        .windows(2)
        .map(|pair| step(&pair[0], &pair[1]))
        .collect();
    // Two packets' time passed where one was not believed.
    assert_eq!(steps, [(1, 960), (1, 960), (1, 960), (1, 1920), (1, 960)]);
    assert!(!microphone.packet(5, 102, 3_000_001_920));
    assert_eq!(microphone.sink.sent.len(), 6);
    let layer = microphone.receiver.stats(microphone.now).next().unwrap();
    assert_eq!((layer.ssrc, layer.packets, layer.frames), (6, 6, 6));
}

#[test]
fn retransmissions_of_another_incarnation_are_not_mixed_up() {
    let mut call = EncoderCall::new(Coding::Vp8);
    call.frame(true);
    let lost = call.encoder.frame(false, 1);
    call.frame(false);
    assert!(matches!(
        call.receive(&lost[0].as_rtx(78, 1)),
        RtpOutcome::Stored { .. }
    ));
    let sequence = call.encoder.sequence;
    let lost = call.encoder.frame(false, 1);
    call.frame(false);
    call.encoder.begin_anew(5, sequence.wrapping_add(9000), 9);
    call.frame(true);
    let outcome = call.receive(&lost[0].as_rtx(78, 2));
    assert_eq!(outcome, RtpOutcome::Refused);
    let lost = call.encoder.frame(false, 1);
    call.frame(false);
    for (ssrc, expected) in [(6, true), (78, false), (6, false)] {
        let outcome = call.receive(&lost[0].as_rtx(ssrc, 3));
        let stored = matches!(outcome, RtpOutcome::Stored { .. });
        assert_eq!(stored, expected, "{outcome:?}");
    }
    assert_eq!(call.receiver.ssrcs().collect::<Vec<_>>(), [5, 6]);
}

#[test]
fn a_late_packet_of_a_replaced_ssrc_does_not_take_a_single_encoding_back() {
    let now = Instant::now();
    let mut receiver = Receiver::new(now, common::receiver_config(0));
    let packet = |ssrc: u32| {
        let mut bytes = common::PublishedLayer::new(0)
            .frame(true, 1)
            .remove(0)
            .bytes;
        bytes[8..12].copy_from_slice(&ssrc.to_be_bytes());
        bytes
    };
    for ssrc in [77, 78] {
        let outcome = receive(&mut receiver, now, &packet(ssrc));
        assert!(matches!(outcome, RtpOutcome::Stored { .. }));
    }
    let outcome = receive(&mut receiver, now, &packet(77));
    assert_eq!(outcome, RtpOutcome::Refused);
    assert_eq!(receiver.ssrcs().collect::<Vec<_>>(), [78]);
}
