//! No function that runs once per packet allocates. The allocator counts Rust's allocations of the
//! thread; AWS-LC's own, in C, are not seen (it makes none for these calls: contexts are inline).

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;
use std::time::Instant;

use lkpy_rtp::RtpHeader;
use lkpy_rtp::codec::{Codec, EntryPoint, entry_point};
use lkpy_rtp::extension::{ExtensionKind, ExtensionMap, ParsedExtensions};
use lkpy_rtp::header::{HeaderFields, write_header};
use lkpy_rtp::nack::NackGenerator;
use lkpy_rtp::rtcp::{self, Packet, RtcpWriter};
use lkpy_rtp::seq::SeqUnwrapper;
use lkpy_rtp::srtp::{SrtpContext, SrtpProfile};
use lkpy_rtp::stats::ReceptionStats;
use lkpy_rtp::twcc::TwccRecorder;
use lkpy_rtp::vp8::{Vp8Descriptor, Vp8Patch};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Number of allocations that `work` makes.
fn allocations(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.with(Cell::get);
    work();
    ALLOCATIONS.with(Cell::get) - before
}

#[test]
fn the_counter_counts() {
    assert_eq!(
        allocations(|| drop(black_box(Vec::<u8>::with_capacity(9)))),
        1
    );
}

#[test]
fn packets_do_not_allocate() {
    let profiles = [
        SrtpProfile::Aes128CmSha1_80,
        SrtpProfile::AeadAes128Gcm,
        SrtpProfile::AeadAes256Gcm,
    ];
    for profile in profiles {
        let (key, salt) = ([1; 32], [2; 14]);
        let context = || {
            let (key, salt) = (&key[..profile.key_len()], &salt[..profile.salt_len()]);
            SrtpContext::new(profile, key, salt).unwrap()
        };
        let (mut sender, mut receiver) = (context(), context());
        let mut map = ExtensionMap::new();
        map.insert(3, ExtensionKind::TransportCc);
        map.insert(4, ExtensionKind::Mid);
        let now = Instant::now();
        let mut unwrapper = SeqUnwrapper::new();
        let mut nacks = NackGenerator::new();
        let mut stats = ReceptionStats::new(90_000, now);
        let mut recorder = TwccRecorder::new(now);
        let mut due = Vec::with_capacity(100);

        let mut one_packet = |sequence: u16| {
            let mut buf = [0; 1500];
            let fields = HeaderFields {
                payload_type: 96,
                sequence,
                ssrc: 7,
                ..Default::default()
            };
            let transport_sequence = sequence.to_be_bytes();
            let extensions: [(u8, &[u8]); 2] = [(3, &transport_sequence), (4, b"0")];
            let header_len = write_header(&mut buf, &fields, extensions).unwrap();
            let payload = [0x90, 0xf0, 0x80, 1, 2, 0x20, 0x50, 0, 0];
            buf[header_len..header_len + 9].copy_from_slice(&payload);
            let len = sender
                .protect_rtp(&mut buf, header_len, header_len + 1100)
                .unwrap();

            let len = receiver.unprotect_rtp(&mut buf[..len]).unwrap();
            let packet = &mut buf[..len];
            let header = RtpHeader::parse(packet).unwrap();
            let parsed = ParsedExtensions::parse(&map, &header, packet);
            assert_eq!(parsed.transport_sequence, Some(sequence));
            let entry = entry_point(Codec::Vp8, header.payload(packet), None);
            assert_eq!(entry, EntryPoint::First);
            let extended = unwrapper.unwrap(header.sequence);
            nacks.received(now, extended);
            nacks.poll(now, &mut due);
            stats.received(now, extended, header.timestamp, len, true);
            recorder.record(now, sequence);
            let payload = header.payload_mut(packet);
            let descriptor = Vp8Descriptor::parse(payload).unwrap();
            descriptor.patch(payload, &Vp8Patch::default());
        };
        // The first packet of a stream allocates its state.
        one_packet(0);
        let count = allocations(|| (2..900).step_by(2).for_each(&mut one_packet));
        assert_eq!(count, 0, "{profile:?}");
    }
}

#[test]
fn rtcp_in_a_reused_buffer_does_not_allocate() {
    let mut buf = Vec::with_capacity(1500);
    let count = allocations(|| {
        for _ in 0..10 {
            buf.clear();
            let mut writer = RtcpWriter::new(&mut buf);
            writer.receiver_report(1, &[Default::default(); 3]);
            writer.sdes_cname(1, "name");
            writer.nack(1, 2, [5, 7, 100]);
            writer.pli(1, 2);
            writer.remb(1, 1_000_000, &[2]);
            for packet in rtcp::parse(&buf) {
                if let Packet::Nack(nack) = packet.unwrap() {
                    assert_eq!(nack.sequences().count(), 3);
                }
            }
        }
    });
    assert_eq!(count, 0);
}

#[test]
fn building_transport_feedback_does_not_allocate() {
    let now = Instant::now();
    let mut recorder = TwccRecorder::new(now);
    let mut buf = Vec::with_capacity(4096);
    let count = allocations(|| {
        for sequence in 0..1000u16 {
            recorder.record(now, sequence.wrapping_mul(2));
            if sequence % 100 == 99 {
                buf.clear();
                recorder.build_feedback(now, 1, 2, &mut buf);
            }
        }
    });
    // History of 500 ms: the ring may grow once past its first 1,024 places.
    assert!(count <= 2, "{count}");
}
