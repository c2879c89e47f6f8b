//! The VP8 payload descriptor (RFC 7741 4.2): parsing, and rewriting in place.

use crate::bytes::u16_at;

/// A picture id, as wide as the sender made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PictureId {
    /// The id: 15 bits, or 7.
    pub value: u16,
    /// Whether it has 15 bits.
    pub long: bool,
}

/// A parsed payload descriptor, with what the first bytes of the frame tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vp8Descriptor {
    /// S: the packet starts a partition.
    pub partition_start: bool,
    /// PID: the partition. The packet starts a frame if this is 0 and `partition_start` is set.
    pub partition: u8,
    /// N: no other frame refers to this one.
    pub non_reference: bool,
    /// Picture id.
    pub picture_id: Option<PictureId>,
    /// TL0PICIDX: running index of the frames of temporal layer 0.
    pub tl0_pic_idx: Option<u8>,
    /// TID: temporal layer, 0 to 3.
    pub temporal_layer: Option<u8>,
    /// Y: the frame depends only on temporal layer 0. False if there is no `temporal_layer`.
    pub layer_sync: bool,
    /// KEYIDX: 5-bit running index of key frames.
    pub key_idx: Option<u8>,
    /// Whether the packet is the first of a key frame.
    pub key_frame: bool,
    /// Width and height in pixels, if the packet is the first of a key frame.
    pub dimensions: Option<(u16, u16)>,
    /// Length of the descriptor: where the VP8 data begins.
    pub len: usize,
}

/// What [`Vp8Descriptor::patch`] writes; fields that the descriptor does not have are skipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vp8Patch {
    /// Picture id; its low 7 or 15 bits are written, as wide as it was.
    pub picture_id: u16,
    /// TL0PICIDX.
    pub tl0_pic_idx: u8,
    /// KEYIDX; its low 5 bits are written.
    pub key_idx: u8,
}

impl Vp8Descriptor {
    /// Parses the start of an RTP payload. `None` if the descriptor is cut off or nothing follows
    /// it.
    #[inline]
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let &first = payload.first()?;
        let mut at = 1;
        let mut flags = 0;
        if first & 0x80 != 0 {
            flags = *payload.get(at)?;
            at += 1;
        }
        let mut descriptor = Self {
            partition_start: first & 0x10 != 0,
            partition: first & 0x07,
            non_reference: first & 0x20 != 0,
            picture_id: None,
            tl0_pic_idx: None,
            temporal_layer: None,
            layer_sync: false,
            key_idx: None,
            key_frame: false,
            dimensions: None,
            len: 0,
        };
        if flags & 0x80 != 0 {
            let short = *payload.get(at)?;
            let long = short & 0x80 != 0;
            let value = if long {
                u16_at(payload, at)? & 0x7fff
            } else {
                u16::from(short)
            };
            at += if long { 2 } else { 1 };
            descriptor.picture_id = Some(PictureId { value, long });
        }
        if flags & 0x40 != 0 {
            descriptor.tl0_pic_idx = Some(*payload.get(at)?);
            at += 1;
        }
        if flags & 0x30 != 0 {
            let byte = *payload.get(at)?;
            at += 1;
            if flags & 0x20 != 0 {
                descriptor.temporal_layer = Some(byte >> 6);
                descriptor.layer_sync = byte & 0x20 != 0;
            }
            if flags & 0x10 != 0 {
                descriptor.key_idx = Some(byte & 0x1f);
            }
        }
        descriptor.len = at;
        let frame = &payload[at..];
        let &frame_first = frame.first()?;
        if descriptor.frame_start() && frame_first & 0x01 == 0 {
            descriptor.key_frame = true;
            descriptor.dimensions = dimensions(frame);
        }
        Some(descriptor)
    }

    /// Whether the packet is the first of its frame.
    #[inline]
    pub fn frame_start(&self) -> bool {
        self.partition_start && self.partition == 0
    }

    /// Writes `patch` into `payload`, the one that this was parsed from or a copy of it. Nothing
    /// moves; a payload shorter than the descriptor is left alone.
    #[inline]
    pub fn patch(&self, payload: &mut [u8], patch: &Vp8Patch) {
        if payload.len() < self.len {
            return;
        }
        let mut at = 2;
        if let Some(PictureId { long, .. }) = self.picture_id {
            if long {
                let id = patch.picture_id | 0x8000;
                payload[at..at + 2].copy_from_slice(&id.to_be_bytes());
                at += 2;
            } else {
                payload[at] = patch.picture_id as u8 & 0x7f;
                at += 1;
            }
        }
        if self.tl0_pic_idx.is_some() {
            payload[at] = patch.tl0_pic_idx;
            at += 1;
        }
        if self.key_idx.is_some() {
            payload[at] = payload[at] & 0xe0 | patch.key_idx & 0x1f;
        }
    }
}

/// Width and height of a key frame (RFC 6386 9.1): after the frame tag and the start code, 14 bits
/// each in little-endian order.
fn dimensions(frame: &[u8]) -> Option<(u16, u16)> {
    let &[_, _, _, 0x9d, 0x01, 0x2a, a, b, c, d] = frame.first_chunk()? else {
        return None;
    };
    let width = u16::from_le_bytes([a, b]) & 0x3fff;
    let height = u16::from_le_bytes([c, d]) & 0x3fff;
    Some((width, height))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A key frame of 640 x 360: X, S; I, L, T, K; picture id 0x1234, TL0 7, TID 0, Y, KEYIDX 9.
    const KEY_FRAME: [u8; 16] = [
        0x90, 0xf0, 0x92, 0x34, 7, 0x29, 0x50, 1, 2, 0x9d, 0x01, 0x2a, 0x80, 0x02, 0x68, 0x41,
    ];

    #[test]
    fn parses_a_full_descriptor() {
        let descriptor = Vp8Descriptor::parse(&KEY_FRAME).unwrap();
        let expected = Vp8Descriptor {
            partition_start: true,
            partition: 0,
            non_reference: false,
            picture_id: Some(PictureId {
                value: 0x1234,
                long: true,
            }),
            tl0_pic_idx: Some(7),
            temporal_layer: Some(0),
            layer_sync: true,
            key_idx: Some(9),
            key_frame: true,
            dimensions: Some((640, 360)),
            len: 6,
        };
        assert_eq!(descriptor, expected);
    }

    #[test]
    fn parses_each_optional_field_alone() {
        let parse = |payload: &[u8]| Vp8Descriptor::parse(payload).unwrap();
        let plain = parse(&[0x10, 1]);
        assert_eq!((plain.len, plain.picture_id), (1, None));
        let extended = parse(&[0x80, 0x00, 1]);
        assert_eq!((extended.len, extended.frame_start()), (2, false));
        let short_id = parse(&[0x80, 0x80, 0x7f, 1]);
        let id = PictureId {
            value: 0x7f,
            long: false,
        };
        assert_eq!((short_id.len, short_id.picture_id), (3, Some(id)));
        let tl0 = parse(&[0x80, 0x40, 5, 1]);
        assert_eq!((tl0.len, tl0.tl0_pic_idx), (3, Some(5)));
        let tid = parse(&[0x80, 0x20, 0xbf, 1]);
        assert_eq!((tid.temporal_layer, tid.key_idx), (Some(2), None));
        assert!(tid.layer_sync);
        let key_idx = parse(&[0x80, 0x10, 0xff, 1]);
        assert_eq!((key_idx.temporal_layer, key_idx.key_idx), (None, Some(31)));
        assert!(!key_idx.layer_sync);
    }

    #[test]
    fn only_the_first_packet_of_a_key_frame_is_one() {
        let mut payload = KEY_FRAME;
        payload[0] = 0x80;
        assert!(!Vp8Descriptor::parse(&payload).unwrap().key_frame);
        payload[0] = 0x91;
        assert!(!Vp8Descriptor::parse(&payload).unwrap().key_frame);
        payload[0] = 0x90;
        payload[6] |= 1;
        assert!(!Vp8Descriptor::parse(&payload).unwrap().key_frame);
    }

    #[test]
    fn truncations() {
        for len in 0..7 {
            assert_eq!(Vp8Descriptor::parse(&KEY_FRAME[..len]), None, "{len}");
        }
        for len in 7..16 {
            let descriptor = Vp8Descriptor::parse(&KEY_FRAME[..len]).unwrap();
            assert!(descriptor.key_frame);
            assert_eq!(descriptor.dimensions, None);
        }
    }

    #[test]
    fn patch_leaves_other_bits_alone() {
        let mut payload = KEY_FRAME;
        let descriptor = Vp8Descriptor::parse(&payload).unwrap();
        let patch = Vp8Patch {
            picture_id: 0xffff,
            tl0_pic_idx: 0xfe,
            key_idx: 0xff,
        };
        descriptor.patch(&mut payload, &patch);
        assert_eq!(payload[..6], [0x90, 0xf0, 0xff, 0xff, 0xfe, 0x3f]);
        assert_eq!(payload[6..], KEY_FRAME[6..]);
        let mut short = [0; 5];
        descriptor.patch(&mut short, &patch);
        assert_eq!(short, [0; 5]);
    }

    proptest! {
        #[test]
        fn what_is_patched_is_parsed(mut payload: Vec<u8>, picture_id: u16, tl0_pic_idx: u8, key_idx in 0u8..32) {
            if let Some(before) = Vp8Descriptor::parse(&payload) {
                before.patch(&mut payload, &Vp8Patch { picture_id, tl0_pic_idx, key_idx });
                let expected = Vp8Descriptor {
                    picture_id: before.picture_id.map(|id| PictureId {
                        value: picture_id & if id.long { 0x7fff } else { 0x7f },
                        ..id
                    }),
                    tl0_pic_idx: before.tl0_pic_idx.map(|_| tl0_pic_idx),
                    key_idx: before.key_idx.map(|_| key_idx),
                    ..before
                };
                prop_assert_eq!(Vp8Descriptor::parse(&payload), Some(expected));
            }
        }
    }
}
