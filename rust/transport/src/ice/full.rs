//! The full agent: the `is` crate forms pairs, makes checks and answers; which pair is selected,
//! what is bounded and what is let through is decided here.
//!
//! Most of a transport's life nothing changes. Then the `is` agent sleeps, and the checks of the
//! selected pair and the answers to the peer's are made here (see [`super::keepalive`]).

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use is::stun::{StunMessage, TransId};
use is::{IceAgent, IceAgentEvent};

use super::agent::{Agent, Handled, accepts_request};
use super::convert::{
    PRFLX_PRIORITY, complete, complete_answer, creds, from_is, new_agent, stun_packet,
};
use super::early::EarlyChecks;
use super::keepalive::Keepalive;
use super::pairs::Pairs;
use super::remotes::Remotes;
use crate::limits;
use crate::stun::{self, Check, Message};
use crate::types::{
    CandidatePair, IceCredentials, LocalCandidate, Protocol, RemoteCandidate, Transmit,
};

/// Longest time between two checks of a pair that works: LiveKit's keepalive.
pub(super) const KEEPALIVE: Duration = Duration::from_secs(2);
/// When we control and nothing was heard on the selected pair for this long, any pair that is
/// alive is better.
const ABANDON_AFTER: Duration = Duration::from_secs(4);
/// And not before all pairs have been checked for this long: a pair that was not asked is silent.
const ABANDON_CHECKED: Duration = KEEPALIVE;
/// A pair is alive when it was heard within this time (one keepalive and some).
const ALIVE_WITHIN: Duration = Duration::from_millis(2_500);
/// The first remote candidates are checked at once, the others at the agent's pace (20 per second).
const EAGER: usize = 4;

/// Between checks back on a pair on which the peer asks and does not answer: shorter than libwebrtc waits
/// before it asks again (48 ms), so that what was lost is made good by its next check.
const CHECK_BACK_INTERVAL: Duration = Duration::from_millis(40);

/// One of our checks that waits for its answer.
struct Sent {
    id: TransId,
    pair: CandidatePair,
    at: Instant,
    /// The peer had been heard on the pair before. What went to it earlier a NAT of the peer may have
    /// dropped.
    heard: bool,
}

pub(crate) struct FullAgent {
    agent: IceAgent,
    /// The last check that was sent.
    last_check: Option<Check>,
    local: IceCredentials,
    local_candidates: Vec<LocalCandidate>,
    remote: Option<IceCredentials>,
    remotes: Remotes,
    pairs: Pairs,
    keepalive: Keepalive,
    checks: VecDeque<Sent>,
    early_checks: EarlyChecks,
    /// Addresses of ours that peers said to see and that are none of our candidates; the agent keeps
    /// each of them.
    mapped: Vec<SocketAddr>,
}

impl FullAgent {
    pub(crate) fn new(
        now: Instant,
        local: IceCredentials,
        candidates: &[LocalCandidate],
        controlling: bool,
    ) -> Self {
        FullAgent {
            agent: new_agent(&local, candidates, controlling),
            last_check: None,
            local,
            local_candidates: candidates.to_vec(),
            remote: None,
            remotes: Remotes::default(),
            pairs: Pairs::new(false),
            keepalive: Keepalive::new(now),
            checks: VecDeque::new(),
            early_checks: EarlyChecks::default(),
            mapped: Vec::new(),
        }
    }

    fn request(
        &mut self,
        now: Instant,
        pair: CandidatePair,
        message: &Message<'_>,
        out: &mut VecDeque<Transmit>,
    ) -> Handled {
        let controlling = self.agent.controlling();
        let claims_our_role = if controlling {
            message.controlling().is_some()
        } else {
            message.controlled().is_some()
        };
        let priority = message.priority().unwrap_or(PRFLX_PRIORITY);
        let selected = self.pairs.selected();
        let is_new = self.remotes.meet(now, pair, priority, selected) || !self.pairs.contains(pair);
        if is_new || claims_our_role {
            self.keepalive.wake(now);
        }
        if self.keepalive.is_idle() {
            let answer = stun::success(message.trans_id(), pair.remote, &self.local.pwd);
            out.extend(answer.map(|bytes| Transmit::on(pair, bytes)));
        } else {
            let bytes = self.remote.as_ref().and_then(|remote| {
                let username = format!("{}:{}", self.local.ufrag, remote.ufrag);
                let check = complete(message, priority, !controlling);
                check.request(message.trans_id(), &username, &self.local.pwd)
            });
            self.hand_over(now, pair, bytes);
            if claims_our_role && controlling == self.agent.controlling() {
                return Handled::Ignored;
            }
        }
        self.pairs.request(now, pair, priority);
        if message.use_candidate() && !self.agent.controlling() {
            self.pairs.nominate(now, pair);
            if self.pairs.awaits_consent(now, pair) {
                self.keepalive.wake(now);
            }
        }
        Handled::Heard
    }

    /// An answer counts only where the check went (RFC 8445 7.2.5.2.1).
    fn response(&mut self, now: Instant, pair: CandidatePair, message: &Message<'_>) -> Handled {
        let id = message.trans_id();
        let Some(index) = self
            .checks
            .iter()
            .position(|check| check.id == id && check.pair == pair)
        else {
            return Handled::Ignored;
        };
        let Some(check) = self.checks.remove(index) else {
            return Handled::Ignored;
        };
        self.note_mapped(message);
        // It does not know those that were sent here.
        let remote = self.remote.as_ref();
        let bytes = remote.and_then(|remote| complete_answer(message, pair.local, &remote.pwd));
        self.hand_over(now, pair, bytes);
        if !message.is_successful_binding_response() {
            return Handled::Heard;
        }
        let rtt = now.duration_since(check.at);
        self.remotes.meet(now, pair, 0, self.pairs.selected());
        self.pairs.validate(now, pair, Some(rtt));
        self.keepalive.answered(pair);
        Handled::Consented
    }

    /// Tells the `is` agent what came, in its own words.
    fn hand_over(&mut self, now: Instant, pair: CandidatePair, bytes: Option<Vec<u8>>) {
        if let Some(message) = bytes.as_deref().and_then(|b| StunMessage::parse(b).ok()) {
            self.agent.handle_packet(now, stun_packet(pair, message));
        }
    }

    fn note_mapped(&mut self, answer: &Message<'_>) {
        if let Some(mapped) = answer.mapped_address()
            && !self.mapped.contains(&mapped)
            && !self.local_candidates.iter().any(|c| c.addr == mapped)
        {
            self.mapped.push(mapped);
        }
    }

    /// Makes the `is` agent anew when it holds too much that is of no use any more. The pairs and the
    /// selection are ours and stay.
    fn renew(&mut self, now: Instant) {
        if !self.remotes.are_too_many() && self.mapped.len() < limits::MAPPED_ADDRESSES {
            return;
        }
        let controlling = self.agent.controlling();
        let (local, candidates) = (&self.local, &self.local_candidates);
        let mut agent = new_agent(local, candidates, controlling);
        // It stays the same (RFC 8445 7.1.3).
        if let Some(check) = self.last_check {
            agent.set_control_tie_breaker(check.tie_breaker);
        }
        if let Some(remote) = &self.remote {
            agent.set_remote_credentials(creds(remote));
        }
        for candidate in self.remotes.renew() {
            agent.add_remote_candidate(candidate);
        }
        agent.handle_timeout(now);
        self.agent = agent;
        self.mapped.clear();
        self.keepalive.wake(now);
    }

    /// Gives the selected pair up when we control, it is silent, and another one is not: the peer
    /// moved and cannot tell us but by its checks.
    fn abandon_dead(&mut self, now: Instant, out: &mut VecDeque<Transmit>) {
        let Some(selected) = self.pairs.selected() else {
            return;
        };
        let silent = self
            .pairs
            .heard(selected)
            .is_none_or(|heard| now.duration_since(heard) >= ABANDON_AFTER);
        let checked = self
            .keepalive
            .checking_all()
            .is_some_and(|since| now.duration_since(since) >= ABANDON_CHECKED);
        if self.agent.controlling()
            && silent
            && checked
            && let Some(alternative) = self.pairs.alternative(now, ALIVE_WITHIN)
        {
            self.pairs.select(now, alternative);
            self.check_like_last(now, alternative, out);
        }
    }

    /// Does what is due: by the agent while all pairs are checked, otherwise here.
    fn run(&mut self, now: Instant, out: &mut VecDeque<Transmit>) {
        if self.remote.is_none() {
            return;
        }
        self.keepalive.update(now, self.pairs.selected());
        if !self.keepalive.is_idle() {
            self.agent.handle_timeout(now);
            self.abandon_dead(now, out);
        } else if let Some((pair, check)) = self.keepalive.due(now) {
            self.check(now, pair, check, out);
        }
        self.collect(now, out);
        self.renew(now);
    }

    /// Asks back on a pair on which the peer asks but on which nothing is received yet: DTLS and media
    /// may follow at once. Whether a check is on its way already does not matter (RFC 8445 7.3.1.4: it is
    /// made again) unless it is one of these.
    fn trigger_check(&mut self, now: Instant, pair: CandidatePair, out: &mut VecDeque<Transmit>) {
        let is_recent = |sent: &Sent| {
            sent.pair == pair && sent.heard && now.duration_since(sent.at) < CHECK_BACK_INTERVAL
        };
        if self.checks.iter().rev().any(is_recent) {
            return;
        }
        self.check_like_last(now, pair, out);
    }

    /// Nominates the first pair that works when we control. The agent does so itself, but for answers to
    /// checks that were sent here, of which it does not know.
    fn take_first(&mut self, now: Instant, pair: CandidatePair, out: &mut VecDeque<Transmit>) {
        if self.agent.controlling() && self.pairs.selected().is_none() {
            self.pairs.select(now, pair);
            self.check_like_last(now, pair, out);
        }
    }

    /// Sends a check of our own on `pair`, which nominates it if we have selected it.
    fn check_like_last(&mut self, now: Instant, pair: CandidatePair, out: &mut VecDeque<Transmit>) {
        if let Some(last) = self.last_check {
            let check = self.nominating(pair, last);
            self.check(now, pair, check, out);
        }
    }

    /// `check` as it is to be sent on `pair`. We nominate the pair that we selected and no other one
    /// (RFC 8445 8.1.1); `is` goes on nominating whatever it has nominated once, and the peer would
    /// keep to another pair than we do.
    fn nominating(&self, pair: CandidatePair, check: Check) -> Check {
        let controlling = self.agent.controlling();
        Check {
            controlling,
            nominates: controlling && self.pairs.selected() == Some(pair),
            ..check
        }
    }

    fn check(
        &mut self,
        now: Instant,
        pair: CandidatePair,
        check: Check,
        out: &mut VecDeque<Transmit>,
    ) {
        let id = TransId::new();
        if let Some(bytes) = self.encode(id, check) {
            out.push_back(Transmit::on(pair, bytes));
            self.sent(now, id, pair, check);
        }
    }

    fn encode(&self, id: TransId, check: Check) -> Option<Vec<u8>> {
        let remote = self.remote.as_ref()?;
        let username = format!("{}:{}", remote.ufrag, self.local.ufrag);
        check.request(id, &username, &remote.pwd)
    }

    fn sent(&mut self, now: Instant, id: TransId, pair: CandidatePair, check: Check) {
        if self.checks.len() >= limits::OUTSTANDING_CHECKS {
            self.checks.pop_front();
        }
        self.last_check = Some(check);
        self.checks.push_back(Sent {
            id,
            pair,
            at: now,
            heard: self.pairs.contains(pair),
        });
        self.keepalive.sent(now, pair, check);
    }

    /// Moves the agent's events and datagrams to where they belong.
    fn collect(&mut self, now: Instant, out: &mut VecDeque<Transmit>) {
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
                // Of pairs that did not answer for a while it knows nothing.
                if self.pairs.is_valid(now, pair) {
                    self.pairs.select(now, pair);
                }
            }
        }
        while let Some(datagram) = self.agent.poll_transmit() {
            let bytes: Vec<u8> = datagram.contents.into();
            let pair = CandidatePair {
                local: datagram.source,
                remote: datagram.destination,
                protocol: from_is(datagram.proto),
            };
            let check = Message::parse(&bytes)
                .filter(|message| message.is_binding_request())
                .and_then(|message| Some((message.trans_id(), Check::of(&message)?)));
            let bytes = match check {
                Some((id, check)) => self.send_check(now, pair, id, check, bytes),
                None => bytes,
            };
            out.push_back(Transmit::on(pair, bytes));
        }
    }

    /// Notes a check of the agent, and says with which bytes it is to be sent.
    fn send_check(
        &mut self,
        now: Instant,
        pair: CandidatePair,
        id: TransId,
        check: Check,
        bytes: Vec<u8>,
    ) -> Vec<u8> {
        let ours = self.nominating(pair, check);
        self.sent(now, id, pair, ours);
        if ours == check {
            return bytes;
        }
        self.encode(id, ours).unwrap_or(bytes)
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
        self.collect(now, out);
    }

    fn take_early_checks(&mut self) -> Vec<(CandidatePair, Vec<u8>)> {
        self.early_checks.take()
    }

    fn add_remote_candidate(
        &mut self,
        now: Instant,
        candidate: &RemoteCandidate,
        out: &mut VecDeque<Transmit>,
    ) {
        if candidate.protocol != Protocol::Udp {
            return;
        }
        let Some(candidate) = self.remotes.signal(now, candidate) else {
            return;
        };
        self.agent.add_remote_candidate(candidate);
        self.keepalive.wake(now);
        if self.remote.is_some() && self.remotes.signalled() <= EAGER {
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

    fn accepts(&self, message: &Message<'_>) -> bool {
        if message.is_binding_request() {
            return accepts_request(message, &self.local, self.remote.as_ref());
        }
        let asked = |check: &Sent| check.id == message.trans_id();
        self.remote
            .as_ref()
            .is_some_and(|remote| self.checks.iter().any(asked) && message.verify(&remote.pwd))
    }

    fn handle(
        &mut self,
        now: Instant,
        pair: CandidatePair,
        is_valid_path: bool,
        message: &Message<'_>,
        packet: &[u8],
        out: &mut VecDeque<Transmit>,
    ) -> Handled {
        let handled = if !message.is_binding_request() {
            self.response(now, pair, message)
        } else if self.remote.is_none() {
            let is_held = self.early_checks.hold(pair, message.trans_id(), packet);
            return if is_held {
                Handled::Queued
            } else {
                Handled::Ignored
            };
        } else {
            self.request(now, pair, message, out)
        };
        // The agent sends the triggered check (RFC 8445 7.3.1.4) if it is its turn.
        self.run(now, out);
        if handled == Handled::Consented {
            self.take_first(now, pair, out);
        }
        if handled == Handled::Heard && message.is_binding_request() && !is_valid_path {
            self.trigger_check(now, pair, out);
        }
        handled
    }

    fn handle_timeout(&mut self, now: Instant, out: &mut VecDeque<Transmit>) {
        self.pairs.prune(now);
        self.run(now, out);
    }

    fn next_timeout(&mut self) -> Option<Instant> {
        self.remote.as_ref()?;
        if self.keepalive.is_idle() {
            self.keepalive.next_timeout()
        } else {
            self.agent.poll_timeout()
        }
    }

    #[cfg(test)]
    fn assert_bounded(&self) {
        self.pairs.assert_bounded();
        self.remotes.assert_bounded();
        assert!(self.checks.len() <= limits::OUTSTANDING_CHECKS);
        self.early_checks.assert_bounded();
        assert!(self.mapped.len() < limits::MAPPED_ADDRESSES);
        let held = self.agent.remote_candidates().count();
        let most = limits::REMOTE_CANDIDATES + limits::PEER_REFLEXIVE + limits::FORGOTTEN_REMOTES;
        assert!(held <= most, "{held} remote candidates");
        let held = self.agent.local_candidates().count();
        let most = self.local_candidates.len() + limits::MAPPED_ADDRESSES;
        assert!(held <= most, "{held} local candidates");
    }
}
