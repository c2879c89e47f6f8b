//! From a datagram to its transport (RFC 7983), with no state for strangers.

use std::time::Instant;

use transport::{CandidatePair, stun};

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
            Kind::Stun => self.find_by_stun(pair, bytes),
            Kind::Dtls | Kind::Rtp | Kind::Rtcp => self.find_by_source(pair),
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
            if kind == Kind::Stun {
                let CandidatePair {
                    local,
                    remote,
                    protocol,
                } = pair;
                let transport = &mut connection.transport;
                if !transport.handle_stun(now, local, remote, protocol, bytes) {
                    return core.drops.count(Drop::StunRefused);
                }
            }
            match kind {
                // Counted once they are known to be authentic.
                Kind::Rtp => return core.handle_rtp(now, index, bytes),
                Kind::Rtcp => return core.handle_rtcp(now, index, bytes),
                Kind::Dtls => connection.transport.handle_dtls(now, bytes),
                Kind::Stun | Kind::Unrecognised => {}
            }
            if let Some(connection) = core.connections.get_mut(index) {
                connection.count_received(bytes.len());
            }
            core.pump(now, index);
        });
        self.attribute_drops(Some(index));
    }

    /// Whether packets between these addresses belong to a transport.
    pub fn is_known(&self, pair: CandidatePair) -> bool {
        self.tuples.contains_key(&pair)
    }

    /// The transport that a STUN message addresses. An address becomes the transport's only once
    /// the message is known to be authentic; one that is its own is left to the transport to check.
    fn find_by_stun(&mut self, pair: CandidatePair, bytes: &[u8]) -> Result<(Index, Id), Drop> {
        let owner = self.tuples.get(&pair).copied();
        let addressed = stun::local_ufrag(bytes).and_then(|ufrag| self.ufrags.get(ufrag));
        let index = addressed.copied().or(owner).ok_or(Drop::StunRefused)?;
        let connection = self.connections.get(index).ok_or(Drop::StunRefused)?;
        let id = connection.id;
        if owner != Some(index) {
            if !connection.transport.accepts_stun(bytes) {
                return Err(Drop::StunRefused);
            }
            if let Some(owner) = owner.and_then(|owner| self.connections.get(owner))
                && owner.transport.is_valid_source(pair.remote)
            {
                return Err(Drop::SourceTaken);
            }
            self.claim(index, pair);
        }
        Ok((index, id))
    }

    /// The transport that packets on `pair` belong to, if its ICE agent vouches for the source.
    #[inline]
    fn find_by_source(&self, pair: CandidatePair) -> Result<(Index, Id), Drop> {
        let index = *self.tuples.get(&pair).ok_or(Drop::UnknownSource)?;
        let connection = self.connections.get(index).ok_or(Drop::UnknownSource)?;
        if !connection.transport.is_valid_source(pair.remote) {
            return Err(Drop::UnvalidatedSource);
        }
        Ok((index, connection.id))
    }

    /// Makes `pair` the transport's.
    fn claim(&mut self, index: Index, pair: CandidatePair) {
        let previous = self.tuples.insert(pair, index);
        if let Some(previous) = previous.and_then(|previous| self.connections.get_mut(previous)) {
            previous.tuples.retain(|&tuple| tuple != pair);
        }
        let connection = self.connections.get_mut(index);
        if let Some(forgotten) = connection.and_then(|connection| connection.add_tuple(pair)) {
            self.tuples.remove(&forgotten);
        }
    }

    /// Expects answers to a check that the transport sends, unless the address is somebody's.
    pub(super) fn expect_answers(&mut self, index: Index, pair: CandidatePair) {
        if !self.tuples.contains_key(&pair) {
            self.claim(index, pair);
        }
    }

    /// Forgets the addresses of a transport that is gone.
    pub(super) fn forget_addresses(&mut self, index: Index, connection: &Connection) {
        for pair in &connection.tuples {
            self.tuples.remove(pair);
        }
        self.ufrags.retain(|_, owner| *owner != index);
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
