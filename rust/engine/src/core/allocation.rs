//! Bandwidth of subscribers: what their estimates mean for the layers of their down tracks.

use std::time::Instant;

use rtp::rtcp::Remb;
use sfu::{AllocatedTrack, Allocation, MediaKind, StreamAllocator, StreamState, TrackSample};

use super::Core;
use super::table::Index;
use super::timers::Task;
use crate::api::{EngineError, Event, Id};

/// Whose samples an allocator needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Samples {
    /// Nobody's.
    None,
    /// The one track's, or everybody's if the change of one may concern the others.
    Of(Id),
    /// Everybody's.
    All,
}

impl Core {
    /// Changes how the bandwidth of a transport is divided.
    pub(super) fn set_congestion_control(
        &mut self,
        now: Instant,
        id: Id,
        allow_pause: bool,
        capacity: Option<u64>,
    ) -> Result<(), EngineError> {
        let index = self.find_connection(id)?;
        self.allocate(now, index, Samples::All, |allocator| {
            allocator.set_allow_pause(allow_pause);
            allocator.override_capacity(now, capacity);
        });
        Ok(())
    }

    /// A down track was made: what there is room for is found out.
    pub(super) fn allocate_to(&mut self, now: Instant, at: Index) {
        let Some(subscription) = self.subscriptions.get(at) else {
            return;
        };
        let source = subscription.source.and_then(|at| self.sources.get(at));
        let Some(receiver) = source.map(|source| &source.receiver) else {
            return;
        };
        if receiver.kind() != MediaKind::Video {
            return;
        }
        let key = subscription.id;
        let track = AllocatedTrack {
            key,
            screen_share: receiver.is_screen_share(),
            multi_layered: receiver.is_multi_layered(),
        };
        self.allocate(now, subscription.connection, Samples::None, |allocator| {
            allocator.add_track(track);
        });
        self.reallocate(now, at);
    }

    /// What is wanted of a down track, or what comes for it, changed.
    pub(super) fn reallocate(&mut self, now: Instant, at: Index) {
        let Some(subscription) = self.subscriptions.get(at) else {
            return;
        };
        let (index, key) = (subscription.connection, subscription.id);
        self.allocate(now, index, Samples::Of(key), |allocator| {
            allocator.track_changed(now, key);
        });
    }

    /// A down track of the transport at `index` is gone.
    pub(super) fn deallocate(&mut self, now: Instant, index: Index, key: Id) {
        self.allocate(now, index, Samples::All, |allocator| {
            allocator.remove_track(now, key);
        });
    }

    /// The subscriber says what it can receive.
    pub(super) fn handle_remb(&mut self, now: Instant, index: Index, remb: Remb<'_>) {
        let Some(connection) = self.connections.get(index) else {
            return;
        };
        let ours = |ssrc| connection.ssrcs_out.contains_key(&ssrc);
        // Small receivers name no stream.
        if remb.ssrcs.iter().next().is_none() || remb.ssrcs.iter().any(ours) {
            self.allocate(now, index, Samples::All, |allocator| {
                allocator.handle_estimate(now, remb.bitrate);
            });
        }
    }

    /// The timer of a transport's allocator.
    pub(super) fn run_allocation(&mut self, now: Instant, at: Instant, id: Id) {
        let Some(index) = self.connections.find(id) else {
            return;
        };
        let connection = self.connections.get_mut(index);
        if connection.is_some_and(|connection| connection.allocation_timer.fire(at)) {
            self.guard(now, id, |core| core.drive_allocation(now, index));
        }
    }

    fn drive_allocation(&mut self, now: Instant, index: Index) {
        let Some(connection) = self.connections.get(index) else {
            return;
        };
        let sent = connection.sent.bytes;
        let looks = connection.allocator.is_looking(now);
        let samples = if looks { Samples::All } else { Samples::None };
        let mut padding = 0;
        self.allocate(now, index, samples, |allocator| {
            padding = allocator.handle_timeout(now, sent);
        });
        if padding > 0 {
            self.send_padding(now, index, padding);
        }
    }

    fn send_padding(&mut self, now: Instant, index: Index, bytes: u64) {
        let Self {
            connections,
            subscriptions,
            egress,
            ..
        } = self;
        let Some(connection) = connections.get_mut(index) else {
            return;
        };
        let down_tracks = connection.down_tracks.clone();
        let mut sent = 0;
        if let Some(mut sink) = connection.sink(egress) {
            for at in down_tracks {
                let Some(left) = bytes.checked_sub(sent).filter(|&left| left > 0) else {
                    break;
                };
                if let Some(subscription) = subscriptions.get_mut(at) {
                    let track = &mut subscription.track;
                    sent += track.send_padding(now, left as usize, &mut sink) as u64;
                }
            }
        }
        connection.allocator.padding_sent(sent);
    }

    /// Tells the transport's allocator what its tracks are like and what happened, and does what it
    /// says.
    fn allocate(
        &mut self,
        now: Instant,
        index: Index,
        samples: Samples,
        drive: impl FnOnce(&mut StreamAllocator),
    ) {
        let Self {
            connections,
            subscriptions,
            sources,
            ..
        } = self;
        let Some(connection) = connections.get_mut(index) else {
            return;
        };
        let allocator = &mut connection.allocator;
        let keys: Vec<_> = match samples {
            Samples::None => Vec::new(),
            Samples::Of(key) if allocator.is_stable() => vec![key],
            Samples::Of(_) | Samples::All => allocator.keys().collect(),
        };
        for key in keys {
            let Some(subscription) = subscriptions.find(key).and_then(|at| subscriptions.get(at))
            else {
                continue;
            };
            let source = subscription.source.and_then(|at| sources.get_mut(at));
            let sample = source.map_or_else(TrackSample::default, |source| {
                subscription.track.sample(now, &mut source.receiver)
            });
            allocator.observe(now, key, sample);
        }
        drive(allocator);
        let changes: Vec<_> = allocator.take_changes().collect();
        for (key, allocation) in changes {
            self.apply(now, key, allocation);
        }
        let Some(connection) = self.connections.get_mut(index) else {
            return;
        };
        tell_states(&mut self.events, connection.id, &mut connection.allocator);
        let deadline = connection.allocator.next_deadline();
        let task = Task::Allocation(connection.id);
        self.timers
            .arm(task, &mut connection.allocation_timer, deadline);
    }

    fn apply(&mut self, now: Instant, key: Id, allocation: Allocation) {
        let Some(at) = self.subscriptions.find(key) else {
            return;
        };
        let Some(subscription) = self.subscriptions.get_mut(at) else {
            return;
        };
        if let Some(source) = subscription.source.and_then(|at| self.sources.get(at)) {
            let track = &mut subscription.track;
            track.set_allocation(now, allocation, &source.receiver);
        }
        self.follow_down_track(at);
    }
}

/// Packets of the down track `key` are sent, after none were.
pub(super) fn resumed(
    events: &mut Vec<Event>,
    transport: Id,
    allocator: &mut StreamAllocator,
    key: Id,
) {
    allocator.resumed(key);
    tell_states(events, transport, allocator);
}

fn tell_states(events: &mut Vec<Event>, transport: Id, allocator: &mut StreamAllocator) {
    let states = allocator.take_states();
    if !states.is_empty() {
        let paused = |(key, state)| (key, state == StreamState::Paused);
        events.push(Event::StreamStatesChanged {
            transport,
            states: states.into_iter().map(paused).collect(),
        });
    }
}
