use std::time::Duration;

use rtp::rtcp::{Packet, SenderInfo};

use super::MS;
use super::media::{SSRC, call, send_frame};
use super::world::World;
use crate::api::Command;

fn sender_report(world: &mut World, ntp: u64, rtp_timestamp: u32) {
    let info = SenderInfo {
        ntp,
        rtp_timestamp,
        packet_count: 4,
        octet_count: 4000,
    };
    world.clients[0].send_rtcp(|writer| {
        writer.sender_report(SSRC, &info, &[]);
        writer.sdes_cname(SSRC, "publisher");
    });
    world.settle();
}

fn sender_reports(world: &World, at: usize) -> Vec<(u32, SenderInfo)> {
    world.clients[at].rtcp_of(|packet| match packet {
        Packet::SenderReport { ssrc, info, .. } => Some((*ssrc, *info)),
        _ => None,
    })
}

fn byes(world: &World, at: usize) -> Vec<u32> {
    let byes = world.clients[at].rtcp_of(|packet| match packet {
        Packet::Bye(bye) => Some(bye.ssrcs.iter().collect::<Vec<_>>()),
        _ => None,
    });
    byes.concat()
}

#[test]
fn subscribers_get_the_publishers_clock_soon_and_then_regularly() {
    let mut world = call(1);
    send_frame(&mut world, 0, 100, 4, true);
    world.run(1000 * MS);
    assert_eq!(sender_reports(&world, 1), []);
    let ntp = 5_000 << 32;
    sender_report(&mut world, ntp, 300_000);
    world.run(150 * MS);
    let reports = sender_reports(&world, 1);
    assert_eq!(reports.len(), 1);
    let (ssrc, info) = reports[0];
    assert_eq!((ssrc, info.packet_count), (22, 4));
    // 100 ms later on the publisher's clock.
    let later = Duration::from_millis(100).as_secs_f64();
    assert!(((info.ntp - ntp) as f64 / 2f64.powi(32) - later).abs() < 0.002);
    let cnames = world.clients[1].rtcp_of(|packet| match packet {
        Packet::Sdes(sdes) => sdes
            .chunks()
            .flat_map(|chunk| {
                chunk
                    .items()
                    .map(|(_, value)| value.to_vec())
                    .collect::<Vec<_>>()
            })
            .next(),
        _ => None,
    });
    assert_eq!(cnames, [b"cname-22".to_vec()]);
    for frame in 0..7u16 {
        send_frame(&mut world, 0, 104 + frame, 1, false);
        world.run(1000 * MS);
    }
    assert_eq!(sender_reports(&world, 1).len(), 3);
}

#[test]
fn the_publisher_gets_reports_and_congestion_feedback() {
    let mut world = call(1);
    send_frame(&mut world, 0, 100, 4, true);
    world.run(110 * MS);
    let received = world.clients[0].rtcp_of(|packet| match packet {
        Packet::TransportCc(feedback) => Some(
            feedback
                .statuses()
                .map(|status| status.sequence)
                .collect::<Vec<_>>(),
        ),
        _ => None,
    });
    assert_eq!(received, [[100, 101, 102, 103]]);
    world.run(2000 * MS);
    let highest = world.clients[0].rtcp_of(|packet| match packet {
        Packet::ReceiverReport { reports, .. } => reports
            .iter()
            .find(|block| block.ssrc == SSRC)
            .map(|block| block.highest_sequence),
        _ => None,
    });
    assert!(
        (1..=2).contains(&highest.len()) && highest[0] as u16 == 103,
        "{highest:?}"
    );
    // Every compound packet begins with a report (RFC 3550 6.1).
    assert!(
        world.clients[0]
            .rtcp
            .iter()
            .all(|bytes| matches!(bytes[1], 200 | 201))
    );
}

#[test]
fn what_subscribers_report_is_in_the_statistics() {
    let mut world = call(1);
    send_frame(&mut world, 0, 100, 4, true);
    let block = rtp::rtcp::ReportBlock {
        ssrc: 22,
        fraction_lost: 64,
        cumulative_lost: 3,
        jitter: 900,
        ..Default::default()
    };
    world.clients[1].send_rtcp(|writer| writer.receiver_report(1, &[block]));
    world.settle();
    let stats = world.stats().down_tracks.remove(0);
    assert_eq!((stats.packets_lost, stats.fraction_lost), (3, 0.25));
    assert!((stats.jitter_ms - 10.0).abs() < 0.1);
}

#[test]
fn goodbyes_are_said_at_the_end_and_not_of_a_section_that_stays() {
    let mut world = call(2);
    send_frame(&mut world, 0, 100, 4, true);
    world.command(Command::CloseDownTrack { down_track: 22 });
    assert!(byes(&world, 1).is_empty());
    world.command(Command::CloseTransport { transport: 3 });
    assert_eq!(byes(&world, 2), [23, 100_023]);
    send_frame(&mut world, 0, 104, 1, true);
    assert_eq!(world.clients[1].rtp.len() + world.clients[2].rtp.len(), 8);
}
