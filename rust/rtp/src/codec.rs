//! What forwarding must know of a payload whatever its codec: key frames and frame starts.

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

/// Whether a packet is one that a decoder may start with: the first of a key frame, or any packet
/// of audio or of a codec whose key frames cannot be told.
///
/// `dependency_descriptor` is the value of that header extension, if the packet has it; it is
/// trusted before the payload, which may be encrypted end to end.
#[inline]
pub fn is_key_frame(codec: Codec, payload: &[u8], dependency_descriptor: Option<&[u8]>) -> bool {
    if let Some(frame) = dependency_descriptor.and_then(FrameDescriptor::parse) {
        return frame.key_frame();
    }
    match codec {
        Codec::Opus | Codec::Red | Codec::OtherAudio | Codec::Other => true,
        Codec::Vp8 => Vp8Descriptor::parse(payload).is_some_and(|vp8| vp8.key_frame),
        Codec::Vp9 => Vp9Descriptor::parse(payload).is_some_and(|vp9| vp9.key_frame()),
        Codec::H264 => h26x::is_h264_key_frame(payload),
        Codec::H265 => h26x::is_h265_key_frame(payload),
        Codec::Av1 => av1::is_key_frame(payload),
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
            assert!(is_key_frame(codec, &[], None));
        }
        assert_eq!(is_frame_start(Codec::Opus, &[], None), Some(true));
        assert_eq!(is_frame_start(Codec::Other, &[], None), None);
    }

    #[test]
    fn payloads_are_dispatched_by_codec() {
        let cases: [(Codec, &[u8], bool, Option<bool>); 6] = [
            (Codec::Vp8, &[0x10, 0x00], true, Some(true)),
            (Codec::Vp8, &[0x10, 0x01], false, Some(true)),
            (Codec::Vp9, &[0x08], true, Some(true)),
            (Codec::H264, &[0x67], true, None),
            (Codec::H265, &[0x42, 0x01], true, None),
            (Codec::Av1, &[0x18, 0x0a], true, None),
        ];
        for (codec, payload, key_frame, start) in cases {
            assert_eq!(is_key_frame(codec, payload, None), key_frame, "{codec:?}");
            assert_eq!(is_frame_start(codec, payload, None), start, "{codec:?}");
        }
    }

    #[test]
    fn the_dependency_descriptor_comes_first() {
        let delta_vp8 = [0x10, 0x01];
        let key = [0x80, 0, 1, 0x80];
        assert!(is_key_frame(Codec::Vp8, &delta_vp8, Some(&key)));
        assert!(!is_key_frame(Codec::Vp8, &[0x10, 0], Some(&[0x80, 0, 1])));
        assert_eq!(is_frame_start(Codec::Av1, &[], Some(&key)), Some(true));
        // One that does not parse counts as absent.
        assert!(is_key_frame(Codec::Vp8, &[0x10, 0], Some(&[0x80])));
    }

    proptest! {
        #[test]
        fn never_panics(
            codec in prop::sample::select(&ALL), payload: Vec<u8>, descriptor: Option<Vec<u8>>,
        ) {
            let start = is_frame_start(codec, &payload, descriptor.as_deref());
            let key = is_key_frame(codec, &payload, descriptor.as_deref());
            prop_assert!(!(key && start == Some(false)));
        }
    }
}
