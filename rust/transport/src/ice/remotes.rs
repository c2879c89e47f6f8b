//! The remote addresses that the `is` agent was told of or has found.
//!
//! It forgets none of them by itself and looks through all of them at every check. So they are counted
//! here: the reflexive one that was used least recently is forgotten for the next, and the agent is
//! made anew before it holds too many of those.

use std::net::SocketAddr;
use std::time::Instant;

use is::{Candidate, CandidateKind};

use super::convert::to_is;
use crate::limits;
use crate::types::{CandidatePair, Protocol, RemoteCandidate};

#[derive(Debug)]
struct Remote {
    address: SocketAddr,
    protocol: Protocol,
    kind: CandidateKind,
    priority: u32,
    foundation: String,
    used: Instant,
    /// The peer did not signal it.
    reflexive: bool,
}

impl Remote {
    fn is_of(&self, pair: CandidatePair) -> bool {
        self.address == pair.remote && self.protocol == pair.protocol
    }

    fn candidate(&self) -> Candidate {
        Candidate::from_parts(
            self.foundation.clone(),
            1,
            to_is(self.protocol),
            self.priority,
            self.address,
            self.kind,
            None,
            None,
            None,
        )
    }
}

/// Bounded by [`limits::REMOTE_CANDIDATES`] and [`limits::PEER_REFLEXIVE`].
#[derive(Debug, Default)]
pub(super) struct Remotes {
    known: Vec<Remote>,
    signalled: usize,
    /// How many were forgotten that the agent still holds.
    forgotten: usize,
}

impl Remotes {
    /// Takes a signalled candidate. None: there were as many as may be.
    pub(super) fn signal(
        &mut self,
        now: Instant,
        candidate: &RemoteCandidate,
    ) -> Option<Candidate> {
        if self.signalled >= limits::REMOTE_CANDIDATES {
            return None;
        }
        self.signalled += 1;
        let remote = Remote {
            address: candidate.addr,
            protocol: candidate.protocol,
            kind: match candidate.kind.as_str() {
                "srflx" => CandidateKind::ServerReflexive,
                "prflx" => CandidateKind::PeerReflexive,
                "relay" => CandidateKind::Relayed,
                _ => CandidateKind::Host,
            },
            priority: candidate.priority,
            foundation: candidate.foundation.chars().take(32).collect(),
            used: now,
            reflexive: false,
        };
        let told = remote.candidate();
        self.known.retain(|known| {
            known.address != candidate.addr || known.protocol != candidate.protocol
        });
        self.known.push(remote);
        Some(told)
    }

    /// How many candidates were signalled.
    pub(super) fn signalled(&self) -> usize {
        self.signalled
    }

    /// Something authentic came from the remote address of `pair`; a check that nobody signalled has
    /// this `priority`. Says whether the address is news to the agent. The one of `selected` is kept
    /// whatever happens.
    pub(super) fn meet(
        &mut self,
        now: Instant,
        pair: CandidatePair,
        priority: u32,
        selected: Option<CandidatePair>,
    ) -> bool {
        if let Some(remote) = self.known.iter_mut().find(|remote| remote.is_of(pair)) {
            remote.used = now;
            return false;
        }
        self.make_room(selected);
        self.known.push(Remote {
            address: pair.remote,
            protocol: pair.protocol,
            kind: CandidateKind::PeerReflexive,
            priority,
            foundation: "prflx".to_owned(),
            used: now,
            reflexive: true,
        });
        true
    }

    fn make_room(&mut self, selected: Option<CandidatePair>) {
        let reflexive = self.known.iter().filter(|remote| remote.reflexive);
        if reflexive.count() < limits::PEER_REFLEXIVE {
            return;
        }
        let excess = (self.known.iter().enumerate())
            .filter(|(_, r)| r.reflexive && !selected.is_some_and(|pair| r.is_of(pair)))
            .min_by_key(|(_, remote)| remote.used);
        if let Some((at, _)) = excess {
            self.known.swap_remove(at);
            self.forgotten += 1;
        }
    }

    /// Whether the agent holds so many that were forgotten that it should be made anew.
    pub(super) fn are_too_many(&self) -> bool {
        self.forgotten >= limits::FORGOTTEN_REMOTES
    }

    /// What an agent that was made anew is to be told.
    pub(super) fn renew(&mut self) -> impl Iterator<Item = Candidate> {
        self.forgotten = 0;
        self.known.iter().map(Remote::candidate)
    }

    #[cfg(test)]
    pub(super) fn assert_bounded(&self) {
        let reflexive = self.known.iter().filter(|remote| remote.reflexive).count();
        assert!(reflexive <= limits::PEER_REFLEXIVE);
        assert!(self.known.len() - reflexive <= limits::REMOTE_CANDIDATES);
        assert!(self.forgotten < limits::FORGOTTEN_REMOTES);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn pair(port: u16) -> CandidatePair {
        CandidatePair {
            local: "192.0.2.1:1".parse().unwrap(),
            remote: ([198, 51, 100, 1], port).into(),
            protocol: Protocol::Udp,
        }
    }

    /// Reaches [`limits::PEER_REFLEXIVE`] and [`limits::FORGOTTEN_REMOTES`].
    #[test]
    fn the_least_recently_used_reflexive_address_makes_room() {
        let (mut remotes, mut now) = (Remotes::default(), Instant::now());
        let signalled = RemoteCandidate {
            addr: pair(1).remote,
            protocol: Protocol::Udp,
            priority: 1,
            foundation: "1".into(),
            kind: "host".into(),
        };
        assert!(remotes.signal(now, &signalled).is_some());
        let mut renewed = 0;
        for port in 2..1_000 {
            now += S;
            assert_eq!(remotes.meet(now, pair(port), 1, Some(pair(2))), port != 3);
            remotes.meet(now, pair(3), 1, Some(pair(2)));
            if remotes.are_too_many() {
                assert_eq!(remotes.renew().count(), 1 + limits::PEER_REFLEXIVE);
                renewed += 1;
            }
            remotes.assert_bounded();
        }
        assert_eq!(
            renewed,
            (998 - limits::PEER_REFLEXIVE) / limits::FORGOTTEN_REMOTES
        );
        for (port, is_news) in [
            (1, false),
            (2, false),
            (3, false),
            (999, false),
            (500, true),
        ] {
            assert_eq!(remotes.meet(now, pair(port), 1, None), is_news, "{port}");
        }
    }
}
