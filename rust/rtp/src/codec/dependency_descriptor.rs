//! The mandatory part of the dependency descriptor (AV1 RTP specification, A.8.2).

use crate::bytes::u16_at;

/// What a dependency descriptor says about its packet without knowing the templates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameDescriptor {
    /// The packet is the first of its frame.
    pub start: bool,
    /// The packet is the last of its frame.
    pub end: bool,
    /// Which template the frame follows, 0 to 63.
    pub template: u8,
    /// Number of the frame, wrapping.
    pub frame_number: u16,
    /// The templates are given in this packet.
    pub has_structure: bool,
}

impl FrameDescriptor {
    /// Parses the start of the extension's value; `None` if it is cut off.
    #[inline]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let &first = value.first()?;
        Some(Self {
            start: first & 0x80 != 0,
            end: first & 0x40 != 0,
            template: first & 0x3f,
            frame_number: u16_at(value, 1)?,
            has_structure: value.get(3).is_some_and(|flags| flags & 0x80 != 0),
        })
    }

    /// Whether the packet is the first of a key frame: those alone carry the templates.
    #[inline]
    pub fn key_frame(&self) -> bool {
        self.start && self.has_structure
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_the_mandatory_fields() {
        let frame = FrameDescriptor::parse(&[0xc5, 0x12, 0x34]).unwrap();
        let expected = FrameDescriptor {
            start: true,
            end: true,
            template: 5,
            frame_number: 0x1234,
            has_structure: false,
        };
        assert_eq!(frame, expected);
        assert!(!frame.key_frame());
        assert_eq!(FrameDescriptor::parse(&[0xc5, 0x12]), None);
    }

    #[test]
    fn a_structure_at_the_start_makes_a_key_frame() {
        let key_frame = |value: &[u8]| FrameDescriptor::parse(value).unwrap().key_frame();
        assert!(key_frame(&[0x80, 0, 0, 0x80]));
        assert!(!key_frame(&[0x00, 0, 0, 0x80]));
        assert!(!key_frame(&[0x80, 0, 0, 0x40]));
    }
}
