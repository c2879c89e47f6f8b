//! What asks for lost packets, behind the ring of a published layer: whatever arrives, it asks for few, for
//! none that came, and for each a few times.

#![no_main]

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use lkpy_fuzz::Input;
use rtp::nack::NackGenerator;

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input(bytes);
    let mut now = Instant::now();
    let mut nack = NackGenerator::new();
    let (mut next, mut received, mut asked) = (1_u64 << 16, HashSet::new(), HashMap::new());
    while !input.is_empty() {
        match input.byte() % 8 {
            0..=3 => next += 1,
            4 => next += u64::from(input.byte()),
            5 => {
                let sequence = next.saturating_sub(u64::from(input.word())).max(1 << 16);
                nack.received(now, sequence);
                received.insert(sequence as u16);
                continue;
            }
            6 => {
                now += Duration::from_millis(input.byte().into());
                let mut out = Vec::new();
                nack.poll(now, &mut out);
                for sequence in out {
                    *asked.entry(sequence).or_insert(0) += 1;
                }
                assert!(nack.outstanding() <= 100);
                continue;
            }
            _ => nack.set_rtt(Duration::from_millis(input.word().into())),
        }
        nack.received(now, next);
        received.insert(next as u16);
    }
    assert!(next >= 1 << 32 || asked.values().all(|&times| times <= 1_000));
});
