//! Loopback sockets for the peers and the floor: batches in, GSO runs out.

use std::io;
use std::net::{SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};

const BATCH: usize = 32;
const SLOT: usize = 65_536;

/// A non-blocking loopback socket with large buffers that accepts coalesced datagrams.
pub fn bind() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback has free ports");
    socket.set_nonblocking(true).expect("a UDP socket");
    for (level, option, value) in [
        (libc::SOL_SOCKET, libc::SO_RCVBUF, 4 << 20),
        (libc::SOL_SOCKET, libc::SO_SNDBUF, 4 << 20),
        (libc::SOL_UDP, libc::UDP_GRO, 1),
    ] {
        set_option(socket.as_raw_fd(), level, option, value);
    }
    socket
}

fn set_option(fd: RawFd, level: i32, option: i32, value: i32) {
    // SAFETY: `value` outlives the call and has the size that is given.
    unsafe {
        libc::setsockopt(
            fd,
            level,
            option,
            (&raw const value).cast(),
            size_of::<i32>() as libc::socklen_t,
        );
    }
}

/// The IPv4 address of a bound socket.
pub fn address(socket: &UdpSocket) -> SocketAddrV4 {
    match socket.local_addr().expect("the socket is bound") {
        SocketAddr::V4(address) => address,
        SocketAddr::V6(_) => unreachable!("bound to 127.0.0.1"),
    }
}

fn sockaddr(address: SocketAddrV4) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr {
            s_addr: u32::from(*address.ip()).to_be(),
        },
        sin_zero: [0; 8],
    }
}

/// Sends `bytes` as datagrams of `size` bytes in one call; waits while the socket is full.
pub fn send_gso(fd: RawFd, bytes: &[u8], size: u16, to: SocketAddrV4) {
    let mut name = sockaddr(to);
    let mut iov = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    let mut control = [0_u64; 4];
    // SAFETY: all pointers are to locals that outlive the call; `control` is aligned for cmsghdr and
    // large enough for one u16.
    loop {
        let sent = unsafe {
            let mut message: libc::msghdr = std::mem::zeroed();
            message.msg_name = (&raw mut name).cast();
            message.msg_namelen = size_of::<libc::sockaddr_in>() as libc::socklen_t;
            message.msg_iov = &mut iov;
            message.msg_iovlen = 1;
            if bytes.len() > size as usize {
                message.msg_control = control.as_mut_ptr().cast();
                message.msg_controllen = libc::CMSG_SPACE(2) as usize;
                let header = libc::CMSG_FIRSTHDR(&message);
                (*header).cmsg_level = libc::SOL_UDP;
                (*header).cmsg_type = libc::UDP_SEGMENT;
                (*header).cmsg_len = libc::CMSG_LEN(2) as usize;
                libc::CMSG_DATA(header).cast::<u16>().write_unaligned(size);
            }
            libc::sendmsg(fd, &message, 0)
        };
        if sent >= 0 || io::Error::last_os_error().kind() != io::ErrorKind::WouldBlock {
            return;
        }
        std::thread::yield_now();
    }
}

/// Buffers of one `recvmmsg`.
pub struct ReceiveBatch {
    bytes: Vec<u8>,
    control: Vec<[u64; 4]>,
    names: Vec<libc::sockaddr_in>,
    received: Vec<(usize, usize)>,
}

impl ReceiveBatch {
    pub fn new() -> Self {
        ReceiveBatch {
            bytes: vec![0; BATCH * SLOT],
            control: vec![[0; 4]; BATCH],
            names: vec![sockaddr(SocketAddrV4::new([0, 0, 0, 0].into(), 0)); BATCH],
            received: Vec::with_capacity(BATCH),
        }
    }

    /// Receives what is there and returns how many (possibly coalesced) messages that was.
    pub fn receive(&mut self, socket: &UdpSocket) -> usize {
        let mut iovs: [libc::iovec; BATCH] = std::array::from_fn(|i| libc::iovec {
            iov_base: self.bytes[i * SLOT..].as_mut_ptr().cast(),
            iov_len: SLOT,
        });
        self.received.clear();
        // SAFETY: every pointer is into a buffer of `self` or a local that outlives the call.
        unsafe {
            let mut headers: [libc::mmsghdr; BATCH] = std::mem::zeroed();
            for (i, header) in headers.iter_mut().enumerate() {
                header.msg_hdr.msg_iov = &mut iovs[i];
                header.msg_hdr.msg_iovlen = 1;
                header.msg_hdr.msg_name = (&raw mut self.names[i]).cast();
                header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_in>() as libc::socklen_t;
                header.msg_hdr.msg_control = self.control[i].as_mut_ptr().cast();
                header.msg_hdr.msg_controllen = size_of::<[u64; 4]>();
            }
            let count = libc::recvmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                BATCH as u32,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            );
            for header in headers.iter().take(count.max(0) as usize) {
                let length = header.msg_len as usize;
                let mut size = length;
                let control = libc::CMSG_FIRSTHDR(&header.msg_hdr);
                if !control.is_null()
                    && (*control).cmsg_level == libc::SOL_UDP
                    && (*control).cmsg_type == libc::UDP_GRO
                {
                    size = libc::CMSG_DATA(control).cast::<i32>().read_unaligned() as usize;
                }
                self.received.push((length, size.max(1)));
            }
        }
        self.received.len()
    }

    /// What the last [`receive`](Self::receive) got: the bytes and the size of one datagram in them.
    pub fn messages(&self) -> impl Iterator<Item = (&[u8], usize, SocketAddrV4)> {
        self.received
            .iter()
            .enumerate()
            .map(|(i, &(length, size))| {
                let name = &self.names[i];
                let ip = u32::from_be(name.sin_addr.s_addr);
                (
                    &self.bytes[i * SLOT..i * SLOT + length],
                    size,
                    SocketAddrV4::new(ip.into(), u16::from_be(name.sin_port)),
                )
            })
    }
}

/// Which of several sockets can be read.
pub struct Poll {
    epoll: RawFd,
}

impl Poll {
    pub fn new(sockets: &[UdpSocket]) -> Self {
        // SAFETY: plain system calls; `event` outlives each of them.
        unsafe {
            let epoll = libc::epoll_create1(libc::EPOLL_CLOEXEC);
            for (index, socket) in sockets.iter().enumerate() {
                let mut event = libc::epoll_event {
                    events: libc::EPOLLIN as u32,
                    u64: index as u64,
                };
                libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, socket.as_raw_fd(), &mut event);
            }
            Poll { epoll }
        }
    }

    /// Indices of readable sockets, after at most `timeout_ms`.
    pub fn wait(&self, timeout_ms: i32) -> Vec<usize> {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 128];
        // SAFETY: `events` is as long as the call is told.
        let count = unsafe { libc::epoll_wait(self.epoll, events.as_mut_ptr(), 128, timeout_ms) };
        events
            .iter()
            .take(count.max(0) as usize)
            .map(|event| event.u64 as usize)
            .collect()
    }
}

impl Drop for Poll {
    fn drop(&mut self) {
        // SAFETY: the descriptor is ours.
        unsafe { libc::close(self.epoll) };
    }
}
