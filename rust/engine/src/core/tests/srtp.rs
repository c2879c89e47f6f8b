//! What is believed of SRTP, and for how long a connection may go on publishing.

use rtp::header::{HeaderFields, write_header};
use rtp::rtcp::Packet;

use super::MS;
use super::media::{SSRC, call, send_frame};
use super::world::{MID, OPUS, TRANSPORT_CC, VP8, World, receiver};
use crate::api::{Command, MediaKind};

/// A packet of the published video that nobody sealed.
fn forged(sequence: u16, transport_sequence: u16) -> Vec<u8> {
    let mut packet = vec![0; 200];
    let fields = HeaderFields {
        marker: false,
        payload_type: VP8,
        sequence,
        timestamp: 1,
        ssrc: SSRC,
        csrcs: &[],
    };
    let number = transport_sequence.to_be_bytes();
    let extensions: [(u8, &[u8]); 2] = [(MID, b"0"), (TRANSPORT_CC, &number)];
    let len = write_header(&mut packet, &fields, extensions.iter().copied()).unwrap();
    packet.truncate(len + 40);
    packet
}

/// Packets that feedback reported to the publisher since the last call: received and missing.
fn feedback(world: &mut World) -> (usize, usize) {
    world.run(200 * MS);
    let packets = std::mem::take(&mut world.clients[0].rtcp);
    let (mut received, mut missing) = (0, 0);
    for packet in packets.iter().flat_map(|bytes| rtp::rtcp::parse(bytes)) {
        if let Ok(Packet::TransportCc(feedback)) = packet {
            for status in feedback.statuses() {
                match status.arrival {
                    Some(_) => received += 1,
                    None => missing += 1,
                }
            }
        }
    }
    (received, missing)
}

/// Row T4: whoever can spoof an address does not choose what a publisher is told of its path.
#[test]
fn forged_packets_are_reported_to_nobody() {
    let mut world = call(1);
    send_frame(&mut world, 0, 100, 4, true);
    assert_eq!(feedback(&mut world), (4, 0));
    let from = world.clients[0].address;
    let received = world.stats().transports[0].packets_received;
    // An old sequence number, and one that is to come.
    for sequence in [101, 104] {
        world.give_core(from, &mut forged(sequence, 9_000));
    }
    assert_eq!(feedback(&mut world), (0, 0));
    assert_eq!(
        (world.drops("srtp_invalid"), world.drops("srtp_replay")),
        (2, 0)
    );
    assert_eq!(world.stats().transports[0].packets_received, received);
    send_frame(&mut world, 0, 104, 8, false);
    assert_eq!(feedback(&mut world), (8, 0));
}

/// Row T10: nothing is forwarded, or counted as received, before there are keys.
#[test]
fn media_before_keys_is_dropped() {
    let mut world = World::new();
    world.add_client(1, true);
    world.loss = Some(Box::new(|datagram| (20..64).contains(&datagram.bytes[0])));
    world.run(1_000 * MS);
    let received = world.stats().transports[0].packets_received;
    assert!(received > 0, "the address is validated");
    let from = world.clients[0].address;
    for mut packet in [forged(1, 1), vec![0x80, 201, 0, 1, 0, 0, 0, 1]] {
        world.give_core(from, &mut packet);
    }
    assert_eq!(world.drops("no_keys"), 2);
    assert_eq!(world.stats().transports[0].packets_received, received);
}

/// A robot that publishes on demand may do so for months on one connection.
#[test]
fn the_ten_thousandth_publication_is_heard_as_the_first() {
    let mut world = World::new();
    world.connect(1);
    for id in 0..10_000 {
        let create = receiver(id, 1, "0", MediaKind::Audio);
        world.command(Command::CreateReceiver(Box::new(create)));
        let fields = HeaderFields {
            marker: true,
            payload_type: OPUS,
            sequence: 1,
            timestamp: 1,
            ssrc: 5_000_000 + id as u32,
            csrcs: &[],
        };
        world.clients[0].send_rtp(&fields, &[(MID, b"0")], &[1; 40]);
        world.settle();
        if [0, 1_024, 9_999].contains(&id) {
            let layers = world.stats().layers;
            let heard: Vec<_> = layers.iter().map(|at| (at.receiver, at.packets)).collect();
            assert_eq!(heard, [(id, 1)]);
        }
        world.command(Command::CloseReceiver { receiver: id });
        world.events.clear();
    }
    assert_eq!(
        world.drops("srtp_too_many_streams") + world.drops("no_receiver"),
        0
    );
}
