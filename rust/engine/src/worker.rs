//! A worker: the epoll loop around a [`Core`].
//!
//! A panic that leaves the core is about no single transport, so nothing on it can be trusted any
//! more. The worker says so and goes on with another core on the same sockets: the candidates that
//! peers were given stay true. It does the same when the control plane could not be told of something
//! that it has to know, because nobody takes events.

use std::any::Any;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mio::event::Event as Readiness;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Registry, Token};
use transport::{CandidatePair, DtlsIdentity, LocalCandidate, Protocol};

use crate::api::{Command, EngineConfig, Event};
use crate::bind::BoundUdp;
use crate::core::{Core, DriverCounters};
use crate::output::Output;
use crate::queue::{CommandQueue, EventQueue, Pressure};
use crate::supervisor::Heartbeat;
use crate::sys;
use crate::sys::recv::{MESSAGES, RecvBatch};
use crate::tcp::{BoundTcp, Connections, SWEEP_INTERVAL};
use crate::unserved;

/// The token of the waker. UDP sockets, listeners and connections are numbered from 0 in this order.
pub(crate) const WAKE: Token = Token(usize::MAX);

/// Commands in one turn, so that many of them do not hold up media.
const COMMANDS_PER_TURN: usize = 64;

/// Reads of one socket in one turn, so that a flood on it does not starve the others.
const READS_PER_TURN: usize = 4;

/// Bytes read from a TCP connection at once.
const TCP_READ: usize = 64 * 1024;

/// How soon to try again when a socket buffer is full.
const RETRY_INTERVAL: Duration = Duration::from_millis(1);

/// Cores that may fail within [`FAILURES_PER`]; with one more the worker gives up.
const MAX_FAILURES: usize = 5;

/// See [`MAX_FAILURES`].
const FAILURES_PER: Duration = Duration::from_secs(60);

/// What a worker is made from; it goes to the worker's thread.
pub(crate) struct WorkerSetup {
    pub(crate) worker: usize,
    pub(crate) config: EngineConfig,
    pub(crate) identity: DtlsIdentity,
    pub(crate) sockets: Vec<BoundUdp>,
    pub(crate) listeners: Vec<BoundTcp>,
    pub(crate) poll: Poll,
    /// Of `poll`.
    pub(crate) registry: Registry,
    pub(crate) commands: Arc<CommandQueue>,
    pub(crate) events: Arc<EventQueue>,
    pub(crate) stop: Arc<AtomicBool>,
    pub(crate) heart: Arc<Heartbeat>,
}

impl WorkerSetup {
    /// Registers the sockets. Done before the thread starts, so that the error finds somebody.
    pub(crate) fn register(&mut self) -> io::Result<()> {
        let registry = self.poll.registry();
        for (at, bound) in self.sockets.iter().enumerate() {
            let fd = bound.socket.as_raw_fd();
            registry.register(&mut SourceFd(&fd), Token(at), Interest::READABLE)?;
        }
        let first = self.sockets.len();
        for (at, bound) in self.listeners.iter_mut().enumerate() {
            let token = Token(first + at);
            registry.register(&mut bound.listener, token, Interest::READABLE)?;
        }
        Ok(())
    }

    /// Runs until it is told to stop, or cannot go on; then it says so.
    pub(crate) fn run(self) {
        let (worker, events) = (self.worker, Arc::clone(&self.events));
        let heart = Arc::clone(&self.heart);
        let commands = Arc::clone(&self.commands);
        let mut running = None;
        let run = AssertUnwindSafe(|| running.insert(Worker::new(self)).run());
        let ended = catch_unwind(run).unwrap_or_else(|panic| Err(reason_of(&*panic)));
        heart.end();
        if let Err(reason) = ended {
            let failed = Event::WorkerFailed {
                worker,
                reason,
                replaced: false,
            };
            let mut said = vec![failed];
            said.extend(running.iter_mut().flat_map(Worker::give_up));
            let left = commands.drain().into_iter();
            said.extend(left.filter_map(|command| unserved::answer(worker, &command)));
            events.publish(said);
        }
        // What made it panic may do so again.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(running)));
    }
}

struct Worker {
    worker: usize,
    config: EngineConfig,
    identity: DtlsIdentity,
    core: Core,
    /// When cores failed, of late.
    failures: VecDeque<Instant>,
    sockets: Rc<[BoundUdp]>,
    /// Edges are reported once: whether each socket may have more to read.
    readable: Vec<bool>,
    listeners: Vec<BoundTcp>,
    tcp: Rc<RefCell<Connections>>,
    /// Connections that may have more to read.
    tcp_readable: Vec<usize>,
    tcp_buffer: Vec<u8>,
    /// A listener has waiting connections that found no descriptor.
    accept_again: bool,
    next_sweep: Option<Instant>,
    poll: Poll,
    commands: Arc<CommandQueue>,
    events: Arc<EventQueue>,
    stop: Arc<AtomicBool>,
    heart: Arc<Heartbeat>,
    batch: RecvBatch,
    taken: VecDeque<Command>,
    events_dropped: u64,
    /// The control plane was not told of something that it has to know.
    lost_events: bool,
    retrying: bool,
}

impl Worker {
    fn new(setup: WorkerSetup) -> Self {
        let sockets: Rc<[BoundUdp]> = setup.sockets.into();
        let first_connection = sockets.len() + setup.listeners.len();
        let tcp = Connections::new(setup.registry, first_connection);
        let tcp = Rc::new(RefCell::new(tcp));
        let core = make_core(
            setup.worker,
            &setup.config,
            &setup.identity,
            (&sockets, &setup.listeners),
            &tcp,
        );
        Self {
            worker: setup.worker,
            config: setup.config,
            identity: setup.identity,
            core,
            failures: VecDeque::new(),
            readable: vec![false; sockets.len()],
            sockets,
            listeners: setup.listeners,
            tcp,
            tcp_readable: Vec::new(),
            tcp_buffer: Vec::new(),
            accept_again: false,
            next_sweep: None,
            poll: setup.poll,
            commands: setup.commands,
            events: setup.events,
            stop: setup.stop,
            heart: setup.heart,
            batch: RecvBatch::new(),
            taken: VecDeque::new(),
            events_dropped: 0,
            lost_events: false,
            retrying: false,
        }
    }

    /// Turns until it is told to stop. An error says why it cannot go on.
    fn run(&mut self) -> Result<(), String> {
        let mut ready = Events::with_capacity(64);
        while !self.stop.load(Ordering::Acquire) {
            let turns = AssertUnwindSafe(|| self.turns(&mut ready));
            match catch_unwind(turns) {
                Ok(Ok(())) if std::mem::take(&mut self.lost_events) => {
                    self.replace_core("events were lost: nobody takes them".to_owned())?;
                }
                Ok(Ok(())) => {}
                Ok(Err(reason)) => return Err(reason),
                Err(panic) => self.replace_core(reason_of(&*panic))?,
            }
        }
        self.core.close(Instant::now());
        self.publish();
        Ok(())
    }

    fn turns(&mut self, ready: &mut Events) -> Result<(), String> {
        while !self.stop.load(Ordering::Acquire) && !self.lost_events {
            self.heart.rest();
            match self.poll.poll(ready, self.timeout()) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // The epoll descriptor itself is broken: there is nothing left to wait for.
                Err(error) => return Err(format!("cannot wait for sockets: {error}")),
            }
            self.heart.begin(Instant::now());
            if self.config.fault_injection && self.heart.suffer() {
                return Err("injected".to_owned());
            }
            for event in &*ready {
                self.note(event);
            }
            self.turn();
        }
        Ok(())
    }

    /// Goes on with another core on the same sockets, with nothing on it. An error if that has been
    /// necessary too often.
    fn replace_core(&mut self, reason: String) -> Result<(), String> {
        let now = Instant::now();
        let is_old = |at: &Instant| now.saturating_duration_since(*at) > FAILURES_PER;
        while self.failures.front().is_some_and(is_old) {
            self.failures.pop_front();
        }
        if self.failures.len() >= MAX_FAILURES {
            return Err(format!("it fails again and again: {reason}"));
        }
        self.failures.push_back(now);
        // Their peers know no other way than to come back.
        self.tcp.borrow_mut().clear();
        self.tcp_readable.clear();
        let sockets = (&self.sockets, self.listeners.as_slice());
        let mut core = make_core(
            self.worker,
            &self.config,
            &self.identity,
            sockets,
            &self.tcp,
        );
        core.inherit(now, &self.core);
        let mut failed = std::mem::replace(&mut self.core, core);
        // What is lost now is about transports that are gone.
        self.events_dropped += self.events.publish(failed.take_events()).dropped;
        // What made it panic may do so again.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(failed)));
        self.events.publish([Event::WorkerFailed {
            worker: self.worker,
            reason,
            replaced: true,
        }]);
        // The edges of the turn that panicked are lost.
        self.readable.fill(true);
        self.accept_again = true;
        self.next_sweep.get_or_insert(now);
        Ok(())
    }

    /// The answers to what it has taken and will not do.
    fn give_up(&mut self) -> Vec<Event> {
        let answered = self.core.take_events();
        let answered = answered.filter(|event| matches!(event, Event::StatsCollected(_)));
        let mut answers: Vec<_> = answered.collect();
        let requests = self.core.unanswered();
        answers.extend(requests.map(|request| unserved::statistics(self.worker, request)));
        let commands = self.taken.iter();
        answers.extend(commands.filter_map(|command| unserved::answer(self.worker, command)));
        answers
    }

    /// How long to wait for something to happen; None: as long as it takes.
    fn timeout(&self) -> Option<Duration> {
        let busy = self.readable.contains(&true) || !self.tcp_readable.is_empty();
        if busy || !self.commands.is_empty() || !self.taken.is_empty() {
            return Some(Duration::ZERO);
        }
        let deadline = self
            .core
            .next_deadline()
            .into_iter()
            .chain(self.next_sweep)
            .min();
        let due = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        let retry = self.retrying.then_some(RETRY_INTERVAL);
        due.into_iter().chain(retry).min()
    }

    /// Notes what epoll says.
    fn note(&mut self, event: &Readiness) {
        let token = event.token();
        if token == WAKE {
            return;
        }
        if let Some(readable) = self.readable.get_mut(token.0) {
            *readable = true;
            return;
        }
        let listener = token.0 - self.readable.len();
        if listener < self.listeners.len() {
            self.accept(listener);
            return;
        }
        let Some(slot) = self.tcp.borrow().slot_of(token) else {
            return;
        };
        if event.is_writable() {
            self.tcp.borrow_mut().write(slot);
        }
        if (event.is_readable() || event.is_read_closed()) && !self.tcp_readable.contains(&slot) {
            self.tcp_readable.push(slot);
        }
    }

    fn turn(&mut self) {
        self.commands.take(&mut self.taken, COMMANDS_PER_TURN);
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
        for slot in std::mem::take(&mut self.tcp_readable) {
            if self.guard_tcp(slot) {
                self.tcp_readable.push(slot);
            }
        }
        let now = Instant::now();
        self.sweep(now);
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

    /// [`Self::read_tcp`]; a panic over what came costs the connection.
    fn guard_tcp(&mut self, slot: usize) -> bool {
        let read = AssertUnwindSafe(|| self.read_tcp(slot));
        catch_unwind(read).unwrap_or_else(|_| {
            self.core.count_panic();
            self.tcp.borrow_mut().close(slot);
            false
        })
    }

    /// Reads once from a connection. Returns whether there may be more.
    fn read_tcp(&mut self, slot: usize) -> bool {
        self.tcp_buffer.resize(TCP_READ, 0);
        let Some(pair) = self.tcp.borrow().pair(slot) else {
            return false;
        };
        // Borrowed only while it reads: handling a frame may send on a connection.
        let read = self.tcp.borrow_mut().read(slot, &mut self.tcp_buffer);
        let Some((len, mut deframer)) = read else {
            return false;
        };
        let now = Instant::now();
        let core = &mut self.core;
        let mut has_frames = false;
        let framing = deframer.push(&self.tcp_buffer[..len], |frame| {
            core.handle_datagram(now, pair, frame);
            has_frames = true;
        });
        core.end_batch(now);
        let proved = core.is_known(pair);
        let valid = framing.is_ok() && (proved || !has_frames);
        let mut tcp = self.tcp.borrow_mut();
        tcp.put_back(slot, deframer, valid, proved);
        len > 0
    }

    fn accept(&mut self, at: usize) {
        let now = Instant::now();
        let accepted = self
            .tcp
            .borrow_mut()
            .accept(now, &self.listeners[at].listener);
        self.accept_again |= accepted.is_err();
        self.next_sweep.get_or_insert(now + SWEEP_INTERVAL);
    }

    /// Looks through the TCP connections once in a while, as long as there are any.
    fn sweep(&mut self, now: Instant) {
        if self.next_sweep.is_none_or(|next| now < next) {
            return;
        }
        let core = &self.core;
        let mut tcp = self.tcp.borrow_mut();
        tcp.sweep(now, |pair| core.is_known(pair));
        let goes_on = self.accept_again || !tcp.is_empty();
        drop(tcp);
        self.next_sweep = goes_on.then(|| now + SWEEP_INTERVAL);
        if std::mem::take(&mut self.accept_again) {
            (0..self.listeners.len()).for_each(|at| self.accept(at));
        }
    }

    fn publish(&mut self) {
        let events = self.core.take_events();
        if events.len() == 0 {
            return;
        }
        let published = self.events.publish(events);
        self.events_dropped += published.dropped;
        self.lost_events |= published.lost;
    }
}

/// A core that sends from `sockets` and over `tcp`; the listeners are its TCP candidates.
fn make_core(
    worker: usize,
    config: &EngineConfig,
    identity: &DtlsIdentity,
    (sockets, listeners): (&Rc<[BoundUdp]>, &[BoundTcp]),
    tcp: &Rc<RefCell<Connections>>,
) -> Core {
    let udp = sockets.iter().map(|bound| LocalCandidate {
        addr: bound.address,
        protocol: Protocol::Udp,
    });
    let listeners = listeners.iter().map(|bound| LocalCandidate {
        addr: bound.address,
        protocol: Protocol::Tcp,
    });
    Core::new(
        Instant::now(),
        worker,
        config.clone(),
        identity.clone(),
        udp.chain(listeners).collect(),
        Box::new(Output::new(Rc::clone(sockets), Rc::clone(tcp))),
    )
}

/// What a panic says.
fn reason_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("panic: {}", text.unwrap_or("of unknown kind"))
}

#[cfg(test)]
#[path = "worker_tests.rs"]
mod tests;
