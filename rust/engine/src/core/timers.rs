//! Deadlines of many objects in one heap.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use crate::api::Id;

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
    /// The observation window of audio levels.
    AudioLevels,
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
#[derive(Debug, Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<(Instant, Task)>>,
}

impl Timers {
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
    use std::time::Duration;

    #[test]
    fn only_the_latest_arming_fires() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let (mut timers, mut armed) = (Timers::default(), Armed::default());
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
}
