//! Peers that mean harm: what they cost, what they are answered, and that others do not notice.

use std::time::{Duration, Instant};

use super::raw::{BEGINS, ENDS, Raw, UNORDERED, chunk, data, forward_tsn, reset};
use crate::limits;

const WHOLE: u8 = BEGINS | ENDS;

/// CPU time of this thread.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = stat.split(' ').next().and_then(|first| first.parse().ok());
    Duration::from_nanos(nanoseconds.unwrap_or_default())
}

/// An attack: makes the chunks of its next packet.
type Attack = Box<dyn FnMut(&mut Raw, u32) -> Vec<u8>>;

fn attack(chunks: impl FnMut(&mut Raw, u32) -> Vec<u8> + 'static) -> Attack {
    Box::new(chunks)
}

/// Small chunks that fill a packet.
fn many(count: u32, chunk: impl FnMut(u32) -> Vec<u8>) -> Vec<u8> {
    (0..count).flat_map(chunk).collect()
}

fn attacks() -> Vec<(&'static str, Attack)> {
    let mut attacks: Vec<(&'static str, Attack)> = Vec::new();
    attacks.push((
        "small messages behind a gap",
        attack(|raw, round| {
            let first = raw.next_tsn.wrapping_add(1 + 54 * round);
            many(54, |n| {
                data(WHOLE | UNORDERED, first.wrapping_add(n), 0, 0, b"x")
            })
        }),
    ));
    attacks.push((
        "small ordered messages behind a gap",
        attack(|raw, round| {
            let first = raw.next_tsn.wrapping_add(1 + 54 * round);
            many(54, |n| {
                data(
                    WHOLE,
                    first.wrapping_add(n),
                    0,
                    (first.wrapping_add(n)) as u16,
                    b"x",
                )
            })
        }),
    ));
    attacks.push((
        "the same, sent again and again",
        attack(|raw, round| {
            let first = raw.next_tsn.wrapping_add(1 + 54 * (round % 64));
            many(54, |n| {
                data(WHOLE, first.wrapping_add(n), 0, n as u16, b"x")
            })
        }),
    ));
    for (name, flags) in [("ordered", 0), ("unordered", UNORDERED)] {
        attacks.push((
            name,
            attack(move |raw, round| {
                let first = raw.next_tsn.wrapping_add(54 * round);
                many(54, |n| {
                    let begins = if round + n == 0 { BEGINS } else { 0 };
                    data(flags | begins, first.wrapping_add(n), 0, 1, b"x")
                })
            }),
        ));
        attacks.push((
            "messages that only begin",
            attack(move |raw, round| {
                let first = raw.next_tsn.wrapping_add(54 * round);
                many(54, |n| {
                    data(flags | BEGINS, first.wrapping_add(n), 0, n as u16, b"x")
                })
            }),
        ));
    }
    attacks.push((
        "fragments behind a gap",
        attack(|raw, round| {
            let first = raw.next_tsn.wrapping_add(1 + 54 * round);
            many(54, |n| data(0, first.wrapping_add(n), 0, 1, b"x"))
        }),
    ));
    attacks.push((
        "every other chunk",
        attack(|raw, round| {
            let first = raw.next_tsn.wrapping_add(1 + 108 * round);
            many(54, |n| data(WHOLE, first.wrapping_add(2 * n), 0, 1, b"x"))
        }),
    ));
    attacks.push((
        "duplicates with many gaps",
        attack(|raw, round| match round {
            0..20 => many(54, |n| {
                let tsn = raw.next_tsn.wrapping_add(1 + 108 * round + 2 * n);
                data(WHOLE, tsn, 0, 1, b"x")
            }),
            _ => data(WHOLE, raw.next_tsn.wrapping_sub(1), 0, 0, b"x"),
        }),
    ));
    attacks.push((
        "streams",
        attack(|raw, round| {
            let first = raw.next_tsn.wrapping_add(54 * round);
            many(54, |n| {
                let stream = (54 * round + n) as u16;
                data(WHOLE, first.wrapping_add(n), stream, 0, b"x")
            })
        }),
    ));
    attacks.push((
        "sequence numbers that are skipped",
        attack(|raw, round| {
            let first = raw.next_tsn.wrapping_add(54 * round);
            many(54, |n| {
                let ssn = (54 * round + n + 7) as u16;
                data(WHOLE, first.wrapping_add(n), 0, ssn, b"x")
            })
        }),
    ));
    attacks.push((
        "messages forwarded over",
        attack(|raw, round| {
            let tsn = raw.next_tsn.wrapping_add(2 * round);
            let mut chunks = data(BEGINS, tsn, 0, round as u16, b"x");
            let streams: Vec<_> = (1..200).map(|id| (id, round as u16)).collect();
            chunks.extend(forward_tsn(tsn.wrapping_add(1), &streams));
            chunks
        }),
    ));
    attacks.push((
        "forwarded step by step",
        attack(|raw, round| {
            let streams: Vec<_> = (1..100).map(|id| (id, round as u16)).collect();
            let mut chunks = forward_tsn(raw.next_tsn.wrapping_add(round), &streams);
            let first = raw.next_tsn.wrapping_add(round + 2);
            chunks.extend(many(20, |n| {
                data(WHOLE, first.wrapping_add(n), 1, n as u16, b"x")
            }));
            chunks
        }),
    ));
    attacks.push((
        "resets that wait",
        attack(|raw, round| match round {
            0 => reset(raw.next_reset, raw.next_tsn, &[0]),
            _ => {
                let first = raw.next_tsn.wrapping_add(1 + 54 * (round - 1));
                many(54, |n| {
                    data(WHOLE, first.wrapping_add(n), 0, n as u16, b"x")
                })
            }
        }),
    ));
    attacks.push((
        "resets of a stream that is not read",
        attack(|raw, round| {
            let mut chunks = if round == 0 {
                data(BEGINS, raw.next_tsn, 0, 1, b"x")
            } else {
                Vec::new()
            };
            for n in 0..50 {
                chunks.extend(reset(
                    raw.next_reset.wrapping_add(50 * round + n),
                    raw.next_tsn,
                    &[0],
                ));
            }
            chunks
        }),
    ));
    attacks.push((
        "resets of everything",
        attack(|raw, round| {
            let tsn = raw.next_tsn.wrapping_add(round);
            let stream = (round % 1_000) as u16;
            let mut chunks = data(WHOLE, tsn, stream, 0, b"x");
            chunks.extend(reset(raw.next_reset.wrapping_add(round), tsn, &[]));
            chunks
        }),
    ));
    attacks.push((
        "heartbeats",
        attack(|_, _| {
            let heartbeat = chunk(4, 0, &[0, 1, 0, 8, 1, 2, 3, 4]);
            many(90, |_| heartbeat.clone())
        }),
    ));
    attacks.push((
        "heartbeats larger than a packet",
        attack(|_, _| {
            let mut info = vec![0, 1];
            info.extend(1_400_u16.to_be_bytes());
            info.resize(1_400, 7);
            chunk(4, 0, &info)
        }),
    ));
    attacks.push((
        "cookies and acknowledgements",
        attack(|_, _| {
            let mut chunks = many(60, |_| chunk(10, 0, &[1; 12]));
            chunks.extend(many(10, |_| chunk(11, 0, &[])));
            chunks
        }),
    ));
    attacks.push((
        "acknowledgements with many blocks",
        attack(|_, _| {
            let mut sack = [0_u8; 4].to_vec();
            sack.extend(1_000_000_u32.to_be_bytes());
            sack.extend(250_u16.to_be_bytes());
            sack.extend([0, 0]);
            (0..250).for_each(|_| sack.extend([0, 1, 0xff, 0xff]));
            chunk(3, 0, &sack)
        }),
    ));
    attacks.push((
        "one message without an end",
        attack(|raw, round| {
            let flags = if round == 0 { BEGINS } else { 0 };
            data(flags, raw.next_tsn.wrapping_add(round), 0, 1, &[7; 1_100])
        }),
    ));
    attacks.push((
        "malformed chunks",
        attack(|_, round| {
            many(90, |n| {
                vec![(round + n) as u8, 7, 0, (n % 12) as u8, 0, 0, 0, 0]
            })
        }),
    ));
    attacks
}

/// Messages of one packet each, as any application sends them.
fn ordinary() -> Attack {
    attack(|raw, round| {
        let ssn = (round + 1) as u16;
        data(WHOLE, raw.next_tsn.wrapping_add(round), 0, ssn, &[7; 1_100])
    })
}

struct Cost {
    per_packet: Duration,
    sent: usize,
    answered: usize,
    raw: Raw,
}

fn cost_of(mut attack: Attack, packets: u32) -> Cost {
    let start = Instant::now();
    let mut raw = Raw::connected(start);
    let mut made: Vec<_> = (0..packets).map(|round| attack(&mut raw, round)).collect();
    let before = cpu();
    for (round, chunks) in made.drain(..).enumerate() {
        let now = start + Duration::from_micros(100 * round as u64);
        raw.give(now, &chunks);
        raw.handle_timeout(now);
    }
    Cost {
        per_packet: (cpu() - before) / packets,
        sent: raw.sent,
        answered: raw.answered,
        raw,
    }
}

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
    let refused = raw.refused();
    assert!(refused.too_many_gaps > 0 && refused.too_far > 0);
    let mut raw = Raw::connected(now);
    for stream in 0..=u16::MAX {
        let tsn = raw.next_tsn.wrapping_add(stream.into());
        raw.give(now, &data(WHOLE, tsn, stream, 0, &[7; 500]));
    }
    assert!(raw.is_alive() && raw.refused().too_many_streams > 0);
}

/// Reaches [`limits::SCTP_HELD_CHUNKS`]: nobody reads.
#[test]
fn what_waits_to_be_read_is_bounded() {
    let now = Instant::now();
    let mut raw = Raw::connected(now);
    raw.pause(now, true);
    for n in 0..2 * limits::SCTP_HELD_CHUNKS as u32 {
        let at = now + Duration::from_millis(n.into());
        let tsn = raw.next_tsn.wrapping_add(n);
        raw.give(at, &data(WHOLE, tsn, 0, (n + 1) as u16, b"x"));
    }
    assert_eq!(raw.refused().too_much_held, limits::SCTP_HELD_CHUNKS as u64);
    raw.pause(now + Duration::from_secs(60), false);
    raw.give(now + Duration::from_secs(60), &chunk(11, 0, &[]));
    assert_eq!(raw.messages.len(), limits::SCTP_HELD_CHUNKS);
}
