use std::sync::Arc;

use super::MS;
use super::world::World;
use crate::api::{Command, EngineConfig, Event, Id, SendData};
use crate::core::guard::Point;

fn opened(world: &World, id: Id) -> Vec<(u16, String)> {
    let opened = world.events.iter().filter_map(|event| match event {
        Event::DataChannelOpened {
            transport,
            stream_id,
            label,
            ..
        } if *transport == id => Some((*stream_id, label.clone())),
        _ => None,
    });
    opened.collect()
}

fn received(world: &World) -> Vec<Vec<u8>> {
    let received = world.events.iter().filter_map(|event| match event {
        Event::DataReceived { payload, .. } => Some(payload.clone()),
        _ => None,
    });
    received.collect()
}

fn open(transport: Id, max_retransmits: Option<u16>) -> Command {
    Command::OpenDataChannel {
        transport,
        label: "_reliable".into(),
        ordered: true,
        max_retransmits,
        negotiated: None,
    }
}

fn send(channels: &[(Id, u16)], payload: &[u8]) -> Command {
    Command::SendData(SendData {
        channels: channels.to_vec(),
        payload: Arc::from(payload),
        binary: true,
        source: 0,
    })
}

#[test]
fn one_message_reaches_many_channels_opened_before_sctp_is_up() {
    let mut world = World::new();
    for id in [1, 2, 3] {
        world.add_client(id, true);
        world.command(open(id, None));
    }
    world.run_until(5000 * MS, |world| {
        [1, 2, 3].iter().all(|&id| opened(world, id).len() == 1)
    });
    let channels: Vec<_> = [1, 2, 3].map(|id| (id, opened(&world, id)[0].0)).into();
    world.command(send(&channels, b"to all"));
    world.run(100 * MS);
    for (client, (_, stream)) in world.clients.iter().zip(&channels) {
        assert_eq!(client.messages, [(*stream, b"to all".to_vec())]);
        assert_eq!(client.channels, [(*stream, "_reliable".to_owned())]);
    }
    let (now, stream) = (world.now, channels[0].1);
    let client = &mut world.clients[0].transport;
    client.send_data(now, stream, b"back", true).unwrap();
    world.run(100 * MS);
    assert_eq!(received(&world), [b"back".to_vec()]);
    world.command(send(&[(1, 999), (77, 0)], b"nobody"));
    assert_eq!(world.drops("data_no_channel"), 2);
}

#[test]
fn nobody_gets_a_larger_message_than_it_takes() {
    let mut world = World::new();
    for id in [1, 2] {
        world.add_client(id, true);
        world.command(open(id, None));
    }
    world.run_until(5000 * MS, |world| {
        [1, 2].iter().all(|&id| opened(world, id).len() == 1)
    });
    let channels: Vec<_> = [1, 2].map(|id| (id, opened(&world, id)[0].0)).into();
    let mut sizes = |bytes, len| {
        world.command(Command::SetMaxMessageSize {
            transport: 1,
            bytes,
        });
        world.command(send(&channels, &vec![7; len]));
        world.run(100 * MS);
        let clients = world.clients.iter();
        clients
            .map(|client| client.messages.len())
            .collect::<Vec<_>>()
    };
    assert_eq!(sizes(1000, 1000), [1, 1]);
    assert_eq!(sizes(1000, 1001), [1, 2]);
    assert_eq!(sizes(1001, 1001), [2, 3], "it has said so anew");
    assert_eq!(world.drops("data_too_large"), 1);
}

#[test]
fn a_full_channel_is_reported_unless_it_may_lose_messages() {
    let mut world = World::new();
    world.connect(1);
    world.command(open(1, None));
    world.command(open(1, Some(0)));
    world.run_until(5000 * MS, |world| opened(world, 1).len() == 2);
    let streams: Vec<_> = opened(&world, 1)
        .iter()
        .map(|(stream, _)| *stream)
        .collect();
    // Nothing gets through any more.
    world.loss = Some(Box::new(|_| true));
    for _ in 0..200 {
        world.command(send(&[(1, streams[0]), (1, streams[1])], &[0; 60_000]));
    }
    let overflows: Vec<_> = world
        .events
        .iter()
        .filter_map(|event| match event {
            Event::DataChannelOverflow {
                stream_id,
                buffered,
                ..
            } => Some((*stream_id, *buffered)),
            _ => None,
        })
        .collect();
    assert!(!overflows.is_empty());
    assert!(
        overflows
            .iter()
            .all(|&(stream, buffered)| stream == streams[0] && buffered > 4_000_000)
    );
    assert!(world.drops("data_channel_full") > 0);
}

#[test]
fn paused_messages_wait_with_their_senders() {
    let mut world = World::new();
    world.connect(1);
    world.command(open(1, None));
    world.run_until(5000 * MS, |world| opened(world, 1).len() == 1);
    let stream = opened(&world, 1)[0].0;
    world.core.set_data_paused(world.now, true);
    for number in 0..100u8 {
        let now = world.now;
        let transport = &mut world.clients[0].transport;
        transport
            .send_data(now, stream, &[number; 20_000], true)
            .unwrap();
        world.run(10 * MS);
    }
    assert_eq!(received(&world).len(), 0);
    world.core.set_data_paused(world.now, false);
    world.run(20_000 * MS);
    let numbers: Vec<_> = received(&world).iter().map(|message| message[0]).collect();
    assert_eq!(numbers, (0..100).collect::<Vec<_>>());
}

const SENDER: Id = 1;
const READER: Id = 2;
const OTHER: Id = 3;

/// A sender and two readers on an engine with a threshold of 1 Mbit/s.
struct Room {
    world: World,
    streams: Vec<(Id, u16)>,
    /// Events before this one were passed on.
    passed: usize,
    sent: u32,
}

impl Room {
    fn new() -> Self {
        let mut world = World::with_config(EngineConfig {
            data_slow_threshold: 1_000_000,
            ..EngineConfig::default()
        });
        let ids = [SENDER, READER, OTHER];
        for id in ids {
            world.add_client(id, true);
            world.command(open(id, None));
        }
        world.run_until(5000 * MS, |world| {
            ids.iter().all(|&id| opened(world, id).len() == 1)
        });
        let streams = ids.map(|id| (id, opened(&world, id)[0].0)).into();
        let passed = world.events.len();
        Self {
            world,
            streams,
            passed,
            sent: 0,
        }
    }

    fn pause(&mut self, id: Id, paused: bool) {
        let now = self.world.now;
        let client = &mut self.world.clients[id as usize - 1];
        client.transport.pause_data(now, paused);
    }

    /// For `ms` milliseconds sends 20 kB in 5 ms, or as much as the sender's own channel takes, and
    /// passes on to the readers what arrives, as the control plane does.
    fn run(&mut self, ms: u32) {
        for _ in 0..ms / 5 {
            for _ in 0..2 {
                let (now, stream) = (self.world.now, self.streams[0].1);
                let client = &mut self.world.clients[0].transport;
                let mut message = vec![0; 10_000];
                message[..4].copy_from_slice(&self.sent.to_be_bytes());
                let waiting = client.buffered(stream).unwrap();
                if waiting > 20_000 || client.send_data(now, stream, &message, true).is_err() {
                    break;
                }
                self.sent += 1;
                self.world.settle();
                self.pass_on();
            }
            self.world.run(5 * MS);
            self.pass_on();
        }
    }

    fn pass_on(&mut self) {
        let messages: Vec<_> = self.world.events[self.passed..]
            .iter()
            .filter_map(|event| match event {
                Event::DataReceived { payload, .. } => Some(payload.clone()),
                _ => None,
            })
            .collect();
        self.passed = self.world.events.len();
        for message in messages {
            self.world.command(Command::SendData(SendData {
                channels: self.streams[1..].to_vec(),
                payload: Arc::from(message),
                binary: true,
                source: SENDER,
            }));
        }
    }

    fn received(&self, id: Id) -> Vec<u32> {
        let messages = &self.world.clients[id as usize - 1].messages;
        let numbers = messages
            .iter()
            .map(|(_, bytes)| u32::from_be_bytes(bytes[..4].try_into().unwrap()));
        numbers.collect()
    }
}

#[test]
fn senders_wait_for_a_slow_reader_that_loses_nothing() {
    let mut room = Room::new();
    for _ in 0..10 {
        room.pause(READER, true);
        room.run(400);
        room.pause(READER, false);
        room.run(5);
    }
    let sent = room.sent;
    // Its receive window holds a megabyte, which it reads ten times, and what may wait is another.
    assert!((500..1500).contains(&sent), "{sent}");
    room.run(3000);
    assert!(room.sent > sent + 100, "{}", room.sent);
    for id in [READER, OTHER] {
        let received = room.received(id);
        assert!(received.len() as u32 > sent);
        assert!(received.iter().copied().eq(0..received.len() as u32));
    }
    assert_eq!(room.world.drops("data_slow_reader"), 0);
}

#[test]
fn nobody_waits_for_a_reader_that_is_too_slow() {
    let mut room = Room::new();
    room.pause(READER, true);
    room.run(5000);
    let sent = room.sent;
    room.run(1000);
    assert!(room.sent > sent + 100, "{sent} {}", room.sent);
    assert!(room.world.drops("data_slow_reader") > 100);
    let overflowed = |event: &Event| {
        matches!(event, Event::DataChannelOverflow { transport: READER, buffered, .. }
            if *buffered <= 2 * 1024 * 1024)
    };
    assert!(room.world.events.iter().any(overflowed));
    let received = room.received(OTHER);
    assert!(received.iter().copied().eq(0..received.len() as u32));
    assert!(received.len() as u32 > sent);
}

#[test]
fn a_reader_that_leaves_is_waited_for_no_more() {
    let mut room = Room::new();
    room.pause(READER, true);
    while room.world.drops("data_slow_reader") == 0 && room.sent < 300 {
        room.run(5);
    }
    room.world
        .command(Command::CloseTransport { transport: READER });
    room.streams.remove(1);
    room.run(200);
    let sent = room.sent;
    room.run(500);
    assert!(room.sent > sent, "{sent}");
}

#[test]
fn a_lossy_channel_keeps_messages_fresh() {
    let mut world = World::with_config(EngineConfig {
        data_lossy_target_latency: 100 * MS,
        ..EngineConfig::default()
    });
    world.connect(1);
    world.command(open(1, Some(0)));
    world.run_until(5000 * MS, |world| opened(world, 1).len() == 1);
    let stream = opened(&world, 1)[0].0;
    let now = world.now;
    world.clients[0].transport.pause_data(now, true);
    for _ in 0..400 {
        world.command(send(&[(1, stream)], &[0; 10_000]));
        world.run(5 * MS);
    }
    let dropped = world.drops("data_late");
    assert!(dropped > 200, "{dropped}");
    assert_eq!(world.drops("data_channel_full"), 0);
}

#[test]
fn a_panic_over_a_reader_closes_it_and_its_senders_go_on() {
    let mut room = Room::new();
    room.pause(READER, true);
    room.world.core.panic_at = Some(Point::Reader(READER));
    room.run(3000);
    let closed = |event: &Event| {
        matches!(
            event,
            Event::TransportClosed {
                transport: READER,
                ..
            }
        )
    };
    assert!(room.world.events.iter().any(closed));
    room.streams.remove(1);
    let sent = room.sent;
    room.run(500);
    assert!(room.sent > sent, "{sent}");
    assert_eq!(room.world.stats().worker.panics, 1);
}
