//! Streams as encoders, devices and gateways make them.

#![allow(clippy::unwrap_used, reason = "it is a test")]

mod common;

use std::time::{Duration, Instant};

use common::{FRAME, Sent, Sink, VIDEO_PT, down_track_config, opus, receive, vp8};
use lkpy_sfu::{CodecParameters, DownTrack, MediaKind, Receiver, ReceiverConfig, RtpOutcome};
use rtp::header::{HeaderFields, write_header};
use rtp::vp8::Vp8Descriptor;

const SSRC: u32 = 77;

/// Ids and values.
type Extensions<'a> = &'a [(u8, &'a [u8])];

/// One stream and one subscriber.
struct Stream {
    now: Instant,
    receiver: Receiver,
    down_track: DownTrack,
    sink: Sink,
    sequence: u16,
    timestamp: u32,
}

impl Stream {
    fn new(codec: CodecParameters) -> Self {
        let now = Instant::now();
        let kind = match codec.mime_type.starts_with("audio") {
            true => MediaKind::Audio,
            false => MediaKind::Video,
        };
        let mut config = ReceiverConfig::new(kind);
        config.codecs = vec![codec.clone()];
        let receiver = Receiver::new(now, config);
        let mut config = down_track_config(now, 9000);
        config.codecs = vec![codec];
        let mut down_track = DownTrack::new(now, config, &receiver);
        down_track.set_connected(now, true, &receiver);
        Self {
            now,
            receiver,
            down_track,
            sink: Sink::default(),
            sequence: 65_533,
            timestamp: u32::MAX - 5000,
        }
    }

    fn video(mime_type: &str) -> Self {
        Self::new(CodecParameters {
            mime_type: mime_type.to_owned(),
            ..vp8(VIDEO_PT)
        })
    }

    fn send(&mut self, marker: bool, payload: &[u8]) -> RtpOutcome {
        self.send_with(marker, &[], &[], payload)
    }

    fn send_with(
        &mut self,
        marker: bool,
        csrcs: &[u8],
        extensions: Extensions<'_>,
        payload: &[u8],
    ) -> RtpOutcome {
        self.sequence = self.sequence.wrapping_add(1);
        let is_audio = self.receiver.kind() == MediaKind::Audio;
        let fields = HeaderFields {
            marker,
            payload_type: if is_audio { 111 } else { VIDEO_PT },
            sequence: self.sequence,
            timestamp: self.timestamp,
            ssrc: SSRC,
            csrcs,
        };
        let mut bytes = vec![0; 200];
        let len = write_header(&mut bytes, &fields, extensions.iter().copied()).unwrap();
        bytes.truncate(len);
        bytes.extend(payload);
        receive(&mut self.receiver, self.now, &bytes)
    }

    /// Forwards what came, and goes on to the next frame.
    fn next(&mut self, ticks: u32) {
        self.down_track
            .forward(self.now, &self.receiver, &mut self.sink);
        self.receiver.end_batch();
        self.receiver.handle_timeout(self.now);
        self.down_track.handle_timeout(self.now, &mut self.receiver);
        self.now += FRAME;
        self.timestamp = self.timestamp.wrapping_add(ticks);
    }

    fn payloads(&mut self) -> Vec<Vec<u8>> {
        let sent = self.sink.sent.drain(..);
        sent.map(|sent| sent.payload).collect()
    }
}

/// A frame of VP8 with a descriptor.
fn frame(descriptor: &[u8], key: bool, mark: u8) -> Vec<u8> {
    let mut payload = descriptor.to_vec();
    payload.extend([u8::from(!key), mark]);
    payload
}

/// Descriptors of VP8 by picture id, with what the encoder says beside it.
#[derive(Clone, Copy, Debug)]
enum Descriptor {
    Bare,
    Short,
    Long,
    /// A layer index without the index of the base layer's picture.
    LayerOnly,
    /// All of it.
    Full,
}

impl Descriptor {
    fn bytes(self, id: u16, temporal: u8) -> Vec<u8> {
        let [high, low] = id.to_be_bytes();
        let tid = temporal << 6 | 0x20;
        match self {
            Self::Bare => vec![0x10],
            Self::Short => vec![0x90, 0x80, low & 0x7f],
            Self::Long => vec![0x90, 0x80, 0x80 | high, low],
            Self::LayerOnly => vec![0x90, 0xa0, low & 0x7f, tid],
            Self::Full => vec![
                0x90,
                0xf0,
                0x80 | high,
                low,
                id as u8,
                tid | id as u8 & 0x1f,
            ],
        }
    }
}

#[test]
fn vp8_says_as_much_as_its_encoder_does() {
    for descriptor in [
        Descriptor::Bare,
        Descriptor::Short,
        Descriptor::Long,
        Descriptor::LayerOnly,
        Descriptor::Full,
    ] {
        let mut stream = Stream::video("video/vp8");
        let mut expected = Vec::new();
        for number in 0..300u16 {
            let id = (number + 100) & 0x7fff;
            let payload = frame(&descriptor.bytes(id, 0), number == 0, number as u8);
            assert!(matches!(
                stream.send(true, &payload),
                RtpOutcome::Stored { .. }
            ));
            expected.push(payload);
            stream.next(2970);
        }
        assert_eq!(stream.payloads(), expected, "{descriptor:?}");
    }
}

#[test]
fn short_picture_ids_go_on_when_frames_are_left_out() {
    for descriptor in [Descriptor::Short, Descriptor::LayerOnly, Descriptor::Long] {
        let mut stream = Stream::video("video/vp8");
        let receiver = &stream.receiver;
        stream.down_track.update(stream.now, 2, 0, false, receiver);
        for number in 0..400u16 {
            let temporal = u8::from(number % 2 == 1);
            let payload = frame(&descriptor.bytes(number, temporal), number == 0, 0);
            stream.send(true, &payload);
            stream.next(2970);
        }
        let sent: Vec<_> = stream.payloads();
        // Only where there is a layer index can anything be left out.
        let has_layers = matches!(descriptor, Descriptor::LayerOnly);
        assert_eq!(sent.len(), if has_layers { 200 } else { 400 });
        let ids = sent.iter().map(|payload| {
            let id = Vp8Descriptor::parse(payload).unwrap().picture_id.unwrap();
            (id.value, if id.long { 0x7fff } else { 0x7f })
        });
        let ids: Vec<_> = ids.collect();
        for pair in ids.windows(2) {
            assert_eq!(pair[1].0, (pair[0].0 + 1) & pair[0].1, "{descriptor:?}");
        }
    }
}

fn continues(sent: &[Sent]) {
    for pair in sent.windows(2) {
        let step = pair[1]
            .header
            .sequence
            .wrapping_sub(pair[0].header.sequence);
        assert_eq!(step, 1);
    }
}

#[test]
fn csrcs_and_extensions_of_either_form_do_not_disturb_the_media() {
    let long = [7; 40];
    let cases: [(&[u8], Extensions<'_>); 4] = [
        (&[][..], &[][..]),
        (&[1; 12], &[]),
        (&[1; 4], &[(200, &long[..]), (3, &[][..])]),
        (&[9; 60], &[(14, &long[..3])]),
    ];
    for (csrcs, extensions) in cases {
        let mut stream = Stream::video("video/vp8");
        for number in 0..4 {
            let payload = frame(&Descriptor::Full.bytes(number, 0), number == 0, 5);
            stream.send_with(true, csrcs, extensions, &payload);
            stream.next(2970);
        }
        continues(&stream.sink.sent);
        let sent = stream.payloads();
        assert_eq!(sent.len(), 4);
        assert!(sent.iter().all(|payload| payload.ends_with(&[5])));
    }
}

#[test]
fn frames_without_markers_are_forwarded_and_layers_left() {
    let mut stream = Stream::video("video/h264");
    for number in 0..10 {
        stream.send(false, &[0x67, 1]);
        stream.send(false, &[0x68, 1]);
        stream.send(false, &[0x65, number]);
        stream.next(3000);
    }
    assert_eq!(stream.payloads().len(), 30);
}

#[test]
fn pictures_of_several_slices_begin_with_their_first() {
    let mut stream = Stream::video("video/h264");
    // A frame that cannot be begun with, then an intra picture of three slices, its parameter sets known
    // from the description only; the second slice is fragmented.
    stream.send(true, &[0x41, 0]);
    stream.next(3000);
    for payload in [
        &[0x65, 0x88, 1][..],
        &[0x7c, 0x85, 2],
        &[0x7c, 0x05, 3],
        &[0x7c, 0x45, 4],
        &[0x65, 0x00, 5],
    ] {
        stream.send(payload[2] == 5, payload);
    }
    stream.next(3000);
    let marks: Vec<_> = stream.payloads().iter().map(|p| p[2]).collect();
    assert_eq!(marks, [1, 2, 3, 4, 5]);
}

#[test]
fn timestamps_that_jump_stop_nothing() {
    let mut stream = Stream::video("video/vp8");
    for number in 0..60u16 {
        let payload = frame(&Descriptor::Full.bytes(number, 0), number == 0, 1);
        stream.send(true, &payload);
        let jump = [2970, 0, 1_000_000_000, 2970, 3_500_000_000][usize::from(number % 5)];
        stream.next(jump);
    }
    continues(&stream.sink.sent);
    assert_eq!(stream.payloads().len(), 60);
}

#[test]
fn a_microphone_that_is_silent_for_long_goes_on_at_once() {
    let mut stream = Stream::new(opus(111));
    for round in 0..5 {
        for number in 0..20 {
            stream.send(number == 0, &[0x78, round, number]);
            stream.next(960);
        }
        stream.now += Duration::from_secs(90);
        stream.timestamp = stream.timestamp.wrapping_add(90 * 48_000);
    }
    continues(&stream.sink.sent);
    let timestamps = stream.sink.sent.iter().map(|sent| sent.header.timestamp);
    let timestamps: Vec<_> = timestamps.collect();
    assert_eq!(timestamps.len(), 100);
    let gap = timestamps[20].wrapping_sub(timestamps[19]);
    assert_eq!(gap, 960 + 90 * 48_000);
}

#[test]
fn a_stream_without_any_report_is_forwarded_and_has_none() {
    let mut stream = Stream::video("video/vp8");
    for number in 0..10 {
        let payload = frame(&Descriptor::Bare.bytes(0, 0), number == 0, 1);
        stream.send(true, &payload);
        stream.next(2970);
    }
    assert_eq!(stream.payloads().len(), 10);
    let mut buf = Vec::new();
    let mut writer = rtp::rtcp::RtcpWriter::new(&mut buf);
    let clock = lkpy_sfu::PublisherClock::new();
    let (down_track, receiver) = (&mut stream.down_track, &stream.receiver);
    assert!(!down_track.write_sender_report(stream.now, receiver, &clock, &mut writer));
}
