//! When a packet that came alone is acknowledged: sooner than the association would.
//!
//! A data stream of the Go SDK sends its next chunk when the last one is acknowledged, so that every
//! chunk of an odd number of packets would wait for the association's timer.

use std::time::{Duration, Instant};

/// How long such a packet waits for a second one to be acknowledged with it (RFC 9260 6.2 allows
/// 500 ms).
pub(super) const ACK_DELAY: Duration = Duration::from_millis(20);
/// How long the association waits by itself.
const ASSOCIATION_ACK_DELAY: Duration = Duration::from_millis(200);

/// A packet that is not acknowledged yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct DelayedAck {
    pub(super) due: Instant,
    /// When the association would acknowledge it: by then none of its other timers is due.
    pub(super) deadline: Instant,
}

impl DelayedAck {
    /// The one that a packet received at `now` has caused, by the association's next timeout.
    pub(super) fn of(now: Instant, timeout: Option<Instant>) -> Option<Self> {
        let deadline = now + ASSOCIATION_ACK_DELAY;
        let due = now + ACK_DELAY;
        (timeout == Some(deadline)).then_some(Self { due, deadline })
    }

    /// Whether it is still what the association, whose next timeout this is, has to do next.
    pub(super) fn is_next(&self, timeout: Option<Instant>) -> bool {
        timeout == Some(self.deadline)
    }
}
