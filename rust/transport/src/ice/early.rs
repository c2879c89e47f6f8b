//! Requests that came before the remote credentials, and wait for them.

use is::stun::TransId;

use crate::limits;
use crate::types::CandidatePair;

struct EarlyCheck {
    pair: CandidatePair,
    id: TransId,
    packet: Vec<u8>,
}

/// The latest of each pair; bounded by [`limits::EARLY_CHECKS`].
#[derive(Default)]
pub(super) struct EarlyChecks(Vec<EarlyCheck>);

impl EarlyChecks {
    /// Keeps a request. False: there is no room, or it is a copy of one from elsewhere.
    pub(super) fn hold(&mut self, pair: CandidatePair, id: TransId, packet: &[u8]) -> bool {
        if self.0.iter().any(|c| c.id == id && c.pair != pair) {
            return false;
        }
        let packet = packet.to_vec();
        let check = EarlyCheck { pair, id, packet };
        if let Some(other) = self.0.iter_mut().find(|c| c.pair == pair) {
            *other = check;
        } else if self.0.len() < limits::EARLY_CHECKS {
            self.0.push(check);
        } else {
            return false;
        }
        true
    }

    /// Takes them, oldest first.
    pub(super) fn take(&mut self) -> Vec<(CandidatePair, Vec<u8>)> {
        let checks = std::mem::take(&mut self.0);
        checks.into_iter().map(|c| (c.pair, c.packet)).collect()
    }

    #[cfg(test)]
    pub(super) fn assert_bounded(&self) {
        assert!(self.0.len() <= limits::EARLY_CHECKS);
    }
}
