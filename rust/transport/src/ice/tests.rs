//! Random histories of one transport's ICE: nothing grows, nothing forbidden is sent to, and what is
//! selected may be sent on.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use is::stun::{StunMessage, TransId};
use proptest::prelude::*;

use super::*;
use crate::types::{LocalCandidate, Protocol};

const MS: Duration = Duration::from_millis(1);
const OURS: [&str; 2] = ["192.0.2.1:7882", "192.0.2.2:7882"];

/// What happens to the transport.
#[derive(Debug, Clone)]
enum Step {
    Pass(u64),
    /// A check from a remote address: new, or with the last transaction again.
    Check {
        local: usize,
        remote: u16,
        again: bool,
        nominates: bool,
        claims_our_role: bool,
    },
    /// Answers to checks of ours, from where they went or from elsewhere.
    Answer {
        which: usize,
        elsewhere: bool,
        mapped: u16,
    },
    /// Answers to all checks of ours.
    AnswerAll,
    Candidate(u16),
    /// A candidate that nobody may be at.
    Forbidden(usize),
    Media {
        local: usize,
        remote: u16,
    },
    /// ICE is restarted from here, from there, or both.
    Restart {
        local: bool,
        remote: bool,
    },
    Garbage(Vec<u8>),
}

const FORBIDDEN: [&str; 6] = [
    "192.0.2.1:7882",
    "192.0.2.2:6379",
    "127.0.0.1:80",
    "[::ffff:127.0.0.1]:80",
    "240.0.0.1:1",
    "169.254.169.254:80",
];

fn steps() -> impl Strategy<Value = Step> {
    // A few addresses come often, many others now and then.
    let remote = || prop_oneof![4 => 1u16..5, 1 => 1u16..2_000];
    prop_oneof![
        3 => (0u64..3_000).prop_map(Step::Pass),
        1 => (0u64..40_000).prop_map(Step::Pass),
        8 => (0usize..2, remote(), prop::bool::weighted(0.2), any::<bool>(), prop::bool::weighted(0.05))
            .prop_map(|(local, remote, again, nominates, claims_our_role)| Step::Check {
                local, remote, again, nominates, claims_our_role,
            }),
        5 => (0usize..8, prop::bool::weighted(0.2), prop_oneof![3 => Just(0u16), 1 => any::<u16>()])
            .prop_map(|(which, elsewhere, mapped)| Step::Answer { which, elsewhere, mapped }),
        5 => Just(Step::AnswerAll),
        2 => remote().prop_map(Step::Candidate),
        1 => (0..FORBIDDEN.len()).prop_map(Step::Forbidden),
        3 => (0usize..2, remote()).prop_map(|(local, remote)| Step::Media { local, remote }),
        1 => (any::<bool>(), any::<bool>()).prop_map(|(local, remote)| Step::Restart { local, remote }),
        1 => prop::collection::vec(any::<u8>(), 0..60).prop_map(Step::Garbage),
    ]
}

struct World {
    ice: Ice,
    now: Instant,
    lite: bool,
    restarts: usize,
    local: IceCredentials,
    remote: IceCredentials,
    last: TransId,
    /// Our checks that were not answered, newest last.
    checks: Vec<(CandidatePair, TransId)>,
    /// Datagrams and bytes that arrived and that were sent.
    received: usize,
    sent: usize,
}

fn credentials(name: &str, generation: usize) -> IceCredentials {
    IceCredentials {
        ufrag: format!("{name}{generation}"),
        pwd: format!("{name}-{generation}-password-of-22-chars"),
    }
}

fn pair(local: usize, remote: u16) -> CandidatePair {
    CandidatePair {
        local: OURS[local].parse().unwrap(),
        remote: SocketAddr::new([198, 51, 100, 1].into(), remote),
        protocol: Protocol::Udp,
    }
}

impl World {
    fn new(lite: bool, controlling: bool) -> Self {
        let now = Instant::now();
        let candidates = OURS.map(|addr| LocalCandidate {
            addr: addr.parse().unwrap(),
            protocol: Protocol::Udp,
        });
        let local = credentials("ours", 0);
        let mut config = TransportConfig::new(local.clone(), candidates.into());
        config.ice_lite = lite;
        config.controlling = controlling;
        World {
            ice: Ice::new(config, now),
            now,
            lite,
            restarts: 0,
            local,
            remote: credentials("theirs", 0),
            last: TransId::new(),
            checks: Vec::new(),
            received: 0,
            sent: 0,
        }
    }

    fn run(&mut self, step: Step) {
        let sent = self.sent;
        match step {
            Step::Pass(ms) => return self.pass(u32::try_from(ms).unwrap() * MS),
            Step::Check {
                local,
                remote,
                again,
                nominates,
                claims_our_role,
            } => {
                let pair = pair(local, remote);
                if !again {
                    self.last = TransId::new();
                }
                self.check(pair, nominates, claims_our_role);
            }
            Step::Answer {
                which,
                elsewhere,
                mapped,
            } => {
                let Some(at) = self.checks.len().checked_sub(which + 1) else {
                    return;
                };
                let (mut pair, id) = self.checks.remove(at);
                let sees = if mapped == 0 {
                    pair.local
                } else {
                    SocketAddr::new([192, 0, 2, 77].into(), mapped)
                };
                if elsewhere {
                    pair.remote.set_port(3_000);
                }
                self.answer(pair, id, sees);
            }
            Step::AnswerAll => {
                for (pair, id) in std::mem::take(&mut self.checks) {
                    self.answer(pair, id, pair.local);
                    self.look();
                }
                return;
            }
            Step::Candidate(port) => self.candidate(pair(0, port).remote),
            Step::Forbidden(which) => self.candidate(FORBIDDEN[which].parse().unwrap()),
            Step::Media { local, remote } => {
                self.ice.receive(self.now, pair(local, remote));
            }
            Step::Restart { local, remote } => self.restart(local, remote),
            Step::Garbage(bytes) => {
                self.ice.handle_stun(self.now, pair(0, 1), &bytes);
            }
        }
        self.look();
        // An answer, a check back, and what the agent had still to do.
        assert!(self.sent - sent <= 2 + 4, "{} datagrams", self.sent - sent);
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        let mut steps = 0;
        while let Some(at) = self.ice.next_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.ice.handle_timeout(self.now);
            self.look();
            steps += 1;
            assert!(steps < 2_000 + 40 * time.as_secs(), "time stands still");
        }
        self.now = end;
        self.look();
    }

    fn check(&mut self, pair: CandidatePair, nominates: bool, claims_our_role: bool) {
        let username = format!("{}:{}", self.local.ufrag, self.remote.ufrag);
        let controls = self.ice.current.agent.controlling() == claims_our_role;
        let message = StunMessage::binding_request(
            &username,
            self.last,
            controls,
            7,
            99,
            nominates && controls,
        );
        let bytes = encode(message, &self.local.pwd);
        self.received += 1;
        self.ice.handle_stun(self.now, pair, &bytes);
    }

    fn answer(&mut self, pair: CandidatePair, id: TransId, sees: SocketAddr) {
        let bytes = stun::success(id, sees, &self.remote.pwd).unwrap();
        self.received += 1;
        self.ice.handle_stun(self.now, pair, &bytes);
    }

    fn candidate(&mut self, addr: SocketAddr) {
        let candidate = RemoteCandidate {
            addr,
            protocol: Protocol::Udp,
            priority: 1_000 + u32::from(addr.port()),
            foundation: "1".into(),
            kind: "host".into(),
        };
        self.ice.add_remote_candidate(self.now, &candidate);
    }

    fn restart(&mut self, local: bool, remote: bool) {
        self.restarts += 1;
        if local {
            self.local = credentials("ours", self.restarts);
            self.ice.restart(self.now, self.local.clone()).unwrap();
        }
        if remote || !local {
            self.remote = credentials("theirs", self.restarts);
            self.ice.set_remote(self.now, self.remote.clone()).unwrap();
        }
    }

    /// Takes what was sent, and looks whether all is as it should be.
    fn look(&mut self) {
        while let Some(transmit) = self.ice.transmits.pop_front() {
            self.sent += 1;
            let message = Message::parse(&transmit.bytes).unwrap();
            assert!(self.ice.targets.allow(transmit.remote), "{transmit:?}");
            assert!(!FORBIDDEN.contains(&transmit.remote.to_string().as_str()));
            if message.is_binding_request() {
                assert!(!self.lite);
                assert!(self.checks.len() < 100_000);
                self.checks.push((transmit.pair(), message.trans_id()));
            }
        }
        self.ice.changes.clear();
        assert!(self.ice.paths.iter().count() <= limits::PATHS);
        for generation in std::iter::once(&self.ice.current).chain(&self.ice.previous) {
            generation.agent.assert_bounded();
            assert!(generation.transactions.len() <= limits::TRANSACTIONS);
        }
        let Some(pair) = self.ice.selected() else {
            return;
        };
        assert!(
            self.now <= self.ice.consent_ends(pair),
            "sent to without consent"
        );
        assert_eq!(self.ice.check_source(self.now, pair), Ok(()));
        assert!(self.ice.paths.consented(pair).is_some(), "was validated");
    }
}

fn encode(message: StunMessage<'_>, pwd: &str) -> Vec<u8> {
    let mut bytes = vec![0; 300];
    let length = message
        .to_bytes(Some(pwd.as_bytes()), &mut bytes, stun::hmac)
        .unwrap();
    bytes.truncate(length);
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn any_history_leaves_ice_bounded_and_its_selection_valid(
        lite: bool,
        controlling: bool,
        early: bool,
        history in prop::collection::vec(steps(), 0..400),
    ) {
        let mut world = World::new(lite, controlling && !lite);
        if !early {
            world.ice.set_remote(world.now, world.remote.clone()).unwrap();
        }
        for step in history {
            world.run(step);
        }
    }
}

/// Reaches [`limits::REMOTE_CANDIDATES`] and [`limits::OUTSTANDING_CHECKS`].
#[test]
fn candidates_that_do_not_answer_are_bounded() {
    let mut world = World::new(false, false);
    let remote = world.remote.clone();
    world.ice.set_remote(world.now, remote).unwrap();
    for port in 1..=200 {
        world.candidate(pair(0, port).remote);
        world.look();
    }
    world.pass(Duration::from_secs(14));
    let mut targets: Vec<_> = world.checks.iter().map(|(pair, _)| pair.remote).collect();
    targets.sort_unstable();
    targets.dedup();
    assert_eq!(targets.len(), limits::REMOTE_CANDIDATES);
    assert!(world.checks.len() > limits::OUTSTANDING_CHECKS);
}

/// Reaches [`limits::MAPPED_ADDRESSES`]: a peer that says to see us elsewhere each time.
#[test]
fn addresses_that_the_peer_says_to_see_are_bounded() {
    let mut world = World::new(false, true);
    let remote = world.remote.clone();
    world.ice.set_remote(world.now, remote).unwrap();
    world.candidate(pair(0, 1).remote);
    for mapped in 1..=300 {
        world.pass(500 * MS);
        for (pair, id) in std::mem::take(&mut world.checks) {
            world.answer(pair, id, SocketAddr::new([192, 0, 2, 77].into(), mapped));
            world.look();
        }
    }
    assert!(world.ice.selected().is_some());
    assert_eq!(world.ice.reported.state, IceState::Connected);
}
