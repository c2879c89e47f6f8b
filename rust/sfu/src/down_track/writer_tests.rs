use rtp::RtpHeader;

use super::*;

fn extension(id: u8, kind: ExtensionKind) -> HeaderExtension {
    HeaderExtension {
        id,
        uri: kind.uri().to_owned(),
    }
}

const DELAY: PlayoutDelay = PlayoutDelay {
    min: 0x123,
    max: 0x456,
};

fn config(own: &[HeaderExtension]) -> DownTrackConfig {
    DownTrackConfig {
        mid: "7".to_owned(),
        ssrc: 0,
        rtx_ssrc: None,
        cname: String::new(),
        codecs: Vec::new(),
        header_extensions: own.to_vec(),
        max_spatial: 2,
        max_temporal: 3,
        muted: false,
        translate_red: false,
        playout_delay: None,
        strip_trailer: false,
        rtx_budget: None,
        epoch: std::time::Instant::now(),
    }
}

fn writer(own: &[HeaderExtension], source: &[HeaderExtension]) -> HeaderWriter {
    let mut writer = HeaderWriter::new(&config(own));
    writer.set_source(own, source);
    writer
}

const FIELDS: Fields = Fields {
    ssrc: 0x1122_3344,
    payload_type: 96,
    marker: true,
    sequence: 0xabcd,
    timestamp: 0x5566_7788,
    sending: Some(Sending {
        transport_sequence: 0x9abc,
        abs_send_time: [1, 2, 3],
    }),
};

const REPEATABLE: Fields = Fields {
    sending: None,
    ..FIELDS
};

fn from_packet<'a>(extensions: &'a [ExtensionRef], packet: &'a [u8]) -> Passed<'a> {
    Passed {
        extensions,
        packet,
        descriptor: None,
    }
}

/// Writes a header into dirty memory and returns its extensions.
fn written(writer: &HeaderWriter, passed: &[ExtensionRef], packet: &[u8]) -> Vec<(u8, Vec<u8>)> {
    written_with(&FIELDS, writer, passed, packet)
}

fn written_with(
    fields: &Fields,
    writer: &HeaderWriter,
    passed: &[ExtensionRef],
    packet: &[u8],
) -> Vec<(u8, Vec<u8>)> {
    let mut buf = [0xee; 300];
    let passed = from_packet(passed, packet);
    let len = writer.write(&mut buf, fields, &passed).unwrap();
    let header = RtpHeader::parse(&buf[..len]).unwrap();
    assert_eq!(header.header_len(), len);
    let fields = (
        header.ssrc,
        header.payload_type,
        header.marker,
        header.sequence,
        header.timestamp,
    );
    assert_eq!(fields, (0x1122_3344, 96, true, 0xabcd, 0x5566_7788));
    header
        .extensions(&buf[..len])
        .map(|(id, value)| (id, value.to_vec()))
        .collect()
}

#[test]
fn a_header_without_extensions_is_twelve_bytes() {
    assert_eq!(written(&writer(&[], &[]), &[], &[]), []);
    let mut buf = [0; 100];
    assert_eq!(
        writer(&[], &[]).write(&mut buf, &FIELDS, &Passed::default()),
        Some(12)
    );
}

#[test]
fn own_extensions_are_written_fresh() {
    let own = [
        extension(1, ExtensionKind::Mid),
        extension(2, ExtensionKind::AbsSendTime),
        extension(3, ExtensionKind::TransportCc),
    ];
    let expected = [
        (1, b"7".to_vec()),
        (2, vec![1, 2, 3]),
        (3, vec![0x9a, 0xbc]),
    ];
    let writer = writer(&own, &[]);
    assert_eq!(written(&writer, &[], &[]), expected);
    assert!(writer.has_transport_sequence(&FIELDS));
}

#[test]
fn the_playout_delay_is_written_while_there_is_one() {
    let own = [
        extension(2, ExtensionKind::AbsSendTime),
        extension(6, ExtensionKind::PlayoutDelay),
    ];
    // Of the publisher's own nobody is told.
    let passed = [ExtensionRef {
        id: 6,
        len: 3,
        start: 0,
    }];
    let mut writer = writer(&own, &own);
    let plain = [(2, vec![1, 2, 3])];
    let with_delay = [(6, vec![0x12, 0x34, 0x56]), (2, vec![1, 2, 3])];
    assert_eq!(written(&writer, &passed, &[9; 3]), plain);
    writer.set_playout_delay(&config(&own), Some(DELAY));
    assert_eq!(written(&writer, &passed, &[9; 3]), with_delay);
    writer.set_playout_delay(&config(&own), None);
    assert_eq!(written(&writer, &passed, &[9; 3]), plain);

    let mut writer = super::HeaderWriter::new(&config(&own[..1]));
    writer.set_playout_delay(&config(&own[..1]), Some(DELAY));
    assert_eq!(written(&writer, &[], &[]), plain);
}

#[test]
fn a_playout_delay_with_a_high_id_takes_the_two_byte_form() {
    let own = [
        extension(1, ExtensionKind::Mid),
        extension(15, ExtensionKind::PlayoutDelay),
    ];
    let mut writer = writer(&own, &[]);
    writer.set_playout_delay(&config(&own), Some(DELAY));
    let expected = [(1, b"7".to_vec()), (15, vec![0x12, 0x34, 0x56])];
    assert_eq!(written(&writer, &[], &[]), expected);
}

#[test]
fn what_may_be_repeated_says_nothing_of_one_sending() {
    let own = [
        extension(1, ExtensionKind::Mid),
        extension(2, ExtensionKind::AbsSendTime),
        extension(3, ExtensionKind::TransportCc),
        extension(5, ExtensionKind::FrameMarking),
        extension(6, ExtensionKind::PlayoutDelay),
    ];
    let passed = [ExtensionRef {
        id: 5,
        len: 3,
        start: 0,
    }];
    let mut writer = writer(&own, &own);
    writer.set_playout_delay(&config(&own), Some(DELAY));
    let expected = [(1, b"7".to_vec()), (5, vec![10, 11, 12])];
    let packet = [10, 11, 12];
    assert_eq!(
        written_with(&REPEATABLE, &writer, &passed, &packet),
        expected
    );
    assert_eq!(
        written_with(&REPEATABLE, &writer, &[], &[]),
        [(1, b"7".to_vec())]
    );
    assert!(!writer.has_transport_sequence(&REPEATABLE));
}

#[test]
fn the_publishers_extensions_get_the_subscribers_ids() {
    let own = [
        extension(3, ExtensionKind::TransportCc),
        extension(5, ExtensionKind::FrameMarking),
        HeaderExtension {
            id: 9,
            uri: "urn:unknown".to_owned(),
        },
    ];
    let source = [
        extension(1, ExtensionKind::TransportCc),
        extension(2, ExtensionKind::FrameMarking),
        extension(3, ExtensionKind::AudioLevel),
        HeaderExtension {
            id: 4,
            uri: "urn:unknown".to_owned(),
        },
    ];
    let packet = [10, 11, 12, 13, 14, 15];
    let passed =
        [(2, 3, 0), (3, 1, 3), (4, 2, 4)].map(|(id, len, start)| ExtensionRef { id, len, start });
    let expected = [
        (3, vec![0x9a, 0xbc]),
        (5, vec![10, 11, 12]),
        (9, vec![14, 15]),
    ];
    assert_eq!(written(&writer(&own, &source), &passed, &packet), expected);
}

#[test]
fn long_values_and_high_ids_take_the_two_byte_form() {
    let dd = ExtensionKind::DependencyDescriptor;
    let own = [extension(2, ExtensionKind::Mid), extension(8, dd)];
    let source = [extension(6, dd)];
    let packet: Vec<u8> = (0..100).collect();
    for len in [16, 17, 80] {
        let passed = [ExtensionRef {
            id: 6,
            len,
            start: 10,
        }];
        let value = packet[10..10 + usize::from(len)].to_vec();
        let expected = [(2, b"7".to_vec()), (8, value)];
        assert_eq!(written(&writer(&own, &source), &passed, &packet), expected);
    }
    let own = [extension(15, ExtensionKind::AbsSendTime)];
    assert_eq!(written(&writer(&own, &[]), &[], &[]), [(15, vec![1, 2, 3])]);
}

#[test]
fn a_short_buffer_is_refused() {
    let dd = ExtensionKind::DependencyDescriptor;
    let own = [extension(8, dd)];
    let writer = writer(&own, &own);
    let passed = [ExtensionRef {
        id: 8,
        len: 80,
        start: 0,
    }];
    let mut buf = [0; 70];
    let passed = from_packet(&passed, &[0; 80]);
    assert_eq!(writer.write(&mut buf, &FIELDS, &passed), None);
    let buf = &mut buf[..20];
    assert_eq!(writer.write(buf, &FIELDS, &Passed::default()), None);
}
