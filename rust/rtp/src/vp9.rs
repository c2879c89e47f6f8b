//! The VP9 payload descriptor (RFC 9628 4.2), as far as forwarding needs it.

use crate::bytes::u16_at;
use crate::vp8::PictureId;

/// A parsed payload descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vp9Descriptor {
    /// Picture id.
    pub picture_id: Option<PictureId>,
    /// P: the frame depends on earlier pictures.
    pub inter_picture: bool,
    /// B: the packet starts a layer frame.
    pub frame_start: bool,
    /// E: the packet ends a layer frame.
    pub frame_end: bool,
    /// The layer indices, if the sender gives them.
    pub layer: Option<Vp9Layer>,
}

/// The layer of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vp9Layer {
    /// TID: temporal layer.
    pub temporal: u8,
    /// U: a receiver may switch up to this temporal layer here.
    pub switching_up: bool,
    /// SID: spatial layer.
    pub spatial: u8,
    /// D: the frame depends on the spatial layer below.
    pub inter_layer: bool,
}

impl Vp9Descriptor {
    /// Parses the start of an RTP payload; `None` if it is cut off.
    #[inline]
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let &flags = payload.first()?;
        let mut at = 1;
        let mut picture_id = None;
        if flags & 0x80 != 0 {
            let short = *payload.get(at)?;
            let long = short & 0x80 != 0;
            let value = if long {
                u16_at(payload, at)? & 0x7fff
            } else {
                u16::from(short)
            };
            at += if long { 2 } else { 1 };
            picture_id = Some(PictureId { value, long });
        }
        let mut layer = None;
        if flags & 0x20 != 0 {
            let byte = *payload.get(at)?;
            layer = Some(Vp9Layer {
                temporal: byte >> 5,
                switching_up: byte & 0x10 != 0,
                spatial: byte >> 1 & 0x07,
                inter_layer: byte & 0x01 != 0,
            });
        }
        Some(Self {
            picture_id,
            inter_picture: flags & 0x40 != 0,
            frame_start: flags & 0x08 != 0,
            frame_end: flags & 0x04 != 0,
            layer,
        })
    }

    /// Whether the packet is the first of a key frame: it starts a spatial layer that depends on nothing.
    /// That is the lowest one, which is not 0 if the encoder has dropped those below.
    #[inline]
    pub fn key_frame(&self) -> bool {
        let is_base = |layer: Vp9Layer| layer.spatial == 0 || !layer.inter_layer;
        let base = self.layer.is_none_or(is_base);
        base && self.frame_start && !self.inter_picture
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn parses_picture_id_and_layer() {
        // I, P, L, B, E; long picture id 0x0102; TID 2, U, SID 1, D.
        let descriptor = Vp9Descriptor::parse(&[0xec, 0x81, 0x02, 0x53]).unwrap();
        let expected = Vp9Descriptor {
            picture_id: Some(PictureId {
                value: 0x0102,
                long: true,
            }),
            inter_picture: true,
            frame_start: true,
            frame_end: true,
            layer: Some(Vp9Layer {
                temporal: 2,
                switching_up: true,
                spatial: 1,
                inter_layer: true,
            }),
        };
        assert_eq!(descriptor, expected);
        assert_eq!(Vp9Descriptor::parse(&[0xec, 0x81, 0x02]), None);
        assert_eq!(Vp9Descriptor::parse(&[0xec, 0x81]), None);
        assert_eq!(Vp9Descriptor::parse(&[]), None);
    }

    #[test]
    fn key_frames_start_the_base_layer() {
        let cases: [(&[u8], bool); 7] = [
            (&[0x08], true),
            (&[0x00], false),
            (&[0x48], false),
            (&[0xa8, 0x05, 0x00], true),
            (&[0xa8, 0x05, 0x03], false),
            (&[0xa8, 0x05, 0x02], true),
            (&[0xe8, 0x05, 0x02], false),
        ];
        for (payload, expected) in cases {
            let descriptor = Vp9Descriptor::parse(payload).unwrap();
            assert_eq!(descriptor.key_frame(), expected, "{payload:x?}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(payload: Vec<u8>) {
            if let Some(descriptor) = Vp9Descriptor::parse(&payload) {
                prop_assert!(descriptor.layer.is_none_or(|layer| layer.spatial < 8 && layer.temporal < 8));
            }
        }
    }
}
