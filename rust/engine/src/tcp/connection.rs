//! One connection.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::time::Instant;

use mio::net::TcpStream;
use transport::CandidatePair;

use super::Deframer;

/// Bytes queued before media is dropped: a second of 1 Mbit/s.
const MEDIA_BACKLOG: usize = 128 * 1024;

/// Bytes queued before the connection is given up: not even what is not media gets through.
const MAX_BACKLOG: usize = 512 * 1024;

pub(super) struct Connection {
    pub(super) stream: TcpStream,
    pub(super) pair: CandidatePair,
    pub(super) opened: Instant,
    /// An ICE check was accepted.
    pub(super) proved: bool,
    pub(super) deframer: Deframer,
    outgoing: VecDeque<u8>,
}

impl Connection {
    pub(super) fn new(opened: Instant, stream: TcpStream, pair: CandidatePair) -> Self {
        Self {
            stream,
            pair,
            opened,
            proved: false,
            deframer: Deframer::default(),
            outgoing: VecDeque::new(),
        }
    }

    /// Reads what waits; 0: nothing. An end is an error.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.stream.read(buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(len) => return Ok(len),
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => return Ok(0),
                    ErrorKind::Interrupted => {}
                    _ => return Err(error),
                },
            }
        }
    }

    /// Queues one datagram. Returns false if it was dropped.
    pub(super) fn push(&mut self, datagram: &[u8]) -> bool {
        let Ok(len) = u16::try_from(datagram.len()) else {
            return false;
        };
        if is_media(datagram) && self.outgoing.len() > MEDIA_BACKLOG {
            return false;
        }
        self.outgoing.extend(len.to_be_bytes());
        self.outgoing.extend(datagram);
        true
    }

    /// Writes what is queued. Too much of it is an error.
    pub(super) fn write(&mut self) -> io::Result<()> {
        while !self.outgoing.is_empty() {
            let (first, _) = self.outgoing.as_slices();
            match self.stream.write(first) {
                Ok(written) => drop(self.outgoing.drain(..written)),
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock if self.outgoing.len() <= MAX_BACKLOG => return Ok(()),
                    ErrorKind::Interrupted => {}
                    _ => return Err(error),
                },
            }
        }
        Ok(())
    }
}

/// RTP, not RTCP (RFC 7983, RFC 5761).
fn is_media(datagram: &[u8]) -> bool {
    matches!(datagram, [128..=191, kind, ..] if !(192..=223).contains(kind))
}
