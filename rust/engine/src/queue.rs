//! Bounded queues between the control plane's threads and the workers.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::api::{Command, Event, Weight};
use crate::sys::eventfd::EventFd;

/// Bytes of data messages that may wait for the control plane.
const EVENT_BYTES: usize = 32 * 1024 * 1024;

/// Commands for one worker. Only the worker takes them out.
#[derive(Debug)]
pub(crate) struct CommandQueue {
    commands: Mutex<VecDeque<Command>>,
    /// How many there are, to look without taking hold of them.
    len: AtomicUsize,
    capacity: usize,
    refused: AtomicU64,
}

impl CommandQueue {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            commands: Mutex::default(),
            len: AtomicUsize::new(0),
            capacity: capacity.max(1),
            refused: AtomicU64::new(0),
        }
    }

    /// Takes hold of the queue, to see whether there is room and then to fill it.
    pub(crate) fn lock(&self) -> CommandSlots<'_> {
        CommandSlots {
            commands: lock(&self.commands),
            len: &self.len,
            capacity: self.capacity,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len.load(Ordering::Acquire) == 0
    }

    /// Moves what has waited longest to the end of `into`, until that has `limit` commands.
    pub(crate) fn take(&self, into: &mut VecDeque<Command>, limit: usize) {
        if self.is_empty() {
            return;
        }
        let mut commands = lock(&self.commands);
        let count = limit.saturating_sub(into.len()).min(commands.len());
        into.extend(commands.drain(..count));
        self.len.store(commands.len(), Ordering::Release);
    }

    /// Takes all that waits. Whoever holds the queue is waited for.
    pub(crate) fn drain(&self) -> VecDeque<Command> {
        let mut commands = lock(&self.commands);
        self.len.store(0, Ordering::Release);
        std::mem::take(&mut *commands)
    }

    /// Counts commands that found no room.
    pub(crate) fn count_refused(&self, count: usize) {
        self.refused.fetch_add(count as u64, Ordering::Relaxed);
    }

    /// Commands that found no room.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

/// A locked [`CommandQueue`].
pub(crate) struct CommandSlots<'a> {
    commands: MutexGuard<'a, VecDeque<Command>>,
    len: &'a AtomicUsize,
    capacity: usize,
}

impl CommandSlots<'_> {
    pub(crate) fn room(&self) -> usize {
        self.capacity.saturating_sub(self.commands.len())
    }

    pub(crate) fn push(&mut self, command: Command) {
        self.commands.push_back(command);
        self.len.store(self.commands.len(), Ordering::Release);
    }
}

/// Events of all workers for the control plane, with a descriptor that is readable while some wait.
#[derive(Debug)]
pub(crate) struct EventQueue {
    state: Mutex<EventState>,
    /// As in the state, to look without taking hold of it.
    len: AtomicUsize,
    bytes: AtomicUsize,
    readable: EventFd,
    capacity: usize,
}

#[derive(Debug, Default)]
struct EventState {
    events: VecDeque<Event>,
    bytes: usize,
}

/// What became of events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Published {
    /// How many found no room.
    pub(crate) dropped: u64,
    /// One of them the control plane has to know.
    pub(crate) lost: bool,
}

/// How much room an [`EventQueue`] has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pressure {
    /// Less than half full.
    Low,
    /// In between: leave things as they are.
    Middle,
    /// More than three quarters full: data messages should stay where they are.
    High,
}

impl EventQueue {
    pub(crate) fn new(capacity: usize) -> io::Result<Self> {
        Ok(Self {
            state: Mutex::default(),
            len: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            readable: EventFd::new()?,
            capacity: capacity.max(16),
        })
    }

    /// Adds `events`. What can be left out is dropped from three quarters on, data when the queue is
    /// full. For what the control plane has to know there is as much room again, and for the failure
    /// of a worker always.
    pub(crate) fn publish(&self, events: impl IntoIterator<Item = Event>) -> Published {
        let mut published = Published::default();
        let mut state = lock(&self.state);
        let was_empty = state.events.is_empty();
        for event in events {
            let weight = event.weight();
            let limit = match weight {
                Weight::Droppable => self.capacity * 3 / 4,
                Weight::Data => self.capacity,
                Weight::Critical => self.capacity * 2,
                Weight::Failure => usize::MAX,
            };
            if state.events.len() >= limit {
                published.dropped += 1;
                published.lost |= weight == Weight::Critical;
                continue;
            }
            state.bytes += event.payload_len();
            state.events.push_back(event);
        }
        self.note(&state);
        let is_news = was_empty && !state.events.is_empty();
        drop(state);
        // Who is woken takes hold of the queue at once, and should not have to wait for it.
        if is_news {
            self.readable.signal();
        }
        published
    }

    fn note(&self, state: &EventState) {
        self.len.store(state.events.len(), Ordering::Release);
        self.bytes.store(state.bytes, Ordering::Release);
    }

    /// Takes up to `limit` events, oldest first.
    pub(crate) fn drain(&self, limit: usize) -> Vec<Event> {
        let mut state = lock(&self.state);
        let count = limit.min(state.events.len());
        let events: Vec<_> = state.events.drain(..count).collect();
        state.bytes -= events.iter().map(Event::payload_len).sum::<usize>();
        self.note(&state);
        if state.events.is_empty() {
            self.readable.clear();
        }
        events
    }

    pub(crate) fn pressure(&self) -> Pressure {
        let len = self.len.load(Ordering::Acquire);
        let bytes = self.bytes.load(Ordering::Acquire);
        if len > self.capacity * 3 / 4 || bytes > EVENT_BYTES {
            Pressure::High
        } else if len < self.capacity / 2 && bytes < EVENT_BYTES / 2 {
            Pressure::Low
        } else {
            Pressure::Middle
        }
    }
}

impl AsRawFd for EventQueue {
    fn as_raw_fd(&self) -> RawFd {
        self.readable.as_raw_fd()
    }
}

/// A panic elsewhere left the queue as it was between two operations: it can be used.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(len: usize) -> Event {
        Event::DataReceived {
            transport: 1,
            stream_id: 0,
            payload: vec![0; len],
            binary: true,
        }
    }

    fn levels() -> Event {
        Event::AudioLevels {
            worker: 0,
            levels: Vec::new(),
        }
    }

    fn critical() -> Event {
        Event::DataChannelClosed {
            transport: 1,
            stream_id: 0,
        }
    }

    fn failure() -> Event {
        Event::WorkerFailed {
            worker: 0,
            reason: String::new(),
            replaced: true,
        }
    }

    #[test]
    fn levels_are_dropped_before_data_and_data_before_the_rest() {
        let queue = EventQueue::new(16).unwrap();
        let fits = Published::default();
        let drops = |dropped| Published {
            dropped,
            lost: false,
        };
        assert_eq!(queue.publish((0..12).map(|_| data(0))), fits);
        assert_eq!(queue.publish([levels(), data(0), levels()]), drops(2));
        assert_eq!(queue.pressure(), Pressure::High);
        assert_eq!(queue.publish((0..4).map(|_| data(0))), drops(1));
        assert_eq!(queue.publish((0..16).map(|_| critical())), fits);
        assert_eq!(queue.publish([data(0)]), drops(1));
        assert_eq!(queue.drain(25).len(), 25);
        assert_eq!(queue.pressure(), Pressure::Low);
        assert_eq!(queue.drain(100).len(), 7);
        assert_eq!(queue.drain(100).len(), 0);
    }

    #[test]
    fn what_has_to_be_known_is_not_lost_without_a_word() {
        let queue = EventQueue::new(16).unwrap();
        let published = queue.publish((0..40).map(|_| critical()));
        assert_eq!((published.dropped, published.lost), (8, true));
        assert_eq!(queue.publish([failure()]), Published::default());
        let events = queue.drain(100);
        assert_eq!(events.len(), 33);
        assert!(matches!(events[32], Event::WorkerFailed { .. }));
    }

    #[test]
    fn bytes_make_pressure_too() {
        let queue = EventQueue::new(1000).unwrap();
        queue.publish([data(EVENT_BYTES + 1), data(1)]);
        assert_eq!(queue.pressure(), Pressure::High);
        queue.drain(1);
        assert_eq!(queue.pressure(), Pressure::Low);
    }

    #[test]
    fn commands_find_no_more_room_than_there_is() {
        let queue = CommandQueue::new(2);
        let mut slots = queue.lock();
        slots.push(Command::CollectStats { request: 1 });
        assert_eq!(slots.room(), 1);
        slots.push(Command::CollectStats { request: 2 });
        assert_eq!(slots.room(), 0);
        drop(slots);
        let mut taken = VecDeque::new();
        queue.take(&mut taken, 64);
        assert_eq!(taken.len(), 2);
        assert_eq!(queue.lock().room(), 2);
    }

    #[test]
    fn commands_are_taken_some_at_a_time_and_in_order() {
        let queue = CommandQueue::new(1000);
        for request in 0..150 {
            queue.lock().push(Command::CollectStats { request });
        }
        let (mut taken, mut turns) = (VecDeque::new(), Vec::new());
        let mut order = Vec::new();
        while !queue.is_empty() {
            queue.take(&mut taken, 64);
            turns.push(taken.len());
            for command in taken.drain(..) {
                let Command::CollectStats { request } = command else {
                    unreachable!()
                };
                order.push(request);
            }
        }
        assert_eq!(turns, [64, 64, 22]);
        assert!(order.is_sorted());
        // What a turn left counts for the next one.
        taken.extend((0..60).map(|request| Command::CollectStats { request }));
        queue.lock().push(Command::CollectStats { request: 60 });
        queue.take(&mut taken, 64);
        assert_eq!((taken.len(), queue.is_empty()), (61, true));
    }
}
