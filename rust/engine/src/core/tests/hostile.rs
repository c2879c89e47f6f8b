use std::net::SocketAddr;

use super::MS;
use super::media::{call, send_frame};
use super::world::{World, down_track};
use crate::api::{Command, Event, MediaKind};
use crate::core::guard::Point;

fn closed(world: &World) -> Vec<(u64, String)> {
    let closed = world.events.iter().filter_map(|event| match event {
        Event::TransportClosed { transport, reason } => Some((*transport, reason.clone())),
        _ => None,
    });
    closed.collect()
}

#[test]
fn strangers_make_no_state_and_get_no_answer() {
    let mut world = World::new();
    world.add_client(1, true);
    world.clients.clear();
    world.take_runs();
    let stranger: SocketAddr = "10.9.9.9:9".parse().unwrap();
    let tuples = world.core.tuples.len();
    let mut sent = 0;
    for first in 0..=255u8 {
        for len in [1, 2, 12, 20, 60] {
            let mut bytes = vec![first; len];
            if len >= 20 {
                bytes[4..8].copy_from_slice(&[0x21, 0x12, 0xA4, 0x42]);
            }
            world.give_core(stranger, &mut bytes);
            sent += 1;
        }
    }
    world.settle();
    assert_eq!(world.core.tuples.len(), tuples);
    assert_eq!(world.take_runs(), []);
    assert_eq!(world.stats().worker.datagrams_dropped, sent);
    assert!(world.drops("unknown_source") > 0 && world.drops("stun_refused") > 0);
}

#[test]
fn a_check_with_the_wrong_password_is_refused() {
    let mut world = World::new();
    let at = world.add_client(1, true);
    world.clients[at].outbox.clear();
    let mut ice = super::world::server_ice(1);
    ice.pwd.push('x');
    let fingerprint = super::world::IDENTITY.fingerprint();
    world.clients[at].set_remote(world.now, &ice, fingerprint);
    world.run(2000 * MS);
    assert!(!world.is_connected(1) && world.core.tuples.is_empty());
    assert!(world.drops("stun_refused") > 0);
}

#[test]
fn handshakes_from_elsewhere_do_not_reach_dtls() {
    let mut world = World::new();
    world.add_client(1, true);
    let elsewhere: SocketAddr = "10.0.0.2:999".parse().unwrap();
    for _ in 0..100 {
        let mut hello = vec![22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 30, 1, 0, 0, 30];
        hello.resize(60, 7);
        world.give_core(elsewhere, &mut hello);
    }
    world.run_until(5000 * MS, |world| world.is_connected(1));
    assert_eq!(world.drops("unknown_source"), 100);
}

#[test]
fn garbage_from_a_peer_costs_only_itself() {
    let mut world = call(1);
    send_frame(&mut world, 0, 100, 2, true);
    let from = world.clients[0].address;
    for first in 0..=255u8 {
        for second in [0u8, 96, 200, 205, 255] {
            for len in [1usize, 2, 3, 8, 12, 13, 28, 100, 1500] {
                let mut bytes = vec![0xa5; len];
                bytes[0] = first;
                if len > 1 {
                    bytes[1] = second;
                }
                world.give_core(from, &mut bytes);
            }
        }
    }
    send_frame(&mut world, 0, 102, 2, false);
    assert_eq!(world.clients[1].rtp.len(), 4);
    assert!(world.drops("srtp_invalid") > 0);
    assert_eq!(world.stats().worker.panics, 0);
}

#[test]
fn a_panic_of_a_publisher_closes_only_it() {
    let mut world = call(2);
    send_frame(&mut world, 0, 100, 2, true);
    world.core.panic_at = Some(Point::Transport(1));
    send_frame(&mut world, 0, 102, 2, false);
    assert_eq!(closed(&world), [(1, "panic".to_owned())]);
    assert_eq!(world.stats().worker.panics, 1);
    assert_eq!(world.stats().worker.transports, 2);
    // The others go on.
    world.connect(9);
    world.run(5000 * MS);
    assert!(world.is_connected(2) && world.is_connected(3) && world.is_connected(9));
}

#[test]
fn a_panic_of_a_subscriber_closes_only_it() {
    let mut world = call(3);
    send_frame(&mut world, 0, 100, 2, true);
    world.core.panic_at = Some(Point::Transport(3));
    send_frame(&mut world, 0, 102, 2, false);
    send_frame(&mut world, 0, 104, 2, false);
    assert_eq!(closed(&world), [(3, "panic".to_owned())]);
    let received: Vec<_> = [1, 2, 3].map(|at| world.clients[at].rtp.len()).into();
    assert_eq!(received, [6, 2, 6]);
    world.command(Command::CloseTransport { transport: 3 });
    assert_eq!(world.core.subscriptions.len(), 2);
}

#[test]
fn ssrcs_of_a_transport_are_not_given_twice() {
    let mut world = call(1);
    let again = down_track(30, 2, 10, MediaKind::Video);
    let again = crate::api::CreateDownTrack { ssrc: 22, ..again };
    world.command(Command::CreateDownTrack(Box::new(again)));
    assert!(matches!(
        world.events.last(),
        Some(Event::CommandFailed { subject: 30, .. })
    ));
}
