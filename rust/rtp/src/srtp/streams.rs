//! Per-stream state: packet indices and replay windows, by SSRC.

use rustc_hash::FxHashMap;

use super::replay::ReplayWindow;

/// Greatest SRTP packet index: a 32-bit rollover counter and a 16-bit sequence number.
const MAX_RTP_INDEX: u64 = (1 << 48) - 1;

/// Number of SRTCP packets that may be sent under one key (RFC 3711 3.4).
const MAX_RTCP_PACKETS: u32 = 1 << 31;

/// Streams by SSRC. Looking one up does not allocate; the first packet of a new one may.
#[derive(Debug, Default)]
pub(super) struct Streams<S>(FxHashMap<u32, S>);

impl<S: Default> Streams<S> {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    #[inline]
    pub(super) fn get(&self, ssrc: u32) -> Option<&S> {
        self.0.get(&ssrc)
    }

    #[inline]
    pub(super) fn get_or_insert(&mut self, ssrc: u32) -> &mut S {
        self.0.entry(ssrc).or_default()
    }

    pub(super) fn remove(&mut self, ssrc: u32) {
        self.0.remove(&ssrc);
    }
}

/// One SRTP stream. The window holds at least 960 packets, so that retransmissions on the stream
/// itself, which arrive a few hundred packets late, are not taken for replays.
#[derive(Debug, Default)]
pub(super) struct RtpStream {
    window: ReplayWindow<16>,
}

impl RtpStream {
    /// Estimates the packet index of `seq` (RFC 3711 3.3.1): the one nearest to the highest index
    /// so far. `None` past the last index. Before the first wrap there is no lower rollover
    /// counter, so a sequence number far above the highest one is a jump ahead.
    #[inline]
    pub(super) fn next_index(&self, seq: u16) -> Option<u64> {
        let Some(highest) = self.window.highest() else {
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

    #[inline]
    pub(super) fn is_replay(&self, index: u64) -> bool {
        self.window.is_replay(index)
    }

    /// Notes an authentic packet, which must not be a replay.
    #[inline]
    pub(super) fn received(&mut self, index: u64) {
        self.window.accept(index);
    }

    /// Notes a packet that was sent, perhaps not for the first time.
    #[inline]
    pub(super) fn sent(&mut self, index: u64) {
        if !self.window.is_replay(index) {
            self.window.accept(index);
        }
    }
}

/// One SRTCP stream: when sending, the number of packets sent; when receiving, the window.
#[derive(Debug, Default)]
pub(super) struct RtcpStream {
    sent: u32,
    window: ReplayWindow<4>,
}

impl RtcpStream {
    /// The index for the next packet to send, or `None` if the key is used up.
    pub(super) fn next_index(&mut self) -> Option<u32> {
        let index = self.sent;
        if index >= MAX_RTCP_PACKETS {
            return None;
        }
        self.sent += 1;
        Some(index)
    }

    pub(super) fn is_replay(&self, index: u32) -> bool {
        self.window.is_replay(u64::from(index))
    }

    /// Notes an authentic packet, which must not be a replay.
    pub(super) fn received(&mut self, index: u32) {
        self.window.accept(u64::from(index));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream_at(highest: u64) -> RtpStream {
        let mut stream = RtpStream::default();
        stream.received(highest);
        stream
    }

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
            let stream = stream_at(highest);
            assert_eq!(
                stream.next_index(seq),
                Some(expected),
                "{highest:#x} {seq:#x}"
            );
        }
    }

    #[test]
    fn indices_end() {
        assert_eq!(stream_at(MAX_RTP_INDEX).next_index(0), None);
        assert_eq!(
            stream_at(MAX_RTP_INDEX).next_index(0xfff0),
            Some(MAX_RTP_INDEX - 15)
        );
        let mut stream = RtcpStream {
            sent: MAX_RTCP_PACKETS - 1,
            ..Default::default()
        };
        assert_eq!(stream.next_index(), Some(MAX_RTCP_PACKETS - 1));
        assert_eq!(stream.next_index(), None);
    }
}
