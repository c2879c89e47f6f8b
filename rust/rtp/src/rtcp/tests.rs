use super::*;
use crate::rtcp::report::ReportBlock;
use proptest::prelude::*;

fn packets(buf: &[u8]) -> Vec<Packet<'_>> {
    parse(buf).map(|packet| packet.unwrap()).collect()
}

fn written(write: impl FnOnce(&mut RtcpWriter<'_>)) -> Vec<u8> {
    let mut buf = Vec::new();
    write(&mut RtcpWriter::new(&mut buf));
    assert_eq!(buf.len() % 4, 0);
    buf
}

fn block(ssrc: u32) -> ReportBlock {
    ReportBlock {
        ssrc,
        fraction_lost: 200,
        cumulative_lost: -5,
        highest_sequence: 0x0001_ffff,
        jitter: 77,
        last_sr: 0x1234_5678,
        delay_since_last_sr: 9,
    }
}

const INFO: SenderInfo = SenderInfo {
    ntp: 0x0102_0304_0506_0708,
    rtp_timestamp: 9,
    packet_count: 10,
    octet_count: 11,
};

#[test]
fn a_compound_packet_round_trips() {
    let buf = written(|rtcp| {
        assert!(rtcp.is_empty());
        rtcp.sender_report(1, &INFO, &[block(2), block(3)]);
        rtcp.sdes_cname(1, "cname");
        rtcp.pli(1, 5);
        rtcp.bye(&[1, 6]);
        assert_eq!(rtcp.len(), 28 + 48 + 16 + 12 + 12);
    });
    let packets = packets(&buf);
    assert_eq!(packets.len(), 4);
    let Packet::SenderReport {
        ssrc: 1,
        info: INFO,
        reports,
    } = packets[0]
    else {
        panic!("{:?}", packets[0]);
    };
    assert!(reports.iter().eq([block(2), block(3)]));
    let Packet::Sdes(sdes) = packets[1] else {
        panic!("{:?}", packets[1]);
    };
    let chunks: Vec<_> = sdes.chunks().collect();
    assert_eq!((chunks.len(), chunks[0].ssrc), (1, 1));
    let cname = (sdes_item::CNAME, b"cname".as_slice());
    assert!(chunks[0].items().eq([cname]));
    let pli = Packet::Pli {
        sender_ssrc: 1,
        media_ssrc: 5,
    };
    assert_eq!(packets[2], pli);
    let Packet::Bye(bye) = packets[3] else {
        panic!("{:?}", packets[3]);
    };
    assert!(bye.ssrcs.iter().eq([1, 6]));
    assert_eq!(bye.reason, None);
}

#[test]
fn cnames_of_every_length_end_with_a_zero() {
    for len in 0..=300 {
        let name = "x".repeat(len);
        let buf = written(|rtcp| rtcp.sdes_cname(9, &name));
        let Packet::Sdes(sdes) = packets(&buf)[0] else {
            panic!();
        };
        let kept = &name.as_bytes()[..len.min(255)];
        let chunk = sdes.chunks().next().unwrap();
        assert!(chunk.items().eq([(sdes_item::CNAME, kept)]));
        assert_eq!(buf.last(), Some(&0));
    }
}

#[test]
fn lists_longer_than_31_are_split() {
    let blocks: Vec<_> = (0..70).map(block).collect();
    let ssrcs: Vec<_> = (0..70).collect();
    let buf = written(|rtcp| {
        rtcp.sender_report(1, &INFO, &blocks);
        rtcp.receiver_report(1, &blocks);
        rtcp.bye(&ssrcs);
        rtcp.receiver_report(1, &[]);
    });
    let packets = packets(&buf);
    assert_eq!(packets.len(), 3 + 3 + 3 + 1);
    let reported: Vec<_> = packets
        .iter()
        .flat_map(|packet| match packet {
            Packet::SenderReport { reports, .. } | Packet::ReceiverReport { reports, .. } => {
                reports.iter().collect()
            }
            _ => vec![],
        })
        .collect();
    assert_eq!(reported, [blocks.clone(), blocks].concat());
}

#[test]
fn nack_pairs_on_the_wire() {
    let sequences = [65_534, 65_535, 0, 14, 15, 15, 100];
    let buf = written(|rtcp| assert_eq!(rtcp.nack(1, 2, sequences), 6));
    let pairs = &buf[12..];
    assert_eq!(
        pairs,
        [0xff, 0xfe, 0x80, 0x03, 0, 15, 0, 0, 0, 100, 0, 0],
        "{pairs:x?}"
    );
    let Packet::Nack(nack) = packets(&buf)[0] else {
        panic!();
    };
    assert_eq!((nack.sender_ssrc, nack.media_ssrc), (1, 2));
    assert!(nack.sequences().eq([65_534, 65_535, 0, 14, 15, 100]));
    assert!(written(|rtcp| assert_eq!(rtcp.nack(1, 2, []), 0)).is_empty());
}

#[test]
fn fir_and_remb_round_trip() {
    let entries = [
        FirEntry {
            ssrc: 5,
            command: 255,
        },
        FirEntry {
            ssrc: 6,
            command: 0,
        },
    ];
    let buf = written(|rtcp| {
        rtcp.fir(1, &entries);
        rtcp.remb(1, 2_000_000, &[5, 6]);
    });
    let packets = packets(&buf);
    let Packet::Fir(fir) = packets[0] else {
        panic!();
    };
    assert!(fir.entries().eq(entries));
    let Packet::Remb(remb) = packets[1] else {
        panic!();
    };
    assert_eq!((remb.sender_ssrc, remb.bitrate), (1, 2_000_000));
    assert!(remb.ssrcs.iter().eq([5, 6]));
}

#[test]
fn remb_bitrates_lose_only_low_bits() {
    for bitrate in [0, 1, 0x3_ffff, 0x4_0000, 0x4_0001, 123_456_789, u64::MAX] {
        let buf = written(|rtcp| rtcp.remb(1, bitrate, &[]));
        let Packet::Remb(remb) = packets(&buf)[0] else {
            panic!();
        };
        assert!(remb.bitrate <= bitrate);
        assert!(bitrate - remb.bitrate <= bitrate >> 17, "{bitrate}");
    }
    let mut buf = written(|rtcp| rtcp.remb(1, 1, &[]));
    buf[17..20].copy_from_slice(&[0xff, 0xff, 0xff]);
    assert!(matches!(
        packets(&buf)[0],
        Packet::Remb(Remb {
            bitrate: u64::MAX,
            ..
        })
    ));
}

#[test]
fn extended_reports_round_trip() {
    let entry = DlrrEntry {
        ssrc: 3,
        last_rr: 4,
        delay_since_last_rr: 5,
    };
    let mut buf = written(|rtcp| {
        rtcp.receiver_reference_time(1, 0x0102_0304_0506_0708);
        rtcp.dlrr(2, &[entry, DlrrEntry::default()]);
    });
    // An unknown block after the second report's: two words.
    buf.extend_from_slice(&[99, 0, 0, 1, 1, 2, 3, 4]);
    buf[20 + 3] += 2;
    let packets = packets(&buf);
    let blocks = |packet: &Packet<'_>| match *packet {
        Packet::Xr(xr) => format!("{:?}", xr.blocks().collect::<Vec<_>>()),
        other => panic!("{other:?}"),
    };
    let reference = XrBlock::ReceiverReferenceTime {
        ntp: 0x0102_0304_0506_0708,
    };
    assert_eq!(blocks(&packets[0]), format!("{:?}", [reference]));
    let Packet::Xr(xr) = packets[1] else {
        panic!();
    };
    let found: Vec<_> = xr.blocks().collect();
    let XrBlock::Dlrr(list) = found[0] else {
        panic!("{found:?}");
    };
    assert!(list.iter().eq([entry, DlrrEntry::default()]));
    let unknown = XrBlock::Unknown {
        block_type: 99,
        body: &[1, 2, 3, 4],
    };
    assert_eq!(found[1..], [unknown]);
}

#[test]
fn a_goodbye_may_have_a_reason() {
    let buf = [
        0x81, 203, 0, 3, 0, 0, 0, 7, 5, b'c', b'l', b'o', b's', b'e', 0, 0,
    ];
    let Packet::Bye(bye) = packets(&buf)[0] else {
        panic!();
    };
    assert_eq!(bye.reason, Some(b"close".as_slice()));
    let mut lying = buf;
    lying[8] = 8;
    assert_eq!(parse(&lying).next(), Some(Err(RtcpError::Malformed(203))));
}

#[test]
fn padding_is_taken_off() {
    let mut buf = written(|rtcp| assert_eq!(rtcp.nack(1, 2, [5]), 1));
    buf[0] |= 0x20;
    buf[3] += 1;
    buf.extend_from_slice(&[0, 0, 0, 4]);
    let Packet::Nack(nack) = packets(&buf)[0] else {
        panic!();
    };
    assert!(nack.sequences().eq([5]));
    for padding in [0, 17, 255] {
        buf[19] = padding;
        assert!(matches!(
            parse(&buf).next(),
            Some(Err(RtcpError::Padding(p))) if p == padding
        ));
    }
}

#[test]
fn lengths_that_lie_end_the_iteration() {
    let good = written(|rtcp| rtcp.pli(1, 2));
    let mut long = good.clone();
    long[3] = 3;
    let errors: Vec<_> = parse(&long).collect();
    assert_eq!(errors, [Err(RtcpError::Truncated)]);
    for len in 1..good.len() {
        let errors: Vec<_> = parse(&good[..len]).collect();
        assert_eq!(errors, [Err(RtcpError::Truncated)], "{len}");
    }
    let mut version = [good.clone(), good].concat();
    version[12] = 0x41;
    let results: Vec<_> = parse(&version).skip(1).collect();
    assert_eq!(results, [Err(RtcpError::Version(1))]);
}

#[test]
fn a_malformed_packet_does_not_hide_the_next() {
    // Each says more than it has: counts, inner lengths, or no room for the SSRCs.
    let malformed: [&[u8]; 10] = [
        &[0x80, 200, 0, 1, 0, 0, 0, 1],
        &[0x81, 201, 0, 1, 0, 0, 0, 1],
        &[0x81, 202, 0, 0],
        &[0x81, 202, 0, 2, 0, 0, 0, 1, 1, 9, b'a', 0],
        &[0x82, 203, 0, 1, 0, 0, 0, 1],
        &[0x81, 205, 0, 1, 0, 0, 0, 1],
        &[0x8f, 205, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2],
        &[0x81, 206, 0, 1, 0, 0, 0, 1],
        &[
            0x8f, 206, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0, b'R', b'E', b'M', b'B', 1, 0, 0, 1,
        ],
        &[0x80, 207, 0, 2, 0, 0, 0, 1, 4, 0, 0, 2],
    ];
    let good = written(|rtcp| rtcp.pli(1, 2));
    for bytes in malformed {
        let buf = [bytes, &good].concat();
        let results: Vec<_> = parse(&buf).collect();
        assert_eq!(results.len(), 2);
        assert_eq!(results[0], Err(RtcpError::Malformed(bytes[1])));
        assert!(matches!(results[1], Ok(Packet::Pli { .. })));
    }
}

#[test]
fn unknown_types_are_given_as_they_are() {
    let buf = [0x85, 204, 0, 1, 1, 2, 3, 4, 0x8f, 206, 0, 0];
    let found = packets(&buf);
    let app = Packet::Unknown {
        packet_type: 204,
        count: 5,
        body: &[1, 2, 3, 4],
    };
    let feedback = Packet::Unknown {
        packet_type: 206,
        count: 15,
        body: &[],
    };
    assert_eq!(found, [app, feedback]);
}

/// A feedback packet with every kind of chunk and delta; the last chunk tells more than asked for.
#[test]
fn transport_feedback_from_the_wire() {
    let buf = [
        0xaf, 205, 0, 8, 0, 0, 0, 1, 0, 0, 0, 2, // padded, sender, media
        0xff, 0xff, 0, 14, 0xff, 0xff, 0xfe, 7, // base 65535, 14 statuses, time -2, count 7
        0x20, 0x02, // run of 2 small
        0xd2, 0x00, // two-bit: small, missing, large, missing...
        0xa0, 0x00, // one-bit: small at the start
        4, 8, // deltas of the run
        12, 0xff, 0xf0, // small, large
        1,    // small
        0, 0, 0, 4, // padding
    ];
    let Packet::TransportCc(feedback) = packets(&buf)[0] else {
        panic!();
    };
    assert_eq!((feedback.sender_ssrc, feedback.media_ssrc), (1, 2));
    assert_eq!((feedback.reference_time, feedback.feedback_count), (-2, 7));
    let received: Vec<_> = feedback
        .statuses()
        .filter_map(|status| Some((status.sequence, status.arrival?)))
        .collect();
    assert_eq!(received, [(65_535, 4), (0, 12), (1, 24), (3, 8), (8, 9)]);
    assert_eq!(feedback.statuses().count(), 14);

    let mut reserved = buf;
    reserved[22] = 0xf0;
    assert_eq!(
        parse(&reserved).next(),
        Some(Err(RtcpError::Malformed(205)))
    );
    let mut more = buf;
    more[15] = 200;
    assert_eq!(parse(&more).next(), Some(Err(RtcpError::Malformed(205))));
}

/// Goes through everything that can be gone through.
fn exhaust(buf: &[u8]) {
    for packet in parse(buf).flatten() {
        match packet {
            Packet::SenderReport { reports, .. } | Packet::ReceiverReport { reports, .. } => {
                reports.iter().for_each(drop);
            }
            Packet::Sdes(sdes) => sdes.chunks().for_each(|chunk| chunk.items().for_each(drop)),
            Packet::Bye(bye) => bye.ssrcs.iter().for_each(drop),
            Packet::Nack(nack) => nack.sequences().for_each(drop),
            Packet::Fir(fir) => fir.entries().for_each(drop),
            Packet::Remb(remb) => remb.ssrcs.iter().for_each(drop),
            Packet::TransportCc(feedback) => {
                let count = feedback.statuses().count();
                assert_eq!(count, usize::from(feedback.status_count));
            }
            Packet::Xr(xr) => xr.blocks().for_each(|block| {
                if let XrBlock::Dlrr(list) = block {
                    list.iter().for_each(drop);
                }
            }),
            Packet::Pli { .. } | Packet::Unknown { .. } => {}
        }
    }
}

proptest! {
    #[test]
    fn never_panics(buf: Vec<u8>) {
        exhaust(&buf);
    }

    #[test]
    fn never_panics_past_the_header(
        first in 0x80u8..0xc0, packet_type in 200u8..=207, mut body in prop::collection::vec(any::<u8>(), 0..200),
        remb: bool,
    ) {
        body.resize(body.len().next_multiple_of(4), 0);
        if remb && body.len() >= 12 {
            body[8..12].copy_from_slice(b"REMB");
        }
        let mut buf = vec![first, packet_type, 0, (body.len() / 4) as u8];
        buf.extend(body);
        exhaust(&buf);
    }

    #[test]
    fn nacks_round_trip(start: u16, steps in prop::collection::vec(1u16..50, 1..200)) {
        let sequences: Vec<_> = steps
            .iter()
            .scan(start, |sequence, step| {
                *sequence = sequence.wrapping_add(*step);
                Some(*sequence)
            })
            .collect();
        let buf = written(|rtcp| {
            let count = rtcp.nack(1, 2, sequences.iter().copied());
            assert_eq!(count, sequences.len());
        });
        let Packet::Nack(nack) = packets(&buf)[0] else { panic!() };
        prop_assert!(nack.sequences().eq(sequences));
    }

    #[test]
    fn reports_round_trip(
        ssrc: u32, ntp: u64, rtp_timestamp: u32, packet_count: u32, octet_count: u32,
        blocks in prop::collection::vec(
            (any::<u32>(), any::<u8>(), -0x80_0000i32..0x80_0000, any::<[u32; 4]>()), 0..=31),
    ) {
        let info = SenderInfo { ntp, rtp_timestamp, packet_count, octet_count };
        let blocks: Vec<_> = blocks
            .into_iter()
            .map(|(ssrc, fraction_lost, cumulative_lost, rest)| ReportBlock {
                ssrc, fraction_lost, cumulative_lost, highest_sequence: rest[0], jitter: rest[1],
                last_sr: rest[2], delay_since_last_sr: rest[3],
            })
            .collect();
        let buf = written(|rtcp| rtcp.sender_report(ssrc, &info, &blocks));
        let Packet::SenderReport { ssrc: read_ssrc, info: read_info, reports } = packets(&buf)[0] else {
            panic!()
        };
        prop_assert_eq!((read_ssrc, read_info), (ssrc, info));
        prop_assert!(reports.iter().eq(blocks));
    }
}
