//! What is left after a panic: nobody gets what they did not ask for.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rtp::header::HeaderFields;
use rtp::rtcp::SenderInfo;

use super::MS;
use super::world::{MID, OPUS, World, down_track, receiver};
use crate::api::{Command, Event, MediaKind};
use crate::core::guard::Point;

const TRACKS: u8 = 3;

/// Transport 1 publishes three microphones, 10 to 12; transport 2 receives them as 50 to 52.
fn audio_call() -> World {
    let mut world = World::new();
    world.connect(1);
    world.connect(2);
    for track in 0..u64::from(TRACKS) {
        let create = receiver(10 + track, 1, &track.to_string(), MediaKind::Audio);
        world.command(Command::CreateReceiver(Box::new(create)));
        let create = down_track(50 + track, 2, 10 + track, MediaKind::Audio);
        world.command(Command::CreateDownTrack(Box::new(create)));
    }
    world
}

fn speak(world: &mut World, sequence: u16) {
    speak_as(world, 0, sequence);
}

fn speak_as(world: &mut World, client: usize, sequence: u16) {
    for track in 0..TRACKS {
        let fields = HeaderFields {
            marker: false,
            payload_type: OPUS,
            sequence,
            timestamp: u32::from(sequence) * 960,
            ssrc: 5_000_000 + u32::from(track),
            csrcs: &[],
        };
        world.clients[client].send_rtp(&fields, &[(MID, &[b'0' + track])], &[track, 2, 3]);
    }
    world.settle();
}

fn closed(world: &World) -> Vec<u64> {
    let closed = world.events.iter().filter_map(|event| match event {
        Event::TransportClosed { transport, reason } if reason == "panic" => Some(*transport),
        _ => None,
    });
    closed.collect()
}

/// Somebody joins who has subscribed to nothing, and publishes to nobody: the slots of whatever
/// closed are used again.
fn a_stranger_is_alone(world: &mut World) {
    let at = world.connect(3);
    for track in 0..u64::from(TRACKS) {
        let create = receiver(30 + track, 3, &track.to_string(), MediaKind::Audio);
        world.command(Command::CreateReceiver(Box::new(create)));
    }
    let before = world.clients[1].rtp.len();
    speak_as(world, at, 1);
    assert_eq!(world.clients[1].rtp.len(), before, "it hears a stranger");
    if !closed(world).contains(&1) {
        speak(world, 200);
    }
    let ssrcs: Vec<_> = world.clients[at]
        .rtp
        .iter()
        .map(|rtp| rtp.header.ssrc)
        .collect();
    assert!(
        ssrcs.is_empty(),
        "media of ssrcs {ssrcs:?} reaches a stranger"
    );
}

#[test]
fn a_panic_in_a_sender_report_leaves_nothing_behind() {
    let mut world = audio_call();
    speak(&mut world, 1);
    assert_eq!(world.clients[1].rtp.len(), 3);
    for ssrc in 0..u32::from(TRACKS) {
        world.clients[0].send_rtcp(|writer| {
            let info = SenderInfo {
                ntp: 1 << 40,
                rtp_timestamp: 960,
                ..SenderInfo::default()
            };
            writer.sender_report(5_000_000 + ssrc, &info, &[]);
        });
    }
    world.settle();
    world.core.panic_at = Some(Point::SenderReport(50));
    world.run(4000 * MS);
    assert_eq!(closed(&world), [2]);
    assert_eq!(world.core.subscriptions.len(), 0);
    a_stranger_is_alone(&mut world);
    assert_eq!(world.clients[1].rtp.len(), 3);
}

#[test]
fn whatever_a_transport_has_is_found_though_its_lists_are_lost() {
    let mut world = audio_call();
    speak(&mut world, 1);
    for id in [1, 2] {
        let index = world.core.connections.find(id).unwrap();
        let connection = world.core.connections.get_mut(index).unwrap();
        connection.down_tracks.clear();
        connection.receivers.clear();
        connection.tuples.clear();
        let now = world.now;
        world.core.abandon(now, id);
        world.settle();
    }
    assert_eq!(closed(&world), [1, 2]);
    let core = &world.core;
    let left = (
        core.sources.len(),
        core.subscriptions.len(),
        core.clocks.len(),
    );
    assert_eq!(left, (0, 0, 0));
    assert!(core.tuples.is_empty() && core.ufrags.is_empty());
    a_stranger_is_alone(&mut world);
}

#[test]
fn a_goodbye_that_panics_is_gone_through_to_the_end() {
    let mut world = audio_call();
    world.core.panic_at = Some(Point::Close(2));
    world.command(Command::CloseTransport { transport: 2 });
    assert_eq!(closed(&world), [2]);
    assert_eq!(
        (world.core.subscriptions.len(), world.core.connections.len()),
        (0, 1)
    );
    a_stranger_is_alone(&mut world);
}

#[test]
fn every_place_that_works_for_a_transport_is_guarded() {
    let places = [
        (Point::Transport(1), 1),
        (Point::Transport(2), 2),
        (Point::EndBatch(11), 1),
        (Point::AudioLevel(11), 1),
        (Point::Command(51), 2),
        (Point::Command(11), 1),
        (Point::Command(2), 2),
    ];
    for (point, transport) in places {
        let mut world = audio_call();
        speak(&mut world, 1);
        world.core.panic_at = Some(point);
        speak(&mut world, 2);
        world.command(Command::UpdateDownTrack {
            down_track: 51,
            max_spatial: 0,
            max_temporal: 0,
            muted: false,
        });
        world.command(Command::UpdateReceiver {
            receiver: 11,
            muted: false,
        });
        world.command(Command::SetCongestionControl {
            transport: 2,
            allow_pause: false,
            capacity_bps: None,
        });
        world.run(1000 * MS);
        assert_eq!(closed(&world), [transport], "{point:?}");
        assert_eq!(world.stats().worker.panics, 1, "{point:?}");
        assert_eq!(world.core.connections.len(), 1, "{point:?}");
        a_stranger_is_alone(&mut world);
    }
}

#[test]
fn what_is_about_nobody_leaves_the_core() {
    let mut world = audio_call();
    world.core.panic_at = Some(Point::Turn);
    let now = world.now;
    let core = &mut world.core;
    assert!(catch_unwind(AssertUnwindSafe(|| core.handle_timeout(now))).is_err());
}
