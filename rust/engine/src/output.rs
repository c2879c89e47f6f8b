//! From the send batch to the sockets.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::rc::Rc;

use transport::Protocol;

use crate::bind::BoundUdp;
use crate::egress::{OutputCounters, PacketOutput, Run};
use crate::sys::send::{Outgoing, SendBatch};
use crate::tcp::Connections;

/// Bytes that may wait while a socket buffer is full. What comes after is lost: media that is late
/// helps nobody.
const BACKLOG_BYTES: usize = 1024 * 1024;

/// One message of a system call: a place in the batch.
#[derive(Clone, Copy, Debug)]
struct Message {
    remote: SocketAddr,
    start: usize,
    len: usize,
    /// Size of its datagrams, if there are several.
    segment: Option<u16>,
}

impl Message {
    fn outgoing<'a>(&self, bytes: &'a [u8]) -> Outgoing<'a> {
        Outgoing {
            remote: self.remote,
            bytes: &bytes[self.start..self.start + self.len],
            segment: self.segment,
        }
    }

    /// Number of datagrams.
    fn count(&self) -> u64 {
        let segment = self.segment.map_or(self.len, usize::from);
        self.len.div_ceil(segment.max(1)) as u64
    }

    /// The datagrams one by one.
    fn split(self) -> impl Iterator<Item = Message> {
        let segment = self.segment.map_or(self.len, usize::from).max(1);
        (0..self.len).step_by(segment).map(move |at| Message {
            start: self.start + at,
            len: segment.min(self.len - at),
            segment: None,
            ..self
        })
    }
}

/// A message that waits for room in a socket buffer.
#[derive(Debug)]
struct Waiting {
    socket: usize,
    message: Message,
    bytes: Vec<u8>,
}

/// Sends batches from UDP sockets and over TCP connections.
pub(crate) struct Output {
    sockets: Rc<[BoundUdp]>,
    tcp: Rc<RefCell<Connections>>,
    /// Whether each socket's path takes UDP_SEGMENT.
    gso: Vec<bool>,
    batch: SendBatch,
    messages: Vec<Message>,
    backlog: VecDeque<Waiting>,
    backlog_bytes: usize,
    counters: OutputCounters,
    /// What the connections had dropped when the output was made: another one counts it.
    tcp_dropped_before: u64,
}

impl Output {
    pub(crate) fn new(sockets: Rc<[BoundUdp]>, tcp: Rc<RefCell<Connections>>) -> Self {
        let tcp_dropped_before = tcp.borrow().dropped();
        Self {
            tcp_dropped_before,
            tcp,
            gso: sockets.iter().map(|bound| bound.offload.gso).collect(),
            sockets,
            batch: SendBatch::new(),
            messages: Vec::with_capacity(256),
            backlog: VecDeque::new(),
            backlog_bytes: 0,
            counters: OutputCounters::default(),
        }
    }

    fn add_messages(&mut self, socket: usize, run: &Run) {
        let message = Message {
            remote: run.pair.remote,
            start: run.start,
            len: run.len,
            segment: u16::try_from(run.segment).ok().filter(|_| run.count() > 1),
        };
        if message.segment.is_none() || self.gso[socket] {
            self.messages.push(message);
        } else {
            self.messages.extend(message.split());
        }
    }

    /// Sends the collected messages from one socket.
    fn send_messages(&mut self, socket: usize, bytes: &[u8]) {
        let messages = std::mem::take(&mut self.messages);
        let mut rest = messages.as_slice();
        while let Some(first) = rest.first() {
            if !self.backlog.is_empty() {
                rest.iter()
                    .for_each(|message| self.wait(socket, *message, bytes));
                break;
            }
            match self.call(socket, rest, bytes) {
                Ok(0) => break,
                Ok(sent) => rest = &rest[sent..],
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => {}
                    ErrorKind::WouldBlock => self.wait(socket, *first, bytes),
                    _ => {
                        self.recover(socket, *first, bytes, &error);
                        rest = &rest[1..];
                    }
                },
            }
            // What waits was the first of the rest.
            if !self.backlog.is_empty() {
                rest = rest.get(1..).unwrap_or_default();
            }
        }
        self.messages = messages;
        self.messages.clear();
    }

    /// A message was refused. One that the kernel should have cut up is sent in pieces: the path
    /// or the device cannot do it. Anything else is lost.
    fn recover(&mut self, socket: usize, message: Message, bytes: &[u8], error: &io::Error) {
        if message.segment.is_none() {
            self.counters.refused += 1;
            return;
        }
        if error.raw_os_error() == Some(libc::EIO) {
            self.gso[socket] = false;
        }
        for piece in message.split() {
            match self.call(socket, &[piece], bytes) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.wait(socket, piece, bytes);
                }
                Err(_) => self.counters.refused += 1,
            }
        }
    }

    fn call(&mut self, socket: usize, messages: &[Message], bytes: &[u8]) -> io::Result<usize> {
        let outgoing = messages.iter().map(|message| message.outgoing(bytes));
        let result = self.batch.send(&self.sockets[socket].socket, outgoing);
        self.counters.send_calls += 1;
        if matches!(&result, Err(error) if error.kind() == ErrorKind::WouldBlock) {
            self.counters.would_block += 1;
        }
        result
    }

    fn wait(&mut self, socket: usize, message: Message, bytes: &[u8]) {
        if self.backlog_bytes + message.len > BACKLOG_BYTES {
            self.counters.dropped += message.count();
            return;
        }
        self.backlog_bytes += message.len;
        self.backlog.push_back(Waiting {
            socket,
            bytes: message.outgoing(bytes).bytes.to_vec(),
            message: Message {
                start: 0,
                ..message
            },
        });
    }
}

impl PacketOutput for Output {
    fn send(&mut self, runs: &[Run], bytes: &[u8]) {
        self.retry();
        let mut current = None;
        for run in runs {
            if run.pair.protocol == Protocol::Tcp {
                self.tcp.borrow_mut().send(run, bytes);
                continue;
            }
            let local = run.pair.local;
            let found = self.sockets.iter().position(|bound| bound.address == local);
            let Some(socket) = found else {
                self.counters.refused += run.count() as u64;
                continue;
            };
            if let Some(previous) = current.filter(|&previous| previous != socket) {
                self.send_messages(previous, bytes);
            }
            current = Some(socket);
            self.add_messages(socket, run);
        }
        if let Some(socket) = current {
            self.send_messages(socket, bytes);
        }
        self.tcp.borrow_mut().flush();
    }

    fn retry(&mut self) -> bool {
        while let Some(waiting) = self.backlog.pop_front() {
            let Waiting {
                socket,
                message,
                bytes,
            } = &waiting;
            match self.call(*socket, &[*message], bytes) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.backlog.push_front(waiting);
                    return true;
                }
                Ok(_) => self.backlog_bytes -= message.len,
                Err(error) => {
                    self.backlog_bytes -= message.len;
                    self.recover(*socket, *message, bytes, &error);
                }
            }
        }
        false
    }

    fn counters(&self) -> OutputCounters {
        let tcp_dropped = self.tcp.borrow().dropped() - self.tcp_dropped_before;
        OutputCounters {
            dropped: self.counters.dropped + tcp_dropped,
            ..self.counters
        }
    }
}

#[cfg(test)]
#[path = "output_tests.rs"]
mod tests;
