//! Where forwarding of a layer may begin: its newest key frame, from its very first packet on.
//!
//! What a decoder needs first (the parameter sets of H.264 and H.265) is in packets before the intra
//! picture, and packets come in any order. A stream that begins at the picture has no place for what
//! comes before it, so a key frame counts once its beginning is known: when the packet before it is
//! there and belongs to another frame. Where that packet is missing it is waited for, as the
//! publisher is asked for it; after that, parameter sets are enough, as they are for LiveKit. Forwarding
//! runs when packets come: at a low frame rate the end of the waiting is when the next one does.

use std::time::{Duration, Instant};

use rtp::codec::EntryPoint;
use rtp::seq::ExtSeq;

use crate::packet::PacketInfo;
use crate::ring::PacketRing;

/// How long the packet before a key frame is waited for: as long as a request takes that is made
/// after [`rtp::nack::MIN_INTERVAL`], at [`rtp::nack::DEFAULT_RTT`].
const BEGINNING_WAIT: Duration = Duration::from_millis(100);

/// Parameter sets with a timestamp of their own belong to an intra picture that follows within so
/// many packets.
const SETS_REACH: u64 = 8;

/// A key frame that forwarding may begin with, or a frame of a codec whose key frames cannot be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyFrame {
    /// Its first packet.
    pub(crate) first: ExtSeq,
    /// Since when forwarding may begin with it.
    pub(crate) since: Instant,
}

/// The newest key frame, as far as it has come.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    first: ExtSeq,
    timestamp: u32,
    /// When the first of its packets came that tells what it is.
    noticed: Instant,
    /// The best that any of its packets has to begin with.
    entry: EntryPoint,
    /// No picture of it has come.
    sets_only: bool,
    /// When its beginning became known.
    known: Option<Instant>,
    /// When the first packet came after it was waited for in vain.
    given_up: Option<Instant>,
}

/// Finds the newest key frame of one layer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct KeyFrameFinder {
    newest: Option<Candidate>,
    /// The lowest number that came; 0: none did.
    lowest: ExtSeq,
}

impl KeyFrameFinder {
    /// Notes a packet that was just stored in `ring`. Returns whether a frame that can be begun with
    /// begins to arrive with it.
    #[inline]
    pub(super) fn stored(&mut self, ext_seq: ExtSeq, info: &PacketInfo, ring: &PacketRing) -> bool {
        if self.lowest == 0 || ext_seq < self.lowest {
            self.lowest = ext_seq;
        }
        if info.entry.is_some() {
            return self.note(ext_seq, info, ring);
        }
        let newest = self.newest.as_mut();
        if let Some(newest) = newest.filter(|newest| newest.known.is_none()) {
            if ext_seq < newest.first {
                self.look_back(info.arrival, ring);
            } else if newest.is_given_up(info.arrival) {
                newest.given_up.get_or_insert(info.arrival);
            }
        }
        false
    }

    /// The newest key frame, if forwarding may begin with it.
    #[inline]
    pub(super) fn key_frame(&self, now: Instant) -> Option<KeyFrame> {
        let newest = self.newest.as_ref()?;
        let since = match newest.known.or(newest.given_up) {
            Some(since) => since,
            None if newest.is_given_up(now) => newest.noticed + BEGINNING_WAIT,
            None => return None,
        };
        (since <= now).then_some(KeyFrame {
            first: newest.first,
            since,
        })
    }

    fn note(&mut self, ext_seq: ExtSeq, info: &PacketInfo, ring: &PacketRing) -> bool {
        let is_picture = info.entry == EntryPoint::Picture;
        let mut is_new = false;
        match &mut self.newest {
            // Several packets of one key frame may look like its first.
            Some(known) if known.timestamp == info.timestamp => {
                known.first = known.first.min(ext_seq);
                known.entry = known.entry.max(info.entry);
                known.sets_only &= !is_picture;
            }
            Some(known) if known.first > ext_seq => return false,
            Some(known) if is_picture && known.leads_to(ext_seq) => {
                known.timestamp = info.timestamp;
                known.noticed = info.arrival;
                known.given_up = None;
                known.sets_only = false;
            }
            _ => {
                is_new = true;
                self.newest = Some(Candidate {
                    first: ext_seq,
                    timestamp: info.timestamp,
                    noticed: info.arrival,
                    entry: info.entry,
                    sets_only: matches!(
                        info.entry,
                        EntryPoint::LaterSets | EntryPoint::ParameterSets
                    ),
                    known: None,
                    given_up: None,
                });
            }
        }
        self.look_back(info.arrival, ring);
        is_new
    }

    /// Moves the beginning of the key frame back over what has come of it.
    fn look_back(&mut self, now: Instant, ring: &PacketRing) {
        let Some(newest) = &mut self.newest else {
            return;
        };
        let mut is_known = newest.entry == EntryPoint::First;
        while !is_known && let Some((before, _)) = ring.get(newest.first - 1) {
            is_known = before.timestamp != newest.timestamp;
            newest.first -= u64::from(!is_known);
        }
        // A stream that begins with parameter sets has nothing before them.
        let begins_stream = newest.first <= self.lowest;
        if is_known || begins_stream && newest.entry >= EntryPoint::ParameterSets {
            newest.known.get_or_insert(now);
        }
    }
}

impl Candidate {
    /// Whether what is missing before it is not needed, or will be seen to be.
    fn is_given_up(&self, now: Instant) -> bool {
        self.entry > EntryPoint::Picture && now >= self.noticed + BEGINNING_WAIT
    }

    /// Whether the intra picture that begins with the packet `ext_seq` belongs to these parameter
    /// sets.
    fn leads_to(&self, ext_seq: ExtSeq) -> bool {
        self.sets_only && ext_seq - self.first <= SETS_REACH
    }
}
