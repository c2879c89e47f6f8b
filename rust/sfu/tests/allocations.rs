//! Forwarding and sending again allocate nothing, whatever the number of down tracks.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::{Duration, Instant};

use common::svc::{Mode, SvcCall};
use common::{FRAME, PublishedLayer, down_track_config, receive, receiver_config};
use lkpy_sfu::{
    Backlog, DataTrackCounters, DataTrackHeader, DownTrack, HeaderExtension, PacketSink,
    PlayoutDelayLimits, Receiver, Reserved,
};
use rtp::extension::ExtensionKind;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// Counts the allocations of each thread.
struct Counting;

// SAFETY: everything is passed on to the system allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations() -> u64 {
    ALLOCATIONS.with(Cell::get)
}

struct CountingSink {
    buf: [u8; 1600],
    packets: u64,
    last_sequence: u16,
}

impl PacketSink for CountingSink {
    fn reserve(&mut self) -> Option<Reserved<'_>> {
        Some(Reserved {
            buf: &mut self.buf,
            transport_sequence: 0,
        })
    }

    fn commit(&mut self, _header_len: usize, _len: usize, _uses_transport_sequence: bool) {
        self.packets += 1;
        self.last_sequence = u16::from_be_bytes([self.buf[2], self.buf[3]]);
    }
}

#[test]
fn the_counter_counts() {
    let before = allocations();
    drop(Vec::<u8>::with_capacity(100));
    assert_eq!(allocations() - before, 1);
}

#[test]
fn forwarding_allocates_nothing() {
    let mut now = Instant::now();
    let mut receiver = Receiver::new(now, receiver_config(3));
    let mut layers = [0, 1, 2].map(PublishedLayer::new);
    let mut down_tracks: Vec<DownTrack> = (0..20)
        .map(|number| {
            let mut config = down_track_config(now, 5000 + 2 * number);
            config.max_temporal = (number % 3) as i8;
            config.playout_delay = (number % 2 == 0).then_some(PlayoutDelayLimits {
                min_ms: 100,
                max_ms: 1000,
            });
            config.header_extensions = vec![HeaderExtension {
                id: 3,
                uri: ExtensionKind::PlayoutDelay.uri().to_owned(),
            }];
            let mut down_track = DownTrack::new(now, config, &receiver);
            down_track.set_connected(now, true, &receiver);
            down_track
        })
        .collect();
    let mut sink = CountingSink {
        buf: [0; 1600],
        packets: 0,
        last_sequence: 0,
    };
    let (mut forwarded, mut resent) = (0, 0);
    for frame in 0..200 {
        now += FRAME;
        for layer in &mut layers {
            for (index, published) in layer.frame(frame % 50 == 0, 6).iter().enumerate() {
                if (frame + index) % 17 != 16 {
                    receive(&mut receiver, now, &published.bytes);
                }
            }
        }
        let before = (allocations(), sink.packets);
        for (number, down_track) in (0..).zip(&mut down_tracks) {
            let max_spatial = if frame < 100 { 2 } else { number % 3 };
            down_track.update(now, max_spatial, number % 3, frame == 120, &receiver);
            down_track.forward(now, &receiver, &mut sink);
            down_track.handle_timeout(now, &mut receiver);
        }
        forwarded += sink.packets - before.1;
        for down_track in &mut down_tracks {
            let (last, packets) = (sink.last_sequence, sink.packets);
            let nacks = (0..3).map(|back| last.wrapping_sub(back));
            down_track.handle_nack(now, nacks, &receiver, &mut sink);
            resent += sink.packets - packets;
        }
        assert_eq!(allocations(), before.0, "frame {frame}");
        receiver.end_batch();
    }
    assert!(forwarded > 10_000, "{forwarded}");
    assert!(resent > 100, "{resent}");
}

#[test]
fn forwarding_several_layers_in_one_stream_allocates_nothing() {
    for mode in [Mode::Full, Mode::Key, Mode::Vp9] {
        let mut call = SvcCall::new(mode);
        let mut sink = CountingSink {
            buf: [0; 1600],
            packets: 0,
            last_sequence: 0,
        };
        for picture in 0..120i8 {
            call.now += FRAME;
            let packets = call.publisher.picture(picture % 50 == 0, 3, 2);
            for packet in &packets {
                call.receive(packet);
            }
            let before = allocations();
            call.want(picture % 3, picture / 7 % 3);
            call.down_track.forward(call.now, &call.receiver, &mut sink);
            call.down_track.handle_timeout(call.now, &mut call.receiver);
            let nacks = [sink.last_sequence];
            call.down_track
                .handle_nack(call.now, nacks, &call.receiver, &mut sink);
            assert_eq!(allocations(), before, "{mode:?} picture {picture}");
            call.receiver.end_batch();
        }
        assert!(sink.packets > 150, "{mode:?} {}", sink.packets);
    }
}

#[test]
fn receiving_allocates_nothing_once_every_layer_has_begun() {
    let mut now = Instant::now();
    let mut receiver = Receiver::new(now, receiver_config(1));
    let mut layer = PublishedLayer::new(0);
    for frame in 0..100 {
        now += FRAME;
        let published = layer.frame(frame == 0, 6);
        let before = allocations();
        for (index, published) in published.iter().enumerate() {
            if (frame + index) % 17 != 16 {
                receive(&mut receiver, now, &published.bytes);
            }
        }
        receiver.handle_timeout(now);
        receiver.end_batch();
        if frame > 0 {
            assert_eq!(allocations(), before, "frame {frame}");
        }
    }
}

#[test]
fn a_data_track_packet_is_read_counted_and_readdressed_without_an_allocation() {
    let mut packet = vec![0u8; 1000];
    packet[0] = 0b0001_1100;
    packet[12..20].copy_from_slice(&[0, 1, 1, 4, b'P', b'A', b'_', b'x']);
    let mut counters = DataTrackCounters::default();
    let mut backlogs = [Duration::from_millis(100); 50].map(Backlog::new);
    let now = Instant::now();
    let before = allocations();
    for number in 0..1000u16 {
        let now = now + u32::from(number) * Duration::from_millis(1);
        packet[4..6].copy_from_slice(&number.to_be_bytes());
        let header = DataTrackHeader::parse(&packet).unwrap();
        counters.count(&header, packet.len());
        for (handle, backlog) in (1..).zip(&mut backlogs) {
            DataTrackHeader::readdress(&mut packet, handle);
            assert!(backlog.accepts(now, 1000));
            backlog.sent(packet.len());
        }
    }
    assert_eq!(allocations() - before, 0);
    assert_eq!(counters.stats().packets, 1000);
}
