//! Feedback as small receivers write it.

use rtp::rtcp::Packet;

use super::MS;
use super::media::{SSRC, call, send_frame};
use super::world::World;

/// A call of one subscriber that has received a key frame and more.
fn running() -> World {
    let mut world = call(1);
    for frame in 0..40 {
        send_frame(&mut world, 0, 100 + 2 * frame, 2, frame == 0);
        world.run(33 * MS);
    }
    world
}

fn plis(world: &World) -> usize {
    let plis = world.clients[0].rtcp_of(|packet| match packet {
        Packet::Pli { media_ssrc, .. } => Some(*media_ssrc),
        _ => None,
    });
    assert!(plis.iter().all(|&ssrc| ssrc == SSRC));
    plis.len()
}

#[test]
fn a_request_for_a_picture_that_names_no_stream_means_all() {
    let mut world = running();
    let before = plis(&world);
    world.clients[1].send_rtcp(|writer| writer.pli(1, 0));
    world.run(100 * MS);
    assert_eq!(plis(&world), before + 1);
    // And no more often than is bearable.
    world.run(1000 * MS);
    let asked = plis(&world);
    for _ in 0..50 {
        world.clients[1].send_rtcp(|writer| (0..50).for_each(|_| writer.pli(1, 0)));
        world.run(10 * MS);
    }
    assert!((asked..asked + 3).contains(&plis(&world)));
}

#[test]
fn a_request_for_somebody_elses_picture_means_nothing() {
    let mut world = running();
    let before = plis(&world);
    world.clients[1].send_rtcp(|writer| writer.pli(1, 987));
    world.run(100 * MS);
    assert_eq!(plis(&world), before);
}

#[test]
fn a_full_intra_request_without_an_entry_means_its_media_ssrc() {
    for media_ssrc in [22u32, 0] {
        let mut world = running();
        let before = plis(&world);
        let mut fir = vec![0x84, 206, 0, 2, 0, 0, 0, 1];
        fir.extend(media_ssrc.to_be_bytes());
        world.clients[1].send_rtcp_bytes(fir);
        world.run(100 * MS);
        assert_eq!(plis(&world), before + 1, "{media_ssrc}");
    }
}

#[test]
fn an_estimate_that_names_no_stream_is_for_all() {
    let mut world = running();
    world.clients[1].send_rtcp(|writer| writer.remb(1, 123_000, &[]));
    world.run(100 * MS);
    let stats = world.stats();
    let told = stats.transports.iter().find(|stats| stats.transport == 2);
    assert_eq!(told.map(|stats| stats.estimate_bps), Some(123_000.0));
}
