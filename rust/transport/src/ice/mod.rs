//! ICE of one transport: generations, the selected pair, consent (RFC 8445, RFC 7675).
//!
//! A restart begins a new generation, an agent with credentials of its own. The one before it goes
//! on working, so that packets keep flowing, until the new one has selected a pair.

mod consent;
mod full;
mod lite;
mod pairs;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use is::stun::StunMessage;

use self::full::FullAgent;
use self::lite::LiteAgent;
use self::pairs::Pairs;
use crate::limits;
use crate::stun;
use crate::types::{
    CandidatePair, IceCredentials, RemoteCandidate, Transmit, TransportConfig, TransportError,
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

/// One generation of ICE, full or lite.
pub(crate) trait Agent: Send {
    fn local(&self) -> &IceCredentials;
    /// Changes the local credentials before anything was heard with them.
    fn set_local(&mut self, credentials: IceCredentials);
    fn remote(&self) -> Option<&IceCredentials>;
    fn set_remote(
        &mut self,
        now: Instant,
        credentials: IceCredentials,
        out: &mut VecDeque<Transmit>,
    );
    fn add_remote_candidate(
        &mut self,
        now: Instant,
        candidate: &RemoteCandidate,
        out: &mut VecDeque<Transmit>,
    );
    fn pairs(&self) -> &Pairs;
    fn controlling(&self) -> bool;
    /// Whether the message is for this generation and its MESSAGE-INTEGRITY is right.
    fn accepts(&self, message: &StunMessage<'_>) -> bool;
    /// Acts on an accepted message.
    fn handle(
        &mut self,
        now: Instant,
        pair: CandidatePair,
        message: &StunMessage<'_>,
        packet: &[u8],
        out: &mut VecDeque<Transmit>,
    );
    fn handle_timeout(&mut self, now: Instant, out: &mut VecDeque<Transmit>);
    fn next_timeout(&mut self) -> Option<Instant>;
}

/// A change to report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IceChange {
    pub(crate) state: IceState,
    pub(crate) pair: Option<CandidatePair>,
}

pub(crate) struct Ice {
    config: TransportConfig,
    current: Box<dyn Agent>,
    /// The generation that carries the traffic while the current one has no pair.
    previous: Option<Box<dyn Agent>>,
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
        let current = new_agent(now, &config, config.local_ice.clone(), config.controlling);
        Ice {
            config,
            current,
            previous: None,
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

    pub(crate) fn is_valid_source(&self, remote: SocketAddr) -> bool {
        self.reported.state != IceState::Failed
            && self.agents().any(|agent| agent.pairs().has_remote(remote))
    }

    pub(crate) fn local_ufrags(&self) -> impl Iterator<Item = &str> {
        self.agents().map(|agent| agent.local().ufrag.as_str())
    }

    pub(crate) fn set_remote(
        &mut self,
        now: Instant,
        credentials: IceCredentials,
    ) -> Result<(), TransportError> {
        self.check(&credentials, self.current.local())?;
        match self.current.remote() {
            Some(known) if *known == credentials => return Ok(()),
            Some(_) => {
                let local = self.current.local().clone();
                self.begin_generation(now, local);
                self.local_half_missing = true;
            }
            None => self.local_half_missing = false,
        }
        self.started = now;
        self.current
            .set_remote(now, credentials, &mut self.transmits);
        self.refresh(now);
        Ok(())
    }

    pub(crate) fn restart(
        &mut self,
        now: Instant,
        local: IceCredentials,
    ) -> Result<(), TransportError> {
        if local == *self.current.local() {
            return Ok(());
        }
        let remote = self.current.remote().cloned().unwrap_or(IceCredentials {
            ufrag: "x".to_owned(),
            pwd: "x".to_owned(),
        });
        self.check(&remote, &local)?;
        if self.local_half_missing {
            self.current.set_local(local);
            self.local_half_missing = false;
        } else {
            self.begin_generation(now, local);
        }
        self.refresh(now);
        Ok(())
    }

    pub(crate) fn add_remote_candidate(&mut self, now: Instant, candidate: &RemoteCandidate) {
        if self.reported.state != IceState::Failed {
            self.current
                .add_remote_candidate(now, candidate, &mut self.transmits);
        }
    }

    pub(crate) fn accepts(&self, packet: &[u8]) -> bool {
        self.reported.state != IceState::Failed
            && stun::parse(packet)
                .is_some_and(|message| self.agents().any(|agent| agent.accepts(&message)))
    }

    /// Returns whether the message was accepted.
    pub(crate) fn handle_stun(&mut self, now: Instant, pair: CandidatePair, packet: &[u8]) -> bool {
        if self.reported.state == IceState::Failed {
            return false;
        }
        let Some(message) = stun::parse(packet) else {
            return false;
        };
        let agent = std::iter::once(&mut self.current)
            .chain(self.previous.as_mut())
            .find(|agent| agent.accepts(&message));
        let Some(agent) = agent else { return false };
        agent.handle(now, pair, &message, packet, &mut self.transmits);
        self.refresh(now);
        true
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.reported.state == IceState::Failed {
            return;
        }
        self.current.handle_timeout(now, &mut self.transmits);
        if let Some(previous) = &mut self.previous {
            previous.handle_timeout(now, &mut self.transmits);
        }
        self.refresh(now);
    }

    pub(crate) fn next_timeout(&mut self) -> Option<Instant> {
        if self.reported.state == IceState::Failed {
            return None;
        }
        let previous = self.previous.as_mut().and_then(|p| p.next_timeout());
        [self.current.next_timeout(), previous, self.deadline()]
            .into_iter()
            .flatten()
            .min()
    }

    fn agents(&self) -> impl Iterator<Item = &Box<dyn Agent>> {
        std::iter::once(&self.current).chain(&self.previous)
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
        let agent = new_agent(now, &self.config, local, self.current.controlling());
        let last = std::mem::replace(&mut self.current, agent);
        if self.reported.state == IceState::Failed {
            self.previous = None;
        } else if last.pairs().selected().is_some() {
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
        let moved_on = self.current.pairs().selected().is_some() && self.previous.take().is_some();
        let pair = self.agents().find_map(|agent| agent.pairs().selected());
        let state = self.state_at(now, pair);
        if state == IceState::Failed {
            self.previous = None;
            self.report(state, None);
        } else if moved_on || (IceChange { state, pair }) != self.reported {
            self.report(state, pair);
        }
    }

    fn report(&mut self, state: IceState, pair: Option<CandidatePair>) {
        self.reported = IceChange { state, pair };
        self.changes.push_back(self.reported);
    }

    /// When the peer last consented on `pair`.
    fn heard(&self, pair: CandidatePair) -> Instant {
        self.agents()
            .filter_map(|agent| agent.pairs().heard(pair))
            .max()
            .unwrap_or(self.started)
    }

    fn state_at(&self, now: Instant, pair: Option<CandidatePair>) -> IceState {
        let give_up = self.config.disconnected_after + self.config.failed_after;
        let running = now.saturating_duration_since(self.started);
        let Some(pair) = pair else {
            return match (self.current.remote(), self.reported.state) {
                (None, IceState::New) => IceState::New,
                (Some(_), _) if running >= give_up => IceState::Failed,
                _ => IceState::Checking,
            };
        };
        let silent = now.saturating_duration_since(self.heard(pair));
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
        match (self.reported.pair, self.reported.state) {
            (Some(pair), IceState::Connected) => {
                Some(self.heard(pair) + self.config.disconnected_after)
            }
            (Some(pair), _) => Some(self.heard(pair).max(self.started) + give_up),
            (None, IceState::Checking) if self.current.remote().is_some() => {
                Some(self.started + give_up)
            }
            (None, _) => None,
        }
    }
}

/// Whether a Binding request is for the agent with these credentials (RFC 8445 7.3).
fn accepts_request(
    message: &StunMessage<'_>,
    local: &IceCredentials,
    remote: Option<&IceCredentials>,
) -> bool {
    let Some((ours, theirs)) = message.split_username() else {
        return false;
    };
    ours == local.ufrag
        && remote.is_none_or(|remote| theirs == remote.ufrag)
        && message.verify(local.pwd.as_bytes(), stun::hmac)
}

fn new_agent(
    now: Instant,
    config: &TransportConfig,
    local: IceCredentials,
    controlling: bool,
) -> Box<dyn Agent> {
    if config.ice_lite {
        Box::new(LiteAgent::new(local))
    } else {
        let candidates = &config.local_candidates;
        Box::new(FullAgent::new(now, local, candidates, controlling))
    }
}
