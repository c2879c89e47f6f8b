//! Time per packet of the parts of the packet path, in nanoseconds:
//! `cargo run --release -p lkpy-rtp --example packet_cost`.

use std::hint::black_box;
use std::time::Instant;

use lkpy_rtp::RtpHeader;
use lkpy_rtp::extension::{ExtensionKind, ExtensionMap, ParsedExtensions};
use lkpy_rtp::header::{HeaderFields, write_header};
use lkpy_rtp::srtp::{MAX_RTP_OVERHEAD, SrtpContext, SrtpProfile};
use lkpy_rtp::vp8::{Vp8Descriptor, Vp8Patch};

const PAYLOAD_LEN: usize = 1200;
const ROUNDS: u32 = 200_000;

fn main() {
    let profiles = [
        SrtpProfile::AeadAes128Gcm,
        SrtpProfile::AeadAes256Gcm,
        SrtpProfile::Aes128CmSha1_80,
    ];
    for profile in profiles {
        measure_srtp(profile);
    }
    measure_parsing();
}

fn context(profile: SrtpProfile) -> SrtpContext {
    let (key, salt) = ([1; 32], [2; 14]);
    let (key, salt) = (&key[..profile.key_len()], &salt[..profile.salt_len()]);
    SrtpContext::new(profile, key, salt).expect("lengths are the profile's")
}

/// Writes header and descriptor of packet `sequence` into `buf`; returns the header's length.
fn write(buf: &mut [u8], sequence: u16, vp8: &Vp8Descriptor) -> usize {
    let fields = HeaderFields {
        payload_type: 96,
        sequence,
        ssrc: 7,
        ..Default::default()
    };
    let transport_sequence = sequence.to_be_bytes();
    let extensions: [(u8, &[u8]); 3] = [(1, b"0"), (2, &[1, 2, 3]), (3, &transport_sequence)];
    let len = write_header(buf, &fields, extensions).expect("the buffer has room");
    let patch = Vp8Patch {
        picture_id: sequence,
        ..Default::default()
    };
    vp8.patch(&mut buf[len..], &patch);
    len
}

fn measure_srtp(profile: SrtpProfile) {
    let (mut sender, mut receiver) = (context(profile), context(profile));
    let payload = payload();
    let vp8 = Vp8Descriptor::parse(&payload).expect("a whole descriptor");
    let mut buf = [0; 1500];
    let (mut sealing, mut opening) = (0, 0);
    for round in 0..ROUNDS {
        let start = Instant::now();
        let room = 32 + PAYLOAD_LEN + MAX_RTP_OVERHEAD;
        let header_len = write(&mut buf[..room], round as u16, &vp8);
        buf[header_len..header_len + PAYLOAD_LEN].copy_from_slice(&payload);
        let sealed = sender.protect_rtp(&mut buf, header_len, header_len + PAYLOAD_LEN);
        let sealed = sealed.expect("the buffer has room");
        let between = Instant::now();
        let opened = receiver.unprotect_rtp(black_box(&mut buf[..sealed]));
        opened.expect("the same keys");
        opening += between.elapsed().as_nanos();
        sealing += (between - start).as_nanos();
    }
    let rounds = u128::from(ROUNDS);
    println!(
        "{profile:?}: write and protect {} ns, unprotect {} ns (each with a clock read)",
        sealing / rounds,
        opening / rounds
    );
}

fn measure_parsing() {
    let mut map = ExtensionMap::new();
    map.insert(1, ExtensionKind::Mid);
    map.insert(2, ExtensionKind::AbsSendTime);
    map.insert(3, ExtensionKind::TransportCc);
    let payload = payload();
    let vp8 = Vp8Descriptor::parse(&payload).expect("a whole descriptor");
    let mut packet = [0; 1500];
    let header_len = write(&mut packet, 1, &vp8);
    packet[header_len..header_len + PAYLOAD_LEN].copy_from_slice(&payload);
    let packet = &packet[..header_len + PAYLOAD_LEN];
    let start = Instant::now();
    for _ in 0..ROUNDS {
        let packet = black_box(packet);
        let header = RtpHeader::parse(packet).expect("a whole header");
        black_box(ParsedExtensions::parse(&map, &header, packet));
        black_box(Vp8Descriptor::parse(header.payload(packet)));
    }
    let nanos = start.elapsed().as_nanos() / u128::from(ROUNDS);
    println!("parse header, extensions and VP8 descriptor: {nanos} ns");
}

fn payload() -> [u8; PAYLOAD_LEN] {
    let mut payload = [0x55; PAYLOAD_LEN];
    payload[..7].copy_from_slice(&[0x90, 0xf0, 0x80, 1, 2, 0x20, 0x51]);
    payload
}
