use super::MS;
use super::media::{call, call_with, send_frame};
use super::world::{World, down_track};
use crate::api::{AllocatorConfig, Command, EngineConfig, Event, Id, MediaKind};

/// The subscriber, its transport, its down track, and that one's retransmissions.
const AT: usize = 1;
const TRANSPORT: Id = 2;
const SSRC: u32 = 22;
const RTX: u32 = 100_022;

/// Whether the down track is paused, each time that was told.
fn pauses(world: &World) -> Vec<bool> {
    let states = world.events.iter().filter_map(|event| match event {
        Event::StreamStatesChanged { transport, states } if *transport == TRANSPORT => Some(states),
        _ => None,
    });
    let states = states.flatten().map(|&(down_track, paused)| {
        assert_eq!(down_track, Id::from(SSRC));
        paused
    });
    states.collect()
}

fn control(world: &mut World, capacity_bps: Option<u64>) {
    world.command(Command::SetCongestionControl {
        transport: TRANSPORT,
        allow_pause: true,
        capacity_bps,
    });
}

#[test]
fn a_track_for_which_there_is_no_room_is_paused_and_comes_back() {
    let mut world = call(1);
    send_frame(&mut world, 0, 100, 4, true);
    assert_eq!(pauses(&world), [false]);
    assert!(!world.stats().down_tracks[0].deficient);
    control(&mut world, Some(1));
    assert_eq!(pauses(&world), [false, true]);
    let stats = world.stats();
    assert_eq!(stats.transports[1].capacity_bps, 1.0);
    let [track] = &stats.down_tracks[..] else {
        panic!("{:?}", stats.down_tracks);
    };
    assert_eq!((track.allowed_spatial, track.deficient), (-1, true));
    send_frame(&mut world, 0, 104, 4, true);
    assert_eq!(world.clients[AT].sequences(SSRC).len(), 4);
    control(&mut world, None);
    send_frame(&mut world, 0, 108, 4, true);
    assert_eq!(world.clients[AT].sequences(SSRC).len(), 8);
    assert_eq!(pauses(&world), [false, true, false]);
    let stats = world.stats();
    assert_eq!(stats.transports[1].capacity_bps, -1.0);
    assert!(!stats.down_tracks[0].deficient);
}

#[test]
fn falling_estimates_pause_and_padding_brings_back() {
    pause_and_bring_back(call(1), RTX);
}

#[test]
fn without_rtx_padding_is_part_of_the_stream() {
    let mut world = call(0);
    world.connect(TRANSPORT);
    let mut create = down_track(Id::from(SSRC), TRANSPORT, 10, MediaKind::Video);
    create.rtx_ssrc = None;
    world.command(Command::CreateDownTrack(Box::new(create)));
    pause_and_bring_back(world, SSRC);
}

/// `padded`: the ssrc of padding.
fn pause_and_bring_back(mut world: World, padded: u32) {
    control(&mut world, None);
    let mut sequence = 100;
    let mut play = |world: &mut World, estimate: u64, key_frame: bool| {
        send_frame(world, 0, sequence, 6, key_frame);
        sequence += 6;
        world.clients[AT].send_rtcp(|writer| writer.remb(1, estimate, &[SSRC]));
        world.run(200 * MS);
    };
    for step in 0..14 {
        play(&mut world, 150_000 - step * 10_000, true);
    }
    assert_eq!(pauses(&world), [false, true]);
    let padding = |world: &World| {
        let rtp = world.clients[AT].rtp.iter();
        let padding = rtp.filter(|rtp| rtp.header.padding_len() > 0);
        let ssrcs = padding.map(|rtp| {
            assert!(rtp.payload().is_empty() && rtp.packet.len() > 255);
            rtp.header.ssrc
        });
        ssrcs.collect::<Vec<_>>()
    };
    assert_eq!(padding(&world), []);
    // The estimates fall no more, so that more is tried; they follow.
    for _ in 0..25 {
        play(&mut world, 21_000, false);
    }
    let padding = padding(&world);
    assert!(!padding.is_empty());
    assert!(padding.iter().all(|&ssrc| ssrc == padded));
    for _ in 0..60 {
        play(&mut world, 2_000_000, true);
    }
    assert_eq!(pauses(&world), [false, true, false]);
    assert_eq!(world.stats().transports[1].estimate_bps, 2_000_000.0);
}

#[test]
fn the_configuration_reaches_the_allocator_of_every_transport() {
    let config = EngineConfig {
        allocator: AllocatorConfig {
            min_capacity: 5_000_000,
            ..AllocatorConfig::default()
        },
        ..EngineConfig::default()
    };
    let mut world = call_with(config, 1);
    control(&mut world, None);
    for step in 0..14 {
        send_frame(&mut world, 0, 100 + 6 * step, 6, true);
        let estimate = 150_000 - u64::from(step) * 10_000;
        world.clients[AT].send_rtcp(|writer| writer.remb(1, estimate, &[SSRC]));
        world.run(200 * MS);
    }
    assert_eq!(pauses(&world), [false]);
    assert_eq!(world.stats().transports[1].capacity_bps, 5_000_000.0);
}
