//! What is read from a received packet once, for all its subscribers.

use std::time::{Duration, Instant};

use rtp::vp8::Vp8Descriptor;

/// Header extensions of one packet that can be passed on.
pub(crate) const MAX_PASSED_EXTENSIONS: usize = 4;

/// A header extension inside a stored packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ExtensionRef {
    /// The publisher's id.
    pub(crate) id: u8,
    /// Length of the value in bytes.
    pub(crate) len: u8,
    /// Where the value begins in the packet.
    pub(crate) start: u16,
}

/// One stored packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PacketInfo {
    pub(crate) arrival: Instant,
    pub(crate) timestamp: u32,
    pub(crate) payload_start: u16,
    /// 0: nothing but padding.
    pub(crate) payload_len: u16,
    /// Index into the receiver's codecs.
    pub(crate) codec: u8,
    /// Temporal layer, 0 where the codec tells none.
    pub(crate) temporal: u8,
    pub(crate) marker: bool,
    /// A packet that a key frame begins with.
    pub(crate) key_frame: bool,
    /// Forwarding may begin here: a key frame, or anything of a codec whose key frames cannot be
    /// told.
    pub(crate) entry_point: bool,
    pub(crate) extension_count: u8,
    pub(crate) extensions: [ExtensionRef; MAX_PASSED_EXTENSIONS],
    /// Its VP8 payload descriptor, which has to be rewritten.
    pub(crate) vp8: Option<Vp8Descriptor>,
}

impl PacketInfo {
    /// A packet of one byte of audio.
    #[cfg(test)]
    pub(crate) fn for_test(arrival: Instant, timestamp: u32) -> Self {
        Self {
            arrival,
            timestamp,
            payload_start: 12,
            payload_len: 1,
            codec: 0,
            temporal: 0,
            marker: false,
            key_frame: false,
            entry_point: true,
            extension_count: 0,
            extensions: Default::default(),
            vp8: None,
        }
    }

    /// Whether the packet is the first of its frame, where the codec tells.
    #[inline]
    pub(crate) fn is_frame_start(&self) -> bool {
        self.vp8.is_some_and(|vp8| vp8.frame_start())
    }

    /// Whether the packet carries no media.
    #[inline]
    pub(crate) fn is_padding(&self) -> bool {
        self.payload_len == 0
    }

    /// The media in the stored packet.
    #[inline]
    pub(crate) fn payload<'a>(&self, packet: &'a [u8]) -> &'a [u8] {
        let start = usize::from(self.payload_start);
        &packet[start..start + usize::from(self.payload_len)]
    }

    /// The header extensions that can be passed on.
    #[inline]
    pub(crate) fn extensions(&self) -> &[ExtensionRef] {
        &self.extensions[..usize::from(self.extension_count)]
    }
}

/// `duration` in ticks of a clock of `clock_rate` Hz, wrapping like an RTP timestamp.
#[inline]
pub(crate) fn ticks(duration: Duration, clock_rate: u32) -> u32 {
    (duration.as_nanos() * u128::from(clock_rate) / 1_000_000_000) as u32
}
