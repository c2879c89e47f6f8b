//! Peers that move, vanish, come back and restart ICE.

use std::time::{Duration, Instant};

use lkpy_transport::{CandidatePair, IceState, TransportEvent};

use crate::peers::{
    IDENTITY, Ours, Peer, SSRC_FROM_US, Setup, addr, both_ours, credentials, host, with_str0m,
};
use crate::sim::Sim;

const LIMIT: Duration = Duration::from_secs(5);
const S: Duration = Duration::from_secs(1);
const NEW_ADDRESS: &str = "203.0.113.9:4000";

fn rtp(ssrc: u32, seq: u16) -> Vec<u8> {
    let mut packet = vec![0x80, 111];
    packet.extend(seq.to_be_bytes());
    packet.extend([0, 0, 0, 1]);
    packet.extend(ssrc.to_be_bytes());
    packet
}

fn connected_event(ours: &Ours) -> Option<CandidatePair> {
    ours.events.iter().rev().find_map(|(_, event)| match event {
        TransportEvent::Ice {
            state: IceState::Connected,
            pair,
        } => *pair,
        _ => None,
    })
}

/// Moves peer b behind another address and measures how long after the first authentic check from
/// there `a` sends to it.
fn roam<B: Peer>(sim: &mut Sim<Ours, B>, limit: Duration) -> Duration {
    let moved = addr(NEW_ADDRESS);
    sim.network.nat = Some((sim.b.address(), moved));
    assert!(sim.run(4 * S, |a, _| a.met.contains(&moved)));
    let checked = sim.now;
    assert!(
        sim.run(limit, |a, _| a.remote() == Some(moved)),
        "{:?}",
        sim.a.events
    );
    assert_eq!(connected_event(&sim.a).map(|pair| pair.remote), Some(moved));
    sim.now - checked
}

#[test]
fn a_roaming_client_is_followed_within_one_check() {
    for (setup, within) in [
        (Setup::LITE, Duration::ZERO),
        (Setup::ANSWERER, Duration::from_millis(20)),
    ] {
        let now = Instant::now();
        let (ours, theirs) = with_str0m(now, setup);
        let mut sim = Sim::new(ours, theirs, now, 1);
        assert!(sim.run(LIMIT, |a, b| a.connected() && b.rtc.is_connected()));
        sim.pass(20 * S);
        let took = roam(&mut sim, S);
        assert!(took <= within, "{setup:?} {took:?}");
        sim.a.send_rtp(rtp(SSRC_FROM_US, 1));
        sim.pass(S);
        assert_eq!(sim.b.rtp().len(), 1, "{setup:?}");
        assert_eq!(sim.a.ice_states().last(), Some(&IceState::Connected));

        // And back again.
        let home = sim.b.address();
        sim.network.nat = None;
        assert!(sim.run(4 * S, |a, _| a.remote() == Some(home)), "{setup:?}");
        sim.pass(30 * S);
        assert_eq!(sim.a.remote(), Some(home));
    }
}

#[test]
fn a_roaming_client_is_followed_when_we_control() {
    let now = Instant::now();
    let (server, client) = both_ours(now, Setup::OFFERER);
    let mut sim = Sim::new(server, client, now, 2);
    assert!(sim.run(LIMIT, |a, b| a.connected() && b.connected()));
    sim.pass(20 * S);
    roam(&mut sim, 5 * S);
    sim.pass(60 * S);
    let home = sim.b.address();
    sim.network.nat = None;
    assert!(
        sim.run(8 * S, |a, _| a.remote() == Some(home)),
        "{:?}",
        sim.a.events
    );
    sim.a.send_rtp(rtp(1, 1));
    sim.pass(S);
    assert_eq!(sim.b.rtp.len(), 1);
    let states = sim.a.ice_states();
    assert!(!states.contains(&IceState::Disconnected), "{states:?}");
}

/// Row T13.
#[test]
fn a_silent_peer_is_disconnected_after_ten_seconds_and_failed_five_later() {
    for setup in [Setup::ANSWERER, Setup::LITE, Setup::OFFERER] {
        let now = Instant::now();
        let (ours, theirs) = with_str0m(now, setup);
        let mut sim = Sim::new(ours, theirs, now, 3);
        assert!(sim.run(LIMIT, |a, b| a.connected() && b.rtc.is_connected()));
        sim.pass(10 * S);
        let cut = sim.now;
        sim.network.cut = true;
        sim.pass(7 * S - Duration::from_millis(50));
        assert_eq!(sim.a.ice_states().last(), Some(&IceState::Connected));
        assert!(sim.run(4 * S, |a, _| a.ice_at(IceState::Disconnected).is_some()));
        assert!(
            sim.now - cut <= 10 * S + Duration::from_millis(10),
            "{setup:?}"
        );
        assert!(sim.a.transport.send_to().is_some(), "still sent to");
        assert!(sim.run(6 * S, |a, _| a.ice_at(IceState::Failed).is_some()));
        let disconnected = sim.a.ice_at(IceState::Disconnected).unwrap();
        assert_eq!(
            sim.a.ice_at(IceState::Failed).unwrap() - disconnected,
            5 * S
        );
        assert_eq!(sim.a.transport.send_to(), None);
        assert!(!sim.a.is_valid_source(sim.now, sim.b.address()));
        // Failed is final without a restart.
        sim.network.cut = false;
        sim.pass(20 * S);
        assert_eq!(sim.a.ice_states().last(), Some(&IceState::Failed));
    }
}

#[test]
fn a_peer_that_comes_back_in_time_is_connected_again() {
    for setup in [Setup::ANSWERER, Setup::LITE, Setup::OFFERER] {
        let now = Instant::now();
        let (server, client) = both_ours(now, setup);
        let mut sim = Sim::new(server, client, now, 4);
        assert!(sim.run(LIMIT, |a, b| a.connected() && b.connected()));
        sim.pass(10 * S);
        sim.network.cut = true;
        sim.pass(10 * S + S / 2);
        assert_eq!(sim.a.ice_states().last(), Some(&IceState::Disconnected));
        sim.network.cut = false;
        sim.pass(5 * S / 2);
        assert_eq!(
            sim.a.ice_states().last(),
            Some(&IceState::Connected),
            "{setup:?}"
        );
        sim.a.send_rtp(rtp(1, 1));
        sim.pass(S);
        assert_eq!(sim.b.rtp.len(), 1);
    }
}

#[test]
fn a_peer_that_never_answers_fails_after_both_timeouts() {
    let now = Instant::now();
    let (server, client) = both_ours(now, Setup::ANSWERER);
    let mut sim = Sim::new(server, client, now, 5);
    sim.network.cut = true;
    sim.pass(20 * S);
    assert_eq!(sim.a.ice_states(), [IceState::Checking, IceState::Failed]);
    assert_eq!(sim.a.ice_at(IceState::Failed), Some(now + 15 * S));
}

/// What the signalling carries during a restart, one side at a time.
fn restart(peer: &mut Ours, now: Instant, local: &str) {
    peer.transport.restart_ice(now, credentials(local)).unwrap();
    peer.collect(now);
}

fn set_remote(peer: &mut Ours, now: Instant, remote: &str, candidate: std::net::SocketAddr) {
    let dtls = lkpy_transport::RemoteDtls {
        fingerprint: IDENTITY.fingerprint().clone(),
        role_is_client: true,
    };
    peer.transport
        .set_remote(now, credentials(remote), &dtls)
        .unwrap();
    peer.transport.add_remote_candidate(now, &host(candidate));
    peer.collect(now);
}

/// Passes time with a packet each way every 20 ms.
fn pass_with_media(sim: &mut Sim<Ours, Ours>, time: Duration, seq: &mut u16) {
    let end = sim.now + time;
    while sim.now < end {
        *seq += 1;
        sim.a.send_rtp(rtp(1, *seq));
        sim.b.send_rtp(rtp(2, *seq));
        sim.pass(Duration::from_millis(20));
    }
}

#[test]
fn media_flows_through_an_ice_restart() {
    for setup in [Setup::ANSWERER, Setup::LITE, Setup::OFFERER] {
        for server_offers in [false, true] {
            let now = Instant::now();
            let (server, client) = both_ours(now, setup);
            let mut sim = Sim::new(server, client, now, 6);
            assert!(sim.run(LIMIT, |a, b| a.connected() && b.connected()));
            let mut seq = 0;
            let (ours, theirs) = (sim.a.address(), sim.b.address());
            pass_with_media(&mut sim, S, &mut seq);
            let events = sim.a.events.len();
            if server_offers {
                let now = sim.now;
                restart(&mut sim.a, now, "server2");
                assert_eq!(sim.a.transport.local_ufrags().count(), 2);
                pass_with_media(&mut sim, S, &mut seq);
                let now = sim.now;
                restart(&mut sim.b, now, "client2");
                set_remote(&mut sim.b, now, "server2", ours);
                pass_with_media(&mut sim, S, &mut seq);
                let now = sim.now;
                set_remote(&mut sim.a, now, "client2", theirs);
            } else {
                let now = sim.now;
                restart(&mut sim.b, now, "client2");
                pass_with_media(&mut sim, S, &mut seq);
                let now = sim.now;
                // The remote half first: both orders are one restart.
                set_remote(&mut sim.a, now, "client2", theirs);
                restart(&mut sim.a, now, "server2");
                pass_with_media(&mut sim, S, &mut seq);
                let now = sim.now;
                set_remote(&mut sim.b, now, "server2", ours);
            }
            pass_with_media(&mut sim, 2 * S, &mut seq);
            sim.pass(S);
            assert_eq!(
                sim.a.rtp.len(),
                usize::from(seq),
                "{setup:?} {server_offers}"
            );
            assert_eq!(
                sim.b.rtp.len(),
                usize::from(seq),
                "{setup:?} {server_offers}"
            );
            let connected = |(_, event): &(Instant, TransportEvent)| {
                matches!(
                    event,
                    TransportEvent::Ice {
                        state: IceState::Connected,
                        ..
                    }
                )
            };
            assert!(
                sim.a.events[events..].iter().any(connected),
                "{setup:?} {server_offers}"
            );
            assert!(sim.a.events[events..].iter().all(connected));
            let ufrags: Vec<&str> = sim.a.transport.local_ufrags().collect();
            assert_eq!(ufrags, ["server2frag"]);
            sim.pass(60 * S);
            assert_eq!(sim.a.ice_states().last(), Some(&IceState::Connected));
        }
    }
}

#[test]
fn a_restart_revives_a_failed_transport() {
    let now = Instant::now();
    let (server, client) = both_ours(now, Setup::ANSWERER);
    let mut sim = Sim::new(server, client, now, 7);
    assert!(sim.run(LIMIT, |a, b| a.connected() && b.connected()));
    sim.network.cut = true;
    sim.pass(30 * S);
    assert_eq!(sim.a.ice_states().last(), Some(&IceState::Failed));
    // The client comes back elsewhere.
    sim.network.cut = false;
    sim.network.nat = Some((sim.b.address(), addr(NEW_ADDRESS)));
    let now = sim.now;
    restart(&mut sim.b, now, "client2");
    set_remote(&mut sim.a, now, "client2", sim.b.address());
    restart(&mut sim.a, now, "server2");
    set_remote(&mut sim.b, now, "server2", sim.a.address());
    assert_eq!(sim.a.ice_states().last(), Some(&IceState::Checking));
    assert!(sim.run(S, |a, b| a.remote() == Some(addr(NEW_ADDRESS))
        && b.remote().is_some()));
    sim.b.send_rtp(rtp(2, 1));
    sim.pass(S);
    assert_eq!(sim.a.rtp.len(), 1, "the DTLS session outlives ICE");
}

#[test]
fn a_restart_with_str0m() {
    for setup in [Setup::ANSWERER, Setup::LITE] {
        let now = Instant::now();
        let (ours, theirs) = with_str0m(now, setup);
        let mut sim = Sim::new(ours, theirs, now, 8);
        assert!(sim.run(LIMIT, |a, b| a.connected() && b.rtc.is_connected()));
        sim.pass(S);
        let (now, events) = (sim.now, sim.a.events.len());
        restart(&mut sim.a, now, "ours2");
        let (local, remote) = (credentials("theirs2"), credentials("ours2"));
        let mut api = sim.b.api();
        api.set_local_ice_credentials(str0m::IceCreds {
            ufrag: local.ufrag,
            pass: local.pwd,
        });
        api.set_remote_ice_credentials(str0m::IceCreds {
            ufrag: remote.ufrag,
            pass: remote.pwd,
        });
        set_remote(&mut sim.a, now, "theirs2", sim.b.address());
        sim.pass(4 * S);
        assert_eq!(
            sim.a.events[events..].len(),
            1,
            "{:?}",
            &sim.a.events[events..]
        );
        assert_eq!(
            sim.a.transport.local_ufrags().collect::<Vec<_>>(),
            ["ours2frag"]
        );
        sim.a.send_rtp(rtp(SSRC_FROM_US, 1));
        sim.pass(60 * S);
        assert_eq!(sim.b.rtp().len(), 1);
        assert_eq!(sim.a.ice_states().last(), Some(&IceState::Connected));
    }
}

#[test]
fn impossible_credentials_are_refused() {
    let now = Instant::now();
    let (mut server, _) = both_ours(now, Setup::ANSWERER);
    let (mut lite, _) = both_ours(now, Setup::LITE);
    for (ufrag, pwd, full_ok, lite_ok) in [
        (0, 22, false, false),
        (4, 0, false, false),
        (257, 22, false, false),
        (4, 257, false, false),
        (256, 256, false, true),
        (100, 256, true, true),
    ] {
        let local = lkpy_transport::IceCredentials {
            ufrag: "u".repeat(ufrag),
            pwd: "p".repeat(pwd),
        };
        let result = server.transport.restart_ice(now, local.clone());
        assert_eq!(result.is_ok(), full_ok, "{ufrag} {pwd}");
        let result = lite.transport.restart_ice(now, local);
        assert_eq!(result.is_ok(), lite_ok, "{ufrag} {pwd}");
    }
}
