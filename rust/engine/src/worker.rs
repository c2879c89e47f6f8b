//! A worker: the epoll loop around a [`Core`].

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use transport::{CandidatePair, DtlsIdentity, LocalCandidate, Protocol};

use crate::api::{Command, EngineConfig};
use crate::bind::BoundUdp;
use crate::core::{Core, DriverCounters};
use crate::output::UdpOutput;
use crate::queue::{CommandQueue, EventQueue, Pressure};
use crate::sys;
use crate::sys::recv::{MESSAGES, RecvBatch};

/// The token of the waker; sockets have the numbers below.
pub(crate) const WAKE: Token = Token(usize::MAX);

/// Reads of one socket in one turn, so that a flood on it does not starve the others.
const READS_PER_TURN: usize = 4;

/// How soon to try again when a socket buffer is full.
const RETRY_INTERVAL: Duration = Duration::from_millis(1);

/// What a worker is made from; it goes to the worker's thread.
pub(crate) struct WorkerSetup {
    pub(crate) worker: usize,
    pub(crate) config: EngineConfig,
    pub(crate) identity: DtlsIdentity,
    pub(crate) sockets: Vec<BoundUdp>,
    pub(crate) poll: Poll,
    pub(crate) commands: Arc<CommandQueue>,
    pub(crate) events: Arc<EventQueue>,
    pub(crate) stop: Arc<AtomicBool>,
}

impl WorkerSetup {
    /// Registers the sockets. Done before the thread starts, so that the error finds somebody.
    pub(crate) fn register(&self) -> io::Result<()> {
        for (at, bound) in self.sockets.iter().enumerate() {
            let fd = bound.socket.as_raw_fd();
            let registry = self.poll.registry();
            registry.register(&mut SourceFd(&fd), Token(at), Interest::READABLE)?;
        }
        Ok(())
    }

    /// Runs until it is told to stop.
    pub(crate) fn run(self) {
        Worker::new(self).run();
    }
}

struct Worker {
    core: Core,
    sockets: Rc<[BoundUdp]>,
    /// Edges are reported once: whether each socket may have more to read.
    readable: Vec<bool>,
    poll: Poll,
    commands: Arc<CommandQueue>,
    events: Arc<EventQueue>,
    stop: Arc<AtomicBool>,
    batch: RecvBatch,
    taken: VecDeque<Command>,
    events_dropped: u64,
    retrying: bool,
}

impl Worker {
    fn new(setup: WorkerSetup) -> Self {
        let sockets: Rc<[BoundUdp]> = setup.sockets.into();
        let candidates = sockets.iter().map(|bound| LocalCandidate {
            addr: bound.address,
            protocol: Protocol::Udp,
        });
        let output = Box::new(UdpOutput::new(Rc::clone(&sockets)));
        let core = Core::new(
            setup.worker,
            setup.config,
            setup.identity,
            candidates.collect(),
            output,
        );
        Self {
            core,
            readable: vec![false; sockets.len()],
            sockets,
            poll: setup.poll,
            commands: setup.commands,
            events: setup.events,
            stop: setup.stop,
            batch: RecvBatch::new(),
            taken: VecDeque::new(),
            events_dropped: 0,
            retrying: false,
        }
    }

    fn run(&mut self) {
        let mut ready = Events::with_capacity(64);
        while !self.stop.load(Ordering::Acquire) {
            match self.poll.poll(&mut ready, self.timeout()) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // The epoll descriptor itself is broken: there is nothing left to wait for.
                Err(_) => break,
            }
            for event in &ready {
                if let Some(readable) = self.readable.get_mut(event.token().0) {
                    *readable = true;
                }
            }
            self.turn();
        }
        self.core.close(Instant::now());
        self.publish();
    }

    /// How long to wait for something to happen; None: as long as it takes.
    fn timeout(&self) -> Option<Duration> {
        if self.readable.contains(&true) {
            return Some(Duration::ZERO);
        }
        let deadline = self.core.next_deadline();
        let due = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        let retry = self.retrying.then_some(RETRY_INTERVAL);
        due.into_iter().chain(retry).min()
    }

    fn turn(&mut self) {
        self.commands.take(&mut self.taken);
        while let Some(command) = self.taken.pop_front() {
            if matches!(command, Command::CollectStats { .. }) {
                self.core.set_driver_counters(DriverCounters {
                    commands_dropped: self.commands.refused(),
                    events_dropped: self.events_dropped,
                    cpu: sys::thread_cpu_time(),
                });
            }
            self.core.handle_command(Instant::now(), command);
        }
        for socket in 0..self.sockets.len() {
            for _ in 0..READS_PER_TURN {
                if !self.readable[socket] {
                    break;
                }
                self.readable[socket] = self.read(socket);
            }
        }
        let now = Instant::now();
        self.core.handle_timeout(now);
        match self.events.pressure() {
            Pressure::High => self.core.set_data_paused(now, true),
            Pressure::Low => self.core.set_data_paused(now, false),
            Pressure::Middle => {}
        }
        self.core.flush();
        self.retrying = self.core.retry();
        self.publish();
    }

    /// Takes one batch from a socket and forwards it. Returns whether there may be more.
    fn read(&mut self, socket: usize) -> bool {
        let bound = &self.sockets[socket];
        let count = match self.batch.recv(&bound.socket) {
            Ok(count) => count,
            // Anything but an empty buffer is about one datagram, e.g. an ICMP answer to it.
            Err(error) => return error.kind() != io::ErrorKind::WouldBlock,
        };
        let now = Instant::now();
        for message in self.batch.messages() {
            let pair = CandidatePair {
                local: bound.address,
                remote: message.remote,
                protocol: Protocol::Udp,
            };
            for datagram in message.bytes.chunks_mut(message.segment) {
                self.core.handle_datagram(now, pair, datagram);
            }
        }
        self.core.end_batch(now);
        count == MESSAGES
    }

    fn publish(&mut self) {
        let events = self.core.take_events();
        if events.len() > 0 {
            self.events_dropped += self.events.publish(events);
        }
    }
}
