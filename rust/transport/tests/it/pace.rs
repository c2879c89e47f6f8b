//! How soon a connection is there: what one side waits for is a datagram of the other, never a timer.
//!
//! No timer runs here: neither side is told of the time but by what arrives. So whatever is lost,
//! dropped, or put off until a timer, is never sent.

use std::time::{Duration, Instant};

use lkpy_transport::{DtlsState, RemoteDtls, Transport};

use crate::network::Datagram;
use crate::peers::{
    IDENTITY, OUR_ADDRESS, Ours, Peer, Setup, THEIR_ADDRESS, addr, both_ours, credentials, host,
};
use crate::sim::Sim;
use crate::stun::is_dtls;

const DELAY: Duration = Duration::from_millis(10);

const SETUPS: [Setup; 4] = [
    Setup::ANSWERER,
    Setup::OFFERER,
    Setup {
        dtls_client: true,
        ..Setup::ANSWERER
    },
    Setup {
        dtls_client: true,
        ..Setup::OFFERER
    },
];

/// How many of the network's delays pass at the most from the client's first check until both are
/// connected. This client does as RFC 8445 says and takes a pair for selected when it is nominated.
fn most(setup: Setup) -> u32 {
    // Check, answer, four flights of DTLS.
    let shortest = 6;
    match (setup.controlling, setup.dtls_client) {
        (false, false) => shortest,
        // We begin when our own check is answered, half a round trip after the client's.
        (_, true) => shortest + 1,
        // And tell the client of it, which begins then.
        (true, false) => shortest + 2,
    }
}

/// Delivers datagrams, `lost` being asked of each, until both are connected or nothing is under way.
/// Returns how long it took.
fn connect(sim: &mut Sim<Ours, Ours>, mut lost: impl FnMut(&Datagram) -> bool) -> Option<Duration> {
    let began = sim.now;
    loop {
        for peer in [&mut sim.a, &mut sim.b] {
            while let Some(datagram) = peer.poll_transmit(sim.now) {
                if !lost(&datagram) {
                    sim.network.send(sim.now, datagram);
                }
            }
        }
        if sim.a.connected() && sim.b.connected() {
            return Some(sim.now - began);
        }
        sim.now = sim.now.max(sim.network.next()?);
        while let Some(Datagram { from, to, bytes }) = sim.network.receive(sim.now) {
            let peer = if to == sim.a.address() {
                &mut sim.a
            } else {
                &mut sim.b
            };
            peer.receive(sim.now, from, bytes);
        }
    }
}

fn tell(transport: &mut Transport, now: Instant, of: &str, role_is_client: bool) {
    let fingerprint = IDENTITY.fingerprint().clone();
    let dtls = RemoteDtls {
        fingerprint,
        role_is_client,
    };
    transport.set_remote(now, credentials(of), &dtls).unwrap();
}

/// Two that know nothing of each other.
fn strangers(now: Instant, setup: Setup) -> Sim<Ours, Ours> {
    let server = Ours::new(now, addr(OUR_ADDRESS), "server", |config| {
        config.ice_lite = setup.lite;
        config.controlling = setup.controlling;
    });
    let client = Ours::new(now, addr(THEIR_ADDRESS), "client", |config| {
        config.controlling = !setup.controlling;
    });
    Sim::new(server, client, now, 1)
}

/// The client knows all of the server.
fn tell_client(sim: &mut Sim<Ours, Ours>, setup: Setup) {
    tell(&mut sim.b.transport, sim.now, "server", setup.dtls_client);
    let candidate = host(sim.a.address);
    sim.b.transport.add_remote_candidate(sim.now, &candidate);
}

fn tell_server(sim: &mut Sim<Ours, Ours>, setup: Setup) {
    tell(&mut sim.a.transport, sim.now, "client", !setup.dtls_client);
}

#[test]
fn no_timer_runs_from_the_first_check_until_the_connection() {
    for setup in [&SETUPS[..], &[Setup::LITE]].concat() {
        let now = Instant::now();
        let (server, client) = both_ours(now, setup);
        let mut sim = Sim::new(server, client, now, 1);
        let took = connect(&mut sim, |_| false);
        assert!(
            took.is_some_and(|took| took <= most(setup) * DELAY),
            "{setup:?}: {took:?}"
        );
    }
}

#[test]
fn a_client_whose_candidates_nobody_told_connects_as_soon() {
    for setup in SETUPS {
        let mut sim = strangers(Instant::now(), setup);
        tell_server(&mut sim, setup);
        tell_client(&mut sim, setup);
        let took = connect(&mut sim, |_| false);
        assert!(
            took.is_some_and(|took| took <= most(setup) * DELAY),
            "{setup:?}: {took:?}"
        );
    }
}

/// What a NAT does: nobody reaches the client before it has sent something.
#[test]
fn a_check_of_ours_that_a_nat_dropped_is_made_again_when_the_client_asks() {
    for setup in SETUPS {
        let mut sim = strangers(Instant::now(), setup);
        tell_server(&mut sim, setup);
        let candidate = host(sim.b.address);
        sim.a.transport.add_remote_candidate(sim.now, &candidate);
        let mut dropped = 0;
        let took = connect(&mut sim, |_| {
            dropped += 1;
            true
        });
        assert!(took.is_none() && dropped > 0);
        sim.now += 2 * DELAY;
        tell_client(&mut sim, setup);
        let took = connect(&mut sim, |_| false);
        assert!(
            took.is_some_and(|took| took <= most(setup) * DELAY),
            "{setup:?}: {took:?}"
        );
    }
}

#[test]
fn a_check_that_comes_before_the_answer_is_acted_upon_in_the_same_instant_as_the_answer() {
    for setup in SETUPS {
        let mut sim = strangers(Instant::now(), setup);
        tell_client(&mut sim, setup);
        assert_eq!(connect(&mut sim, |_| false), None);
        sim.now += 7 * DELAY;
        tell_server(&mut sim, setup);
        // The first half of a round trip is over.
        let took = connect(&mut sim, |_| false);
        assert!(
            took.is_some_and(|took| took < most(setup) * DELAY),
            "{setup:?}: {took:?}"
        );
    }
}

/// Only a lite agent lets one in before it knows the client.
#[test]
fn a_hello_that_comes_before_the_answer_is_answered_in_the_same_instant_as_the_answer() {
    let mut sim = strangers(Instant::now(), Setup::LITE);
    tell_client(&mut sim, Setup::LITE);
    assert_eq!(connect(&mut sim, |_| false), None);
    assert_eq!(sim.b.dtls(), Some(DtlsState::Connecting));
    sim.now += 7 * DELAY;
    tell_server(&mut sim, Setup::LITE);
    let at = sim.now;
    let flight = std::iter::from_fn(|| sim.a.poll_transmit(at));
    let flight: Vec<_> = flight.collect();
    assert!(flight.iter().any(|datagram| is_dtls(&datagram.bytes)));
    for datagram in flight {
        sim.network.send(at, datagram);
    }
    assert_eq!(connect(&mut sim, |_| false), Some(3 * DELAY));
}
