//! Peers that mean harm: patterns of packets, and what they cost. For tests and benchmarks.

use std::time::{Duration, Instant};

use super::raw::{BEGINS, ENDS, Raw, UNORDERED, chunk, data, forward_tsn, reset, sack};

const WHOLE: u8 = BEGINS | ENDS;

/// An attack: makes the chunks of its next packet.
pub type Attack = Box<dyn FnMut(&mut Raw, u32) -> Vec<u8>>;

fn attack(chunks: impl FnMut(&mut Raw, u32) -> Vec<u8> + 'static) -> Attack {
    Box::new(chunks)
}

/// Small chunks that fill a packet.
fn many(count: u32, chunk: impl FnMut(u32) -> Vec<u8>) -> Vec<u8> {
    (0..count).flat_map(chunk).collect()
}

/// What is tried, each by its name.
pub fn attacks() -> Vec<(&'static str, Attack)> {
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

/// Takes what is sent for as long as that makes its end send more, then acknowledges nothing any more.
fn fill(raw: &mut Raw, len: usize) {
    let mut now = Instant::now();
    for _ in 0..40 {
        while raw.send(now, 0, &vec![7; len]).is_ok() {}
        now += Duration::from_millis(20);
        raw.handle_timeout(now);
        raw.give(now, &sack(raw.last_sent, 1 << 20, &[]));
        now += Duration::from_millis(20);
        raw.handle_timeout(now);
    }
    while raw.send(now, 0, &vec![7; len]).is_ok() {}
    raw.handle_timeout(now + Duration::from_millis(20));
}

/// What is tried with messages on their way to the peer, each by its name.
pub fn withholders() -> Vec<(&'static str, Attack)> {
    type Make = fn(&Raw, u32) -> Vec<u8>;
    fn acked(raw: &Raw) -> u32 {
        raw.last_sent.wrapping_sub(raw.in_flight() as u32)
    }
    let all: [(&'static str, Make); 5] = [
        ("no acknowledgements", |_, _| {
            chunk(4, 0, &[0, 1, 0, 8, 1, 2, 3, 4])
        }),
        ("acknowledgements that go backwards", |raw, round| {
            sack(acked(raw).wrapping_sub(round % 1_000), 1 << 20, &[])
        }),
        ("a window that is closed", |raw, _| sack(acked(raw), 0, &[])),
        ("all but the first acknowledged, in blocks", |raw, round| {
            let blocks = (raw.in_flight().min(500) / 2) as u16;
            let gaps: Vec<_> = (1..blocks.max(2)).map(|at| (2 * at, 2 * at)).collect();
            sack(acked(raw), 1 << (round % 20), &gaps)
        }),
        ("all but the first acknowledged at once", |raw, _| {
            let last = raw.in_flight().max(2) as u16;
            sack(acked(raw), 1 << 20, &[(2, last)])
        }),
    ];
    let lengths = |(name, make): (&'static str, Make)| {
        [1, 1_100].map(|len| {
            let made = attack(move |raw, round| {
                if round == 0 {
                    fill(raw, len);
                }
                make(raw, round)
            });
            (name, made)
        })
    };
    all.into_iter().flat_map(lengths).collect()
}

/// Messages of one packet each, as any application sends them.
pub fn ordinary() -> Attack {
    attack(|raw, round| {
        let ssn = (round + 1) as u16;
        data(WHOLE, raw.next_tsn.wrapping_add(round), 0, ssn, &[7; 1_100])
    })
}

/// What an attack costs.
pub struct Cost {
    /// CPU time.
    pub per_packet: Duration,
    /// Bytes given to the association.
    pub sent: usize,
    /// Bytes that it answered.
    pub answered: usize,
    /// The association.
    pub raw: Raw,
}

/// Sends so many packets, one each 100 us.
pub fn cost_of(mut attack: Attack, packets: u32) -> Cost {
    let start = Instant::now();
    let mut raw = Raw::connected(start);
    let mut made: Vec<_> = (0..packets).map(|round| attack(&mut raw, round)).collect();
    let start = start + Duration::from_secs(60);
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

/// CPU time of this thread.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = stat.split(' ').next().and_then(|first| first.parse().ok());
    Duration::from_nanos(nanoseconds.unwrap_or_default())
}
