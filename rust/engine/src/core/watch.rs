//! Media that should flow and does not: looked for once a second, a slice of the worker's tracks per
//! turn, by counters that there are anyway.
//!
//! A receiver should receive while its publisher is connected and has not muted it, and while
//! somebody wants it: who publishes for nobody may have been told to stop. One that never received
//! anything may take longer to begin, unless packets of its transport are dropped meanwhile. A down
//! track should send while its source receives, unless it is meant to be silent
//! ([`Silence::Intended`]).

use std::time::{Duration, Instant};

use sfu::{Receiver, Silence};
use transport::IceState;

use super::Core;
use super::table::Index;
use super::timers::{Armed, Task};
use crate::api::Event;

/// Time between two looks at one track.
const LOOK: Duration = Duration::from_secs(1);

/// Tracks that are looked at in one turn.
pub(super) const SLICE: usize = 256;

/// Silence of a track that should flow. Opus without speech (DTX) sends every 400 ms.
const STALLED_AFTER: Duration = Duration::from_secs(5);

/// The same for a screen share: what does not change may be sent rarely.
const SCREEN_STALLED_AFTER: Duration = Duration::from_secs(15);

/// The same for a track of which nothing has come yet: who publishes it may take time to begin.
const NOT_BEGUN_AFTER: Duration = Duration::from_secs(15);

/// A source flows that received something within this time.
const FLOWS: Duration = Duration::from_millis(2500);

/// Whether one track flows, as it looked last.
#[derive(Debug, Default)]
pub(super) struct Flow {
    /// The last packet of media.
    pub(super) last: Option<Instant>,
    /// Since when nothing flows though it should: since the last packet, or since it should.
    since: Option<Instant>,
    stalled: bool,
}

/// What changed about a [`Flow`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Change {
    stalled: bool,
    /// How long nothing flowed.
    elapsed: Duration,
}

impl Flow {
    /// Looks whether the track flows. `is_due`: it should.
    fn look(&mut self, now: Instant, is_due: bool, limit: Duration) -> Option<Change> {
        let before = self.since;
        let since = match (before, self.last) {
            _ if !is_due => None,
            (Some(since), Some(last)) => Some(since.max(last)),
            (Some(since), None) => Some(since),
            (None, _) => Some(now),
        };
        self.since = since;
        let elapsed = since.map(|since| now.saturating_duration_since(since));
        let stalled = elapsed.is_some_and(|elapsed| elapsed >= limit);
        if stalled == self.stalled {
            return None;
        }
        self.stalled = stalled;
        // It ended with the first packet, or now, when nothing should flow any more.
        let ended = self.last.filter(|_| is_due).unwrap_or(now);
        let lasted = before.map(|since| ended.saturating_duration_since(since));
        let elapsed = if stalled { elapsed } else { lasted };
        Some(Change {
            stalled,
            elapsed: elapsed.unwrap_or_default(),
        })
    }

    /// How long nothing has flowed though it should.
    fn quiet_for(&self, now: Instant) -> Duration {
        self.since
            .map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }
}

/// Where the looking has got to.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// When it began, if it is going on.
    began: Option<Instant>,
    pub(super) down_tracks: Cursor,
    pub(super) receivers: Cursor,
    timer: Armed,
}

/// A slot of a table.
type Cursor = usize;

impl Core {
    /// Something is to be watched.
    pub(super) fn schedule_watch(&mut self, now: Instant) {
        let next = self.timers.with_slack(now, now + LOOK);
        self.timers
            .arm(Task::Watch, &mut self.watch.timer, Some(next));
    }

    /// Looks at some tracks.
    pub(super) fn run_watch(&mut self, now: Instant, at: Instant) {
        if !self.watch.timer.fire(at) {
            return;
        }
        let began = *self.watch.began.get_or_insert(now);
        let mut budget = SLICE;
        // Down tracks first: they tell which receivers are wanted.
        while budget > 0
            && let Some((index, next)) = self.subscriptions.next_from(self.watch.down_tracks)
        {
            self.watch.down_tracks = next;
            budget -= 1;
            let owner = self.subscriptions.get(index).map(|s| s.connection);
            self.guard_at(now, owner, |core| core.watch_down_track(now, index));
        }
        while budget > 0
            && let Some((index, next)) = self.sources.next_from(self.watch.receivers)
        {
            self.watch.receivers = next;
            budget -= 1;
            let owner = self.sources.get(index).map(|source| source.connection);
            self.guard_at(now, owner, |core| core.watch_receiver(now, began, index));
        }
        let timer = &mut self.watch.timer;
        if budget == 0 {
            return self.timers.arm(Task::Watch, timer, Some(now));
        }
        self.watch = Watch::default();
        if self.sources.len() + self.subscriptions.len() > 0 {
            self.schedule_watch(now);
        }
    }

    fn watch_down_track(&mut self, now: Instant, at: Index) {
        let Some(subscription) = self.subscriptions.get_mut(at) else {
            return;
        };
        let Some(connection) = self.connections.get(subscription.connection) else {
            return;
        };
        let source = subscription.source.and_then(|at| self.sources.get_mut(at));
        let mut silence = Silence::Intended;
        let (mut flows, mut limit) = (false, STALLED_AFTER);
        if let Some(source) = source {
            silence = subscription.track.silence(&source.receiver);
            if silence != Silence::Intended {
                source.wanted_at = Some(now);
            }
            flows = source.flow.last.is_some_and(|last| now <= last + FLOWS);
            limit = limit_of(&source.receiver);
        }
        let is_due = flows && silence != Silence::Intended;
        let change = subscription.flow.look(now, is_due, limit);
        if let Some(Change { stalled, elapsed }) = change {
            let cause = match silence {
                _ if !stalled => "",
                Silence::NoLayer => "no_layer",
                Silence::WaitingForKeyFrame => "waiting_for_key_frame",
                Silence::Intended | Silence::Unexplained => "not_forwarded",
            };
            self.events.push(Event::DownTrackStalled {
                transport: connection.id,
                down_track: subscription.id,
                stalled,
                cause,
                elapsed_ms: elapsed.as_millis() as u64,
            });
        }
    }

    /// `began`: since when it has been looked whether somebody wants it.
    fn watch_receiver(&mut self, now: Instant, began: Instant, at: Index) {
        let Some(source) = self.sources.get_mut(at) else {
            return;
        };
        let Some(connection) = self.connections.get(source.connection) else {
            return;
        };
        let receiver = &source.receiver;
        let is_due = connection.ice_state == IceState::Connected
            && connection.can_send
            && !receiver.is_muted()
            && source.wanted_at.is_some_and(|at| at >= began);
        let before = source.quiet.as_deref();
        let limit = match source.flow.last {
            Some(_) => limit_of(receiver),
            None if before.is_some_and(|before| connection.drops.has_lost_media(before)) => {
                STALLED_AFTER
            }
            None => NOT_BEGUN_AFTER,
        };
        let change = source.flow.look(now, is_due, limit);
        if source.flow.quiet_for(now) < LOOK {
            source.quiet = None;
        } else if source.quiet.is_none() {
            source.quiet = Some(Box::new(connection.drops.clone()));
        }
        if let Some(Change { stalled, elapsed }) = change {
            let before = source.quiet.as_deref();
            let grown = before.and_then(|before| connection.drops.most_grown(before));
            self.events.push(Event::ReceiverStalled {
                receiver: source.id,
                stalled,
                cause: match grown.filter(|_| stalled) {
                    Some(reason) => format!("dropped_{}", reason.as_str()),
                    None if stalled => "no_packets".to_owned(),
                    None => String::new(),
                },
                elapsed_ms: elapsed.as_millis() as u64,
            });
        }
    }
}

/// Silence of a track of `receiver` that is too long.
fn limit_of(receiver: &Receiver) -> Duration {
    if receiver.is_screen_share() {
        SCREEN_STALLED_AFTER
    } else {
        STALLED_AFTER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    #[test]
    fn silence_counts_from_when_media_is_due() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut flow = Flow::default();
        let change = |stalled, seconds| {
            Some(Change {
                stalled,
                elapsed: Duration::from_secs(seconds),
            })
        };
        for second in 0..20 {
            assert_eq!(flow.look(at(second), false, LIMIT), None);
        }
        assert_eq!(flow.look(at(20), true, LIMIT), None);
        assert_eq!(flow.look(at(24), true, LIMIT), None);
        assert_eq!(flow.look(at(25), true, LIMIT), change(true, 5));
        assert_eq!(flow.look(at(26), true, LIMIT), None);
        flow.last = Some(at(27));
        assert_eq!(flow.look(at(28), true, LIMIT), change(false, 7));
        assert_eq!(flow.look(at(31), true, LIMIT), None);
        assert_eq!(flow.look(at(33), true, LIMIT), change(true, 6));
        // Muted: it is over, whether or not anything came.
        assert_eq!(flow.look(at(35), false, LIMIT), change(false, 8));
        assert_eq!(flow.look(at(36), false, LIMIT), None);
    }

    #[test]
    fn gaps_shorter_than_the_limit_are_nothing() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut flow = Flow::default();
        for second in 0..60 {
            if second % 4 == 0 {
                flow.last = Some(at(second));
            }
            assert_eq!(flow.look(at(second), true, LIMIT), None);
        }
    }
}
