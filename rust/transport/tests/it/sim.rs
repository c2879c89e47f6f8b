//! Two peers, a network and a clock that nobody waits for.

use std::time::{Duration, Instant};

use crate::network::{Datagram, Network};
use crate::peers::Peer;

pub struct Sim<A, B> {
    pub a: A,
    pub b: B,
    pub network: Network,
    pub now: Instant,
}

impl<A: Peer, B: Peer> Sim<A, B> {
    pub fn new(a: A, b: B, now: Instant, seed: u64) -> Self {
        Sim {
            a,
            b,
            network: Network::new(seed),
            now,
        }
    }

    /// Runs until `done` or for `limit`; whether it was done.
    pub fn run(&mut self, limit: Duration, mut done: impl FnMut(&mut A, &mut B) -> bool) -> bool {
        let end = self.now + limit;
        let mut steps_without_time = 0;
        loop {
            self.flush();
            if done(&mut self.a, &mut self.b) {
                self.flush();
                return true;
            }
            let next = [
                self.a.next_timeout(),
                self.b.next_timeout(),
                self.network.next(),
            ]
            .into_iter()
            .flatten()
            .min();
            let Some(at) = next.filter(|at| *at <= end) else {
                self.now = end;
                return false;
            };
            steps_without_time = if at > self.now {
                0
            } else {
                steps_without_time + 1
            };
            assert!(steps_without_time < 20_000, "time stands still");
            self.now = self.now.max(at);
            self.step();
        }
    }

    /// Runs for exactly this long.
    pub fn pass(&mut self, time: Duration) {
        self.run(time, |_, _| false);
    }

    fn step(&mut self) {
        while let Some(Datagram { from, to, bytes }) = self.network.receive(self.now) {
            if to == self.a.address() {
                self.a.receive(self.now, from, bytes);
            } else if to == self.b.address() {
                self.b.receive(self.now, from, bytes);
            }
        }
        if self.a.next_timeout().is_some_and(|at| at <= self.now) {
            self.a.handle_timeout(self.now);
        }
        if self.b.next_timeout().is_some_and(|at| at <= self.now) {
            self.b.handle_timeout(self.now);
        }
    }

    fn flush(&mut self) {
        while let Some(datagram) = self.a.poll_transmit(self.now) {
            self.network.send(self.now, datagram);
        }
        while let Some(datagram) = self.b.poll_transmit(self.now) {
            self.network.send(self.now, datagram);
        }
    }
}
