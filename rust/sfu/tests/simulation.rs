//! A call of one publisher and several subscribers over lossy links, in virtual time.

#![allow(clippy::unwrap_used, reason = "it is a test")]

mod common;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use common::{
    MS, Origin, Published, PublishedLayer, Sent, Sink, as_rtx, down_track_config, receive,
    receiver_config, report, ssrc_of,
};
use lkpy_sfu::{DownTrack, PublisherClock, Receiver};
use rtp::ntp;
use rtp::rtcp::{self, Packet, RtcpWriter};
use rtp::seq::{ExtSeq, SeqUnwrapper};

/// Time between two steps of the simulation.
const STEP: Duration = Duration::from_millis(5);
/// One way delay of every link.
const DELAY: Duration = Duration::from_millis(25);
/// Length of the call.
const LENGTH: Duration = Duration::from_secs(12);
/// The highest layer sends nothing in this part of the call.
const HIGH_OFF: (Duration, Duration) = (Duration::from_secs(4), Duration::from_secs(7));
/// Packets of one frame.
const PACKETS: usize = 5;

/// xorshift64*: enough for losing packets.
struct Random(u64);

impl Random {
    fn percent(&mut self, chance: u64) -> bool {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33 & 0xffff < chance * 0xffff / 100
    }
}

/// Things on their way, by the time of their arrival.
struct Link<T>(BTreeMap<Instant, Vec<T>>);

impl<T> Link<T> {
    fn new() -> Self {
        Self(BTreeMap::new())
    }

    fn send(&mut self, now: Instant, thing: T) {
        self.0.entry(now + DELAY).or_default().push(thing);
    }

    fn receive(&mut self, now: Instant) -> Vec<T> {
        let later = self.0.split_off(&(now + Duration::from_nanos(1)));
        let arrived = std::mem::replace(&mut self.0, later);
        arrived.into_values().flatten().collect()
    }
}

/// What receivers ask publishers for, and subscribers down tracks.
#[derive(Clone, Debug)]
enum Request {
    Nack(u32, Vec<u16>),
    KeyFrame(u32),
}

struct Publisher {
    layers: [PublishedLayer; 3],
    wants_key: [bool; 3],
    sent: HashMap<(u32, u16), Published>,
    rtx_sequence: u16,
    link: Link<Vec<u8>>,
}

impl Publisher {
    fn frame(&mut self, now: Instant, high_off: bool, random: &mut Random) {
        for (index, layer) in self.layers.iter_mut().enumerate() {
            if high_off && index == 2 {
                layer.timestamp = layer.timestamp.wrapping_add(2970);
                continue;
            }
            let key = std::mem::take(&mut self.wants_key[index]);
            for published in layer.frame(key, PACKETS) {
                if !random.percent(3) {
                    self.link.send(now, published.bytes.clone());
                }
                let name = (ssrc_of(layer.layer), published.sequence);
                self.sent.insert(name, published);
            }
        }
    }

    fn handle(&mut self, now: Instant, request: Request, random: &mut Random) {
        match request {
            Request::KeyFrame(ssrc) => self.wants_key[(ssrc - ssrc_of(0)) as usize] = true,
            Request::Nack(ssrc, sequences) => {
                for sequence in sequences {
                    let published = &self.sent[&(ssrc, sequence)];
                    self.rtx_sequence = self.rtx_sequence.wrapping_add(1);
                    if !random.percent(3) {
                        let rtx = as_rtx(published, self.rtx_sequence);
                        self.link.send(now, rtx);
                    }
                }
            }
        }
    }
}

/// A subscriber's end: it asks for what it misses and counts the frames that are complete.
struct Subscriber {
    down_track: DownTrack,
    max_spatial: u8,
    media: Link<Sent>,
    requests: Link<Request>,
    unwrapper: SeqUnwrapper,
    received: BTreeMap<ExtSeq, Option<Origin>>,
    missing: BTreeMap<ExtSeq, (Instant, u32)>,
    frames: HashMap<(u8, u32), BTreeSet<u32>>,
    complete: Vec<(Instant, u8)>,
}

impl Subscriber {
    fn take(&mut self, now: Instant, sent: &Sent) {
        let (sequence, payload) = if sent.header.ssrc == self.down_track.ssrc() {
            (sent.header.sequence, sent.payload.clone())
        } else {
            sent.unwrap_rtx()
        };
        let highest = self.unwrapper.highest();
        let number = self.unwrapper.unwrap(sequence);
        for missing in highest.map_or(number, |highest| highest + 1)..number {
            self.missing.insert(missing, (now, 0));
        }
        self.missing.remove(&number);
        let origin = common::origin_of(&payload);
        let before = self.received.insert(number, origin);
        assert!(before.is_none_or(|before| before == origin), "{number}");
        if let Some(origin) = origin {
            let packets = self.frames.entry((origin.layer, origin.frame)).or_default();
            if packets.insert(origin.packet) && packets.len() == PACKETS {
                self.complete.push((now, origin.layer));
            }
        }
    }

    fn ask(&mut self, now: Instant) {
        let ssrc = self.down_track.ssrc();
        let mut due = Vec::new();
        for (number, (since, tries)) in &mut self.missing {
            if now - *since >= 60 * MS * *tries && *tries < 10 {
                *tries += 1;
                due.push(*number as u16);
            }
        }
        if !due.is_empty() {
            self.requests.send(now, Request::Nack(ssrc, due));
        }
        let stuck = self.complete.last().map_or(now, |last| last.0);
        if now - stuck > 500 * MS {
            self.requests.send(now, Request::KeyFrame(ssrc));
        }
    }
}

struct Call {
    start: Instant,
    now: Instant,
    random: Random,
    publisher: Publisher,
    receiver: Receiver,
    feedback: Link<Request>,
    clock: PublisherClock,
    subscribers: Vec<Subscriber>,
}

impl Call {
    fn new(seed: u64) -> Self {
        let start = Instant::now();
        let receiver = Receiver::new(start, receiver_config(3));
        let subscribers = (0..6u32).map(|number| {
            let max_spatial = (number % 3) as u8;
            let mut config = down_track_config(start, 0x5_0000 * (number + 1));
            config.max_spatial = max_spatial as i8;
            config.max_temporal = (3 - number / 3) as i8;
            Subscriber {
                down_track: DownTrack::new(start, config, &receiver),
                max_spatial,
                media: Link::new(),
                requests: Link::new(),
                unwrapper: SeqUnwrapper::new(),
                received: BTreeMap::new(),
                missing: BTreeMap::new(),
                frames: HashMap::new(),
                complete: Vec::new(),
            }
        });
        Self {
            start,
            now: start,
            random: Random(seed * 0x9e37_79b9 + 1),
            subscribers: subscribers.collect(),
            receiver,
            publisher: Publisher {
                layers: [0, 1, 2].map(PublishedLayer::new),
                wants_key: [true; 3],
                sent: HashMap::new(),
                rtx_sequence: 0,
                link: Link::new(),
            },
            feedback: Link::new(),
            clock: PublisherClock::new(),
        }
    }

    fn step(&mut self, step: u32) {
        self.now += STEP;
        let elapsed = self.now - self.start;
        if step % 200 == 7 {
            let ntp = ntp::from_unix(elapsed + Duration::from_secs(1000));
            let layers = &self.publisher.layers;
            report(&mut self.receiver, self.now, ntp, layers, &mut self.clock);
        }
        if step.is_multiple_of(7) {
            let off = (HIGH_OFF.0..HIGH_OFF.1).contains(&elapsed);
            self.publisher.frame(self.now, off, &mut self.random);
        }
        for packet in self.publisher.link.receive(self.now) {
            receive(&mut self.receiver, self.now, &packet);
        }
        self.receiver.handle_timeout(self.now);
        for number in 0..self.subscribers.len() {
            // They join one after the other, two a second.
            if step == 1 + 100 * number as u32 {
                let down_track = &mut self.subscribers[number].down_track;
                down_track.set_connected(self.now, true, &self.receiver);
            }
            self.serve(number);
        }
        self.receiver.end_batch();
        self.exchange_feedback();
    }

    /// Forwards to one subscriber, and lets it answer.
    fn serve(&mut self, number: usize) {
        let now = self.now;
        let subscriber = &mut self.subscribers[number];
        let down_track = &mut subscriber.down_track;
        let mut sink = Sink::default();
        down_track.forward(now, &self.receiver, &mut sink);
        for request in subscriber.requests.receive(now) {
            match request {
                Request::Nack(_, sequences) => {
                    down_track.handle_nack(now, sequences, &self.receiver, &mut sink);
                }
                Request::KeyFrame(_) => down_track.handle_pli(now, &mut self.receiver),
            }
        }
        if down_track.next_deadline().is_some_and(|due| due <= now) {
            down_track.handle_timeout(now, &mut self.receiver);
        }
        for sent in sink.sent {
            if !self.random.percent(5) {
                subscriber.media.send(now, sent);
            }
        }
        for sent in subscriber.media.receive(now) {
            subscriber.take(now, &sent);
        }
        subscriber.ask(now);
    }

    fn exchange_feedback(&mut self) {
        let mut buf = Vec::new();
        self.receiver
            .poll_rtcp(self.now, &mut RtcpWriter::new(&mut buf));
        for packet in rtcp::parse(&buf) {
            let request = match packet.unwrap() {
                Packet::Nack(nack) => Request::Nack(nack.media_ssrc, nack.sequences().collect()),
                Packet::Pli { media_ssrc, .. } => Request::KeyFrame(media_ssrc),
                _ => continue,
            };
            self.feedback.send(self.now, request);
        }
        for request in self.feedback.receive(self.now) {
            self.publisher.handle(self.now, request, &mut self.random);
        }
    }
}

/// Layers that were complete in a part of the call.
fn layers_in(subscriber: &Subscriber, from: Instant, to: Instant) -> BTreeSet<u8> {
    let complete = subscriber.complete.iter();
    let within = complete.filter(|(at, _)| (from..to).contains(at));
    within.map(|(_, layer)| *layer).collect()
}

fn check(call: &Call, subscriber: &Subscriber, joined: Instant, seed: u64) {
    let name = format!("seed {seed}, up to layer {}", subscriber.max_spatial);
    let complete = &subscriber.complete;
    let first = complete.first().expect("no frame").0;
    assert!(
        first - joined < 700 * MS,
        "{name}: first frame after {:?}",
        first - joined
    );
    for pair in complete.windows(2) {
        let pause = pair[1].0 - pair[0].0;
        assert!(
            pause < Duration::from_secs(2),
            "{name}: nothing for {pause:?}"
        );
    }
    let wanted = BTreeSet::from([subscriber.max_spatial]);
    let end = call.start + LENGTH;
    let settled = layers_in(subscriber, end - Duration::from_secs(3), end);
    assert_eq!(settled, wanted, "{name}: at the end");
    if subscriber.max_spatial == 2 {
        let off = call.start + HIGH_OFF.0 + Duration::from_millis(1500);
        let without = layers_in(subscriber, off, call.start + HIGH_OFF.1);
        assert_eq!(without, BTreeSet::from([1]), "{name}: while layer 2 is off");
    }
    // Everything that was lost on the way was repaired, but for what a key frame made useless.
    let lost = subscriber.missing.len() as f64 / subscriber.received.len() as f64;
    assert!(lost < 0.01, "{name}: {lost} lost for good");
}

#[test]
fn everybody_sees_the_picture_that_they_want() {
    for seed in 1..=20 {
        let mut call = Call::new(seed);
        for step in 0..(LENGTH.as_millis() / STEP.as_millis()) as u32 {
            call.step(step);
        }
        for (number, subscriber) in (0..).zip(&call.subscribers) {
            let joined = call.start + STEP * (1 + 100 * number);
            check(&call, subscriber, joined, seed);
        }
        let plis: u64 = call
            .receiver
            .stats(call.now)
            .map(|layer| layer.plis_sent)
            .sum();
        assert!(plis <= 3 * 24, "seed {seed}: {plis} key frames asked for");
    }
}
