//! What a panic costs: the transport that it was about, and no other.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use super::Core;
use super::table::Index;
use crate::api::{Event, Id};

/// Where a test lets a panic happen.
#[cfg(test)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Point {
    /// A packet that comes from or goes to this transport.
    Transport(Id),
    /// The sender report of this down track.
    SenderReport(Id),
    /// What follows a batch of this receiver.
    EndBatch(Id),
    /// The audio level of this receiver.
    AudioLevel(Id),
    /// A data track packet that came on this transport.
    DataTrack(Id),
    /// A look at the readers of this transport's channels.
    Reader(Id),
    /// A command about this object.
    Command(Id),
    /// The goodbye of this transport.
    Close(Id),
    /// Whatever a turn does for nobody in particular.
    Turn,
}

impl Core {
    /// Runs `drive` for the transport `id`. If it panics, the transport is closed and reported, and
    /// nothing else notices.
    pub(super) fn guard<R>(
        &mut self,
        now: Instant,
        id: Id,
        drive: impl FnOnce(&mut Self) -> R,
    ) -> Option<R> {
        match catch_unwind(AssertUnwindSafe(|| drive(self))) {
            Ok(result) => Some(result),
            Err(_) => {
                self.abandon(now, id);
                None
            }
        }
    }

    /// The same for the transport at `index`; without one nothing is done.
    pub(super) fn guard_at<R>(
        &mut self,
        now: Instant,
        index: Option<Index>,
        drive: impl FnOnce(&mut Self) -> R,
    ) -> Option<R> {
        let id = self.connections.get(index?)?.id;
        self.guard(now, id, drive)
    }

    /// Closes a transport whose state cannot be trusted any more.
    pub(super) fn abandon(&mut self, now: Instant, id: Id) {
        self.panics += 1;
        // What was being written is for nobody else.
        self.compound.clear();
        let Some(index) = self.connections.find(id) else {
            return;
        };
        // The goodbye may panic as well, half-way.
        let closing = AssertUnwindSafe(|| self.close_connection(now, id));
        let _ = catch_unwind(closing);
        self.release(now, id, index);
        self.events.push(Event::TransportClosed {
            transport: id,
            reason: "panic".to_owned(),
        });
    }

    /// Forgets whatever is the transport's. It is found by looking at every object of the worker:
    /// the transport's own lists may be what went wrong.
    fn release(&mut self, now: Instant, id: Id, index: Index) {
        let attempt = |core: &mut Self, close: &dyn Fn(&mut Self)| {
            // Everything is taken out of its table before anything else is done with it.
            let _ = catch_unwind(AssertUnwindSafe(|| close(core)));
        };
        for id in self.subscriptions.ids_where(|s| s.connection == index) {
            attempt(self, &|core| core.close_down_track(now, id));
        }
        for id in self.sources.ids_where(|s| s.connection == index) {
            attempt(self, &|core| core.close_receiver(now, id));
        }
        for id in self.data_down_tracks.ids_where(|d| d.connection == index) {
            attempt(self, &|core| core.close_data_down_track(id));
        }
        for id in self.data_tracks.ids_where(|d| d.connection == index) {
            attempt(self, &|core| core.close_data_track(id));
        }
        attempt(self, &|core| drop(core.connections.remove(id)));
        self.tuples.retain(|_, owner| *owner != index);
        self.ufrags.retain(|_, owner| *owner != index);
    }

    /// The transport that the object `subject` is on.
    pub(super) fn transport_of(&self, subject: Id) -> Option<Id> {
        if self.connections.find(subject).is_some() {
            return Some(subject);
        }
        let source = self.sources.find(subject);
        let source = source.and_then(|at| Some(self.sources.get(at)?.connection));
        let subscription = self.subscriptions.find(subject);
        let subscription = subscription.and_then(|at| Some(self.subscriptions.get(at)?.connection));
        let index = source.or(subscription)?;
        Some(self.connections.get(index)?.id)
    }

    /// Panics if a test wants it here, once.
    #[cfg(test)]
    pub(super) fn maybe_panic(&mut self, point: Point) {
        if self.panic_at == Some(point) {
            self.panic_at = None;
            panic!("injected");
        }
    }

    #[cfg(test)]
    pub(super) fn maybe_panic_on(&mut self, index: Index) {
        if let Some(id) = self.connections.get(index).map(|connection| connection.id) {
            self.maybe_panic(Point::Transport(id));
        }
    }
}
