//! Statistics are taken in slices, whatever is asked for and whatever changes meanwhile.

use rustc_hash::FxHashSet;

use super::world::{World, down_track, receiver};
use crate::api::{Command, Event, MediaKind, StatsCollected};
use crate::core::collect::SLICE;

/// Subscribers with down tracks of one publisher's receivers; nobody is connected.
fn crowd(receivers: u64, subscribers: u64) -> World {
    let mut world = World::new();
    for id in 1..=1 + subscribers {
        world.add_client(id, true);
        world.clients.clear();
    }
    for at in 0..receivers {
        let create = receiver(1_000 + at, 1, &at.to_string(), MediaKind::Video);
        world.command(Command::CreateReceiver(Box::new(create)));
        for id in 2..2 + subscribers {
            let number = 10_000 + id * 100 + at;
            let create = down_track(number, id, 1_000 + at, MediaKind::Video);
            world.command(Command::CreateDownTrack(Box::new(create)));
        }
    }
    world
}

fn answers(world: &World) -> Vec<StatsCollected> {
    let answers = world.events.iter().filter_map(|event| match event {
        Event::StatsCollected(stats) => Some(stats.as_ref().clone()),
        _ => None,
    });
    answers.collect()
}

/// One turn of the driver. Returns the answers it brought.
fn turn(world: &mut World) -> usize {
    let before = answers(world).len();
    world.core.handle_timeout(world.now);
    world.events.extend(world.core.take_events());
    answers(world).len() - before
}

#[test]
fn no_turn_looks_at_more_than_a_slice_and_nothing_is_left_out() {
    let mut world = crowd(60, 40);
    let stats = world.stats();
    assert_eq!(stats.down_tracks.len(), 2_400);
    assert_eq!((stats.transports.len(), stats.worker.transports), (41, 41));
    let ids: FxHashSet<_> = stats.down_tracks.iter().map(|d| d.down_track).collect();
    assert_eq!(ids.len(), 2_400);
    assert_eq!(world.core.collection.longest, SLICE);
    // Between two slices the driver reads packets.
    world.command(Command::CollectStats { request: 8 });
    let mut turns = 1;
    while turn(&mut world) == 0 {
        assert_eq!(world.core.next_deadline(), Some(world.now));
        turns += 1;
    }
    let objects = 2 * 41 + 2_400 + 60;
    assert_eq!(turns, usize::div_ceil(objects, SLICE));
}

#[test]
fn who_asks_while_statistics_are_taken_hears_of_what_was_there_then() {
    let mut world = crowd(30, 40);
    for request in [1, 2] {
        world.command(Command::CollectStats { request });
    }
    assert_eq!(turn(&mut world), 0);
    for at in 0..10 {
        let receiver = 1_000 + at;
        world.command(Command::CloseReceiver { receiver });
        let down_track = 10_000 + 200 + at;
        world.command(Command::CloseDownTrack { down_track });
    }
    let create = receiver(9, 1, "new", MediaKind::Audio);
    world.command(Command::CreateReceiver(Box::new(create)));
    world.command(Command::CollectStats { request: 3 });
    while answers(&world).len() < 3 {
        turn(&mut world);
    }
    let requests: Vec<_> = answers(&world).iter().map(|s| s.request).collect();
    assert_eq!(requests, [1, 2, 3]);
    assert_eq!(answers(&world)[2].down_tracks.len(), 1_190);
    assert_eq!(world.core.collection.unanswered().count(), 0);
}

#[test]
fn a_core_that_takes_the_place_of_another_answers_for_it() {
    let mut world = crowd(30, 40);
    world.command(Command::CollectStats { request: 1 });
    turn(&mut world);
    world.command(Command::CollectStats { request: 2 });
    let mut next = World::new();
    next.core.inherit(next.now, &world.core);
    while answers(&next).len() < 2 {
        turn(&mut next);
    }
    assert!(
        answers(&next)
            .iter()
            .all(|stats| stats.transports.is_empty())
    );
}
