//! A bound on what a down track sends again (livekit-server `pkg/sfu/rtxbudget.go`).

use std::cmp::Reverse;

use rtp::seq::diff_u16;

/// A budget never holds less: about one full packet.
const BURST_MIN: usize = 1500;

/// Sequence numbers of one request that are looked at: more than any history holds.
const REQUESTED_MAX: usize = 1024;

/// Bytes that may be sent again, by the bytes of media sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RtxBudgetConfig {
    /// Bytes for each byte of media, above 0.
    pub ratio: f64,
    /// Bytes at once, when nothing was sent again for a while; at least 1,500.
    pub burst: usize,
}

/// A bucket that media fills and retransmissions empty. One of them may overdraw it, so that what is
/// to be sent again is not read before there is room for anything.
#[derive(Debug)]
pub(crate) struct RtxBudget {
    config: RtxBudgetConfig,
    tokens: f64,
    requested: Vec<u16>,
    /// Packets that were asked for and not sent again for lack of room.
    pub(crate) capped: u64,
}

impl RtxBudget {
    pub(crate) fn new(config: RtxBudgetConfig) -> Self {
        let mut budget = Self {
            config,
            tokens: 0.0,
            requested: Vec::new(),
            capped: 0,
        };
        budget.tokens = budget.burst();
        budget
    }

    fn burst(&self) -> f64 {
        self.config.burst.max(BURST_MIN) as f64
    }

    /// Media was sent.
    #[inline]
    pub(crate) fn media(&mut self, bytes: usize) {
        self.tokens = (self.tokens + self.config.ratio * bytes as f64).min(self.burst());
    }

    /// Whether there is room for another retransmission.
    pub(crate) fn has_room(&self) -> bool {
        self.tokens > 0.0
    }

    /// A packet was sent again.
    pub(crate) fn spend(&mut self, bytes: usize) {
        self.tokens -= bytes as f64;
    }

    /// What was asked for, the newest first: when there is not enough for all, the oldest are the
    /// least likely to come in time. Give the list back with [`Self::done`].
    pub(crate) fn newest_first(
        &mut self,
        sequences: impl IntoIterator<Item = u16>,
        highest: u16,
    ) -> Vec<u16> {
        let mut requested = std::mem::take(&mut self.requested);
        requested.clear();
        requested.extend(sequences.into_iter().take(REQUESTED_MAX));
        requested.sort_unstable_by_key(|&sequence| Reverse(diff_u16(sequence, highest)));
        requested
    }

    pub(crate) fn done(&mut self, requested: Vec<u16>) {
        self.requested = requested;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(ratio: f64, burst: usize) -> RtxBudget {
        RtxBudget::new(RtxBudgetConfig { ratio, burst })
    }

    #[test]
    fn a_burst_and_then_a_share_of_the_media() {
        let mut budget = budget(0.1, 4000);
        for _ in 0..4 {
            assert!(budget.has_room());
            budget.spend(1000);
        }
        assert!(!budget.has_room());
        budget.media(10);
        assert!(budget.has_room(), "one byte is enough to begin");
        budget.spend(1000);
        budget.media(9_990);
        assert!(!budget.has_room(), "what was overdrawn is paid back");
        budget.media(10);
        assert!(budget.has_room());
    }

    #[test]
    fn nothing_is_saved_beyond_the_burst() {
        let mut budget = budget(1.0, 2000);
        budget.media(1_000_000);
        budget.spend(2000);
        assert!(!budget.has_room());
    }

    #[test]
    fn a_burst_is_no_less_than_a_packet() {
        let mut budget = budget(1.0, 0);
        budget.spend(1499);
        assert!(budget.has_room());
        budget.spend(1);
        assert!(!budget.has_room());
    }

    #[test]
    fn the_newest_come_first_over_the_wrap() {
        let mut budget = budget(1.0, 0);
        let list = budget.newest_first([65_534, 1, 65_535, 0], 2);
        assert_eq!(list, [1, 0, 65_535, 65_534]);
        budget.done(list);
        let list = budget.newest_first(0..u16::MAX, u16::MAX);
        assert_eq!(list.len(), REQUESTED_MAX);
    }
}
