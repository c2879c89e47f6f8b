//! Peers that mean harm: what they cost, what they are answered, and that others do not notice.

use std::time::{Duration, Instant};

use super::attacks::{attacks, cost_of, ordinary, withholders};
use super::raw::{BEGINS, ENDS, Raw, UNORDERED, chunk, data, forward_tsn};
use crate::limits;

const WHOLE: u8 = BEGINS | ENDS;

/// Rows T11 and T15: no packets cost much more than any others, nor are they answered with more than
/// was sent.
#[test]
fn what_a_peer_sends_costs_no_more_than_it_is_worth() {
    let packets = 3_000;
    let usual = cost_of(ordinary(), packets);
    assert_eq!(usual.raw.messages.len(), packets as usize);
    for (name, attack) in attacks() {
        let cost = cost_of(attack, packets);
        println!(
            "{name:40} {:8.1?} per packet (usual {:.1?}); {} bytes sent, {} answered; {:?}",
            cost.per_packet,
            usual.per_packet,
            cost.sent,
            cost.answered,
            cost.raw.refused()
        );
        assert!(
            cost.per_packet < 8 * usual.per_packet + Duration::from_micros(20),
            "{name}: {:?} per packet, usual {:?}",
            cost.per_packet,
            usual.per_packet
        );
        let credit = limits::SCTP_ANSWER_CREDIT_MAX;
        assert!(
            cost.answered <= cost.sent + credit,
            "{name}: {}",
            cost.answered
        );
        assert_eq!(cost.raw.refused().disagreed, 0, "{name}");
    }
}

/// Rows T11 and T16: a peer that acknowledges nothing, or in a way that makes work, has as little of ours on
/// its way as there may be, and its packets cost no more than any others.
#[test]
fn what_a_peer_does_not_acknowledge_costs_no_more_than_it_is_worth() {
    let packets = 3_000;
    let usual = cost_of(ordinary(), packets);
    for (name, attack) in withholders() {
        let cost = cost_of(attack, packets);
        println!(
            "{name:42} {:8.1?} per packet (usual {:.1?}); {} on their way",
            cost.per_packet,
            usual.per_packet,
            cost.raw.in_flight(),
        );
        assert!(
            cost.per_packet < 8 * usual.per_packet + Duration::from_micros(20),
            "{name}: {:?} per packet, usual {:?}",
            cost.per_packet,
            usual.per_packet
        );
        assert!(cost.raw.is_alive(), "{name}");
        assert!(cost.raw.in_flight() <= 2 * limits::SCTP_IN_FLIGHT, "{name}");
    }
}

/// Row T15: a message without an end costs its channel, and the other one goes on.
#[test]
fn a_message_that_is_too_large_costs_its_channel_only() {
    let now = Instant::now();
    for (flags, loses) in [(0, false), (UNORDERED, false), (0, true), (UNORDERED, true)] {
        let mut raw = Raw::connected(now);
        let first = raw.next_tsn;
        let last = 2_000;
        let piece = |n: u32| {
            let begins = if n == 0 { BEGINS } else { 0 };
            let ends = if n == last { ENDS } else { 0 };
            data(
                flags | begins | ends,
                first.wrapping_add(n),
                0,
                1,
                &[7; 1_100],
            )
        };
        // 2.2 MB; every tenth packet arrives after the nine that follow it.
        for n in 0..=last {
            match n % 10 {
                0 if loses => {}
                9 if loses => {
                    raw.give(now, &piece(n));
                    raw.give(now, &piece(n - 9));
                }
                _ => drop(raw.give(now, &piece(n))),
            }
        }
        if loses {
            raw.give(now, &piece(last));
        }
        assert_eq!(raw.closed, [0], "{flags} {loses}");
        assert!(raw.is_alive() && raw.messages.is_empty());
        assert!(raw.refused().too_large > 0);
        // Another stream, opened as a channel is: DATA_CHANNEL_OPEN, then a message.
        let tsn = first.wrapping_add(last + 1);
        let mut open = data(WHOLE, tsn, 2, 0, &[3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        open[12..16].copy_from_slice(&50_u32.to_be_bytes());
        raw.give(now, &open);
        raw.give(now, &data(WHOLE, tsn.wrapping_add(1), 2, 1, b"still here"));
        assert_eq!(raw.messages, [(2, 10)], "{flags} {loses}");
        assert_eq!(raw.refused().disagreed, 0);
    }
}

/// Row T15: 65,535 streams and gaps without number are told from what a SACK has room for.
#[test]
fn no_answer_is_larger_than_a_packet() {
    let now = Instant::now();
    let mut raw = Raw::connected(now);
    for n in 0..20_000_u32 {
        let tsn = raw.next_tsn.wrapping_add(1 + 2 * n);
        let stream = if n < 1_000 { 0 } else { n as u16 };
        let chunk = data(WHOLE, tsn, stream, 0, &[7; 500]);
        for answer in raw.give(now, &chunk) {
            assert!(answer.len() <= limits::SCTP_PACKET);
        }
    }
    assert!(raw.refused().too_far > 0);
    let mut raw = Raw::connected(now);
    for stream in 0..=u16::MAX {
        let tsn = raw.next_tsn.wrapping_add(stream.into());
        raw.give(now, &data(WHOLE, tsn, stream, 0, &[7; 500]));
    }
    assert!(raw.is_alive() && raw.refused().too_many_streams > 0);
}

/// Reaches [`limits::SCTP_HELD_MESSAGES`]: nobody reads.
#[test]
fn what_waits_to_be_read_is_bounded() {
    let now = Instant::now();
    let mut raw = Raw::connected(now);
    raw.pause(now, true);
    for n in 0..2 * limits::SCTP_HELD_MESSAGES as u32 {
        let at = now + Duration::from_millis(n.into());
        let tsn = raw.next_tsn.wrapping_add(n);
        raw.give(at, &data(WHOLE, tsn, 0, (n + 1) as u16, b"x"));
    }
    assert_eq!(
        raw.refused().too_much_held,
        limits::SCTP_HELD_MESSAGES as u64
    );
    raw.pause(now + Duration::from_secs(60), false);
    raw.give(now + Duration::from_secs(60), &chunk(11, 0, &[]));
    assert_eq!(raw.messages.len(), limits::SCTP_HELD_MESSAGES);
}

/// Steps forward that add up to more than half of all TSNs are a step back to who hears of the last alone.
#[test]
fn steps_forward_in_one_packet_are_no_step_back() {
    let now = Instant::now();
    let mut raw = Raw::connected(now);
    let first = raw.next_tsn;
    let mut step = |steps: [u32; 2]| {
        let chunks = steps.map(|step| forward_tsn(first.wrapping_add(step), &[]));
        raw.give(now, &chunks.concat());
        // It is of the past, and so acknowledged at once.
        raw.give(now, &forward_tsn(first, &[]));
        (raw.refused().too_far, raw.refused().disagreed)
    };
    assert_eq!(step([0x5000_0000, 0xA000_0000]), (1, 0));
    assert_eq!(step([0x3000_0000, 0x6000_0000]), (2, 0));
    assert_eq!(step([0x6000_0000, 0x6000_0000]), (2, 0));
}
