//! The lite agent (RFC 8445 2.5): answers checks and follows nominations.
//!
//! It answers before the remote credentials are known: the answer needs only our password.

use std::collections::VecDeque;
use std::time::Instant;

use super::agent::{Agent, Handled, accepts_request};
use super::pairs::Pairs;
use crate::stun::{self, Message};
use crate::types::{CandidatePair, IceCredentials, RemoteCandidate, Transmit};

pub(crate) struct LiteAgent {
    local: IceCredentials,
    remote: Option<IceCredentials>,
    pairs: Pairs,
}

impl LiteAgent {
    pub(crate) fn new(local: IceCredentials) -> Self {
        LiteAgent {
            local,
            remote: None,
            pairs: Pairs::new(true),
        }
    }
}

impl Agent for LiteAgent {
    fn local(&self) -> &IceCredentials {
        &self.local
    }

    fn set_local(&mut self, credentials: IceCredentials) {
        self.local = credentials;
    }

    fn remote(&self) -> Option<&IceCredentials> {
        self.remote.as_ref()
    }

    fn set_remote(
        &mut self,
        _now: Instant,
        credentials: IceCredentials,
        _out: &mut VecDeque<Transmit>,
    ) {
        self.remote = Some(credentials);
    }

    fn take_early_checks(&mut self) -> Vec<(CandidatePair, Vec<u8>)> {
        Vec::new()
    }

    fn add_remote_candidate(
        &mut self,
        _now: Instant,
        _candidate: &RemoteCandidate,
        _out: &mut VecDeque<Transmit>,
    ) {
        // Peers come to us.
    }

    fn pairs(&self) -> &Pairs {
        &self.pairs
    }

    fn controlling(&self) -> bool {
        false
    }

    fn accepts(&self, message: &Message<'_>) -> bool {
        message.is_binding_request() && accepts_request(message, &self.local, self.remote.as_ref())
    }

    fn handle(
        &mut self,
        now: Instant,
        pair: CandidatePair,
        _is_valid_path: bool,
        message: &Message<'_>,
        _packet: &[u8],
        out: &mut VecDeque<Transmit>,
    ) -> Handled {
        // Both sides controlled (RFC 8445 7.3.1.1): a lite agent cannot take the other role.
        let conflict = message.controlled().is_some();
        let answer = if conflict {
            stun::role_conflict(message.trans_id(), &self.local.pwd)
        } else {
            stun::success(message.trans_id(), pair.remote, &self.local.pwd)
        };
        out.extend(answer.map(|bytes| Transmit::on(pair, bytes)));
        if conflict {
            return Handled::Ignored;
        }
        self.pairs
            .request(now, pair, message.priority().unwrap_or_default());
        self.pairs.validate(now, pair, None);
        if message.use_candidate() {
            self.pairs.nominate(now, pair);
        }
        // It makes no checks: that the peer's own is no copy has to do (RFC 7675 4).
        Handled::Consented
    }

    fn handle_timeout(&mut self, now: Instant, _out: &mut VecDeque<Transmit>) {
        self.pairs.prune(now);
    }

    fn next_timeout(&mut self) -> Option<Instant> {
        None
    }

    #[cfg(test)]
    fn assert_bounded(&self) {
        self.pairs.assert_bounded();
    }
}
