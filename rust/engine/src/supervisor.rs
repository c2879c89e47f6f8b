//! Whether the workers turn: what each tells from its loop, and the thread that looks at it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::api::{Event, Fault};
use crate::queue::EventQueue;

/// Looks in the time after which a turn counts as stalled.
const LOOKS: u32 = 4;

/// What a worker and its watchers share.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    origin: Instant,
    /// Nanoseconds from the origin to the beginning of the turn, and 1; 0: the worker waits.
    busy_since: AtomicU64,
    ended: AtomicBool,
    /// A [`Fault`] that a test wants, and 1.
    fault: AtomicU8,
}

impl Heartbeat {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            origin: now,
            busy_since: AtomicU64::new(0),
            ended: AtomicBool::new(false),
            fault: AtomicU8::new(0),
        }
    }

    /// A turn begins.
    pub(crate) fn begin(&self, now: Instant) {
        let since = now.saturating_duration_since(self.origin).as_nanos() as u64;
        self.busy_since.store(since + 1, Ordering::Relaxed);
    }

    /// The worker waits for something to do.
    pub(crate) fn rest(&self) {
        self.busy_since.store(0, Ordering::Relaxed);
    }

    /// For how long the turn has been going on.
    fn busy_for(&self, now: Instant) -> Option<Duration> {
        let since = self.busy_since.load(Ordering::Relaxed).checked_sub(1)?;
        let elapsed = now.saturating_duration_since(self.origin);
        Some(elapsed.saturating_sub(Duration::from_nanos(since)))
    }

    /// The worker will not turn again.
    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::Release);
        self.rest();
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    pub(crate) fn inject(&self, fault: Fault) {
        self.fault.store(fault as u8 + 1, Ordering::Release);
    }

    /// Does what a test wants. Returns whether the thread is to end.
    pub(crate) fn suffer(&self) -> bool {
        let wanted = |fault: Fault| fault as u8 + 1;
        if self.fault.load(Ordering::Relaxed) == 0 {
            return false;
        }
        while self.fault.load(Ordering::Acquire) == wanted(Fault::Hang) {
            std::thread::sleep(Duration::from_millis(1));
        }
        let fault = self.fault.swap(0, Ordering::AcqRel);
        assert!(fault != wanted(Fault::Panic), "injected");
        fault == wanted(Fault::Die)
    }
}

/// Tells stalled turns from others.
#[derive(Debug)]
struct Stalls {
    limit: Duration,
    /// For each worker how long its stalled turn has taken so far.
    stalled: Vec<Option<Duration>>,
}

impl Stalls {
    fn new(limit: Duration, workers: usize) -> Self {
        Self {
            limit,
            stalled: vec![None; workers],
        }
    }

    /// Takes how long the turn of `worker` has been going on. Returns what is to be said.
    fn observe(&mut self, worker: usize, busy_for: Option<Duration>) -> Option<Event> {
        let before = self.stalled[worker];
        let now = busy_for.filter(|&elapsed| elapsed >= self.limit);
        self.stalled[worker] = now;
        if before.is_some() == now.is_some() {
            return None;
        }
        let elapsed = now.or(before).unwrap_or_default();
        Some(Event::WorkerStalled {
            worker,
            stalled: now.is_some(),
            elapsed_ms: elapsed.as_millis() as u64,
        })
    }
}

/// Looks after the workers until every sender of `stop` is gone.
pub(crate) fn watch(
    hearts: &[Arc<Heartbeat>],
    limit: Duration,
    events: &EventQueue,
    stop: &Receiver<()>,
) {
    let mut stalls = Stalls::new(limit, hearts.len());
    let interval = (limit / LOOKS).max(Duration::from_millis(1));
    while stop.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
        let now = Instant::now();
        let looks = hearts.iter().enumerate();
        let said = looks.filter_map(|(worker, heart)| stalls.observe(worker, heart.busy_for(now)));
        let said: Vec<_> = said.collect();
        if !said.is_empty() {
            events.publish(said);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_stalled_from_the_limit_on_and_said_once() {
        let ms = Duration::from_millis;
        let mut stalls = Stalls::new(ms(100), 2);
        assert_eq!(stalls.observe(1, None), None);
        assert_eq!(stalls.observe(1, Some(ms(99))), None);
        let said = |stalled, elapsed_ms| {
            Some(Event::WorkerStalled {
                worker: 1,
                stalled,
                elapsed_ms,
            })
        };
        assert_eq!(stalls.observe(1, Some(ms(120))), said(true, 120));
        assert_eq!(stalls.observe(1, Some(ms(170))), None);
        // Another turn, and then none.
        assert_eq!(stalls.observe(1, Some(ms(3))), said(false, 170));
        assert_eq!(stalls.observe(1, None), None);
        assert_eq!(stalls.observe(0, None), None);
    }

    #[test]
    fn a_heart_tells_how_long_a_turn_takes() {
        let now = Instant::now();
        let heart = Heartbeat::new(now);
        let at = |ms| now + Duration::from_millis(ms);
        assert_eq!(heart.busy_for(at(5)), None);
        heart.begin(at(5));
        assert_eq!(heart.busy_for(at(30)), Some(Duration::from_millis(25)));
        heart.rest();
        assert_eq!(heart.busy_for(at(30)), None);
        assert!(!heart.suffer());
        heart.inject(Fault::Die);
        assert!(heart.suffer() && !heart.suffer());
    }
}
