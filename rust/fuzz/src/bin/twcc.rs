//! The recorder of transport-wide sequence numbers: whatever is recorded, feedback is well-formed, not
//! long, and reports as received only what was.

#![no_main]

use std::collections::HashSet;
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use lkpy_fuzz::Input;
use rtp::rtcp::{self, Packet};
use rtp::twcc::TwccRecorder;

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input(bytes);
    let mut now = Instant::now();
    let mut recorder = TwccRecorder::new(now);
    let (mut sequence, mut recorded, mut arrivals) = (input.word(), HashSet::new(), 0);
    while !input.is_empty() {
        let kind = input.byte();
        match kind % 8 {
            0..=4 => sequence = sequence.wrapping_add(u16::from(kind >> 5)),
            5 => sequence = input.word(),
            6 => now += Duration::from_micros(u64::from(input.word()) * 16),
            _ => {
                let mut buf = Vec::new();
                // Arrivals that are far apart in time have a packet each, and one that is late is
                // reported with all that follow it.
                let most = arrivals + 16;
                let packets = recorder.build_feedback(now, 1, 2, &mut buf);
                assert!(packets <= most && buf.len() <= packets * 1_100);
                for packet in rtcp::parse(&buf) {
                    let Ok(Packet::TransportCc(feedback)) = packet else {
                        panic!("{packet:?}");
                    };
                    for status in feedback
                        .statuses()
                        .filter(|status| status.arrival.is_some())
                    {
                        assert!(recorded.contains(&status.sequence));
                    }
                }
                continue;
            }
        }
        if recorder.record(now, sequence) {
            recorded.insert(sequence);
            arrivals += 1;
        }
    }
});
