//! Sending many datagrams with one call.

use std::io;
use std::mem;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

use super::sockaddr;

/// Messages sent by one call.
pub(crate) const MESSAGES: usize = 128;

/// Room for one control message with a u16, aligned as control messages must be.
type Control = [u64; 3];

/// One message: bytes for one address. With `segment` the kernel cuts them into datagrams of that
/// many bytes, the last one maybe shorter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outgoing<'a> {
    pub(crate) remote: SocketAddr,
    pub(crate) bytes: &'a [u8],
    pub(crate) segment: Option<u16>,
}

/// Headers for one call.
pub(crate) struct SendBatch {
    addresses: Vec<libc::sockaddr_storage>,
    controls: Vec<Control>,
    messages: Vec<libc::mmsghdr>,
    vectors: Vec<libc::iovec>,
}

impl SendBatch {
    pub(crate) fn new() -> Self {
        // SAFETY: all zeros is a valid sockaddr_storage, and a valid mmsghdr with null pointers.
        let (address, message): (libc::sockaddr_storage, libc::mmsghdr) =
            unsafe { (mem::zeroed(), mem::zeroed()) };
        let vector = libc::iovec {
            iov_base: std::ptr::null_mut(),
            iov_len: 0,
        };
        Self {
            addresses: vec![address; MESSAGES],
            controls: vec![Control::default(); MESSAGES],
            messages: vec![message; MESSAGES],
            vectors: vec![vector; MESSAGES],
        }
    }

    /// Sends up to [`MESSAGES`] of `outgoing` and returns how many the kernel took. An error is
    /// about the first message.
    pub(crate) fn send<'a>(
        &mut self,
        socket: &UdpSocket,
        outgoing: impl IntoIterator<Item = Outgoing<'a>>,
    ) -> io::Result<usize> {
        let mut count = 0;
        for message in outgoing.into_iter().take(MESSAGES) {
            self.prepare(count, &message);
            count += 1;
        }
        // SAFETY: the first `count` headers were prepared just now and point into self, whose
        // vectors are never resized, and to bytes that live for 'a, which outlives this call.
        let sent = unsafe {
            libc::sendmmsg(
                socket.as_raw_fd(),
                self.messages.as_mut_ptr(),
                count as u32,
                libc::MSG_DONTWAIT,
            )
        };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }

    fn prepare(&mut self, at: usize, outgoing: &Outgoing<'_>) {
        self.vectors[at] = libc::iovec {
            // The kernel only reads from it.
            iov_base: outgoing.bytes.as_ptr().cast_mut().cast(),
            iov_len: outgoing.bytes.len(),
        };
        let name_len = sockaddr::write(outgoing.remote, &mut self.addresses[at]);
        let header = &mut self.messages[at].msg_hdr;
        header.msg_name = (&raw mut self.addresses[at]).cast();
        header.msg_namelen = name_len;
        header.msg_iov = &raw mut self.vectors[at];
        header.msg_iovlen = 1;
        let Some(segment) = outgoing.segment else {
            header.msg_control = std::ptr::null_mut();
            header.msg_controllen = 0;
            return;
        };
        let control = &raw mut self.controls[at];
        header.msg_control = control.cast();
        // SAFETY: the buffer is aligned for a header and larger than the header and a u16 with
        // their padding; CMSG_SPACE and CMSG_LEN only compute.
        unsafe {
            header.msg_controllen = libc::CMSG_SPACE(mem::size_of::<u16>() as u32) as usize;
            let message = control.cast::<libc::cmsghdr>();
            (*message).cmsg_level = libc::SOL_UDP;
            (*message).cmsg_type = libc::UDP_SEGMENT;
            (*message).cmsg_len = libc::CMSG_LEN(mem::size_of::<u16>() as u32) as usize;
            let value = libc::CMSG_DATA(message).cast::<u16>();
            value.write_unaligned(segment);
        }
    }
}
