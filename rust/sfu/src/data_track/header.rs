//! The header of a data track packet (livekit-server `pkg/rtc/datatrack/packet.go`), big-endian:
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! |  V  |S|F|X|         reserved    |            handle             |
//! |        sequence number          |         frame number          |
//! |                           timestamp                             |
//! |  words of extensions - 1 (X=1)  | id | length | value | ...      |
//! ```
//!
//! The two bytes of the extensions' size count among the extensions. An id of 0 begins padding, up
//! to a multiple of four bytes.

/// Bytes before the extensions.
const FIXED: usize = 12;
/// Bytes of the extensions' size.
const SIZE: usize = 2;

const START: u8 = 1 << 4;
const FINAL: u8 = 1 << 3;
const EXTENSIONS: u8 = 1 << 2;
const RESERVED: u8 = 0b11;

/// What is read of a packet. Everything behind the header is the client's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataTrackHeader {
    /// Format version; forwarded as it is.
    pub version: u8,
    /// The frame begins here.
    pub starts_frame: bool,
    /// The frame ends here.
    pub ends_frame: bool,
    /// Which of the sender's tracks.
    pub handle: u16,
    /// One more for each packet of the track.
    pub sequence: u16,
    /// One more for each frame of the track.
    pub frame: u16,
    /// The publisher's clock.
    pub timestamp: u32,
    /// Bytes of the header with its extensions.
    pub len: usize,
}

impl DataTrackHeader {
    /// Reads the header of `packet`; None if it is cut short or its extensions do not fit their size.
    pub fn parse(packet: &[u8]) -> Option<Self> {
        let fixed = packet.first_chunk::<FIXED>()?;
        let flags = fixed[0];
        let word = |at: usize| u16::from_be_bytes([fixed[at], fixed[at + 1]]);
        let extensions = if flags & EXTENSIONS == 0 {
            0
        } else {
            extensions_len(&packet[FIXED..])?
        };
        Some(Self {
            version: flags >> 5,
            starts_frame: flags & START != 0,
            ends_frame: flags & FINAL != 0,
            handle: word(2),
            sequence: word(4),
            frame: word(6),
            timestamp: u32::from_be_bytes([fixed[8], fixed[9], fixed[10], fixed[11]]),
            len: FIXED + extensions,
        })
    }

    /// Addresses a packet that was parsed to a subscriber: its handle is written and what is
    /// reserved is cleared.
    pub fn readdress(packet: &mut [u8], handle: u16) {
        if let Some(fixed) = packet.first_chunk_mut::<FIXED>() {
            fixed[0] &= !RESERVED;
            fixed[1] = 0;
            [fixed[2], fixed[3]] = handle.to_be_bytes();
        }
    }
}

/// Bytes of the extensions at the start of `bytes`, with their size and padding.
fn extensions_len(bytes: &[u8]) -> Option<usize> {
    let size = bytes.first_chunk::<SIZE>()?;
    let len = (usize::from(u16::from_be_bytes(*size)) + 1) * 4;
    let mut rest = bytes.get(SIZE..len)?;
    while let Some((&id, after)) = rest.split_first() {
        if id == 0 {
            break;
        }
        let (&value_len, after) = after.split_first()?;
        rest = after.get(usize::from(value_len)..)?;
    }
    Some(len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PLAIN: [u8; 14] = [
        0b0011_1000,
        0,
        0x12,
        0x34,
        0,
        7,
        0,
        9,
        1,
        2,
        3,
        4,
        0xAA,
        0xBB,
    ];

    fn with_extensions(words: u16, extensions: &[u8]) -> Vec<u8> {
        let mut packet = PLAIN[..FIXED].to_vec();
        packet[0] |= EXTENSIONS;
        packet.extend(words.to_be_bytes());
        packet.extend(extensions);
        packet
    }

    #[test]
    fn reads_the_fixed_part() {
        let header = DataTrackHeader::parse(&PLAIN).unwrap();
        let expected = DataTrackHeader {
            version: 1,
            starts_frame: true,
            ends_frame: true,
            handle: 0x1234,
            sequence: 7,
            frame: 9,
            timestamp: 0x0102_0304,
            len: 12,
        };
        assert_eq!(header, expected);
    }

    #[test]
    fn readdressing_changes_the_handle_and_what_is_reserved() {
        let mut packet = PLAIN;
        packet[0] |= RESERVED;
        packet[1] = 0xFF;
        DataTrackHeader::readdress(&mut packet, 0xABCD);
        let mut expected = PLAIN;
        (expected[2], expected[3]) = (0xAB, 0xCD);
        assert_eq!(packet, expected);
    }

    #[test]
    fn extensions_end_with_their_size_or_at_padding() {
        let len = |packet: Vec<u8>| DataTrackHeader::parse(&packet).map(|header| header.len);
        // Two bytes of size, then id 1 with four bytes of value: eight bytes, two words.
        let full = with_extensions(1, &[1, 4, 1, 2, 3, 4]);
        assert_eq!(len(full), Some(20));
        let padded = with_extensions(1, &[1, 2, 1, 2, 0, 0, 0xAA]);
        assert_eq!(len(padded), Some(20));
        assert_eq!(len(with_extensions(0, &[0, 0])), Some(16));
    }

    #[test]
    fn extensions_that_do_not_fit_are_refused() {
        let refused = [
            PLAIN[..11].to_vec(),
            // No room for the size, or for what it promises.
            [&with_extensions(0, &[])[..13]].concat(),
            with_extensions(1, &[1, 2, 1, 2]),
            with_extensions(u16::MAX, &[0; 64]),
            // The value is longer than the extensions, or has no length at all.
            with_extensions(0, &[1, 1, 0xAA, 0xAA]),
            with_extensions(1, &[1, 3, 1, 2, 3, 4]),
        ];
        for packet in refused {
            assert_eq!(DataTrackHeader::parse(&packet), None, "{packet:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_or_refused(packet in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Some(header) = DataTrackHeader::parse(&packet) {
                prop_assert!(header.len <= packet.len());
                let mut sent = packet.clone();
                DataTrackHeader::readdress(&mut sent, 77);
                let read = DataTrackHeader::parse(&sent).unwrap();
                prop_assert_eq!(read, DataTrackHeader { handle: 77, ..header });
                prop_assert_eq!(&sent[FIXED..], &packet[FIXED..]);
            }
        }

        #[test]
        fn a_packet_cut_anywhere_in_its_header_is_refused(cut in 0..20usize) {
            let packet = with_extensions(1, &[1, 4, 1, 2, 3, 4]);
            prop_assert_eq!(DataTrackHeader::parse(&packet[..cut]), None);
        }
    }
}
