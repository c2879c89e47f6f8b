//! Peers that mean no harm, over networks that lose, delay and reorder: the guard has nothing to say.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

struct Net {
    /// Of a thousand packets, this many are lost.
    loss: u64,
    jitter: Duration,
    rng: u64,
    sent: u64,
    queue: BinaryHeap<Reverse<(Instant, u64, bool, Bytes)>>,
}

impl Net {
    fn below(&mut self, bound: u64) -> u64 {
        self.rng ^= self.rng << 13;
        self.rng ^= self.rng >> 7;
        self.rng ^= self.rng << 17;
        (self.rng >> 16) % bound
    }

    fn send(&mut self, now: Instant, to_server: bool, packet: Bytes) {
        assert!(packet.len() <= limits::SCTP_PACKET);
        if self.below(1_000) < self.loss {
            return;
        }
        let jitter = self.jitter.as_micros() as u64 + 1;
        let at = now + Duration::from_micros(20_000 + self.below(jitter));
        self.sent += 1;
        self.queue.push(Reverse((at, self.sent, to_server, packet)));
    }
}

/// A server and a client with a network between them.
struct Pair {
    now: Instant,
    server: Sctp,
    client: Sctp,
    net: Net,
    /// What the server received: stream and length.
    messages: Vec<(u16, usize)>,
}

impl Pair {
    fn new(seed: u64) -> Self {
        let now = Instant::now();
        let (mut server, mut client) = (Sctp::new(1 << 20), Sctp::new(1 << 20));
        server.start(now, false);
        client.start(now, true);
        let net = Net {
            loss: 0,
            jitter: Duration::ZERO,
            rng: seed * 2 + 1,
            sent: 0,
            queue: BinaryHeap::new(),
        };
        Self {
            now,
            server,
            client,
            net,
            messages: Vec::new(),
        }
    }

    /// Opens a channel of the client's; returns its stream.
    fn open(&mut self, label: &str, ordered: bool, max_retransmits: Option<u16>) -> u16 {
        let before: Vec<_> = self.server.channels.keys().copied().collect();
        let options = ChannelOptions {
            label: label.into(),
            protocol: String::new(),
            ordered,
            max_retransmits,
            negotiated: None,
        };
        self.client.open_channel(self.now, options).unwrap();
        let is_open = |pair: &Self| {
            let mut open = pair.client.channels.iter().filter(|(id, channel)| {
                channel.state == ChannelState::Open && !before.contains(id)
            });
            open.next().map(|(id, _)| *id)
        };
        assert!(self.run(MINUTE, |pair| is_open(pair).is_some()));
        is_open(self).unwrap()
    }

    /// Runs until `done`, for `limit` at most.
    fn run(&mut self, limit: Duration, mut done: impl FnMut(&mut Self) -> bool) -> bool {
        let end = self.now + limit;
        loop {
            while let Some(packet) = self.server.packets.pop_front() {
                self.net.send(self.now, false, packet);
            }
            while let Some(packet) = self.client.packets.pop_front() {
                self.net.send(self.now, true, packet);
            }
            for event in self.server.events.drain(..) {
                if let TransportEvent::Data {
                    stream_id, bytes, ..
                } = event
                {
                    self.messages.push((stream_id, bytes.len()));
                }
            }
            if done(self) {
                return true;
            }
            if !self.client.packets.is_empty() || !self.server.packets.is_empty() {
                continue;
            }
            let arrival = self.net.queue.peek().map(|Reverse((at, ..))| *at);
            let timeouts = [self.server.next_timeout(), self.client.next_timeout()];
            let next = timeouts.into_iter().chain([arrival]).flatten().min();
            let Some(next) = next.filter(|at| *at <= end) else {
                self.now = end;
                return false;
            };
            self.now = self.now.max(next);
            while self
                .net
                .queue
                .peek()
                .is_some_and(|Reverse((at, ..))| *at <= self.now)
            {
                let Some(Reverse((_, _, to_server, packet))) = self.net.queue.pop() else {
                    break;
                };
                let end = if to_server {
                    &mut self.server
                } else {
                    &mut self.client
                };
                end.handle_packet(self.now, packet);
            }
            for end in [&mut self.server, &mut self.client] {
                if end.next_timeout().is_some_and(|at| at <= self.now) {
                    end.handle_timeout(self.now);
                }
            }
        }
    }

    /// Sends messages as fast as the channel takes them, until all of them arrived.
    fn transfer(&mut self, stream: u16, len: usize, count: usize) -> bool {
        let (mut sent, before) = (0, self.messages.len());
        let bytes = vec![7; len];
        self.run(60 * MINUTE, |pair| {
            while sent < count
                && pair
                    .client
                    .buffered(stream)
                    .is_some_and(|held| held < 1 << 19)
            {
                if pair.client.send(pair.now, stream, &bytes, true).is_err() {
                    break;
                }
                sent += 1;
            }
            pair.messages.len() - before >= count
        })
    }
}

/// 16 MB in messages of the greatest length, of which one packet in twenty is lost and the others
/// overtake each other.
#[test]
fn a_large_transfer_over_a_bad_network_is_not_refused_anything() {
    for seed in 0..3 {
        let mut pair = Pair::new(seed);
        let stream = pair.open("c", true, None);
        (pair.net.loss, pair.net.jitter) = (50, Duration::from_millis(15));
        assert!(pair.transfer(stream, limits::MESSAGE_MAX, 256));
        assert_eq!(pair.server.refused(), SctpRefused::default());
        assert_eq!(pair.client.refused(), SctpRefused::default());
    }
}

/// The window is full when the losses come.
#[test]
fn a_burst_of_losses_in_a_full_window_is_not_refused_anything() {
    let mut pair = Pair::new(4);
    let stream = pair.open("c", true, None);
    assert!(pair.transfer(stream, limits::MESSAGE_MAX, 200));
    (pair.net.loss, pair.net.jitter) = (200, Duration::from_millis(40));
    assert!(pair.transfer(stream, limits::MESSAGE_MAX, 60));
    pair.net.loss = 0;
    assert!(pair.transfer(stream, limits::MESSAGE_MAX, 200));
    assert_eq!(pair.server.refused(), SctpRefused::default());
}

/// How long messages take over a network that loses so many of a thousand packets.
fn duration_of(len: usize, count: usize, loss: u64, seed: u64) -> (Duration, SctpRefused) {
    let mut pair = Pair::new(seed);
    let stream = pair.open("c", true, None);
    (pair.net.loss, pair.net.jitter) = (loss, Duration::from_millis(5));
    let began = pair.now;
    assert!(pair.transfer(stream, len, count));
    (pair.now - began, pair.server.refused())
}

/// Messages of one byte and of the greatest length, at no loss and at a tenth, with packets that overtake
/// each other. Nothing is refused, but for the first of very many small messages, which come before the
/// peer has heard what it may have on its way; and these take no more than a few times as long as they
/// do without a guard (20,000 take 0.2, 0.2, 0.7 and 1.4 s).
#[test]
fn messages_of_every_length_over_every_network() {
    for (loss, most) in [(0, 1), (10, 3), (50, 4), (100, 10)] {
        for (len, count) in [
            (1, if loss == 50 { 20_000 } else { 6_000 }),
            (100, 2_000),
            (1_200, 500),
            (limits::MESSAGE_MAX, 10),
        ] {
            let (took, mut refused) = duration_of(len, count, loss, 1 + loss);
            println!("{loss:4} {len:6}: {took:?} {refused:?}");
            if len == 1 {
                assert!(took < most * SECOND, "{loss}: {took:?}");
                (refused.too_far, refused.unanswered) = (0, 0);
            }
            assert_eq!(refused, SctpRefused::default(), "{len} {loss}");
        }
    }
}

/// Messages of several packets that are given up in the middle, beside some that are not.
#[test]
fn lossy_messages_that_are_given_up_are_not_refused() {
    for seed in 0..5 {
        let mut pair = Pair::new(seed);
        let lossy = pair.open("lossy", false, Some(0));
        let ordered = pair.open("ordered", true, Some(1));
        let reliable = pair.open("reliable", true, None);
        (pair.net.loss, pair.net.jitter) = (50, Duration::from_millis(15));
        for _ in 0..600 {
            for (stream, len) in [(lossy, 5_000), (ordered, 3_000), (reliable, 9_000)] {
                let now = pair.now;
                pair.client.send(now, stream, &vec![1; len], true).unwrap();
            }
            pair.run(Duration::from_millis(500), |_| false);
        }
        pair.run(MINUTE, |_| false);
        let arrived = |stream| pair.messages.iter().filter(|(id, _)| *id == stream).count();
        assert_eq!(arrived(reliable), 600);
        assert!((100..600).contains(&arrived(lossy)) && (100..600).contains(&arrived(ordered)));
        assert_eq!(pair.server.refused(), SctpRefused::default());
    }
}

/// Nobody reads for a while: the window closes, opens again, and nothing is lost.
#[test]
fn a_window_that_closes_and_opens_again_is_not_refused_anything() {
    let mut pair = Pair::new(6);
    let stream = pair.open("c", true, None);
    pair.net.loss = 20;
    for _ in 0..3 {
        pair.server.pause(pair.now, true);
        for _ in 0..50 {
            pair.run(MINUTE / 60, |pair| {
                while pair
                    .client
                    .send(pair.now, stream, &[7; 30_000], true)
                    .is_ok()
                {}
                false
            });
        }
        let now = pair.now;
        pair.server.pause(now, false);
        assert!(pair.run(MINUTE, |pair| pair.client.buffered(stream) == Some(0)));
    }
    assert_eq!(pair.server.refused(), SctpRefused::default());
}

/// Channels come and go while packets are lost.
#[test]
fn channels_that_close_over_a_bad_network_can_be_used_again() {
    for seed in 0..10 {
        let mut pair = Pair::new(seed);
        let kept = pair.open("kept", true, None);
        (pair.net.loss, pair.net.jitter) = (100, Duration::from_millis(15));
        for round in 0..5 {
            let stream = pair.open(&format!("{round}"), true, None);
            for _ in 0..20 {
                let now = pair.now;
                pair.client.send(now, stream, &[1; 3_000], true).unwrap();
                pair.client.send(now, kept, &[1; 3_000], true).unwrap();
            }
            pair.client.fail_channel(stream);
            let now = pair.now;
            pair.client.drive(now);
            assert!(
                pair.run(MINUTE, |pair| !pair.server.channels.contains_key(&stream)
                    && pair.client.resetting.is_empty())
            );
        }
        let refused = pair.server.refused();
        let sequence = (refused.discarded, refused.disagreed, refused.closing);
        assert_eq!(sequence, (0, 0, 0), "{refused:?}");
    }
}
