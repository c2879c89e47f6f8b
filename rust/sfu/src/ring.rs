//! The packets of one published layer, by sequence number.

use rtp::seq::ExtSeq;

use crate::packet::PacketInfo;

/// Longest RTP packet that is taken, in bytes.
pub const MAX_PACKET_LEN: usize = 1500;

/// A fixed number of slots of [`MAX_PACKET_LEN`] bytes. A packet stays until one that is a whole
/// ring ahead takes its slot. Nothing is allocated after creation.
#[derive(Debug)]
pub(crate) struct PacketRing {
    slots: Box<[Slot]>,
    bytes: Box<[u8]>,
    mask: u64,
    highest: ExtSeq,
}

#[derive(Clone, Debug, Default)]
struct Slot {
    /// 0: empty; unwrapped sequence numbers start above 65,535.
    ext_seq: ExtSeq,
    info: Option<PacketInfo>,
}

/// What became of a packet given to the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Insert {
    /// It is stored.
    Stored,
    /// The ring has it already.
    Duplicate,
    /// It is more than a ring behind the highest, or too long.
    Refused,
}

impl PacketRing {
    /// A ring of at least `capacity` slots.
    pub(crate) fn new(capacity: usize) -> Self {
        let capacity = capacity.clamp(16, 1 << 14).next_power_of_two();
        Self {
            slots: vec![Slot::default(); capacity].into_boxed_slice(),
            bytes: vec![0; capacity * MAX_PACKET_LEN].into_boxed_slice(),
            mask: capacity as u64 - 1,
            highest: 0,
        }
    }

    /// The highest sequence number stored, 0 if there is none.
    #[inline]
    pub(crate) fn highest(&self) -> ExtSeq {
        self.highest
    }

    /// Whether `ext_seq` is so far behind that its slot belongs to a later packet.
    #[inline]
    pub(crate) fn is_too_old(&self, ext_seq: ExtSeq) -> bool {
        ext_seq + self.slots.len() as u64 <= self.highest
    }

    /// Stores a packet.
    #[inline]
    pub(crate) fn insert(&mut self, ext_seq: ExtSeq, info: PacketInfo, packet: &[u8]) -> Insert {
        if packet.len() > MAX_PACKET_LEN || self.is_too_old(ext_seq) {
            return Insert::Refused;
        }
        let index = (ext_seq & self.mask) as usize;
        let slot = &mut self.slots[index];
        if slot.ext_seq == ext_seq {
            return Insert::Duplicate;
        }
        slot.ext_seq = ext_seq;
        slot.info = Some(info);
        let start = index * MAX_PACKET_LEN;
        self.bytes[start..start + packet.len()].copy_from_slice(packet);
        self.highest = self.highest.max(ext_seq);
        Insert::Stored
    }

    /// The packet with sequence number `ext_seq`, if it is still there.
    #[inline]
    pub(crate) fn get(&self, ext_seq: ExtSeq) -> Option<(&PacketInfo, &[u8])> {
        let index = (ext_seq & self.mask) as usize;
        let slot = &self.slots[index];
        if slot.ext_seq != ext_seq {
            return None;
        }
        let info = slot.info.as_ref()?;
        let start = index * MAX_PACKET_LEN;
        let packet = &self.bytes[start..start + MAX_PACKET_LEN];
        Some((info, packet))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn info(timestamp: u32) -> PacketInfo {
        PacketInfo::for_test(Instant::now(), timestamp)
    }

    #[test]
    fn keeps_a_ring_of_packets() {
        let mut ring = PacketRing::new(16);
        for seq in 70_000..70_020u32 {
            let packet = seq.to_be_bytes();
            assert_eq!(ring.insert(seq.into(), info(seq), &packet), Insert::Stored);
        }
        assert_eq!(ring.highest(), 70_019);
        assert!(ring.get(70_003).is_none());
        for seq in 70_004..70_020u32 {
            let (info, packet) = ring.get(seq.into()).unwrap();
            assert_eq!(info.timestamp, seq);
            assert_eq!(packet[..4], seq.to_be_bytes());
        }
        assert!(ring.get(70_020).is_none());
    }

    #[test]
    fn refuses_what_is_old_or_long_and_knows_duplicates() {
        let mut ring = PacketRing::new(16);
        assert_eq!(ring.insert(70_020, info(0), &[1]), Insert::Stored);
        assert_eq!(ring.insert(70_020, info(0), &[2]), Insert::Duplicate);
        assert_eq!(ring.insert(70_004, info(0), &[3]), Insert::Refused);
        assert_eq!(ring.insert(70_005, info(0), &[4]), Insert::Stored);
        let long = [0; MAX_PACKET_LEN + 1];
        assert_eq!(ring.insert(70_021, info(0), &long), Insert::Refused);
        assert_eq!(ring.insert(70_021, info(0), &long[1..]), Insert::Stored);
        assert_eq!(ring.get(70_020).unwrap().1[0], 1);
    }
}
