//! Redundant audio (RFC 2198) for subscribers that have it and those that do not.

mod common;

use std::time::{Duration, Instant};

use common::{Sink, down_track_config, opus, receive};
use lkpy_sfu::{CodecParameters, DownTrack, MediaKind, Receiver, ReceiverConfig};
use proptest::prelude::*;
use rtp::header::{HeaderFields, write_header};
use rtp::red::{RedPayload, RedundantBlock, write_red};

const RED: u8 = 63;
const OPUS: u8 = 111;
const FRAME: u32 = 960;
const FIRST: u16 = 65_530;

fn red(payload_type: u8) -> CodecParameters {
    CodecParameters {
        payload_type,
        mime_type: "audio/red".to_owned(),
        clock_rate: 48_000,
        ..CodecParameters::default()
    }
}

/// The plain payload of the packet with this index.
fn frame(index: u32) -> Vec<u8> {
    let mut frame = index.to_be_bytes().to_vec();
    frame.resize(20 + index as usize % 30, 0xaa);
    frame
}

/// A publisher of Opus or RED, and a subscriber.
struct Call {
    now: Instant,
    receiver: Receiver,
    down_track: DownTrack,
    sink: Sink,
}

impl Call {
    /// `codecs` are the subscriber's.
    fn new(codecs: Vec<CodecParameters>, translate_red: bool) -> Self {
        let now = Instant::now();
        let mut config = ReceiverConfig::new(MediaKind::Audio);
        config.codecs = vec![red(RED), opus(OPUS)];
        let receiver = Receiver::new(now, config);
        let mut config = down_track_config(now, 500);
        config.codecs = codecs;
        config.translate_red = translate_red;
        let mut down_track = DownTrack::new(now, config, &receiver);
        down_track.set_connected(now, true, &receiver);
        let sink = Sink::default();
        Self {
            now,
            receiver,
            down_track,
            sink,
        }
    }

    fn packet(&mut self, payload_type: u8, index: u32, payload: &[u8]) {
        let fields = HeaderFields {
            marker: index == 0,
            payload_type,
            sequence: FIRST.wrapping_add(index as u16),
            timestamp: index.wrapping_mul(FRAME).wrapping_sub(5 * FRAME),
            ssrc: 77,
            csrcs: &[],
        };
        let mut bytes = vec![0; 12];
        write_header(&mut bytes, &fields, std::iter::empty::<(u8, &[u8])>())
            .expect("a header fits");
        bytes.extend(payload);
        receive(&mut self.receiver, self.now, &bytes);
        self.forward();
    }

    fn forward(&mut self) {
        self.now += Duration::from_millis(20);
        self.down_track
            .forward(self.now, &self.receiver, &mut self.sink);
        self.receiver.end_batch();
    }

    /// RED that repeats two packets.
    fn red(&mut self, index: u32) {
        let before: Vec<_> = (1..=2u32)
            .rev()
            .filter(|&back| back <= index)
            .map(|back| (back * FRAME, frame(index - back)))
            .collect();
        let blocks: Vec<_> = before
            .iter()
            .map(|(timestamp_offset, data)| RedundantBlock {
                timestamp_offset: *timestamp_offset,
                data,
            })
            .collect();
        let mut payload = [0; 500];
        let len = write_red(&mut payload, OPUS, &blocks, &frame(index)).expect("it fits");
        self.packet(RED, index, &payload[..len]);
    }

    fn opus(&mut self, index: u32) {
        self.packet(OPUS, index, &frame(index));
    }

    /// Payload type, number and timestamp (both counted from the first packet's) of what was sent
    /// since the last call, and its payload.
    fn sent(&mut self, first: (u16, u32)) -> Vec<(u8, u16, u32, Vec<u8>)> {
        let sent = self.sink.sent.drain(..).map(|sent| {
            let header = sent.header;
            let sequence = header.sequence.wrapping_sub(first.0);
            let timestamp = header.timestamp.wrapping_sub(first.1);
            (header.payload_type, sequence, timestamp, sent.payload)
        });
        sent.collect()
    }

    fn first(&self) -> (u16, u32) {
        let header = &self.sink.sent[0].header;
        (header.sequence, header.timestamp)
    }
}

fn plain(payload_type: u8, index: u32) -> (u8, u16, u32, Vec<u8>) {
    (payload_type, index as u16, index * FRAME, frame(index))
}

#[test]
fn a_subscriber_without_red_gets_the_plain_payloads() {
    let mut call = Call::new(vec![opus(109)], true);
    for index in 0..20 {
        call.red(index);
    }
    let first = call.first();
    let expected: Vec<_> = (0..20).map(|index| plain(109, index)).collect();
    assert_eq!(call.sent(first), expected);
}

#[test]
fn what_was_lost_is_taken_from_the_packets_after_it() {
    let mut call = Call::new(vec![opus(109)], true);
    for index in [0, 1, 4, 5, 9, 10] {
        call.red(index);
    }
    let first = call.first();
    // Of 6, 7 and 8 the first is too far back.
    let expected: Vec<_> = [0, 1, 2, 3, 4, 5, 7, 8, 9, 10]
        .into_iter()
        .map(|index| plain(109, index))
        .collect();
    assert_eq!(call.sent(first), expected);
    // What comes late after all has been sent; only what has not been is sent now.
    call.red(3);
    call.red(7);
    assert_eq!(call.sent(first), []);
    call.red(6);
    assert_eq!(call.sent(first), [plain(109, 6)]);
}

#[test]
fn what_came_from_redundancy_is_not_sent_again() {
    let mut call = Call::new(vec![opus(109)], true);
    for index in [0, 1, 3] {
        call.red(index);
    }
    let first = call.first();
    call.sent(first);
    call.red(2);
    let numbers = (0..4).map(|index| first.0.wrapping_add(index));
    call.down_track
        .handle_nack(call.now, numbers, &call.receiver, &mut call.sink);
    let again: Vec<_> = [0, 1, 3].map(|index| plain(109, index)).into();
    assert_eq!(call.sent(first), again);
}

#[test]
fn a_subscriber_with_red_gets_it_with_its_own_payload_types() {
    let mut call = Call::new(vec![opus(109), red(120)], true);
    for index in 0..4 {
        call.red(index);
    }
    let first = call.first();
    for (payload_type, sequence, _, payload) in call.sent(first) {
        assert_eq!(payload_type, 120);
        let index = u32::from(sequence);
        let red = RedPayload::parse(&payload).expect("it is RED");
        assert_eq!(red.primary(), frame(index));
        assert_eq!(payload[0] & 0x7f, 109);
        let earlier = red.earlier(1).map(|block| block.data.to_vec());
        assert_eq!(earlier, index.checked_sub(1).map(frame));
    }
    // Opus in between stays what it is.
    call.opus(4);
    assert_eq!(call.sent(first), [plain(109, 4)]);
}

#[test]
fn opus_becomes_red_for_a_subscriber_that_prefers_it() {
    let mut call = Call::new(vec![red(120), opus(109)], true);
    for index in [0, 1, 2, 4, 5, 8] {
        call.opus(index);
    }
    let first = call.first();
    let repeated = call
        .sent(first)
        .into_iter()
        .map(|(payload_type, sequence, _, payload)| {
            assert_eq!(payload_type, 120);
            let red = RedPayload::parse(&payload).expect("it is RED");
            let index = u32::from(sequence);
            assert_eq!(red.primary(), frame(index));
            let mut repeated = Vec::new();
            while let Some(block) = red.earlier(repeated.len() + 1) {
                let earlier = index - block.timestamp_offset / FRAME;
                assert_eq!(block.data, frame(earlier));
                repeated.push(earlier);
            }
            (index, repeated)
        });
    let expected = [
        (0, vec![]),
        (1, vec![0]),
        (2, vec![1, 0]),
        (4, vec![2]),
        (5, vec![4]),
        (8, vec![]),
    ];
    assert_eq!(repeated.collect::<Vec<_>>(), expected);
    // What a packet repeats may differ a second time.
    call.down_track
        .handle_nack(call.now, [first.0], &call.receiver, &mut call.sink);
    assert_eq!(call.sent(first), []);
    call.packet(OPUS, 9, &[1; 1100]);
    let long = (109, 9, 9 * FRAME, vec![1; 1100]);
    assert_eq!(call.sent(first), [long]);
}

#[test]
fn nothing_is_translated_that_must_not_be() {
    let mut call = Call::new(vec![opus(109)], false);
    call.red(0);
    assert!(call.sink.sent.is_empty());
    call.opus(1);
    assert_eq!(call.sink.sent.pop().expect("it is sent").payload, frame(1));
    let mut call = Call::new(vec![red(120), opus(109)], false);
    call.opus(0);
    assert_eq!(call.sink.sent[0].header.payload_type, 109);
}

proptest! {
    /// Whatever is lost or comes in another order: each number once, each with its own payload.
    #[test]
    fn each_number_has_one_content(
        lost in prop::collection::vec(prop::bool::weighted(0.2), 60), swaps in prop::collection::vec(0usize..58, 0..20),
    ) {
        let mut order: Vec<u32> = (0..60).collect();
        for swap in swaps {
            order.swap(swap + 1, swap);
        }
        let mut call = Call::new(vec![opus(109)], true);
        for &index in &order {
            if index == order[0] || !lost[index as usize] {
                call.red(index);
            }
        }
        let first = call.first();
        let mut sent = call.sent(first);
        sent.sort_by_key(|sent| sent.1 as i16);
        for pair in sent.windows(2) {
            prop_assert!(pair[0].1 != pair[1].1);
        }
        for (_, sequence, timestamp, payload) in sent {
            let index = order[0].wrapping_add_signed(i32::from(sequence as i16));
            prop_assert_eq!(payload, frame(index));
            prop_assert_eq!(timestamp, index.wrapping_sub(order[0]).wrapping_mul(FRAME));
        }
    }

    #[test]
    fn no_payload_makes_it_panic(payloads in prop::collection::vec(any::<Vec<u8>>(), 1..20)) {
        for codecs in [vec![opus(109)], vec![red(120), opus(109)]] {
            let mut call = Call::new(codecs, true);
            for (index, payload) in (0..).zip(&payloads) {
                call.packet(RED, 2 * index, payload);
                call.packet(OPUS, 2 * index + 1, payload);
            }
        }
    }
}
