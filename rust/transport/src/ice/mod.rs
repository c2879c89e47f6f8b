//! ICE of one transport: generations, the selected pair, consent (RFC 8445, RFC 7675).
//!
//! A restart begins a new generation, an agent with credentials of its own. The one before it goes
//! on working, so that packets keep flowing, until the new one has selected a pair.
//!
//! | module | what |
//! |---|---|
//! | `agent` | a generation, and what the kinds of agent have in common |
//! | `full`, `lite` | the two kinds; `remotes`, `keepalive`, `early` and `convert` belong to `full` |
//! | `pairs` | what one generation knows of each pair, and which it selects: where to *send* |
//! | `paths` | on which paths the peer proved itself: from where to *receive*, and consent |
//! | `transactions` | what makes copies of a check worthless |
//! | `targets` | where no check goes |
//!
//! An authentic request proves that its sender has seen a check of the peer's, no more. A path is
//! valid once the peer answered our own check there or, for a lite agent, which makes none, once a
//! check arrived that is no copy.

mod agent;
mod convert;
mod early;
mod full;
mod keepalive;
mod lite;
mod pairs;
mod paths;
mod remotes;
#[cfg(test)]
mod sparse_tests;
mod targets;
#[cfg(test)]
mod tests;
mod transactions;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use self::agent::{Agent, Generation, Handled};
use self::paths::Paths;
use self::targets::Targets;
use crate::limits;
use crate::stun::{self, Message};
use crate::types::{
    CandidatePair, IceCredentials, RemoteCandidate, SourceError, StunOutcome, Transmit,
    TransportConfig, TransportError,
};

/// RTCIceTransportState (W3C webrtc-pc), without what needs gathering.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IceState {
    /// The remote parameters are not known.
    New,
    /// Looking for a pair that works.
    Checking,
    /// A pair is selected and the peer consents.
    Connected,
    /// Nothing was heard on the selected pair for a while.
    Disconnected,
    /// Given up, until a restart.
    Failed,
}

/// A change to report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IceChange {
    pub(crate) state: IceState,
    pub(crate) pair: Option<CandidatePair>,
}

pub(crate) struct Ice {
    config: TransportConfig,
    targets: Targets,
    current: Generation,
    /// The generation that carries the traffic while the current one has no pair.
    previous: Option<Generation>,
    paths: Paths,
    /// The current generation was begun by new remote credentials under the local ones of the
    /// generation before; the local half of the restart is still to come.
    local_half_missing: bool,
    /// When the current generation began to check.
    started: Instant,
    reported: IceChange,
    pub(crate) transmits: VecDeque<Transmit>,
    pub(crate) changes: VecDeque<IceChange>,
}

impl Ice {
    pub(crate) fn new(config: TransportConfig, now: Instant) -> Self {
        let local = config.local_ice.clone();
        let current = Generation::new(now, &config, local, config.controlling);
        Ice {
            targets: Targets::new(&config.local_candidates),
            config,
            current,
            previous: None,
            paths: Paths::default(),
            local_half_missing: false,
            started: now,
            reported: IceChange {
                state: IceState::New,
                pair: None,
            },
            transmits: VecDeque::new(),
            changes: VecDeque::new(),
        }
    }

    /// The pair to send on.
    pub(crate) fn selected(&self) -> Option<CandidatePair> {
        self.reported.pair
    }

    pub(crate) fn rtt(&self) -> Option<Duration> {
        let pair = self.selected()?;
        self.agents().find_map(|agent| agent.pairs().rtt(pair))
    }

    /// Whether what comes on `pair`, other than STUN, may be looked at.
    ///
    /// # Errors
    /// Why not.
    #[inline]
    pub(crate) fn check_source(
        &self,
        now: Instant,
        pair: CandidatePair,
    ) -> Result<(), SourceError> {
        if self.reported.pair == Some(pair) {
            return Ok(());
        }
        self.paths.check(now, pair)
    }

    /// Whether the peer asked on `pair`, so that an answer to a check of ours may be on its way.
    pub(crate) fn is_checking(&self, pair: CandidatePair) -> bool {
        self.reported.state != IceState::Failed
            && self.agents().any(|agent| agent.pairs().contains(pair))
    }

    /// The paths on which the peer has proved itself, the most recently used first.
    pub(crate) fn paths(&self) -> impl Iterator<Item = CandidatePair> {
        self.paths.iter()
    }

    /// Something that only the peer can have sent came on `pair`, not STUN. Says whether there are
    /// changes to report.
    #[inline]
    pub(crate) fn receive(&mut self, now: Instant, pair: CandidatePair) -> bool {
        if !self.paths.receive(now, pair) {
            return false;
        }
        self.refresh(now);
        !self.changes.is_empty()
    }

    pub(crate) fn local_ufrags(&self) -> impl Iterator<Item = &str> {
        self.agents().map(|agent| agent.local().ufrag.as_str())
    }

    pub(crate) fn set_remote(
        &mut self,
        now: Instant,
        credentials: IceCredentials,
    ) -> Result<(), TransportError> {
        self.check(&credentials, self.current.agent.local())?;
        match self.current.agent.remote() {
            Some(known) if *known == credentials => return Ok(()),
            Some(_) => {
                let local = self.current.agent.local().clone();
                self.begin_generation(now, local);
                self.local_half_missing = true;
            }
            None => self.local_half_missing = false,
        }
        self.started = now;
        let agent = &mut self.current.agent;
        agent.set_remote(now, credentials, &mut self.transmits);
        for (pair, packet) in agent.take_early_checks() {
            self.handle_stun(now, pair, &packet);
        }
        self.refresh(now);
        Ok(())
    }

    pub(crate) fn restart(
        &mut self,
        now: Instant,
        local: IceCredentials,
    ) -> Result<(), TransportError> {
        if local == *self.current.agent.local() {
            return Ok(());
        }
        let remote = self
            .current
            .agent
            .remote()
            .cloned()
            .unwrap_or(IceCredentials {
                ufrag: "x".to_owned(),
                pwd: "x".to_owned(),
            });
        self.check(&remote, &local)?;
        if self.local_half_missing {
            self.current.agent.set_local(local);
            self.local_half_missing = false;
        } else {
            self.begin_generation(now, local);
        }
        self.refresh(now);
        Ok(())
    }

    pub(crate) fn add_remote_candidate(&mut self, now: Instant, candidate: &RemoteCandidate) {
        if self.reported.state != IceState::Failed && self.targets.allow_signalled(candidate.addr) {
            let agent = &mut self.current.agent;
            agent.add_remote_candidate(now, candidate, &mut self.transmits);
        }
    }

    pub(crate) fn accepts(&self, packet: &[u8]) -> bool {
        self.reported.state != IceState::Failed
            && Message::parse(packet)
                .is_some_and(|message| self.agents().any(|agent| agent.accepts(&message)))
    }

    pub(crate) fn handle_stun(
        &mut self,
        now: Instant,
        pair: CandidatePair,
        packet: &[u8],
    ) -> StunOutcome {
        if self.reported.state == IceState::Failed || !self.targets.allow(pair.remote) {
            return StunOutcome::Refused;
        }
        let Some(message) = Message::parse(packet) else {
            return StunOutcome::Refused;
        };
        let is_valid_path = self.check_source(now, pair).is_ok();
        let generation = std::iter::once(&mut self.current)
            .chain(self.previous.as_mut())
            .find(|generation| generation.agent.accepts(&message));
        let Some(Generation {
            agent,
            transactions,
        }) = generation
        else {
            return StunOutcome::Refused;
        };
        let id = message.trans_id();
        let out = &mut self.transmits;
        let unknown = message.unknown_attributes();
        if message.is_binding_request() && !unknown.is_empty() {
            let answer = stun::unknown_attributes(id, unknown, &agent.local().pwd);
            out.extend(answer.map(|bytes| Transmit::on(pair, bytes)));
            return StunOutcome::Ignored;
        }
        if message.is_binding_request() && transactions.contains(id) {
            let answer = stun::success(id, pair.remote, &agent.local().pwd);
            out.extend(answer.map(|bytes| Transmit::on(pair, bytes)));
            return StunOutcome::Ignored;
        }
        let handled = agent.handle(now, pair, is_valid_path, &message, packet, out);
        if message.is_binding_request() && matches!(handled, Handled::Heard | Handled::Consented) {
            transactions.insert(id);
        }
        match handled {
            Handled::Ignored => {}
            Handled::Queued => return StunOutcome::Accepted,
            Handled::Heard => self.paths.hear(now, pair),
            Handled::Consented => self.paths.consent(now, pair, self.reported.pair),
        }
        self.refresh(now);
        match handled {
            Handled::Ignored => StunOutcome::Ignored,
            _ => StunOutcome::Accepted,
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.reported.state == IceState::Failed {
            return;
        }
        for generation in std::iter::once(&mut self.current).chain(&mut self.previous) {
            generation.agent.handle_timeout(now, &mut self.transmits);
        }
        self.refresh(now);
    }

    pub(crate) fn next_timeout(&mut self) -> Option<Instant> {
        if self.reported.state == IceState::Failed {
            return None;
        }
        let deadline = self.deadline();
        std::iter::once(&mut self.current)
            .chain(&mut self.previous)
            .filter_map(|generation| generation.agent.next_timeout())
            .chain(deadline)
            .min()
    }

    fn agents(&self) -> impl Iterator<Item = &dyn Agent> {
        std::iter::once(&self.current)
            .chain(&self.previous)
            .map(|generation| &*generation.agent)
    }

    fn check(&self, remote: &IceCredentials, local: &IceCredentials) -> Result<(), TransportError> {
        let fits = |text: &str| (1..=limits::ICE_CREDENTIAL_MAX).contains(&text.len());
        let all = [&remote.ufrag, &remote.pwd, &local.ufrag, &local.pwd];
        let username = remote.ufrag.len() + 1 + local.ufrag.len();
        if all.into_iter().all(|text| fits(text))
            && (self.config.ice_lite || username <= limits::ICE_USERNAME_MAX)
        {
            Ok(())
        } else {
            Err(TransportError::IceCredentials)
        }
    }

    fn begin_generation(&mut self, now: Instant, local: IceCredentials) {
        let controlling = self.current.agent.controlling();
        let generation = Generation::new(now, &self.config, local, controlling);
        let last = std::mem::replace(&mut self.current, generation);
        if self.reported.state == IceState::Failed {
            self.previous = None;
        } else if last.agent.pairs().selected().is_some() {
            self.previous = Some(last);
        }
        self.local_half_missing = false;
        self.started = now;
        if self.reported.state == IceState::Failed {
            self.report(IceState::Checking, None);
        }
    }

    /// Brings the selected pair and the state up to date.
    fn refresh(&mut self, now: Instant) {
        if self.reported.state == IceState::Failed {
            return;
        }
        let moved_on =
            self.current.agent.pairs().selected().is_some() && self.previous.take().is_some();
        let mut pair = self.agents().find_map(|agent| agent.pairs().selected());
        let mut has_consent = pair.is_none_or(|pair| now < self.consent_ends(pair));
        if !has_consent && self.previous.take().is_some() {
            // Nothing may be sent there any more, but the restart goes on.
            (pair, has_consent) = (None, true);
        }
        let state = if has_consent {
            self.state_at(now, pair)
        } else {
            IceState::Failed
        };
        if state == IceState::Failed {
            self.previous = None;
            self.paths.clear();
            self.report(state, None);
        } else if moved_on || (IceChange { state, pair }) != self.reported {
            self.report(state, pair);
        }
    }

    fn report(&mut self, state: IceState, pair: Option<CandidatePair>) {
        self.reported = IceChange { state, pair };
        self.changes.push_back(self.reported);
    }

    /// When something authentic was last received on the selected pair.
    fn received(&self, pair: CandidatePair) -> Instant {
        self.paths.received(pair).unwrap_or(self.started)
    }

    /// When sending on the selected pair has to stop unless an answer comes (RFC 7675 5.1). A restart
    /// does not put it off.
    fn consent_ends(&self, pair: CandidatePair) -> Instant {
        let asked = |agent: &dyn Agent| agent.pairs().consented(pair);
        let consented = self.paths.consented(pair);
        let consented = consented.or_else(|| self.agents().find_map(asked));
        consented.unwrap_or(self.started) + limits::CONSENT_EXPIRY
    }

    fn state_at(&self, now: Instant, pair: Option<CandidatePair>) -> IceState {
        let give_up = self.config.disconnected_after + self.config.failed_after;
        let running = now.saturating_duration_since(self.started);
        let Some(pair) = pair else {
            return match (self.current.agent.remote(), self.reported.state) {
                (None, IceState::New) => IceState::New,
                (Some(_), _) if running >= give_up => IceState::Failed,
                _ => IceState::Checking,
            };
        };
        let silent = now.saturating_duration_since(self.received(pair));
        if silent.min(running) >= give_up {
            IceState::Failed
        } else if silent >= self.config.disconnected_after {
            IceState::Disconnected
        } else {
            IceState::Connected
        }
    }

    /// When the state changes by itself.
    fn deadline(&self) -> Option<Instant> {
        let give_up = self.config.disconnected_after + self.config.failed_after;
        let Some(pair) = self.reported.pair else {
            let is_waiting =
                self.reported.state == IceState::Checking && self.current.agent.remote().is_some();
            return is_waiting.then_some(self.started + give_up);
        };
        let silence_ends = if self.reported.state == IceState::Connected {
            self.received(pair) + self.config.disconnected_after
        } else {
            self.received(pair).max(self.started) + give_up
        };
        Some(silence_ends.min(self.consent_ends(pair)))
    }
}
