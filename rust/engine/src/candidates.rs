//! The candidates that peers are offered.

use std::net::IpAddr;

use crate::api::Candidate;

/// Type preference of host candidates (RFC 8445 5.1.2.2).
const HOST_UDP: u32 = 126;

/// The same over TCP, which is what remains when UDP does not pass (RFC 6544 4.2).
const HOST_TCP: u32 = 90;

/// Direction preference of passive candidates, and how many bits are below it (RFC 6544 4.2).
const PASSIVE: u32 = 4;
const DIRECTION_SHIFT: u32 = 13;

/// Candidates for `addresses`, best first: UDP on `udp_port`, then passive TCP on `tcp_port`.
pub(crate) fn host_candidates(
    addresses: &[IpAddr],
    udp_port: u16,
    tcp_port: Option<u16>,
) -> Vec<Candidate> {
    let udp = addresses.iter().enumerate().map(|(at, &address)| {
        let local_preference = 0xffff - at as u32;
        let priority = priority(HOST_UDP, local_preference);
        candidate(at + 1, "udp", priority, address, udp_port)
    });
    let tcp = addresses.iter().enumerate().flat_map(|(at, &address)| {
        let port = tcp_port?;
        let other_preference = (1 << DIRECTION_SHIFT) - 1 - at as u32;
        let priority = priority(HOST_TCP, PASSIVE << DIRECTION_SHIFT | other_preference);
        let foundation = addresses.len() + at + 1;
        Some(candidate(foundation, "tcp", priority, address, port))
    });
    udp.chain(tcp).collect()
}

/// RFC 8445 5.1.2.1, for component 1.
const fn priority(type_preference: u32, local_preference: u32) -> u32 {
    type_preference << 24 | local_preference << 8 | 255
}

fn candidate(
    foundation: usize,
    protocol: &str,
    priority: u32,
    address: IpAddr,
    port: u16,
) -> Candidate {
    Candidate {
        foundation: foundation.to_string(),
        component: 1,
        protocol: protocol.to_owned(),
        priority,
        address: address.to_string(),
        port,
        kind: "host".to_owned(),
        tcp_type: (protocol == "tcp").then(|| "passive".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priorities_fall_in_the_order_of_addresses_and_tcp_is_last() {
        let addresses = ["192.0.2.1", "2001:db8::1"].map(|text| text.parse().unwrap());
        let found = host_candidates(&addresses, 7882, Some(7881));
        let brief: Vec<_> = found
            .iter()
            .map(|c| {
                (
                    c.protocol.as_str(),
                    c.address.as_str(),
                    c.port,
                    c.tcp_type.as_deref(),
                )
            })
            .collect();
        assert_eq!(
            brief,
            [
                ("udp", "192.0.2.1", 7882, None),
                ("udp", "2001:db8::1", 7882, None),
                ("tcp", "192.0.2.1", 7881, Some("passive")),
                ("tcp", "2001:db8::1", 7881, Some("passive")),
            ]
        );
        assert!(found.is_sorted_by(|a, b| a.priority > b.priority));
        assert_eq!(found[0].priority, 2_130_706_431);
        let mut foundations: Vec<_> = found.iter().map(|c| &c.foundation).collect();
        foundations.dedup();
        assert_eq!(foundations.len(), 4);
    }

    #[test]
    fn without_a_tcp_port_there_is_no_tcp() {
        let found = host_candidates(&[IpAddr::from([127, 0, 0, 1])], 1, None);
        assert_eq!(found.len(), 1);
    }
}
