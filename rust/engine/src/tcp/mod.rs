//! ICE over TCP (RFC 6544), passive side: connections that carry framed datagrams.
//!
//! A connection proves itself with its first frame: an ICE check that a transport accepts. Anything
//! else is cut off at once, and silence after ten seconds. Nothing that a slow or silent peer does
//! makes anything grow without a bound.

mod connection;
mod framing;

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
use rustc_hash::FxHashMap;
use transport::{CandidatePair, Protocol};

use crate::egress::Run;
use connection::Connection;
pub(crate) use framing::Deframer;

/// Connections of one worker.
const MAX_CONNECTIONS: usize = 4096;

/// Of those, how many may be without an accepted check; the oldest makes room for the next.
const MAX_UNPROVED: usize = 512;

/// How long a connection may take to prove itself.
const PROVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Connections are looked through this often.
pub(crate) const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// A listener bound to one address.
#[derive(Debug)]
pub(crate) struct BoundTcp {
    pub(crate) listener: TcpListener,
    pub(crate) address: SocketAddr,
}

/// The connections of one worker. Their tokens begin at `first_token`.
pub(crate) struct Connections {
    registry: Registry,
    first_token: usize,
    slots: Vec<Option<Connection>>,
    by_pair: FxHashMap<CandidatePair, usize>,
    /// Have something to write.
    unsent: Vec<usize>,
    dropped: u64,
}

impl Connections {
    pub(crate) fn new(registry: Registry, first_token: usize) -> Self {
        Self {
            registry,
            first_token,
            slots: Vec::new(),
            by_pair: FxHashMap::default(),
            unsent: Vec::new(),
            dropped: 0,
        }
    }

    /// Accepts what waits at `listener`.
    ///
    /// # Errors
    /// When the system has no more descriptors: what waits goes on waiting.
    pub(crate) fn accept(&mut self, now: Instant, listener: &TcpListener) -> io::Result<()> {
        loop {
            match listener.accept() {
                // A connection that is gone already, or that cannot be registered, is its own loss.
                Ok((stream, remote)) => drop(self.add(now, stream, remote)),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return Ok(()),
                    io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => {}
                    _ => return Err(error),
                },
            }
        }
    }

    fn add(&mut self, now: Instant, mut stream: TcpStream, remote: SocketAddr) -> io::Result<()> {
        self.make_room();
        if self.by_pair.len() >= MAX_CONNECTIONS {
            return Ok(());
        }
        let pair = CandidatePair {
            local: stream.local_addr()?,
            remote,
            protocol: Protocol::Tcp,
        };
        stream.set_nodelay(true)?;
        let free = self.slots.iter().position(Option::is_none);
        let slot = free.unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        let interest = Interest::READABLE | Interest::WRITABLE;
        let token = Token(self.first_token + slot);
        self.registry.register(&mut stream, token, interest)?;
        self.slots[slot] = Some(Connection::new(now, stream, pair));
        self.by_pair.insert(pair, slot);
        Ok(())
    }

    /// Closes the oldest connection without an accepted check if there are too many.
    fn make_room(&mut self) {
        let unproved = || {
            let slots = self.slots.iter().enumerate();
            let open = slots.filter_map(|(slot, open)| Some((slot, open.as_ref()?)));
            open.filter(|(_, connection)| !connection.proved)
        };
        if unproved().count() >= MAX_UNPROVED {
            let oldest = unproved().min_by_key(|(_, connection)| connection.opened);
            if let Some((slot, _)) = oldest {
                self.close(slot);
            }
        }
    }

    /// The slot that a token is about.
    pub(crate) fn slot_of(&self, token: Token) -> Option<usize> {
        token.0.checked_sub(self.first_token)
    }

    pub(crate) fn pair(&self, slot: usize) -> Option<CandidatePair> {
        Some(self.slots.get(slot)?.as_ref()?.pair)
    }

    /// Reads into `buffer`; 0 bytes: nothing waits. A connection that has ended is closed. Its
    /// deframer goes to the caller, who must give it back with [`Self::put_back`].
    pub(crate) fn read(&mut self, slot: usize, buffer: &mut [u8]) -> Option<(usize, Deframer)> {
        let connection = self.slots.get_mut(slot)?.as_mut()?;
        match connection.read(buffer) {
            Ok(len) => Some((len, std::mem::take(&mut connection.deframer))),
            Err(_) => {
                self.close(slot);
                None
            }
        }
    }

    /// Ends what [`Self::read`] began. `valid`: the frames were as they should be, or the connection
    /// is closed. `proved`: an ICE check of the connection has been accepted.
    pub(crate) fn put_back(&mut self, slot: usize, deframer: Deframer, valid: bool, proved: bool) {
        let Some(Some(connection)) = self.slots.get_mut(slot) else {
            return;
        };
        connection.deframer = deframer;
        connection.proved |= proved;
        if !valid {
            self.close(slot);
        }
    }

    /// Queues the datagrams of a run; [`Self::flush`] writes them.
    pub(crate) fn send(&mut self, run: &Run, batch: &[u8]) {
        let slot = self.by_pair.get(&run.pair).copied();
        let Some(slot) = slot else {
            self.dropped += run.count() as u64;
            return;
        };
        let Some(connection) = &mut self.slots[slot] else {
            return;
        };
        for datagram in run.bytes(batch).chunks(run.segment) {
            self.dropped += u64::from(!connection.push(datagram));
        }
        if !self.unsent.contains(&slot) {
            self.unsent.push(slot);
        }
    }

    /// Writes what was queued, as far as the sockets take it.
    pub(crate) fn flush(&mut self) {
        while let Some(slot) = self.unsent.pop() {
            self.write(slot);
        }
    }

    /// Writes what one connection has queued. The rest follows when it is writable again.
    pub(crate) fn write(&mut self, slot: usize) {
        let Some(Some(connection)) = self.slots.get_mut(slot) else {
            return;
        };
        if connection.write().is_err() {
            self.close(slot);
        }
    }

    /// Closes connections that have not proved themselves in time, and those whose transport is
    /// gone, which `is_used` tells.
    pub(crate) fn sweep(&mut self, now: Instant, is_used: impl Fn(CandidatePair) -> bool) {
        for slot in 0..self.slots.len() {
            let Some(connection) = &self.slots[slot] else {
                continue;
            };
            let age = now.saturating_duration_since(connection.opened);
            let keep = if connection.proved {
                is_used(connection.pair)
            } else {
                age < PROVE_TIMEOUT
            };
            if !keep {
                self.close(slot);
            }
        }
    }

    /// Datagrams that found no room or no connection.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_pair.is_empty()
    }

    /// Closes every connection.
    pub(crate) fn clear(&mut self) {
        (0..self.slots.len()).for_each(|slot| self.close(slot));
        self.unsent.clear();
    }

    /// Closes the connection in `slot`, if there is one.
    pub(crate) fn close(&mut self, slot: usize) {
        if let Some(mut connection) = self.slots[slot].take() {
            self.by_pair.remove(&connection.pair);
            // Closing the descriptor takes it out of epoll anyway.
            let _ = self.registry.deregister(&mut connection.stream);
        }
    }
}

#[cfg(test)]
mod tests;
