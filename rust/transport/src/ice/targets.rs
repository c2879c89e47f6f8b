//! Where a check may be sent.
//!
//! A peer names addresses as it likes, and a check goes there with bytes that the peer chose in part:
//! without limits that is a port scanner inside the operator's network. So no check and no answer goes
//! to ourselves or where no peer can be.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::types::LocalCandidate;

/// Metadata services of cloud providers that are not link-local.
const METADATA: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254)),
];

/// What our own candidates allow.
#[derive(Debug)]
pub(super) struct Targets {
    own: Vec<SocketAddr>,
    /// We are meant to be reached from this machine.
    loopback: bool,
    /// We are on a network without routers.
    link_local: bool,
}

impl Targets {
    pub(super) fn new(candidates: &[LocalCandidate]) -> Self {
        let mut own: Vec<_> = candidates.iter().map(|c| canonical(c.addr)).collect();
        own.sort_unstable();
        own.dedup();
        Targets {
            loopback: own.iter().any(|addr| addr.ip().is_loopback()),
            link_local: own.iter().any(|addr| is_link_local(addr.ip())),
            own,
        }
    }

    /// Whether a check may be sent to an address because it was signalled. On this machine a peer is
    /// believed to be only if it is meant to be, or once its own check has come from there.
    pub(super) fn allow_signalled(&self, remote: SocketAddr) -> bool {
        let ip = canonical(remote).ip();
        self.allow(remote) && (self.loopback || self.own.iter().all(|own| own.ip() != ip))
    }

    /// Whether a peer can be at `remote`, so that it may be sent to.
    pub(super) fn allow(&self, remote: SocketAddr) -> bool {
        let remote = canonical(remote);
        let ip = remote.ip();
        remote.port() != 0
            && !self.own.contains(&remote)
            && !METADATA.contains(&ip)
            && (self.loopback || !ip.is_loopback())
            && !is_no_host(ip)
            && (!is_link_local(ip) || (self.link_local && !is_link_local_metadata(ip)))
    }
}

/// The address as the network sees it: an IPv4 address inside an IPv6 one (mapped, compatible,
/// RFC 6052 well-known prefix) is the IPv4 address.
fn canonical(addr: SocketAddr) -> SocketAddr {
    let IpAddr::V6(ip) = addr.ip() else {
        return addr;
    };
    let segments = ip.segments();
    let embeds = matches!(
        segments[..6],
        [0, 0, 0, 0, 0, 0 | 0xffff] | [0x64, 0xff9b, 0, 0, 0, 0]
    );
    // `::` and `::1` are themselves.
    if !embeds || (segments[5] == 0 && segments[0] == 0 && segments[6] == 0 && segments[7] < 2) {
        return addr;
    }
    let [.., a, b, c, d] = ip.octets();
    SocketAddr::new(Ipv4Addr::new(a, b, c, d).into(), addr.port())
}

/// Unspecified ("this network" as a whole), multicast, and reserved, of which broadcast is one
/// (RFC 6890).
fn is_no_host(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.octets()[0] == 0 || ip.octets()[0] >= 224,
        IpAddr::V6(ip) => ip.is_unspecified() || ip.is_multicast(),
    }
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

/// Addresses at which cloud providers serve metadata, credentials and time.
fn is_link_local_metadata(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V4(ip) if matches!(ip.octets()[2], 169 | 170))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Protocol;

    fn targets(own: &[&str]) -> Targets {
        let candidates = own.iter().map(|addr| LocalCandidate {
            addr: addr.parse().unwrap(),
            protocol: Protocol::Udp,
        });
        Targets::new(&candidates.collect::<Vec<_>>())
    }

    fn allowed(targets: &Targets, addr: &str) -> bool {
        targets.allow(addr.parse().unwrap())
    }

    /// Row T14: no check toward our own node or where no peer can be.
    #[test]
    fn no_check_goes_to_ourselves_or_nowhere() {
        let public = targets(&["192.0.2.1:7882", "[2001:db8::1]:7882"]);
        for addr in [
            "192.0.2.1:7882",
            "[::ffff:192.0.2.1]:7882",
            "[64:ff9b::c000:201]:7882",
            "[2001:db8::1]:7882",
            "198.51.100.1:0",
            "0.0.0.0:1",
            "0.0.0.1:1",
            "[::]:1",
            "[::ffff:0.0.0.0]:1",
            "224.0.0.1:9",
            "239.255.255.250:1900",
            "240.0.0.1:1",
            "255.255.255.255:1",
            "[ff02::1]:1",
            "[::ffff:224.0.0.1]:1",
            "127.0.0.1:6379",
            "127.8.8.8:6379",
            "[::1]:80",
            "[::ffff:127.0.0.1]:6379",
            "[::127.0.0.1]:6379",
            "[64:ff9b::7f00:1]:6379",
            "169.254.169.254:80",
            "169.254.1.2:5000",
            "[fe80::1]:5000",
            "[fd00:ec2::254]:80",
            "168.63.129.16:80",
        ] {
            assert!(!allowed(&public, addr), "{addr}");
        }
        for addr in [
            "192.0.2.1:50000",
            "198.51.100.1:7882",
            "10.0.0.1:9",
            "[2001:db8::2]:9",
            "[fd00::1]:9",
            "[64:ff9b::c633:6401]:9",
        ] {
            assert!(allowed(&public, addr), "{addr}");
        }
        // Who speaks from our own address may be answered; who is said to be there is not asked.
        let ours = "192.0.2.1:6379".parse().unwrap();
        assert!(public.allow(ours) && !public.allow_signalled(ours));
        let development = targets(&["192.0.2.1:7882", "127.0.0.1:7882"]);
        assert!(development.allow_signalled(ours));
    }

    #[test]
    fn loopback_and_link_local_are_for_those_who_are_there() {
        let local = targets(&["127.0.0.1:7882"]);
        assert!(allowed(&local, "127.0.0.1:6379") && allowed(&local, "[::1]:1"));
        assert!(!allowed(&local, "127.0.0.1:7882"));
        assert!(!allowed(&local, "169.254.1.2:1"));
        let cable = targets(&["169.254.3.3:7882"]);
        assert!(allowed(&cable, "169.254.1.2:1"));
        assert!(!allowed(&cable, "169.254.169.254:80"));
        assert!(!allowed(&cable, "169.254.170.2:80"));
        assert!(!allowed(&cable, "127.0.0.1:1"));
    }
}
