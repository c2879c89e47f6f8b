//! The full agent: the `is` crate forms pairs, makes checks and answers; which pair is selected,
//! what is bounded and what is let through is decided here.
//!
//! Most of a transport's life nothing changes. Then the `is` agent sleeps, and the checks of the
//! selected pair and the answers to the peer's are made here (see [`super::consent`]).

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use is::stun::{StunMessage, StunPacket, TransId};
use is::{Candidate, CandidateKind, IceAgent, IceAgentEvent, IceCreds};

use super::consent::Consent;
use super::pairs::Pairs;
use super::{Agent, accepts_request};
use crate::limits;
use crate::stun::{self, Check};
use crate::types::{
    CandidatePair, IceCredentials, LocalCandidate, Protocol, RemoteCandidate, Transmit,
};

/// Longest time between two checks of a pair that works: LiveKit's keepalive.
const KEEPALIVE: Duration = Duration::from_secs(2);
/// Unanswered checks after which a pair is given up: 19 s, later than ICE itself fails.
const MAX_RETRANSMITS: usize = 10;
/// When we control and nothing was heard on the selected pair for this long, any pair that is
/// alive is better.
const ABANDON_AFTER: Duration = Duration::from_secs(4);
/// And not before all pairs have been checked for this long: a pair that was not asked is silent.
const ABANDON_CHECKED: Duration = KEEPALIVE;
/// A pair is alive when it was heard within this time (one keepalive and some).
const ALIVE_WITHIN: Duration = Duration::from_millis(2_500);

/// The first remote candidates are checked at once, the others at the agent's pace (20 per second).
const EAGER: usize = 4;

/// One of our checks that waits for its answer.
struct Sent {
    id: TransId,
    pair: CandidatePair,
    at: Instant,
}

/// A request that arrived before the remote credentials.
struct Held {
    pair: CandidatePair,
    packet: Vec<u8>,
}

pub(crate) struct FullAgent {
    agent: IceAgent,
    local: IceCredentials,
    remote: Option<IceCredentials>,
    pairs: Pairs,
    consent: Consent,
    checks: VecDeque<Sent>,
    held: Vec<Held>,
    remote_candidates: usize,
    reflexive: usize,
    /// Remote addresses that were abandoned; they are taken up again when they are heard.
    abandoned: Vec<(SocketAddr, Protocol)>,
    has_loopback: bool,
}

impl FullAgent {
    pub(crate) fn new(
        now: Instant,
        local: IceCredentials,
        candidates: &[LocalCandidate],
        controlling: bool,
    ) -> Self {
        let mut agent = IceAgent::new(creds(&local));
        agent.set_controlling(controlling);
        agent.set_max_stun_rto(KEEPALIVE);
        agent.set_max_stun_retransmits(MAX_RETRANSMITS);
        for candidate in candidates {
            if let Ok(host) = Candidate::host(candidate.addr, to_is(candidate.protocol)) {
                agent.add_local_candidate(host);
            }
        }
        FullAgent {
            agent,
            local,
            remote: None,
            pairs: Pairs::new(false),
            consent: Consent::new(now),
            checks: VecDeque::new(),
            held: Vec::new(),
            remote_candidates: 0,
            reflexive: 0,
            abandoned: Vec::new(),
            has_loopback: candidates.iter().any(|c| c.addr.ip().is_loopback()),
        }
    }

    fn hold(&mut self, now: Instant, pair: CandidatePair, prio: u32, packet: &[u8]) {
        self.pairs.request(now, pair, prio);
        let held = Held {
            pair,
            packet: packet.to_vec(),
        };
        if let Some(other) = self.held.iter_mut().find(|other| other.pair == pair) {
            *other = held;
        } else if self.held.len() < limits::HELD_CHECKS {
            self.held.push(held);
        }
    }

    fn request(
        &mut self,
        now: Instant,
        pair: CandidatePair,
        message: &StunMessage<'_>,
        out: &mut VecDeque<Transmit>,
    ) {
        if !self.pairs.contains(pair) && !self.is_remote_candidate(pair) {
            if self.reflexive >= limits::PEER_REFLEXIVE {
                return;
            }
            self.reflexive += 1;
        }
        let controlling = self.agent.controlling();
        let claims_our_role = if controlling {
            message.ice_controlling().is_some()
        } else {
            message.ice_controlled().is_some()
        };
        let priority = message.prio().unwrap_or_default();
        let taken_up = self.take_up_again(pair, priority);
        if taken_up || claims_our_role || !self.pairs.contains(pair) {
            self.consent.stir(now);
        }
        if self.consent.is_quiet() {
            let answer = stun::success(message.trans_id(), pair.remote, &self.local.pwd);
            out.extend(answer.map(|bytes| transmit(pair, bytes)));
        } else {
            self.agent.handle_packet(now, stun_packet(pair, *message));
            if claims_our_role && controlling == self.agent.controlling() {
                return;
            }
        }
        self.pairs.request(now, pair, priority);
        if message.use_candidate() && !self.agent.controlling() {
            self.pairs.nominate(now, pair);
            if self.pairs.awaits_consent(now, pair) {
                self.consent.stir(now);
            }
        }
    }

    /// An answer counts only where the check went (RFC 8445 7.2.5.2.1).
    fn response(&mut self, now: Instant, pair: CandidatePair, message: &StunMessage<'_>) {
        let id = message.trans_id();
        let Some(index) = self
            .checks
            .iter()
            .position(|check| check.id == id && check.pair == pair)
        else {
            return;
        };
        let Some(check) = self.checks.remove(index) else {
            return;
        };
        // It does not know those that were sent here.
        self.agent.handle_packet(now, stun_packet(pair, *message));
        if message.is_successful_binding_response() {
            let rtt = now.duration_since(check.at);
            self.pairs.validate(now, pair, Some(rtt));
            self.consent.answered(pair);
        }
    }

    /// Gives the selected pair up when we control, it is silent, and another one is not: the peer
    /// moved and cannot tell us but by its checks.
    fn abandon_dead(&mut self, now: Instant) {
        let Some(selected) = self.pairs.selected() else {
            return;
        };
        let silent = self
            .pairs
            .heard(selected)
            .is_none_or(|heard| now.duration_since(heard) >= ABANDON_AFTER);
        let checked = self
            .consent
            .checking_all()
            .is_some_and(|since| now.duration_since(since) >= ABANDON_CHECKED);
        if !self.agent.controlling() || !silent || !checked {
            return;
        }
        let alternative = self.pairs.alternative(now, ALIVE_WITHIN);
        if alternative.is_none_or(|pair| pair.remote == selected.remote) {
            return;
        }
        let key = (selected.remote, selected.protocol);
        let dead: Vec<Candidate> = self
            .agent
            .remote_candidates()
            .filter(|c| c.addr() == key.0 && c.proto() == to_is(key.1))
            .collect();
        for candidate in &dead {
            self.agent.invalidate_candidate(candidate);
        }
        if !dead.is_empty() && self.abandoned.len() < limits::PAIRS {
            self.abandoned.push(key);
            // The agent reconsiders its nomination when its timer runs.
            self.agent.handle_timeout(now);
        }
    }

    /// Whether it had been abandoned.
    fn take_up_again(&mut self, pair: CandidatePair, priority: u32) -> bool {
        let key = (pair.remote, pair.protocol);
        let Some(index) = self.abandoned.iter().position(|other| *other == key) else {
            return false;
        };
        self.abandoned.swap_remove(index);
        self.agent.add_remote_candidate(Candidate::from_parts(
            "again".to_owned(),
            1,
            to_is(pair.protocol),
            priority,
            pair.remote,
            CandidateKind::Host,
            None,
            None,
            None,
        ));
        true
    }

    /// Whether the agent knows the pair's remote address, so that a check from there adds none.
    fn is_remote_candidate(&self, pair: CandidatePair) -> bool {
        self.agent
            .remote_candidates()
            .any(|c| c.addr() == pair.remote && c.proto() == to_is(pair.protocol))
    }

    /// Does what is due: by the agent while all pairs are checked, otherwise here.
    fn run(&mut self, now: Instant, out: &mut VecDeque<Transmit>) {
        let Some(remote) = &self.remote else { return };
        self.consent.update(now, self.pairs.selected());
        if !self.consent.is_quiet() {
            self.agent.handle_timeout(now);
            self.abandon_dead(now);
        } else if let Some((pair, check)) = self.consent.due(now) {
            let id = TransId::new();
            let username = format!("{}:{}", remote.ufrag, self.local.ufrag);
            if let Some(bytes) = check.request(id, &username, &remote.pwd) {
                out.push_back(transmit(pair, bytes));
                self.sent(now, id, pair, check);
            }
        }
        self.collect(now, out);
    }

    fn sent(&mut self, now: Instant, id: TransId, pair: CandidatePair, check: Check) {
        if self.checks.len() >= limits::OUTSTANDING_CHECKS {
            self.checks.pop_front();
        }
        self.checks.push_back(Sent { id, pair, at: now });
        self.consent.sent(now, pair, check);
    }

    /// Moves the agent's datagrams and events to where they belong.
    fn collect(&mut self, now: Instant, out: &mut VecDeque<Transmit>) {
        while let Some(datagram) = self.agent.poll_transmit() {
            let bytes: Vec<u8> = datagram.contents.into();
            let pair = CandidatePair {
                local: datagram.source,
                remote: datagram.destination,
                protocol: from_is(datagram.proto),
            };
            if let Some(message) = stun::parse(&bytes)
                && message.is_binding_request()
                && let Some(check) = Check::of(&message)
            {
                self.sent(now, message.trans_id(), pair, check);
            }
            out.push_back(transmit(pair, bytes));
        }
        while let Some(event) = self.agent.poll_event() {
            if let IceAgentEvent::NominatedSend {
                proto,
                source,
                destination,
            } = event
                && self.agent.controlling()
            {
                let pair = CandidatePair {
                    local: source,
                    remote: destination,
                    protocol: from_is(proto),
                };
                self.pairs.select(now, pair);
            }
        }
    }
}

impl Agent for FullAgent {
    fn local(&self) -> &IceCredentials {
        &self.local
    }

    fn set_local(&mut self, credentials: IceCredentials) {
        self.agent.set_local_credentials(creds(&credentials));
        self.local = credentials;
    }

    fn remote(&self) -> Option<&IceCredentials> {
        self.remote.as_ref()
    }

    fn set_remote(
        &mut self,
        now: Instant,
        credentials: IceCredentials,
        out: &mut VecDeque<Transmit>,
    ) {
        self.agent.set_remote_credentials(creds(&credentials));
        self.remote = Some(credentials);
        self.agent.handle_timeout(now);
        for held in std::mem::take(&mut self.held) {
            if let Some(message) = stun::parse(&held.packet)
                && self.accepts(&message)
            {
                self.handle(now, held.pair, &message, &held.packet, out);
            }
        }
        self.collect(now, out);
    }

    fn add_remote_candidate(
        &mut self,
        now: Instant,
        candidate: &RemoteCandidate,
        out: &mut VecDeque<Transmit>,
    ) {
        let ip = candidate.addr.ip();
        // A check toward ourselves is a port scan unless we are meant to be reached that way.
        let useless = candidate.protocol != Protocol::Udp
            || candidate.addr.port() == 0
            || ip.is_unspecified()
            || ip.is_multicast()
            || (ip.is_loopback() && !self.has_loopback);
        if useless || self.remote_candidates >= limits::REMOTE_CANDIDATES {
            return;
        }
        self.remote_candidates += 1;
        let kind = match candidate.kind.as_str() {
            "srflx" => CandidateKind::ServerReflexive,
            "prflx" => CandidateKind::PeerReflexive,
            "relay" => CandidateKind::Relayed,
            _ => CandidateKind::Host,
        };
        self.agent.add_remote_candidate(Candidate::from_parts(
            candidate.foundation.chars().take(32).collect(),
            1,
            to_is(candidate.protocol),
            candidate.priority,
            candidate.addr,
            kind,
            None,
            None,
            None,
        ));
        self.consent.stir(now);
        if self.remote.is_some() && self.remote_candidates <= EAGER {
            self.agent.handle_timeout(now);
        }
        self.collect(now, out);
    }

    fn pairs(&self) -> &Pairs {
        &self.pairs
    }

    fn controlling(&self) -> bool {
        self.agent.controlling()
    }

    fn accepts(&self, message: &StunMessage<'_>) -> bool {
        if message.is_binding_request() {
            return accepts_request(message, &self.local, self.remote.as_ref());
        }
        let asked = |check: &Sent| check.id == message.trans_id();
        self.remote.as_ref().is_some_and(|remote| {
            self.checks.iter().any(asked) && message.verify(remote.pwd.as_bytes(), stun::hmac)
        })
    }

    fn handle(
        &mut self,
        now: Instant,
        pair: CandidatePair,
        message: &StunMessage<'_>,
        packet: &[u8],
        out: &mut VecDeque<Transmit>,
    ) {
        if !message.is_binding_request() {
            self.response(now, pair, message);
        } else if self.remote.is_none() {
            self.hold(now, pair, message.prio().unwrap_or_default(), packet);
        } else {
            self.request(now, pair, message, out);
        }
        // Sends the triggered check (RFC 8445 7.3.1.4).
        self.run(now, out);
    }

    fn handle_timeout(&mut self, now: Instant, out: &mut VecDeque<Transmit>) {
        self.pairs.prune(now);
        self.run(now, out);
    }

    fn next_timeout(&mut self) -> Option<Instant> {
        self.remote.as_ref()?;
        if self.consent.is_quiet() {
            self.consent.next_timeout()
        } else {
            self.agent.poll_timeout()
        }
    }
}

fn transmit(pair: CandidatePair, bytes: Vec<u8>) -> Transmit {
    Transmit {
        protocol: pair.protocol,
        local: pair.local,
        remote: pair.remote,
        bytes,
    }
}

fn stun_packet(pair: CandidatePair, message: StunMessage<'_>) -> StunPacket<'_> {
    StunPacket {
        proto: to_is(pair.protocol),
        source: pair.remote,
        destination: pair.local,
        message,
    }
}

fn creds(credentials: &IceCredentials) -> IceCreds {
    IceCreds {
        ufrag: credentials.ufrag.clone(),
        pass: credentials.pwd.clone(),
    }
}

fn to_is(protocol: Protocol) -> is::Protocol {
    match protocol {
        Protocol::Udp => is::Protocol::Udp,
        Protocol::Tcp => is::Protocol::Tcp,
    }
}

fn from_is(protocol: is::Protocol) -> Protocol {
    match protocol {
        is::Protocol::Udp => Protocol::Udp,
        _ => Protocol::Tcp,
    }
}
