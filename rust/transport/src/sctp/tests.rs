//! Hostile packets from a peer that has the DTLS keys.

use super::acks::ACK_DELAY;
use super::*;

/// CRC32c (RFC 9260 appendix A), so that damaged packets get past the checksum.
fn seal(packet: &mut [u8]) {
    if packet.len() < 12 {
        return;
    }
    packet[8..12].fill(0);
    let crc = packet.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0x82F6_3B78 & (crc & 1).wrapping_neg())
        })
    });
    packet[8..12].copy_from_slice(&(!crc).to_le_bytes());
}

struct Rng(u64);

impl Rng {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % bound
    }
}

fn options(label: &str) -> ChannelOptions {
    ChannelOptions {
        label: label.into(),
        protocol: String::new(),
        ordered: true,
        max_retransmits: None,
        negotiated: None,
    }
}

#[test]
fn nothing_is_sent_to_a_peer_that_takes_no_data() {
    let now = Instant::now();
    let mut client = Sctp::new(65_536);
    client.expect_data(now, false);
    client.start(now, true);
    assert!(client.packets.is_empty());
    assert_eq!(client.next_timeout(), None);
    client.expect_data(now, true);
    assert_eq!(client.packets.len(), 1, "INIT");
    client.expect_data(now, true);
    assert_eq!(client.packets.len(), 1);
}

/// Two ends with a channel between them, and every packet that the client sent.
fn connected(now: Instant) -> (Sctp, Sctp, Vec<Bytes>) {
    let (mut server, mut client) = (Sctp::new(65_536), Sctp::new(65_536));
    server.start(now, false);
    client.start(now, true);
    client.open_channel(now, options("c")).unwrap();
    let mut seen = Vec::new();
    exchange(now, &mut server, &mut client, &mut seen);
    assert!(server.channels.contains_key(&0));
    for number in 0..20 {
        client.send(now, 0, &vec![number; 3_000], true).unwrap();
        exchange(now, &mut server, &mut client, &mut seen);
    }
    (server, client, seen)
}

fn exchange(now: Instant, server: &mut Sctp, client: &mut Sctp, seen: &mut Vec<Bytes>) {
    while !server.packets.is_empty() || !client.packets.is_empty() {
        while let Some(packet) = client.packets.pop_front() {
            seen.push(packet.clone());
            server.handle_packet(now, packet);
        }
        while let Some(packet) = server.packets.pop_front() {
            client.handle_packet(now, packet);
        }
    }
}

#[test]
fn the_seal_is_the_checksum() {
    let now = Instant::now();
    let (_, _, seen) = connected(now);
    for packet in seen {
        let mut copy = packet.to_vec();
        seal(&mut copy);
        assert_eq!(copy, packet);
    }
}

#[test]
fn damaged_packets_never_panic() {
    let now = Instant::now();
    let mut rng = Rng(0x9E37_79B9_7F4A_7C15);
    for round in 0..60_u64 {
        let (mut server, _, seen) = connected(now);
        for step in 0..100 {
            let now = now + Duration::from_millis(round * 10 + step);
            let mut packet = seen[rng.below(seen.len())].to_vec();
            for _ in 0..=rng.below(4) {
                // Chunk headers are where lies are told; the verification tag stays right.
                let at = 12 + rng.below((packet.len() - 12).min(40));
                packet[at] = rng.below(256) as u8;
            }
            if rng.below(4) == 0 {
                packet.truncate(rng.below(packet.len()));
            }
            seal(&mut packet);
            server.handle_packet(now, packet.into());
            if step % 8 == 0 {
                server.handle_timeout(now);
            }
            server.packets.clear();
            server.events.clear();
        }
    }
}

#[test]
fn chunks_of_every_type_and_impossible_length_never_panic() {
    let now = Instant::now();
    let (mut server, _, seen) = connected(now);
    let header = seen.last().unwrap()[..12].to_vec();
    for kind in 0..=255_u8 {
        for length in [0_u16, 1, 2, 3, 4, 5, 12, 16, 17, 20, 40, 0xFFFF] {
            for body in [0_usize, 1, 3, 4, 12, 16, 36, 64] {
                let mut packet = header.clone();
                packet.extend([kind, 7]);
                packet.extend(length.to_be_bytes());
                packet.extend(std::iter::repeat_n(kind, body));
                seal(&mut packet);
                server.handle_packet(now, packet.into());
                if matches!(server.phase, Phase::Ended) {
                    server = connected(now).0;
                }
                server.packets.clear();
                server.events.clear();
            }
        }
    }
}

#[test]
fn a_late_copy_of_the_init_does_not_end_the_association() {
    let now = Instant::now();
    let (mut server, mut client, mut seen) = connected(now);
    let init = seen[0].clone();
    assert!(config::is_init(&init));
    server.handle_packet(now, init);
    client.send(now, 0, b"still there", false).unwrap();
    server.events.clear();
    exchange(now, &mut server, &mut client, &mut seen);
    let data = TransportEvent::Data {
        stream_id: 0,
        bytes: b"still there".to_vec(),
        binary: false,
    };
    assert_eq!(server.events, [data]);
}

#[test]
fn the_end_of_the_association_closes_its_channels() {
    let now = Instant::now();
    let (mut server, mut client, mut seen) = connected(now);
    server.events.clear();
    client.close(now);
    exchange(now, &mut server, &mut client, &mut seen);
    server.end();
    assert_eq!(
        server.events,
        [TransportEvent::ChannelClosed { stream_id: 0 }]
    );
    assert_eq!(server.send(now, 0, b"x", true), Err(DataError::Unknown));
    assert!(server.open_channel(now, options("d")).is_err());
    assert_eq!(server.next_timeout(), None);
}

#[test]
fn a_client_that_nobody_answers_stops_asking_until_it_has_a_channel_to_open() {
    let mut now = Instant::now();
    let mut client = Sctp::new(65_536);
    client.start(now, true);
    let mut inits = 0;
    while let Some(at) = client.next_timeout() {
        now = now.max(at);
        client.handle_timeout(now);
        inits += client.packets.drain(..).count();
        assert!(inits < 20);
    }
    assert!(inits >= 8, "{inits}");
    client.open_channel(now, options("c")).unwrap();
    assert_eq!(client.packets.len(), 1);
}

#[test]
fn a_packet_that_came_alone_is_acknowledged_soon() {
    let now = Instant::now();
    let (mut server, mut client, mut seen) = connected(now);
    let at = |ms| now + Duration::from_millis(ms);
    for end in 0..2 {
        // What is left of connecting.
        [&mut server, &mut client][end].handle_timeout(at(200));
        exchange(at(200), &mut server, &mut client, &mut seen);
    }
    for turn in 0..3 {
        let sent = at(1_000 + turn * 30);
        client.send(sent, 0, b"alone", true).unwrap();
        exchange(sent, &mut server, &mut client, &mut seen);
        assert_eq!(client.buffered(0), Some(5));
        server.handle_timeout(sent + ACK_DELAY - Duration::from_millis(1));
        assert!(server.packets.is_empty());
        assert_eq!(server.next_timeout(), Some(sent + ACK_DELAY));
        server.handle_timeout(sent + ACK_DELAY);
        exchange(sent + ACK_DELAY, &mut server, &mut client, &mut seen);
        assert_eq!(client.buffered(0), Some(0));
        assert!(server.pending_ack().is_none());
    }
}
