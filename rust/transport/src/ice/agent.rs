//! What a full and a lite agent have in common.

use std::collections::VecDeque;
use std::time::Instant;

use super::full::FullAgent;
use super::lite::LiteAgent;
use super::pairs::Pairs;
use super::transactions::Transactions;
use crate::stun::Message;
use crate::types::{CandidatePair, IceCredentials, RemoteCandidate, Transmit, TransportConfig};

/// What followed from an accepted message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Handled {
    /// Nothing: an answer nobody waits for, or a request that is refused.
    Ignored,
    /// A request waits for the remote credentials.
    Queued,
    /// The peer is alive.
    Heard,
    /// The peer consents to be sent to on this pair.
    Consented,
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
    /// The requests that came before the remote credentials, oldest first.
    fn take_early_checks(&mut self) -> Vec<(CandidatePair, Vec<u8>)>;
    fn add_remote_candidate(
        &mut self,
        now: Instant,
        candidate: &RemoteCandidate,
        out: &mut VecDeque<Transmit>,
    );
    fn pairs(&self) -> &Pairs;
    fn controlling(&self) -> bool;
    /// Whether the message is for this generation and its MESSAGE-INTEGRITY is right.
    fn accepts(&self, message: &Message<'_>) -> bool;
    /// Acts on an accepted message. `is_valid_path`: what comes on `pair` is received already.
    fn handle(
        &mut self,
        now: Instant,
        pair: CandidatePair,
        is_valid_path: bool,
        message: &Message<'_>,
        packet: &[u8],
        out: &mut VecDeque<Transmit>,
    ) -> Handled;
    fn handle_timeout(&mut self, now: Instant, out: &mut VecDeque<Transmit>);
    fn next_timeout(&mut self) -> Option<Instant>;
    /// Whether all that it holds is within its limits.
    #[cfg(test)]
    fn assert_bounded(&self);
}

/// The agent of one generation, and what it has heard.
pub(super) struct Generation {
    pub(super) agent: Box<dyn Agent>,
    pub(super) transactions: Transactions,
}

impl Generation {
    pub(super) fn new(
        now: Instant,
        config: &TransportConfig,
        local: IceCredentials,
        controlling: bool,
    ) -> Self {
        let agent: Box<dyn Agent> = if config.ice_lite {
            Box::new(LiteAgent::new(local))
        } else {
            let candidates = &config.local_candidates;
            Box::new(FullAgent::new(now, local, candidates, controlling))
        };
        Generation {
            agent,
            transactions: Transactions::default(),
        }
    }
}

/// Whether a Binding request is for the agent with these credentials (RFC 8445 7.3).
pub(super) fn accepts_request(
    message: &Message<'_>,
    local: &IceCredentials,
    remote: Option<&IceCredentials>,
) -> bool {
    let Some((ours, theirs)) = message.split_username() else {
        return false;
    };
    ours == local.ufrag
        && remote.is_none_or(|remote| theirs == remote.ufrag)
        && message.verify(&local.pwd)
}
