//! What is held for later is bounded.

use super::*;
use crate::types::{IceCredentials, LocalCandidate, Protocol};

fn pair(port: u16) -> CandidatePair {
    CandidatePair {
        local: "192.0.2.1:7882".parse().unwrap(),
        remote: ([198, 51, 100, 1], port).into(),
        protocol: Protocol::Udp,
    }
}

fn credentials(name: &str) -> IceCredentials {
    IceCredentials {
        ufrag: name.to_owned(),
        pwd: format!("{name}-password-of-22-characters"),
    }
}

fn transport(lite: bool, now: Instant) -> Transport {
    let candidate = LocalCandidate {
        addr: pair(1).local,
        protocol: Protocol::Udp,
    };
    let mut config = TransportConfig::new(credentials("ours"), vec![candidate]);
    config.ice_lite = lite;
    Transport::new(config, &DtlsIdentity::generate().unwrap(), now)
}

fn remote(role_is_client: bool) -> RemoteDtls {
    RemoteDtls {
        fingerprint: crate::Fingerprint::sha256(b"whoever"),
        role_is_client,
    }
}

/// A check of the peer's.
fn check() -> Vec<u8> {
    let check = crate::stun::Check {
        priority: 1,
        controlling: true,
        tie_breaker: 1,
        nominates: false,
    };
    let id = is::stun::TransId::new();
    check
        .request(id, "ours:theirs", &credentials("ours").pwd)
        .unwrap()
}

/// Reaches [`limits::HELD_DTLS`].
#[test]
fn dtls_before_the_fingerprint_is_held_within_a_bound() {
    let now = Instant::now();
    let mut transport = transport(true, now);
    transport.handle_stun(now, pair(1), &check());
    for _ in 0..3 * limits::HELD_DTLS {
        let taken = transport.handle_dtls(now, pair(1), &[22; 1_200]);
        assert_eq!(taken, Ok(()));
        assert!(transport.held_dtls.len() <= limits::HELD_DTLS);
    }
    assert_eq!(transport.held_dtls.len(), limits::HELD_DTLS);
}

/// Reaches [`limits::EARLY_DTLS`].
#[test]
fn dtls_before_the_answer_to_our_check_is_held_within_a_bound() {
    let now = Instant::now();
    let mut transport = transport(false, now);
    transport
        .set_remote(now, credentials("theirs"), &remote(true))
        .unwrap();
    for port in 1..=3 {
        transport.handle_stun(now, pair(port), &check());
        for first in 0..2 * limits::EARLY_DTLS {
            let taken = transport.handle_dtls(now, pair(port), &[22, first as u8]);
            assert_eq!(taken, Ok(()));
            assert!(transport.early_dtls.len() <= limits::EARLY_DTLS);
        }
    }
    let held = transport
        .early_dtls
        .iter()
        .map(|(pair, _)| pair.remote.port());
    assert!(held.eq([3; limits::EARLY_DTLS]), "the newest are kept");
}

/// Reaches [`limits::HELD_TRANSMITS`]: a client whose handshake has begun and whose path is gone.
#[test]
fn dtls_that_has_no_path_is_held_within_a_bound() {
    let now = Instant::now();
    let mut transport = transport(true, now);
    transport
        .set_remote(now, credentials("theirs"), &remote(false))
        .unwrap();
    let session = transport.session.as_mut().unwrap();
    session.packets.extend((0..100).map(|n| vec![n]));
    transport.pump(now);
    assert_eq!(transport.held_transmits.len(), limits::HELD_TRANSMITS);
    assert_eq!(transport.held_transmits.back(), Some(&vec![99]));
}

/// What waits for a path when the handshake begins anew is not sent.
#[test]
fn dtls_of_a_handshake_that_began_anew_is_not_sent() {
    let now = Instant::now();
    let mut transport = transport(true, now);
    let remote = remote(true);
    transport
        .set_remote(now, credentials("theirs"), &remote)
        .unwrap();
    transport.handle_stun(now, pair(1), &check());
    let hello = || {
        let identity = DtlsIdentity::generate().unwrap();
        let role = RemoteDtls {
            fingerprint: crate::Fingerprint::sha256(b"us"),
            role_is_client: false,
        };
        let mut session = crate::dtls::Session::new(&identity, &role, now);
        session.start(now);
        session.packets.pop_front().unwrap()
    };
    transport.handle_dtls(now, pair(1), &hello()).unwrap();
    let first: Vec<_> = transport.held_transmits.drain(..).collect();
    assert!(!first.is_empty());
    transport.held_transmits.extend(first.iter().cloned());
    transport.handle_dtls(now, pair(1), &hello()).unwrap();
    let held = &transport.held_transmits;
    assert_eq!(held.len(), first.len());
    assert!(held.iter().all(|datagram| !first.contains(datagram)));
}
