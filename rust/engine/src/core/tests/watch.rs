//! Media that should flow and does not is said, with why; silence that is meant is not.

use rtp::header::HeaderFields;

use super::MS;
use super::media::{call, send_frame};
use super::world::{MID, OPUS, World, down_track, receiver};
use crate::api::{Command, Event, Id, MediaKind};
use crate::core::watch::SLICE;

type Said = (Id, bool, String, u64);

fn said(world: &World) -> Vec<Said> {
    let said = world.events.iter().filter_map(|event| match event {
        Event::ReceiverStalled {
            receiver: id,
            stalled,
            cause,
            elapsed_ms,
        } => Some((*id, *stalled, cause.clone(), elapsed_ms / 1000)),
        Event::DownTrackStalled {
            down_track: id,
            stalled,
            cause,
            elapsed_ms,
            ..
        } => Some((*id, *stalled, (*cause).to_owned(), elapsed_ms / 1000)),
        _ => None,
    });
    said.collect()
}

/// Frames of two packets, five a second.
fn stream(world: &mut World, sequence: &mut u16, seconds: u32, key_frames: bool) {
    for frame in 0..5 * seconds {
        send_frame(world, 0, *sequence, 2, key_frames && frame % 5 == 0);
        *sequence += 2;
        world.run(200 * MS);
    }
}

fn update(muted: bool) -> Command {
    Command::UpdateDownTrack {
        down_track: 22,
        max_spatial: 2,
        max_temporal: 3,
        muted,
    }
}

#[test]
fn a_call_that_flows_is_quiet_about_it() {
    let (mut world, mut sequence) = (call(2), 100);
    stream(&mut world, &mut sequence, 30, true);
    assert_eq!(said(&world), []);
}

#[test]
fn a_publisher_who_stops_is_said_and_so_is_the_end_of_it() {
    let (mut world, mut sequence) = (call(2), 100);
    stream(&mut world, &mut sequence, 3, true);
    world.run(9_000 * MS);
    let [(10, true, cause, 5 | 6)] = &said(&world)[..] else {
        panic!("{:?}", said(&world));
    };
    assert_eq!(cause, "no_packets");
    stream(&mut world, &mut sequence, 2, true);
    let [_, (10, false, cause, 9)] = &said(&world)[..] else {
        panic!("{:?}", said(&world));
    };
    assert_eq!(cause, "");
}

#[test]
fn silence_that_is_meant_is_none() {
    // The publisher muted it.
    let (mut world, mut sequence) = (call(1), 100);
    stream(&mut world, &mut sequence, 3, true);
    let mute = |muted| Command::UpdateReceiver {
        receiver: 10,
        muted,
    };
    world.command(mute(true));
    world.run(20_000 * MS);
    assert_eq!(said(&world), []);
    // Unmuted: from now on it should flow.
    world.command(mute(false));
    world.run(4_000 * MS);
    assert_eq!(said(&world), []);
    world.run(4_000 * MS);
    assert_eq!(said(&world).len(), 1);

    // Nobody wants it: its publisher may have been told to stop.
    let (mut world, mut sequence) = (call(1), 100);
    stream(&mut world, &mut sequence, 3, true);
    world.command(update(true));
    stream(&mut world, &mut sequence, 8, true);
    world.run(20_000 * MS);
    assert_eq!(said(&world), []);
    world.command(update(false));
    world.run(8_000 * MS);
    assert_eq!(said(&world).len(), 1);
}

#[test]
fn a_share_that_does_not_change_may_rest_longer() {
    let mut world = World::new();
    world.connect(1);
    world.connect(2);
    let create = crate::api::CreateReceiver {
        screen_share: true,
        ..receiver(10, 1, "0", MediaKind::Video)
    };
    world.command(Command::CreateReceiver(Box::new(create)));
    let create = down_track(22, 2, 10, MediaKind::Video);
    world.command(Command::CreateDownTrack(Box::new(create)));
    let mut sequence = 100;
    for _ in 0..3 {
        stream(&mut world, &mut sequence, 1, true);
        world.run(12_000 * MS);
    }
    assert_eq!(said(&world), []);
    world.run(6_000 * MS);
    assert_eq!(said(&world).len(), 1);
}

#[test]
fn packets_that_are_dropped_meanwhile_are_the_cause() {
    let (mut world, mut sequence) = (call(1), 100);
    stream(&mut world, &mut sequence, 3, true);
    let from = world.clients[0].address;
    for _ in 0..40 {
        world.give_core(from, &mut [0x80; 60]);
        world.run(200 * MS);
    }
    let [(10, true, cause, _)] = &said(&world)[..] else {
        panic!("{:?}", said(&world));
    };
    assert_eq!(cause, "dropped_srtp_invalid");
}

/// Packets of a payload type that the receiver does not take, five a second.
fn stream_unexpected(world: &mut World, sequence: &mut u16, seconds: u32) {
    for _ in 0..5 * seconds {
        let fields = HeaderFields {
            marker: false,
            payload_type: OPUS,
            sequence: *sequence,
            timestamp: 1,
            ssrc: 77,
            csrcs: &[],
        };
        world.clients[0].send_rtp(&fields, &[(MID, b"0")], &[1, 2, 3]);
        *sequence += 1;
        world.run(200 * MS);
    }
}

#[test]
fn a_track_that_never_begins_is_said_and_so_is_that_it_does() {
    let mut world = call(1);
    world.run(13_000 * MS);
    assert_eq!(said(&world), []);
    world.run(5_000 * MS);
    let [(10, true, cause, 15 | 16)] = &said(&world)[..] else {
        panic!("{:?}", said(&world));
    };
    assert_eq!(cause, "no_packets");
    stream(&mut world, &mut 100, 2, true);
    let [_, (10, false, ..)] = &said(&world)[..] else {
        panic!("{:?}", said(&world));
    };
}

#[test]
fn a_track_that_begins_late_is_nothing() {
    let mut world = call(1);
    world.run(13_000 * MS);
    stream(&mut world, &mut 100, 10, true);
    assert_eq!(said(&world), []);
    // Nor is one that nobody wants, or that is muted.
    for command in [
        update(true),
        Command::UpdateReceiver {
            receiver: 10,
            muted: true,
        },
    ] {
        let mut world = call(1);
        world.command(command);
        world.run(40_000 * MS);
        assert_eq!(said(&world), []);
    }
}

#[test]
fn a_track_whose_packets_are_dropped_from_the_first_on_is_said_sooner() {
    let (mut world, mut sequence) = (call(1), 0);
    stream_unexpected(&mut world, &mut sequence, 4);
    assert_eq!(said(&world), []);
    stream_unexpected(&mut world, &mut sequence, 4);
    let [(10, true, cause, 5 | 6)] = &said(&world)[..] else {
        panic!("{:?}", said(&world));
    };
    assert_eq!(cause, "dropped_unexpected_media");
    // Once, however long it lasts.
    stream_unexpected(&mut world, &mut sequence, 20);
    assert_eq!(said(&world).len(), 1);
}

#[test]
fn a_peer_of_whom_nothing_comes_is_said_until_its_transport_says_so() {
    let (mut world, mut sequence) = (call(1), 100);
    stream(&mut world, &mut sequence, 3, true);
    let from = world.clients[0].address;
    world.loss = Some(Box::new(move |datagram| datagram.from == from));
    world.run(30_000 * MS);
    let [(10, true, ..), (10, false, ..)] = &said(&world)[..] else {
        panic!("{:?}", said(&world));
    };
}

#[test]
fn a_key_frame_that_does_not_come_is_the_cause() {
    let (mut world, mut sequence) = (call(1), 100);
    stream(&mut world, &mut sequence, 3, true);
    world.connect(5);
    let create = down_track(25, 5, 10, MediaKind::Video);
    world.command(Command::CreateDownTrack(Box::new(create)));
    stream(&mut world, &mut sequence, 8, false);
    let [(25, true, cause, 5 | 6)] = &said(&world)[..] else {
        panic!("{:?}", said(&world));
    };
    assert_eq!(cause, "waiting_for_key_frame");
    stream(&mut world, &mut sequence, 2, true);
    let [_, (25, false, ..)] = &said(&world)[..] else {
        panic!("{:?}", said(&world));
    };
}

#[test]
fn a_turn_looks_at_some_tracks_only() {
    let mut world = World::new();
    world.connect(1);
    for id in 0..600 {
        let create = receiver(1000 + id, 1, &id.to_string(), MediaKind::Audio);
        world.command(Command::CreateReceiver(Box::new(create)));
    }
    let mut cursors = Vec::new();
    for _ in 0..4 {
        while world.core.watch.receivers == cursors.last().copied().unwrap_or(0) {
            let due = world.core.next_deadline().unwrap();
            world.now = world.now.max(due);
            world.core.handle_timeout(world.now);
        }
        cursors.push(world.core.watch.receivers);
        if cursors.len() == 3 {
            break;
        }
    }
    assert_eq!(cursors, [SLICE, 2 * SLICE, 0]);
}
