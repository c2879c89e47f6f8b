//! Peers with several addresses: which of the pairs are checked, and what happens when one dies.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use lkpy_transport::{
    CandidatePair, IceState, LocalCandidate, Protocol, RemoteDtls, Transport, TransportConfig,
    TransportEvent,
};

use crate::network::Datagram;
use crate::peers::{IDENTITY, addr, credentials, host};

const S: Duration = Duration::from_secs(1);
const DELAY: Duration = Duration::from_millis(10);
const SERVER: usize = 0;
const CLIENT: usize = 1;
const ADDRESSES: [[&str; 2]; 2] = [
    ["192.0.2.1:7882", "192.0.2.2:7882"],
    ["198.51.100.1:2000", "198.51.100.2:2000"],
];

/// A STUN message that was sent, on the pair as the sender sees it.
#[derive(Debug, Clone, Copy)]
struct Stun {
    at: Instant,
    is_request: bool,
    local: SocketAddr,
    remote: SocketAddr,
}

/// A server and a client with two addresses each, all of which reach each other.
struct Call {
    peers: [Transport; 2],
    now: Instant,
    /// Nothing is delivered between these two.
    dead: Option<(SocketAddr, SocketAddr)>,
    sent: [Vec<Stun>; 2],
    server_states: Vec<IceState>,
    queue: BinaryHeap<Reverse<(Instant, usize, Datagram)>>,
}

impl Call {
    fn new(server_controls: bool) -> Self {
        let now = Instant::now();
        let names = ["server", "client"];
        let peers = [SERVER, CLIENT].map(|peer| {
            let candidates = ADDRESSES[peer].map(|address| LocalCandidate {
                addr: addr(address),
                protocol: Protocol::Udp,
            });
            let mut config = TransportConfig::new(credentials(names[peer]), candidates.into());
            config.controlling = (peer == SERVER) == server_controls;
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
            sent: [Vec::new(), Vec::new()],
            server_states: Vec::new(),
            queue: BinaryHeap::new(),
        }
    }

    /// A call in which nothing has happened for a while.
    fn settled(server_controls: bool) -> Self {
        let mut call = Call::new(server_controls);
        call.pass(10 * S);
        assert_eq!(call.server_states.last(), Some(&IceState::Connected));
        assert_eq!(call.pairs_checked(SERVER), 4);
        call.forget();
        call
    }

    fn forget(&mut self) {
        self.sent = [Vec::new(), Vec::new()];
        self.server_states.clear();
    }

    fn selected(&self, peer: usize) -> CandidatePair {
        self.peers[peer].send_to().unwrap()
    }

    fn checks(&self, peer: usize) -> impl Iterator<Item = &Stun> {
        self.sent[peer].iter().filter(|stun| stun.is_request)
    }

    fn pairs_checked(&self, peer: usize) -> usize {
        let pairs = self.checks(peer).map(|stun| (stun.local, stun.remote));
        pairs.collect::<std::collections::HashSet<_>>().len()
    }

    fn pass(&mut self, time: Duration) {
        self.pass_until(time, |_| false);
    }

    /// Passes time until `done`, and returns how much passed if that came.
    fn pass_until(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) -> Option<Duration> {
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

    fn step(&mut self) {
        let now = self.now;
        while self.queue.peek().is_some_and(|Reverse(next)| next.0 <= now) {
            let Reverse((_, peer, datagram)) = self.queue.pop().unwrap();
            let (local, remote) = (datagram.to, datagram.from);
            let transport = &mut self.peers[peer];
            match datagram.bytes[0] {
                0..=3 => {
                    transport.handle_stun(now, local, remote, Protocol::Udp, &datagram.bytes);
                }
                _ => transport.handle_dtls(now, &datagram.bytes),
            }
        }
        for transport in &mut self.peers {
            if transport.next_timeout().is_some_and(|at| at <= now) {
                transport.handle_timeout(now);
            }
        }
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
                let arrives = ADDRESSES[1 - peer].map(addr).contains(&remote);
                if arrives && ![Some((local, remote)), Some((remote, local))].contains(&self.dead) {
                    let datagram = Datagram {
                        from: local,
                        to: remote,
                        bytes: transmit.bytes,
                    };
                    let entry = (self.now + DELAY, 1 - peer, datagram);
                    self.queue.push(Reverse(entry));
                }
            }
            while let Some(event) = self.peers[peer].poll_event() {
                if let (SERVER, TransportEvent::Ice { state, .. }) = (peer, event) {
                    self.server_states.push(state);
                }
            }
        }
    }

    /// Ends the path that is selected.
    fn cut_selected(&mut self) {
        let pair = self.selected(SERVER);
        self.dead = Some((pair.local, pair.remote));
    }
}

#[test]
fn an_idle_agent_checks_the_selected_pair_alone() {
    for server_controls in [false, true] {
        let mut call = Call::settled(server_controls);
        let pair = call.selected(SERVER);
        call.pass(60 * S);
        for stun in &call.sent[SERVER] {
            assert_eq!((stun.local, stun.remote), (pair.local, pair.remote));
        }
        let times: Vec<Instant> = call.checks(SERVER).map(|stun| stun.at).collect();
        assert!((11..=13).contains(&times.len()), "{}", times.len());
        for times in times.windows(2) {
            assert_eq!(times[1] - times[0], 5 * S);
        }
        assert_eq!(call.server_states, []);
        assert_eq!(call.peers[SERVER].rtt(), Some(2 * DELAY));
    }
}

#[test]
fn checks_of_the_peer_are_answered_on_every_pair() {
    for server_controls in [false, true] {
        let mut call = Call::settled(server_controls);
        let pair = call.selected(SERVER);
        for second in 0..28 {
            // Something new to check keeps the client checking all of its pairs.
            let nowhere = addr(&format!("203.0.113.1:{}", 1 + second));
            let now = call.now;
            call.peers[CLIENT].add_remote_candidate(now, &host(nowhere));
            call.pass(S);
        }
        let server = ADDRESSES[SERVER].map(addr);
        let to_server = |stun: &&Stun| server.contains(&stun.remote);
        let asked = call.checks(CLIENT).filter(to_server).count();
        let answered = call.sent[SERVER].iter().filter(|s| !s.is_request).count();
        assert!(
            asked >= 50 && answered + 4 >= asked,
            "{answered} of {asked}"
        );
        assert_eq!(call.pairs_checked(SERVER), 1);
        assert_eq!(call.selected(SERVER), pair);
    }
}

#[test]
fn another_pair_is_taken_when_the_selected_one_dies() {
    for server_controls in [false, true] {
        let mut call = Call::settled(server_controls);
        for _ in 0..2 {
            let dead = call.selected(SERVER);
            call.cut_selected();
            let took = call.pass_until(60 * S, |call| {
                let server = call.selected(SERVER);
                let client = call.selected(CLIENT);
                server != dead && (server.local, server.remote) == (client.remote, client.local)
            });
            let took = took.expect("both use another pair");
            assert!(took <= 9 * S, "{server_controls} {took:?}");
            call.pass(30 * S);
            assert!(!call.server_states.contains(&IceState::Disconnected));
            // One that was abandoned is not forgotten: it may be the next one's turn.
            call.dead = None;
            call.pass(30 * S);
            call.forget();
            call.pass(30 * S);
            assert_eq!(call.pairs_checked(SERVER), 1);
        }
    }
}

#[test]
fn a_lost_check_does_not_end_a_pair() {
    for server_controls in [false, true] {
        let mut call = Call::settled(server_controls);
        let pair = call.selected(SERVER);
        let sent = |call: &Call| call.checks(SERVER).count() > 0;
        call.pass_until(6 * S, sent).unwrap();
        // The check and what else is on the way is lost.
        call.queue.clear();
        call.pass(60 * S);
        assert_eq!(call.selected(SERVER), pair);
        assert_eq!(call.server_states, []);
        let end = call.now;
        let late = call.checks(SERVER).filter(|stun| stun.at > end - 40 * S);
        assert!(late.count() <= 9, "quiet again");
    }
}
