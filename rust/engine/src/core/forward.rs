//! From receivers to down tracks into the send batch.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use sfu::Receiver;

use super::allocation::resumed;
use super::connection::Connection;
#[cfg(test)]
use super::guard::Point;
use super::table::Index;
use super::timers::{Task, Timers};
use super::{Core, Subscription};
use crate::api::{Event, Id};
use crate::egress::Egress;

/// From the first packet that a down track sends to its sender report: players wait for it to
/// synchronise lips, and more tracks may start together.
pub(super) const FIRST_SENDER_REPORT: Duration = Duration::from_millis(100);

impl Core {
    /// Forwards what has arrived since the last call: source by source, subscriber by subscriber,
    /// the whole batch at once. That makes long runs for the kernel and keeps keys in the cache.
    pub fn end_batch(&mut self, now: Instant) {
        let mut touched = std::mem::take(&mut self.touched);
        for at in touched.drain(..) {
            self.forward(now, at);
        }
        // Nothing is added while forwarding.
        self.touched = touched;
        self.forward_data_packets(now);
    }

    fn forward(&mut self, now: Instant, at: Index) {
        let Self {
            connections,
            sources,
            subscriptions,
            egress,
            timers,
            events,
            ..
        } = self;
        let Some(source) = sources.get_mut(at) else {
            return;
        };
        source.touched = false;
        if source.receiver.batch_has_media() {
            source.flow.last = Some(now);
        }
        let mut panicked: Vec<Id> = Vec::new();
        for &at in &source.down_tracks {
            let Some(subscription) = subscriptions.get_mut(at) else {
                continue;
            };
            let Some(connection) = connections.get_mut(subscription.connection) else {
                continue;
            };
            let id = connection.id;
            #[cfg(test)]
            let panics = self.panic_at == Some(Point::Transport(id));
            let receiver = &source.receiver;
            let drive = AssertUnwindSafe(|| {
                #[cfg(test)]
                assert!(!panics, "injected");
                forward_to(
                    now,
                    receiver,
                    subscription,
                    connection,
                    egress,
                    timers,
                    events,
                );
            });
            if catch_unwind(drive).is_err() {
                #[cfg(test)]
                {
                    self.panic_at = None;
                }
                panicked.push(id);
            }
        }
        let publisher = connections.get(source.connection).map(|c| c.id);
        if let Some(publisher) = publisher {
            self.guard(now, publisher, |core| core.batch_forwarded(now, at));
        }
        for id in panicked {
            self.abandon(now, id);
        }
    }

    /// The batch of a receiver went to all of its down tracks.
    fn batch_forwarded(&mut self, now: Instant, at: Index) {
        if let Some(source) = self.sources.get_mut(at) {
            source.receiver.end_batch();
            #[cfg(test)]
            {
                let id = source.id;
                self.maybe_panic(Point::EndBatch(id));
            }
        }
        self.follow_receiver(now, at);
    }

    /// Reports what changed at a receiver and sees to its next deadline.
    pub(super) fn follow_receiver(&mut self, now: Instant, at: Index) {
        let Some(source) = self.sources.get_mut(at) else {
            return;
        };
        if let Some(layers) = source.receiver.take_layer_change() {
            let codec = source.receiver.codec();
            self.events.push(Event::ReceiverLayersChanged {
                receiver: source.id,
                layers: layers.collect(),
                mime_type: codec.map_or_else(String::new, |codec| codec.mime_type.clone()),
            });
        }
        let deadline = source.receiver.next_deadline(now);
        let task = Task::Receiver(source.id);
        self.timers.arm(task, &mut source.timer, deadline);
    }

    /// Lets every down track of a receiver see what changed there.
    pub(super) fn follow_source(&mut self, now: Instant, at: Index) {
        let Some(source) = self.sources.get(at) else {
            return;
        };
        let ids = source.down_tracks.iter().filter_map(|&at| {
            let subscription = self.subscriptions.get(at)?;
            let connection = self.connections.get(subscription.connection)?;
            Some((at, connection.id))
        });
        let down_tracks: Vec<_> = ids.collect();
        for (at, transport) in down_tracks {
            self.guard(now, transport, |core| {
                core.drive_down_track(now, at);
                core.reallocate(now, at);
            });
        }
        self.follow_receiver(now, at);
    }

    /// Runs what is due for a down track: it follows its source and may want a key frame.
    pub(super) fn drive_down_track(&mut self, now: Instant, at: Index) {
        let Some(subscription) = self.subscriptions.get_mut(at) else {
            return;
        };
        let Some(source) = subscription.source.and_then(|at| self.sources.get_mut(at)) else {
            return;
        };
        subscription.track.handle_timeout(now, &mut source.receiver);
        let deadline = source.receiver.next_deadline(now);
        let task = Task::Receiver(source.id);
        self.timers.arm(task, &mut source.timer, deadline);
        self.follow_down_track(at);
    }

    /// Sees to the next deadline of a down track to which something happened.
    pub(super) fn follow_down_track(&mut self, at: Index) {
        let Some(subscription) = self.subscriptions.get_mut(at) else {
            return;
        };
        // What it sends from now on is known when it sends it.
        subscription.track.take_layer_change();
        let task = Task::DownTrack(subscription.id);
        let deadline = subscription.track.next_deadline();
        self.timers.arm(task, &mut subscription.timer, deadline);
    }

    /// The timer of a down track.
    pub(super) fn run_down_track(&mut self, now: Instant, at: Instant, id: Id) {
        let Some(index) = self.subscriptions.find(id) else {
            return;
        };
        let Some(subscription) = self.subscriptions.get_mut(index) else {
            return;
        };
        if !subscription.timer.fire(at) {
            return;
        }
        if let Some(connection) = self.connections.get(subscription.connection) {
            let transport = connection.id;
            self.guard(now, transport, |core| core.drive_down_track(now, index));
        }
    }
}

/// Forwards the batch of `receiver` to one subscriber.
#[inline]
fn forward_to(
    now: Instant,
    receiver: &Receiver,
    subscription: &mut Subscription,
    connection: &mut Connection,
    egress: &mut Egress,
    timers: &mut Timers,
    events: &mut Vec<Event>,
) {
    let before = connection.sent.packets;
    let Some(mut sink) = connection.sink(egress) else {
        return;
    };
    let track = &mut subscription.track;
    track.forward(now, receiver, &mut sink);
    if connection.sent.packets != before {
        subscription.flow.last = Some(now);
    }
    if let Some((0.., _)) = track.take_layer_change() {
        resumed(
            events,
            connection.id,
            &mut connection.allocator,
            subscription.id,
        );
        if !subscription.reported {
            connection.want_sender_reports(now + FIRST_SENDER_REPORT);
            let task = Task::Reports(connection.id);
            let deadline = connection.reports_deadline();
            timers.arm(task, &mut connection.reports_timer, deadline);
        }
    }
    let task = Task::DownTrack(subscription.id);
    timers.arm(task, &mut subscription.timer, track.next_deadline());
}
