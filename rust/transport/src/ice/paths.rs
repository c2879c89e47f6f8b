//! The paths on which the peer has proved that it receives, whichever generation asked for the proof.
//!
//! Two things are known of a path and must not be confused. *Consent* (RFC 7675) is about sending:
//! only the peer's answers give it. That something authentic was *received* is about receiving: media
//! keeps to the path that the peer chose for it, checked by us or not, so whatever comes on a path
//! keeps the path.

use std::time::{Duration, Instant};

use crate::limits;
use crate::types::{CandidatePair, SourceError};

/// Packets are noted this often at most, since they are many.
const NOTED_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Path {
    pair: CandidatePair,
    received: Instant,
    consented: Instant,
}

/// Bounded by [`limits::PATHS`]; the one that was used least recently makes room, so that a peer can
/// always roam.
#[derive(Debug, Default)]
pub(super) struct Paths {
    /// Most recently used first.
    entries: Vec<Path>,
}

impl Paths {
    /// The peer consented on `pair` to be sent to. `selected` is kept whatever happens.
    pub(super) fn consent(
        &mut self,
        now: Instant,
        pair: CandidatePair,
        selected: Option<CandidatePair>,
    ) {
        let path = Path {
            pair,
            received: now,
            consented: now,
        };
        match self.position(pair) {
            Some(at) => {
                self.entries.remove(at);
            }
            None if self.entries.len() >= limits::PATHS => {
                let is_other = |path: &Path| Some(path.pair) != selected;
                if let Some(at) = self.entries.iter().rposition(is_other) {
                    self.entries.remove(at);
                }
            }
            None => {}
        }
        self.entries.insert(0, path);
    }

    /// An authentic check came on `pair`.
    pub(super) fn hear(&mut self, now: Instant, pair: CandidatePair) {
        if self.check(now, pair).is_ok()
            && let Some(at) = self.position(pair)
        {
            self.entries[at].received = now;
            self.entries[..=at].rotate_right(1);
        }
    }

    /// An authentic packet came on `pair`. Says whether the path is there and that was news.
    #[inline]
    pub(super) fn receive(&mut self, now: Instant, pair: CandidatePair) -> bool {
        let Some(at) = self.position(pair) else {
            return false;
        };
        let path = &mut self.entries[at];
        let silent = now.saturating_duration_since(path.received);
        if silent < NOTED_EVERY || silent >= limits::PATH_LIFETIME {
            return false;
        }
        path.received = now;
        self.entries[..=at].rotate_right(1);
        true
    }

    /// Whether packets that come on `pair` may be looked at.
    ///
    /// # Errors
    /// Why not.
    #[inline]
    pub(super) fn check(&self, now: Instant, pair: CandidatePair) -> Result<(), SourceError> {
        let path = self.get(pair).ok_or(SourceError::Unvalidated)?;
        if now.saturating_duration_since(path.received) < limits::PATH_LIFETIME {
            Ok(())
        } else {
            Err(SourceError::Expired)
        }
    }

    /// When something authentic was last received on `pair`, to within a second.
    pub(super) fn received(&self, pair: CandidatePair) -> Option<Instant> {
        Some(self.get(pair)?.received)
    }

    /// When the peer last consented on `pair`.
    pub(super) fn consented(&self, pair: CandidatePair) -> Option<Instant> {
        Some(self.get(pair)?.consented)
    }

    /// All of them, most recently used first.
    pub(super) fn iter(&self) -> impl Iterator<Item = CandidatePair> {
        self.entries.iter().map(|path| path.pair)
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
    }

    #[inline]
    fn position(&self, pair: CandidatePair) -> Option<usize> {
        self.entries.iter().position(|path| path.pair == pair)
    }

    #[inline]
    fn get(&self, pair: CandidatePair) -> Option<&Path> {
        self.entries.iter().find(|path| path.pair == pair)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Protocol;

    const S: Duration = Duration::from_secs(1);

    fn pair(port: u16) -> CandidatePair {
        CandidatePair {
            local: "192.0.2.1:1".parse().unwrap(),
            remote: format!("198.51.100.1:{port}").parse().unwrap(),
            protocol: Protocol::Udp,
        }
    }

    #[test]
    fn what_is_received_keeps_a_path_but_is_no_consent() {
        let (mut paths, now) = (Paths::default(), Instant::now());
        assert_eq!(paths.check(now, pair(1)), Err(SourceError::Unvalidated));
        paths.consent(now, pair(1), None);
        for second in 1..=600 {
            assert!(paths.receive(now + second * S, pair(1)));
        }
        assert_eq!(paths.check(now + 629 * S, pair(1)), Ok(()));
        assert_eq!(paths.consented(pair(1)), Some(now));
        assert_eq!(paths.received(pair(1)), Some(now + 600 * S));
        assert_eq!(
            paths.check(now + 630 * S, pair(1)),
            Err(SourceError::Expired)
        );
    }

    #[test]
    fn only_consent_brings_an_expired_path_back() {
        let (mut paths, now) = (Paths::default(), Instant::now());
        paths.consent(now, pair(1), None);
        assert!(!paths.receive(now + 30 * S, pair(1)));
        assert_eq!(
            paths.check(now + 30 * S, pair(1)),
            Err(SourceError::Expired)
        );
        paths.consent(now + 31 * S, pair(1), None);
        assert_eq!(paths.check(now + 31 * S, pair(1)), Ok(()));
        assert!(!paths.receive(now + 31 * S, pair(2)), "never validated");
    }

    #[test]
    fn packets_are_noted_once_a_second() {
        let (mut paths, now) = (Paths::default(), Instant::now());
        paths.consent(now, pair(1), None);
        let noted = (0..10_000).filter(|&ms| paths.receive(now + ms * S / 1000, pair(1)));
        assert_eq!(noted.count(), 9);
    }

    /// Reaches [`limits::PATHS`].
    #[test]
    fn the_least_recently_used_path_makes_room() {
        let (mut paths, now) = (Paths::default(), Instant::now());
        paths.consent(now, pair(1), Some(pair(1)));
        paths.consent(now, pair(2), Some(pair(1)));
        for port in 3..200 {
            let now = now + u32::from(port) * S / 10;
            paths.receive(now, pair(2));
            paths.consent(now, pair(port), Some(pair(1)));
            assert!(paths.entries.len() <= limits::PATHS);
        }
        let now = now + 20 * S;
        assert_eq!(paths.iter().count(), limits::PATHS);
        for port in [1, 2, 199, 171] {
            assert_eq!(paths.check(now, pair(port)), Ok(()), "{port}");
        }
        assert_eq!(paths.check(now, pair(3)), Err(SourceError::Unvalidated));
    }
}
