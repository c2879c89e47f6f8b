//! Connecting in every role, and SRTP keys that agree.

use std::time::{Duration, Instant};

use lkpy_transport::{DtlsState, IceState, LocalCandidate, Protocol, RemoteDtls, TransportEvent};
use rtp::srtp::SrtpProfile;
use str0m::rtp::RtpWrite;

use crate::peers::{
    IDENTITY, OUR_ADDRESS, Ours, Peer, SSRC_FROM_THEM, SSRC_FROM_US, Setup, addr, both_ours,
    credentials, host, with_str0m,
};
use crate::sim::Sim;

const LIMIT: Duration = Duration::from_secs(5);

const SETUPS: [Setup; 5] = [
    Setup::ANSWERER,
    Setup::LITE,
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

fn rtp(ssrc: u32, seq: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x80, 111];
    packet.extend(seq.to_be_bytes());
    packet.extend(960_u32.wrapping_mul(seq.into()).to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    packet.extend(payload);
    packet
}

fn states(ours: &Ours) -> Vec<DtlsState> {
    ours.events
        .iter()
        .filter_map(|(_, event)| match event {
            TransportEvent::Dtls { state, .. } => Some(*state),
            _ => None,
        })
        .collect()
}

#[test]
fn connects_with_str0m_in_every_role_and_media_flows_both_ways() {
    for setup in SETUPS {
        let now = Instant::now();
        let (ours, theirs) = with_str0m(now, setup);
        let mut sim = Sim::new(ours, theirs, now, 1);
        let connected = sim.run(LIMIT, |a, b| a.connected() && b.rtc.is_connected());
        assert!(connected, "{setup:?}: {:?}", sim.a.events);
        assert_eq!(
            sim.a.ice_states()[..2],
            [IceState::Checking, IceState::Connected]
        );
        assert_eq!(
            states(&sim.a),
            [DtlsState::Connecting, DtlsState::Connected]
        );

        for seq in 1..=20 {
            sim.a.send_rtp(rtp(SSRC_FROM_US, seq, &seq.to_be_bytes()));
            let wallclock = sim.now;
            let mut api = sim.b.api();
            let stream = api.stream_tx(&SSRC_FROM_THEM.into()).unwrap();
            let write = RtpWrite::new(
                111.into(),
                u64::from(seq).into(),
                960 * u32::from(seq),
                wallclock,
                seq.to_be_bytes().to_vec(),
            );
            stream.write_rtp(write);
            sim.pass(Duration::from_millis(20));
        }
        sim.pass(Duration::from_millis(500));
        let at_str0m = sim.b.rtp();
        assert_eq!(at_str0m.len(), 20, "{setup:?}");
        assert!(
            at_str0m
                .iter()
                .all(|(seq, payload)| payload[..] == seq.to_be_bytes())
        );
        assert_eq!(sim.a.rtp.len(), 20, "{setup:?}");
        assert_eq!(sim.a.dropped, 0);
        let rtt = sim.a.transport.rtt();
        assert_eq!(rtt.is_some(), !setup.lite);
        assert!(
            rtt.is_none_or(|rtt| rtt == Duration::from_millis(20)),
            "{rtt:?}"
        );
    }
}

#[test]
fn a_dtls_server_gets_gcm() {
    let now = Instant::now();
    let (ours, theirs) = with_str0m(now, Setup::ANSWERER);
    let mut sim = Sim::new(ours, theirs, now, 1);
    assert!(sim.run(LIMIT, |a, _| a.connected()));
    let profile = sim
        .a
        .events
        .iter()
        .rev()
        .find_map(|(_, event)| match event {
            TransportEvent::Dtls { profile, .. } => *profile,
            _ => None,
        });
    assert!(matches!(
        profile,
        Some(SrtpProfile::AeadAes128Gcm | SrtpProfile::AeadAes256Gcm)
    ));
}

#[test]
fn connects_with_itself_in_every_role() {
    for setup in SETUPS {
        let now = Instant::now();
        let (server, client) = both_ours(now, setup);
        let mut sim = Sim::new(server, client, now, 2);
        assert!(
            sim.run(LIMIT, |a, b| a.connected() && b.connected()),
            "{setup:?}"
        );
        sim.a.send_rtp(rtp(1, 1, b"down"));
        sim.b.send_rtp(rtp(2, 1, b"up"));
        sim.pass(Duration::from_millis(100));
        assert_eq!(sim.a.rtp, [rtp(2, 1, b"up")]);
        assert_eq!(sim.b.rtp, [rtp(1, 1, b"down")]);
    }
}

#[test]
fn connects_over_ipv6() {
    for lite in [false, true] {
        let now = Instant::now();
        let [ours, theirs] = ["[2001:db8::1]:7882", "[2001:db8::2]:2000"].map(addr);
        let mut server = Ours::new(now, ours, "server", |config| config.ice_lite = lite);
        let mut client = Ours::new(now, theirs, "client", |config| config.controlling = true);
        for (peer, name, role_is_client) in [
            (&mut server, "client", true),
            (&mut client, "server", false),
        ] {
            let dtls = RemoteDtls {
                fingerprint: IDENTITY.fingerprint().clone(),
                role_is_client,
            };
            let transport = &mut peer.transport;
            transport.set_remote(now, credentials(name), &dtls).unwrap();
        }
        client.transport.add_remote_candidate(now, &host(ours));
        let mut sim = Sim::new(server, client, now, 8);
        assert!(
            sim.run(LIMIT, |a, b| a.connected() && b.connected()),
            "{lite}"
        );
        sim.b.send_rtp(rtp(2, 1, b"up"));
        sim.pass(Duration::from_millis(100));
        assert_eq!(sim.a.rtp, [rtp(2, 1, b"up")]);
    }
}

fn make_bad<A: Peer, B: Peer>(sim: &mut Sim<A, B>, loss: u64) {
    sim.network.loss = loss;
    sim.network.jitter = Duration::from_millis(60);
}

#[test]
fn connects_over_a_bad_network() {
    const PATIENCE: Duration = Duration::from_secs(40);
    for seed in 0..10 {
        for setup in SETUPS {
            let now = Instant::now();
            let (server, client) = both_ours(now, setup);
            let mut sim = Sim::new(server, client, now, seed);
            make_bad(&mut sim, 100);
            let connected = sim.run(PATIENCE, |a, b| a.connected() && b.connected());
            assert!(connected, "{setup:?} seed {seed}: {:?}", sim.a.events);

            // str0m gives a flight up after four retransmissions.
            let (ours, theirs) = with_str0m(now, setup);
            let mut sim = Sim::new(ours, theirs, now, seed);
            make_bad(&mut sim, 40);
            let connected = sim.run(PATIENCE, |a, b| a.connected() && b.rtc.is_connected());
            assert!(connected, "{setup:?} seed {seed}: {:?}", sim.a.events);
        }
    }
}

#[test]
fn both_controlling_or_both_controlled_is_resolved() {
    for controlling in [false, true] {
        let now = Instant::now();
        let (server, client) = {
            let mut setup = Setup::ANSWERER;
            setup.controlling = controlling;
            let (server, _) = both_ours(now, setup);
            setup.controlling = !controlling;
            let (_, client) = both_ours(now, setup);
            (server, client)
        };
        let mut sim = Sim::new(server, client, now, 3);
        assert!(
            sim.run(LIMIT, |a, b| a.connected() && b.connected()),
            "{controlling}"
        );
    }
}

#[test]
fn checks_that_come_before_the_remote_parameters_are_not_lost() {
    // The client has our answer; our side learns the client's parameters 300 ms later.
    for lite in [false, true] {
        let now = Instant::now();
        let setup = if lite { Setup::LITE } else { Setup::ANSWERER };
        let (_, client) = both_ours(now, setup);
        let server = Ours::new(now, addr(OUR_ADDRESS), "server", |c| {
            c.ice_lite = lite;
        });
        let mut sim = Sim::new(server, client, now, 4);
        sim.pass(Duration::from_millis(300));
        assert_eq!(sim.a.refused, 0);
        // A lite agent can answer at once; a full one has not asked back yet.
        assert_eq!(sim.a.is_valid_source(sim.now, sim.b.address()), lite);
        assert_eq!(sim.a.dtls(), None);
        let dtls = RemoteDtls {
            fingerprint: IDENTITY.fingerprint().clone(),
            role_is_client: true,
        };
        let at = sim.now;
        let creds = credentials("client");
        sim.a.transport.set_remote(at, creds, &dtls).unwrap();
        // No candidate was signalled: the client's address is learnt from its checks.
        assert!(sim.run(Duration::from_millis(600), |a, b| a.connected()
            && b.connected()));
    }
}

/// The peer connects to us by TCP (framed by the driver, so here it looks like UDP to the client).
#[test]
fn what_comes_by_tcp_is_answered_by_tcp() {
    for lite in [false, true] {
        let now = Instant::now();
        let (_, client) = both_ours(now, Setup::ANSWERER);
        let address = addr(OUR_ADDRESS);
        let mut server = Ours::new(now, address, "server", |config| {
            config.ice_lite = lite;
            config.local_candidates.push(LocalCandidate {
                addr: address,
                protocol: Protocol::Tcp,
            });
        });
        server.protocol = Protocol::Tcp;
        let dtls = RemoteDtls {
            fingerprint: IDENTITY.fingerprint().clone(),
            role_is_client: true,
        };
        let creds = credentials("client");
        server.transport.set_remote(now, creds, &dtls).unwrap();
        let mut sim = Sim::new(server, client, now, 7);
        assert!(
            sim.run(LIMIT, |a, b| a.connected() && b.connected()),
            "{lite}"
        );
        let pair = sim.a.transport.send_to().unwrap();
        assert_eq!(pair.protocol, Protocol::Tcp);
        let at = sim.now;
        sim.a.transport.close(at);
        let goodbye = sim.a.transport.poll_transmit().unwrap();
        assert_eq!(goodbye.protocol, Protocol::Tcp);
    }
}

#[test]
fn a_transport_may_move_between_threads() {
    fn is_send<T: Send>(_: &T) {}
    let (server, _) = both_ours(Instant::now(), Setup::LITE);
    is_send(&server.transport);
}

#[test]
fn close_is_said_once_and_heard() {
    let now = Instant::now();
    let (ours, theirs) = with_str0m(now, Setup::ANSWERER);
    let mut sim = Sim::new(ours, theirs, now, 5);
    assert!(sim.run(LIMIT, |a, b| a.connected() && b.rtc.is_connected()));
    let now = sim.now;
    sim.a.transport.close(now);
    sim.a.transport.close(now);
    let mut datagrams = 0;
    while let Some(transmit) = sim.a.transport.poll_transmit() {
        assert_eq!(transmit.bytes[0], 21, "an alert");
        datagrams += 1;
        let from = sim.a.address();
        sim.b.receive(now, from, transmit.bytes);
    }
    assert_eq!(datagrams, 1);
    assert_eq!(sim.a.transport.next_timeout(), None);
    assert!(sim.a.transport.send_to().is_none());
    assert!(sim.a.transport.srtp_tx().is_none());
    assert!(!sim.a.is_valid_source(sim.now, sim.b.address()));
    let heard = sim.run(LIMIT, |_, b| !b.rtc.is_connected() || !b.rtc.is_alive());
    assert!(heard, "{:?}", sim.b.events);
}

#[test]
fn a_close_of_the_peer_is_reported() {
    let now = Instant::now();
    let (server, client) = both_ours(now, Setup::ANSWERER);
    let mut sim = Sim::new(server, client, now, 6);
    assert!(sim.run(LIMIT, |a, b| a.connected() && b.connected()));
    let at = sim.now;
    sim.b.transport.close(at);
    assert!(sim.run(LIMIT, |a, _| a.dtls() == Some(DtlsState::Closed)));
    assert!(sim.a.transport.srtp_rx().is_none());
}
