//! Channels that both sides have agreed on: no DCEP, and what becomes of them when one side changes its mind.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{Phase, Sctp};
use crate::limits;
use crate::types::{ChannelOptions, TransportEvent};

/// What the server of protocol 18 opens: `_reliable`, `_lossy`, `_data_track`.
const AGREED: [(u16, &str, Option<u16>); 3] = [
    (100, "_reliable", None),
    (101, "_lossy", Some(0)),
    (102, "_data_track", Some(0)),
];

fn options(label: &str, max_retransmits: Option<u16>, negotiated: Option<u16>) -> ChannelOptions {
    ChannelOptions {
        label: label.into(),
        protocol: String::new(),
        ordered: max_retransmits.is_none(),
        max_retransmits,
        negotiated,
    }
}

struct Pair {
    now: Instant,
    server: Sctp,
    client: Sctp,
    /// Payload protocol identifiers of all DATA chunks, either way.
    ppids: Vec<u32>,
}

impl Pair {
    fn connected(server_agrees: bool, client_agrees: bool) -> Self {
        let now = Instant::now();
        let mut pair = Pair {
            now,
            server: Sctp::new(65_536),
            client: Sctp::new(65_536),
            ppids: Vec::new(),
        };
        for (agrees, end) in [
            (server_agrees, &mut pair.server),
            (client_agrees, &mut pair.client),
        ] {
            for (id, label, max_retransmits) in AGREED.into_iter().filter(|_| agrees) {
                let options = options(label, max_retransmits, Some(id));
                end.open_channel(now, options).unwrap();
            }
        }
        pair.server.start(now, false);
        pair.client.start(now, true);
        pair.exchange();
        pair
    }

    fn exchange(&mut self) {
        loop {
            for _ in 0..100 {
                if self.client.packets.is_empty() && self.server.packets.is_empty() {
                    break;
                }
                while let Some(packet) = self.client.packets.pop_front() {
                    self.note(&packet);
                    self.server.handle_packet(self.now, packet);
                }
                while let Some(packet) = self.server.packets.pop_front() {
                    self.note(&packet);
                    self.client.handle_packet(self.now, packet);
                }
            }
            // Delayed acknowledgements, and resets that wait for them.
            let due = [self.server.next_timeout(), self.client.next_timeout()];
            let Some(due) = due.into_iter().flatten().min() else {
                return;
            };
            if due > self.now + Duration::from_secs(2) {
                return;
            }
            self.now = self.now.max(due);
            self.server.handle_timeout(self.now);
            self.client.handle_timeout(self.now);
        }
    }

    fn note(&mut self, packet: &Bytes) {
        let mut rest = &packet[12..];
        while rest.len() >= 16 {
            let length = usize::from(u16::from_be_bytes([rest[2], rest[3]]));
            if rest[0] == 0 {
                self.ppids
                    .push(u32::from_be_bytes(rest[12..16].try_into().unwrap()));
            }
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
    }

    fn end(&mut self, is_client: bool) -> &mut Sctp {
        if is_client {
            &mut self.client
        } else {
            &mut self.server
        }
    }

    fn close(&mut self, is_client: bool, stream_id: u16) {
        let now = self.now;
        let end = self.end(is_client);
        end.fail_channel(stream_id);
        end.drive(now);
    }

    /// Nobody resets a stream in answer that it never had.
    fn both_have(&mut self, stream_id: u16) -> bool {
        [&mut self.server, &mut self.client]
            .into_iter()
            .all(|end| match &mut end.phase {
                Phase::Running { association, .. } => association.stream(stream_id).is_ok(),
                _ => false,
            })
    }

    fn open_again(&mut self, stream_id: u16) {
        for is_client in [true, false] {
            let now = self.now;
            let again = options("again", None, Some(stream_id));
            self.end(is_client).open_channel(now, again).unwrap();
        }
        self.exchange();
    }

    /// Messages go both ways.
    fn check(&mut self, stream_id: u16, context: &str) {
        self.server.events.clear();
        self.client.events.clear();
        for is_client in [true, false] {
            let now = self.now;
            let sent = self.end(is_client).send(now, stream_id, b"x", true);
            sent.unwrap_or_else(|error| panic!("{context}: {stream_id} {error:?}"));
        }
        self.exchange();
        for end in [&self.server, &self.client] {
            assert_eq!(end.events, [data(stream_id, "x")], "{context}");
        }
    }

    fn send(&mut self, stream_id: u16, text: &str) {
        self.client
            .send(self.now, stream_id, text.as_bytes(), true)
            .unwrap();
        self.exchange();
    }
}

fn data(stream_id: u16, text: &str) -> TransportEvent {
    TransportEvent::Data {
        stream_id,
        bytes: text.as_bytes().to_vec(),
        binary: true,
    }
}

fn opened(stream_id: u16, label: &str, max_retransmits: Option<u16>) -> TransportEvent {
    TransportEvent::ChannelOpened {
        stream_id,
        label: label.into(),
        protocol: String::new(),
        ordered: max_retransmits.is_none(),
        max_retransmits,
        max_packet_life_time: None,
    }
}

#[test]
fn agreed_channels_are_open_on_both_sides_and_no_dcep_is_sent() {
    let mut pair = Pair::connected(true, true);
    let expected: Vec<_> = AGREED.map(|(id, l, r)| opened(id, l, r)).into();
    assert_eq!(pair.server.events, expected);
    assert_eq!(pair.client.events, expected);
    pair.server.events.clear();
    pair.client.events.clear();
    for (id, ..) in AGREED {
        pair.send(id, "up");
        pair.server.send(pair.now, id, b"down", true).unwrap();
        pair.exchange();
    }
    assert_eq!(pair.server.events, AGREED.map(|(id, ..)| data(id, "up")));
    assert_eq!(pair.client.events, AGREED.map(|(id, ..)| data(id, "down")));
    assert_eq!(pair.ppids, [53; 6]);
    assert_eq!(pair.server.guard.refused.total(), 0);
}

#[test]
fn in_band_channels_beside_agreed_ones_have_streams_of_their_own() {
    let mut pair = Pair::connected(true, true);
    pair.server.events.clear();
    pair.client
        .open_channel(pair.now, options("more", None, None))
        .unwrap();
    pair.server
        .open_channel(pair.now, options("less", None, None))
        .unwrap();
    pair.exchange();
    let expected = [opened(0, "more", None), opened(1, "less", None)];
    assert!(expected.iter().all(|e| pair.server.events.contains(e)));
}

/// A client that finds out late that the server does not agree: it closes its channels and opens others.
#[test]
fn a_client_that_changes_its_mind_gets_its_channels_in_band() {
    let mut pair = Pair::connected(true, true);
    pair.server.events.clear();
    for (id, ..) in AGREED {
        pair.client.fail_channel(id);
    }
    for (_, label, max_retransmits) in AGREED {
        pair.client
            .open_channel(pair.now, options(label, max_retransmits, None))
            .unwrap();
    }
    pair.exchange();
    for (id, label, max_retransmits) in [
        (0, "_reliable", None),
        (2, "_lossy", Some(0)),
        (4, "_data_track", Some(0)),
    ] {
        let event = opened(id, label, max_retransmits);
        assert!(pair.server.events.contains(&event), "{event:?}");
        pair.send(id, "up");
        assert_eq!(pair.server.events.back(), Some(&data(id, "up")));
    }
    for (stream_id, ..) in AGREED {
        let event = TransportEvent::ChannelClosed { stream_id };
        assert!(pair.server.events.contains(&event));
    }
    // The streams are free again.
    pair.server.events.clear();
    let again = options("_reliable", None, Some(100));
    pair.client.open_channel(pair.now, again.clone()).unwrap();
    pair.server.open_channel(pair.now, again).unwrap();
    pair.exchange();
    pair.send(100, "again");
    assert_eq!(
        pair.server.events,
        [opened(100, "_reliable", None), data(100, "again")]
    );
}

/// A channel is asked for while its stream is being reset.
#[test]
fn a_stream_that_is_being_reset_is_waited_for() {
    let mut pair = Pair::connected(true, true);
    pair.server.fail_channel(100);
    pair.server.events.clear();
    let again = options("_reliable", None, Some(100));
    pair.server.open_channel(pair.now, again).unwrap();
    assert_eq!(pair.server.events, []);
    pair.exchange();
    assert_eq!(pair.server.events, [opened(100, "_reliable", None)]);
}

/// The requests of both sides cross (RFC 6525 5.2), and each answers the other's with one more.
#[test]
fn a_stream_that_both_sides_reset_at_once_is_free_again() {
    let mut pair = Pair::connected(true, true);
    for _ in 0..3 {
        pair.close(true, 100);
        pair.close(false, 100);
        // Before, and after.
        pair.open_again(100);
        pair.check(100, "crossing");
    }
    pair.close(true, 100);
    pair.close(false, 100);
    pair.exchange();
    pair.open_again(100);
    pair.check(100, "crossed");
}

/// The peer has closed it while its messages wait.
#[test]
fn a_stream_whose_last_messages_are_not_read_is_waited_for() {
    let mut pair = Pair::connected(true, true);
    pair.server.events.clear();
    pair.server.pause(pair.now, true);
    pair.send(100, "last");
    pair.close(true, 100);
    pair.exchange();
    let again = options("again", None, Some(100));
    pair.server.open_channel(pair.now, again).unwrap();
    pair.exchange();
    assert_eq!(pair.server.events, []);
    pair.server.pause(pair.now, false);
    let closed = TransportEvent::ChannelClosed { stream_id: 100 };
    let expected = [data(100, "last"), closed, opened(100, "again", None)];
    assert_eq!(pair.server.events, expected);
}

#[test]
fn messages_that_came_first_are_read_once_the_channel_is_open() {
    let mut pair = Pair::connected(false, true);
    pair.server.pause(pair.now, true);
    pair.send(100, "early");
    assert_eq!(pair.server.events, []);
    pair.server
        .open_channel(pair.now, options("_reliable", None, Some(100)))
        .unwrap();
    pair.server.pause(pair.now, false);
    pair.send(100, "later");
    assert_eq!(
        pair.server.events,
        [
            opened(100, "_reliable", None),
            data(100, "early"),
            data(100, "later")
        ]
    );
}

/// A peer that opens what is open already is told so, and the channel goes on.
#[test]
fn an_open_on_an_agreed_stream_is_acknowledged() {
    let mut pair = Pair::connected(true, false);
    pair.server.events.clear();
    // The client's first fifty streams are its own; then comes 100.
    for _ in 0..=50 {
        pair.client
            .open_channel(pair.now, options("x", None, None))
            .unwrap();
    }
    pair.exchange();
    pair.send(100, "up");
    assert_eq!(pair.server.events.back(), Some(&data(100, "up")));
    assert!(pair.client.events.contains(&opened(100, "x", None)));
    assert!(!pair.server.events.contains(&opened(100, "x", None)));
}

#[test]
fn a_stream_is_opened_once_and_has_to_exist() {
    let mut pair = Pair::connected(true, true);
    pair.server.events.clear();
    let again = options("_reliable", None, Some(100));
    pair.server.open_channel(pair.now, again).unwrap();
    pair.exchange();
    assert_eq!(pair.server.events, []);
    let beyond = options("c", None, Some(limits::SCTP_STREAMS));
    assert!(pair.server.open_channel(pair.now, beyond).is_err());
}

/// Whatever both sides open and close, and whenever: a stream is opened, closed, opened, and never opened
/// twice; and an agreed channel that both have at the end carries messages.
#[test]
fn any_order_of_opening_and_closing_is_told_in_pairs() {
    for seed in 1..=200_u64 {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut below = |bound: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) % bound
        };
        let mut pair = Pair::connected(below(2) == 0, below(2) == 0);
        for _ in 0..30 {
            let (now, is_client) = (pair.now, below(2) == 0);
            let id = 100 + below(3) as u16;
            match below(5) {
                kind @ 0..=2 => {
                    let agreed = (kind != 2).then_some(id);
                    let asked = options("any", None, agreed);
                    pair.end(is_client).open_channel(now, asked).unwrap();
                }
                3 => {
                    let id = [id, below(6) as u16][below(2) as usize];
                    if pair.both_have(id) {
                        pair.close(is_client, id);
                    }
                }
                _ => {
                    let _not_open = pair.end(is_client).send(now, id, b"x", true);
                }
            }
            if below(3) == 0 {
                pair.exchange();
            }
        }
        pair.exchange();
        for end in [&mut pair.server, &mut pair.client] {
            let mut open = std::collections::BTreeSet::new();
            for event in end.events.drain(..) {
                match event {
                    TransportEvent::ChannelOpened { stream_id, .. } => {
                        assert!(open.insert(stream_id), "{seed}: {stream_id} opened twice");
                    }
                    TransportEvent::ChannelClosed { stream_id } => {
                        assert!(open.remove(&stream_id), "{seed}: {stream_id} closed twice");
                    }
                    _ => {}
                }
            }
        }
        for (id, ..) in AGREED {
            pair.open_again(id);
            pair.check(id, &format!("{seed}"));
            pair.close(true, id);
            pair.close(false, id);
            if below(2) == 0 {
                pair.exchange();
            }
            pair.open_again(id);
            pair.check(id, &format!("{seed}, again"));
        }
    }
}
