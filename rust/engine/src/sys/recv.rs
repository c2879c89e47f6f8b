//! Receiving many datagrams with one call.

use std::io;
use std::mem;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::ptr;

use super::sockaddr;

/// Messages taken by one call.
pub(crate) const MESSAGES: usize = 64;

/// Room for one message, which UDP_GRO may have glued together from up to 64 datagrams.
const MESSAGE_LEN: usize = 65_536;

/// Room for one control message with a c_int, aligned as control messages must be.
type Control = [u64; 4];

/// Buffers for one call. They are as large as the kernel may fill them, so that nothing is cut
/// off; pages that are never filled take no memory.
pub(crate) struct RecvBatch {
    bytes: Vec<u8>,
    addresses: Vec<libc::sockaddr_storage>,
    controls: Vec<Control>,
    messages: Vec<libc::mmsghdr>,
    /// Pointed to by `messages`.
    _vectors: Vec<libc::iovec>,
    len: usize,
}

/// What one message brought: datagrams of `segment` bytes each, the last one maybe shorter.
pub(crate) struct Message<'a> {
    pub(crate) remote: SocketAddr,
    pub(crate) bytes: &'a mut [u8],
    pub(crate) segment: usize,
}

impl RecvBatch {
    pub(crate) fn new() -> Self {
        // SAFETY: all zeros is a valid sockaddr_storage, and a valid mmsghdr with null pointers.
        let (address, message): (libc::sockaddr_storage, libc::mmsghdr) =
            unsafe { (mem::zeroed(), mem::zeroed()) };
        let mut bytes = vec![0; MESSAGES * MESSAGE_LEN];
        let mut addresses = vec![address; MESSAGES];
        let mut controls = vec![Control::default(); MESSAGES];
        let mut vectors: Vec<_> = bytes
            .chunks_exact_mut(MESSAGE_LEN)
            .map(|chunk| libc::iovec {
                iov_base: chunk.as_mut_ptr().cast(),
                iov_len: chunk.len(),
            })
            .collect();
        let mut messages = vec![message; MESSAGES];
        for (at, message) in messages.iter_mut().enumerate() {
            message.msg_hdr.msg_name = (&raw mut addresses[at]).cast();
            message.msg_hdr.msg_iov = &raw mut vectors[at];
            message.msg_hdr.msg_iovlen = 1;
            message.msg_hdr.msg_control = (&raw mut controls[at]).cast();
        }
        Self {
            bytes,
            addresses,
            controls,
            messages,
            _vectors: vectors,
            len: 0,
        }
    }

    /// Receives what waits, up to [`MESSAGES`] messages; returns their number.
    pub(crate) fn recv(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        // What the last call filled; the rest is as it was prepared.
        for message in &mut self.messages {
            message.msg_hdr.msg_namelen = mem::size_of::<libc::sockaddr_storage>() as u32;
            message.msg_hdr.msg_controllen = mem::size_of::<Control>();
        }
        self.len = 0;
        // SAFETY: every header points to an address, a control buffer and one iovec of the given
        // lengths, all owned by self and never moved: the vectors are not resized after `new`.
        let received = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.messages.as_mut_ptr(),
                MESSAGES as u32,
                libc::MSG_DONTWAIT,
                ptr::null_mut(),
            )
        };
        self.len = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
        Ok(self.len)
    }

    /// The messages that the last call received. Those not from an internet address are left out.
    pub(crate) fn messages(&mut self) -> impl Iterator<Item = Message<'_>> {
        let parts = self
            .messages
            .iter()
            .zip(&self.addresses)
            .zip(&self.controls)
            .zip(self.bytes.chunks_exact_mut(MESSAGE_LEN))
            .take(self.len);
        parts.filter_map(|(((message, address), control), bytes)| {
            let len = message.msg_len as usize;
            let control_len = message.msg_hdr.msg_controllen;
            let segment = gro_segment(control, control_len).filter(|&segment| segment > 0);
            Some(Message {
                remote: sockaddr::read(address)?,
                bytes: &mut bytes[..len],
                segment: segment.unwrap_or(len.max(1)),
            })
        })
    }
}

/// The size in the UDP_GRO control message, if there is one. It is the only control message that
/// was asked for, so only the first one is looked at.
fn gro_segment(control: &Control, len: usize) -> Option<usize> {
    let header_len = mem::size_of::<libc::cmsghdr>();
    if len < header_len + mem::size_of::<libc::c_int>() {
        return None;
    }
    // SAFETY: the buffer is aligned for a header and larger than header and value together.
    let (header, value) = unsafe {
        let header = (&raw const *control).cast::<libc::cmsghdr>();
        let value = libc::CMSG_DATA(header).cast::<libc::c_int>();
        (header.read(), value.read_unaligned())
    };
    let is_gro = header.cmsg_level == libc::SOL_UDP && header.cmsg_type == libc::UDP_GRO;
    is_gro.then(|| usize::try_from(value).ok()).flatten()
}
