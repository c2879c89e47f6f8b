//! The SCTP guard with the association behind it: packets made of the fuzzer's bytes, messages and time.
//!
//! The guard always knows what the association has, what is answered is never more than was sent, and
//! whatever it costs is bounded by the time and memory that an input may take.

#![no_main]

use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use lkpy_fuzz::Input;
use transport::limits;
use transport::raw::{Raw, chunk, data, forward_tsn, reset};

fn chunks(raw: &Raw, input: &mut Input<'_>) -> Vec<u8> {
    let mut chunks = Vec::new();
    let count = input.byte() % 64 + 1;
    for _ in 0..count {
        let tsn = raw.next_tsn.wrapping_add(u32::from(input.byte()));
        let (stream, ssn) = (u16::from(input.byte() % 6), u16::from(input.byte() % 8));
        match input.byte() % 8 {
            0..=4 => {
                let len = usize::from(input.byte()) * 4 + 1;
                chunks.extend(data(input.byte() & 7, tsn, stream, ssn, &vec![7; len]));
            }
            5 => chunks.extend(forward_tsn(tsn, &[(stream, ssn)])),
            6 => {
                let sequence = raw.next_reset.wrapping_add(u32::from(input.byte() % 4));
                chunks.extend(reset(sequence, tsn, &[stream]));
            }
            _ => {
                let len = usize::from(input.byte() % 40);
                let (kind, flags) = (input.byte(), input.byte());
                // An ABORT or an ERROR ends everything, and so the input.
                if kind != 6 && kind != 9 {
                    chunks.extend(chunk(kind, flags, input.bytes(len)));
                }
            }
        }
    }
    chunks
}

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input(bytes);
    let mut now = Instant::now();
    let mut raw = Raw::connected(now);
    let mut steps = 0;
    while !input.is_empty() && steps < 200 {
        steps += 1;
        match input.byte() % 8 {
            0..=3 => {
                let chunks = chunks(&raw, &mut input);
                raw.give(now, &chunks);
            }
            4 => raw.next_tsn = raw.next_tsn.wrapping_add(u32::from(input.byte())),
            5 => {
                now += Duration::from_millis(input.byte().into());
                raw.handle_timeout(now);
            }
            6 => raw.pause(now, input.byte() % 2 == 0),
            _ => {
                let packet = input.bytes(40).to_vec();
                raw.give_bytes(now, packet.into());
            }
        }
    }
    let credit = limits::SCTP_ANSWER_CREDIT_MAX;
    assert!(
        raw.answered <= raw.sent + credit,
        "{} {}",
        raw.answered,
        raw.sent
    );
    assert_eq!(raw.refused().disagreed, 0);
});
