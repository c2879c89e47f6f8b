//! The outgoing stream of one down track: packets in, rewritten packets out.

mod playout_delay;
mod repair;

use std::time::{Duration, Instant};

use super::history::{History, Patch, Sent};
use super::numbering::{Numbering, Place};
use super::output::{Media, Output};
use super::redundancy::{Body, Redundancy};
use super::rtx_budget::RtxBudget;
use super::sent_log::SentLog;
use super::stats::DownTrackStats;
use super::svc::{LayerPair, Selected, SvcSelector};
use super::timeline::{Cause, EraStart, Timeline};
use super::vp8::Vp8Munger;
use crate::bitrate::BitrateMeter;
use crate::clock::PublisherClock;
use crate::packet::PacketInfo;
use crate::params::{DownTrackConfig, MAX_SPATIAL_LAYERS, MediaKind};
use crate::receiver::Receiver;
use crate::sink::PacketSink;
use playout_delay::PlayoutDelayController;
use rtp::rtcp::SenderInfo;
use rtp::seq::ExtSeq;

/// Packets that can be sent again: as many as the publisher's ring holds.
const HISTORY_VIDEO: usize = 512;
const HISTORY_AUDIO: usize = 256;

/// How long going up a temporal layer waits for a frame that says that it needs none of those left
/// out, for publishers that never say so.
const LAYER_SYNC_PATIENCE: Duration = Duration::from_secs(2);

/// What the running era reads from.
#[derive(Clone, Copy, Debug)]
struct Era {
    layer: u8,
    began: Instant,
    /// A sender report from before the era does not fit it: the source's clock stood still.
    needs_new_report: bool,
}

/// The stream of one down track.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(super) output: Output,
    pub(super) playout_delay: Option<PlayoutDelayController>,
    numbering: Numbering,
    timeline: Timeline,
    vp8: Vp8Munger,
    svc: SvcSelector,
    /// Packets of this era that were sent from the redundancy of later ones.
    recovered: SentLog,
    history: History,
    rtx_budget: Option<RtxBudget>,
    era: Option<Era>,
    /// How far each layer was looked at in its eras: nothing is sent twice.
    done: [ExtSeq; MAX_SPATIAL_LAYERS],
    /// Highest spatial layer wanted of a stream that carries several.
    max_spatial: u8,
    /// Highest temporal layer wanted; none: send nothing.
    max_temporal: Option<u8>,
    /// Highest temporal layer sent in this era.
    temporal_sent: u8,
    /// Since when a frame that allows going up a temporal layer is awaited.
    layer_sync_since: Option<Instant>,
    /// The highest outgoing number with media.
    highest_media: u64,
    at_frame_end: bool,
    /// The subscriber waits for a key frame with this outgoing number or a higher one.
    picture_lost: Option<u64>,
    /// When a key frame was last begun.
    key_frame_at: Option<Instant>,
    /// When the stream was made, and the time of what happens now.
    created: Instant,
    now: Instant,
    bitrate: BitrateMeter,
    packets: u64,
    bytes: u64,
    payload_bytes: u64,
    retransmissions: u64,
    dropped: u64,
    nacks: u64,
    /// Those of them for packets that had been sent again already.
    repeated_nacks: u64,
    key_frames: u64,
}

impl Stream {
    pub(crate) fn new(now: Instant, config: &DownTrackConfig, source: &Receiver) -> Self {
        let mut output = Output::new(config, source);
        let numbering = Numbering::new(1 << 16 | u64::from(config.ssrc & 0x7fff));
        let playout_delay = PlayoutDelayController::of(now, config, source, &numbering);
        if let Some(controller) = &playout_delay {
            output.set_playout_delay(config, controller.value());
        }
        Self {
            playout_delay,
            numbering,
            timeline: Timeline::new(output.clock_rate()),
            vp8: Vp8Munger::default(),
            svc: SvcSelector::default(),
            recovered: SentLog::default(),
            history: make_history(&output, source),
            rtx_budget: config.rtx_budget.map(RtxBudget::new),
            output,
            era: None,
            done: [0; MAX_SPATIAL_LAYERS],
            max_spatial: u8::try_from(config.max_spatial).unwrap_or(0),
            max_temporal: u8::try_from(config.max_temporal).ok(),
            temporal_sent: 0,
            layer_sync_since: None,
            highest_media: 0,
            at_frame_end: true,
            picture_lost: None,
            key_frame_at: None,
            created: now,
            now,
            bitrate: BitrateMeter::new(now),
            packets: 0,
            bytes: 0,
            payload_bytes: 0,
            retransmissions: 0,
            dropped: 0,
            nacks: 0,
            repeated_nacks: 0,
            key_frames: 0,
        }
    }

    /// Reads from `source` from now on.
    pub(crate) fn set_source(&mut self, config: &DownTrackConfig, source: &Receiver) {
        self.output.set_source(config, source);
        self.history = make_history(&self.output, source);
        self.timeline.forget_source();
        self.era = None;
        self.done = [0; MAX_SPATIAL_LAYERS];
    }

    /// Nothing of what was sent is sent again.
    pub(super) fn forget_history(&mut self, source: &Receiver) {
        self.history = make_history(&self.output, source);
    }

    /// The publisher began `layer` anew. If it is the one being sent, nothing is until another era
    /// begins.
    pub(crate) fn layer_began_anew(&mut self, layer: u8) {
        if let Some(era) = self.era.take_if(|era| era.layer == layer) {
            self.done[usize::from(era.layer)] = self.numbering.highest_in();
        }
        let other = self.era.map(|era| era.layer);
        self.timeline.forget_layer(layer, other);
    }

    pub(crate) fn output(&self) -> &Output {
        &self.output
    }

    pub(crate) fn is_open(&self) -> bool {
        self.max_temporal.is_some()
    }

    /// Changes the highest layers wanted; a negative one: send nothing.
    pub(crate) fn set_max(&mut self, max_spatial: i8, max_temporal: i8) {
        self.max_spatial = u8::try_from(max_spatial).unwrap_or(0);
        self.max_temporal = u8::try_from(max_temporal).ok();
    }

    fn wanted(&self) -> LayerPair {
        LayerPair {
            spatial: self.max_spatial,
            temporal: self.max_temporal.unwrap_or(0),
        }
    }

    /// The highest layers being sent of the source's stream `layer`.
    pub(crate) fn layers(&self, layer: u8) -> LayerPair {
        self.svc.current().unwrap_or(LayerPair {
            spatial: layer,
            temporal: self.numbering.max_temporal().min(self.temporal_sent),
        })
    }

    /// Whether the subscriber lost the picture, or gets less than it wants until a key frame comes.
    pub(crate) fn waits_for_key_frame(&self) -> bool {
        let lost = self.picture_lost.is_some() || self.numbering.has_jumped();
        lost || self.svc.waits_for_key_frame(self.wanted())
    }

    /// Whether the last packet sent was the last of its frame.
    pub(crate) fn is_at_frame_end(&self) -> bool {
        self.at_frame_end
    }

    /// The subscriber lost the picture. Returns false if a key frame went out so recently that
    /// the subscriber cannot have known.
    pub(crate) fn picture_lost(&mut self, now: Instant, rtt: Duration) -> bool {
        let on_its_way = |sent| now.saturating_duration_since(sent) < rtt;
        if self.key_frame_at.is_some_and(on_its_way) {
            return false;
        }
        self.picture_lost = Some(self.numbering.next_out());
        self.history.give_up();
        true
    }

    /// Sets the time of everything that follows.
    pub(crate) fn set_now(&mut self, now: Instant) {
        self.now = now;
        self.output.set_now(now);
    }

    /// Whether an era may begin with the packet `first` of `layer`: it was not sent before.
    pub(crate) fn may_begin_at(&self, layer: u8, first: ExtSeq) -> bool {
        let running = self.era.filter(|era| era.layer == layer);
        let done = match running {
            Some(_) => self.numbering.highest_in(),
            None => self.done[usize::from(layer)],
        };
        first > done
    }

    /// Begins an era with the packet `first` of `layer`. Returns false if it cannot begin there.
    pub(crate) fn begin_era(
        &mut self,
        layer: u8,
        first: ExtSeq,
        cause: Cause,
        source: &Receiver,
    ) -> bool {
        let Some((info, _)) = source.packet(layer, first) else {
            return false;
        };
        let start = EraStart {
            layer,
            timestamp: info.timestamp,
            arrival: info.arrival,
            cause,
        };
        let report = |layer| source.sender_report(layer);
        if self.timeline.begin_era(&start, report).is_err() {
            return false;
        }
        if let Some(era) = self.era {
            self.done[usize::from(era.layer)] = self.numbering.highest_in();
        }
        let picture_offset = info.vp8.map_or(0, |vp8| self.vp8.begin_era(&vp8));
        self.svc.begin_era(info);
        self.recovered = SentLog::default();
        let max_temporal = self.max_temporal.unwrap_or(0);
        self.numbering
            .begin_era(first, picture_offset, max_temporal);
        self.layer_sync_since = None;
        self.temporal_sent = 0;
        self.era = Some(Era {
            layer,
            began: info.arrival,
            needs_new_report: cause
                == (Cause::Resume {
                    source_paused: true,
                }),
        });
        true
    }

    /// Forwards the batch of `layer` from the index `from` on; with `to_frame_end` only until a
    /// frame ends. Returns the index after the last packet dealt with.
    pub(crate) fn forward_batch<S: PacketSink + ?Sized>(
        &mut self,
        layer: u8,
        from: usize,
        to_frame_end: bool,
        source: &Receiver,
        sink: &mut S,
    ) -> usize {
        let batch = source.batch(layer);
        for (index, &ext_seq) in batch.iter().enumerate().skip(from) {
            if to_frame_end && self.at_frame_end {
                return index;
            }
            if let Some((info, packet)) = source.packet(layer, ext_seq) {
                self.forward(ext_seq, info, packet, source, sink);
            }
        }
        batch.len()
    }

    /// Forwards everything that the ring of `layer` has from `first` on.
    pub(crate) fn replay<S: PacketSink + ?Sized>(
        &mut self,
        layer: u8,
        first: ExtSeq,
        source: &Receiver,
        sink: &mut S,
    ) {
        for ext_seq in first..=source.highest(layer) {
            if let Some((info, packet)) = source.packet(layer, ext_seq) {
                self.forward(ext_seq, info, packet, source, sink);
            }
        }
    }

    #[inline]
    fn forward<S: PacketSink + ?Sized>(
        &mut self,
        ext_seq: ExtSeq,
        info: &PacketInfo,
        packet: &[u8],
        source: &Receiver,
        sink: &mut S,
    ) {
        let Some(era) = self.era else { return };
        let types = self.output.payload_types(info.codec);
        let types = types.filter(|_| !info.is_padding());
        if let Some(types) = types.filter(|types| types.redundancy == Redundancy::Extract) {
            if !self.may_recover(ext_seq) {
                return;
            }
            self.recover(ext_seq, (info, packet), types, source, sink);
        }
        let place_in = (era.layer, ext_seq);
        let body =
            types.and_then(|types| Body::new(types.redundancy, place_in, info, packet, source));
        let sendable = types.zip(body);
        let place = self.numbering.place(ext_seq);
        let (out, picture_offset, (types, body), selected) = match (place, sendable) {
            (Place::Nowhere, _) => return,
            (Place::Next, None) => return self.numbering.leave_out(ext_seq, false),
            (Place::Next, Some(sendable)) => {
                let Some(selected) = self.select(ext_seq, info, source) else {
                    let new_picture = info.vp8.is_some_and(|vp8| self.vp8.leave_out(&vp8));
                    return self.numbering.leave_out(ext_seq, new_picture);
                };
                let out = self.numbering.take(ext_seq);
                (out, self.numbering.picture_offset(), sendable, selected)
            }
            (
                Place::Late {
                    out,
                    picture_offset,
                    max_temporal,
                },
                sendable,
            ) => {
                let selected = self.select_late(info, max_temporal, source);
                let Some((sendable, selected)) = sendable.zip(selected) else {
                    return self.fill(era.layer, out, ext_seq, sink);
                };
                self.numbering.take_late(out);
                (out, picture_offset, sendable, selected)
            }
        };
        let newest = out > self.highest_media;
        let timestamp = self.timeline.munge(info.timestamp);
        let patch = match &info.vp8 {
            Some(vp8) => Patch::Vp8(self.vp8.munge(vp8, picture_offset, newest)),
            None => selected.patch,
        };
        let marker = info.marker || selected.marker;
        if newest {
            self.highest_media = out;
            self.timeline.sent(timestamp, info.arrival);
            self.at_frame_end = marker;
        }
        self.temporal_sent = self.temporal_sent.max(info.temporal);
        if info.entry.is_some() {
            self.picture_lost = self.picture_lost.filter(|&lost| out < lost);
            self.numbering.begin_again(out);
        }
        if info.key_frame && self.history.key_frame(out, timestamp) {
            self.key_frames += 1;
            self.key_frame_at = Some(self.now);
        }
        let sent = Sent::media(ext_seq, era.layer, timestamp, marker, patch);
        let sent = self.history.push(out, sent);
        let media = Some(Media { info, packet, body });
        match self.output.send(&sent, types, media, sink) {
            Some(bytes) => self.count(bytes, usize::from(info.payload_len)),
            None => self.dropped += 1,
        }
    }

    /// Whether the next packet in order is sent, and how.
    #[inline]
    fn select(
        &mut self,
        ext_seq: ExtSeq,
        info: &PacketInfo,
        source: &Receiver,
    ) -> Option<Selected> {
        if let Some(svc) = &info.svc {
            return self.svc.select(svc, info, false, self.wanted(), source);
        }
        let admitted = info.vp8.is_none() || self.admits(ext_seq, info);
        admitted.then(Selected::default)
    }

    /// The same for a packet that was missing; `max_temporal` is the limit of its time.
    fn select_late(
        &mut self,
        info: &PacketInfo,
        max_temporal: u8,
        source: &Receiver,
    ) -> Option<Selected> {
        match &info.svc {
            Some(svc) => self.svc.select(svc, info, true, self.wanted(), source),
            None => (info.temporal <= max_temporal).then(Selected::default),
        }
    }

    /// Whether the temporal layer of the next packet in order is sent. Changes of the limit are
    /// made here, between two frames.
    fn admits(&mut self, ext_seq: ExtSeq, info: &PacketInfo) -> bool {
        let limit = self.numbering.max_temporal();
        let wanted = self.max_temporal.unwrap_or(0);
        if limit != wanted && info.is_frame_start() {
            let changed = if wanted < limit || info.key_frame {
                Some(wanted)
            } else {
                self.step_up(info, limit, wanted)
            };
            if let Some(changed) = changed {
                self.numbering.set_max_temporal(ext_seq, changed);
            }
        }
        info.temporal <= self.numbering.max_temporal()
    }

    /// The new limit, if this frame begins a higher temporal layer that can be joined here: it
    /// needs nothing of that layer from before.
    fn step_up(&mut self, info: &PacketInfo, limit: u8, wanted: u8) -> Option<u8> {
        let since = *self.layer_sync_since.get_or_insert(self.now);
        let impatient = self.now.saturating_duration_since(since) >= LAYER_SYNC_PATIENCE;
        let joinable = info.depends_on_temporal <= limit || impatient;
        if !joinable || info.temporal <= limit || info.temporal > wanted {
            return None;
        }
        self.layer_sync_since = (info.temporal < wanted).then_some(self.now);
        Some(info.temporal)
    }

    fn count(&mut self, bytes: usize, payload: usize) {
        self.packets += 1;
        self.bytes += bytes as u64;
        self.payload_bytes += payload as u64;
        self.bitrate.add(self.now, bytes);
        if let Some(budget) = &mut self.rtx_budget
            && payload > 0
        {
            budget.media(bytes);
        }
    }

    /// What a sender report says now, if the publisher's last one fits what is being sent: its NTP
    /// clock, and the outgoing timestamp of the same moment.
    pub(crate) fn sender_info(
        &self,
        now: Instant,
        source: &Receiver,
        clock: &PublisherClock,
    ) -> Option<SenderInfo> {
        let era = self.era.filter(|_| self.packets > 0)?;
        let report = source.sender_report(era.layer)?;
        if era.needs_new_report && report.arrival < era.began {
            return None;
        }
        let ntp = clock.ntp_at(now)?;
        Some(SenderInfo {
            ntp,
            rtp_timestamp: self
                .timeline
                .munge(report.timestamp_at(ntp, self.output.clock_rate())),
            packet_count: self.packets as u32,
            octet_count: self.payload_bytes as u32,
        })
    }

    /// Media packets sent, and requests for packets that had been sent again already.
    pub(crate) fn nack_counts(&self) -> (u64, u64) {
        (self.packets, self.repeated_nacks)
    }

    pub(crate) fn stats(&mut self, now: Instant) -> DownTrackStats {
        DownTrackStats {
            packets: self.packets,
            bytes: self.bytes,
            retransmissions: self.retransmissions,
            retransmissions_capped: self.rtx_budget.as_ref().map_or(0, |budget| budget.capped),
            dropped: self.dropped,
            bitrate_bps: self.bitrate.bps(now),
            nacks_received: self.nacks,
            key_frames: self.key_frames,
            ..DownTrackStats::default()
        }
    }
}

fn make_history(output: &Output, source: &Receiver) -> History {
    History::new(match source.kind() {
        _ if !output.has_nack() => 0,
        MediaKind::Video => HISTORY_VIDEO,
        MediaKind::Audio => HISTORY_AUDIO,
    })
}
