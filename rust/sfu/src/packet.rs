//! What is read from a received packet once, for all its subscribers.

use std::time::{Duration, Instant};

use rtp::codec::EntryPoint;
use rtp::dependency::{Dependencies, DescriptorLayout};
use rtp::extension::ExtensionKind;
use rtp::vp8::Vp8Descriptor;
use rtp::vp9::Vp9Layer;

/// Header extensions of one packet that can be passed on.
pub(crate) const MAX_PASSED_EXTENSIONS: usize = 4;

/// Whether an extension is for the subscriber too, and not only for the engine.
pub(crate) fn is_end_to_end(uri: &str) -> bool {
    !matches!(
        ExtensionKind::from_uri(uri),
        Some(
            ExtensionKind::Mid
                | ExtensionKind::Rid
                | ExtensionKind::RepairedRid
                | ExtensionKind::TransportCc
                | ExtensionKind::AbsSendTime
                | ExtensionKind::PlayoutDelay
        )
    )
}

/// Whether an extension is passed on as it is. Dependency descriptors mean something only in an
/// unbroken stream, so they are rewritten for each subscriber, or left out.
pub(crate) fn is_passed_on(uri: &str) -> bool {
    is_end_to_end(uri) && uri != ExtensionKind::DependencyDescriptor.uri()
}

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

/// What a packet's dependency descriptor says, with everything that it takes from the structure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DescribedFrame {
    /// The frame's number, unwrapped.
    pub(crate) number: u64,
    /// Number of the key frame that brought the structure.
    pub(crate) key_frame: u64,
    /// The decode targets that the publisher sends, target 0 in the lowest bit.
    pub(crate) active: u32,
    pub(crate) dependencies: Dependencies,
    pub(crate) layout: DescriptorLayout,
    /// Where the descriptor is.
    pub(crate) place: ExtensionRef,
    /// The packet is the first of its frame.
    pub(crate) start: bool,
    /// The packet is the last of its frame.
    pub(crate) end: bool,
}

/// What a VP9 payload descriptor says of its layer frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Vp9Frame {
    pub(crate) layer: Vp9Layer,
    /// It depends on earlier pictures.
    pub(crate) inter_picture: bool,
    pub(crate) start: bool,
    pub(crate) end: bool,
}

/// Where a packet belongs in a stream that carries several layers (SVC).
#[derive(Clone, Copy, Debug)]
pub(crate) enum Svc {
    /// As its dependency descriptor says.
    Described(DescribedFrame),
    /// As its VP9 payload descriptor says.
    Vp9(Vp9Frame),
    /// It has a dependency descriptor that means nothing without what was lost.
    Unknown,
}

impl Svc {
    /// The spatial layer, 0 if it is not known.
    pub(crate) fn spatial(&self) -> u8 {
        match self {
            Self::Described(frame) => frame.dependencies.spatial,
            Self::Vp9(frame) => frame.layer.spatial,
            Self::Unknown => 0,
        }
    }

    /// The temporal layer, 0 if it is not known.
    pub(crate) fn temporal(&self) -> u8 {
        match self {
            Self::Described(frame) => frame.dependencies.temporal,
            Self::Vp9(frame) => frame.layer.temporal,
            Self::Unknown => 0,
        }
    }

    /// Whether the packet is the first of its layer's frame.
    pub(crate) fn frame_start(&self) -> bool {
        match self {
            Self::Described(frame) => frame.start,
            Self::Vp9(frame) => frame.start,
            Self::Unknown => false,
        }
    }
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
    /// The highest temporal layer that its frame needs, where the codec tells.
    pub(crate) depends_on_temporal: u8,
    pub(crate) marker: bool,
    /// A packet that a key frame begins with.
    pub(crate) key_frame: bool,
    /// Whether forwarding may begin here: at a key frame, or at anything of a codec whose key frames
    /// cannot be told.
    pub(crate) entry: EntryPoint,
    pub(crate) extension_count: u8,
    pub(crate) extensions: [ExtensionRef; MAX_PASSED_EXTENSIONS],
    /// Its VP8 payload descriptor, which has to be rewritten.
    pub(crate) vp8: Option<Vp8Descriptor>,
    /// Its layers, if its stream may carry several.
    pub(crate) svc: Option<Svc>,
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
            depends_on_temporal: 0,
            marker: false,
            key_frame: false,
            entry: EntryPoint::First,
            extension_count: 0,
            extensions: Default::default(),
            vp8: None,
            svc: None,
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
