//! What a peer has sent, in order of TSNs: what arrived ahead, and the message that is open.
//!
//! Fragments have consecutive TSNs and messages of a stream consecutive sequence numbers (RFC 9260
//! 6.5, 6.9), so that of a peer which keeps to this no more is incomplete than one message and what
//! arrived ahead. Of one that does not, an association would keep everything.

use std::collections::VecDeque;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::limits;

/// A DATA chunk without its payload.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    pub stream: u16,
    pub ssn: u16,
    pub len: u16,
    pub begins: bool,
    pub ends: bool,
    pub unordered: bool,
}

/// Where a TSN stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It was received.
    Duplicate,
    /// It is the next one.
    Next,
    /// There is a gap before it.
    Ahead,
    /// Too far ahead.
    TooFar,
    /// One gap too many.
    TooManyGaps,
}

/// The message of which the last piece in order is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    /// It ended.
    No,
    /// It goes on.
    Message {
        stream: u16,
        ssn: u16,
        unordered: bool,
        pieces: usize,
        bytes: usize,
    },
    /// It was thrown away and goes on.
    Discarded,
    /// Nobody knows.
    Unknown,
}

/// Messages that must be thrown away when the next TSN arrives: instead of it, the association is
/// told that the peer went on to `tsn` (RFC 3758).
#[derive(Debug, Default)]
pub(super) struct Discard {
    pub tsn: u32,
    /// The streams of ordered messages, and the last sequence number of each that is lost.
    pub streams: FxHashMap<u16, u16>,
    /// Streams with messages that are too large.
    pub oversized: Vec<u16>,
}

impl Discard {
    pub fn lose(&mut self, stream: u16, ssn: u16) {
        let last = self.streams.entry(stream).or_insert(ssn);
        if is_before(*last, ssn) {
            *last = ssn;
        }
    }

    /// Takes what is discarded right after it too.
    pub fn merge(&mut self, after: &Self) {
        self.tsn = after.tsn;
        for (&stream, &ssn) in &after.streams {
            self.lose(stream, ssn);
        }
    }
}

/// Whether a sequence number of a stream is before another (RFC 1982).
fn is_before(ssn: u16, other: u16) -> bool {
    ssn != other && other.wrapping_sub(ssn) < 0x8000
}

#[derive(Debug)]
pub(super) struct Order {
    /// The last TSN before which nothing is missing.
    cumulative: u32,
    /// What was received after it. The first TSN is missing, the last is not.
    ahead: VecDeque<Option<Piece>>,
    /// Runs of TSNs in it: gap blocks of a SACK.
    gaps: usize,
    open: Open,
    /// The sequence number of each stream's next message.
    next: FxHashMap<u16, u16>,
    /// Streams that are not in `next` may begin anywhere.
    any_ssn: bool,
    /// Streams whose data nobody wants.
    unwanted: FxHashSet<u16>,
}

impl Order {
    pub fn new(initial_tsn: u32) -> Self {
        Self {
            cumulative: initial_tsn.wrapping_sub(1),
            ahead: VecDeque::new(),
            gaps: 0,
            open: Open::No,
            next: FxHashMap::default(),
            any_ssn: false,
            unwanted: FxHashSet::default(),
        }
    }

    /// Whether nothing is missing up to `tsn`.
    pub fn has_all_to(&self, tsn: u32) -> bool {
        self.cumulative.wrapping_sub(tsn) as i32 >= 0
    }

    /// TSNs from the first missing one to the highest received.
    pub fn ahead(&self) -> usize {
        self.ahead.len()
    }

    /// Pieces of the message that is open.
    pub fn open_pieces(&self) -> usize {
        match self.open {
            Open::Message { pieces, .. } => pieces,
            _ => 0,
        }
    }

    /// Whether the message that is open is of this stream.
    pub fn is_open(&self, id: u16) -> bool {
        matches!(self.open, Open::Message { stream, .. } if stream == id)
    }

    /// Whether all that was received came before `tsn`.
    pub fn is_beyond(&self, tsn: u32) -> bool {
        tsn.wrapping_sub(self.cumulative) as i32 > self.ahead.len() as i32
    }

    pub fn place(&self, tsn: u32) -> Place {
        let distance = tsn.wrapping_sub(self.cumulative) as i32;
        if distance <= 0 {
            return Place::Duplicate;
        }
        if distance as usize > limits::SCTP_TSN_DISTANCE {
            return Place::TooFar;
        }
        let at = distance as usize - 1;
        if self.has(at) {
            return Place::Duplicate;
        }
        if at == 0 {
            return Place::Next;
        }
        let is_new_gap = !self.has(at - 1) && !self.has(at + 1);
        if is_new_gap && self.gaps >= limits::SCTP_GAPS {
            return Place::TooManyGaps;
        }
        Place::Ahead
    }

    fn has(&self, at: usize) -> bool {
        self.ahead.get(at).is_some_and(Option::is_some)
    }

    /// Takes a piece whose place is [`Place::Ahead`].
    pub fn insert(&mut self, tsn: u32, piece: Piece) {
        let at = tsn.wrapping_sub(self.cumulative) as usize - 1;
        match (self.has(at - 1), self.has(at + 1)) {
            (true, true) => self.gaps -= 1,
            (false, false) => self.gaps += 1,
            _ => {}
        }
        if self.ahead.len() <= at {
            self.ahead.resize(at + 1, None);
        }
        self.ahead[at] = Some(piece);
    }

    /// Takes the piece whose place is [`Place::Next`]. If there is something to discard, the
    /// association must not see the piece. What waits behind it is discarded with it only if no
    /// protocol would send it: that it is unwanted or too large is no reason to lose a piece that may
    /// be of another stream. The association has seen it, and the bound holds for what arrives next.
    pub fn advance(&mut self, piece: Piece) -> Option<Discard> {
        let mut discard = Discard::default();
        let mut lost = None;
        let mut next = Some(piece);
        let mut strict = true;
        if self.has(1) {
            self.gaps -= 1;
        }
        self.ahead.pop_front();
        while let Some(piece) = next {
            self.cumulative = self.cumulative.wrapping_add(1);
            if !self.step(piece, strict, &mut discard) {
                lost = Some(self.cumulative);
            }
            strict = false;
            next = self.ahead.front().copied().flatten();
            if next.is_some() {
                self.ahead.pop_front();
            }
        }
        discard.tsn = lost?;
        // The message of this piece cannot be completed without it.
        if !piece.unordered {
            discard.lose(piece.stream, piece.ssn);
        }
        Some(discard)
    }

    /// The next piece in order: whether it fits. If not `strict`, one fits that is unwanted, or too
    /// large with those before it.
    fn step(&mut self, piece: Piece, strict: bool, discard: &mut Discard) -> bool {
        let len = usize::from(piece.len);
        let fits = match &mut self.open {
            Open::No | Open::Discarded if !piece.begins => false,
            Open::No | Open::Discarded => self.begins_well(piece),
            Open::Unknown => true,
            Open::Message {
                stream,
                ssn,
                unordered,
                pieces,
                bytes,
            } => {
                let same = (*stream, *unordered) == (piece.stream, piece.unordered)
                    && (*unordered || *ssn == piece.ssn)
                    && !piece.begins;
                *pieces += 1;
                *bytes += len;
                let too_large = strict
                    && (*pieces > limits::SCTP_MESSAGE_PIECES
                        || *bytes > limits::SCTP_MESSAGE_BYTES);
                if !same || too_large {
                    if same {
                        discard.oversized.push(*stream);
                    }
                    if !*unordered {
                        discard.lose(*stream, *ssn);
                        self.next.insert(*stream, ssn.wrapping_add(1));
                    }
                }
                same && !too_large
            }
        };
        let fits = fits && !(strict && self.is_unwanted(piece.stream));
        if !fits && !piece.unordered {
            discard.lose(piece.stream, piece.ssn);
        }
        if !piece.unordered && (piece.ends || !fits) {
            self.done(piece.stream, piece.ssn);
        }
        self.open = match (fits, piece.ends, self.open) {
            (_, true, _) => Open::No,
            (false, ..) => Open::Discarded,
            (true, false, Open::Message { .. }) => self.open,
            (true, false, _) => Open::Message {
                stream: piece.stream,
                ssn: piece.ssn,
                unordered: piece.unordered,
                pieces: 1,
                bytes: len,
            },
        };
        fits
    }

    /// Whether a message is its stream's next one.
    fn begins_well(&self, piece: Piece) -> bool {
        if piece.unordered {
            return true;
        }
        match self.next.get(&piece.stream) {
            // One that the association has done with costs nothing.
            Some(&next) => !is_before(next, piece.ssn),
            None => self.any_ssn || piece.ssn == 0,
        }
    }

    fn done(&mut self, stream: u16, ssn: u16) {
        let next = self.next.entry(stream).or_insert(ssn.wrapping_add(1));
        if is_before(*next, ssn.wrapping_add(1)) {
            *next = ssn.wrapping_add(1);
        }
    }

    /// The peer gives up everything to `tsn` (RFC 3758 3.6). Returns `None`, and changes nothing, if
    /// that would leave behind messages that nobody can complete or read; otherwise what has to be
    /// given up besides.
    pub fn forward(&mut self, tsn: u32, streams: &FxHashMap<u16, u16>) -> Option<Discard> {
        let mut discard = Discard {
            tsn,
            ..Discard::default()
        };
        let distance = tsn.wrapping_sub(self.cumulative) as i32;
        if distance <= 0 {
            return Some(discard);
        }
        let is_given_up = |stream, ssn| {
            let last = streams.get(&stream);
            last.is_some_and(|&last| !is_before(last, ssn))
        };
        if let Open::Message {
            stream,
            ssn,
            unordered: false,
            ..
        } = self.open
            && !is_given_up(stream, ssn)
        {
            return None;
        }
        let passed = self.ahead.len().min(distance as usize);
        let mut next: FxHashMap<u16, u16> = FxHashMap::default();
        let mut whole = false;
        for at in 0..passed {
            let Some(piece) = self.ahead[at] else {
                whole = false;
                continue;
            };
            whole = piece.begins || (whole && self.has(at.wrapping_sub(1)));
            let goes_on = at + 1 < passed && self.has(at + 1);
            let breaks_off = !(piece.ends || goes_on);
            if piece.unordered || is_given_up(piece.stream, piece.ssn) {
                continue;
            }
            if !whole || breaks_off {
                return None;
            }
            // Complete, and so to be read, if nothing before it is missing.
            let known = next.get(&piece.stream).or(self.next.get(&piece.stream));
            let expected = known
                .copied()
                .unwrap_or(if self.any_ssn { piece.ssn } else { 0 });
            if is_before(expected, piece.ssn)
                && !is_given_up(piece.stream, piece.ssn.wrapping_sub(1))
            {
                return None;
            }
            if piece.ends {
                next.insert(piece.stream, piece.ssn.wrapping_add(1));
            }
        }
        for (stream, next) in next {
            self.done(stream, next.wrapping_sub(1));
        }
        for (&stream, &ssn) in streams {
            self.done(stream, ssn);
        }
        self.skip(passed);
        self.cumulative = tsn;
        self.open = Open::Discarded;
        // What follows without a gap is in order now.
        if self.has(0) {
            self.gaps -= 1;
        }
        while let Some(piece) = self.ahead.front().copied().flatten() {
            self.ahead.pop_front();
            self.cumulative = self.cumulative.wrapping_add(1);
            if !self.step(piece, true, &mut discard) {
                discard.tsn = self.cumulative;
            }
        }
        Some(discard)
    }

    /// Takes out what is first in `ahead`.
    fn skip(&mut self, count: usize) {
        let runs = (0..count).filter(|&at| self.has(at) && !(at + 1 < count && self.has(at + 1)));
        let ended = runs.count();
        // A run that goes on behind is still one.
        let goes_on = count > 0 && self.has(count - 1) && self.has(count);
        self.gaps -= ended - usize::from(goes_on);
        self.ahead.drain(..count);
    }

    /// The peer has reset a stream: its next message is the first.
    pub fn reset(&mut self, stream: u16) {
        self.next.remove(&stream);
        self.unwanted.remove(&stream);
    }

    pub fn reset_all(&mut self) {
        self.next.clear();
        self.unwanted.clear();
    }

    /// From now on the data of a stream is thrown away.
    pub fn unwant(&mut self, stream: u16) {
        self.unwanted.insert(stream);
    }

    pub fn is_unwanted(&self, stream: u16) -> bool {
        self.unwanted.contains(&stream)
    }

    /// Compares with what the association says has arrived. If it is something else, nothing more
    /// is known than that.
    pub fn agree(
        &mut self,
        cumulative: u32,
        gaps: impl Iterator<Item = (u16, u16)> + Clone,
    ) -> bool {
        let highest = gaps.clone().last().map_or(0, |(_, end)| end);
        if cumulative == self.cumulative
            && usize::from(highest) == self.ahead.len()
            && gaps.clone().count() == self.gaps
        {
            return true;
        }
        let unknown = Piece {
            stream: 0,
            ssn: 0,
            len: 0,
            begins: true,
            ends: true,
            unordered: true,
        };
        *self = Self {
            open: Open::Unknown,
            any_ssn: true,
            unwanted: std::mem::take(&mut self.unwanted),
            ..Self::new(cumulative.wrapping_add(1))
        };
        for (start, end) in gaps.filter(|&(_, end)| usize::from(end) <= limits::SCTP_TSN_DISTANCE) {
            self.gaps += 1;
            self.ahead.resize(usize::from(start) - 1, None);
            self.ahead.resize(usize::from(end), Some(unknown));
        }
        false
    }
}
