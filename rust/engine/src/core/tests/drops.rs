//! Whatever is dropped is counted for the transport that it belongs to, and said the first time.

use rtp::header::HeaderFields;

use super::MS;
use super::media::{call, send_frame};
use super::world::{MID, OPUS, World, receiver};
use crate::api::{Command, Event, Id, MediaKind};

fn drops(world: &mut World, transport: Id) -> Vec<(&'static str, u64)> {
    let stats = world.stats();
    let found = stats.transports.iter().find(|t| t.transport == transport);
    found.unwrap().drops_by_reason.clone()
}

fn said(world: &World) -> Vec<(Id, &'static str)> {
    let said = world.events.iter().filter_map(|event| match event {
        Event::PacketsDropped { transport, reason } => Some((*transport, *reason)),
        _ => None,
    });
    said.collect()
}

fn send_stranger(world: &mut World, sequence: u16) {
    let fields = HeaderFields {
        marker: false,
        payload_type: OPUS,
        sequence,
        timestamp: 1,
        ssrc: 77,
        csrcs: &[],
    };
    world.clients[0].send_rtp(&fields, &[(MID, b"9")], &[1, 2, 3]);
    world.settle();
}

#[test]
fn garbage_is_counted_for_its_peer_and_said_once() {
    let mut world = call(1);
    let from = world.clients[0].address;
    for _ in 0..3 {
        world.give_core(from, &mut [0x80; 60]);
    }
    world.settle();
    assert_eq!(drops(&mut world, 1), [("srtp_invalid", 3)]);
    assert_eq!(drops(&mut world, 2), []);
    assert_eq!(said(&world), [(1, "srtp_invalid")]);
    assert_eq!(world.drops("srtp_invalid"), 3);
}

#[test]
fn what_a_stranger_sends_is_the_workers_only() {
    let mut world = call(1);
    world.give_core("10.9.9.9:9".parse().unwrap(), &mut [0x80; 60]);
    world.settle();
    assert_eq!(world.drops("unknown_source"), 1);
    for transport in [1, 2] {
        assert_eq!(drops(&mut world, transport), []);
    }
    // And is nobody's when the next is dropped for somebody.
    let from = world.clients[1].address;
    world.give_core(from, &mut [0x80; 60]);
    assert_eq!(drops(&mut world, 2), [("srtp_invalid", 1)]);
}

#[test]
fn packets_that_wait_in_vain_for_a_receiver_are_dropped() {
    let mut world = call(1);
    for sequence in 0..130 {
        send_stranger(&mut world, sequence);
    }
    assert_eq!(drops(&mut world, 1), [("no_receiver", 2)]);
    world.run(2100 * MS);
    send_stranger(&mut world, 130);
    assert_eq!(drops(&mut world, 1), [("no_receiver", 130)]);
    assert_eq!(said(&world), [(1, "no_receiver")]);
}

#[test]
fn packets_that_waited_for_a_receiver_that_refuses_them_are_their_senders() {
    let mut world = call(1);
    send_stranger(&mut world, 0);
    // Video takes no such payload type.
    let create = receiver(19, 1, "9", MediaKind::Video);
    world.command(Command::CreateReceiver(Box::new(create)));
    assert_eq!(said(&world), [(1, "unexpected_media")]);
    let from = world.clients[1].address;
    world.give_core(from, &mut [0x80; 60]);
    assert_eq!(drops(&mut world, 1), [("unexpected_media", 1)]);
    assert_eq!(drops(&mut world, 2), [("srtp_invalid", 1)]);
}

#[test]
fn a_normal_call_drops_repeats_without_a_word() {
    let mut world = call(1);
    send_frame(&mut world, 0, 100, 2, true);
    let fields = HeaderFields {
        marker: true,
        payload_type: super::world::VP8,
        sequence: 102,
        timestamp: 9000,
        ssrc: super::media::SSRC,
        csrcs: &[],
    };
    world.clients[0].send_rtp(&fields, &[(MID, b"0")], &super::media::vp8(false, 1000, 1));
    let mut packet = world.clients[0].outbox.back().unwrap().bytes.clone();
    world.settle();
    let from = world.clients[0].address;
    world.give_core(from, &mut packet);
    world.settle();
    assert_eq!(drops(&mut world, 1), [("srtp_replay", 1)]);
    assert_eq!(said(&world), []);
}
