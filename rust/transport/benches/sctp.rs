//! What packets of hostile SCTP peers cost: CPU time of each, and its ratio to a packet of one message.
//!
//! `cargo bench -p lkpy-transport --features raw-sctp --bench sctp [-- part of a name]`

use lkpy_transport::attacks::{attacks, cost_of, ordinary, withholders};

const PACKETS: u32 = 20_000;

fn main() {
    let wanted = std::env::args().skip(1).find(|arg| !arg.starts_with('-'));
    let usual = cost_of(ordinary(), PACKETS).per_packet.as_secs_f64() * 1e6;
    println!("{:40} {usual:6.1} us", "one message of 1,100 bytes");
    for (name, attack) in attacks().into_iter().chain(withholders()) {
        if wanted.as_ref().is_some_and(|wanted| !name.contains(wanted)) {
            continue;
        }
        let cost = cost_of(attack, PACKETS);
        let us = cost.per_packet.as_secs_f64() * 1e6;
        println!("{name:40} {us:6.1} us {:6.1} x", us / usual);
    }
}
