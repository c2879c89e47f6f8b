//! Keeping VP8's own numbers continuous (RFC 7741 4.2) when layers change and frames are left out.
//!
//! PictureID counts frames, so it follows the sequence numbers' ranges
//! ([`super::numbering::Numbering`]) and loses one for each frame left out. TL0PICIDX and KEYIDX
//! are not touched by leaving out higher temporal layers and have one offset for the whole era.

use rtp::vp8::{Vp8Descriptor, Vp8Patch};

/// The VP8 state of one down track. A field that the publisher does not send counts as 0.
#[derive(Debug, Default)]
pub(crate) struct Vp8Munger {
    tl0_offset: u8,
    key_idx_offset: u8,
    /// The numbers of the newest packet forwarded.
    last: Option<Vp8Patch>,
    /// Incoming picture id of the frame left out last.
    left_out: Option<u16>,
}

fn picture_id(vp8: &Vp8Descriptor) -> u16 {
    vp8.picture_id.map_or(0, |id| id.value)
}

impl Vp8Munger {
    /// Begins an era with the packet `first` and returns its picture offset.
    pub(crate) fn begin_era(&mut self, first: &Vp8Descriptor) -> u16 {
        self.left_out = None;
        let Some(last) = self.last else { return 0 };
        let next = last.tl0_pic_idx.wrapping_add(1);
        self.tl0_offset = first.tl0_pic_idx.unwrap_or(0).wrapping_sub(next);
        let next = last.key_idx.wrapping_add(1);
        self.key_idx_offset = first.key_idx.unwrap_or(0).wrapping_sub(next);
        let next = last.picture_id.wrapping_add(1);
        picture_id(first).wrapping_sub(next)
    }

    /// The numbers for a packet. `newest`: it is in order.
    #[inline]
    pub(crate) fn munge(
        &mut self,
        vp8: &Vp8Descriptor,
        picture_offset: u16,
        newest: bool,
    ) -> Vp8Patch {
        let patch = Vp8Patch {
            picture_id: picture_id(vp8).wrapping_sub(picture_offset) & 0x7fff,
            tl0_pic_idx: vp8.tl0_pic_idx.unwrap_or(0).wrapping_sub(self.tl0_offset),
            key_idx: vp8.key_idx.unwrap_or(0).wrapping_sub(self.key_idx_offset) & 0x1f,
        };
        if newest {
            self.last = Some(patch);
        }
        patch
    }

    /// A packet in order is left out. Returns whether it is the first of its frame to be.
    pub(crate) fn leave_out(&mut self, vp8: &Vp8Descriptor) -> bool {
        let Some(id) = vp8.picture_id else {
            return false;
        };
        self.left_out.replace(id.value) != Some(id.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vp8(picture_id: u16, tl0_pic_idx: u8, key_idx: u8) -> Vp8Descriptor {
        let [high, low] = picture_id.to_be_bytes();
        let payload = [0x90, 0xf0, 0x80 | high, low, tl0_pic_idx, key_idx, 0];
        Vp8Descriptor::parse(&payload).unwrap()
    }

    fn patch(picture_id: u16, tl0_pic_idx: u8, key_idx: u8) -> Vp8Patch {
        Vp8Patch {
            picture_id,
            tl0_pic_idx,
            key_idx,
        }
    }

    #[test]
    fn an_era_continues_every_number() {
        let mut munger = Vp8Munger::default();
        let first = vp8(0x7fff, 255, 31);
        let offset = munger.begin_era(&first);
        assert_eq!(munger.munge(&first, offset, true), patch(0x7fff, 255, 31));
        let offset = munger.begin_era(&vp8(5, 7, 9));
        assert_eq!(munger.munge(&vp8(5, 7, 9), offset, true), patch(0, 0, 0));
        assert_eq!(munger.munge(&vp8(6, 8, 9), offset, true), patch(1, 1, 0));
    }

    #[test]
    fn late_packets_do_not_move_the_stream_back() {
        let mut munger = Vp8Munger::default();
        munger.begin_era(&vp8(10, 0, 0));
        munger.munge(&vp8(12, 2, 0), 0, true);
        assert_eq!(munger.munge(&vp8(11, 1, 0), 0, false), patch(11, 1, 0));
        assert_eq!(munger.begin_era(&vp8(100, 0, 0)), 100 - 13);
    }

    #[test]
    fn a_frame_left_out_counts_once() {
        let mut munger = Vp8Munger::default();
        munger.begin_era(&vp8(10, 0, 0));
        assert!(munger.leave_out(&vp8(11, 0, 0)));
        assert!(!munger.leave_out(&vp8(11, 0, 0)));
        assert!(munger.leave_out(&vp8(12, 0, 0)));
        let without_id = Vp8Descriptor::parse(&[0x10, 0]).unwrap();
        assert!(!munger.leave_out(&without_id));
    }
}
