use super::*;
use proptest::prelude::*;

/// A packet with two CSRCs, a one-byte extension block and four bytes of payload.
fn sample() -> Vec<u8> {
    let fields = HeaderFields {
        marker: true,
        payload_type: 96,
        sequence: 0xfffe,
        timestamp: 0x0102_0304,
        ssrc: 0xdead_beef,
        csrcs: &[0, 0, 0, 7, 0, 0, 0, 8],
    };
    let extensions: [(u8, &[u8]); 2] = [(1, b"ab"), (14, b"0123456789abcdef")];
    let mut packet = vec![0xee; 100];
    let len = write_header(&mut packet, &fields, extensions).unwrap();
    packet.truncate(len);
    packet.extend_from_slice(&[1, 2, 3, 4]);
    packet
}

#[test]
fn parses_what_it_wrote() {
    let packet = sample();
    let header = RtpHeader::parse(&packet).unwrap();
    assert!(header.marker);
    assert_eq!(header.payload_type, 96);
    assert_eq!(header.sequence, 0xfffe);
    assert_eq!(header.timestamp, 0x0102_0304);
    assert_eq!(header.ssrc, 0xdead_beef);
    assert_eq!(header.csrcs(&packet), [0, 0, 0, 7, 0, 0, 0, 8]);
    assert_eq!(header.payload(&packet), [1, 2, 3, 4]);
    assert_eq!(header.extension_profile(), Some(ONE_BYTE_PROFILE));
    assert_eq!(header.header_len(), 12 + 8 + 4 + 20);
    let extensions: Vec<_> = header.extensions(&packet).collect();
    assert_eq!(
        extensions,
        [(1, b"ab".as_slice()), (14, b"0123456789abcdef")]
    );
    assert_eq!(peek_ssrc(&packet), Some(header.ssrc));
    assert_eq!(peek_sequence(&packet), Some(header.sequence));
}

#[test]
fn every_truncation_of_the_header_is_an_error() {
    let packet = sample();
    let header_len = RtpHeader::parse(&packet).unwrap().header_len();
    for len in 0..header_len {
        let result = RtpHeader::parse(&packet[..len]);
        assert_eq!(result, Err(HeaderError::Truncated), "{len} bytes");
    }
    let header = RtpHeader::parse(&packet[..header_len]).unwrap();
    assert!(header.payload_range().is_empty());
}

#[test]
fn other_versions_are_errors() {
    for version in [0, 1, 3] {
        let mut packet = sample();
        packet[0] = packet[0] & 0x3f | version << 6;
        assert_eq!(
            RtpHeader::parse(&packet),
            Err(HeaderError::Version(version))
        );
    }
}

#[test]
fn padding_must_be_possible() {
    let mut packet = sample();
    packet[0] |= 0x20;
    let last = packet.len() - 1;
    for (padding, payload) in [(1, &[1u8, 2, 3][..]), (3, &[1]), (4, &[])] {
        packet[last] = padding;
        let header = RtpHeader::parse(&packet).unwrap();
        assert_eq!(header.payload(&packet), payload);
        assert_eq!(header.padding_len(), usize::from(padding));
    }
    for padding in [0, 5, 255] {
        packet[last] = padding;
        assert_eq!(
            RtpHeader::parse(&packet),
            Err(HeaderError::Padding(padding))
        );
        assert!(RtpHeader::parse_encrypted(&packet).is_ok());
    }
    packet.truncate(RtpHeader::parse_encrypted(&packet).unwrap().header_len());
    assert!(matches!(
        RtpHeader::parse(&packet),
        Err(HeaderError::Padding(_))
    ));
}

#[test]
fn a_lying_extension_length_is_an_error() {
    let mut packet = sample();
    packet[22..24].copy_from_slice(&7u16.to_be_bytes());
    assert_eq!(RtpHeader::parse(&packet), Err(HeaderError::Truncated));
    packet[22..24].copy_from_slice(&u16::MAX.to_be_bytes());
    assert_eq!(RtpHeader::parse(&packet), Err(HeaderError::Truncated));
}

#[test]
fn an_empty_extension_block_is_valid() {
    let mut packet = vec![0x90, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0xbe, 0xde, 0, 0, 42];
    let header = RtpHeader::parse(&packet).unwrap();
    assert_eq!(header.extensions(&packet).count(), 0);
    assert_eq!(header.payload(&packet), [42]);
    packet[0] = 0x80;
    let header = RtpHeader::parse(&packet).unwrap();
    assert_eq!(header.extension_profile(), None);
    assert_eq!(header.payload(&packet).len(), 5);
}

#[test]
fn long_or_high_extensions_take_the_two_byte_form() {
    let long = [7u8; 17];
    let cases: [&[(u8, &[u8])]; 4] = [&[(1, &long)], &[(15, b"x")], &[(255, b"x")], &[(1, b"")]];
    for extensions in cases {
        let mut buf = [0xee; 64];
        let extensions = extensions.iter().copied();
        let len = write_header(&mut buf, &HeaderFields::default(), extensions.clone()).unwrap();
        let header = RtpHeader::parse(&buf[..len]).unwrap();
        assert_eq!(header.extension_profile(), Some(TWO_BYTE_PROFILE));
        assert!(header.extensions(&buf).eq(extensions));
        assert_eq!(len % 4, 0);
    }
}

#[test]
fn what_cannot_be_written_is_refused() {
    let fields = HeaderFields::default();
    let none: [(u8, &[u8]); 0] = [];
    let one: [(u8, &[u8]); 1] = [(1, b"abc")];
    assert_eq!(write_header(&mut [0; 12], &fields, none), Ok(12));
    assert_eq!(
        write_header(&mut [0; 11], &fields, none),
        Err(WriteError::BufferTooShort)
    );
    assert_eq!(
        write_header(&mut [0; 19], &fields, one),
        Err(WriteError::BufferTooShort)
    );
    assert_eq!(write_header(&mut [0; 20], &fields, one), Ok(20));
    let zero: [(u8, &[u8]); 1] = [(0, b"abc")];
    assert_eq!(
        write_header(&mut [0; 64], &fields, zero),
        Err(WriteError::Extension { id: 0, len: 3 })
    );
    let csrcs = HeaderFields {
        csrcs: &[0; 64],
        ..fields
    };
    assert_eq!(
        write_header(&mut [0; 99], &csrcs, none),
        Err(WriteError::Csrcs(64))
    );
}

#[test]
fn a_header_used_with_a_shorter_packet_gives_empty_slices() {
    let packet = sample();
    let header = RtpHeader::parse(&packet).unwrap();
    assert!(header.payload(&packet[..15]).is_empty());
    assert!(header.csrcs(&packet[..15]).is_empty());
    assert_eq!(header.extensions(&packet[..15]).count(), 0);
}

proptest! {
    #[test]
    fn never_panics(packet in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(header) = RtpHeader::parse(&packet) {
            prop_assert_eq!(
                header.header_len() + header.payload(&packet).len() + header.padding_len(),
                packet.len()
            );
            header.extensions(&packet).for_each(drop);
        }
    }

    #[test]
    fn never_panics_with_the_right_version(mut packet in prop::collection::vec(any::<u8>(), 12..200)) {
        packet[0] = packet[0] & 0x3f | 0x80;
        if let Ok(header) = RtpHeader::parse(&packet) {
            header.extensions(&packet).for_each(drop);
            prop_assert!(header.extension_range().end <= header.header_len());
        }
    }

    #[test]
    fn headers_round_trip(
        marker: bool, payload_type in 0u8..128, sequence: u16, timestamp: u32, ssrc: u32,
        csrcs in prop::collection::vec(any::<[u8; 4]>(), 0..=15),
        extensions in prop::collection::vec((1u8..=255, prop::collection::vec(any::<u8>(), 0..40)), 0..8),
        payload: Vec<u8>,
    ) {
        let csrcs = csrcs.concat();
        let fields = HeaderFields { marker, payload_type, sequence, timestamp, ssrc, csrcs: &csrcs };
        let elements = extensions.iter().map(|(id, value)| (*id, value.as_slice()));
        let mut packet = vec![0xee; 1500];
        let len = write_header(&mut packet, &fields, elements.clone()).unwrap();
        packet.truncate(len);
        packet.extend_from_slice(&payload);
        let header = RtpHeader::parse(&packet).unwrap();
        prop_assert_eq!(header.header_len(), len);
        prop_assert_eq!(header.payload(&packet), &payload);
        prop_assert_eq!(header.csrcs(&packet), &csrcs);
        prop_assert!(header.extensions(&packet).eq(elements));
        let read = HeaderFields {
            marker: header.marker, payload_type: header.payload_type, sequence: header.sequence,
            timestamp: header.timestamp, ssrc: header.ssrc, csrcs: &csrcs,
        };
        prop_assert_eq!(read, fields);
    }
}
