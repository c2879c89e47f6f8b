//! Whatever happens to the source and to the wishes of the subscriber, what goes out is one
//! continuous stream.

#![allow(clippy::unwrap_used, reason = "it is a test")]

mod common;

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use common::{
    FRAME, MS, Origin, Published, PublishedLayer, Sent, Sink, as_rtx, down_track_config, receive,
    receiver_config, report,
};
use lkpy_sfu::{DownTrack, PublisherClock, Receiver};
use proptest::prelude::*;
use rtp::ntp;
use rtp::seq::{ExtSeq, SeqUnwrapper};

const SSRC: u32 = 0x7fff_7ff0;

/// One turn: a frame on each layer, and what else happens in it.
#[derive(Clone, Debug)]
struct Turn {
    /// Packets of the frame on each layer; 0: the layer is off.
    packets: [usize; 3],
    key: [bool; 3],
    /// Bit n: the n-th packet of the turn is lost.
    lost: u32,
    /// Bit n: the n-th packet changes places with the one after it.
    swapped: u32,
    padding: bool,
    /// Padding is sent to the subscriber.
    probe: bool,
    /// Everything lost so far comes as retransmissions.
    recover: bool,
    max_spatial: i8,
    max_temporal: i8,
    muted: bool,
    publisher_muted: bool,
    picture_lost: bool,
}

fn turns(lossy: bool) -> impl Strategy<Value = Vec<Turn>> {
    let any_of_three = (0..12u8, 0..12u8, 0..12u8);
    let wishes = (prop::sample::select(vec![2, 2, 2, 1, 0, -1]), 0..4i8);
    let rare = |chance: f64| prop::bool::weighted(chance);
    let turn = (
        (1..4usize, 0..4usize, 0..4usize),
        any_of_three,
        (any::<u32>(), any::<u32>(), any::<u32>(), any::<u32>()),
        (rare(0.1), rare(0.2), rare(0.03), rare(0.03), rare(0.02)),
        (rare(0.1), wishes, rare(0.3)),
    );
    prop::collection::vec(turn, 20..120).prop_map(move |turns| {
        let mut wish = (2, 3);
        let turns = turns.into_iter().enumerate();
        turns
            .map(
                |(number, (packets, keys, bits, events, (change, new_wish, probe)))| {
                    if change {
                        wish = new_wish;
                    }
                    let (padding, recover, muted, publisher_muted, picture_lost) = events;
                    let first = number == 0;
                    Turn {
                        packets: [packets.0, packets.1, packets.2],
                        key: [keys.0, keys.1, keys.2].map(|key| key == 0 || first),
                        lost: if lossy { bits.0 & bits.1 & bits.2 } else { 0 },
                        swapped: if lossy { bits.3 & bits.1 } else { 0 },
                        padding,
                        probe,
                        recover,
                        max_spatial: wish.0,
                        max_temporal: wish.1,
                        muted,
                        publisher_muted,
                        picture_lost,
                    }
                },
            )
            .collect()
    })
}

/// Everything that a run leaves behind.
struct Run {
    /// What was sent, by outgoing number.
    sent: Vec<(ExtSeq, Sent)>,
    /// Packets that did not come in order.
    disturbed: usize,
}

struct World {
    start: Instant,
    now: Instant,
    receiver: Receiver,
    down_track: DownTrack,
    layers: [PublishedLayer; 3],
    clock: PublisherClock,
    sink: Sink,
    missing: Vec<Published>,
    rtx_sequence: u16,
    disturbed: usize,
}

impl World {
    fn new(rtx: bool) -> Self {
        let now = Instant::now();
        let receiver = Receiver::new(now, receiver_config(3));
        let mut config = down_track_config(now, SSRC);
        config.rtx_ssrc = config.rtx_ssrc.filter(|_| rtx);
        let mut down_track = DownTrack::new(now, config, &receiver);
        down_track.set_connected(now, true, &receiver);
        Self {
            start: now,
            now,
            receiver,
            down_track,
            layers: [0, 1, 2].map(PublishedLayer::new),
            clock: PublisherClock::new(),
            sink: Sink::default(),
            missing: Vec::new(),
            rtx_sequence: 0,
            disturbed: 0,
        }
    }

    fn turn(&mut self, turn: &Turn) {
        self.now += FRAME;
        self.receiver.set_muted(self.now, turn.publisher_muted);
        self.down_track.update(
            self.now,
            turn.max_spatial,
            turn.max_temporal,
            turn.muted,
            &self.receiver,
        );
        if turn.recover {
            for published in std::mem::take(&mut self.missing) {
                self.rtx_sequence = self.rtx_sequence.wrapping_add(1);
                let bytes = as_rtx(&published, self.rtx_sequence);
                receive(&mut self.receiver, self.now, &bytes);
            }
        }
        let mut packets = self.publish(turn);
        for index in 1..packets.len() {
            if turn.swapped >> index & 1 != 0 {
                packets.swap(index - 1, index);
                self.disturbed += 1;
            }
        }
        for (index, published) in packets.into_iter().enumerate() {
            if turn.lost >> index & 1 == 0 {
                receive(&mut self.receiver, self.now, &published.bytes);
                // Each packet twice: the second must never be seen.
                receive(&mut self.receiver, self.now, &published.bytes);
            } else {
                self.disturbed += 1;
                self.missing.push(published);
            }
        }
        if turn.picture_lost {
            self.down_track.handle_pli(self.now, &mut self.receiver);
        }
        self.down_track
            .forward(self.now, &self.receiver, &mut self.sink);
        if turn.probe {
            self.down_track.send_padding(self.now, 600, &mut self.sink);
        }
        self.receiver.end_batch();
        self.receiver.handle_timeout(self.now);
        self.down_track.handle_timeout(self.now, &mut self.receiver);
    }

    fn publish(&mut self, turn: &Turn) -> Vec<Published> {
        let mut packets = Vec::new();
        let ntp = ntp::from_unix(self.now - self.start + 1000 * MS);
        // Before the frame: the timestamps of all layers are those of the same moment.
        report(
            &mut self.receiver,
            self.now,
            ntp,
            &self.layers,
            &mut self.clock,
        );
        for (layer, (&count, &key)) in self
            .layers
            .iter_mut()
            .zip(turn.packets.iter().zip(&turn.key))
        {
            if count > 0 {
                packets.extend(layer.frame(key, count));
            } else {
                layer.timestamp = layer.timestamp.wrapping_add(2970);
            }
            if turn.padding {
                packets.push(layer.padding());
            }
        }
        packets
    }

    fn run(mut self, turns: &[Turn]) -> Run {
        for turn in turns {
            let before = self.sink.sent.len();
            self.turn(turn);
            if turn.lost | turn.swapped == 0 && self.missing.is_empty() && self.disturbed == 0 {
                self.check_wishes(turn, before);
            }
        }
        let sent = unwrapped(&self.sink.sent);
        self.check_resends(&sent);
        Run {
            sent,
            disturbed: self.disturbed,
        }
    }

    /// What was just sent respects what the subscriber wants.
    fn check_wishes(&self, turn: &Turn, before: usize) {
        let sent = &self.sink.sent[before..];
        for sent in sent.iter().filter(|sent| !is_padding(sent)) {
            let origin = sent.origin().unwrap();
            assert!(i32::from(origin.temporal) <= i32::from(turn.max_temporal));
            assert!(!turn.muted && !turn.publisher_muted && turn.max_spatial >= 0);
        }
    }

    /// Each number asked for again brings what it brought at first, or nothing.
    fn check_resends(&mut self, sent: &[(ExtSeq, Sent)]) {
        let Some(&(highest, _)) = sent.last() else {
            return;
        };
        let by_number: HashMap<ExtSeq, &Sent> =
            sent.iter().map(|(out, sent)| (*out, sent)).collect();
        let last_key = sent
            .iter()
            .rev()
            .find(|(_, sent)| sent.origin().is_some_and(|origin| origin.key));
        self.receiver.set_muted(self.now, false);
        self.down_track
            .update(self.now, 2, 3, false, &self.receiver);
        for out in highest.saturating_sub(40)..=highest {
            self.sink.sent.clear();
            self.down_track
                .handle_nack(self.now, [out as u16], &self.receiver, &mut self.sink);
            let original = by_number.get(&out);
            for resent in &self.sink.sent {
                let rtx = self.down_track.rtx_ssrc();
                assert_eq!(resent.header.ssrc, rtx.unwrap_or(SSRC));
                let (sequence, payload) = match rtx {
                    Some(_) => resent.unwrap_rtx(),
                    None => (resent.header.sequence, resent.payload.clone()),
                };
                assert_eq!(sequence, out as u16);
                let original = original.expect("only what was sent is sent again");
                assert!(!is_padding(original), "nobody needs padding again");
                assert_eq!(payload, original.payload);
                assert_eq!(resent.header.timestamp, original.header.timestamp);
                assert_eq!(resent.header.marker, original.header.marker);
            }
            let wanted = original.is_some_and(|original| !is_padding(original));
            let useful = wanted && last_key.is_some_and(|(key, _)| out >= *key + 3);
            if useful && !self.was_picture_lost() {
                assert_eq!(
                    self.sink.sent.len(),
                    1,
                    "{out} was sent and is not sent again"
                );
            }
        }
    }

    fn was_picture_lost(&mut self) -> bool {
        self.down_track.stats(self.now).plis_received > 0
    }
}

fn is_padding(sent: &Sent) -> bool {
    sent.header.padding_len() > 0
}

fn unwrapped(sent: &[Sent]) -> Vec<(ExtSeq, Sent)> {
    let mut unwrapper = SeqUnwrapper::new();
    let numbered = sent
        .iter()
        .filter(|sent| sent.header.ssrc == SSRC)
        .map(|sent| (unwrapper.unwrap(sent.header.sequence), sent.clone()));
    let mut numbered: Vec<_> = numbered.collect();
    numbered.sort_by_key(|(out, _)| *out);
    numbered
}

impl Run {
    fn media(&self) -> impl Iterator<Item = (ExtSeq, Origin, &Sent)> {
        self.sent
            .iter()
            .filter_map(|(out, sent)| Some((*out, sent.origin()?, sent)))
    }

    fn check(&self) {
        self.check_numbers();
        self.check_order();
        self.check_padding();
    }

    /// It comes after the media that it takes its timestamp from, and never within a frame.
    fn check_padding(&self) {
        let mut last: Option<(Origin, u32)> = None;
        let mut padded = false;
        for (_, sent) in &self.sent {
            if is_padding(sent) {
                let timestamp = last.map(|(_, timestamp)| timestamp);
                assert!(sent.payload.is_empty() && !sent.header.marker);
                assert!(self.disturbed > 0 || timestamp == Some(sent.header.timestamp));
                padded = true;
            } else if let Some(origin) = sent.origin() {
                let frame = |origin: Origin| (origin.layer, origin.frame);
                let within = last.is_some_and(|(last, _)| frame(last) == frame(origin));
                assert!(!(padded && within), "padding within {origin:?}");
                last = Some((origin, sent.header.timestamp));
                padded = false;
            }
        }
    }

    fn check_numbers(&self) {
        let numbers: HashSet<_> = self.sent.iter().map(|(out, _)| *out).collect();
        assert_eq!(numbers.len(), self.sent.len(), "a number was given twice");
        let origins: HashSet<_> = self.media().map(|(_, origin, _)| origin).collect();
        assert_eq!(
            origins.len(),
            self.media().count(),
            "a packet was sent twice"
        );
        if let (Some((first, _)), Some((last, _))) = (self.sent.first(), self.sent.last()) {
            let holes = (last - first + 1) as usize - self.sent.len();
            assert!(
                holes <= self.disturbed,
                "{holes} holes, {} disturbed",
                self.disturbed
            );
        }
    }

    fn check_order(&self) {
        if let Some((_, origin, sent)) = self.media().next() {
            assert!(origin.key && sent.vp8().key_frame, "begins with {origin:?}");
        }
        let media: Vec<_> = self.media().collect();
        for pair in media.windows(2) {
            let [(_, before, earlier), (_, after, later)] = pair else {
                unreachable!()
            };
            let step = later
                .header
                .timestamp
                .wrapping_sub(earlier.header.timestamp) as i32;
            let pictures = later
                .vp8()
                .picture_id
                .unwrap()
                .value
                .wrapping_sub(earlier.vp8().picture_id.unwrap().value)
                & 0x7fff;
            if (before.layer, before.frame) == (after.layer, after.frame) {
                assert_eq!((step, pictures), (0, 0), "{before:?} {after:?}");
                continue;
            }
            assert!(step > 0, "{before:?} {after:?}: {step} ticks");
            // The longest break of these runs is 120 turns.
            assert!(step <= 125 * 2970, "{before:?} {after:?}: {step} ticks");
            assert!(
                (1..=1 + self.disturbed).contains(&usize::from(pictures)),
                "{before:?} {after:?}: {pictures} pictures"
            );
            let tl0 = later
                .vp8()
                .tl0_pic_idx
                .unwrap()
                .wrapping_sub(earlier.vp8().tl0_pic_idx.unwrap());
            assert!(
                usize::from(tl0) <= 1 + self.disturbed,
                "{before:?} {after:?}: TL0PICIDX {tl0}"
            );
            if before.layer != after.layer {
                assert!(after.key && later.vp8().key_frame, "{before:?} {after:?}");
            } else {
                assert!(before.frame < after.frame, "{before:?} {after:?}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn without_loss_nothing_is_missing(turns in turns(false), rtx: bool) {
        let run = World::new(rtx).run(&turns);
        prop_assert_eq!(run.disturbed, 0);
        run.check();
    }

    #[test]
    fn with_loss_and_reordering_every_number_has_its_packet(turns in turns(true), rtx: bool) {
        World::new(rtx).run(&turns).check();
    }
}
