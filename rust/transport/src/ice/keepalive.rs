//! Which pairs need checks: all of them while the selection may change, then the selected one alone.
//!
//! ICE agents go on checking every pair that works. Once a pair is selected and nothing has changed
//! for a while, the others cost a check and an answer each every two seconds and tell nothing that
//! is needed: the peer's checks on them are answered all the same. So the agent is left alone and
//! only the consent of the selected pair is kept fresh (RFC 7675 5.1); pion does likewise. What may
//! change the selection wakes the agent up again.

use std::time::{Duration, Instant};

use crate::stun::Check;
use crate::types::CandidatePair;

/// All pairs are checked until the selection has lasted this long: signalled candidates have been
/// checked by then, twice each, and a peer that nominates one pair after the other has made up its
/// mind.
const SETTLE_AFTER: Duration = Duration::from_secs(5);
/// Between two checks of the selected pair (RFC 7675 5.1).
const INTERVAL: Duration = Duration::from_secs(5);
/// A check that is not answered within this time may be the end of the pair.
const ANSWERED_WITHIN: Duration = Duration::from_secs(1);

/// The last check of the selected pair.
#[derive(Debug)]
struct Last {
    pair: CandidatePair,
    check: Check,
    sent: Instant,
    answered: bool,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Keepalive {
    selected: Option<CandidatePair>,
    last: Option<Last>,
    /// When something last happened for which all pairs are checked.
    woken: Instant,
    /// Since when all pairs are checked; None: the selected one alone is.
    checking_all: Option<Instant>,
}

impl Keepalive {
    pub(super) fn new(now: Instant) -> Self {
        Keepalive {
            selected: None,
            last: None,
            woken: now,
            checking_all: Some(now),
        }
    }

    /// Whether the selected pair alone is checked.
    pub(super) fn is_idle(&self) -> bool {
        self.checking_all.is_none()
    }

    /// Since when all pairs are checked, if they are.
    pub(super) fn checking_all(&self) -> Option<Instant> {
        self.checking_all
    }

    /// Something happened that may change the selection: all pairs are checked for a while.
    pub(super) fn wake(&mut self, now: Instant) {
        self.woken = now;
        self.checking_all.get_or_insert(now);
    }

    /// Takes which pair is selected now, and sees whether what is to be checked changes.
    pub(super) fn update(&mut self, now: Instant, selected: Option<CandidatePair>) {
        if self.selected != selected {
            self.selected = selected;
            self.wake(now);
        }
        let last = self
            .last
            .as_ref()
            .filter(|last| Some(last.pair) == selected);
        let Some(last) = last else { return };
        if !last.answered && now.duration_since(last.sent) >= ANSWERED_WITHIN {
            self.wake(now);
        } else if last.answered && now.duration_since(self.woken) >= SETTLE_AFTER {
            self.checking_all = None;
        }
    }

    /// A check was sent, by the agent or for [`Self::due`].
    pub(super) fn sent(&mut self, now: Instant, pair: CandidatePair, check: Check) {
        if self.selected == Some(pair) {
            self.last = Some(Last {
                pair,
                check,
                sent: now,
                answered: false,
            });
        }
    }

    /// A check was answered.
    pub(super) fn answered(&mut self, pair: CandidatePair) {
        if let Some(last) = &mut self.last
            && last.pair == pair
        {
            last.answered = true;
        }
    }

    /// The check to send now, like the last one on the pair.
    pub(super) fn due(&self, now: Instant) -> Option<(CandidatePair, Check)> {
        let last = self.last.as_ref().filter(|_| self.is_idle())?;
        let due = last.answered && now.duration_since(last.sent) >= INTERVAL;
        due.then_some((last.pair, last.check))
    }

    /// When [`Self::update`] or [`Self::due`] has something to say by itself; the agent knows while
    /// all pairs are checked.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let last = self.last.as_ref().filter(|_| self.is_idle())?;
        let wait = if last.answered {
            INTERVAL
        } else {
            ANSWERED_WITHIN
        };
        Some(last.sent + wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Protocol;

    const S: Duration = Duration::from_secs(1);
    const MS: Duration = Duration::from_millis(1);

    const CHECK: Check = Check {
        priority: 7,
        controlling: false,
        tie_breaker: 9,
        nominates: false,
    };

    fn pair(port: u16) -> CandidatePair {
        CandidatePair {
            local: "192.0.2.1:1".parse().unwrap(),
            remote: format!("198.51.100.1:{port}").parse().unwrap(),
            protocol: Protocol::Udp,
        }
    }

    /// A pair has been selected for long enough, and checked, at last at the time returned.
    fn settled() -> (Keepalive, Instant) {
        let start = Instant::now();
        let mut keepalive = Keepalive::new(start);
        for second in 0..=5 {
            assert!(!keepalive.is_idle());
            let now = start + second * S;
            keepalive.update(now, Some(pair(1)));
            keepalive.sent(now, pair(1), CHECK);
            keepalive.answered(pair(1));
        }
        assert!(keepalive.is_idle());
        (keepalive, start + 5 * S)
    }

    #[test]
    fn all_pairs_are_checked_until_the_selection_has_lasted() {
        let start = Instant::now();
        let mut keepalive = Keepalive::new(start);
        keepalive.update(start + 60 * S, None);
        assert!(!keepalive.is_idle());
        let selected = start + 61 * S;
        for (at, port) in [(selected, 1), (selected + 4 * S, 2)] {
            keepalive.update(at, Some(pair(port)));
            keepalive.sent(at, pair(port), CHECK);
            keepalive.answered(pair(port));
        }
        keepalive.update(selected + 9 * S - MS, Some(pair(2)));
        assert!(!keepalive.is_idle());
        assert_eq!(keepalive.next_timeout(), None);
        keepalive.update(selected + 9 * S, Some(pair(2)));
        assert!(keepalive.is_idle());
    }

    #[test]
    fn a_pair_that_does_not_answer_does_not_settle() {
        let start = Instant::now();
        let mut keepalive = Keepalive::new(start);
        for second in 0..60 {
            let now = start + second * S;
            keepalive.update(now, Some(pair(1)));
            keepalive.sent(now, pair(1), CHECK);
            // Of another pair.
            keepalive.sent(now, pair(2), CHECK);
            keepalive.answered(pair(2));
            assert!(!keepalive.is_idle());
        }
    }

    #[test]
    fn the_selected_pair_is_checked_every_five_seconds() {
        let (mut keepalive, mut now) = settled();
        for _ in 0..10 {
            assert_eq!(keepalive.next_timeout(), Some(now + 5 * S));
            assert_eq!(keepalive.due(now + 5 * S - MS), None);
            now += 5 * S;
            keepalive.update(now, Some(pair(1)));
            assert_eq!(keepalive.due(now), Some((pair(1), CHECK)));
            keepalive.sent(now, pair(1), CHECK);
            assert_eq!(keepalive.due(now), None);
            keepalive.answered(pair(1));
            assert!(keepalive.is_idle());
        }
    }

    #[test]
    fn a_check_without_an_answer_wakes_the_agent_after_a_second() {
        let (mut keepalive, now) = settled();
        let sent = now + 5 * S;
        keepalive.sent(sent, pair(1), CHECK);
        assert_eq!(keepalive.next_timeout(), Some(sent + S));
        keepalive.update(sent + S - MS, Some(pair(1)));
        assert!(keepalive.is_idle());
        keepalive.update(sent + S, Some(pair(1)));
        assert!(!keepalive.is_idle());
        // Since then all are checked, however long it stays without an answer.
        keepalive.update(sent + 3 * S, Some(pair(1)));
        assert_eq!(keepalive.checking_all(), Some(sent + S));
        // It was only late: five seconds later all is quiet again.
        keepalive.answered(pair(1));
        keepalive.update(sent + 8 * S - MS, Some(pair(1)));
        assert!(!keepalive.is_idle());
        keepalive.update(sent + 8 * S, Some(pair(1)));
        assert!(keepalive.is_idle());
    }

    #[test]
    fn another_selection_and_news_wake_the_agent() {
        let (mut keepalive, now) = settled();
        keepalive.update(now + S, Some(pair(2)));
        assert!(!keepalive.is_idle());
        assert_eq!(keepalive.next_timeout(), None);
        let (mut keepalive, now) = settled();
        keepalive.wake(now + S);
        keepalive.update(now + S, Some(pair(1)));
        assert!(!keepalive.is_idle());
        assert_eq!(keepalive.due(now + 60 * S), None);
    }
}
