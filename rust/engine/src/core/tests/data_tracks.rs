use std::time::Duration;

use transport::ChannelOptions;

use super::MS;
use super::world::World;
use crate::api::{Code, Command, DataDownTrackStats, DataTrackStats, Event, Id};
use crate::core::guard::Point;

const PUBLISHER: Id = 1;

/// A packet that is a frame by itself.
fn packet(handle: u16, sequence: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0b0001_1000, 0];
    packet.extend(handle.to_be_bytes());
    packet.extend(sequence.to_be_bytes());
    packet.extend(sequence.to_be_bytes());
    packet.extend([1, 2, 3, 4]);
    packet.extend(payload);
    packet
}

fn create(data_track: Id, transport: Id, handle: u16) -> Command {
    Command::CreateDataTrack {
        data_track,
        transport,
        handle,
    }
}

fn forward(data_down_track: Id, transport: Id, data_track: Id, handle: u16) -> Command {
    Command::CreateDataDownTrack {
        data_down_track,
        transport,
        data_track,
        handle,
    }
}

/// Clients with the ids 1 to `count`. The first opens its channel itself, to the others the core
/// does.
fn connected(count: Id) -> World {
    let mut world = World::new();
    for id in 1..=count {
        world.add_client(id, true);
        if id != PUBLISHER {
            world.command(Command::OpenDataChannel {
                transport: id,
                label: "_data_track".into(),
                ordered: false,
                max_retransmits: Some(0),
                negotiated: None,
            });
        }
    }
    open_channel(&mut world);
    world
}

fn open_channel(world: &mut World) {
    let options = ChannelOptions {
        label: "_data_track".into(),
        protocol: String::new(),
        ordered: false,
        max_retransmits: Some(0),
        negotiated: None,
    };
    let now = world.now;
    let client = &mut world.clients[0].transport;
    client.open_channel(now, options).unwrap();
    world.run_until(Duration::from_secs(5), |world| {
        world
            .clients
            .iter()
            .all(|client| !client.channels.is_empty())
    });
}

fn publish(world: &mut World, packet: &[u8]) {
    let (now, stream) = (world.now, world.clients[0].channels[0].0);
    let client = &mut world.clients[0].transport;
    client.send_data(now, stream, packet, true).unwrap();
    world.settle();
}

fn received(world: &World, id: Id) -> Vec<Vec<u8>> {
    let client = &world.clients[usize::try_from(id).unwrap() - 1];
    client
        .messages
        .iter()
        .map(|(_, bytes)| bytes.clone())
        .collect()
}

#[test]
fn packets_reach_subscribers_under_their_own_handles() {
    let mut world = connected(3);
    world.command(create(100, PUBLISHER, 7));
    world.command(create(101, PUBLISHER, 8));
    world.command(forward(200, 2, 100, 0x1111));
    world.command(forward(201, 2, 101, 0x1112));
    world.command(forward(202, 3, 100, 0x2222));
    publish(&mut world, &packet(7, 1, b"seven"));
    publish(&mut world, &packet(8, 1, b"eight"));
    world.run(100 * MS);
    let both = [packet(0x1111, 1, b"seven"), packet(0x1112, 1, b"eight")];
    assert_eq!(received(&world, 2), both);
    assert_eq!(received(&world, 3), [packet(0x2222, 1, b"seven")]);
    assert_eq!(received(&world, PUBLISHER), Vec::<Vec<u8>>::new());
    // They are the engine's own affair.
    let is_data = |event: &Event| matches!(event, Event::DataReceived { .. });
    assert!(!world.events.iter().any(is_data));
    let mut stats = world.stats();
    stats.data_tracks.sort_by_key(|track| track.data_track);
    let track = |data_track| DataTrackStats {
        data_track,
        packets: 1,
        bytes: 17,
        frames: 1,
        packets_lost: 0,
    };
    assert_eq!(stats.data_tracks, [track(100), track(101)]);
    assert_eq!(stats.data_down_tracks.len(), 3);
    let sent = |stats: &DataDownTrackStats| (stats.packets, stats.bytes, stats.packets_dropped);
    assert!(stats.data_down_tracks.iter().all(|s| sent(s) == (1, 17, 0)));
}

#[test]
fn a_subscriber_whose_channel_is_not_open_misses_packets_until_it_is() {
    let mut world = World::new();
    world.add_client(PUBLISHER, true);
    open_channel(&mut world);
    world.connect(2);
    world.command(create(100, PUBLISHER, 7));
    world.command(forward(200, 2, 100, 9));
    publish(&mut world, &packet(7, 1, b"early"));
    assert_eq!(world.drops("data_no_channel"), 1);
    assert_eq!(world.stats().data_down_tracks[0].packets_dropped, 1);
    world.command(Command::OpenDataChannel {
        transport: 2,
        label: "_data_track".into(),
        ordered: false,
        max_retransmits: Some(0),
        negotiated: None,
    });
    world.run(1000 * MS);
    publish(&mut world, &packet(7, 2, b"late"));
    assert_eq!(received(&world, 2), [packet(9, 2, b"late")]);
}

#[test]
fn what_is_malformed_or_unknown_is_counted_and_disturbs_nobody() {
    let mut world = connected(2);
    world.command(create(100, PUBLISHER, 7));
    world.command(forward(200, 2, 100, 9));
    let mut overlong = packet(7, 1, &[0xFF; 2]);
    overlong[0] |= 1 << 2;
    for bytes in [&b""[..], &[0; 11], &overlong] {
        publish(&mut world, bytes);
    }
    publish(&mut world, &packet(0, 1, b""));
    publish(&mut world, &packet(6, 1, b"no such track"));
    publish(&mut world, &packet(7, 2, b"right"));
    assert_eq!(world.drops("data_track_malformed"), 3);
    assert_eq!(world.drops("data_track_unknown"), 2);
    assert_eq!(received(&world, 2), [packet(9, 2, b"right")]);
}

#[test]
fn a_subscriber_that_gets_nothing_through_costs_the_others_nothing() {
    let mut world = connected(3);
    world.command(create(100, PUBLISHER, 7));
    world.command(forward(200, 2, 100, 2));
    world.command(forward(201, 3, 100, 3));
    let stuck = world.clients[1].address;
    world.loss = Some(Box::new(move |datagram| datagram.to == stuck));
    for sequence in 0..2000 {
        publish(&mut world, &packet(7, sequence, &[0; 1000]));
        world.run(MS);
    }
    let stats = world.stats();
    let of = |id| {
        stats
            .data_down_tracks
            .iter()
            .find(|s| s.data_down_track == id)
    };
    let (stuck, other) = (of(200).unwrap(), of(201).unwrap());
    assert_eq!((other.packets, other.packets_dropped), (2000, 0));
    assert_eq!(received(&world, 3).len(), 2000);
    assert_eq!(stuck.packets + stuck.packets_dropped, 2000);
    // Bounded long before the channel's own bound of 4 MiB: what came before the rate was known.
    assert!(stuck.packets < 300, "{}", stuck.packets);
    assert_eq!(world.drops("data_track_late"), stuck.packets_dropped);
}

#[test]
fn nothing_is_forwarded_after_either_end_is_closed() {
    let mut world = connected(3);
    world.command(create(100, PUBLISHER, 7));
    world.command(create(101, PUBLISHER, 8));
    for (id, transport, track) in [(200, 2, 100), (201, 3, 100), (202, 3, 101)] {
        world.command(forward(id, transport, track, u16::try_from(id).unwrap()));
    }
    world.command(Command::CloseDataDownTrack {
        data_down_track: 200,
    });
    world.command(Command::CloseDataTrack { data_track: 101 });
    publish(&mut world, &packet(7, 1, b"a"));
    publish(&mut world, &packet(8, 1, b"b"));
    assert_eq!(received(&world, 2), Vec::<Vec<u8>>::new());
    assert_eq!(received(&world, 3), [packet(201, 1, b"a")]);
    world.command(Command::CloseTransport { transport: 3 });
    publish(&mut world, &packet(7, 2, b"c"));
    world.command(Command::CloseTransport {
        transport: PUBLISHER,
    });
    let stats = world.stats();
    assert_eq!(
        (stats.data_tracks.len(), stats.data_down_tracks.len()),
        (0, 0)
    );
    assert_eq!(world.failures(), []);
}

#[test]
fn commands_are_idempotent_and_say_what_is_wrong() {
    let mut world = connected(2);
    for _ in 0..2 {
        world.command(create(100, PUBLISHER, 7));
        world.command(forward(200, 2, 100, 9));
    }
    publish(&mut world, &packet(7, 1, b"once"));
    assert_eq!(received(&world, 2).len(), 1);
    assert_eq!(world.failures(), []);
    world.command(create(101, PUBLISHER, 7));
    world.command(create(102, 99, 7));
    world.command(forward(201, 2, 98, 1));
    world.command(forward(202, 99, 100, 1));
    world.command(Command::CloseDataTrack { data_track: 97 });
    world.command(Command::CloseDataDownTrack {
        data_down_track: 97,
    });
    let expected = [
        ("CreateDataTrack", 101, Code::InvalidArgument),
        ("CreateDataTrack", 102, Code::NotFound),
        ("CreateDataDownTrack", 201, Code::FailedPrecondition),
        ("CreateDataDownTrack", 202, Code::NotFound),
    ];
    assert_eq!(world.failures(), expected);
}

#[test]
fn a_panic_at_one_subscriber_closes_that_one_only() {
    let mut world = connected(3);
    world.command(create(100, PUBLISHER, 7));
    world.command(forward(200, 2, 100, 2));
    world.command(forward(201, 3, 100, 3));
    world.core.panic_at = Some(Point::Transport(2));
    publish(&mut world, &packet(7, 1, b"a"));
    publish(&mut world, &packet(7, 2, b"b"));
    assert!(received(&world, 3).contains(&packet(3, 2, b"b")));
    let closed = |event: &Event| matches!(event, Event::TransportClosed { transport: 2, .. });
    assert!(world.events.iter().any(closed));
    assert_eq!(world.stats().data_down_tracks.len(), 1);
}

#[test]
fn a_panic_over_a_packet_closes_its_publisher_only() {
    let mut world = connected(3);
    world.command(create(100, PUBLISHER, 7));
    world.command(forward(200, 2, 100, 2));
    world.command(forward(201, 3, 100, 3));
    world.core.panic_at = Some(Point::DataTrack(PUBLISHER));
    publish(&mut world, &packet(7, 1, b"a"));
    let closed = world.events.iter().filter_map(|event| match event {
        Event::TransportClosed { transport, .. } => Some(*transport),
        _ => None,
    });
    assert_eq!(closed.collect::<Vec<_>>(), [PUBLISHER]);
    let stats = world.stats();
    let left = (
        stats.transports.len(),
        stats.data_tracks.len(),
        stats.data_down_tracks.len(),
    );
    assert_eq!(left, (2, 0, 2));
}
