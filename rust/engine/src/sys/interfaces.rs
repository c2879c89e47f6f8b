//! The addresses of this machine's interfaces.

use std::io;
use std::net::IpAddr;
use std::ptr;

use super::sockaddr;

/// Unicast addresses of the interfaces that are up, in the system's order, loopback last. IPv6
/// link-local ones are left out: they mean nothing without an interface, which candidates cannot
/// name.
pub(crate) fn addresses() -> io::Result<Vec<IpAddr>> {
    let mut list: *mut libc::ifaddrs = ptr::null_mut();
    // SAFETY: `list` is a valid place for the result.
    if unsafe { libc::getifaddrs(&raw mut list) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let mut found = Vec::new();
    let mut entry = list;
    // SAFETY: getifaddrs succeeded, so the list is linked and ends with null, and every address in
    // it is null or as long as its family says.
    while let Some(interface) = unsafe { entry.as_ref() } {
        entry = interface.ifa_next;
        let is_up = interface.ifa_flags & libc::IFF_UP as u32 != 0;
        // SAFETY: as above.
        let address = unsafe { sockaddr::read_raw(interface.ifa_addr) };
        if let Some(address) = address
            && is_up
            && is_usable(address.ip())
            && !found.contains(&address.ip())
        {
            found.push(address.ip());
        }
    }
    // SAFETY: `list` came from getifaddrs and is freed once.
    unsafe { libc::freeifaddrs(list) };
    found.sort_by_key(IpAddr::is_loopback);
    Ok(found)
}

fn is_usable(address: IpAddr) -> bool {
    let is_link_local = match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    !(is_link_local || address.is_multicast() || address.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_loopback_once_and_nothing_unusable() {
        let found = addresses().unwrap();
        let loopback = IpAddr::from([127, 0, 0, 1]);
        assert_eq!(found.iter().filter(|&&a| a == loopback).count(), 1);
        assert!(found.iter().all(|&address| is_usable(address)));
        assert!(found.is_sorted_by_key(IpAddr::is_loopback));
    }
}
