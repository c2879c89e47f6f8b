//! What a stranger on the network, or a hostile peer, can try.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use lkpy_transport::{DtlsState, Fingerprint, Protocol, RemoteDtls, TransportEvent};

use crate::network::{Datagram, Rng};
use crate::peers::{IDENTITY, Ours, Peer, Setup, addr, both_ours, credentials, host};
use crate::sim::Sim;

const LIMIT: Duration = Duration::from_secs(5);
const S: Duration = Duration::from_secs(1);
const STRANGER: &str = "203.0.113.66:6666";
/// The peer's host, another port.
const NEIGHBOUR: &str = "198.51.100.2:6666";

/// What a call sends, by the first byte of the datagram.
fn recording(setup: Setup) -> Vec<Datagram> {
    let now = Instant::now();
    let (mut server, mut client) = both_ours(now, setup);
    client.open(now, "c", true, None);
    let mut seen = Vec::new();
    for step in 0..300 {
        let now = now + Duration::from_millis(step * 5);
        while let Some(datagram) = client.poll_transmit(now) {
            seen.push(datagram.clone());
            server.receive(now, datagram.from, datagram.bytes);
        }
        while let Some(datagram) = server.poll_transmit(now) {
            seen.push(datagram.clone());
            client.receive(now, datagram.from, datagram.bytes);
        }
        for peer in [&mut server, &mut client] {
            if peer.next_timeout().is_some_and(|at| at <= now) {
                peer.handle_timeout(now);
            }
        }
    }
    assert!(server.connected() && client.channel("c").is_some());
    seen
}

#[test]
fn a_wrong_certificate_fails_and_gives_no_keys() {
    for dtls_client in [false, true] {
        let now = Instant::now();
        let setup = Setup {
            dtls_client,
            ..Setup::ANSWERER
        };
        let (_, mut client) = both_ours(now, setup);
        client.open(now, "c", true, None);
        let mut server = Ours::new(now, addr(crate::peers::OUR_ADDRESS), "server", |_| {});
        let dtls = RemoteDtls {
            fingerprint: Fingerprint::sha256(b"another certificate"),
            role_is_client: !dtls_client,
        };
        server
            .transport
            .set_remote(now, credentials("client"), &dtls)
            .unwrap();
        let mut sim = Sim::new(server, client, now, 1);
        assert!(sim.run(LIMIT, |a, _| a.dtls() == Some(DtlsState::Failed)));
        let reason = sim
            .a
            .events
            .iter()
            .rev()
            .find_map(|(_, event)| match event {
                TransportEvent::Dtls { reason, .. } => Some(reason.clone()),
                _ => None,
            });
        assert_eq!(
            reason.as_deref(),
            Some("certificate does not match the fingerprint")
        );
        sim.pass(LIMIT);
        assert!(sim.a.transport.srtp_rx().is_none());
        assert!(sim.a.transport.srtp_tx().is_none());
        let data = |event: &TransportEvent| {
            matches!(
                event,
                TransportEvent::ChannelOpened { .. } | TransportEvent::Data { .. }
            )
        };
        assert!(!sim.a.events.iter().any(|(_, event)| data(event)));
        assert_ne!(sim.b.dtls(), Some(DtlsState::Connected));
    }
}

/// Row T1: RFC 6347 knows no way to tell a spoofed ClientHello from the real one, so it must not get in.
#[test]
fn dtls_from_elsewhere_never_reaches_the_handshake() {
    let hellos: Vec<Datagram> = recording(Setup::ANSWERER)
        .into_iter()
        .filter(|datagram| (20..64).contains(&datagram.bytes[0]))
        .collect();
    assert!(hellos.len() >= 3);
    for seed in 0..20 {
        for setup in [Setup::ANSWERER, Setup::LITE] {
            let now = Instant::now();
            let (server, client) = both_ours(now, setup);
            let mut sim = Sim::new(server, client, now, seed);
            let sprayed = sim.run(LIMIT, |a, b| {
                let now = a.now();
                for hello in &hellos {
                    for from in [STRANGER, NEIGHBOUR] {
                        a.receive(now, addr(from), hello.bytes.clone());
                    }
                }
                a.connected() && b.connected()
            });
            assert!(sprayed, "{setup:?} {:?}", sim.a.events);
            assert!(sim.a.dropped >= 2 * hellos.len());
        }
    }
}

fn sends_nothing(ours: &mut Ours, now: Instant) {
    let sent = ours.poll_transmit(now);
    assert_eq!(sent, None);
}

/// Row T12: only who knows the password is answered.
#[test]
fn stun_without_our_password_is_not_answered_and_changes_nothing() {
    for setup in [Setup::ANSWERER, Setup::LITE] {
        let now = Instant::now();
        let (server, client) = both_ours(now, setup);
        let mut sim = Sim::new(server, client, now, 2);
        assert!(sim.run(LIMIT, |a, b| a.connected() && b.connected()));
        // Checks of another call under the same ufrag, and damaged ones of this.
        let now = sim.now;
        let mut other = Ours::new(now, addr(STRANGER), "client", |c| c.controlling = true);
        let guessed = lkpy_transport::IceCredentials {
            ufrag: credentials("server").ufrag,
            pwd: "a-guess-of-22-characters".into(),
        };
        let dtls = RemoteDtls {
            fingerprint: IDENTITY.fingerprint().clone(),
            role_is_client: false,
        };
        other.transport.set_remote(now, guessed, &dtls).unwrap();
        other
            .transport
            .add_remote_candidate(now, &host(sim.a.address()));
        let check = other.poll_transmit(now).unwrap().bytes;
        while sim.a.poll_transmit(now).is_some() {}
        let (refused, events) = (sim.a.refused, sim.a.events.len());
        for from in [addr(STRANGER), sim.b.address()] {
            assert!(!sim.a.transport.accepts_stun(&check));
            sim.a.receive(now, from, check.clone());
            sends_nothing(&mut sim.a, now);
        }
        assert_eq!(sim.a.refused, refused + 2);
        assert_eq!(sim.a.events.len(), events);
        assert!(!sim.a.is_valid_source(now, addr(STRANGER)));
        assert_eq!(sim.a.remote(), Some(sim.b.address()));
    }
}

/// MESSAGE-INTEGRITY does not cover addresses. Sending a copy of a check from elsewhere must not
/// lead our packets there: only who answers our own check is sent to.
#[test]
fn a_replayed_check_does_not_move_a_full_agent() {
    let now = Instant::now();
    let (server, client) = both_ours(now, Setup::ANSWERER);
    let mut sim = Sim::new(server, client, now, 3);
    assert!(sim.run(LIMIT, |a, b| a.connected() && b.connected()));
    let mut check = None;
    while check.is_none() {
        let at = sim.b.next_timeout().unwrap();
        sim.b.handle_timeout(at);
        sim.now = at;
        check = sim
            .b
            .poll_transmit(at)
            .filter(|datagram| datagram.bytes[..2] == [0, 1]);
    }
    let check = check.unwrap().bytes;
    for _ in 0..50 {
        let now = sim.now;
        sim.a.receive(now, addr(STRANGER), check.clone());
        sim.pass(Duration::from_millis(100));
        assert_eq!(sim.a.remote(), Some(sim.b.address()));
    }
}

/// RFC 8445 7.2.5.2.1: an answer from another address than the check went to proves nothing.
#[test]
fn an_answer_from_elsewhere_validates_nothing() {
    let now = Instant::now();
    let (mut server, mut client) = both_ours(now, Setup::ANSWERER);
    for step in 0..200 {
        let now = now + Duration::from_millis(step * 20);
        while let Some(datagram) = client.poll_transmit(now) {
            let is_answer = datagram.bytes[..2] == [1, 1];
            let from = if is_answer {
                addr(STRANGER)
            } else {
                datagram.from
            };
            server.receive(now, from, datagram.bytes);
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
    assert!(client.remote().is_some());
    assert_eq!(server.remote(), None);
    assert!(!server.is_valid_source(now + 4 * S, addr(STRANGER)));
}

/// Row T14: 100,000 trickled candidates.
#[test]
fn a_flood_of_candidates_is_bounded() {
    let now = Instant::now();
    let (mut server, _) = both_ours(now, Setup::ANSWERER);
    while server.poll_transmit(now).is_some() {}
    for number in 0..100_000_u32 {
        let ip = std::net::Ipv4Addr::from(0x0A00_0000 + number);
        server
            .transport
            .add_remote_candidate(now, &host(SocketAddr::new(ip.into(), 9)));
    }
    let mut sent = 0;
    let mut at = now;
    while at < now + Duration::from_secs(1) {
        server.handle_timeout(at);
        while server.poll_transmit(at).is_some() {
            sent += 1;
        }
        at = server
            .next_timeout()
            .unwrap()
            .max(at + Duration::from_millis(1));
    }
    assert!((1..=30).contains(&sent), "{sent} checks in a second");
}

/// Row T14: not toward our own node, nor where nobody can be.
#[test]
fn no_check_goes_where_no_peer_can_be() {
    let now = Instant::now();
    let mut server = Ours::new(now, addr(crate::peers::OUR_ADDRESS), "server", |_| {});
    let dtls = RemoteDtls {
        fingerprint: IDENTITY.fingerprint().clone(),
        role_is_client: true,
    };
    server
        .transport
        .set_remote(now, credentials("client"), &dtls)
        .unwrap();
    for address in [
        "127.0.0.1:6379",
        "0.0.0.0:1",
        "224.0.0.1:9",
        "10.0.0.1:0",
        "[::1]:80",
        "[::ffff:127.0.0.1]:6379",
        "[64:ff9b::7f00:1]:80",
        "240.0.0.1:9",
        "255.255.255.255:9",
        "169.254.169.254:80",
        crate::peers::OUR_ADDRESS,
        "192.0.2.1:6379",
    ] {
        server
            .transport
            .add_remote_candidate(now, &host(addr(address)));
    }
    let mut tcp = host(addr("10.0.0.1:80"));
    tcp.protocol = Protocol::Tcp;
    server.transport.add_remote_candidate(now, &tcp);
    for step in 0..200 {
        let now = now + Duration::from_millis(step * 50);
        server.handle_timeout(now);
        sends_nothing(&mut server, now);
    }
}

#[test]
fn authentic_checks_from_very_many_addresses_are_bounded() {
    for setup in [Setup::ANSWERER, Setup::LITE] {
        let now = Instant::now();
        let (mut server, mut client) = both_ours(now, setup);
        let check = client.poll_transmit(now).unwrap().bytes;
        while server.poll_transmit(now).is_some() {}
        let mut sent = 0;
        for port in 1..=5_000_u16 {
            let from = SocketAddr::new([203, 0, 113, 1].into(), port);
            server.receive(now, from, check.clone());
            while server.poll_transmit(now).is_some() {
                sent += 1;
            }
        }
        let valid = (1..=5_000_u16)
            .map(|port| SocketAddr::new([203, 0, 113, 1].into(), port))
            .filter(|from| server.is_valid_source(now, *from))
            .count();
        assert!(valid <= 1, "{valid}");
        assert!(sent <= 2 * 5_000, "{sent}");
    }
}

/// Random and damaged datagrams into every entrance, with the checks of the driver left out.
#[test]
fn garbage_never_panics() {
    let genuine = recording(Setup::ANSWERER);
    let mut rng = Rng::new(4);
    for setup in [Setup::ANSWERER, Setup::LITE, Setup::OFFERER] {
        let now = Instant::now();
        let (server, client) = both_ours(now, setup);
        let mut sim = Sim::new(server, client, now, 4);
        if setup.lite {
            assert!(sim.run(LIMIT, |a, b| a.connected() && b.connected()));
        }
        let pair = sim.a.pair(sim.b.address());
        for round in 0..10_000_u64 {
            let mut bytes = match rng.below(4) {
                0 => (0..rng.below(200)).map(|_| rng.next() as u8).collect(),
                _ => genuine[rng.below(genuine.len() as u64) as usize]
                    .bytes
                    .clone(),
            };
            for _ in 0..rng.below(4) {
                if !bytes.is_empty() {
                    let at = rng.below(bytes.len() as u64) as usize;
                    bytes[at] = rng.next() as u8;
                }
            }
            bytes.truncate(rng.below(1_400) as usize);
            let now = sim.now + Duration::from_micros(round * 100);
            let transport = &mut sim.a.transport;
            let _ = transport.accepts_stun(&bytes);
            transport.handle_stun(now, pair, &bytes);
            let _ = transport.handle_dtls(now, pair, &bytes);
            transport.note_received(now, pair);
            if let Some(context) = transport.srtp_rx() {
                let _ = context.unprotect_rtp(&mut bytes.clone());
            }
            if round % 16 == 0 {
                transport.handle_timeout(now);
            }
            while transport.poll_transmit().is_some() {}
            while transport.poll_event().is_some() {}
        }
    }
}
