//! What is known of each stream, by SSRC: packet indices and replay windows.

use rustc_hash::FxHashMap;

use super::replay::ReplayWindow;

/// Greatest SRTP packet index: a 32-bit rollover counter and a 16-bit sequence number.
const MAX_RTP_INDEX: u64 = (1 << 48) - 1;

/// Number of SRTCP packets that may be sent under one key (RFC 3711 3.4).
const MAX_RTCP_PACKETS: u32 = 1 << 31;

/// Streams that keep their replay window. The one that has been silent for longest makes room for
/// another: of an ended stream only the highest index is kept.
pub(super) const LIVE: usize = 1024;

/// Words of a replay window of SRTP: 960 packets at least, so that retransmissions on the stream
/// itself, which arrive a few hundred packets late, are not taken for replays.
pub(super) const RTP_WORDS: usize = 16;

/// Words of a replay window of SRTCP: 192 packets at least.
pub(super) const RTCP_WORDS: usize = 4;

/// Estimates the SRTP index of `seq` (RFC 3711 3.3.1): the one nearest to the highest index so far.
/// `None` past the last index. Before the first wrap there is no lower rollover counter, so a
/// sequence number far above the highest one is a jump ahead.
#[inline]
pub(super) fn rtp_index(highest: Option<u64>, seq: u16) -> Option<u64> {
    let Some(highest) = highest else {
        return Some(u64::from(seq));
    };
    let (roc, last) = (highest >> 16, highest as u16);
    let distance = i32::from(seq) - i32::from(last);
    let roc = if distance < -0x8000 {
        roc + 1
    } else if distance > 0x8000 {
        roc.saturating_sub(1)
    } else {
        roc
    };
    let index = roc << 16 | u64::from(seq);
    (index <= MAX_RTP_INDEX).then_some(index)
}

/// Counts an SRTCP packet that is sent and returns its index, or `None` if the key is used up.
pub(super) fn next_rtcp_index(sent: &mut u32) -> Option<u32> {
    let index = *sent;
    if index >= MAX_RTCP_PACKETS {
        return None;
    }
    *sent += 1;
    Some(index)
}

/// A stream that is heard.
#[derive(Debug)]
struct Live<W> {
    window: W,
    /// The packet of the context that was the stream's last.
    last: u64,
}

/// The streams that a context receives. Looking one up does not allocate; the first packet of
/// another may.
#[derive(Debug)]
pub(super) struct Received<const WORDS: usize> {
    live: FxHashMap<u32, Live<ReplayWindow<WORDS>>>,
    /// The highest index of streams that ended. They may go on, but nothing before that index is
    /// taken: it could be a replay.
    ended: FxHashMap<u32, u64>,
    /// Packets accepted.
    accepted: u64,
}

impl<const WORDS: usize> Default for Received<WORDS> {
    fn default() -> Self {
        Self {
            live: FxHashMap::default(),
            ended: FxHashMap::default(),
            accepted: 0,
        }
    }
}

/// Where a packet's index stands in its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Not accepted before.
    New,
    /// Accepted before, or too old to tell.
    Replay,
    /// The stream is another one and there is no room for it.
    NoRoom,
}

impl<const WORDS: usize> Received<WORDS> {
    /// The highest index of a stream, live or ended.
    #[inline]
    pub(super) fn highest(&self, ssrc: u32) -> Option<u64> {
        match self.live.get(&ssrc) {
            Some(stream) => stream.window.highest(),
            None if self.ended.is_empty() => None,
            None => self.ended.get(&ssrc).copied(),
        }
    }

    /// Takes the index of a packet that is known to be authentic.
    #[inline]
    pub(super) fn accept(&mut self, ssrc: u32, index: u64) -> Standing {
        self.accepted += 1;
        let Some(stream) = self.live.get_mut(&ssrc) else {
            return self.begin(ssrc, index);
        };
        if stream.window.is_replay(index) {
            return Standing::Replay;
        }
        stream.window.accept(index);
        stream.last = self.accepted;
        Standing::New
    }

    /// The first packet of a stream, or the first after it ended.
    #[cold]
    fn begin(&mut self, ssrc: u32, index: u64) -> Standing {
        match self.ended.get(&ssrc) {
            Some(&highest) if index <= highest => return Standing::Replay,
            None if self.ended.len() + self.live.len() >= super::MAX_RECEIVED_STREAMS => {
                return Standing::NoRoom;
            }
            _ => {}
        }
        if self.live.len() >= LIVE {
            self.end_silent();
        }
        let before = self.ended.remove(&ssrc);
        let mut window = before.map_or_else(ReplayWindow::default, ReplayWindow::after);
        window.accept(index);
        let last = self.accepted;
        self.live.insert(ssrc, Live { window, last });
        Standing::New
    }

    /// Ends the half of the live streams that has been silent for longer than the other half, so
    /// that whoever begins one stream after another pays once for hundreds of them.
    fn end_silent(&mut self) {
        let mut ages: Vec<u64> = self.live.values().map(|stream| stream.last).collect();
        let (_, &mut median, _) = ages.select_nth_unstable(self.live.len() / 2);
        let ended = &mut self.ended;
        self.live.retain(|&ssrc, stream| {
            let stays = stream.last >= median;
            if !stays && let Some(highest) = stream.window.highest() {
                ended.insert(ssrc, highest);
            }
            stays
        });
    }

    /// Live and ended streams.
    pub(super) fn len(&self) -> usize {
        self.live.len() + self.ended.len()
    }

    #[cfg(test)]
    pub(super) fn live(&self) -> usize {
        self.live.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn index_estimates() {
        let cases: [(u64, u16, u64); 9] = [
            (5, 6, 6),
            (65_535, 0, 0x1_0000),
            (0x1_0000, 65_535, 65_535),
            (0x1_0003, 4, 0x1_0004),
            (0x7_8000, 0, 0x7_0000),
            (0x7_8001, 0, 0x8_0000),
            (0x7_0000, 0x8000, 0x7_8000),
            (0x7_0000, 0x8001, 0x6_8001),
            // Before the first wrap: ahead, not minus one wrap.
            (0, 0xffff, 0xffff),
        ];
        for (highest, seq, expected) in cases {
            assert_eq!(
                rtp_index(Some(highest), seq),
                Some(expected),
                "{highest:#x} {seq:#x}"
            );
        }
        assert_eq!(rtp_index(None, 7), Some(7));
    }

    #[test]
    fn indices_end() {
        assert_eq!(rtp_index(Some(MAX_RTP_INDEX), 0), None);
        assert_eq!(
            rtp_index(Some(MAX_RTP_INDEX), 0xfff0),
            Some(MAX_RTP_INDEX - 15)
        );
        let mut sent = MAX_RTCP_PACKETS - 1;
        assert_eq!(next_rtcp_index(&mut sent), Some(MAX_RTCP_PACKETS - 1));
        assert_eq!(next_rtcp_index(&mut sent), None);
    }

    #[test]
    fn an_ended_stream_goes_on_after_its_highest_index() {
        let mut received = Received::<4>::default();
        assert_eq!(received.accept(7, 100), Standing::New);
        for ssrc in 1_000..1_000 + LIVE as u32 {
            assert_eq!(received.accept(ssrc, 1), Standing::New);
        }
        assert!(!received.live.contains_key(&7) && received.live() <= LIVE);
        assert_eq!(received.highest(7), Some(100));
        assert_eq!(received.accept(7, 100), Standing::Replay);
        // Perhaps it never came; perhaps it did, and nobody can tell any more.
        assert_eq!(received.accept(7, 99), Standing::Replay);
        assert_eq!(received.accept(7, 101), Standing::New);
        assert!(received.live.contains_key(&7) && !received.ended.contains_key(&7));
        assert_eq!(received.accept(7, 101), Standing::Replay);
    }

    #[test]
    fn whoever_is_heard_keeps_its_window() {
        let mut received = Received::<4>::default();
        for round in 0..20_000_u32 {
            assert_eq!(received.accept(7, 2 * u64::from(round)), Standing::New);
            assert_eq!(received.accept(1_000 + round, 1), Standing::New);
        }
        // Late, and not a replay: the window is the stream's own.
        assert_eq!(received.accept(7, 2 * 19_999 - 1), Standing::New);
        assert_eq!(received.len(), 20_001);
    }

    #[test]
    fn no_index_is_accepted_twice_however_many_streams_there_are() {
        let mut received = Received::<4>::default();
        let (mut seen, mut rng) = (HashSet::new(), 9_u64);
        for _ in 0..100_000 {
            rng ^= rng << 13;
            rng ^= rng >> 7;
            rng ^= rng << 17;
            let (ssrc, index) = ((rng % 3_000) as u32, rng >> 32 & 0xff);
            if received.accept(ssrc, index) == Standing::New {
                assert!(seen.insert((ssrc, index)));
            }
        }
        assert!(received.live() <= LIVE);
    }
}
