//! What ordinary peers send, with losses and in bad company: nothing of it is lost with what is refused.

use std::time::{Duration, Instant};

use super::Sctp;
use super::raw::{BEGINS, ENDS, Raw, UNORDERED, chunk, data, forward_tsn, packet, reset};
use crate::limits;
use crate::types::{ChannelOptions, TransportEvent};

const WHOLE: u8 = BEGINS | ENDS;

/// A channel that was closed costs another one nothing, whatever is lost and sent again.
#[test]
fn unwanted_data_that_waits_behind_a_gap_takes_no_other_with_it() {
    let now = Instant::now();
    for is_unwanted_first in [true, false] {
        let mut raw = Raw::connected(now);
        let first = raw.next_tsn;
        let tsn = |n| first.wrapping_add(n);
        // User data on a stream that nobody opened: it is reset, and nobody reads what else it has.
        let stray = |n, ssn| data(WHOLE | UNORDERED, tsn(n), 2, ssn, b"x");
        let kept = |n, ssn| data(WHOLE, tsn(n), 0, ssn, b"kept");
        if is_unwanted_first {
            raw.give(now, &stray(0, 0));
        } else {
            raw.give(now, &kept(0, 1));
        }
        raw.give(now, &stray(2, 1));
        raw.give(now, &stray(3, 2));
        raw.give(now, &kept(1, if is_unwanted_first { 1 } else { 2 }));
        let kept_so_far = if is_unwanted_first { 1 } else { 2 };
        assert_eq!(raw.messages, vec![(0, 4); kept_so_far]);
        // What was refused is sent again.
        raw.give(now, &stray(2, 1));
        raw.give(now, &stray(3, 2));
        raw.give(now, &kept(4, kept_so_far as u16 + 1));
        assert_eq!(raw.messages, vec![(0, 4); kept_so_far + 1]);
        assert_eq!(raw.refused().disagreed, 0);
    }
}

/// The rest of a message that is too large waits behind a chunk of another channel.
#[test]
fn a_message_too_large_behind_a_gap_takes_no_other_with_it() {
    let now = Instant::now();
    let mut raw = Raw::connected(now);
    let first = raw.next_tsn;
    let pieces = limits::MESSAGE_MAX as u32 / 1_000 + 1;
    for n in 1..=pieces {
        let flags = if n == 1 { BEGINS } else { 0 };
        raw.give(now, &data(flags, first.wrapping_add(n), 2, 0, &[7; 1_000]));
    }
    assert_eq!(raw.refused().too_large, 0);
    raw.give(now, &data(WHOLE, first, 0, 1, b"kept"));
    assert_eq!((raw.refused().too_large, raw.closed.len()), (1, 0));
    raw.give(now, &data(ENDS, first.wrapping_add(pieces + 1), 2, 0, b"x"));
    let next = first.wrapping_add(pieces + 2);
    raw.give(now, &data(WHOLE, next, 0, 2, b"kept"));
    assert_eq!(raw.messages, [(0, 4), (0, 4)]);
    assert_eq!(raw.refused().disagreed, 0);
}

/// What nobody will read is forgotten, though nothing comes but chunks that do not fit beside it.
#[test]
fn what_nobody_reads_does_not_close_the_association_for_ever() {
    let now = Instant::now();
    let mut raw = Raw::connected(now);
    let first = raw.next_tsn;
    let held = limits::SCTP_HELD_MESSAGES as u32;
    let give = |raw: &mut Raw, n: u32, at: u32| {
        let at = now + Duration::from_millis(at.into());
        let tsn = first.wrapping_add(n);
        raw.give(at, &data(WHOLE, tsn, 2, n as u16, b"x"));
    };
    raw.pause(now, true);
    let (one, other) = (held - 10, held - 5);
    for n in (0..held + 2).filter(|&n| n != one && n != other) {
        give(&mut raw, n, n);
    }
    // Two more than there is room for, since they do not lie beyond the others.
    give(&mut raw, one, held + 2);
    give(&mut raw, other, held + 3);
    assert_eq!(raw.refused().too_much_held, 0);
    // Nobody opened the channel: its first message ends it.
    let now = now + Duration::from_secs(60);
    raw.pause(now, false);
    raw.give(
        now,
        &data(WHOLE, first.wrapping_add(held + 2), 0, 1, b"kept"),
    );
    assert_eq!(raw.messages, [(0, 4)], "{:?}", raw.refused());
}

/// An ERROR costs nothing of the packet that it stands in, and an ABORT all the rest of it.
#[test]
fn an_error_is_dropped_by_itself_and_an_abort_is_alone() {
    let now = Instant::now();
    let error = chunk(9, 0, &[0, 6, 0, 8, 192, 0, 0, 4]);
    let mut raw = Raw::connected(now);
    let mut chunks = data(WHOLE, raw.next_tsn, 0, 1, b"kept");
    chunks.extend(&error);
    chunks.extend(data(WHOLE, raw.next_tsn.wrapping_add(1), 0, 2, b"kept"));
    raw.give(now, &chunks);
    assert_eq!(raw.messages, [(0, 4), (0, 4)]);
    let mut chunks = error.clone();
    chunks.extend(data(WHOLE, raw.next_tsn.wrapping_add(2), 0, 3, b"kept"));
    raw.give(now, &chunks);
    assert_eq!(raw.messages.len(), 3);
    assert!(raw.is_alive() && raw.refused().disagreed == 0);
    // Nothing of a packet with an ABORT counts but that.
    let mut chunks = data(WHOLE, raw.next_tsn.wrapping_add(3), 0, 4, b"lost");
    chunks.extend(chunk(6, 0, &[0, 12, 0, 4]));
    raw.give(now, &chunks);
    assert_eq!(raw.messages.len(), 3);
    assert!(!raw.is_alive());
}

/// The stream is closed and its messages wait to be read: the peer hears that all of them arrived.
#[test]
fn a_forward_tsn_of_the_past_is_answered_while_a_stream_closes() {
    let now = Instant::now();
    let mut raw = Raw::connected(now);
    let tsn = raw.next_tsn;
    raw.pause(now, true);
    raw.give(now, &data(WHOLE, tsn, 0, 1, b"x"));
    raw.give(now, &reset(raw.next_reset, tsn, &[0]));
    let before = raw.refused();
    let answers = raw.give(now, &forward_tsn(tsn, &[(0, 1)]));
    assert!(answers.iter().any(|packet| packet[12] == 3));
    assert_eq!(raw.refused(), before);
    // Of the next generation nothing is taken before that.
    let next = tsn.wrapping_add(1);
    raw.give(now, &forward_tsn(next, &[(0, 0)]));
    let beyond = next.wrapping_add(1);
    raw.give(now, &data(WHOLE, beyond, 2, 0, b"x"));
    raw.give(now, &forward_tsn(beyond, &[(0, 0)]));
    assert_eq!(raw.refused().closing, before.closing + 2);
    raw.pause(now, false);
    assert!(raw.is_alive());
}

/// What happens on any network is counted, and is not held against a peer.
#[test]
fn what_ordinary_peers_send_too_is_ignored() {
    let now = Instant::now();
    let mut raw = Raw::connected(now);
    let tsn = raw.next_tsn;
    // A reset that overtakes data, and PAD (RFC 4820).
    raw.give(now, &reset(raw.next_reset, tsn, &[0]));
    raw.give(now, &chunk(132, 0, &[0; 8]));
    assert_eq!((raw.refused().ignored, raw.refused().total()), (2, 0));
    // A type at which a packet ends.
    raw.give(now, &chunk(99, 0, &[0; 8]));
    assert_eq!((raw.refused().malformed, raw.refused().total()), (1, 1));
}

/// A network that repeats packets and lets them overtake each other, and an ERROR behind a COOKIE ECHO as
/// usrsctp bundles them (RFC 9260 5.1).
#[test]
fn a_handshake_out_of_order_is_not_refused_anything() {
    let now = Instant::now();
    let (mut server, mut client) = (Sctp::new(1 << 20), Sctp::new(1 << 20));
    let options = ChannelOptions {
        label: "c".into(),
        protocol: String::new(),
        ordered: true,
        max_retransmits: None,
        negotiated: None,
    };
    server.start(now, false);
    client.start(now, true);
    server.open_channel(now, options).unwrap();
    server.handle_packet(now, client.packets.pop_front().unwrap());
    let init_ack = server.packets.pop_front().unwrap();
    client.handle_packet(now, init_ack.clone());
    client.handle_packet(now, init_ack);
    assert_eq!(client.refused().ignored, 1);
    let cookie_echo = client.packets.pop_front().unwrap();
    assert_eq!(cookie_echo[12], 10);
    let mut chunks = cookie_echo[12..].to_vec();
    chunks.extend(chunk(9, 0, &[0, 8, 0, 8, 192, 0, 0, 4]));
    server.handle_packet(now, packet(cookie_echo[..12].try_into().unwrap(), &chunks));
    // COOKIE ACK, and the DATA that opens the channel.
    let mut answers: Vec<_> = server.packets.drain(..).collect();
    assert_eq!((answers.len(), answers[0][12]), (2, 11));
    answers.reverse();
    for answer in answers {
        client.handle_packet(now, answer);
    }
    assert_eq!(client.refused().ignored, 2);
    let later = now + Duration::from_secs(10);
    server.handle_timeout(later);
    for packet in server.packets.drain(..) {
        client.handle_packet(later, packet);
    }
    assert_eq!(client.channels.len(), 1);
    assert_eq!((client.refused().total(), server.refused().total()), (0, 0));
}

/// A peer without FORWARD-TSN (RFC 8831 wants it) has channels too: the association is told of its DATA in
/// another way.
#[test]
fn a_peer_that_does_not_know_forward_tsn_is_heard_too() {
    let now = Instant::now();
    let (mut server, mut client) = (Sctp::new(1 << 20), Sctp::new(1 << 20));
    server.start(now, false);
    client.start(now, true);
    let init = client.packets.pop_front().unwrap();
    let mut chunks = init[12..].to_vec();
    let extensions = chunks.windows(2).position(|at| at == [0x80, 8]).unwrap();
    for kind in &mut chunks[extensions + 4..] {
        *kind = if *kind == 192 { 130 } else { *kind };
    }
    let init = packet(init[..12].try_into().unwrap(), &chunks);
    client.packets.push_front(init);
    let options = ChannelOptions {
        label: "c".into(),
        protocol: String::new(),
        ordered: true,
        max_retransmits: None,
        negotiated: None,
    };
    client.open_channel(now, options).unwrap();
    for round in 0..300 {
        let now = now + Duration::from_millis(round);
        while !client.packets.is_empty() || !server.packets.is_empty() {
            while let Some(packet) = client.packets.pop_front() {
                server.handle_packet(now, packet);
            }
            while let Some(packet) = server.packets.pop_front() {
                client.handle_packet(now, packet);
            }
        }
        client.send(now, 0, &[7; 5_000], true).unwrap();
    }
    let is_data = |event: &&TransportEvent| matches!(event, TransportEvent::Data { .. });
    assert!(server.events.iter().filter(is_data).count() > 290);
    assert!(client.buffered(0).unwrap() <= 10_000);
    assert_eq!(
        (server.refused().total(), server.refused().disagreed),
        (0, 0)
    );
}
