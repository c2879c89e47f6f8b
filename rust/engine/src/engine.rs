//! The engine as its user sees it: commands in, events out, threads in between.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use mio::{Poll, Waker};
use transport::DtlsIdentity;

use crate::api::{
    Code, Command, EngineConfig, EngineError, EngineInfo, Event, Fault, Id, WorkerInfo,
};
use crate::bind;
use crate::candidates;
use crate::directory::Directory;
use crate::queue::{CommandQueue, EventQueue};
use crate::supervisor::{self, Heartbeat};
use crate::unserved;
use crate::worker::{WAKE, WorkerSetup};

/// How long [`Engine::close`] waits for the workers.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Running workers. Everything is callable from any thread.
#[derive(Debug)]
pub struct Engine {
    info: EngineInfo,
    workers: Vec<WorkerHandle>,
    events: Arc<EventQueue>,
    directory: Mutex<Directory>,
    stop: Arc<AtomicBool>,
    fault_injection: bool,
    /// Ends the thread that looks after the workers.
    watching: Mutex<Option<Sender<()>>>,
    /// Ends when the last worker has ended.
    running: Mutex<Receiver<()>>,
}

#[derive(Debug)]
struct WorkerHandle {
    commands: Arc<CommandQueue>,
    waker: Waker,
    heart: Arc<Heartbeat>,
}

impl Engine {
    /// Opens the sockets and starts the workers.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] if there is nothing to bind, [`Code::Unavailable`] if the system
    /// refuses a port, a thread or randomness.
    pub fn start(config: EngineConfig) -> Result<Self, EngineError> {
        check(&config)?;
        let identity = DtlsIdentity::generate()
            .map_err(|error| EngineError::new(Code::Unavailable, error.to_string()))?;
        let addresses = bind::expand(&config.bind)?;
        let advertised = match &config.advertise {
            Some(advertised) => bind::expand(advertised)?,
            None => addresses.clone(),
        };
        let events = EventQueue::new(config.event_queue).map_err(|e| refused("an eventfd", &e))?;
        let events = Arc::new(events);
        let stop = Arc::new(AtomicBool::new(false));
        let (ended, running) = mpsc::channel();
        let mut engine = Self {
            info: EngineInfo {
                fingerprint_algorithm: identity.fingerprint().algorithm().to_owned(),
                fingerprint: identity.fingerprint().to_string(),
                workers: Vec::new(),
            },
            workers: Vec::new(),
            events: Arc::clone(&events),
            directory: Mutex::default(),
            stop: Arc::clone(&stop),
            fault_injection: config.fault_injection,
            watching: Mutex::new(None),
            running: Mutex::new(running),
        };
        // Bound again so that it is dropped before `engine`, which waits for every sender to go.
        let ended = ended;
        // All ports before any thread, so that one that is taken leaves nothing behind.
        let mut setups = Vec::new();
        for worker in 0..config.workers {
            let sockets = bind::bind_udp(&addresses, port_of(config.udp_port, worker)?)?;
            let listeners = match config.tcp_port {
                Some(first) => bind::bind_tcp(&addresses, port_of(first, worker)?)?,
                None => Vec::new(),
            };
            let udp_port = sockets[0].address.port();
            let tcp_port = listeners.first().map(|bound| bound.address.port());
            engine.info.workers.push(WorkerInfo {
                worker,
                candidates: candidates::host_candidates(&advertised, udp_port, tcp_port),
            });
            let poll = Poll::new().map_err(|error| refused("an epoll descriptor", &error))?;
            let waker =
                Waker::new(poll.registry(), WAKE).map_err(|error| refused("an eventfd", &error))?;
            let registry = poll.registry().try_clone();
            let registry = registry.map_err(|error| refused("an epoll descriptor", &error))?;
            let commands = Arc::new(CommandQueue::new(config.command_queue));
            let heart = Arc::new(Heartbeat::new(Instant::now()));
            engine.workers.push(WorkerHandle {
                commands: Arc::clone(&commands),
                waker,
                heart: Arc::clone(&heart),
            });
            setups.push(WorkerSetup {
                worker,
                config: config.clone(),
                identity: identity.clone(),
                sockets,
                listeners,
                poll,
                registry,
                commands,
                events: Arc::clone(&events),
                stop: Arc::clone(&stop),
                heart,
            });
        }
        for mut setup in setups {
            setup
                .register()
                .map_err(|error| refused("epoll registration", &error))?;
            start_worker(setup, ended.clone())?;
        }
        engine.watch(config.worker_stall, ended)?;
        Ok(engine)
    }

    /// What is fixed for the engine's life.
    pub fn info(&self) -> &EngineInfo {
        &self.info
    }

    /// Queues commands in order, all or none.
    ///
    /// # Errors
    /// [`Code::Unavailable`] if the engine is closed or a worker's queue is full.
    pub fn submit(&self, commands: Vec<Command>) -> Result<(), EngineError> {
        if self.stop.load(Ordering::Acquire) {
            return Err(EngineError::new(Code::Unavailable, "the engine is closed"));
        }
        let total = commands.len();
        let mut directory = lock(&self.directory);
        let mut parts: Vec<Vec<Command>> = self.workers.iter().map(|_| Vec::new()).collect();
        let mut closed = Vec::new();
        let mut failed = Vec::new();
        for command in commands {
            if let Command::CloseTransport { .. }
            | Command::CloseReceiver { .. }
            | Command::CloseDownTrack { .. }
            | Command::CloseDataTrack { .. }
            | Command::CloseDataDownTrack { .. } = command
            {
                closed.push(command.subject());
            }
            match command {
                Command::CreateTransport {
                    transport, worker, ..
                } if worker >= parts.len() => failed.push(Event::CommandFailed {
                    command: command.name(),
                    subject: transport,
                    code: Code::InvalidArgument,
                    message: format!("there is no worker {worker}"),
                }),
                Command::CollectStats { .. } => {
                    parts.iter_mut().for_each(|part| part.push(command.clone()));
                }
                _ => directory.route(command, |worker, part| parts[worker].push(part)),
            }
        }
        let mut slots: Vec<_> = self
            .workers
            .iter()
            .map(|worker| worker.commands.lock())
            .collect();
        // A worker that ends lets it be seen before it answers what is in its queue: with the queue
        // in hand it is certain who answers.
        for (worker, (handle, part)) in self.workers.iter().zip(&mut parts).enumerate() {
            if handle.heart.has_ended() {
                let commands = part.drain(..);
                let answers = commands.filter_map(|command| unserved::answer(worker, &command));
                failed.extend(answers);
            }
        }
        if let Some(full) = (0..slots.len()).find(|&at| slots[at].room() < parts[at].len()) {
            self.workers[full].commands.count_refused(total);
            let message = format!("the command queue of worker {full} is full");
            return Err(EngineError::new(Code::Unavailable, message));
        }
        let mut fed = Vec::with_capacity(parts.len());
        for ((slots, part), worker) in slots.iter_mut().zip(parts).zip(&self.workers) {
            if !part.is_empty() {
                fed.push(worker);
            }
            part.into_iter().for_each(|command| slots.push(command));
        }
        drop(slots);
        // Who is woken looks at the queue at once, and should not have to wait for it.
        for worker in fed {
            // The worker looks at its queue every turn: a lost wake-up only delays it.
            let _ = worker.waker.wake();
        }
        closed.into_iter().for_each(|id| directory.forget(id));
        drop(directory);
        self.events.publish(failed);
        Ok(())
    }

    /// Answers a command that could not even be read.
    pub fn refuse(&self, command: &'static str, subject: Id, message: String) {
        self.events.publish([Event::CommandFailed {
            command,
            subject,
            code: Code::InvalidArgument,
            message,
        }]);
    }

    /// Takes up to `limit` waiting events, oldest first.
    pub fn drain(&self, limit: usize) -> Vec<Event> {
        self.events.drain(limit)
    }

    /// Lets a worker fail, so that a test sees what follows.
    ///
    /// # Errors
    /// [`Code::FailedPrecondition`] unless [`EngineConfig::fault_injection`] is set,
    /// [`Code::InvalidArgument`] if there is no such worker.
    pub fn inject_fault(&self, worker: usize, fault: Fault) -> Result<(), EngineError> {
        if !self.fault_injection {
            let message = "this engine is not for tests";
            return Err(EngineError::new(Code::FailedPrecondition, message));
        }
        let Some(handle) = self.workers.get(worker) else {
            let message = format!("there is no worker {worker}");
            return Err(EngineError::new(Code::InvalidArgument, message));
        };
        handle.heart.inject(fault);
        let _ = handle.waker.wake();
        Ok(())
    }

    /// Starts the thread that looks after the workers.
    fn watch(&self, limit: Duration, ended: Sender<()>) -> Result<(), EngineError> {
        let hearts = self.workers.iter().map(|worker| Arc::clone(&worker.heart));
        let (hearts, events) = (hearts.collect::<Vec<_>>(), Arc::clone(&self.events));
        let (watching, stop) = mpsc::channel();
        *lock(&self.watching) = Some(watching);
        let name = "lkpy-media-watch".to_owned();
        let started = thread::Builder::new().name(name).spawn(move || {
            supervisor::watch(&hearts, limit, &events, &stop);
            drop(ended);
        });
        started
            .map(drop)
            .map_err(|error| refused("a thread", &error))
    }

    /// Stops the workers and waits for them, at most two seconds. Does nothing the second time.
    pub fn close(&self) {
        self.stop.store(true, Ordering::Release);
        lock(&self.watching).take();
        for worker in &self.workers {
            let _ = worker.waker.wake();
        }
        let running = lock(&self.running);
        // Nothing is ever sent: it ends when every worker has dropped its sender.
        let _ = running.recv_timeout(CLOSE_TIMEOUT);
    }
}

/// The descriptor that polls readable while events wait.
impl AsRawFd for Engine {
    fn as_raw_fd(&self) -> RawFd {
        self.events.as_raw_fd()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.close();
    }
}

/// A panic elsewhere left the value as it was between two operations: it can be used.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn start_worker(setup: WorkerSetup, ended: Sender<()>) -> Result<(), EngineError> {
    let name = format!("lkpy-media-{}", setup.worker);
    let started = thread::Builder::new().name(name).spawn(move || {
        setup.run();
        drop(ended);
    });
    started
        .map(drop)
        .map_err(|error| refused("a thread", &error))
}

fn check(config: &EngineConfig) -> Result<(), EngineError> {
    let invalid = |message: &str| Err(EngineError::new(Code::InvalidArgument, message));
    if config.workers == 0 {
        return invalid("an engine needs at least one worker");
    }
    if config.worker_stall.is_zero() {
        return invalid("a worker needs more than 0 ms before it counts as stalled");
    }
    if config.audio_interval.is_zero() {
        return invalid("the audio interval must be longer than 0 ms");
    }
    Ok(())
}

/// The port of a worker; 0 stays 0.
fn port_of(first: u16, worker: usize) -> Result<u16, EngineError> {
    let port = u16::try_from(worker).ok().and_then(|worker| match first {
        0 => Some(0),
        _ => first.checked_add(worker),
    });
    port.ok_or_else(|| {
        let message = format!("port {first} leaves no port for worker {worker}");
        EngineError::new(Code::InvalidArgument, message)
    })
}

fn refused(what: &str, error: &io::Error) -> EngineError {
    EngineError::new(
        Code::Unavailable,
        format!("the system refuses {what}: {error}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_ends_while_commands_are_submitted_leaves_none_without_an_answer() {
        let engine = Engine::start(EngineConfig::default()).unwrap();
        let worker = &engine.workers[0];
        let queue = worker.commands.lock();
        thread::scope(|scope| {
            let command = Command::RequestKeyFrame { receiver: 5 };
            let create = Command::CreateTransport {
                transport: 1,
                worker: 0,
                ice: crate::api::IceParameters {
                    ufrag: "ufrag".to_owned(),
                    pwd: "password-of-22-characters".to_owned(),
                },
                ice_lite: true,
                controlling: false,
            };
            let submitted = scope.spawn(|| engine.submit(vec![create, command]));
            // It is on its way to the queue, which is in use.
            while engine.directory.try_lock().is_ok() {
                thread::yield_now();
            }
            worker.heart.end();
            drop(queue);
            submitted.join().unwrap().unwrap();
        });
        let events = engine.drain(10);
        assert!(
            matches!(
                events.first(),
                Some(Event::CommandFailed { subject: 1, message, .. })
                    if message == "worker 0 has ended"
            ),
            "{events:?}"
        );
    }
}
