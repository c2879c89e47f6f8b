//! Consent (RFC 7675): sending stops when answers stop, whatever else arrives.

use std::time::{Duration, Instant};

use lkpy_transport::{IceState, RemoteDtls, Transport};

use crate::call::{ADDRESSES, CLIENT, Call, Roles, SERVER};
use crate::peers::{IDENTITY, Ours, Peer, Setup, addr, both_ours, credentials, host};
use crate::sim::Sim;
use crate::stun::{is_answer, is_check};

const S: Duration = Duration::from_secs(1);
const LIMIT: Duration = Duration::from_secs(5);
const SETUPS: [Setup; 3] = [Setup::ANSWERER, Setup::LITE, Setup::OFFERER];

fn connected(setup: Setup, seed: u64) -> Sim<Ours, Ours> {
    let now = Instant::now();
    let (server, client) = both_ours(now, setup);
    let mut sim = Sim::new(server, client, now, seed);
    assert!(sim.run(LIMIT, |a, b| a.connected() && b.connected()));
    sim.pass(10 * S);
    sim
}

/// The peer asks and sends media, but answers nothing.
#[test]
fn requests_and_media_are_no_consent() {
    for roles in [Roles::ClientControls, Roles::ServerControls] {
        let mut call = Call::new(roles);
        call.pass(10 * S);
        let (start, pair) = (call.now, call.selected(CLIENT));
        call.lost = Some(|peer, datagram| peer == CLIENT && is_answer(&datagram.bytes));
        while call.peers[SERVER].send_to().is_some() {
            assert!(call.now - start < 31 * S, "{roles:?}");
            call.send_media(CLIENT, pair);
            call.pass(S / 10);
        }
        assert!(call.now - start >= 24 * S, "{:?}", call.now - start);
        assert!(!call.server_states.contains(&IceState::Disconnected));
        assert_eq!(call.server_states.last(), Some(&IceState::Failed));
        assert_eq!(call.refused[SERVER], 0);
    }
}

/// Row T13: a peer that is gone is not sent to for more than 15 s, though somebody repeats one of its
/// checks.
#[test]
fn an_old_check_sent_again_does_not_keep_a_connection() {
    for setup in SETUPS {
        let mut sim = connected(setup, 1);
        let mut check = None;
        while check.is_none() {
            let at = sim.b.next_timeout().unwrap();
            sim.now = at;
            sim.b.handle_timeout(at);
            while let Some(datagram) = sim.b.poll_transmit(at) {
                if is_check(&datagram.bytes) {
                    check = Some(datagram.bytes.clone());
                }
                sim.network.send(at, datagram);
            }
        }
        sim.pass(S);
        let (cut, check, from) = (sim.now, check.unwrap(), sim.b.address());
        sim.network.cut = true;
        while sim.a.transport.send_to().is_some() {
            assert!(sim.now - cut <= 16 * S, "{setup:?}");
            let now = sim.now;
            sim.a.receive(now, from, check.clone());
            sim.pass(4 * S);
        }
        assert_eq!(sim.a.ice_states().last(), Some(&IceState::Failed));
    }
}

fn restart(transport: &mut Transport, now: Instant, local: &str, remote: &str) {
    let dtls = RemoteDtls {
        fingerprint: IDENTITY.fingerprint().clone(),
        role_is_client: true,
    };
    transport.restart_ice(now, credentials(local)).unwrap();
    transport
        .set_remote(now, credentials(remote), &dtls)
        .unwrap();
}

/// Row T13: neither does signalling that restarts ICE again and again.
#[test]
fn restarts_do_not_renew_consent() {
    for setup in SETUPS {
        let mut sim = connected(setup, 2);
        sim.network.cut = true;
        let cut = sim.now;
        for round in 0..50 {
            let now = sim.now;
            let [local, remote] = ["server", "client"].map(|name| format!("{name}{round}"));
            restart(&mut sim.a.transport, now, &local, &remote);
            sim.a
                .transport
                .add_remote_candidate(now, &host(sim.b.address()));
            sim.a.collect(now);
            for _ in 0..12 {
                sim.pass(S);
                let sends = sim.a.transport.send_to().is_some();
                assert!(!sends || sim.now - cut <= 30 * S, "{setup:?} {round}");
            }
        }
        assert_eq!(sim.a.ice_states().last(), Some(&IceState::Checking));
    }
}

/// The path before is given up in the middle of a restart, which goes on.
#[test]
fn a_restart_outlives_the_consent_of_the_generation_before() {
    for roles in Roles::ALL {
        let mut call = Call::new(roles);
        call.pass(10 * S);
        call.lost = Some(|_, _| true);
        call.pass(13 * S);
        let names = ["server2", "client2"];
        for (peer, other) in [(SERVER, CLIENT), (CLIENT, SERVER)] {
            let (now, transport) = (call.now, &mut call.peers[peer]);
            restart(transport, now, names[peer], names[other]);
            for address in ADDRESSES[other] {
                transport.add_remote_candidate(now, &host(addr(address)));
            }
        }
        call.pass(13 * S);
        call.lost = None;
        call.pass(3 * S);
        assert_eq!(
            call.server_states.last(),
            Some(&IceState::Connected),
            "{roles:?}"
        );
        assert!(!call.server_states.contains(&IceState::Failed), "{roles:?}");
        let pair = call.selected(CLIENT);
        call.send_media(CLIENT, pair);
        call.pass(S);
        assert_eq!(call.received[SERVER], 1);
    }
}
