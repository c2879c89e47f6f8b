//! Statistics.

use std::time::{Duration, Instant};

use super::Core;
use crate::api::{DownTrackStats, Event, LayerStats, StatsCollected, TransportStats, WorkerStats};

impl Core {
    pub(super) fn collect_stats(&mut self, now: Instant, request: u64) {
        let stats = StatsCollected {
            request,
            worker: self.worker_stats(),
            layers: self.layer_stats(now),
            down_tracks: self.down_track_stats(now),
            transports: self.transport_stats(now),
            data_tracks: self.data_track_stats(),
            data_down_tracks: self.data_down_track_stats(),
        };
        self.events.push(Event::StatsCollected(Box::new(stats)));
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

    fn layer_stats(&mut self, now: Instant) -> Vec<LayerStats> {
        let layers = self.sources.iter_mut().flat_map(|source| {
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
        });
        layers.collect()
    }

    fn down_track_stats(&mut self, now: Instant) -> Vec<DownTrackStats> {
        let connections = &self.connections;
        let down_tracks = self.subscriptions.iter_mut().map(|subscription| {
            let connection = connections.get(subscription.connection);
            let stats = subscription.track.stats(now);
            DownTrackStats {
                down_track: subscription.id,
                ssrc: stats.ssrc,
                spatial: stats.spatial,
                temporal: stats.temporal,
                allowed_spatial: stats.allowed_spatial,
                allowed_temporal: stats.allowed_temporal,
                deficient: connection.is_some_and(|c| c.allocator.is_deficient(subscription.id)),
                muted: stats.muted,
                packets: stats.packets,
                bytes: stats.bytes,
                retransmissions: stats.retransmissions,
                bitrate_bps: stats.bitrate_bps,
                packets_lost: stats.packets_lost,
                fraction_lost: stats.fraction_lost,
                jitter_ms: milliseconds(stats.jitter),
                rtt_ms: stats.rtt.map_or(-1.0, milliseconds),
                nacks_received: stats.nacks_received,
                plis_received: stats.plis_received,
                key_frames: stats.key_frames,
            }
        });
        down_tracks.collect()
    }

    fn transport_stats(&mut self, now: Instant) -> Vec<TransportStats> {
        let subscriptions = &mut self.subscriptions;
        let transports = self.connections.iter_mut().map(|connection| {
            let down_tracks = connection.down_tracks.iter();
            let retransmissions: u64 = down_tracks
                .filter_map(|&at| Some(subscriptions.get_mut(at)?.track.stats(now).retransmissions))
                .sum();
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
                estimate_bps: connection
                    .allocator
                    .estimate()
                    .map_or(-1.0, |bps| bps as f64),
                capacity_bps: connection
                    .allocator
                    .capacity()
                    .map_or(-1.0, |bps| bps as f64),
            }
        });
        transports.collect()
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
