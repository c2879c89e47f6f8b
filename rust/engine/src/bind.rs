//! Opening the sockets of the workers.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use mio::net::TcpListener;

use crate::api::{Code, EngineError};
use crate::sys::interfaces;
use crate::sys::socket::{self, Offload};
use crate::tcp::BoundTcp;

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

/// Binds one UDP port on every address; 0 stands for any that is free on all of them.
pub(crate) fn bind_udp(addresses: &[IpAddr], port: u16) -> Result<Vec<BoundUdp>, EngineError> {
    bind_all("UDP", addresses, port, |address| {
        let socket = UdpSocket::bind(address)?;
        let offload = socket::prepare(&socket)?;
        let address = socket.local_addr()?;
        let bound = BoundUdp {
            socket,
            address,
            offload,
        };
        Ok((bound, address.port()))
    })
}

/// The same for TCP listeners.
pub(crate) fn bind_tcp(addresses: &[IpAddr], port: u16) -> Result<Vec<BoundTcp>, EngineError> {
    bind_all("TCP", addresses, port, |address| {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        Ok((BoundTcp { listener, address }, address.port()))
    })
}

/// `bind` returns a socket and the port that it got.
fn bind_all<T>(
    protocol: &str,
    addresses: &[IpAddr],
    port: u16,
    bind: impl Fn(SocketAddr) -> io::Result<(T, u16)>,
) -> Result<Vec<T>, EngineError> {
    let mut tries = if port == 0 { PORT_TRIES } else { 1 };
    'again: loop {
        tries -= 1;
        let mut port = port;
        let mut sockets = Vec::with_capacity(addresses.len());
        for &ip in addresses {
            let address = SocketAddr::new(ip, port);
            match bind(address) {
                Ok((socket, bound)) => {
                    port = bound;
                    sockets.push(socket);
                }
                Err(error) if tries > 0 && error.kind() == io::ErrorKind::AddrInUse => {
                    continue 'again;
                }
                Err(error) => {
                    let message = format!("cannot bind {protocol} {address}: {error}");
                    return Err(EngineError::new(Code::Unavailable, message));
                }
            }
        }
        return Ok(sockets);
    }
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
