//! The SCTP guard with the association behind it: packets made of the fuzzer's bytes, messages both ways,
//! acknowledgements and time.
//!
//! The association always acknowledges what it was told of, what is answered is never more than was sent,
//! no more is on its way than may be, and whatever it costs is bounded by the time and memory that an
//! input may take.

#![no_main]

use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use lkpy_fuzz::Input;
use transport::limits;
use transport::raw::{BEGINS, ENDS, Raw, chunk, data, forward_tsn, reset, sack};

/// Chunk type of RE-CONFIG.
const RE_CONFIG: u8 = 130;

/// A TSN near those that are expected; one in sixteen is anywhere.
fn tsn(raw: &Raw, input: &mut Input<'_>) -> u32 {
    match input.byte() {
        0..=15 => {
            let distance = u32::from(input.word()) << 16 | u32::from(input.word());
            raw.next_tsn.wrapping_add(distance)
        }
        near => raw.next_tsn.wrapping_add(u32::from(near) - 16),
    }
}

/// The sequence number of a request to reset streams that is first in its packet.
fn asked(packet: &[u8]) -> Option<u32> {
    let chunk = packet.get(12..).filter(|chunk| chunk[0] == RE_CONFIG)?;
    let is_request = chunk.get(4..6)? == [0, 13];
    let sequence = chunk.get(8..12)?.try_into().ok()?;
    is_request.then(|| u32::from_be_bytes(sequence))
}

/// Chunks of a packet; `request` is what it was asked to reset last.
fn chunks(raw: &Raw, request: u32, input: &mut Input<'_>) -> Vec<u8> {
    let mut chunks = Vec::new();
    let count = input.byte() % 64 + 1;
    for _ in 0..count {
        let (stream, ssn) = (u16::from(input.byte() % 6), u16::from(input.byte() % 8));
        match input.byte() % 12 {
            0..=3 => {
                let len = usize::from(input.byte()) * 4 + 1;
                let tsn = tsn(raw, input);
                chunks.extend(data(input.byte() & 15, tsn, stream, ssn, &vec![7; len]));
            }
            // A run of small chunks, as of one message or of many.
            4 => {
                let (first, flags) = (tsn(raw, input), input.byte() & 7);
                for n in 0..u32::from(input.byte() % 32) {
                    let ssn = if flags & BEGINS == 0 {
                        ssn
                    } else {
                        ssn + n as u16
                    };
                    chunks.extend(data(flags, first.wrapping_add(n), stream, ssn, b"x"));
                }
            }
            5 => chunks.extend(forward_tsn(tsn(raw, input), &[(stream, ssn)])),
            6 => {
                let sequence = raw.next_reset.wrapping_add(u32::from(input.byte() % 4));
                let streams = [stream, ssn];
                let count = usize::from(input.byte() % 3);
                chunks.extend(reset(sequence, tsn(raw, input), &streams[..count]));
            }
            8 => {
                let mut answer = vec![0, 16, 0, 12];
                answer.extend(request.to_be_bytes());
                answer.extend(u32::from(input.byte() % 7).to_be_bytes());
                chunks.extend(chunk(RE_CONFIG, 0, &answer));
            }
            7 => {
                let in_flight = raw.in_flight() as u32;
                let acked = raw.last_sent.wrapping_sub(in_flight);
                let cumulative = acked.wrapping_add(u32::from(input.byte()) % (in_flight + 2));
                let mut end = 1;
                let gaps: Vec<_> = (0..input.byte() % 8)
                    .map(|_| {
                        let start = end + 1 + u16::from(input.byte() % 4);
                        end = start + u16::from(input.byte() % 4);
                        (start, end)
                    })
                    .collect();
                chunks.extend(sack(cumulative, u32::from(input.word()) * 16, &gaps));
            }
            _ => {
                let len = usize::from(input.byte() % 40);
                let (kind, flags) = (input.byte(), input.byte());
                chunks.extend(chunk(kind, flags, input.bytes(len)));
            }
        }
    }
    chunks
}

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input(bytes);
    let mut now = Instant::now();
    let mut raw = Raw::connected(now);
    let (mut steps, mut request) = (0, 0);
    // An ABORT ends the association, and so does an acknowledgement of what was not sent.
    while !input.is_empty() && steps < 200 && raw.is_alive() {
        steps += 1;
        let answers = match input.byte() % 10 {
            0..=3 => {
                let chunks = chunks(&raw, request, &mut input);
                raw.give(now, &chunks)
            }
            4 => {
                raw.next_tsn = raw.next_tsn.wrapping_add(u32::from(input.byte()));
                Vec::new()
            }
            5 => {
                now += Duration::from_millis(input.byte().into()) * 8;
                raw.handle_timeout(now)
            }
            6 => {
                raw.pause(now, input.byte() % 2 == 0);
                Vec::new()
            }
            7 => {
                let packet = input.bytes(40).to_vec();
                raw.give_bytes(now, packet.into())
            }
            // The message that is next, so that something is delivered.
            8 => {
                let ssn = raw.messages.len() as u16 + 1;
                let next = data(BEGINS | ENDS, raw.next_tsn, 0, ssn, b"x");
                raw.give(now, &next)
            }
            _ => {
                let (len, count) = (usize::from(input.byte()) * 8, input.byte() % 16);
                for _ in 0..count {
                    // Perhaps there is no room.
                    let _taken = raw.send(now, 0, &vec![7; len]);
                }
                Vec::new()
            }
        };
        assert_eq!(raw.refused().disagreed, 0);
        request = answers
            .iter()
            .rev()
            .find_map(|packet| asked(packet))
            .unwrap_or(request);
        assert!(raw.in_flight() <= 2 * limits::SCTP_IN_FLIGHT);
    }
    let credit = limits::SCTP_ANSWER_CREDIT_MAX;
    assert!(
        raw.answered <= raw.sent + credit,
        "{} {}",
        raw.answered,
        raw.sent
    );
});
