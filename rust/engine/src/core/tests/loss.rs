use std::cell::Cell;
use std::rc::Rc;

use rtp::header::HeaderFields;
use rtp::rtcp::Packet;

use super::MS;
use super::media::{SSRC, call, send_frame, vp8};
use super::world::{MID, RTX, VP8, World};

fn nacked(world: &World, at: usize) -> Vec<u16> {
    let nacks = world.clients[at].rtcp_of(|packet| match packet {
        Packet::Nack(nack) if nack.media_ssrc == SSRC => Some(nack.sequences().collect::<Vec<_>>()),
        _ => None,
    });
    nacks.concat()
}

#[test]
fn what_the_publisher_lost_is_asked_for_and_forwarded() {
    let mut world = call(1);
    send_frame(&mut world, 0, 100, 4, true);
    // The second packet of the next frame is lost.
    let count = Rc::new(Cell::new(0));
    let counted = Rc::clone(&count);
    world.loss = Some(Box::new(move |datagram| {
        let is_media = datagram.from.port() == 1 && datagram.bytes.len() > 900;
        counted.set(counted.get() + u32::from(is_media));
        is_media && counted.get() == 2
    }));
    send_frame(&mut world, 0, 104, 4, false);
    assert_eq!(world.clients[1].rtp.len(), 7);
    world.run(60 * MS);
    let asked = nacked(&world, 0);
    assert!(
        !asked.is_empty() && asked.iter().all(|&sequence| sequence == 105),
        "{asked:?}"
    );

    let mut payload = 105u16.to_be_bytes().to_vec();
    let mut media = vp8(false, 1000, 105);
    media[0] = 0;
    payload.extend(media);
    let fields = HeaderFields {
        marker: false,
        payload_type: RTX,
        sequence: 9,
        timestamp: 104 * 3000,
        ssrc: SSRC + 1,
        csrcs: &[],
    };
    world.clients[0].send_rtp(&fields, &[(MID, b"0")], &payload);
    world.settle();
    let client = &world.clients[1];
    assert_eq!(client.rtp.len(), 8);
    let recovered = client.rtp.last().unwrap();
    assert_eq!(recovered.payload().last(), Some(&105));
    let mut sequences = client.sequences(22);
    sequences.sort_unstable();
    assert!(
        sequences.windows(2).all(|pair| pair[1] == pair[0] + 1),
        "{sequences:?}"
    );
    assert_eq!(world.stats().layers[0].packets_recovered, 1);
}

#[test]
fn what_a_subscriber_lost_is_sent_again_as_rtx() {
    let mut world = call(2);
    send_frame(&mut world, 0, 100, 4, true);
    world.run(200 * MS);
    let lost = world.clients[1].sequences(22)[2];
    world.clients[1].send_rtcp(|writer| {
        writer.receiver_report(1, &[]);
        writer.nack(1, 22, [lost]);
    });
    world.settle();
    let client = &world.clients[1];
    let again = client.rtp.last().unwrap();
    assert_eq!(
        (again.header.ssrc, again.header.payload_type),
        (100_022, RTX)
    );
    assert_eq!(again.payload()[..2], lost.to_be_bytes());
    assert_eq!(again.payload()[2..], *client.rtp[2].payload());
    assert_eq!(world.clients[2].rtp.len(), 4);
    let stats = world.stats();
    let transport = stats
        .transports
        .iter()
        .find(|stats| stats.transport == 2)
        .unwrap();
    assert_eq!(transport.retransmissions_sent, 1);
    let down_track = stats
        .down_tracks
        .iter()
        .find(|stats| stats.down_track == 22)
        .unwrap();
    assert_eq!((down_track.nacks_received, down_track.packets), (1, 4));
}

#[test]
fn replayed_packets_are_counted_and_not_forwarded() {
    let mut world = call(1);
    let captured = Rc::new(std::cell::RefCell::new(Vec::new()));
    let capture = Rc::clone(&captured);
    world.loss = Some(Box::new(move |datagram| {
        if datagram.from.port() == 1 && datagram.bytes.len() > 900 {
            capture.borrow_mut().push(datagram.bytes.clone());
        }
        false
    }));
    send_frame(&mut world, 0, 100, 4, true);
    let from = world.clients[0].address;
    let replayed = captured.borrow().clone();
    for mut bytes in replayed {
        world.give_core(from, &mut bytes);
    }
    send_frame(&mut world, 0, 104, 2, false);
    assert_eq!(world.clients[1].rtp.len(), 6);
    assert_eq!(world.drops("srtp_replay"), 4);
    let stats = world.stats();
    assert_eq!(
        stats
            .transports
            .iter()
            .map(|stats| stats.srtp_errors)
            .sum::<u64>(),
        4
    );
    let connection = world.core.connections.find(1).unwrap();
    let connection = world.core.connections.get(connection).unwrap();
    assert_eq!(connection.twcc.as_ref().unwrap().duplicates(), 4);
}

#[test]
fn media_of_another_payload_type_is_refused() {
    let mut world = call(1);
    send_frame(&mut world, 0, 100, 1, true);
    let fields = HeaderFields {
        marker: false,
        payload_type: VP8 + 20,
        sequence: 101,
        timestamp: 0,
        ssrc: SSRC,
        csrcs: &[],
    };
    world.clients[0].send_rtp(&fields, &[(MID, b"0")], &[1; 100]);
    world.settle();
    assert_eq!(world.clients[1].rtp.len(), 1);
    assert_eq!(world.drops("unexpected_media"), 1);
}
