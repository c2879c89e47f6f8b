//! The ICE table: checks from many addresses, restarts, candidates and time, in both modes. What is sent is
//! bounded by what was received and by the time that passed.

#![no_main]

use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use lkpy_fuzz::Input;
use transport::{
    CandidatePair, DtlsIdentity, Fingerprint, IceCredentials, LocalCandidate, Protocol,
    RemoteCandidate, RemoteDtls, Transport, TransportConfig, limits,
};

static IDENTITY: LazyLock<DtlsIdentity> = LazyLock::new(|| DtlsIdentity::generate().unwrap());

fn credentials(name: u8) -> IceCredentials {
    IceCredentials {
        ufrag: format!("frag{name}"),
        pwd: format!("password-of-22-chars-{name}"),
    }
}

/// A transport whose address is `host`, and one that talks to it.
fn transport(now: Instant, host: u8, lite: bool, controlling: bool) -> Transport {
    let candidate = LocalCandidate {
        addr: SocketAddr::from(([192, 0, 2, host], 7_000)),
        protocol: Protocol::Udp,
    };
    let mut config = TransportConfig::new(credentials(host), vec![candidate]);
    (config.ice_lite, config.controlling) = (lite, controlling);
    Transport::new(config, &IDENTITY, now)
}

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input(bytes);
    let mut now = Instant::now();
    let mut ours = transport(now, 1, input.byte() % 2 == 0, false);
    let mut peer = transport(now, 2, false, true);
    let dtls = RemoteDtls {
        fingerprint: Fingerprint::sha256(b"nobody's"),
        role_is_client: true,
    };
    ours.set_remote(now, credentials(2), &dtls).unwrap();
    peer.set_remote(now, credentials(1), &dtls).unwrap();
    let local = SocketAddr::from(([192, 0, 2, 1], 7_000));
    let mut checks: Vec<Vec<u8>> = Vec::new();
    let (mut received, mut sent, mut passed) = (0, 0, Duration::ZERO);
    while !input.is_empty() {
        match input.byte() % 8 {
            0..=2 => {
                let from = SocketAddr::from(([198, 51, 100, input.byte()], input.word() | 1));
                if let Some(check) = checks.get(usize::from(input.byte())) {
                    let mut check = check.clone();
                    let at = usize::from(input.byte());
                    if at < check.len() && input.byte() % 4 == 0 {
                        check[at] ^= 1;
                    }
                    received += 1;
                    let pair = CandidatePair {
                        local,
                        remote: from,
                        protocol: Protocol::Udp,
                    };
                    ours.handle_stun(now, pair, &check);
                }
            }
            3 => {
                let candidate = RemoteCandidate {
                    addr: SocketAddr::from(([198, 51, 100, input.byte()], input.word())),
                    protocol: Protocol::Udp,
                    priority: u32::from(input.word()),
                    foundation: "1".into(),
                    kind: "host".into(),
                };
                received += 1;
                ours.add_remote_candidate(now, &candidate);
            }
            4 => {
                let name = 10 + input.byte() % 4;
                received += 1;
                ours.restart_ice(now, credentials(name)).unwrap();
                peer.set_remote(now, credentials(name), &dtls).unwrap();
            }
            5 => {
                let name = 20 + input.byte() % 4;
                ours.set_remote(now, credentials(name), &dtls).unwrap();
                peer.restart_ice(now, credentials(name)).unwrap();
            }
            6 => {
                let pair = CandidatePair {
                    local,
                    remote: SocketAddr::from(([198, 51, 100, input.byte()], input.word())),
                    protocol: Protocol::Udp,
                };
                let _ = ours.handle_dtls(now, pair, &[22, input.byte()]);
                ours.note_received(now, pair);
            }
            _ => {
                let step = Duration::from_millis(u64::from(input.byte()) * 4);
                (now, passed) = (now + step, passed + step);
                ours.handle_timeout(now);
                peer.handle_timeout(now);
            }
        }
        while let Some(transmit) = peer.poll_transmit() {
            if checks.len() < 256 {
                checks.push(transmit.bytes);
            }
        }
        while ours.poll_event().is_some() || peer.poll_event().is_some() {}
        while let Some(transmit) = ours.poll_transmit() {
            assert_ne!(transmit.remote, local, "to itself");
            sent += 1;
        }
        assert!(ours.paths().count() <= limits::PATHS);
        if let Some(pair) = ours.send_to() {
            assert!(ours.check_source(now, pair).is_ok());
        }
        assert!(
            sent <= 100 + 4 * received + passed.as_millis() as usize,
            "{sent} {received}"
        );
    }
});
