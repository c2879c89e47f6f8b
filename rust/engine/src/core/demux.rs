//! From a datagram to its transport (RFC 7983), with no state for strangers.

use std::time::Instant;

use transport::{CandidatePair, StunOutcome, stun};

use super::drops::Drop;
use super::table::Index;
use super::{Connection, Core};
use crate::api::Id;

/// What a datagram is, by its first byte (RFC 7983 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Stun,
    Dtls,
    Rtp,
    Rtcp,
    Unrecognised,
}

impl Kind {
    fn of(bytes: &[u8]) -> Self {
        match *bytes {
            [0..=3, ..] => Self::Stun,
            [20..=63, ..] => Self::Dtls,
            // RTCP packet types are not payload types in use (RFC 5761 4).
            [128..=191, 192..=223, ..] => Self::Rtcp,
            [128..=191, _, ..] => Self::Rtp,
            _ => Self::Unrecognised,
        }
    }
}

impl Core {
    /// Join step 11: takes one datagram that arrived between these addresses, finds its transport by
    /// address or ufrag and gives it to ICE, DTLS or the packet path. It is decrypted in place.
    pub fn handle_datagram(&mut self, now: Instant, pair: CandidatePair, bytes: &mut [u8]) {
        self.received += 1;
        let kind = Kind::of(bytes);
        let found = match kind {
            Kind::Unrecognised => Err(Drop::Unrecognised),
            Kind::Stun => self.find_by_stun(now, pair, bytes),
            // The transport looks at the source itself.
            Kind::Dtls => self.find_by_path(pair).map(|(at, found)| (at, found.id)),
            Kind::Rtp | Kind::Rtcp => self.find_by_source(now, pair),
        };
        let (index, id) = match found {
            Ok(found) => found,
            Err(reason) => {
                self.drops.count(reason);
                return self.attribute_drops(self.tuples.get(&pair).copied());
            }
        };
        self.guard(now, id, |core| {
            let Some(connection) = core.connections.get_mut(index) else {
                return;
            };
            let is_handshake = kind == Kind::Dtls && !connection.can_send;
            let transport = &mut connection.transport;
            let taken = match kind {
                Kind::Stun => match transport.handle_stun(now, pair, bytes) {
                    StunOutcome::Accepted => Ok(()),
                    StunOutcome::Ignored => Err(Drop::StunRepeated),
                    StunOutcome::Refused => Err(Drop::StunRefused),
                },
                Kind::Dtls => transport
                    .handle_dtls(now, pair, bytes)
                    .map_err(Drop::of_source),
                _ => Ok(()),
            };
            // What is encrypted is counted once it is known to be authentic.
            if taken.is_ok() && matches!(kind, Kind::Stun | Kind::Dtls) {
                connection.count_received(bytes.len());
            }
            if kind == Kind::Dtls && connection.take_sctp_refusals() {
                core.drops.count(Drop::SctpRefused);
            }
            match (kind, taken) {
                (Kind::Rtp, _) => return core.handle_rtp(now, index, pair, bytes),
                (Kind::Rtcp, _) => return core.handle_rtcp(now, index, pair, bytes),
                (Kind::Stun, Ok(())) => core.claim(now, index, pair),
                (_, Ok(())) => {}
                (_, Err(reason)) => core.drops.count(reason),
            }
            core.pump(now, index);
            // A step of a handshake takes a third of a millisecond and more: its answer does not wait
            // for the steps of others that came in the same batch.
            if is_handshake {
                core.flush();
            }
        });
        self.attribute_drops(Some(index));
    }

    /// Notes that an authentic packet came on a path of a transport, which keeps the path.
    #[inline]
    pub(super) fn note_received(&mut self, now: Instant, index: Index, pair: CandidatePair) {
        if let Some(connection) = self.connections.get_mut(index)
            && connection.transport.note_received(now, pair)
        {
            self.pump(now, index);
        }
    }

    /// Whether packets between these addresses belong to a transport.
    pub fn is_known(&self, pair: CandidatePair) -> bool {
        self.tuples.contains_key(&pair)
    }

    /// The transport that a STUN message addresses, which is to check whether it is authentic. The
    /// address becomes the transport's only then. One on which another transport's peer is received
    /// is not given away.
    fn find_by_stun(
        &self,
        now: Instant,
        pair: CandidatePair,
        bytes: &[u8],
    ) -> Result<(Index, Id), Drop> {
        let owner = self.tuples.get(&pair).copied();
        let addressed = stun::local_ufrag(bytes).and_then(|ufrag| self.ufrags.get(ufrag));
        let index = addressed.copied().or(owner).ok_or(Drop::StunRefused)?;
        let connection = self.connections.get(index).ok_or(Drop::StunRefused)?;
        if let Some(owner) = owner.filter(|&owner| owner != index)
            && let Some(owner) = self.connections.get(owner)
            && owner.transport.check_source(now, pair).is_ok()
        {
            let is_authentic = connection.transport.accepts_stun(bytes);
            return Err(if is_authentic {
                Drop::SourceTaken
            } else {
                Drop::StunRefused
            });
        }
        Ok((index, connection.id))
    }

    /// The transport that packets on `pair` belong to, if it takes any from there.
    #[inline]
    fn find_by_source(&self, now: Instant, pair: CandidatePair) -> Result<(Index, Id), Drop> {
        let (index, connection) = self.find_by_path(pair)?;
        let checked = connection.transport.check_source(now, pair);
        checked.map_err(Drop::of_source)?;
        Ok((index, connection.id))
    }

    #[inline]
    fn find_by_path(&self, pair: CandidatePair) -> Result<(Index, &Connection), Drop> {
        let index = *self.tuples.get(&pair).ok_or(Drop::UnknownSource)?;
        let connection = self.connections.get(index).ok_or(Drop::UnknownSource)?;
        Ok((index, connection))
    }

    /// Makes `pair` the transport's.
    fn claim(&mut self, now: Instant, index: Index, pair: CandidatePair) {
        let previous = self.tuples.insert(pair, index);
        if previous == Some(index) {
            return;
        }
        if let Some(previous) = previous.and_then(|previous| self.connections.get_mut(previous)) {
            previous.tuples.retain(|&tuple| tuple != pair);
        }
        let connection = self.connections.get_mut(index);
        if let Some(forgotten) = connection.and_then(|connection| connection.add_tuple(now, pair)) {
            self.tuples.remove(&forgotten);
        }
    }

    /// Expects answers to a check that the transport sends, unless the address is somebody's.
    pub(super) fn expect_answers(&mut self, now: Instant, index: Index, pair: CandidatePair) {
        if !self.tuples.contains_key(&pair) {
            self.claim(now, index, pair);
        }
    }

    /// Forgets the addresses of a transport that is gone.
    pub(super) fn forget_addresses(&mut self, index: Index, connection: &Connection) {
        for pair in &connection.tuples {
            self.tuples.remove(pair);
        }
        self.forget_ufrags(index, &connection.ufrags);
    }

    /// Keeps the ufrags under which checks for a transport may arrive up to date.
    pub(super) fn follow_ufrags(&mut self, index: Index) {
        let Some(connection) = self.connections.get_mut(index) else {
            return;
        };
        let ufrags = connection.transport.local_ufrags().map(str::to_owned);
        let ufrags: Vec<_> = ufrags.collect();
        let last = std::mem::replace(&mut connection.ufrags, ufrags.clone());
        self.forget_ufrags(index, &last);
        self.ufrags
            .extend(ufrags.into_iter().map(|ufrag| (ufrag, index)));
    }

    fn forget_ufrags(&mut self, index: Index, ufrags: &[String]) {
        for ufrag in ufrags {
            if self.ufrags.get(ufrag) == Some(&index) {
                self.ufrags.remove(ufrag);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Kind;

    #[test]
    fn first_bytes_of_rfc_7983() {
        let kinds = [
            (&[0u8, 1][..], Kind::Stun),
            (&[3], Kind::Stun),
            (&[4, 0], Kind::Unrecognised),
            (&[22, 254], Kind::Dtls),
            (&[64, 0], Kind::Unrecognised),
            (&[128, 96], Kind::Rtp),
            (&[191, 224], Kind::Rtp),
            (&[0x90, 0x80 | 111], Kind::Rtp),
            (&[128, 200], Kind::Rtcp),
            (&[129, 205], Kind::Rtcp),
            (&[128], Kind::Unrecognised),
            (&[192, 0], Kind::Unrecognised),
            (&[], Kind::Unrecognised),
        ];
        for (bytes, kind) in kinds {
            assert_eq!(Kind::of(bytes), kind, "{bytes:?}");
        }
    }
}
