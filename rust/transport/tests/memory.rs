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

/// Row T15: small chunks behind a gap, fragments and beginnings, for megabytes: besides four times what was
/// sent, no more is kept than the chunks that may wait are worth (a chunk of one byte, 20 on the wire, takes
/// 350 here), and never more than a few times the receive buffer.
#[test]
fn what_is_kept_is_bounded_by_what_was_sent() {
    let now = Instant::now();
    for (flags, gap) in [
        (BEGINS | ENDS | UNORDERED, 1),
        (UNORDERED, 1),
        (BEGINS, 0),
        (BEGINS | ENDS, 1),
    ] {
        for len in [1, 20, 1_000] {
            let mut raw = Raw::connected(now);
            let before = KEPT.load(Ordering::Relaxed);
            let count = 1_100 / (16 + len as u32 + 4) + 1;
            for round in 0..5_000 {
                let first = raw.next_tsn.wrapping_add(gap + count * round);
                let chunk = |n| data(flags, first.wrapping_add(n), 0, n as u16 + 1, &vec![7; len]);
                let chunks: Vec<u8> = (0..count).flat_map(chunk).collect();
                raw.give(now, &chunks);
                let kept = KEPT.load(Ordering::Relaxed).saturating_sub(before);
                let most = (4 * raw.sent + 400 * limits::SCTP_HELD_CHUNKS)
                    .min(4 * limits::SCTP_RECEIVE_BUFFER as usize);
                assert!(
                    kept <= most,
                    "{flags} {len}: {kept} kept of {} sent",
                    raw.sent
                );
            }
        }
    }
}
