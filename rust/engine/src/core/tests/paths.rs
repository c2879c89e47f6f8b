//! Which addresses are a transport's, and what is said of what comes from others.

use std::net::SocketAddr;
use std::time::Duration;

use super::MS;
use super::client::Client;
use super::media::{call, send_frame};
use super::world::{IDENTITY, SERVER, World, server_ice};
use crate::api::{Command, Event};
use crate::core::connection::MAX_TUPLES;

const S: Duration = Duration::from_secs(1);

fn stranger(port: u16) -> SocketAddr {
    SocketAddr::from(([10, 9, 9, 9], port))
}

/// The address that a transport sends to.
fn remote(world: &World, id: u64) -> Option<String> {
    world.events.iter().rev().find_map(|event| match event {
        Event::IceStateChanged {
            transport, remote, ..
        } if *transport == id => Some(remote.clone()),
        _ => None,
    })
}

/// The next check that a client makes by itself.
fn next_check(world: &mut World, at: usize) -> Vec<u8> {
    world.clients[at].outbox.clear();
    loop {
        let client = &mut world.clients[at];
        world.now = client.transport.next_timeout().unwrap().max(world.now);
        client.transport.handle_timeout(world.now);
        client.collect();
        let outbox = std::mem::take(&mut client.outbox);
        let is_check = |bytes: &[u8]| bytes[..2] == [0, 1];
        if let Some(check) = outbox.into_iter().find(|d| is_check(&d.bytes)) {
            return check.bytes;
        }
    }
}

#[test]
fn media_from_an_address_that_is_not_checked_any_more_is_forwarded_for_ten_minutes() {
    let mut world = call(1);
    let home = world.clients[0].address;
    world.alias = Some((home, stranger(1)));
    for sequence in 100..700 {
        send_frame(&mut world, 0, sequence, 1, sequence == 100);
        world.run(S);
    }
    assert_eq!(remote(&world, 1), Some(stranger(1).to_string()));
    assert_eq!(world.clients[1].rtp.len(), 600);
    for reason in ["unknown_source", "unvalidated_source", "expired_source"] {
        assert_eq!(world.drops(reason), 0, "{reason}");
    }
}

#[test]
fn media_on_a_path_that_was_silent_for_too_long_is_dropped_and_counted() {
    let mut world = call(1);
    let home = world.clients[0].address;
    send_frame(&mut world, 0, 100, 1, true);
    world.alias = Some((home, stranger(1)));
    // Nothing comes from home now: the client sends no media and no reports.
    world.run(35 * S);
    send_frame(&mut world, 0, 101, 3, false);
    assert_eq!(world.clients[1].rtp.len(), 1);
    assert_eq!(world.drops("expired_source"), 3);
    // A check makes it valid again.
    world.alias = None;
    world.run(6 * S);
    send_frame(&mut world, 0, 104, 3, false);
    assert_eq!(world.clients[1].rtp.len(), 4);
}

#[test]
fn a_copied_check_makes_no_state() {
    let mut world = call(1);
    let check = next_check(&mut world, 0);
    let from = world.clients[0].address;
    world.give_core(from, &mut check.clone());
    let tuples = world.core.tuples.len();
    for port in 1..=100 {
        world.give_core(stranger(port), &mut check.clone());
        world.give_core(stranger(port), &mut [22, 254, 253, 0]);
    }
    world.settle();
    assert_eq!(world.core.tuples.len(), tuples);
    assert_eq!(world.drops("stun_repeated"), 100);
    assert_eq!(world.drops("unknown_source"), 100);
}

#[test]
fn an_address_on_which_a_peer_is_received_is_not_given_away() {
    let mut world = call(1);
    send_frame(&mut world, 0, 100, 1, true);
    let check = next_check(&mut world, 1);
    let publisher = world.clients[0].address;
    world.give_core(publisher, &mut check.clone());
    assert_eq!(world.drops("source_taken"), 1);
    let mut damaged = check;
    damaged[30] ^= 1;
    world.give_core(publisher, &mut damaged);
    assert_eq!(world.drops("source_taken"), 1);
    send_frame(&mut world, 0, 101, 1, false);
    assert_eq!(world.clients[1].rtp.len(), 2);
}

/// A participant may check from as many addresses as it likes.
#[test]
fn the_addresses_of_a_transport_are_bounded() {
    let mut world = call(1);
    send_frame(&mut world, 0, 100, 1, true);
    let before = world.core.tuples.len();
    for port in 1..=500 {
        let mut client = Client::new(world.now, 1);
        client.set_remote(world.now, &server_ice(1), IDENTITY.fingerprint());
        let mut check = client.outbox.pop_front().unwrap();
        assert_eq!(check.to, SERVER);
        world.give_core(stranger(port), &mut check.bytes);
        assert!(world.core.tuples.len() <= before + MAX_TUPLES);
    }
    send_frame(&mut world, 0, 101, 1, false);
    assert_eq!(world.clients[1].rtp.len(), 2);
    world.command(Command::CloseTransport { transport: 1 });
    world.command(Command::CloseTransport { transport: 2 });
    assert!(world.core.tuples.is_empty());
}

#[test]
fn nothing_is_left_of_the_ufrags_of_a_transport_that_restarted() {
    let mut world = World::new();
    world.connect(1);
    world.connect(2);
    for round in 0..3 {
        let ice = crate::api::IceParameters {
            ufrag: format!("round{round}"),
            pwd: "another-password-of-22".into(),
        };
        world.command(Command::RestartIce { transport: 1, ice });
        world.run(100 * MS);
    }
    assert!(world.core.ufrags.len() <= 3);
    world.command(Command::CloseTransport { transport: 1 });
    let left: Vec<_> = world.core.ufrags.keys().cloned().collect();
    assert_eq!(left, [server_ice(2).ufrag]);
}
