//! A call between two hosts with two addresses each, all of which reach each other.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use lkpy_transport::{
    CandidatePair, IceState, LocalCandidate, Protocol, RemoteDtls, Transport, TransportConfig,
    TransportEvent,
};

use crate::network::{Datagram, Rng};
use crate::peers::{IDENTITY, addr, credentials, host};

pub const DELAY: Duration = Duration::from_millis(10);
pub const SERVER: usize = 0;
pub const CLIENT: usize = 1;
pub const ADDRESSES: [[&str; 2]; 2] = [
    ["192.0.2.1:7882", "192.0.2.2:7882"],
    ["198.51.100.1:2000", "198.51.100.2:2000"],
];

/// Who nominates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Roles {
    ClientControls,
    ServerControls,
    /// The client controls a server that makes no checks.
    ServerIsLite,
}

impl Roles {
    pub const ALL: [Roles; 3] = [
        Roles::ClientControls,
        Roles::ServerControls,
        Roles::ServerIsLite,
    ];
}

/// A STUN message that was sent, on the pair as the sender sees it.
#[derive(Debug, Clone, Copy)]
pub struct Stun {
    pub at: Instant,
    pub is_request: bool,
    pub local: SocketAddr,
    pub remote: SocketAddr,
}

pub struct Call {
    pub peers: [Transport; 2],
    pub now: Instant,
    /// Nothing is delivered between these two.
    pub dead: Option<(SocketAddr, SocketAddr)>,
    /// STUN is not delivered between these two.
    pub unchecked: Option<(SocketAddr, SocketAddr)>,
    /// What of a peer's is lost besides.
    pub lost: Option<fn(usize, &Datagram) -> bool>,
    /// Of a thousand datagrams, this many are lost.
    pub loss: u64,
    pub sent: [Vec<Stun>; 2],
    pub server_states: Vec<IceState>,
    /// RTP that each peer has received.
    pub received: [usize; 2],
    /// Packets from sources that were not valid.
    pub refused: [usize; 2],
    pub queue: BinaryHeap<Reverse<(Instant, usize, Datagram)>>,
    sequence: u16,
    rng: Rng,
}

impl Call {
    pub fn new(roles: Roles) -> Self {
        let now = Instant::now();
        let names = ["server", "client"];
        let peers = [SERVER, CLIENT].map(|peer| {
            let candidates = ADDRESSES[peer].map(|address| LocalCandidate {
                addr: addr(address),
                protocol: Protocol::Udp,
            });
            let mut config = TransportConfig::new(credentials(names[peer]), candidates.into());
            config.controlling = (peer == SERVER) == (roles == Roles::ServerControls);
            config.ice_lite = peer == SERVER && roles == Roles::ServerIsLite;
            let mut transport = Transport::new(config, &IDENTITY, now);
            let dtls = RemoteDtls {
                fingerprint: IDENTITY.fingerprint().clone(),
                role_is_client: peer == SERVER,
            };
            let other = 1 - peer;
            transport
                .set_remote(now, credentials(names[other]), &dtls)
                .unwrap();
            for address in ADDRESSES[other] {
                transport.add_remote_candidate(now, &host(addr(address)));
            }
            transport
        });
        Call {
            peers,
            now,
            dead: None,
            unchecked: None,
            lost: None,
            loss: 0,
            sent: [Vec::new(), Vec::new()],
            server_states: Vec::new(),
            received: [0, 0],
            refused: [0, 0],
            queue: BinaryHeap::new(),
            sequence: 0,
            rng: Rng::new(1),
        }
    }

    pub fn forget(&mut self) {
        self.sent = [Vec::new(), Vec::new()];
        self.server_states.clear();
    }

    pub fn selected(&self, peer: usize) -> CandidatePair {
        self.peers[peer].send_to().unwrap()
    }

    pub fn checks(&self, peer: usize) -> impl Iterator<Item = &Stun> {
        self.sent[peer].iter().filter(|stun| stun.is_request)
    }

    pub fn pairs_checked(&self, peer: usize) -> usize {
        let pairs = self.checks(peer).map(|stun| (stun.local, stun.remote));
        pairs.collect::<HashSet<_>>().len()
    }

    pub fn pass(&mut self, time: Duration) {
        self.pass_until(time, |_| false);
    }

    /// Passes time until `done`, and returns how much passed if that came.
    pub fn pass_until(
        &mut self,
        limit: Duration,
        done: impl Fn(&Self) -> bool,
    ) -> Option<Duration> {
        let start = self.now;
        loop {
            self.flush();
            if done(self) {
                return Some(self.now - start);
            }
            let arrival = self.queue.peek().map(|Reverse(next)| next.0);
            let timers = self.peers.each_mut().map(Transport::next_timeout);
            let next = timers.into_iter().flatten().chain(arrival).min().unwrap();
            if next > start + limit {
                self.now = start + limit;
                return None;
            }
            self.now = self.now.max(next);
            self.step();
        }
    }

    /// Ends the path that is selected.
    pub fn cut_selected(&mut self) {
        let pair = self.selected(SERVER);
        self.dead = Some((pair.local, pair.remote));
    }

    /// Sends one RTP packet on `pair`, whichever is selected.
    pub fn send_media(&mut self, peer: usize, pair: CandidatePair) {
        self.sequence = self.sequence.wrapping_add(1);
        let mut packet = vec![0x80, 111];
        packet.extend(self.sequence.to_be_bytes());
        packet.extend([0, 0, 0, 1]);
        packet.extend([0, 0, 0, peer as u8]);
        packet.resize(12 + 32, 0);
        let context = self.peers[peer].srtp_tx().unwrap();
        let length = context.protect_rtp(&mut packet, 12, 12).unwrap();
        packet.truncate(length);
        self.carry(
            peer,
            Datagram {
                from: pair.local,
                to: pair.remote,
                bytes: packet,
            },
        );
    }

    fn step(&mut self) {
        let now = self.now;
        while self.queue.peek().is_some_and(|Reverse(next)| next.0 <= now) {
            let Reverse((_, peer, datagram)) = self.queue.pop().unwrap();
            self.receive(peer, datagram);
        }
        for transport in &mut self.peers {
            if transport.next_timeout().is_some_and(|at| at <= now) {
                transport.handle_timeout(now);
            }
        }
    }

    fn receive(&mut self, peer: usize, datagram: Datagram) {
        let now = self.now;
        let pair = CandidatePair {
            local: datagram.to,
            remote: datagram.from,
            protocol: Protocol::Udp,
        };
        let mut bytes = datagram.bytes;
        let transport = &mut self.peers[peer];
        let taken = match bytes[0] {
            0..=3 => {
                transport.handle_stun(now, pair, &bytes);
                Ok(())
            }
            20..=63 => transport.handle_dtls(now, pair, &bytes),
            _ => transport.check_source(now, pair).map(|()| {
                let context = transport.srtp_rx().unwrap();
                if context.unprotect_rtp(&mut bytes).is_ok() {
                    transport.note_received(now, pair);
                    self.received[peer] += 1;
                }
            }),
        };
        self.refused[peer] += usize::from(taken.is_err());
    }

    fn flush(&mut self) {
        for peer in [SERVER, CLIENT] {
            while let Some(transmit) = self.peers[peer].poll_transmit() {
                let (local, remote) = (transmit.local, transmit.remote);
                if transmit.bytes[0] < 4 {
                    self.sent[peer].push(Stun {
                        at: self.now,
                        is_request: transmit.bytes[..2] == [0, 1],
                        local,
                        remote,
                    });
                }
                let datagram = Datagram {
                    from: local,
                    to: remote,
                    bytes: transmit.bytes,
                };
                self.carry(peer, datagram);
            }
            while let Some(event) = self.peers[peer].poll_event() {
                if let (SERVER, TransportEvent::Ice { state, .. }) = (peer, event) {
                    self.server_states.push(state);
                }
            }
        }
    }

    /// Takes a datagram of `peer` to the other one, if it gets there.
    fn carry(&mut self, peer: usize, datagram: Datagram) {
        let Datagram { from, to, .. } = datagram;
        let on = |path| [Some((from, to)), Some((to, from))].contains(&path);
        let is_lost = on(self.dead)
            || (on(self.unchecked) && datagram.bytes[0] < 4)
            || self.lost.is_some_and(|lost| lost(peer, &datagram))
            || self.rng.below(1_000) < self.loss;
        if !is_lost && ADDRESSES[1 - peer].map(addr).contains(&to) {
            let entry = (self.now + DELAY, 1 - peer, datagram);
            self.queue.push(Reverse(entry));
        }
    }
}
