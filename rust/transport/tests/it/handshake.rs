//! What somebody who can send from the peer's address can do to a DTLS handshake.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use lkpy_transport::{DtlsState, limits};

use crate::network::Rng;
use crate::peers::{Ours, Peer, Setup, both_ours};
use crate::sim::Sim;

const LIMIT: Duration = Duration::from_secs(20);

/// A ClientHello record with nothing but a random value in it. It is not answered: its only suite is for
/// servers with RSA. An answer would go to the peer, which could not tell whose hello it is for.
fn hello(seed: u8) -> Vec<u8> {
    let mut packet = vec![22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 1, 0, 0, 0];
    packet.extend([0, 0, 0, 0, 0, 0, 0, 0, 254, 253]);
    packet.extend([seed; 32]);
    // No session, no cookie, one suite, no compression.
    packet.extend([0, 0, 0, 2, 0xc0, 0x2f, 1, 0]);
    let body = packet.len() - 25;
    packet[12] = (body + 12) as u8;
    packet[16] = body as u8;
    packet[24] = body as u8;
    packet
}

/// Whether packets from this address are looked at.
fn is_received_from(ours: &Ours, from: SocketAddr) -> bool {
    ours.transport.paths().any(|pair| pair.remote == from)
}

/// Connects; `spoof` is asked once, as soon as the peer's address is known, what it sends from there.
fn connects(seed: u64, spoof: impl Fn(&mut Rng) -> Vec<Vec<u8>>) -> bool {
    let now = Instant::now();
    let (server, client) = both_ours(now, Setup::ANSWERER);
    let from = client.address();
    let mut sim = Sim::new(server, client, now, seed);
    let mut rng = Rng::new(seed);
    assert!(sim.run(LIMIT, |a, _| is_received_from(a, from)));
    assert_ne!(sim.a.dtls(), Some(DtlsState::Connected));
    for packet in spoof(&mut rng) {
        let now = sim.now;
        sim.a.receive(now, from, packet);
    }
    sim.run(LIMIT, |a, b| a.connected() && b.connected())
}

/// Row T1.
#[test]
fn a_fatal_alert_in_the_clear_is_not_obeyed() {
    let alert = vec![21, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 2, 40];
    for seed in 0..20 {
        assert!(connects(seed, |_| vec![alert.clone()]), "{seed}");
    }
}

/// Row T1.
#[test]
fn a_hello_of_somebody_else_makes_way_for_the_peers() {
    for seed in 0..20 {
        assert!(connects(seed, |_| vec![hello(1), hello(2)]), "{seed}");
    }
}

/// Rows T1 and T2: more of the future than the engine keeps.
#[test]
fn records_of_the_future_end_an_attempt_at_most() {
    let future = |number: u8| {
        let mut packet = vec![22, 254, 253, 0, 0, 0, 0, 0, 0, 1, number, 0, 24];
        packet.extend([11, 0, 0, 12, 0, number + 5, 0, 0, 0, 0, 0, 12]);
        packet.extend([0; 12]);
        packet
    };
    for seed in 0..20 {
        let records = |_: &mut Rng| (0..40).map(future).collect();
        assert!(connects(seed, records), "{seed}");
        let with_hello = |_: &mut Rng| {
            let records = (0..40).map(future);
            std::iter::once(hello(3)).chain(records).collect()
        };
        assert!(connects(seed, with_hello), "{seed}");
    }
}

/// Row T1.
#[test]
fn random_records_end_an_attempt_at_most() {
    for seed in 0..100 {
        let garbage = |rng: &mut Rng| {
            let mut packet: Vec<u8> = (0..40).map(|_| rng.next() as u8).collect();
            packet[..5].copy_from_slice(&[20 + rng.below(4) as u8, 254, 253, 0, 0]);
            vec![packet]
        };
        assert!(connects(seed, garbage), "{seed}");
    }
}

/// Row T2: 100,000 fragments cost neither memory nor the session.
#[test]
fn fragments_without_end_are_not_kept() {
    let now = Instant::now();
    let (server, client) = both_ours(now, Setup::ANSWERER);
    let from = client.address();
    let mut sim = Sim::new(server, client, now, 1);
    assert!(sim.run(LIMIT, |a, _| is_received_from(a, from)));
    let now = sim.now;
    for number in 0..100_000_u32 {
        let mut packet = hello((number / 1_000) as u8);
        // Of a message of 64 kB, a piece somewhere.
        packet[15..17].copy_from_slice(&[255, 255]);
        packet[20..22].copy_from_slice(&(number as u16).to_be_bytes());
        sim.a.receive(now, from, packet);
    }
    // Nobody knows any more which client is the right one; the handshake ends when its time is over.
    sim.pass(Duration::from_secs(61));
    const { assert!(limits::DTLS_ATTEMPTS < 100) };
    assert!(matches!(
        sim.a.dtls(),
        Some(DtlsState::Failed | DtlsState::Connected)
    ));
}
