//! A seeded network between two hosts.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// A datagram on its way.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Datagram {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub bytes: Vec<u8>,
}

/// xorshift64*: small, and the same everywhere.
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Rng(seed.wrapping_mul(2) + 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// Delivers after `delay` plus up to `jitter` (so packets overtake each other), or never.
pub struct Network {
    pub delay: Duration,
    pub jitter: Duration,
    /// Of a thousand datagrams, this many are lost.
    pub loss: u64,
    /// Nothing is delivered.
    pub cut: bool,
    /// The host at the first address is seen at the second, and can only be reached there.
    pub nat: Option<(SocketAddr, SocketAddr)>,
    /// What was sent, and when, if somebody listens.
    pub heard: Option<Vec<(Instant, Datagram)>>,
    rng: Rng,
    sent: u64,
    queue: BinaryHeap<Reverse<(Instant, u64, Datagram)>>,
}

impl Network {
    pub fn new(seed: u64) -> Self {
        Network {
            delay: Duration::from_millis(10),
            jitter: Duration::ZERO,
            loss: 0,
            cut: false,
            nat: None,
            heard: None,
            rng: Rng::new(seed),
            sent: 0,
            queue: BinaryHeap::new(),
        }
    }

    pub fn send(&mut self, now: Instant, mut datagram: Datagram) {
        if let Some(heard) = &mut self.heard {
            heard.push((now, datagram.clone()));
        }
        if let Some((inner, outer)) = self.nat {
            if datagram.from == inner {
                datagram.from = outer;
            } else if datagram.to == outer {
                datagram.to = inner;
            } else {
                return;
            }
        }
        if self.cut || self.rng.below(1_000) < self.loss {
            return;
        }
        let jitter = self.rng.below(self.jitter.as_micros() as u64 + 1);
        let at = now + self.delay + Duration::from_micros(jitter);
        self.sent += 1;
        self.queue.push(Reverse((at, self.sent, datagram)));
    }

    pub fn next(&self) -> Option<Instant> {
        self.queue.peek().map(|Reverse((at, _, _))| *at)
    }

    pub fn receive(&mut self, now: Instant) -> Option<Datagram> {
        if self.next()? > now {
            return None;
        }
        self.queue.pop().map(|Reverse((_, _, datagram))| datagram)
    }
}
