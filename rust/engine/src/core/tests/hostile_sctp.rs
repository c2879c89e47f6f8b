use std::time::Duration;

use transport::raw::{BEGINS, ENDS, UNORDERED, data};

use super::media::{call, send_frame};

/// CPU time of this thread.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = stat.split(' ').next().and_then(|first| first.parse().ok());
    Duration::from_nanos(nanoseconds.unwrap_or_default())
}

/// Rows T11 and T15: a worker forwards for the others while a participant sends what would cost an
/// association most, and it costs the worker little more than as many packets of anything else.
#[test]
fn a_peer_with_hostile_sctp_costs_what_its_packets_are_worth() {
    let mut world = call(1);
    let attacker = world.connect(9);
    let options = transport::ChannelOptions {
        label: "c".into(),
        protocol: String::new(),
        ordered: true,
        max_retransmits: None,
        negotiated: None,
    };
    let now = world.now;
    world.clients[attacker]
        .transport
        .open_channel(now, options)
        .unwrap();
    world.run(super::MS * 500);
    let (header, next) = world.clients[attacker].transport.raw_sctp().unwrap();
    let from = world.clients[attacker].address;
    let cost = |world: &mut super::world::World, make: &dyn Fn(u32) -> Vec<u8>| {
        let mut sealed = Vec::new();
        for round in 0..2_000 {
            let now = world.now;
            let packet = transport::raw::packet(&header, &make(round));
            world.clients[attacker]
                .transport
                .send_raw_sctp(now, &packet);
            while let Some(transmit) = world.clients[attacker].transport.poll_transmit() {
                sealed.push(transmit.bytes);
            }
        }
        let before = cpu();
        for bytes in &mut sealed {
            world.give_core(from, bytes);
        }
        cpu() - before
    };
    let duplicates = |_| data(BEGINS | ENDS, next.wrapping_sub(1), 0, 0, &[7; 1_000]);
    let usual = cost(&mut world, &duplicates);
    let hostile = cost(&mut world, &|round| {
        let first = next.wrapping_add(1 + 54 * round);
        let small = |n| data(BEGINS | ENDS | UNORDERED, first.wrapping_add(n), 0, 0, b"x");
        (0..54).flat_map(small).collect()
    });
    assert!(
        hostile < 8 * usual + Duration::from_millis(40),
        "{hostile:?} {usual:?}"
    );
    send_frame(&mut world, 0, 100, 4, true);
    assert_eq!(world.clients[1].rtp.len(), 4);
    assert!(world.drops("sctp_refused") > 0);
    assert_eq!(world.stats().worker.panics, 0);
}
