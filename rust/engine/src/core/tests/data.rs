use std::sync::Arc;

use super::MS;
use super::world::World;
use crate::api::{Command, Event, Id, SendData};

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
    }
}

fn send(channels: &[(Id, u16)], payload: &[u8]) -> Command {
    Command::SendData(SendData {
        channels: channels.to_vec(),
        payload: Arc::from(payload),
        binary: true,
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
