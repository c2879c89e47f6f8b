use super::*;
use crate::rtcp::{Packet, TransportFeedback, parse};
use proptest::prelude::*;
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);

/// What feedback says: each sequence number and its arrival in ticks on the recorder's clock.
fn read(buf: &[u8]) -> Vec<(u16, Option<i64>)> {
    parse(buf)
        .flat_map(|packet| match packet {
            Ok(Packet::TransportCc(feedback)) => statuses(&feedback),
            other => panic!("{other:?}"),
        })
        .collect()
}

fn statuses(feedback: &TransportFeedback<'_>) -> Vec<(u16, Option<i64>)> {
    let reference = i64::from(feedback.reference_time) * TICKS_PER_REFERENCE;
    feedback
        .statuses()
        .map(|status| {
            let arrival = status.arrival.map(|arrival| reference + i64::from(arrival));
            (status.sequence, arrival)
        })
        .collect()
}

fn feedback(recorder: &mut TwccRecorder, now: Instant) -> Vec<(u16, Option<i64>)> {
    let mut buf = Vec::new();
    recorder.build_feedback(now, 1, 2, &mut buf);
    read(&buf)
}

#[test]
fn reports_arrivals_and_losses() {
    let start = Instant::now();
    let mut recorder = TwccRecorder::new(start);
    assert!(recorder.record(start + MS, 65_534));
    assert!(recorder.record(start + MS * 2, 65_535));
    assert!(recorder.record(start + MS * 200, 2));
    assert!(recorder.record(start + MS * 199, 1));
    assert_eq!(recorder.pending(), 4);
    let expected = [
        (65_534, Some(4)),
        (65_535, Some(8)),
        (0, None),
        (1, Some(796)),
        (2, Some(800)),
    ];
    assert_eq!(feedback(&mut recorder, start + MS * 200), expected);
    assert_eq!(recorder.pending(), 0);
    assert_eq!(feedback(&mut recorder, start + MS * 300), []);
}

#[test]
fn the_packet_on_the_wire() {
    let start = Instant::now();
    let mut recorder = TwccRecorder::new(start);
    let mut buf = Vec::new();
    recorder.record(start + MS * 64, 0x0102);
    recorder.record(start + MS * 65, 0x0103);
    assert_eq!(recorder.build_feedback(start, 7, 8, &mut buf), 1);
    let expected = [
        0x8f, 205, 0, 5, 0, 0, 0, 7, 0, 0, 0, 8, // transport-cc, 6 words, ssrcs
        1, 2, 0, 2, 0, 0, 1, 0, // base, count, reference time, feedback count
        0x20, 0x02, 0, 4, // a run of two small deltas, the deltas
    ];
    assert_eq!(buf, expected);
    // One status: a byte of padding. The reference time is the same, the count the next.
    buf.clear();
    recorder.record(start + MS * 65, 0x0104);
    recorder.build_feedback(start, 7, 8, &mut buf);
    assert_eq!(buf[0], 0xaf);
    assert_eq!(buf[19], 1);
    assert_eq!(buf[20..], [0x20, 0x01, 4, 1]);
}

#[test]
fn losses_between_feedbacks_are_reported_by_the_next() {
    let start = Instant::now();
    let mut recorder = TwccRecorder::new(start);
    recorder.record(start, 10);
    feedback(&mut recorder, start);
    recorder.record(start, 13);
    let expected = [(11, None), (12, None), (13, Some(0))];
    assert_eq!(feedback(&mut recorder, start), expected);
}

#[test]
fn late_packets_are_reported_with_what_follows_them() {
    let start = Instant::now();
    let mut recorder = TwccRecorder::new(start);
    for sequence in [10, 11, 13, 14] {
        recorder.record(start + MS, sequence);
    }
    feedback(&mut recorder, start + MS);
    recorder.record(start + MS * 100, 12);
    let expected = [(12, Some(400)), (13, Some(4)), (14, Some(4))];
    assert_eq!(feedback(&mut recorder, start + MS * 100), expected);
}

#[test]
fn what_is_too_old_is_ignored() {
    let start = Instant::now();
    let mut recorder = TwccRecorder::new(start);
    recorder.record(start, 10);
    recorder.record(start, 12);
    feedback(&mut recorder, start + MS * 501);
    assert!(!recorder.record(start + MS * 502, 11));
    assert!(recorder.record(start + MS * 502, 13));
    let expected = [(13, Some(2008))];
    assert_eq!(feedback(&mut recorder, start + MS * 502), expected);
}

#[test]
fn duplicates_are_counted_and_keep_the_first_arrival() {
    let start = Instant::now();
    let mut recorder = TwccRecorder::new(start);
    assert!(recorder.record(start, 1));
    assert!(!recorder.record(start + MS * 10, 1));
    assert_eq!(feedback(&mut recorder, start + MS * 10), [(1, Some(0))]);
    assert!(!recorder.record(start + MS * 20, 1));
    assert_eq!(recorder.duplicates(), 2);
    assert_eq!(feedback(&mut recorder, start + MS * 20), []);
}

#[test]
fn a_silence_longer_than_a_delta_starts_another_packet() {
    let start = Instant::now();
    let mut recorder = TwccRecorder::new(start);
    recorder.record(start, 1);
    recorder.record(start + MS * 8_191, 2);
    recorder.record(start + MS * 16_384, 5);
    let mut buf = Vec::new();
    let packets = recorder.build_feedback(start + MS * 16_384, 1, 2, &mut buf);
    assert_eq!(packets, 2);
    let expected = [
        (1, Some(0)),
        (2, Some(8_191 * 4)),
        (3, None),
        (4, None),
        (5, Some(16_384 * 4)),
    ];
    assert_eq!(read(&buf), expected);
}

#[test]
fn the_reference_time_wraps_at_24_bits() {
    let start = Instant::now();
    let mut recorder = TwccRecorder::new(start);
    let wrap = MS * 64 * (1 << 24);
    recorder.record(start + wrap / 2, 1);
    recorder.record(start + wrap + MS * 64 * 3, 2);
    let mut buf = Vec::new();
    assert_eq!(recorder.build_feedback(start + wrap, 1, 2, &mut buf), 2);
    let times: Vec<_> = parse(&buf)
        .map(|packet| match packet {
            Ok(Packet::TransportCc(feedback)) => feedback.reference_time,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(times, [-(1 << 23), 3]);
}

#[test]
fn long_feedback_is_split() {
    let start = Instant::now();
    let mut recorder = TwccRecorder::new(start);
    let mut expected = Vec::new();
    for sequence in 0..5000u16 {
        // Alternating far forwards and backwards: every delta is large.
        let at = MS * 1000 * (1 + u32::from(sequence % 2));
        recorder.record(start + at, sequence);
        expected.push((sequence, Some(at.as_micros() as i64 / 250)));
    }
    let mut buf = Vec::new();
    let packets = recorder.build_feedback(start + MS * 2000, 1, 2, &mut buf);
    assert!(packets >= 10);
    assert_eq!(read(&buf), expected);
    let mut rest = buf.as_slice();
    while !rest.is_empty() {
        let len = 4 * (usize::from(u16::from_be_bytes([rest[2], rest[3]])) + 1);
        assert!(len <= MAX_FEEDBACK_LEN + 3);
        rest = &rest[len..];
    }
}

#[test]
fn chunks() {
    let cases: [(&[u8], u16, usize); 8] = [
        (&[1], 0x2001, 1),
        (&[2, 2, 2], 0x4003, 3),
        (&[0, 1], 0x8000 | 1 << 12, 2),
        (&[1; 15], 0x200f, 15),
        (&[1, 1, 1, 1, 1, 1, 1, 1, 0], 0x8000 | 0xff << 6, 9),
        (&[0, 0, 0, 0, 0, 0, 0, 2], 0x0007, 7),
        (&[0, 1, 2], 0xc000 | 1 << 10 | 2 << 8, 3),
        (&[2, 1, 1, 1, 1, 1, 1, 1, 1], 0xc000 | 0x2555, 7),
    ];
    for (symbols, chunk, len) in cases {
        assert_eq!(next_chunk(symbols), (chunk, len), "{symbols:?}");
    }
    assert_eq!(next_chunk(&[0; 10_000]), (0x1fff, 8191));
}

proptest! {
    /// Whatever arrives, and however often feedback is built, everything that arrived is reported
    /// with its arrival, and in each feedback no sequence number is left out.
    #[test]
    fn everything_that_arrived_is_reported(
        start_sequence: u16,
        steps in prop::collection::vec((0u16..40, 0u64..30_000, any::<bool>()), 1..300),
    ) {
        let start = Instant::now();
        let mut recorder = TwccRecorder::new(start);
        let (mut sequence, mut ticks) = (start_sequence, 0u64);
        let mut waiting = Vec::new();
        for (step, time, build) in steps {
            sequence = sequence.wrapping_add(step);
            ticks += time * time / 30_000;
            let now = start + Duration::from_micros(ticks * TICK_US);
            if recorder.record(now, sequence) {
                waiting.push((sequence, Some(ticks as i64)));
            }
            if build {
                let reported = feedback(&mut recorder, now);
                for pair in reported.windows(2) {
                    prop_assert_eq!(pair[1].0, pair[0].0.wrapping_add(1));
                }
                for arrival in waiting.drain(..) {
                    prop_assert!(reported.contains(&arrival));
                }
            }
        }
    }
}

/// Row T11: what a sequence number may cost does not depend on how far it jumps.
#[test]
fn a_far_jump_starts_over_and_reports_no_losses() {
    let start = Instant::now();
    let mut recorder = TwccRecorder::new(start);
    recorder.record(start, 10);
    // Seconds of losses are still reported.
    recorder.record(start, 10 + MAX_JUMP as u16);
    let statuses = feedback(&mut recorder, start);
    assert_eq!(statuses.len(), MAX_JUMP as usize + 1);
    let mut next = 10 + MAX_JUMP as u16;
    for _ in 0..100 {
        next = next.wrapping_add(16_383);
        assert!(recorder.record(start, next));
        assert!(recorder.arrivals.len() == 1);
    }
    let mut buf = Vec::new();
    assert_eq!(recorder.build_feedback(start, 1, 2, &mut buf), 1);
    assert_eq!(read(&buf), [(next, Some(0))]);
}

/// Row T11: jumps as far as they are followed fill the span once, not once each.
#[test]
fn jumps_fill_the_span_and_no_more() {
    let start = Instant::now();
    let mut recorder = TwccRecorder::new(start);
    let mut next = 0_u16;
    for _ in 0..1_000 {
        next = next.wrapping_add(MAX_JUMP as u16);
        recorder.record(start, next);
        assert!(recorder.arrivals.len() as u64 <= MAX_SPAN);
    }
    let mut buf = Vec::new();
    assert!(recorder.build_feedback(start, 1, 2, &mut buf) < 10);
}
