//! What an SCTP peer makes this end keep.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use lkpy_transport::limits;
use lkpy_transport::raw::{BEGINS, ENDS, Raw, UNORDERED, data};

static KEPT: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// SAFETY: everything is left to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        KEPT.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        KEPT.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What is kept besides four times what was sent: the ring of TSNs that may be ahead, of 24 bytes each,
/// the message that is put together, and what a packet is made of.
const BESIDES: usize = 24 * limits::SCTP_TSN_DISTANCE + 2 * limits::MESSAGE_MAX + 16 * 1024;

/// Row T15: small chunks behind a gap, fragments and beginnings, alone in their packets and dozens in one,
/// read and not read, for megabytes.
#[test]
fn what_is_kept_is_bounded_by_what_was_sent() {
    let now = Instant::now();
    for (name, flags, gap, step, is_paused) in [
        (
            "as far as possible",
            BEGINS | ENDS,
            limits::SCTP_TSN_DISTANCE as u32 - 100,
            1,
            true,
        ),
        (
            "unordered behind a gap",
            BEGINS | ENDS | UNORDERED,
            1,
            1,
            true,
        ),
        ("ordered behind a gap", BEGINS | ENDS, 1, 1, false),
        ("every other one", BEGINS | ENDS, 1, 2, false),
        ("fragments behind a gap", UNORDERED, 1, 1, false),
        ("beginnings", BEGINS, 0, 1, false),
        ("fragments", 0, 0, 1, false),
        ("not read", BEGINS | ENDS, 0, 1, true),
    ] {
        for (len, count) in [(1, 1), (1, 54), (20, 30), (300, 1), (1_000, 1)] {
            let mut raw = Raw::connected(now);
            raw.pause(now, is_paused);
            let before = KEPT.load(Ordering::Relaxed);
            let mut besides = 0;
            for round in 0..limits::SCTP_TSN_DISTANCE as u32 / count + 1_000 {
                let first = raw.next_tsn.wrapping_add(gap + step * count * round);
                let chunk = |n: u32| {
                    let tsn = first.wrapping_add(step * n);
                    let begins = if round + n == 0 { BEGINS } else { 0 };
                    let ssn = (tsn.wrapping_sub(raw.next_tsn) + 1) as u16;
                    let ssn = if flags & BEGINS == 0 { 1 } else { ssn };
                    data(flags | begins, tsn, 0, ssn, &vec![7; len])
                };
                let chunks: Vec<u8> = (0..count).flat_map(chunk).collect();
                raw.give(now, &chunks);
                drop(chunks);
                let kept = KEPT.load(Ordering::Relaxed).saturating_sub(before);
                besides = besides.max(kept.saturating_sub(4 * raw.sent));
                let most = 4 * limits::SCTP_RECEIVE_BUFFER as usize;
                assert!(kept <= most, "{name}, {count} of {len}: {kept} kept");
            }
            println!("{name}, {count} of {len}: {besides} besides");
            assert!(besides <= BESIDES, "{name}, {count} of {len}: {besides}");
        }
    }
    // Row T16: nobody acknowledges what is sent.
    for len in [1, 100, 1_000, 60_000] {
        let mut raw = Raw::connected(now);
        let before = KEPT.load(Ordering::Relaxed);
        while raw.send(now, 0, &vec![7; len]).is_ok() {}
        let kept = KEPT.load(Ordering::Relaxed).saturating_sub(before);
        println!("messages of {len}: {kept} kept");
        assert!(kept <= 2 * Raw::CHANNEL_BUFFER, "{len}: {kept}");
    }
}
