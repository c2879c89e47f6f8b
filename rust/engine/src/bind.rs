//! Opening the sockets of the workers.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use crate::api::{Code, EngineError};
use crate::sys::interfaces;
use crate::sys::socket::{self, Offload};

/// Tries to find one free port for all addresses.
const PORT_TRIES: usize = 16;

/// A socket bound to one address.
#[derive(Debug)]
pub(crate) struct BoundUdp {
    pub(crate) socket: UdpSocket,
    pub(crate) address: SocketAddr,
    pub(crate) offload: Offload,
}

/// `addresses` with a wildcard replaced by the addresses of its family that are up, loopback last.
/// Each gets a socket of its own, so that packets leave from where the peer sent theirs to.
pub(crate) fn expand(addresses: &[IpAddr]) -> Result<Vec<IpAddr>, EngineError> {
    let mut expanded = Vec::new();
    for &address in addresses {
        let found = if address.is_unspecified() {
            let mut found = interfaces::addresses().map_err(|error| {
                let message = format!("cannot list this machine's addresses: {error}");
                EngineError::new(Code::Unavailable, message)
            })?;
            found.retain(|found| found.is_ipv4() == address.is_ipv4());
            found
        } else {
            vec![address]
        };
        for address in found {
            if !expanded.contains(&address) {
                expanded.push(address);
            }
        }
    }
    if expanded.is_empty() {
        let message = "no address to bind: name one, or a wildcard with an interface that is up";
        return Err(EngineError::new(Code::InvalidArgument, message));
    }
    Ok(expanded)
}

/// Binds one port on every address; 0 stands for any that is free on all of them.
pub(crate) fn bind_udp(addresses: &[IpAddr], port: u16) -> Result<Vec<BoundUdp>, EngineError> {
    let mut tries = if port == 0 { PORT_TRIES } else { 1 };
    loop {
        tries -= 1;
        match bind_all(addresses, port) {
            Ok(sockets) => return Ok(sockets),
            Err((_, error)) if tries > 0 && error.kind() == io::ErrorKind::AddrInUse => {}
            Err((address, error)) => {
                let message = format!("cannot bind UDP {address}: {error}");
                return Err(EngineError::new(Code::Unavailable, message));
            }
        }
    }
}

fn bind_all(addresses: &[IpAddr], mut port: u16) -> Result<Vec<BoundUdp>, (SocketAddr, io::Error)> {
    let mut sockets = Vec::with_capacity(addresses.len());
    for &ip in addresses {
        let wanted = SocketAddr::new(ip, port);
        let bound = bind(wanted).map_err(|error| (wanted, error))?;
        port = bound.address.port();
        sockets.push(bound);
    }
    Ok(sockets)
}

fn bind(address: SocketAddr) -> io::Result<BoundUdp> {
    let socket = UdpSocket::bind(address)?;
    let offload = socket::prepare(&socket)?;
    Ok(BoundUdp {
        address: socket.local_addr()?,
        socket,
        offload,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_addresses_get_one_port_and_a_taken_one_is_named() {
        let loopback = [IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2])];
        let first = bind_udp(&loopback, 0).unwrap();
        let port = first[0].address.port();
        assert_ne!(port, 0);
        assert_eq!(first[1].address, SocketAddr::new(loopback[1], port));
        let error = bind_udp(&loopback[1..], port).unwrap_err();
        assert_eq!(error.code, Code::Unavailable);
        let expected = format!("cannot bind UDP 127.0.0.2:{port}: ");
        assert!(error.message.starts_with(&expected), "{error}");
    }

    #[test]
    fn wildcards_are_expanded_once() {
        let any = IpAddr::from([0, 0, 0, 0]);
        let loopback = IpAddr::from([127, 0, 0, 1]);
        let expanded = expand(&[any, loopback, any]).unwrap();
        assert!(
            expanded
                .iter()
                .all(|address| address.is_ipv4() && !address.is_unspecified())
        );
        assert_eq!(expanded.iter().filter(|&&a| a == loopback).count(), 1);
        assert_eq!(expand(&[]).unwrap_err().code, Code::InvalidArgument);
    }
}
