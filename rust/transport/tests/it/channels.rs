//! Data channels: opened by either side, reliable and lossy, bounded both ways.

use std::time::{Duration, Instant};

use lkpy_transport::{ChannelOptions, DataError, TransportError, TransportEvent, limits};
use str0m::Event;
use str0m::channel::Reliability;

use crate::peers::{Ours, Setup, both_ours, with_str0m};
use crate::sim::Sim;
use crate::str0m_peer::Str0m;

const LIMIT: Duration = Duration::from_secs(5);
/// Who is the DTLS client does not matter to channels, but it decides stream ids.
const SETUPS: [Setup; 3] = [
    Setup::ANSWERER,
    Setup::LITE,
    Setup {
        dtls_client: true,
        ..Setup::ANSWERER
    },
];

fn message(number: u32) -> Vec<u8> {
    let mut bytes = number.to_be_bytes().to_vec();
    bytes.resize(4 + (number as usize * 37) % 1_500, number as u8);
    bytes
}

fn numbers(messages: &[&[u8]]) -> Vec<u32> {
    messages
        .iter()
        .map(|bytes| {
            let number = u32::from_be_bytes(bytes[..4].try_into().unwrap());
            assert_eq!(*bytes, message(number));
            number
        })
        .collect()
}

fn connected(setup: Setup, seed: u64) -> Sim<Ours, Str0m> {
    let now = Instant::now();
    let (ours, theirs) = with_str0m(now, setup);
    let mut sim = Sim::new(ours, theirs, now, seed);
    assert!(sim.run(LIMIT, |a, b| a.connected() && b.rtc.is_connected()));
    sim
}

#[test]
fn the_client_opens_livekits_channels() {
    for setup in SETUPS {
        let now = Instant::now();
        let (ours, mut theirs) = with_str0m(now, setup);
        theirs.open("_reliable", true, Reliability::Reliable);
        theirs.open(
            "_lossy",
            false,
            Reliability::MaxRetransmits { retransmits: 0 },
        );
        let mut sim = Sim::new(ours, theirs, now, 1);
        let opened = sim.run(LIMIT, |a, b| {
            a.channel("_lossy").is_some()
                && a.channel("_reliable").is_some()
                && b.opened("_lossy").is_some()
                && b.opened("_reliable").is_some()
        });
        assert!(opened, "{setup:?} {:?}", sim.a.events);
        let options: Vec<_> = sim
            .a
            .events
            .iter()
            .filter_map(|(_, event)| match event {
                TransportEvent::ChannelOpened {
                    label,
                    ordered,
                    max_retransmits,
                    max_packet_life_time: None,
                    ..
                } => Some((label.as_str(), *ordered, *max_retransmits)),
                _ => None,
            })
            .collect();
        assert!(options.contains(&("_reliable", true, None)), "{options:?}");
        assert!(options.contains(&("_lossy", false, Some(0))), "{options:?}");
    }
}

#[test]
fn the_server_opens_livekits_channels_on_streams_of_its_own() {
    for setup in SETUPS {
        let now = Instant::now();
        let (mut ours, theirs) = with_str0m(now, setup);
        ours.open(now, "_reliable", true, None);
        ours.open(now, "_lossy", false, Some(0));
        let mut sim = Sim::new(ours, theirs, now, 2);
        let opened = sim.run(LIMIT, |a, b| {
            a.channel("_lossy").is_some() && b.opened("_lossy").is_some()
        });
        assert!(opened, "{setup:?} {:?}", sim.a.events);
        let parity = u16::from(!setup.dtls_client);
        assert_eq!(sim.a.channel("_reliable"), Some(parity));
        assert_eq!(sim.a.channel("_lossy"), Some(2 + parity));
    }
}

#[test]
fn the_server_begins_the_association_when_the_client_does_not() {
    // Two of ours, where only the DTLS server wants a channel.
    let now = Instant::now();
    let (mut server, client) = both_ours(now, Setup::ANSWERER);
    server.open(now, "late", true, None);
    let mut sim = Sim::new(server, client, now, 3);
    let opened = sim.run(LIMIT, |a, b| {
        a.channel("late").is_some() && b.channel("late").is_some()
    });
    assert!(opened);
}

#[test]
fn both_sides_open_at_once() {
    for seed in 0..20 {
        let now = Instant::now();
        let (mut server, mut client) = both_ours(now, Setup::ANSWERER);
        server.open(now, "down", true, None);
        client.open(now, "up", true, None);
        let mut sim = Sim::new(server, client, now, seed);
        sim.network.jitter = Duration::from_millis(400);
        let opened = sim.run(Duration::from_secs(20), |a, b| {
            ["up", "down"]
                .iter()
                .all(|label| a.channel(label).is_some() && b.channel(label).is_some())
        });
        assert!(opened, "seed {seed} {:?} {:?}", sim.a.events, sim.b.events);
    }
}

#[test]
fn reliable_messages_arrive_exactly_once_and_in_order_over_a_lossy_network() {
    for (seed, setup) in [(4, Setup::ANSWERER), (5, SETUPS[2])] {
        let mut sim = connected(setup, seed);
        sim.network.loss = 100;
        sim.network.jitter = Duration::from_millis(15);
        sim.b.open("_reliable", true, Reliability::Reliable);
        let limit = Duration::from_secs(20);
        assert!(sim.run(limit, |a, b| a.channel("_reliable").is_some()
            && b.opened("_reliable").is_some()));
        let ours = sim.a.channel("_reliable").unwrap();
        let theirs = sim.b.opened("_reliable").unwrap();
        let (mut sent, mut received) = (0, 0);
        let done = sim.run(Duration::from_secs(300), |a, b| {
            let now = a.now();
            while sent < 1_000 {
                match a.transport.send_data(now, ours, &message(sent), true) {
                    Ok(()) => sent += 1,
                    Err(error) => panic!("{error}"),
                }
            }
            while received < 1_000 {
                let mut channel = b.rtc.channel(theirs).unwrap();
                match channel.write(true, &message(received)) {
                    Ok(true) => received += 1,
                    _ => break,
                }
            }
            a.messages(ours).len() >= 1_000 && b.messages(theirs).len() >= 1_000
        });
        assert!(
            done,
            "{} {}",
            sim.a.messages(ours).len(),
            sim.b.messages(theirs).len()
        );
        sim.pass(Duration::from_secs(5));
        let expected: Vec<u32> = (0..1_000).collect();
        assert_eq!(numbers(&sim.a.messages(ours)), expected);
        assert_eq!(numbers(&sim.b.messages(theirs)), expected);
    }
}

#[test]
fn lossy_messages_are_dropped_but_never_repeated_and_never_block() {
    let mut sim = connected(Setup::ANSWERER, 6);
    let now = sim.now;
    sim.a.open(now, "_lossy", false, Some(0));
    assert!(sim.run(LIMIT, |a, b| a.channel("_lossy").is_some()
        && b.opened("_lossy").is_some()));
    let ours = sim.a.channel("_lossy").unwrap();
    let theirs = sim.b.opened("_lossy").unwrap();
    sim.network.loss = 100;
    for number in 0..500 {
        let now = sim.now;
        sim.a
            .transport
            .send_data(now, ours, &message(number % 20), true)
            .unwrap();
        sim.pass(Duration::from_millis(20));
    }
    sim.network.loss = 0;
    sim.pass(Duration::from_secs(10));
    let count = numbers(&sim.b.messages(theirs)).len();
    assert!((300..500).contains(&count), "{count}");
    // What follows still arrives.
    let now = sim.now;
    sim.a
        .transport
        .send_data(now, ours, b"last", false)
        .unwrap();
    sim.pass(Duration::from_secs(1));
    assert_eq!(sim.b.messages(theirs).last(), Some(&&b"last"[..]));
}

#[test]
fn text_binary_and_empty_messages_keep_their_kind() {
    let now = Instant::now();
    let (mut server, client) = both_ours(now, Setup::ANSWERER);
    server.open(now, "kinds", true, None);
    let mut sim = Sim::new(server, client, now, 7);
    assert!(sim.run(LIMIT, |a, b| a.channel("kinds").is_some()
        && b.channel("kinds").is_some()));
    let stream = sim.a.channel("kinds").unwrap();
    let now = sim.now;
    let sent: [(&[u8], bool); 4] = [(b"t", false), (b"b", true), (b"", false), (b"", true)];
    for (bytes, binary) in sent {
        sim.a
            .transport
            .send_data(now, stream, bytes, binary)
            .unwrap();
    }
    sim.pass(Duration::from_secs(1));
    let received: Vec<_> = sim
        .b
        .events
        .iter()
        .filter_map(|(_, event)| match event {
            TransportEvent::Data { bytes, binary, .. } => Some((&bytes[..], *binary)),
            _ => None,
        })
        .collect();
    assert_eq!(received, sent);
}

#[test]
fn the_largest_message_passes_and_a_larger_one_is_refused() {
    let now = Instant::now();
    let (mut server, client) = both_ours(now, Setup::ANSWERER);
    server.open(now, "big", true, None);
    let mut sim = Sim::new(server, client, now, 8);
    assert!(sim.run(LIMIT, |a, b| a.channel("big").is_some()
        && b.channel("big").is_some()));
    let stream = sim.a.channel("big").unwrap();
    let now = sim.now;
    let big = vec![7; limits::MESSAGE_MAX + 1];
    assert_eq!(
        sim.b.transport.send_data(now, stream, &big, true),
        Err(DataError::TooLarge)
    );
    sim.b
        .transport
        .send_data(now, stream, &big[1..], true)
        .unwrap();
    assert!(sim.run(LIMIT, |a, _| !a.messages(stream).is_empty()));
    assert_eq!(sim.a.messages(stream)[0], &big[1..]);
}

#[test]
fn a_larger_message_of_the_peer_closes_its_channel_only() {
    let mut sim = connected(Setup::ANSWERER, 9);
    sim.b.open("big", true, Reliability::Reliable);
    sim.b.open("other", true, Reliability::Reliable);
    assert!(sim.run(LIMIT, |a, b| a.channel("big").is_some()
        && b.opened("other").is_some()));
    let (big, other) = (sim.b.opened("big").unwrap(), sim.b.opened("other").unwrap());
    let written = sim.b.rtc.channel(big).unwrap().write(true, &[1; 65_536]);
    assert_eq!(written.ok(), Some(true));
    let stream = sim.a.channel("big").unwrap();
    let closed = TransportEvent::ChannelClosed { stream_id: stream };
    assert!(sim.run(LIMIT, |a, _| {
        a.events.iter().any(|(_, event)| *event == closed)
    }));
    assert!(sim.a.messages(stream).is_empty());
    let at_peer = |b: &Str0m| b.events.iter().any(|(_, e)| *e == Event::ChannelClose(big));
    assert!(sim.run(LIMIT, |_, b| at_peer(b)), "{:?}", sim.b.events);
    sim.b
        .rtc
        .channel(other)
        .unwrap()
        .write(true, b"ok")
        .unwrap();
    let stream = sim.a.channel("other").unwrap();
    assert!(sim.run(LIMIT, |a, _| a.messages(stream) == [b"ok"]));
}

#[test]
fn a_channel_that_the_peer_closes_is_reported_and_its_stream_can_be_used_again() {
    let mut sim = connected(Setup::ANSWERER, 10);
    for round in 0..3 {
        let label = format!("round {round}");
        sim.b.open(&label, true, Reliability::Reliable);
        assert!(sim.run(LIMIT, |a, b| a.channel(&label).is_some()
            && b.opened(&label).is_some()));
        let stream = sim.a.channel(&label).unwrap();
        let id = sim.b.opened(&label).unwrap();
        sim.b.api().close_data_channel(id);
        let closed = TransportEvent::ChannelClosed { stream_id: stream };
        let is_closed = |a: &Ours| a.events.last().is_some_and(|(_, e)| *e == closed);
        assert!(sim.run(LIMIT, |a, _| is_closed(a)), "round {round}");
        let now = sim.now;
        assert_eq!(
            sim.a.transport.send_data(now, stream, b"x", true),
            Err(DataError::Unknown)
        );
        sim.pass(Duration::from_secs(2));
    }
}

#[test]
fn a_channels_buffer_is_bounded_and_drains() {
    let now = Instant::now();
    let (mut server, client) = both_ours(now, Setup::ANSWERER);
    server.open(now, "c", true, None);
    let mut sim = Sim::new(server, client, now, 11);
    assert!(sim.run(LIMIT, |a, b| a.channel("c").is_some()
        && b.channel("c").is_some()));
    let stream = sim.a.channel("c").unwrap();
    let now = sim.now;
    sim.b.transport.pause_data(now, true);
    let mut sent = 0;
    // The peer's event queue is full: its window closes, then our buffer fills.
    let full = sim.run(Duration::from_secs(60), |a, _| {
        let now = a.now();
        for _ in 0..20 {
            match a.transport.send_data(now, stream, &[1; 16_384], true) {
                Ok(()) => sent += 1,
                Err(DataError::Full { buffered }) => {
                    assert!(buffered <= limits::CHANNEL_BUFFER);
                    let messages = sent * (16_384 + limits::MESSAGE_OVERHEAD);
                    assert!(messages + 16_384 > limits::CHANNEL_BUFFER);
                    return true;
                }
                Err(error) => panic!("{error}"),
            }
        }
        false
    });
    assert!(full);
    sim.pass(Duration::from_secs(20));
    assert!(sim.b.messages(stream).is_empty());
    let now = sim.now;
    sim.b.transport.pause_data(now, false);
    let drained = sim.run(Duration::from_secs(60), |_, b| {
        b.messages(stream).len() == sent
    });
    assert!(drained, "{} of {sent}", sim.b.messages(stream).len());
    let now = sim.now;
    sim.a.transport.send_data(now, stream, b"x", true).unwrap();
}

#[test]
fn impossible_channels_are_refused() {
    let now = Instant::now();
    let (mut server, _) = both_ours(now, Setup::ANSWERER);
    let options = |label: String| ChannelOptions {
        label,
        protocol: String::new(),
        ordered: true,
        max_retransmits: None,
        negotiated: None,
    };
    let long = options("l".repeat(limits::LABEL_MAX + 1));
    let refused = |result| matches!(result, Err(TransportError::Channel(_)));
    assert!(refused(server.transport.open_channel(now, long)));
    for _ in 0..limits::CHANNELS {
        let opened = server.transport.open_channel(now, options("x".into()));
        assert_eq!(opened, Ok(()));
    }
    let one_more = options("x".into());
    assert!(refused(server.transport.open_channel(now, one_more)));
    assert_eq!(
        server.transport.send_data(now, 1, b"x", true),
        Err(DataError::Unknown)
    );
}

#[test]
fn a_flood_of_channels_is_bounded() {
    let now = Instant::now();
    let (server, mut client) = both_ours(now, Setup::ANSWERER);
    client.open(now, "first", true, None);
    let mut sim = Sim::new(server, client, now, 12);
    assert!(sim.run(LIMIT, |a, _| a.channel("first").is_some()));
    for number in 1..limits::CHANNELS {
        let now = sim.now;
        sim.b.open(now, &format!("{number}"), true, None);
    }
    sim.pass(Duration::from_secs(2));
    let opened = |events: &[(Instant, TransportEvent)]| {
        let is_open =
            |event: &TransportEvent| matches!(event, TransportEvent::ChannelOpened { .. });
        events.iter().filter(|(_, event)| is_open(event)).count()
    };
    assert_eq!(opened(&sim.a.events), limits::CHANNELS);
    assert_eq!(opened(&sim.b.events), limits::CHANNELS);
}
