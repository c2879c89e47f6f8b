//! Deadlines of many objects in one heap.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use crate::api::Id;

/// Longest delay of [`Timers::with_slack`].
const SLACK_MAX: Duration = Duration::from_millis(256);

/// A deadline may come later by this part of the time until it.
const SLACK_PART: u32 = 16;

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Task {
    /// ICE, DTLS and SCTP of a transport.
    Transport(Id),
    /// Sender reports and congestion control feedback of a transport.
    Reports(Id),
    /// Layers, NACKs, PLIs and reports of a receiver.
    Receiver(Id),
    /// Key frame requests of a down track.
    DownTrack(Id),
    /// Bandwidth of a transport's down tracks.
    Allocation(Id),
    /// The observation window of audio levels.
    AudioLevels,
    /// Senders that wait for readers of their data.
    SlowReaders,
    /// Media that should flow and does not.
    Watch,
    /// Statistics that somebody asked for.
    Statistics,
}

/// When an object's task is in the heap; kept by the object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Armed(Option<Instant>);

impl Armed {
    /// Whether the entry that came due at `at` is the current one. Forgets it if so.
    pub(crate) fn fire(&mut self, at: Instant) -> bool {
        let current = self.0 == Some(at);
        if current {
            self.0 = None;
        }
        current
    }
}

/// A heap of entries that may be out of date: a deadline that moves nearer adds an entry, one that
/// moves away is found too early and armed again. An object therefore costs nothing while its
/// deadline stays away.
#[derive(Debug)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<(Instant, Task)>>,
    /// Where the grid of [`Timers::with_slack`] begins.
    origin: Instant,
}

impl Timers {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            heap: BinaryHeap::new(),
            origin: now,
        }
    }

    /// A deadline that bears delay, moved to a grid: what many idle transports do every few seconds
    /// falls together, and costs the worker one wake-up and a batch of datagrams instead of one each.
    /// The grid is as wide as the largest power of two of ms that is at most 1/16 of the time until
    /// the deadline, and at most 256 ms; what is due within 16 ms is left as it is.
    pub(crate) fn with_slack(&self, now: Instant, deadline: Instant) -> Instant {
        let until = deadline.saturating_duration_since(now);
        let slack = (until / SLACK_PART).min(SLACK_MAX).as_millis() as u64;
        let Some(width) = slack.checked_ilog2().map(|bits| 1 << bits) else {
            return deadline;
        };
        let since = deadline.saturating_duration_since(self.origin).as_nanos() as u64;
        let slots = since.div_ceil(width * 1_000_000);
        self.origin + Duration::from_millis(slots * width)
    }

    /// Makes sure that `task` comes due at `deadline` at the latest.
    #[inline]
    pub(crate) fn arm(&mut self, task: Task, armed: &mut Armed, deadline: Option<Instant>) {
        let Some(deadline) = deadline else { return };
        if armed.0.is_none_or(|at| deadline < at) {
            armed.0 = Some(deadline);
            self.heap.push(Reverse((deadline, task)));
        }
    }

    /// The earliest entry.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// Moves everything due at `now` into `due`.
    pub(crate) fn take_due(&mut self, now: Instant, due: &mut Vec<(Instant, Task)>) {
        while let Some(&Reverse(entry)) = self.heap.peek()
            && entry.0 <= now
        {
            self.heap.pop();
            due.push(entry);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_latest_arming_fires() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let (mut timers, mut armed) = (Timers::new(start), Armed::default());
        let task = Task::Receiver(1);
        timers.arm(task, &mut armed, Some(at(20)));
        timers.arm(task, &mut armed, Some(at(10)));
        timers.arm(task, &mut armed, Some(at(30)));
        timers.arm(task, &mut armed, None);
        assert_eq!(timers.next(), Some(at(10)));
        let mut due = Vec::new();
        timers.take_due(at(9), &mut due);
        assert_eq!(due, []);
        timers.take_due(at(30), &mut due);
        assert_eq!(due, [(at(10), task), (at(20), task)]);
        let fired: Vec<_> = due.iter().map(|&(at, _)| armed.fire(at)).collect();
        assert_eq!(fired, [true, false]);
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn deadlines_far_away_fall_together_and_near_ones_stay() {
        let start = Instant::now();
        let timers = Timers::new(start);
        let at = |micros| start + Duration::from_micros(micros);
        let grid = |now, deadline| timers.with_slack(at(now), at(deadline));
        assert_eq!(grid(0, 15_999), at(15_999));
        assert_eq!(grid(0, 16_001), at(17_000));
        assert_eq!(grid(500, 2_000_500), at(2_048_000));
        assert_eq!(grid(40_000, 2_040_000), at(2_048_000));
        assert_eq!(grid(0, 2_048_000), at(2_048_000));
        assert_eq!(grid(0, 5_000_001), at(5_120_000));
        assert_eq!(grid(0, 60_000_001), at(60_160_000));
        assert_eq!(grid(100, 50), at(50));
    }
}
