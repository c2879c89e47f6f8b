//! What forwarding must know of a payload whatever its codec: where a decoder can begin, and frame starts.

mod av1;
mod dependency_descriptor;
mod h26x;

pub use dependency_descriptor::FrameDescriptor;

use crate::vp8::Vp8Descriptor;
use crate::vp9::Vp9Descriptor;

/// A codec that is told apart when forwarding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// `audio/opus`.
    Opus,
    /// `audio/red`: redundant audio (RFC 2198).
    Red,
    /// `video/vp8`.
    Vp8,
    /// `video/vp9`.
    Vp9,
    /// `video/h264`.
    H264,
    /// `video/h265`.
    H265,
    /// `video/av1`.
    Av1,
    /// Any other audio codec.
    OtherAudio,
    /// Anything else.
    Other,
}

impl Codec {
    /// The codec of a MIME type, in any case.
    pub fn from_mime(mime: &str) -> Self {
        let known = [
            ("audio/opus", Self::Opus),
            ("audio/red", Self::Red),
            ("video/vp8", Self::Vp8),
            ("video/vp9", Self::Vp9),
            ("video/h264", Self::H264),
            ("video/h265", Self::H265),
            ("video/av1", Self::Av1),
        ];
        let is_audio = || {
            mime.get(..6)
                .is_some_and(|kind| kind.eq_ignore_ascii_case("audio/"))
        };
        known
            .into_iter()
            .find(|(name, _)| mime.eq_ignore_ascii_case(name))
            .map_or_else(
                || {
                    if is_audio() {
                        Self::OtherAudio
                    } else {
                        Self::Other
                    }
                },
                |(_, codec)| codec,
            )
    }

    /// Whether it is an audio codec.
    pub const fn is_audio(self) -> bool {
        matches!(self, Self::Opus | Self::Red | Self::OtherAudio)
    }
}

/// What a decoder that has nothing yet can do with a packet; each can be begun with at least as well as
/// those before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EntryPoint {
    /// Nothing: it needs what comes before it.
    #[default]
    None,
    /// It begins an intra picture. The parameter sets are in packets of the same frame before it, or
    /// known otherwise.
    Picture,
    /// It has parameter sets, but not the first of them: a sequence parameter set of H.265 without the
    /// video parameter set.
    LaterSets,
    /// It has the parameter sets that a key frame begins with. Packets of the same frame before it have
    /// nothing that is missed, unless the encoder has an order of its own.
    ParameterSets,
    /// It is the first packet of a key frame, or a packet that needs no other.
    First,
}

impl EntryPoint {
    /// Whether a decoder can begin with the packet, with what comes before it in the same frame.
    #[inline]
    pub const fn is_some(self) -> bool {
        !matches!(self, Self::None)
    }
}

/// Whether a decoder may begin with a packet: at a key frame, or anywhere in audio and in codecs whose
/// key frames cannot be told.
///
/// `dependency_descriptor` is the value of that header extension, if the packet has it; it is
/// trusted before the payload, which may be encrypted end to end.
#[inline]
pub fn entry_point(
    codec: Codec,
    payload: &[u8],
    dependency_descriptor: Option<&[u8]>,
) -> EntryPoint {
    let first = |is_first: bool| match is_first {
        true => EntryPoint::First,
        false => EntryPoint::None,
    };
    if let Some(frame) = dependency_descriptor.and_then(FrameDescriptor::parse) {
        return first(frame.key_frame());
    }
    match codec {
        Codec::Opus | Codec::Red | Codec::OtherAudio | Codec::Other => EntryPoint::First,
        Codec::Vp8 => first(Vp8Descriptor::parse(payload).is_some_and(|vp8| vp8.key_frame)),
        Codec::Vp9 => first(Vp9Descriptor::parse(payload).is_some_and(|vp9| vp9.key_frame())),
        Codec::H264 => h26x::h264_entry_point(payload),
        Codec::H265 => h26x::h265_entry_point(payload),
        Codec::Av1 => av1::entry_point(payload),
    }
}

/// Whether a packet is the first of its frame (of its layer's, with spatial layers), or `None` if
/// that cannot be told from the packet alone.
#[inline]
pub fn is_frame_start(
    codec: Codec,
    payload: &[u8],
    dependency_descriptor: Option<&[u8]>,
) -> Option<bool> {
    if let Some(frame) = dependency_descriptor.and_then(FrameDescriptor::parse) {
        return Some(frame.start);
    }
    match codec {
        Codec::Opus | Codec::Red | Codec::OtherAudio => Some(true),
        Codec::Vp8 => Some(Vp8Descriptor::parse(payload)?.frame_start()),
        Codec::Vp9 => Some(Vp9Descriptor::parse(payload)?.frame_start),
        Codec::H264 | Codec::H265 | Codec::Av1 | Codec::Other => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALL: [Codec; 9] = [
        Codec::Opus,
        Codec::Red,
        Codec::Vp8,
        Codec::Vp9,
        Codec::H264,
        Codec::H265,
        Codec::Av1,
        Codec::OtherAudio,
        Codec::Other,
    ];

    #[test]
    fn mime_types_in_any_case() {
        assert_eq!(Codec::from_mime("video/VP8"), Codec::Vp8);
        assert_eq!(Codec::from_mime("audio/opus"), Codec::Opus);
        assert_eq!(Codec::from_mime("Audio/PCMU"), Codec::OtherAudio);
        assert_eq!(Codec::from_mime("video/x"), Codec::Other);
        assert_eq!(Codec::from_mime(""), Codec::Other);
        assert!(Codec::from_mime("audio/G722").is_audio());
        assert!(!Codec::from_mime("video/H264").is_audio());
    }

    #[test]
    fn audio_and_unknown_codecs_may_start_anywhere() {
        for codec in [Codec::Opus, Codec::Red, Codec::OtherAudio, Codec::Other] {
            assert_eq!(entry_point(codec, &[], None), EntryPoint::First);
        }
        assert_eq!(is_frame_start(Codec::Opus, &[], None), Some(true));
        assert_eq!(is_frame_start(Codec::Other, &[], None), None);
    }

    #[test]
    fn payloads_are_dispatched_by_codec() {
        use EntryPoint::{First, LaterSets, None, ParameterSets};
        let cases: [(Codec, &[u8], EntryPoint, Option<bool>); 6] = [
            (Codec::Vp8, &[0x10, 0x00], First, Some(true)),
            (Codec::Vp8, &[0x10, 0x01], None, Some(true)),
            (Codec::Vp9, &[0x08], First, Some(true)),
            (Codec::H264, &[0x67], ParameterSets, Option::None),
            (Codec::H265, &[0x42, 0x01], LaterSets, Option::None),
            (Codec::Av1, &[0x18, 0x0a], ParameterSets, Option::None),
        ];
        for (codec, payload, entry, start) in cases {
            assert_eq!(
                entry_point(codec, payload, Option::None),
                entry,
                "{codec:?}"
            );
            assert_eq!(
                is_frame_start(codec, payload, Option::None),
                start,
                "{codec:?}"
            );
        }
    }

    #[test]
    fn the_dependency_descriptor_comes_first() {
        let delta_vp8 = [0x10, 0x01];
        let key = [0x80, 0, 1, 0x80];
        let begins = |payload, descriptor| {
            entry_point(Codec::Vp8, payload, Some(descriptor)) == EntryPoint::First
        };
        assert!(begins(&delta_vp8, &key));
        assert!(!begins(&[0x10, 0], &[0x80, 0, 1]));
        assert_eq!(is_frame_start(Codec::Av1, &[], Some(&key)), Some(true));
        // One that does not parse counts as absent.
        assert!(begins(&[0x10, 0], &[0x80]));
    }

    proptest! {
        #[test]
        fn never_panics(
            codec in prop::sample::select(&ALL), payload: Vec<u8>, descriptor: Option<Vec<u8>>,
        ) {
            let start = is_frame_start(codec, &payload, descriptor.as_deref());
            let entry = entry_point(codec, &payload, descriptor.as_deref());
            prop_assert!(!(entry.is_some() && start == Some(false)));
        }
    }
}
