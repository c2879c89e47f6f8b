//! Which extension each negotiated id means, and the extensions of one packet by meaning.

use super::values::{
    AbsCaptureTime, AudioLevel, PlayoutDelay, parse_abs_send_time, parse_transport_sequence,
};
use crate::header::RtpHeader;

/// A header extension that the engine knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ExtensionKind {
    /// Media section id (RFC 9143).
    Mid,
    /// RTP stream id (RFC 8852).
    Rid,
    /// RTP stream id of the stream that an RTX stream repairs (RFC 8852).
    RepairedRid,
    /// Client-to-mixer audio level (RFC 6464).
    AudioLevel,
    /// Transport-wide sequence number.
    TransportCc,
    /// Absolute send time.
    AbsSendTime,
    /// Dependency descriptor (AV1 RTP specification, appendix A).
    DependencyDescriptor,
    /// Absolute capture time.
    AbsCaptureTime,
    /// Playout delay limits.
    PlayoutDelay,
    /// Frame marking (RFC 9626).
    FrameMarking,
}

impl ExtensionKind {
    /// All kinds.
    pub const ALL: [Self; 10] = [
        Self::Mid,
        Self::Rid,
        Self::RepairedRid,
        Self::AudioLevel,
        Self::TransportCc,
        Self::AbsSendTime,
        Self::DependencyDescriptor,
        Self::AbsCaptureTime,
        Self::PlayoutDelay,
        Self::FrameMarking,
    ];

    /// The URI that `a=extmap` names it by.
    pub const fn uri(self) -> &'static str {
        match self {
            Self::Mid => "urn:ietf:params:rtp-hdrext:sdes:mid",
            Self::Rid => "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id",
            Self::RepairedRid => "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id",
            Self::AudioLevel => "urn:ietf:params:rtp-hdrext:ssrc-audio-level",
            Self::TransportCc => {
                "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"
            }
            Self::AbsSendTime => "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time",
            Self::DependencyDescriptor => {
                "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension"
            }
            Self::AbsCaptureTime => "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time",
            Self::PlayoutDelay => "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay",
            Self::FrameMarking => "urn:ietf:params:rtp-hdrext:framemarking",
        }
    }

    /// The kind that `uri` names, if it is known.
    pub fn from_uri(uri: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.uri() == uri)
    }
}

/// The negotiated ids of a media section or transport: id to kind and back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtensionMap {
    by_id: [Option<ExtensionKind>; 256],
    ids: [u8; ExtensionKind::ALL.len()],
}

impl Default for ExtensionMap {
    fn default() -> Self {
        Self {
            by_id: [None; 256],
            ids: [0; ExtensionKind::ALL.len()],
        }
    }
}

impl ExtensionMap {
    /// An empty map.
    pub fn new() -> Self {
        Self::default()
    }

    /// The map of negotiated `(id, uri)` pairs; unknown URIs are skipped.
    pub fn from_uris<'a>(extensions: impl IntoIterator<Item = (u8, &'a str)>) -> Self {
        let mut map = Self::new();
        for (id, uri) in extensions {
            if let Some(kind) = ExtensionKind::from_uri(uri) {
                map.insert(id, kind);
            }
        }
        map
    }

    /// Adds `id` for `kind`, replacing what `id` meant before. Media sections of one bundle may give one
    /// kind several ids (RFC 8285 6), and packets with the id of before a renegotiation may be on their
    /// way: [`Self::id`] is the last one, the others stay. Id 0 is refused: it is padding on the wire.
    pub fn insert(&mut self, id: u8, kind: ExtensionKind) -> bool {
        if id == 0 {
            return false;
        }
        if let Some(replaced) = self.by_id[usize::from(id)]
            && self.ids[replaced as usize] == id
        {
            self.ids[replaced as usize] = 0;
        }
        self.by_id[usize::from(id)] = Some(kind);
        self.ids[kind as usize] = id;
        true
    }

    /// What `id` means.
    #[inline]
    pub fn kind(&self, id: u8) -> Option<ExtensionKind> {
        self.by_id[usize::from(id)]
    }

    /// The id of `kind`, if it was negotiated.
    #[inline]
    pub fn id(&self, kind: ExtensionKind) -> Option<u8> {
        let id = self.ids[kind as usize];
        (id != 0).then_some(id)
    }
}

/// The known header extensions of one packet. Values that do not parse are absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ParsedExtensions<'a> {
    /// Media section id.
    pub mid: Option<&'a [u8]>,
    /// RTP stream id.
    pub rid: Option<&'a [u8]>,
    /// RTP stream id of the repaired stream.
    pub repaired_rid: Option<&'a [u8]>,
    /// Audio level.
    pub audio_level: Option<AudioLevel>,
    /// Transport-wide sequence number.
    pub transport_sequence: Option<u16>,
    /// Absolute send time, 24 bits.
    pub abs_send_time: Option<u32>,
    /// Dependency descriptor, unparsed.
    pub dependency_descriptor: Option<&'a [u8]>,
    /// Absolute capture time.
    pub abs_capture_time: Option<AbsCaptureTime>,
    /// Playout delay limits.
    pub playout_delay: Option<PlayoutDelay>,
    /// Frame marking, unparsed.
    pub frame_marking: Option<&'a [u8]>,
}

impl<'a> ParsedExtensions<'a> {
    /// The extensions of `packet`, whose header is `header`.
    #[inline]
    pub fn parse(map: &ExtensionMap, header: &RtpHeader, packet: &'a [u8]) -> Self {
        let mut parsed = Self::default();
        for (id, value) in header.extensions(packet) {
            let Some(kind) = map.kind(id) else { continue };
            match kind {
                ExtensionKind::Mid => parsed.mid = Some(value),
                ExtensionKind::Rid => parsed.rid = Some(value),
                ExtensionKind::RepairedRid => parsed.repaired_rid = Some(value),
                ExtensionKind::AudioLevel => parsed.audio_level = AudioLevel::parse(value),
                ExtensionKind::TransportCc => {
                    parsed.transport_sequence = parse_transport_sequence(value);
                }
                ExtensionKind::AbsSendTime => parsed.abs_send_time = parse_abs_send_time(value),
                ExtensionKind::DependencyDescriptor => parsed.dependency_descriptor = Some(value),
                ExtensionKind::AbsCaptureTime => {
                    parsed.abs_capture_time = AbsCaptureTime::parse(value);
                }
                ExtensionKind::PlayoutDelay => parsed.playout_delay = PlayoutDelay::parse(value),
                ExtensionKind::FrameMarking => parsed.frame_marking = Some(value),
            }
        }
        parsed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header::{HeaderFields, write_header};

    #[test]
    fn kinds_and_uris_correspond() {
        for kind in ExtensionKind::ALL {
            assert_eq!(ExtensionKind::from_uri(kind.uri()), Some(kind));
        }
        assert_eq!(ExtensionKind::from_uri("urn:3gpp:video-orientation"), None);
    }

    #[test]
    fn an_id_has_one_meaning_and_a_kind_may_have_several_ids() {
        let mut map = ExtensionMap::new();
        assert!(map.insert(1, ExtensionKind::Mid));
        assert!(map.insert(2, ExtensionKind::Mid));
        let mid = Some(ExtensionKind::Mid);
        assert_eq!((map.kind(1), map.kind(2)), (mid, mid));
        assert_eq!(map.id(ExtensionKind::Mid), Some(2));
        assert!(map.insert(2, ExtensionKind::Rid));
        assert_eq!((map.id(ExtensionKind::Mid), map.kind(1)), (None, mid));
        assert_eq!(map.id(ExtensionKind::Rid), Some(2));
        assert!(!map.insert(0, ExtensionKind::Mid));
        assert_eq!(map.kind(0), None);
    }

    #[test]
    fn parses_known_extensions_by_id() {
        let map = ExtensionMap::from_uris([
            (4, ExtensionKind::Mid.uri()),
            (10, ExtensionKind::Rid.uri()),
            (3, ExtensionKind::TransportCc.uri()),
            (1, ExtensionKind::AudioLevel.uri()),
            (9, "urn:unknown"),
        ]);
        let mut buf = [0; 64];
        let extensions: [(u8, &[u8]); 5] = [
            (1, &[0x85]),
            (9, &[1, 2]),
            (3, &[0x12, 0x34]),
            (4, b"0"),
            (10, b"hi"),
        ];
        let len = write_header(&mut buf, &HeaderFields::default(), extensions).unwrap();
        let header = RtpHeader::parse(&buf[..len]).unwrap();
        let parsed = ParsedExtensions::parse(&map, &header, &buf[..len]);
        let expected = ParsedExtensions {
            mid: Some(b"0"),
            rid: Some(b"hi"),
            audio_level: Some(AudioLevel {
                level: 5,
                voice: true,
            }),
            transport_sequence: Some(0x1234),
            ..Default::default()
        };
        assert_eq!(parsed, expected);
    }
}
