//! Statistics, taken in slices: a turn looks at some objects only and then lets packets through.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rustc_hash::{FxHashMap, FxHashSet};

use super::table::Index;
use super::timers::{Armed, Task};
use super::{Connection, Core, Source, Subscription};
use crate::api::{
    DownTrackStats, Event, Id, LayerStats, StatsCollected, TransportStats, WorkerStats,
};

/// Objects that are looked at in one turn: about a third of a millisecond. When turns are long because
/// there is much to forward, statistics of ten thousand tracks still come within ten of them.
pub(super) const SLICE: usize = 1024;

/// What a collection is looking at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// Which down tracks have no room for all that is wanted of them.
    #[default]
    Deficient,
    DownTracks,
    Transports,
    Layers,
    DataTracks,
    DataDownTracks,
    Done,
}

impl Stage {
    const fn next(self) -> Self {
        match self {
            Self::Deficient => Self::DownTracks,
            Self::DownTracks => Self::Transports,
            Self::Transports => Self::Layers,
            Self::Layers => Self::DataTracks,
            Self::DataTracks => Self::DataDownTracks,
            Self::DataDownTracks | Self::Done => Self::Done,
        }
    }
}

/// Requests for statistics and what has been collected for the first of them.
#[derive(Debug, Default)]
pub(super) struct Collection {
    /// Requests that the collection answers; empty: there is none.
    answers: Vec<u64>,
    /// Requests that came later: what happened before them may have been passed by already.
    waiting: VecDeque<u64>,
    stage: Stage,
    /// Slot of the stage's table.
    cursor: usize,
    stats: StatsCollected,
    deficient: FxHashSet<Id>,
    /// Of the down tracks that exist, by transport.
    retransmissions: FxHashMap<Index, u64>,
    timer: Armed,
    /// Most objects in one turn.
    #[cfg(test)]
    pub(super) longest: usize,
}

impl Collection {
    /// Requests without an answer.
    pub(super) fn unanswered(&self) -> impl Iterator<Item = u64> {
        self.answers.iter().chain(&self.waiting).copied()
    }

    fn advance(&mut self) {
        self.stage = self.stage.next();
        self.cursor = 0;
    }
}

impl Core {
    pub(super) fn collect_stats(&mut self, now: Instant, request: u64) {
        self.collection.waiting.push_back(request);
        self.go_on_collecting(now);
    }

    fn go_on_collecting(&mut self, now: Instant) {
        let timer = &mut self.collection.timer;
        self.timers.arm(Task::Statistics, timer, Some(now));
    }

    /// Looks at some objects; after the last one everybody who asked is answered.
    pub(super) fn run_statistics(&mut self, now: Instant, at: Instant) {
        if !self.collection.timer.fire(at) {
            return;
        }
        if self.collection.answers.is_empty() {
            self.collection.answers = self.collection.waiting.drain(..).collect();
            // Growing would copy everything in the middle of a turn.
            let stats = &mut self.collection.stats;
            stats.down_tracks.reserve_exact(self.subscriptions.len());
            stats.transports.reserve_exact(self.connections.len());
            stats.layers.reserve(self.sources.len());
        }
        let mut budget = SLICE;
        while budget > 0 && self.collection.stage != Stage::Done {
            if self.collect_next(now) {
                budget -= 1;
            } else {
                self.collection.advance();
            }
        }
        #[cfg(test)]
        {
            let looked = SLICE - budget;
            self.collection.longest = self.collection.longest.max(looked);
        }
        if self.collection.stage == Stage::Done {
            self.answer_collected();
        }
        if self.collection.unanswered().next().is_some() {
            self.go_on_collecting(now);
        }
    }

    /// Looks at the stage's next object. Returns whether there was one.
    fn collect_next(&mut self, now: Instant) -> bool {
        let cursor = self.collection.cursor;
        let next = match self.collection.stage {
            Stage::Deficient | Stage::Transports => self.connections.next_from(cursor),
            Stage::DownTracks => self.subscriptions.next_from(cursor),
            Stage::Layers => self.sources.next_from(cursor),
            Stage::DataTracks => self.data_tracks.next_from(cursor),
            Stage::DataDownTracks => self.data_down_tracks.next_from(cursor),
            Stage::Done => None,
        };
        let Some((index, cursor)) = next else {
            return false;
        };
        self.collection.cursor = cursor;
        let owner = match self.collection.stage {
            Stage::DownTracks => self.subscriptions.get(index).map(|s| s.connection),
            Stage::Layers => self.sources.get(index).map(|source| source.connection),
            Stage::DataTracks => self.data_tracks.get(index).map(|track| track.connection),
            Stage::DataDownTracks => self.data_down_tracks.get(index).map(|d| d.connection),
            Stage::Deficient | Stage::Transports | Stage::Done => Some(index),
        };
        self.guard_at(now, owner, |core| core.collect_one(now, index));
        true
    }

    fn collect_one(&mut self, now: Instant, index: Index) {
        let Collection {
            stage,
            stats,
            deficient,
            retransmissions,
            ..
        } = &mut self.collection;
        match stage {
            Stage::Deficient => {
                if let Some(connection) = self.connections.get(index) {
                    deficient.extend(connection.allocator.deficient_tracks());
                }
            }
            Stage::DownTracks => {
                if let Some(subscription) = self.subscriptions.get_mut(index) {
                    let is_deficient = deficient.contains(&subscription.id);
                    let told = down_track_stats(now, subscription, is_deficient);
                    *retransmissions.entry(subscription.connection).or_default() +=
                        told.retransmissions;
                    stats.down_tracks.push(told);
                }
            }
            Stage::Transports => {
                if let Some(connection) = self.connections.get(index) {
                    let of_tracks = retransmissions.get(&index).copied().unwrap_or(0);
                    stats
                        .transports
                        .push(transport_stats(connection, of_tracks));
                }
            }
            Stage::Layers => {
                if let Some(source) = self.sources.get_mut(index) {
                    stats.layers.extend(layer_stats(now, source));
                }
            }
            Stage::DataTracks => {
                let track = self.data_tracks.get_mut(index);
                stats.data_tracks.extend(track.map(|track| track.stats()));
            }
            Stage::DataDownTracks => {
                let down_track = self.data_down_tracks.get(index);
                let told = down_track.map(|down_track| down_track.stats());
                stats.data_down_tracks.extend(told);
            }
            Stage::Done => {}
        }
    }

    fn answer_collected(&mut self) {
        let timer = self.collection.timer;
        let collected = std::mem::take(&mut self.collection);
        self.collection = Collection {
            waiting: collected.waiting,
            timer,
            #[cfg(test)]
            longest: collected.longest,
            ..Collection::default()
        };
        let mut stats = Box::new(collected.stats);
        stats.worker = self.worker_stats();
        let Some((&last, others)) = collected.answers.split_last() else {
            return;
        };
        for &request in others {
            stats.request = request;
            self.events.push(Event::StatsCollected(stats.clone()));
        }
        stats.request = last;
        self.events.push(Event::StatsCollected(stats));
    }

    fn worker_stats(&self) -> WorkerStats {
        let output = self.egress.counters();
        let sent_drops = [
            ("send_full", output.dropped),
            ("send_refused", output.refused),
        ];
        let sent_drops = sent_drops.into_iter().filter(|&(_, count)| count > 0);
        WorkerStats {
            worker: self.worker,
            transports: self.connections.len(),
            datagrams_received: self.received,
            datagrams_sent: self.egress.datagrams(),
            datagrams_dropped: self.drops.datagrams(),
            send_calls: output.send_calls,
            send_would_block: output.would_block,
            commands_dropped: self.driver.commands_dropped,
            events_dropped: self.driver.events_dropped,
            panics: self.panics,
            cpu_seconds: self.driver.cpu.as_secs_f64(),
            drops_by_reason: self.drops.by_reason().chain(sent_drops).collect(),
        }
    }
}

fn layer_stats(now: Instant, source: &mut Source) -> impl Iterator<Item = LayerStats> {
    let receiver = source.id;
    source.receiver.stats(now).map(move |layer| LayerStats {
        receiver,
        spatial: layer.spatial,
        ssrc: layer.ssrc,
        rid: layer.rid.unwrap_or_default(),
        live: layer.live,
        packets: layer.packets,
        bytes: layer.bytes,
        packets_lost: layer.packets_lost,
        packets_recovered: layer.packets_recovered,
        duplicates: layer.duplicates,
        jitter_ms: milliseconds(layer.jitter),
        bitrate_bps: layer.bitrate_bps,
        frames: layer.frames,
        key_frames: layer.key_frames,
        nacks_sent: layer.nacks_sent,
        plis_sent: layer.plis_sent,
    })
}

fn down_track_stats(
    now: Instant,
    subscription: &mut Subscription,
    deficient: bool,
) -> DownTrackStats {
    let stats = subscription.track.stats(now);
    DownTrackStats {
        down_track: subscription.id,
        ssrc: stats.ssrc,
        spatial: stats.spatial,
        temporal: stats.temporal,
        allowed_spatial: stats.allowed_spatial,
        allowed_temporal: stats.allowed_temporal,
        deficient,
        muted: stats.muted,
        packets: stats.packets,
        bytes: stats.bytes,
        retransmissions: stats.retransmissions,
        retransmissions_capped: stats.retransmissions_capped,
        bitrate_bps: stats.bitrate_bps,
        packets_lost: stats.packets_lost,
        fraction_lost: stats.fraction_lost,
        jitter_ms: milliseconds(stats.jitter),
        rtt_ms: stats.rtt.map_or(-1.0, milliseconds),
        nacks_received: stats.nacks_received,
        plis_received: stats.plis_received,
        key_frames: stats.key_frames,
    }
}

fn transport_stats(connection: &Connection, retransmissions: u64) -> TransportStats {
    let allocator = &connection.allocator;
    TransportStats {
        transport: connection.id,
        packets_received: connection.packets_received,
        bytes_received: connection.bytes_received,
        packets_sent: connection.sent.packets,
        bytes_sent: connection.sent.bytes,
        srtp_errors: connection.srtp_errors,
        drops_by_reason: connection.drops.by_reason().collect(),
        rtt_ms: connection.rtt.map_or(-1.0, milliseconds),
        retransmissions_sent: connection.retransmissions + retransmissions,
        estimate_bps: allocator.estimate().map_or(-1.0, |bps| bps as f64),
        capacity_bps: allocator.capacity().map_or(-1.0, |bps| bps as f64),
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
