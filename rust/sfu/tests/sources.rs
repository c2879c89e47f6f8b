//! Whatever a publisher does (begin anew, lose, reorder, repeat), what a subscriber gets is one stream that a
//! decoder can follow, or that shows where it cannot.

#![allow(clippy::unwrap_used, reason = "it is a test")]

mod common;

use std::collections::HashMap;

use common::FRAME;
use common::Sent;
use common::encoder::{Coding, EncoderCall, Kind, Mark, Packet, Sets};
use lkpy_sfu::RtpOutcome;
use proptest::prelude::*;
use rtp::seq::{ExtSeq, SeqUnwrapper};

/// What happens besides a frame.
#[derive(Clone, Copy, Debug)]
enum Event {
    Nothing,
    /// Another ssrc, with any numbers.
    AnotherSsrc {
        sequence: u16,
        timestamp: u32,
    },
    /// The same ssrc, with numbers [`STEP`] away.
    OtherNumbers {
        timestamp: u32,
    },
    /// So many packets are never seen.
    Outage {
        packets: u16,
    },
    /// Everything lost so far comes as retransmissions.
    Recover,
    /// Packets of the incarnation before come late.
    Late,
    MuteSubscriber(bool),
    MutePublisher(bool),
}

#[derive(Clone, Copy, Debug)]
struct Turn {
    key: bool,
    sets: Sets,
    slices: usize,
    /// Bit n: the n-th packet of the turn is lost.
    lost: u32,
    /// Bit n: it changes places with the one before.
    swapped: u32,
    /// Bit n: it comes in the next turn.
    held: u32,
    event: Event,
}

/// How far other numbers are away: never so that several steps come near numbers that were seen, and look
/// like loss or like late packets.
const STEP: u16 = 9000;

fn events() -> impl Strategy<Value = Event> {
    prop_oneof![
        12 => Just(Event::Nothing),
        1 => (any::<u16>(), any::<u32>())
            .prop_map(|(sequence, timestamp)| Event::AnotherSsrc { sequence, timestamp }),
        1 => any::<u32>().prop_map(|timestamp| Event::OtherNumbers { timestamp }),
        1 => (1..1400u16).prop_map(|packets| Event::Outage { packets }),
        3 => Just(Event::Recover),
        2 => Just(Event::Late),
        1 => any::<bool>().prop_map(Event::MuteSubscriber),
        1 => any::<bool>().prop_map(Event::MutePublisher),
    ]
}

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    let sets = prop::sample::select(vec![Sets::Aggregated, Sets::Separate, Sets::Reversed]);
    let rare = (any::<u32>(), any::<u32>(), any::<u32>(), any::<u32>());
    let turn = (prop::bool::weighted(0.15), sets, 1..4usize, rare, events());
    let turn = turn.prop_map(|(key, sets, slices, bits, event)| Turn {
        key,
        sets,
        slices,
        lost: bits.0 & bits.1 & bits.2,
        swapped: bits.1 & bits.3,
        held: bits.0 & bits.2 & bits.3,
        event,
    });
    prop::collection::vec(turn, 20..120)
}

struct World {
    coding: Coding,
    call: EncoderCall,
    /// Of this incarnation: what was lost.
    missing: Vec<Packet>,
    /// What comes with the next turn.
    held: Vec<Packet>,
    /// The last packets of the incarnation before, if it was one for the receiver.
    former: Vec<Packet>,
    recent: Vec<Packet>,
    /// The newest packet that was taken.
    taken: Option<Mark>,
    rtx_ssrc: u32,
    rtx_sequence: u16,
    sent: Vec<(Mark, Sent)>,
}

impl World {
    fn new(coding: Coding) -> Self {
        Self {
            coding,
            call: EncoderCall::new(coding),
            missing: Vec::new(),
            held: Vec::new(),
            former: Vec::new(),
            recent: Vec::new(),
            taken: None,
            rtx_ssrc: 1000,
            rtx_sequence: 0,
            sent: Vec::new(),
        }
    }

    fn begin_anew(&mut self, ssrc: u32, sequence: u16, timestamp: u32) {
        self.call.encoder.begin_anew(ssrc, sequence, timestamp);
        let taken = self.taken;
        let near = |mark: Mark| {
            taken.is_some_and(|taken| {
                taken.incarnation == mark.incarnation && mark.number.abs_diff(taken.number) < 100
            })
        };
        self.former = std::mem::take(&mut self.recent);
        self.former.retain(|packet| near(packet.mark));
        self.missing.clear();
        self.rtx_ssrc += 1;
    }

    fn happen(&mut self, event: Event) {
        let call = &mut self.call;
        match event {
            Event::Nothing => {}
            Event::AnotherSsrc {
                sequence,
                timestamp,
            } => {
                let ssrc = call.encoder.ssrc + 1;
                self.begin_anew(ssrc, sequence, timestamp);
            }
            Event::OtherNumbers { timestamp } => {
                let (ssrc, sequence) = (call.encoder.ssrc, call.encoder.sequence);
                self.begin_anew(ssrc, sequence.wrapping_add(STEP), timestamp);
            }
            Event::Outage { packets } => call.encoder.skip(packets),
            Event::Recover => {
                for packet in std::mem::take(&mut self.missing) {
                    self.rtx_sequence = self.rtx_sequence.wrapping_add(1);
                    let bytes = packet.as_rtx(self.rtx_ssrc, self.rtx_sequence);
                    call.receive(&bytes);
                }
            }
            Event::Late => {
                let incarnation = call.encoder.incarnation();
                if self
                    .taken
                    .is_none_or(|taken| taken.incarnation != incarnation)
                {
                    return;
                }
                for packet in std::mem::take(&mut self.former) {
                    let outcome = call.receive(&packet.bytes);
                    let stored = matches!(outcome, RtpOutcome::Stored { .. });
                    assert!(!stored, "of the incarnation before");
                }
            }
            Event::MuteSubscriber(muted) => {
                let (now, receiver) = (call.now, &call.receiver);
                call.down_track.update(now, 2, 3, muted, receiver);
            }
            Event::MutePublisher(muted) => call.receiver.set_muted(call.now, muted),
        }
    }

    fn turn(&mut self, turn: &Turn) {
        self.call.now += FRAME;
        self.happen(turn.event);
        self.call.encoder.sets = turn.sets;
        let mut packets = self.call.encoder.frame(turn.key, turn.slices);
        for index in 1..packets.len() {
            if turn.swapped >> index & 1 != 0 {
                packets.swap(index - 1, index);
            }
        }
        let incarnation = self.call.encoder.incarnation();
        let held = std::mem::take(&mut self.held).into_iter();
        // What is still on its way when the publisher begins anew is lost.
        let mut now: Vec<_> = held
            .filter(|packet| packet.mark.incarnation == incarnation)
            .collect();
        for (index, packet) in packets.into_iter().enumerate() {
            self.recent.push(packet.clone());
            if turn.lost >> index & 1 != 0 {
                self.missing.push(packet);
            } else if turn.held >> index & 1 != 0 {
                self.held.push(packet);
            } else {
                now.push(packet);
            }
        }
        let excess = self.recent.len().saturating_sub(20);
        self.recent.drain(..excess);
        for packet in &now {
            // Each packet twice: the second must never be seen.
            for _ in 0..2 {
                if let RtpOutcome::Stored { .. } = self.call.receive(&packet.bytes) {
                    self.taken = Some(packet.mark);
                }
            }
        }
        self.call.forward();
        self.sent.extend(self.call.sent());
    }

    fn clean(&mut self, key: bool) {
        self.turn(&Turn {
            key,
            sets: Sets::Aggregated,
            slices: 2,
            lost: 0,
            swapped: 0,
            held: 0,
            event: Event::Nothing,
        });
    }

    /// After all that has happened the stream can still be begun and followed.
    fn end(&mut self, event: Event) {
        self.happen(Event::MuteSubscriber(false));
        self.happen(Event::MutePublisher(false));
        for _ in 0..2 {
            (0..15).for_each(|_| self.clean(false));
            self.clean(true);
            (0..2).for_each(|_| self.clean(false));
            let (newest, _) = self.sent.last().unwrap();
            let mark = (newest.incarnation, newest.number + 1);
            let next = self.call.encoder.frame(false, 1).remove(0).mark;
            assert_eq!(mark, (next.incarnation, next.number));
            self.call.encoder.skip(0);
            // What the publisher does now is noticed, and asked for again for as long as no key frame
            // comes.
            self.happen(event);
            let asked = self.call.asked;
            (0..60).for_each(|_| self.clean(false));
            assert!(self.call.asked >= asked + 2, "after {event:?}");
        }
    }

    /// What was sent, by outgoing number.
    fn check(&self) {
        let mut unwrapper = SeqUnwrapper::new();
        let mut by_number: HashMap<ExtSeq, Mark> = HashMap::new();
        let mut sent = Vec::new();
        for (mark, packet) in &self.sent {
            let out = unwrapper.unwrap(packet.header.sequence);
            let other = by_number.insert(out, *mark);
            assert!(other.is_none(), "{out} is {other:?} and {mark:?}");
            sent.push((out, *mark, packet.header.timestamp));
        }
        sent.sort_by_key(|&(out, ..)| out);
        let Some(&(_, first, _)) = sent.first() else {
            return;
        };
        assert!(begins(&first), "{first:?}");
        let mut has_sets = !matches!(self.coding, Coding::H264 | Coding::H265);
        let mut incarnation = None;
        for (_, mark, _) in &sent {
            if incarnation.replace(mark.incarnation) != Some(mark.incarnation) {
                has_sets = !matches!(self.coding, Coding::H264 | Coding::H265);
            }
            has_sets |= matches!(mark.kind, Kind::Sets | Kind::Sps);
            assert!(
                has_sets || mark.kind != Kind::Picture,
                "{mark:?}, before any parameter sets"
            );
        }
        for pair in sent.windows(2) {
            let (before, after) = (pair[0].1, pair[1].1);
            assert!(before.incarnation <= after.incarnation);
            let follows = before.incarnation == after.incarnation;
            assert!(!follows || before.number < after.number);
            let next = follows && after.number == before.number + 1;
            let hole = pair[1].0 > pair[0].0 + 1;
            // A hole within an incarnation may be loss. Between two there is nothing to be filled.
            let allowed = next || begins(&after) || hole && follows;
            assert!(allowed, "{:?} {:?}", pair[0], pair[1]);
            let step = pair[1].2.wrapping_sub(pair[0].2) as i32;
            let same = follows && before.frame == after.frame;
            assert!(if same { step == 0 } else { step > 0 });
            assert!(step <= 250 * 2970, "{:?} {:?}", pair[0], pair[1]);
        }
    }
}

/// Whether a decoder can begin with the packet: the first of a key frame, or parameter sets when those
/// before them did not come.
fn begins(mark: &Mark) -> bool {
    mark.key && (mark.index == 0 || mark.kind != Kind::Picture)
}

fn check(coding: Coding, turns: &[Turn], end: Event) {
    let mut world = World::new(coding);
    turns.iter().for_each(|turn| world.turn(turn));
    world.end(end);
    world.check();
}

fn ends() -> impl Strategy<Value = Event> {
    prop_oneof![
        (any::<u16>(), any::<u32>()).prop_map(|(sequence, timestamp)| Event::AnotherSsrc {
            sequence,
            timestamp
        }),
        any::<u32>().prop_map(|timestamp| Event::OtherNumbers { timestamp }),
        (520..2900u16).prop_map(|packets| Event::Outage { packets }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn h264(turns in turns(), end in ends()) {
        check(Coding::H264, &turns, end);
    }

    #[test]
    fn h265(turns in turns(), end in ends()) {
        check(Coding::H265, &turns, end);
    }

    #[test]
    fn vp8(turns in turns(), end in ends()) {
        check(Coding::Vp8, &turns, end);
    }

    #[test]
    fn vp8_without_picture_ids(turns in turns(), end in ends()) {
        check(Coding::Vp8Bare, &turns, end);
    }

    #[test]
    fn vp9(turns in turns(), end in ends()) {
        check(Coding::Vp9, &turns, end);
    }

    #[test]
    fn av1(turns in turns(), end in ends()) {
        check(Coding::Av1, &turns, end);
    }
}
