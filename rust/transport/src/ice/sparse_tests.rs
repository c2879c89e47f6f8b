//! Checks and answers of stacks that write less than RFC 8445 asks for, or more.

use std::time::{Duration, Instant};

use super::*;
use crate::stun::tests::written;
use crate::types::{LocalCandidate, Protocol};

const USERNAME: (u16, &[u8]) = (0x0006, b"ours:theirs");
const PRIORITY: (u16, &[u8]) = (0x0024, &[0x6E, 0x7F, 0xFF, 0xFF]);
const CONTROLLING: (u16, &[u8]) = (0x802A, &[7; 8]);
const USE_CANDIDATE: (u16, &[u8]) = (0x0025, &[]);

fn credentials(ufrag: &str) -> IceCredentials {
    IceCredentials {
        ufrag: ufrag.to_owned(),
        pwd: format!("{ufrag}-password-of-22-characters"),
    }
}

fn pair() -> CandidatePair {
    CandidatePair {
        local: "192.0.2.1:7882".parse().unwrap(),
        remote: "198.51.100.1:5000".parse().unwrap(),
        protocol: Protocol::Udp,
    }
}

struct Call {
    ice: Ice,
    now: Instant,
    ids: u32,
}

impl Call {
    fn new(lite: bool, controlling: bool) -> Self {
        let now = Instant::now();
        let candidate = LocalCandidate {
            addr: pair().local,
            protocol: Protocol::Udp,
        };
        let mut config = TransportConfig::new(credentials("ours"), vec![candidate]);
        config.ice_lite = lite;
        config.controlling = controlling;
        let mut ice = Ice::new(config, now);
        ice.set_remote(now, credentials("theirs")).unwrap();
        let remote = RemoteCandidate {
            addr: pair().remote,
            protocol: Protocol::Udp,
            priority: 1,
            foundation: "1".into(),
            kind: "host".into(),
        };
        ice.add_remote_candidate(now, &remote);
        Call { ice, now, ids: 0 }
    }

    fn check(&mut self, attributes: &[(u16, &[u8])]) -> StunOutcome {
        self.ids += 1;
        let pwd = credentials("ours").pwd;
        let mut id = [0; 12];
        id[..4].copy_from_slice(&self.ids.to_be_bytes());
        let bytes = written([0, 1], id, attributes, &pwd);
        self.ice.handle_stun(self.now, pair(), &bytes)
    }

    /// Takes what was sent: the answers, and the ids of the checks.
    fn sent(&mut self) -> (Vec<Vec<u8>>, Vec<[u8; 12]>) {
        let sent = self.ice.transmits.drain(..).map(|transmit| transmit.bytes);
        let (checks, answers): (Vec<_>, Vec<_>) = sent.partition(|bytes| bytes[..2] == [0, 1]);
        let id = |bytes: Vec<u8>| bytes[8..20].try_into().unwrap();
        (answers, checks.into_iter().map(id).collect())
    }

    /// Half a second in which the peer checks so and answers so.
    fn run(&mut self, check: &[(u16, &[u8])], answer: &[(u16, &[u8])]) {
        for _ in 0..10 {
            self.check(check);
            self.now += Duration::from_millis(50);
            self.ice.handle_timeout(self.now);
            for id in self.sent().1 {
                let bytes = written([1, 1], id, answer, &credentials("theirs").pwd);
                self.ice.handle_stun(self.now, pair(), &bytes);
            }
        }
    }
}

#[test]
fn checks_that_say_little_connect() {
    let wide = (0x0024, &[0x6E, 0x7F, 0xFF, 0xFF, 0, 0, 0, 0][..]);
    let zero = (0x802A, &[0; 8][..]);
    let software = (0x8022, &b"libpeer\xFF"[..]);
    let checks = [
        vec![USERNAME, PRIORITY, CONTROLLING, USE_CANDIDATE],
        vec![USERNAME, wide, CONTROLLING, USE_CANDIDATE],
        vec![USERNAME, PRIORITY, zero, USE_CANDIDATE],
        vec![USERNAME, CONTROLLING, USE_CANDIDATE],
        vec![USERNAME, PRIORITY, USE_CANDIDATE],
        vec![USERNAME, USE_CANDIDATE],
        vec![software, USE_CANDIDATE, CONTROLLING, PRIORITY, USERNAME],
        vec![USERNAME, PRIORITY, CONTROLLING, (0x0025, &[0; 4])],
    ];
    for (index, check) in checks.iter().enumerate() {
        for lite in [false, true] {
            let mut call = Call::new(lite, false);
            call.run(
                check,
                &[(0x0020, &[0, 1, 0x3F, 0xD8, 0xE1, 0x12, 0xA6, 0x43])],
            );
            assert_eq!(call.ice.selected(), Some(pair()), "{index} lite {lite}");
        }
    }
}

#[test]
fn answers_without_the_mapped_address_connect() {
    let mapped = (0x0001, &[0, 1, 0x1E, 0xCA, 192, 0, 2, 1][..]);
    let garbage = (0x0020, &[0, 9, 1][..]);
    for (index, answer) in [&[][..], &[mapped], &[garbage]].into_iter().enumerate() {
        for controlling in [false, true] {
            let role = if controlling { 0x8029 } else { 0x802A };
            let check = [USERNAME, PRIORITY, (role, &[7; 8]), USE_CANDIDATE];
            let mut call = Call::new(false, controlling);
            call.run(&check, answer);
            let ours = call.ice.selected();
            assert_eq!(ours, Some(pair()), "{index} controlling {controlling}");
            // And stays: consent is renewed by them.
            for _ in 0..80 {
                call.run(&check, answer);
            }
            assert_eq!(call.ice.selected(), Some(pair()));
        }
    }
}

/// RFC 8489 6.3.1: it is not acted upon, and the answer says why. Nobody unknown gets one.
#[test]
fn what_must_be_understood_and_is_not_is_refused() {
    for lite in [false, true] {
        let mut call = Call::new(lite, false);
        call.sent();
        let check = [
            USERNAME,
            PRIORITY,
            CONTROLLING,
            USE_CANDIDATE,
            (0x7777, &[]),
        ];
        assert_eq!(call.check(&check), StunOutcome::Ignored);
        let (answers, _) = call.sent();
        let [answer] = &answers[..] else {
            panic!("{} answers", answers.len());
        };
        let answer = Message::parse(answer).unwrap();
        assert_eq!(answer.error_code(), Some(420));
        assert!(answer.verify(&credentials("ours").pwd));
        assert!(call.ice.selected().is_none());
        let bytes = written([0, 1], [99; 12], &check, "a guess");
        let outcome = call.ice.handle_stun(call.now, pair(), &bytes);
        assert_eq!(outcome, StunOutcome::Refused);
        assert!(call.sent().0.is_empty());
    }
}

/// An answer that is no success, with the id of a check of ours.
#[test]
fn what_is_no_success_gives_no_consent() {
    let mut call = Call::new(false, false);
    call.check(&[USERNAME, PRIORITY, CONTROLLING, USE_CANDIDATE]);
    let ids = call.sent().1;
    assert!(!ids.is_empty());
    let error = (0x0009, &[0, 0, 4, 0][..]);
    for id in ids {
        for (kind, attributes) in [([1, 0x11], &[error][..]), ([0, 0x11], &[]), ([1, 3], &[])] {
            let bytes = written(kind, id, attributes, &credentials("theirs").pwd);
            call.ice.handle_stun(call.now, pair(), &bytes);
            assert!(call.ice.selected().is_none(), "{kind:?}");
        }
    }
}
