//! Bounded queues between the control plane's threads and the workers.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::api::{Command, Event};
use crate::sys::eventfd::EventFd;

/// Bytes of data messages that may wait for the control plane.
const EVENT_BYTES: usize = 32 * 1024 * 1024;

/// Commands for one worker. Only the worker takes them out.
#[derive(Debug)]
pub(crate) struct CommandQueue {
    commands: Mutex<VecDeque<Command>>,
    capacity: usize,
    refused: AtomicU64,
}

impl CommandQueue {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            commands: Mutex::default(),
            capacity: capacity.max(1),
            refused: AtomicU64::new(0),
        }
    }

    /// Takes hold of the queue, to see whether there is room and then to fill it.
    pub(crate) fn lock(&self) -> CommandSlots<'_> {
        CommandSlots {
            commands: lock(&self.commands),
            capacity: self.capacity,
        }
    }

    /// Moves everything that waits to the end of `into`.
    pub(crate) fn take(&self, into: &mut VecDeque<Command>) {
        into.append(&mut lock(&self.commands));
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
    capacity: usize,
}

impl CommandSlots<'_> {
    pub(crate) fn room(&self) -> usize {
        self.capacity.saturating_sub(self.commands.len())
    }

    pub(crate) fn push(&mut self, command: Command) {
        self.commands.push_back(command);
    }
}

/// Events of all workers for the control plane, with a descriptor that is readable while some wait.
#[derive(Debug)]
pub(crate) struct EventQueue {
    state: Mutex<EventState>,
    readable: EventFd,
    capacity: usize,
}

#[derive(Debug, Default)]
struct EventState {
    events: VecDeque<Event>,
    bytes: usize,
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
            readable: EventFd::new()?,
            capacity: capacity.max(16),
        })
    }

    /// Adds `events` and returns how many were dropped. What can be left out is dropped from three
    /// quarters on, everything when the queue is full.
    pub(crate) fn publish(&self, events: impl IntoIterator<Item = Event>) -> u64 {
        let mut dropped = 0;
        let mut state = lock(&self.state);
        let was_empty = state.events.is_empty();
        for event in events {
            let len = state.events.len();
            let limit = if event.is_droppable() {
                self.capacity * 3 / 4
            } else {
                self.capacity
            };
            if len >= limit {
                dropped += 1;
                continue;
            }
            state.bytes += event.payload_len();
            state.events.push_back(event);
        }
        if was_empty && !state.events.is_empty() {
            self.readable.signal();
        }
        dropped
    }

    /// Takes up to `limit` events, oldest first.
    pub(crate) fn drain(&self, limit: usize) -> Vec<Event> {
        let mut state = lock(&self.state);
        let count = limit.min(state.events.len());
        let events: Vec<_> = state.events.drain(..count).collect();
        state.bytes -= events.iter().map(Event::payload_len).sum::<usize>();
        if state.events.is_empty() {
            self.readable.clear();
        }
        events
    }

    pub(crate) fn pressure(&self) -> Pressure {
        let state = lock(&self.state);
        let len = state.events.len();
        if len > self.capacity * 3 / 4 || state.bytes > EVENT_BYTES {
            Pressure::High
        } else if len < self.capacity / 2 && state.bytes < EVENT_BYTES / 2 {
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

    #[test]
    fn levels_are_dropped_before_other_events() {
        let queue = EventQueue::new(16).unwrap();
        assert_eq!(queue.publish((0..12).map(|_| data(0))), 0);
        assert_eq!(queue.publish([levels(), data(0), levels()]), 2);
        assert_eq!(queue.pressure(), Pressure::High);
        assert_eq!(queue.publish((0..4).map(|_| data(0))), 1);
        assert_eq!(queue.drain(9).len(), 9);
        assert_eq!(queue.pressure(), Pressure::Low);
        assert_eq!(queue.drain(100).len(), 7);
        assert_eq!(queue.drain(100).len(), 0);
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
        queue.take(&mut taken);
        assert_eq!(taken.len(), 2);
        assert_eq!(queue.lock().room(), 2);
    }
}
