//! Reports, other codecs, and header extensions.

#![allow(clippy::unwrap_used, reason = "it is a test")]

mod common;

use std::time::Instant;

use common::call::{Call, DELTA, KEY, SSRC};
use common::{MS, Sink, VIDEO_PT, down_track_config, opus, receive, report, vp8};
use lkpy_sfu::{
    CodecParameters, DownTrack, HeaderExtension, MediaKind, PublisherClock, Receiver,
    ReceiverConfig,
};
use rtp::extension::{ExtensionKind, ExtensionMap, ParsedExtensions};
use rtp::header::{HeaderFields, write_header};
use rtp::rtcp::{self, Packet, ReportBlock, RtcpWriter, SenderInfo};
use rtp::{RtpHeader, ntp};

#[test]
fn sender_reports_keep_the_publishers_clock() {
    let mut call = Call::new(2);
    call.frames(&[KEY, None], 1);
    assert_eq!(call.sender_report(), None);
    let first = 5000 * MS;
    let layers = call.layers.clone();
    report(
        &mut call.receiver,
        call.now,
        ntp::from_unix(first),
        &layers,
        &mut call.clock,
    );
    let at_report = call.now;
    // A switch leads to another clock; the report goes on on one line.
    for layer in [0, 1] {
        call.frames(&[DELTA, (layer == 1).then_some(true)], 1);
        call.frames(&[DELTA, (layer == 1).then_some(false)], 1);
        let sent = call.sink.sent.last().unwrap();
        assert_eq!(sent.origin().unwrap().layer, layer);
        let newest = sent.header.timestamp;
        let info = call.sender_report().unwrap();
        let ntp = ntp::from_unix(first + (call.now - at_report));
        assert!(info.ntp.abs_diff(ntp) < 1 << 12);
        // One frame interval from the timestamp of the frame just sent to the present.
        let ahead = info.rtp_timestamp.wrapping_sub(newest) as i32;
        assert!((ahead - 2970).abs() <= 2, "layer {layer}: {ahead}");
        assert_eq!(info.packet_count as usize, call.sink.sent.len());
    }
}

#[test]
fn report_blocks_and_goodbye() {
    let mut call = Call::new(1);
    call.frames(&[KEY], 1);
    let block = ReportBlock {
        fraction_lost: 128,
        cumulative_lost: 3,
        ..ReportBlock::default()
    };
    call.down_track.handle_report_block(call.now, &block);
    let stats = call.down_track.stats(call.now);
    assert_eq!(
        (stats.fraction_lost, stats.packets_lost, stats.rtt),
        (0.5, 3, None)
    );
    let mut buf = Vec::new();
    call.down_track.write_bye(&mut RtcpWriter::new(&mut buf));
    let Some(Ok(Packet::Bye(bye))) = rtcp::parse(&buf).next() else {
        panic!("no goodbye");
    };
    assert_eq!(bye.ssrcs.iter().collect::<Vec<_>>(), [SSRC, SSRC + 1]);
}

/// A track of another codec, whose packets the test writes.
fn other(kind: MediaKind, codec: CodecParameters) -> ReceiverConfig {
    let mut config = ReceiverConfig::new(kind);
    config.codecs = vec![codec];
    config
}

fn write(fields: HeaderFields<'_>, extensions: &[(u8, &[u8])], payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0; 300];
    let values = extensions.iter().copied();
    let len = write_header(&mut packet, &fields, values).unwrap();
    packet.truncate(len);
    packet.extend(payload);
    packet
}

#[test]
fn audio_begins_at_once_and_can_be_asked_for_again() {
    let now = Instant::now();
    let mut receiver = Receiver::new(now, other(MediaKind::Audio, opus(111)));
    let mut down_track = DownTrack::new(now, down_track_config(now, SSRC), &receiver);
    down_track.set_connected(now, true, &receiver);
    let mut sink = Sink::default();
    for sequence in 0..20u16 {
        let fields = HeaderFields {
            payload_type: 111,
            sequence,
            timestamp: u32::from(sequence) * 960,
            ssrc: 5,
            ..HeaderFields::default()
        };
        let packet = write(fields, &[], &[sequence as u8; 40]);
        receive(&mut receiver, now, &packet);
        down_track.forward(now, &receiver, &mut sink);
        receiver.end_batch();
    }
    assert_eq!(sink.sent.len(), 20);
    assert!(sink.sent.iter().all(|sent| sent.header.payload_type == 63));
    assert_eq!(down_track.take_layer_change(), Some((0, 0)));
    // Opus has no RTX: what was lost is sent as it was.
    let third = sink.sent[3].clone();
    down_track.handle_nack(now, [third.header.sequence], &receiver, &mut sink);
    assert_eq!(sink.sent[20], third);
    assert_eq!(down_track.stats(now).key_frames, 0);
}

#[test]
fn unknown_codecs_and_extensions_pass_untouched() {
    let now = Instant::now();
    let codec = CodecParameters {
        mime_type: "video/unheard-of".to_owned(),
        rtx_payload_type: None,
        ..vp8(VIDEO_PT)
    };
    let extension = |id, uri: &str| HeaderExtension {
        id,
        uri: uri.to_owned(),
    };
    let capture_time = ExtensionKind::AbsCaptureTime.uri();
    let mut config = other(MediaKind::Video, codec.clone());
    config.header_extensions = vec![extension(3, "urn:unheard-of"), extension(4, capture_time)];
    let mut receiver = Receiver::new(now, config);
    let mut config = down_track_config(now, SSRC);
    config.codecs = vec![CodecParameters {
        payload_type: 120,
        ..codec
    }];
    config.header_extensions = vec![extension(9, "urn:unheard-of"), extension(5, capture_time)];
    let mut down_track = DownTrack::new(now, config, &receiver);
    down_track.set_connected(now, true, &receiver);
    let mut sink = Sink::default();
    let payload: Vec<u8> = (0..200).collect();
    let map = ExtensionMap::from_uris([(4, capture_time)]);
    let mut clock = PublisherClock::new();
    for sequence in [1, 2] {
        let fields = HeaderFields {
            payload_type: VIDEO_PT,
            sequence,
            ssrc: 5,
            ..HeaderFields::default()
        };
        let packet = write(fields, &[(3, &[7, 8]), (4, &[1; 16])], &payload);
        let header = RtpHeader::parse(&packet).unwrap();
        let parsed = ParsedExtensions::parse(&map, &header, &packet);
        receiver.handle_rtp(now, &header, &parsed, &packet);
        down_track.forward(now, &receiver, &mut sink);
        receiver.end_batch();
        let info = SenderInfo {
            ntp: 1,
            ..SenderInfo::default()
        };
        receiver.handle_sender_report(now, 5, &info, &mut clock);
    }
    // Capture times mean nothing before the first sender report, and lose the clock offset.
    let lens: Vec<_> = sink.sent.iter().map(|sent| sent.header_len).collect();
    assert_eq!(lens, [12 + 4 + 4, 12 + 4 + 12]);
    assert!(sink.sent.iter().all(|sent| sent.payload == payload));
    assert!(sink.sent.iter().all(|sent| sent.header.payload_type == 120));
}

#[test]
fn a_codec_that_the_subscriber_has_not_negotiated_is_not_sent() {
    let mut call = Call::with(1, |config| config.codecs = vec![opus(63)]);
    call.frames(&[KEY], 2);
    assert!(!call.down_track.is_sendable());
    assert_eq!((call.sent(), call.asked()), (vec![], vec![]));
    assert_eq!(call.down_track.next_deadline(), None);
}
