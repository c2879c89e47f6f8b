//! What a receiver takes, and what it says to the publisher.

#![allow(clippy::unwrap_used, reason = "it is a test")]

mod common;

use std::time::{Duration, Instant};

use common::{
    FRAME, MS, PublishedLayer, RTX_PT, Sink, VIDEO_PT, as_rtx, down_track_config, receive,
    receiver_config, ssrc_of,
};
use lkpy_sfu::{
    AudioWindow, DownTrack, Encoding, HeaderExtension, MAX_PACKET_LEN, MediaKind, PublisherClock,
    Receiver, ReceiverConfig, RtpOutcome,
};
use proptest::prelude::*;
use rtp::RtpHeader;
use rtp::extension::{ExtensionKind, ExtensionMap, ParsedExtensions};
use rtp::header::{HeaderFields, write_header};
use rtp::rtcp::{self, Packet, RtcpWriter, SenderInfo};

/// What the receiver sends to the publisher now.
#[derive(Debug, Default, PartialEq, Eq)]
struct Feedback {
    nacks: Vec<(u32, Vec<u16>)>,
    plis: Vec<u32>,
    reports: Vec<u32>,
}

fn feedback(receiver: &mut Receiver, now: Instant) -> Feedback {
    let mut buf = Vec::new();
    receiver.poll_rtcp(now, &mut RtcpWriter::new(&mut buf));
    let mut feedback = Feedback::default();
    for packet in rtcp::parse(&buf) {
        match packet.unwrap() {
            Packet::Nack(nack) => {
                let sequences = nack.sequences().collect();
                feedback.nacks.push((nack.media_ssrc, sequences));
            }
            Packet::Pli { media_ssrc, .. } => feedback.plis.push(media_ssrc),
            Packet::ReceiverReport { reports, .. } => {
                feedback
                    .reports
                    .extend(reports.iter().map(|block| block.ssrc));
            }
            other => panic!("{other:?}"),
        }
    }
    feedback
}

/// Gives a packet with header extensions to the receiver.
fn receive_with(
    receiver: &mut Receiver,
    now: Instant,
    fields: HeaderFields<'_>,
    extensions: &[(u8, ExtensionKind, &[u8])],
    payload: &[u8],
) -> RtpOutcome {
    let map = ExtensionMap::from_uris(extensions.iter().map(|(id, kind, _)| (*id, kind.uri())));
    let mut packet = vec![0; 200];
    let values = extensions.iter().map(|(id, _, value)| (*id, *value));
    let len = write_header(&mut packet, &fields, values).unwrap();
    packet.truncate(len);
    packet.extend(payload);
    let header = RtpHeader::parse(&packet).unwrap();
    let parsed = ParsedExtensions::parse(&map, &header, &packet);
    receiver.handle_rtp(now, &header, &parsed, &packet)
}

#[test]
fn missing_packets_are_asked_for_after_a_while_and_until_they_come() {
    let mut now = Instant::now();
    let mut receiver = Receiver::new(now, receiver_config(1));
    let mut layer = PublishedLayer::new(0);
    let packets = layer.frame(true, 5);
    for index in [0, 1, 4] {
        receive(&mut receiver, now, &packets[index].bytes);
    }
    assert_eq!(receiver.next_deadline(now), Some(now + 20 * MS));
    assert_eq!(feedback(&mut receiver, now), Feedback::default());
    now += 20 * MS;
    let missing = vec![packets[2].sequence, packets[3].sequence];
    let nacks = vec![(ssrc_of(0), missing)];
    assert_eq!(feedback(&mut receiver, now).nacks, nacks);
    assert_eq!(feedback(&mut receiver, now).nacks, []);
    for (index, rtx_sequence) in [(2, 1), (3, 2)] {
        let outcome = receive(&mut receiver, now, &as_rtx(&packets[index], rtx_sequence));
        assert!(matches!(outcome, RtpOutcome::Stored { layer: 0, .. }));
    }
    assert_eq!(feedback(&mut receiver, now + 500 * MS).nacks, []);
    let stats = receiver.stats(now).next().unwrap();
    assert_eq!((stats.packets, stats.packets_recovered), (5, 2));
    assert_eq!((stats.packets_lost, stats.nacks_sent), (2, 2));
}

#[test]
fn nothing_is_asked_for_without_negotiation() {
    let now = Instant::now();
    let mut config = receiver_config(1);
    config.codecs[0].nack = false;
    config.codecs[0].pli = false;
    let mut receiver = Receiver::new(now, config);
    let packets = PublishedLayer::new(0).frame(true, 5);
    receive(&mut receiver, now, &packets[0].bytes);
    receive(&mut receiver, now, &packets[4].bytes);
    assert!(!receiver.request_key_frame(now, 0));
    assert_eq!(feedback(&mut receiver, now + 500 * MS), Feedback::default());
}

#[test]
fn duplicates_probes_and_nonsense() {
    let now = Instant::now();
    let mut receiver = Receiver::new(now, receiver_config(1));
    let mut layer = PublishedLayer::new(0);
    let packets = layer.frame(true, 2);
    receive(&mut receiver, now, &packets[0].bytes);
    assert_eq!(
        receive(&mut receiver, now, &packets[0].bytes),
        RtpOutcome::Duplicate
    );
    let rtx = as_rtx(&packets[0], 1);
    assert_eq!(receive(&mut receiver, now, &rtx), RtpOutcome::Duplicate);
    assert_eq!(receive(&mut receiver, now, &rtx[..12]), RtpOutcome::Probe);
    // A retransmission of what was never sent would make everything before it look lost.
    assert_eq!(
        receive(&mut receiver, now, &as_rtx(&packets[1], 2)),
        RtpOutcome::Refused
    );
    let mut foreign = packets[1].bytes.clone();
    foreign[1] = 50;
    assert_eq!(
        receive(&mut receiver, now, &foreign),
        RtpOutcome::UnknownPayloadType
    );
    let mut long = packets[1].bytes.clone();
    long.resize(MAX_PACKET_LEN + 1, 0);
    assert_eq!(receive(&mut receiver, now, &long), RtpOutcome::Refused);
    let stats = receiver.stats(now).next().unwrap();
    assert_eq!((stats.packets, stats.duplicates), (1, 2));
}

#[test]
fn an_ssrc_that_no_encoding_names_is_unknown_among_several() {
    let now = Instant::now();
    let mut receiver = Receiver::new(now, receiver_config(3));
    let mut packet = PublishedLayer::new(0).frame(true, 1).remove(0).bytes;
    packet[8..12].copy_from_slice(&7u32.to_be_bytes());
    assert_eq!(
        receive(&mut receiver, now, &packet),
        RtpOutcome::UnknownSource
    );
}

#[test]
fn layers_are_found_by_rid_and_the_ssrc_is_remembered() {
    let now = Instant::now();
    let mut config = receiver_config(0);
    config.encodings = [(0, "q"), (1, "h")]
        .map(|(spatial, rid)| Encoding {
            spatial,
            rid: Some(rid.to_owned()),
            ..Encoding::default()
        })
        .to_vec();
    let mut receiver = Receiver::new(now, config);
    let fields = |ssrc, sequence, payload_type| HeaderFields {
        payload_type,
        sequence,
        ssrc,
        ..HeaderFields::default()
    };
    let media = [0x10, 0, 0, 0];
    let rid: (u8, _, &[u8]) = (1, ExtensionKind::Rid, b"h");
    let repaired: (u8, _, &[u8]) = (2, ExtensionKind::RepairedRid, b"h");
    let layer_of = |outcome| match outcome {
        RtpOutcome::Stored { layer, .. } => Some(layer),
        _ => None,
    };
    let mut take = |fields, extensions: &[_], payload: &[u8]| {
        receive_with(&mut receiver, now, fields, extensions, payload)
    };
    let outcome = take(fields(77, 10, VIDEO_PT), &[], &media);
    assert_eq!(outcome, RtpOutcome::UnknownSource);
    let outcome = take(fields(77, 10, VIDEO_PT), &[rid], &media);
    assert_eq!(layer_of(outcome), Some(1));
    let outcome = take(fields(77, 12, VIDEO_PT), &[], &media);
    assert_eq!(layer_of(outcome), Some(1));
    let outcome = take(fields(78, 1, RTX_PT), &[repaired], &[0, 11, 0x10, 0, 0, 0]);
    assert_eq!(layer_of(outcome), Some(1));
    let mut ssrcs: Vec<_> = receiver.ssrcs().collect();
    ssrcs.sort_unstable();
    assert_eq!(ssrcs, [77, 78]);
}

#[test]
fn a_publisher_that_numbers_anew_is_believed_at_the_second_packet() {
    let now = Instant::now();
    let mut receiver = Receiver::new(now, receiver_config(1));
    let mut layer = PublishedLayer::new(0);
    layer.sequence = 40_000;
    let ext_seq = |outcome| match outcome {
        RtpOutcome::Stored { ext_seq, .. } => Some(ext_seq),
        _ => None,
    };
    let before = receive(&mut receiver, now, &layer.frame(true, 1)[0].bytes);
    layer.sequence = 10_000;
    let stray = receive(&mut receiver, now, &layer.frame(false, 1)[0].bytes);
    assert_eq!(stray, RtpOutcome::Refused);
    let after = receive(&mut receiver, now, &layer.frame(false, 1)[0].bytes);
    assert_eq!(ext_seq(after).unwrap() as u16, 10_002);
    assert!(ext_seq(after) > ext_seq(before));
    assert_eq!(feedback(&mut receiver, now + 100 * MS).nacks, []);
}

#[test]
fn key_frames_are_asked_for_at_once_and_then_seldom() {
    let start = Instant::now();
    let mut receiver = Receiver::new(start, receiver_config(2));
    for (ms, layer, expected) in [
        (0, 0, true),
        (0, 1, true),
        (499, 0, false),
        (500, 0, true),
        (999, 1, false),
        (1000, 1, true),
        (1000, 2, false),
    ] {
        let now = start + Duration::from_millis(ms);
        assert_eq!(
            receiver.request_key_frame(now, layer),
            expected,
            "layer {layer} at {ms} ms"
        );
        let plis = if expected {
            vec![ssrc_of(layer)]
        } else {
            vec![]
        };
        assert_eq!(receiver.next_deadline(now), expected.then_some(now));
        assert_eq!(feedback(&mut receiver, now).plis, plis);
    }
}

#[test]
fn reports_once_a_second_with_the_delay_since_the_last_sender_report() {
    let start = Instant::now();
    let mut receiver = Receiver::new(start, receiver_config(3));
    let mut clock = PublisherClock::new();
    for layer in [0, 2] {
        let packet = PublishedLayer::new(layer).frame(true, 1).remove(0);
        receive(&mut receiver, start, &packet.bytes);
    }
    let info = SenderInfo {
        ntp: 0x1122_3344_5566_7788,
        ..SenderInfo::default()
    };
    assert!(receiver.handle_sender_report(start + 600 * MS, ssrc_of(2), &info, &mut clock));
    assert!(!receiver.handle_sender_report(start + 600 * MS, 9999, &info, &mut clock));
    assert_eq!(clock.ntp_at(start + 600 * MS), Some(info.ntp));
    assert_eq!(feedback(&mut receiver, start + 999 * MS).reports, []);
    let mut buf = Vec::new();
    receiver.poll_rtcp(start + 1000 * MS, &mut RtcpWriter::new(&mut buf));
    let Some(Ok(Packet::ReceiverReport { ssrc, reports })) = rtcp::parse(&buf).next() else {
        panic!("no report");
    };
    assert_eq!(ssrc, 1);
    let blocks: Vec<_> = reports.iter().collect();
    assert_eq!([blocks[0].ssrc, blocks[1].ssrc], [ssrc_of(0), ssrc_of(2)]);
    assert_eq!((blocks[0].last_sr, blocks[0].delay_since_last_sr), (0, 0));
    assert_eq!(blocks[1].last_sr, 0x3344_5566);
    assert_eq!(blocks[1].delay_since_last_sr, 65_536 * 4 / 10);
    assert_eq!(feedback(&mut receiver, start + 1999 * MS).reports, []);
    assert_eq!(feedback(&mut receiver, start + 2000 * MS).reports.len(), 2);
}

#[test]
fn live_layers_are_told_when_they_change() {
    let mut now = Instant::now();
    let mut receiver = Receiver::new(now, receiver_config(2));
    let mut layers = [0, 1].map(PublishedLayer::new);
    let change = |receiver: &mut Receiver| {
        let layers = receiver.take_layer_change();
        layers.map(|layers| layers.collect::<Vec<_>>())
    };
    assert_eq!(change(&mut receiver), None);
    receive(&mut receiver, now, &layers[0].frame(true, 1)[0].bytes);
    assert_eq!(change(&mut receiver), Some(vec![0]));
    assert_eq!(receiver.codec().unwrap().mime_type, "video/vp8");
    receive(&mut receiver, now, &layers[1].frame(true, 1)[0].bytes);
    assert_eq!(change(&mut receiver), Some(vec![0, 1]));
    for _ in 0..60 {
        now += FRAME;
        receive(&mut receiver, now, &layers[0].frame(false, 1)[0].bytes);
        receiver.handle_timeout(now);
    }
    assert_eq!(change(&mut receiver), Some(vec![0]));
    // A muted publisher may send nothing at all and its layers live on.
    receiver.set_muted(now, true);
    receiver.handle_timeout(now + Duration::from_secs(60));
    assert_eq!(change(&mut receiver), None);
}

#[test]
fn audio_levels_are_those_of_the_window() {
    let now = Instant::now();
    let mut config = ReceiverConfig::new(MediaKind::Audio);
    config.codecs = vec![common::opus(111)];
    config.header_extensions = vec![HeaderExtension {
        id: 1,
        uri: ExtensionKind::AudioLevel.uri().to_owned(),
    }];
    let mut receiver = Receiver::new(now, config);
    for (sequence, level) in [(0, 60), (1, 30), (2, 20)] {
        let fields = HeaderFields {
            payload_type: 111,
            sequence,
            timestamp: u32::from(sequence) * 960,
            ssrc: 5,
            ..HeaderFields::default()
        };
        let level: (u8, _, &[u8]) = (1, ExtensionKind::AudioLevel, &[level]);
        receive_with(&mut receiver, now, fields, &[level], &[0; 40]);
    }
    let expected = AudioWindow {
        level: 20,
        active_ms: 40,
    };
    assert_eq!(receiver.take_audio_level(), Some(expected));
    assert_eq!(receiver.take_audio_level(), None);
    assert_eq!(receiver.live_layers().collect::<Vec<_>>(), [0]);
}

/// Bytes that at least begin like RTP of the track.
fn packets() -> impl Strategy<Value = Vec<u8>> {
    let first = prop::sample::select(vec![0x80, 0x90, 0xa0, 0xb0]);
    let payload_type = prop::sample::select(vec![VIDEO_PT, RTX_PT, 0x80 | VIDEO_PT]);
    let ssrc = prop::sample::select(vec![ssrc_of(0), ssrc_of(1), ssrc_of(0) + 100]);
    let rest = prop::collection::vec(any::<u8>(), 0..60);
    (first, payload_type, 0..300u16, any::<u32>(), ssrc, rest).prop_map(
        |(first, payload_type, sequence, timestamp, ssrc, rest)| {
            let mut packet = vec![first, payload_type];
            packet.extend(sequence.to_be_bytes());
            packet.extend(timestamp.to_be_bytes());
            packet.extend(ssrc.to_be_bytes());
            packet.extend(rest);
            packet
        },
    )
}

proptest! {
    #[test]
    fn whatever_arrives_nothing_panics(packets in prop::collection::vec(packets(), 1..100)) {
        let mut now = Instant::now();
        let mut config = receiver_config(2);
        config.header_extensions = (1..=255)
            .map(|id| HeaderExtension { id, uri: format!("urn:{id}") })
            .collect();
        let mut receiver = Receiver::new(now, config.clone());
        let mut own = down_track_config(now, 7);
        own.header_extensions = config.header_extensions;
        let mut down_track = DownTrack::new(now, own, &receiver);
        down_track.set_connected(now, true, &receiver);
        let mut sink = Sink::default();
        for packet in packets {
            now += 3 * MS;
            if RtpHeader::parse(&packet).is_ok() {
                receive(&mut receiver, now, &packet);
            }
            down_track.forward(now, &receiver, &mut sink);
            receiver.end_batch();
            down_track.handle_nack(now, 0..20, &receiver, &mut sink);
            down_track.handle_timeout(now, &mut receiver);
            feedback(&mut receiver, now);
        }
    }
}
