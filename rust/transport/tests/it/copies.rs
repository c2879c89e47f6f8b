//! Copies of the peer's checks, sent from elsewhere: MESSAGE-INTEGRITY does not cover addresses.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use is::stun::TransId;
use lkpy_transport::{SourceError, StunOutcome, limits};

use crate::network::Datagram;
use crate::peers::{Ours, Peer, Setup, addr, both_ours};
use crate::sim::Sim;
use crate::stun::{check, is_answer, is_check, is_dtls, new_check};

const S: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);
const LIMIT: Duration = Duration::from_secs(5);
const STRANGER: &str = "203.0.113.66:6666";
const ELSEWHERE: &str = "203.0.113.9:4000";
const SETUPS: [Setup; 3] = [Setup::ANSWERER, Setup::LITE, Setup::OFFERER];

fn connected(setup: Setup, seed: u64) -> Sim<Ours, Ours> {
    let now = Instant::now();
    let (server, client) = both_ours(now, setup);
    let mut sim = Sim::new(server, client, now, seed);
    assert!(sim.run(LIMIT, |a, b| a.connected() && b.connected()));
    sim.pass(20 * S);
    sim
}

/// The next check of peer b, which is delivered as well.
fn next_check(sim: &mut Sim<Ours, Ours>) -> Vec<u8> {
    loop {
        let at = sim.b.next_timeout().unwrap();
        sim.pass(at - sim.now - MS.min(at - sim.now));
        sim.now = at;
        sim.b.handle_timeout(at);
        let mut check = None;
        while let Some(datagram) = sim.b.poll_transmit(at) {
            if is_check(&datagram.bytes) {
                check = Some(datagram.bytes.clone());
            }
            sim.network.send(at, datagram);
        }
        sim.pass(100 * MS);
        if let Some(check) = check {
            return check;
        }
    }
}

/// Row T1: whoever copies checks and sends handshakes from elsewhere, before, during and after the
/// peer's own, gets in the way of nothing and no byte of DTLS.
#[test]
fn a_copied_check_does_not_let_dtls_in() {
    for seed in 0..20 {
        for setup in SETUPS {
            let now = Instant::now();
            let (server, client) = both_ours(now, setup);
            let mut sim = Sim::new(server, client, now, seed);
            let (stranger, home) = (addr(STRANGER), sim.b.address());
            sim.network.heard = Some(Vec::new());
            let mut alert = vec![21, 254, 253, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 2, 40];
            while !(sim.a.connected() && sim.b.connected()) {
                assert!(sim.now - now < LIMIT, "{setup:?} {seed}");
                sim.pass(5 * MS);
                let (at, delay) = (sim.now, sim.network.delay);
                // Whoever is faster than the peer is the peer, as far as one can tell.
                let copied = sim.network.heard.iter().flatten();
                let copied = copied.filter(|(sent, d)| d.from == home && at - *sent > delay);
                for (_, datagram) in copied {
                    sim.a.receive(at, stranger, datagram.bytes.clone());
                }
                alert[10] += 1;
                sim.a.receive(at, stranger, alert.clone());
                assert!(!sim.a.is_valid_source(at, stranger), "{setup:?} {seed}");
            }
            let sent: Vec<_> = sim.network.heard.iter().flatten().collect();
            assert!(sent.iter().any(|(_, d)| d.to == stranger));
            for (_, datagram) in sent.iter().filter(|(_, d)| d.to == stranger) {
                assert!(is_answer(&datagram.bytes), "{setup:?} {seed}");
            }
            let handshake = |d: &Datagram| d.from == home && is_dtls(&d.bytes);
            let copied = sent.iter().filter(|(_, d)| handshake(d)).count();
            assert!(sim.a.dropped > copied, "{setup:?} {seed}");
        }
    }
}

/// Row T12: copies are answered, and cause nothing that is larger than they are by half.
#[test]
fn copies_are_not_amplified() {
    for setup in SETUPS {
        let mut sim = connected(setup, 1);
        let check = next_check(&mut sim);
        let now = sim.now;
        while sim.a.poll_transmit(now).is_some() {}
        let (mut received, mut sent) = (0, 0);
        for port in 1..=5_000 {
            let from = SocketAddr::new([203, 0, 113, 1].into(), port);
            let pair = sim.a.pair(from);
            let outcome = sim.a.transport.handle_stun(now, pair, &check);
            assert_eq!(outcome, StunOutcome::Ignored);
            received += check.len();
            while let Some(datagram) = sim.a.poll_transmit(now) {
                assert_eq!(datagram.to, from);
                sent += datagram.bytes.len();
            }
            assert!(!sim.a.is_valid_source(now, from));
        }
        assert!(
            sent * 2 <= received * 3,
            "{setup:?}: {received} in, {sent} out"
        );
        sim.network.heard = Some(Vec::new());
        sim.pass(20 * S);
        for (_, datagram) in sim.network.heard.iter().flatten() {
            let is_between_peers = [sim.a.address(), sim.b.address()].contains(&datagram.to);
            assert!(is_between_peers, "nothing follows");
        }
    }
}

/// CPU time of this thread, where the system tells.
fn cpu_time() -> Option<Duration> {
    // It is brought up to date when the scheduler looks.
    std::thread::yield_now();
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanoseconds = text.split_whitespace().next()?.parse().ok()?;
    Some(Duration::from_nanos(nanoseconds))
}

/// The least CPU time of `rounds` runs.
fn cost(rounds: usize, mut run: impl FnMut()) -> Option<Duration> {
    let once = |run: &mut dyn FnMut()| {
        let start = cpu_time()?;
        run();
        Some(cpu_time()? - start)
    };
    (0..rounds).filter_map(|_| once(&mut run)).min()
}

/// A check of an idle transport is verified and answered; a copy costs no more, however many there
/// were, nor does one from an address that is new each time.
#[test]
fn the_cost_of_copies_is_flat() {
    const CHECKS: u16 = 500;
    for setup in SETUPS {
        let mut sim = connected(setup, 1);
        let now = sim.now;
        let genuine = sim.a.pair(sim.b.address());
        let idle = cost(9, || {
            for _ in 0..CHECKS {
                let check = new_check("server", "client", false);
                sim.a.transport.handle_stun(now, genuine, &check);
                while sim.a.transport.poll_transmit().is_some() {}
            }
        });
        let check = new_check("server", "client", false);
        sim.a.transport.handle_stun(now, genuine, &check);
        let copies = cost(9, || {
            for port in 1..=CHECKS {
                let pair = sim.a.pair(SocketAddr::new([203, 0, 113, 1].into(), port));
                sim.a.transport.handle_stun(now, pair, &check);
                while sim.a.transport.poll_transmit().is_some() {}
            }
        });
        if let (Some(idle), Some(copies)) = (idle, copies) {
            println!("{setup:?}: {idle:?} for {CHECKS} checks, {copies:?} for copies");
            assert!(copies < 5 * idle, "{setup:?}: {idle:?} {copies:?}");
        }
    }
}

/// Reaches [`limits::PEER_REFLEXIVE`] and [`limits::FORGOTTEN_REMOTES`] with checks that are no copies.
#[test]
fn a_client_can_roam_however_many_addresses_there_were() {
    for setup in SETUPS {
        let mut sim = connected(setup, 2);
        let copy = next_check(&mut sim);
        let mut now = sim.now;
        for port in 1..=512 {
            let from = SocketAddr::new([203, 0, 113, 1].into(), port);
            sim.a.receive(now, from, copy.clone());
            let check = new_check("server", "client", false);
            sim.a.receive(now, from, check);
            while sim.a.poll_transmit(now).is_some() {}
            now += MS;
        }
        sim.now = now;
        let moved = addr(ELSEWHERE);
        sim.network.nat = Some((sim.b.address(), moved));
        let followed = sim.run(8 * S, |a, _| a.remote() == Some(moved));
        assert!(followed, "{setup:?} {:?}", sim.a.events.last());
        assert!(sim.a.transport.paths().count() <= limits::PATHS);
    }
}

/// The NAT gave the client another address between a check and its retransmission: that is answered,
/// and the next check leads there.
#[test]
fn a_retransmission_from_another_address_is_answered_and_the_next_check_is_followed() {
    for setup in [Setup::ANSWERER, Setup::LITE] {
        let mut sim = connected(setup, 3);
        let (now, home, moved) = (sim.now, sim.b.address(), addr(ELSEWHERE));
        let retransmitted = check(TransId::new(), "server", "client", true);
        for from in [home, home, moved] {
            sim.a.receive(now, from, retransmitted.clone());
            let answer = sim.a.poll_transmit(now).unwrap();
            assert!(is_answer(&answer.bytes) && answer.to == from, "{setup:?}");
            assert!(sim.a.poll_transmit(now).is_none());
            assert_eq!(sim.a.remote(), Some(home));
        }
        assert_eq!(sim.a.ignored, 2);
        sim.network.nat = Some((home, moved));
        sim.a
            .receive(now, moved, new_check("server", "client", true));
        let followed = sim.run(100 * MS, |a, _| a.remote() == Some(moved));
        assert!(followed, "{setup:?}");
    }
}

/// A client starts DTLS when it is answered, which may be before it has answered us.
#[test]
fn dtls_that_overtakes_the_answer_to_our_check_is_held() {
    let now = Instant::now();
    let (_, mut client) = both_ours(now, Setup::ANSWERER);
    let mut server = Ours::new(now, addr(crate::peers::OUR_ADDRESS), "server", |_| {});
    let dtls = lkpy_transport::RemoteDtls {
        fingerprint: crate::peers::IDENTITY.fingerprint().clone(),
        role_is_client: true,
    };
    let credentials = crate::peers::credentials("client");
    server
        .transport
        .set_remote(now, credentials, &dtls)
        .unwrap();
    let (mut held_back, mut hellos) = (Vec::new(), 0);
    for step in 0..40 {
        let now = now + step * 5 * MS;
        while let Some(datagram) = client.poll_transmit(now) {
            if is_answer(&datagram.bytes) {
                held_back.push(datagram);
                continue;
            }
            hellos += usize::from(is_dtls(&datagram.bytes));
            server.receive(now, datagram.from, datagram.bytes);
        }
        while let Some(datagram) = server.poll_transmit(now) {
            client.receive(now, datagram.from, datagram.bytes);
        }
        for peer in [&mut server, &mut client] {
            if peer.next_timeout().is_some_and(|at| at <= now) {
                peer.handle_timeout(now);
            }
        }
    }
    let now = now + 200 * MS;
    assert!(hellos > 0 && !held_back.is_empty());
    assert_eq!((server.dtls(), server.dropped), (None, 0));
    // One whose address did not ask is not held.
    let pair = server.pair(addr(STRANGER));
    let refused = server.transport.handle_dtls(now, pair, &[22, 254, 253]);
    assert_eq!(refused, Err(SourceError::Unvalidated));
    // The answer lets the handshake begin at once.
    for datagram in held_back {
        server.receive(now, datagram.from, datagram.bytes);
    }
    assert!(server.dtls().is_some());
    let mut flight = std::iter::from_fn(|| server.poll_transmit(now));
    assert!(flight.any(|datagram| is_dtls(&datagram.bytes)));
}

/// Reaches [`limits::EARLY_CHECKS`].
#[test]
fn checks_before_the_remote_parameters_are_held_within_a_bound() {
    let now = Instant::now();
    let mut server = Ours::new(now, addr(crate::peers::OUR_ADDRESS), "server", |_| {});
    let from = |port| SocketAddr::new([203, 0, 113, 1].into(), port);
    let first = new_check("server", "client", true);
    for port in 1..=20 {
        // Copies take no room.
        server.receive(now, from(1_000 + port), first.clone());
    }
    for port in 1..=20 {
        server.receive(now, from(port), new_check("server", "client", true));
    }
    assert!(server.poll_transmit(now).is_none());
    let dtls = lkpy_transport::RemoteDtls {
        fingerprint: crate::peers::IDENTITY.fingerprint().clone(),
        role_is_client: true,
    };
    let credentials = crate::peers::credentials("client");
    server
        .transport
        .set_remote(now, credentials, &dtls)
        .unwrap();
    let sent: Vec<_> = std::iter::from_fn(|| server.poll_transmit(now)).collect();
    let answered: Vec<_> = sent
        .iter()
        .filter(|datagram| is_answer(&datagram.bytes))
        .map(|datagram| datagram.to.port())
        .collect();
    assert_eq!(answered.len(), limits::EARLY_CHECKS);
    assert_eq!(answered[..3], [1_001, 1, 2]);
}
