//! The candidate pairs on which something authentic was heard, and which of them is selected.
//!
//! The controlling side decides. What the controlled side has to do is to follow it at once when it
//! moves (its address changed), without being led astray by agents that nominate every pair they
//! check ("aggressive", RFC 5245 8.1.1.2) or by checks that were overtaken on the way.

use std::time::{Duration, Instant};

use crate::limits;
use crate::types::CandidatePair;

/// A nomination after this long without one on the same pair is a new one, so it is followed at once.
const NEW_AFTER: Duration = Duration::from_secs(10);
/// The same for a lite agent, which is nominated with every check, several times in ten seconds.
const NEW_AFTER_LITE: Duration = STALE_AFTER;
/// A pair without repeated nominations for this long is given up for one that has them.
const STALE_AFTER: Duration = Duration::from_secs(3);
/// Repeated nominations do not move the selection within this time of a move: they may be late.
const SETTLE: Duration = Duration::from_millis(500);

#[derive(Debug)]
struct Entry {
    pair: CandidatePair,
    /// PRIORITY of the last request.
    priority: u32,
    /// When the peer last consented to be sent to: our own check was answered (full) or a request
    /// arrived (lite).
    consented: Option<Instant>,
    nominated: Option<Instant>,
    /// The nomination is a new one that was not acted upon yet.
    new_nomination: bool,
    /// When the last check or answer arrived.
    heard: Instant,
    rtt: Option<Duration>,
}

impl Entry {
    /// Whether it may be sent on (RFC 7675 5.1).
    fn is_valid(&self, now: Instant) -> bool {
        self.consented
            .is_some_and(|at| now.duration_since(at) < limits::CONSENT_EXPIRY)
    }
}

/// Bounded by [`limits::PAIRS`].
#[derive(Debug)]
pub(crate) struct Pairs {
    entries: Vec<Entry>,
    selected: Option<CandidatePair>,
    moved: Option<Instant>,
    new_after: Duration,
}

impl Pairs {
    pub(crate) fn new(lite: bool) -> Self {
        Pairs {
            entries: Vec::new(),
            selected: None,
            moved: None,
            new_after: if lite { NEW_AFTER_LITE } else { NEW_AFTER },
        }
    }

    /// The pair to send on.
    pub(crate) fn selected(&self) -> Option<CandidatePair> {
        self.selected
    }

    /// When the last authentic check or answer arrived on `pair`.
    pub(crate) fn heard(&self, pair: CandidatePair) -> Option<Instant> {
        Some(self.entry(pair)?.heard)
    }

    /// Round trip of the last answered check on `pair`.
    pub(crate) fn rtt(&self, pair: CandidatePair) -> Option<Duration> {
        self.entry(pair)?.rtt
    }

    pub(crate) fn contains(&self, pair: CandidatePair) -> bool {
        self.entry(pair).is_some()
    }

    /// When the peer last consented on `pair`, asked by this generation.
    pub(crate) fn consented(&self, pair: CandidatePair) -> Option<Instant> {
        self.entry(pair)?.consented
    }

    /// Whether `pair` may be sent on.
    pub(crate) fn is_valid(&self, now: Instant, pair: CandidatePair) -> bool {
        self.entry(pair).is_some_and(|entry| entry.is_valid(now))
    }

    /// An authentic request arrived.
    pub(crate) fn request(&mut self, now: Instant, pair: CandidatePair, priority: u32) {
        let entry = self.entry_mut(now, pair);
        entry.heard = now;
        entry.priority = priority;
    }

    /// The pair may be sent on.
    pub(crate) fn validate(&mut self, now: Instant, pair: CandidatePair, rtt: Option<Duration>) {
        let entry = self.entry_mut(now, pair);
        entry.heard = now;
        entry.consented = Some(now);
        entry.rtt = rtt.or(entry.rtt);
        self.consider(now, pair);
    }

    /// The controlling peer nominated the pair (USE-CANDIDATE).
    pub(crate) fn nominate(&mut self, now: Instant, pair: CandidatePair) {
        let new_after = self.new_after;
        let entry = self.entry_mut(now, pair);
        let last = entry.nominated.replace(now);
        entry.new_nomination |= last.is_none_or(|last| now.duration_since(last) >= new_after);
        self.consider(now, pair);
    }

    /// We control and decided for this pair.
    pub(crate) fn select(&mut self, now: Instant, pair: CandidatePair) {
        self.entry_mut(now, pair);
        self.selected = Some(pair);
        self.moved = Some(now);
    }

    /// A valid pair that was heard within `recent`, other than the selected one.
    pub(crate) fn alternative(&self, now: Instant, recent: Duration) -> Option<CandidatePair> {
        self.entries
            .iter()
            .filter(|entry| entry.is_valid(now) && Some(entry.pair) != self.selected)
            .filter(|entry| now.duration_since(entry.heard) <= recent)
            .max_by_key(|entry| entry.heard)
            .map(|entry| entry.pair)
    }

    /// Forgets pairs that were not heard for as long as consent lasts.
    pub(crate) fn prune(&mut self, now: Instant) {
        let selected = self.selected;
        self.entries.retain(|entry| {
            Some(entry.pair) == selected || now.duration_since(entry.heard) < limits::CONSENT_EXPIRY
        });
    }

    /// Whether the selection only waits for the peer's consent on `pair` to move there.
    pub(crate) fn awaits_consent(&self, now: Instant, pair: CandidatePair) -> bool {
        self.entry(pair)
            .is_some_and(|entry| !entry.is_valid(now) && self.should_select(now, entry))
    }

    fn consider(&mut self, now: Instant, pair: CandidatePair) {
        let entry = self.entry(pair);
        if entry.is_some_and(|entry| entry.is_valid(now) && self.should_select(now, entry)) {
            self.entry_mut(now, pair).new_nomination = false;
            self.selected = Some(pair);
            self.moved = Some(now);
        }
    }

    /// Whether the nominations lead to the pair of `entry`, if it is valid.
    fn should_select(&self, now: Instant, entry: &Entry) -> bool {
        if entry.nominated.is_none() || self.selected == Some(entry.pair) {
            return false;
        }
        let settled = self
            .moved
            .is_none_or(|moved| now.duration_since(moved) >= SETTLE);
        match self.selected.and_then(|selected| self.entry(selected)) {
            None => true,
            Some(_) if entry.new_nomination => true,
            Some(current) => {
                // An answer to a check of ours is no nomination: it must not give up a pair whose
                // peer nominates it more rarely for one that it gave up long ago.
                let stale = current.nominated.is_none_or(|at| {
                    now.duration_since(at) > STALE_AFTER && entry.nominated > Some(at)
                });
                settled && (stale || entry.priority > current.priority)
            }
        }
    }

    fn entry(&self, pair: CandidatePair) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.pair == pair)
    }

    fn entry_mut(&mut self, now: Instant, pair: CandidatePair) -> &mut Entry {
        let index = match self.entries.iter().position(|entry| entry.pair == pair) {
            Some(index) => index,
            None => {
                if self.entries.len() >= limits::PAIRS {
                    self.evict();
                }
                self.entries.push(Entry {
                    pair,
                    priority: 0,
                    consented: None,
                    nominated: None,
                    new_nomination: false,
                    heard: now,
                    rtt: None,
                });
                self.entries.len() - 1
            }
        };
        &mut self.entries[index]
    }

    #[cfg(test)]
    pub(super) fn assert_bounded(&self) {
        assert!(self.entries.len() <= limits::PAIRS);
    }

    fn evict(&mut self) {
        let selected = self.selected;
        let oldest = self
            .entries
            .iter()
            .enumerate()
            .filter(|(_, entry)| Some(entry.pair) != selected)
            .min_by_key(|(_, entry)| entry.heard)
            .map(|(index, _)| index);
        if let Some(index) = oldest {
            self.entries.swap_remove(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Protocol;

    fn pair(port: u16) -> CandidatePair {
        CandidatePair {
            local: "192.0.2.1:1".parse().unwrap(),
            remote: format!("198.51.100.1:{port}").parse().unwrap(),
            protocol: Protocol::Udp,
        }
    }

    /// A request with USE-CANDIDATE on a pair that is (or becomes) valid.
    fn nominated(pairs: &mut Pairs, now: Instant, port: u16, priority: u32) {
        pairs.request(now, pair(port), priority);
        pairs.validate(now, pair(port), None);
        pairs.nominate(now, pair(port));
    }

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn nothing_is_selected_before_it_is_valid() {
        let (mut pairs, now) = (Pairs::new(false), Instant::now());
        pairs.request(now, pair(1), 9);
        pairs.nominate(now, pair(1));
        assert_eq!(pairs.selected(), None);
        pairs.validate(now, pair(1), Some(S));
        assert_eq!(pairs.selected(), Some(pair(1)));
        assert_eq!(pairs.rtt(pair(1)), Some(S));
    }

    #[test]
    fn consent_is_too_old_after_thirty_seconds() {
        let (mut pairs, now) = (Pairs::new(false), Instant::now());
        nominated(&mut pairs, now, 1, 9);
        pairs.validate(now, pair(2), None);
        for second in 1..60 {
            pairs.request(now + second * S, pair(2), 9);
        }
        assert_eq!(pairs.alternative(now + 29 * S, 60 * S), Some(pair(2)));
        assert_eq!(pairs.alternative(now + 30 * S, 60 * S), None);
        assert!(!pairs.awaits_consent(now + 60 * S, pair(2)));
        pairs.nominate(now + 60 * S, pair(2));
        assert_eq!(pairs.selected(), Some(pair(1)));
        assert!(pairs.awaits_consent(now + 60 * S, pair(2)));
        pairs.validate(now + 60 * S, pair(2), None);
        assert_eq!(pairs.selected(), Some(pair(2)));
    }

    #[test]
    fn a_new_nomination_is_followed_at_once_even_downwards() {
        for lite in [false, true] {
            let (mut pairs, now) = (Pairs::new(lite), Instant::now());
            nominated(&mut pairs, now, 1, 9);
            nominated(&mut pairs, now + S / 10, 2, 3);
            assert_eq!(pairs.selected(), Some(pair(2)));
            // A check from before the move that arrives late changes nothing.
            nominated(&mut pairs, now + S / 5, 1, 9);
            assert_eq!(pairs.selected(), Some(pair(2)));
        }
    }

    #[test]
    fn aggressive_nomination_settles_on_the_highest_priority() {
        for lite in [false, true] {
            let (mut pairs, now) = (Pairs::new(lite), Instant::now());
            let mut moves = 0;
            for round in 0..60 {
                for (port, priority) in [(1, 5), (2, 9), (3, 7)] {
                    let before = pairs.selected();
                    nominated(&mut pairs, now + round * S, port, priority);
                    moves += usize::from(pairs.selected() != before);
                }
            }
            assert_eq!(pairs.selected(), Some(pair(2)));
            assert!(moves <= 4, "{moves}");
        }
    }

    #[test]
    fn a_peer_that_goes_back_is_followed_by_a_lite_agent() {
        let (mut pairs, now) = (Pairs::new(true), Instant::now());
        nominated(&mut pairs, now, 1, 3);
        nominated(&mut pairs, now + S, 2, 9);
        nominated(&mut pairs, now + 3 * S, 1, 3);
        assert_eq!(pairs.selected(), Some(pair(1)));
    }

    #[test]
    fn answers_on_a_pair_that_was_nominated_once_do_not_move_the_selection() {
        let now = Instant::now();
        let mut pairs = Pairs::new(false);
        nominated(&mut pairs, now, 1, 9);
        nominated(&mut pairs, now + S / 10, 2, 9);
        let selected = pairs.selected().unwrap();
        let other = if selected == pair(1) { 2 } else { 1 };
        for second in 1..60 {
            let now = now + second * S;
            if second % 5 == 0 {
                pairs.nominate(now, selected);
            }
            pairs.validate(now + S / 2, pair(other), None);
            assert_eq!(pairs.selected(), Some(selected));
        }
    }

    #[test]
    fn a_pair_that_is_nominated_no_more_loses_to_one_that_is() {
        let (mut pairs, now) = (Pairs::new(false), Instant::now());
        nominated(&mut pairs, now, 2, 3);
        nominated(&mut pairs, now, 1, 9);
        assert_eq!(pairs.selected(), Some(pair(1)));
        nominated(&mut pairs, now + S, 2, 3);
        assert_eq!(pairs.selected(), Some(pair(1)));
        nominated(&mut pairs, now + 4 * S, 2, 3);
        assert_eq!(pairs.selected(), Some(pair(2)));
    }

    /// Reaches [`limits::PAIRS`].
    #[test]
    fn memory_is_bounded_and_the_selected_pair_stays() {
        let (mut pairs, now) = (Pairs::new(true), Instant::now());
        nominated(&mut pairs, now, 1, 9);
        for port in 2..500 {
            pairs.request(now + S, pair(port), 1);
        }
        assert_eq!(pairs.entries.len(), limits::PAIRS);
        assert!(pairs.contains(pair(1)));
        assert!(pairs.contains(pair(499)));
        assert!(!pairs.contains(pair(2)));
        pairs.prune(now + 60 * S);
        assert!(pairs.contains(pair(1)));
        assert_eq!(pairs.entries.len(), 1);
    }
}
