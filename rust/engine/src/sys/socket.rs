//! Options of UDP sockets.

use std::io;
use std::mem;
use std::net::UdpSocket;
use std::os::fd::{AsRawFd, RawFd};

/// Socket buffers asked for, in bytes: half a second of 100 Mbit/s, so that a burst or a late turn
/// of the loop loses nothing.
const BUFFER_LEN: libc::c_int = 8 * 1024 * 1024;

/// What the kernel can do for a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Offload {
    /// UDP_SEGMENT: one call sends many datagrams of equal size.
    pub(crate) gso: bool,
    /// UDP_GRO: one read returns many.
    pub(crate) gro: bool,
}

/// Makes the socket non-blocking, asks for large buffers (past the system's maximum where
/// privilege allows) and for offloads.
pub(crate) fn prepare(socket: &UdpSocket) -> io::Result<Offload> {
    socket.set_nonblocking(true)?;
    let fd = socket.as_raw_fd();
    let buffers = [
        (libc::SO_RCVBUFFORCE, libc::SO_RCVBUF),
        (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF),
    ];
    for (force, plain) in buffers {
        if set(fd, libc::SOL_SOCKET, force, BUFFER_LEN).is_err() {
            // The system gives what its maximum allows; less is no reason to fail.
            let _ = set(fd, libc::SOL_SOCKET, plain, BUFFER_LEN);
        }
    }
    Ok(Offload {
        gso: get(fd, libc::SOL_UDP, libc::UDP_SEGMENT).is_ok(),
        gro: set(fd, libc::SOL_UDP, libc::UDP_GRO, 1).is_ok(),
    })
}

fn set(fd: RawFd, level: i32, name: i32, value: libc::c_int) -> io::Result<()> {
    let len = mem::size_of_val(&value) as libc::socklen_t;
    // SAFETY: the value is a c_int and its length is given.
    let result = unsafe { libc::setsockopt(fd, level, name, (&raw const value).cast(), len) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

fn get(fd: RawFd, level: i32, name: i32) -> io::Result<libc::c_int> {
    let mut value: libc::c_int = 0;
    let mut len = mem::size_of_val(&value) as libc::socklen_t;
    // SAFETY: the place for the value is a c_int and its length is given.
    let result =
        unsafe { libc::getsockopt(fd, level, name, (&raw mut value).cast(), &raw mut len) };
    if result == 0 {
        Ok(value)
    } else {
        Err(io::Error::last_os_error())
    }
}
