//! The transactions of the checks that were acted upon.
//!
//! MESSAGE-INTEGRITY does not cover addresses (RFC 8489 14.5): a copy of a check is authentic wherever
//! it is sent from. What it does not have is a transaction id of its own. A retransmission has not
//! either, nor has one that a NAT gave another address half-way; so a known id is answered, as it must
//! be, and nothing else follows from it.

use std::collections::VecDeque;

use is::stun::TransId;

use crate::limits;

/// Bounded by [`limits::TRANSACTIONS`]; the oldest makes room.
#[derive(Debug, Default)]
pub(super) struct Transactions(VecDeque<TransId>);

impl Transactions {
    pub(super) fn contains(&self, id: TransId) -> bool {
        // Copies come soon after what they copy.
        self.0.iter().rev().any(|&known| known == id)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn insert(&mut self, id: TransId) {
        if self.0.len() >= limits::TRANSACTIONS {
            self.0.pop_front();
        }
        self.0.push_back(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reaches [`limits::TRANSACTIONS`].
    #[test]
    fn the_latest_are_remembered() {
        let mut transactions = Transactions::default();
        let ids: Vec<_> = (0..3 * limits::TRANSACTIONS)
            .map(|_| TransId::new())
            .collect();
        for &id in &ids {
            assert!(!transactions.contains(id));
            transactions.insert(id);
            assert!(transactions.0.len() <= limits::TRANSACTIONS);
        }
        let known = ids.iter().filter(|&&id| transactions.contains(id));
        assert_eq!(known.count(), limits::TRANSACTIONS);
        assert!(transactions.contains(ids[ids.len() - 1]));
    }
}
