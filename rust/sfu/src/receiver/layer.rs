//! One incoming RTP stream: a spatial layer of a published track.

use std::time::{Duration, Instant};

use rtp::nack::NackGenerator;
use rtp::rtcp::{ReportBlock, RtcpWriter, SenderInfo};
use rtp::seq::{ExtSeq, SeqUnwrapper, diff_u16};
use rtp::stats::ReceptionStats;

use super::key_frame::{KeyFrame, KeyFrameFinder};
use super::stats::LayerStats;
use crate::allocator::MAX_TEMPORAL_LAYERS;
use crate::bitrate::LayerBitrateMeter;
use crate::clock::SenderReport;
use crate::packet::PacketInfo;
use crate::params::Encoding;
use crate::ring::{Insert, PacketRing};
use crate::throttle::Throttle;
use crate::tracker::{StreamTracker, TrackerConfig};

/// A step of the sequence number larger than this is not loss (RFC 3550 A.1, `MAX_DROPOUT`).
const MAX_DROPOUT: u64 = 3000;

/// Packets of one turn that are expected at most; more make the list grow.
const BATCH_CAPACITY: usize = 128;

/// How long packets with the numbers of before a step are refused: they are late.
const FORMER_NUMBERS: Duration = Duration::from_secs(3);

/// Packets before the newest one of then that may be late, and after it that may have been on their way.
const FORMER_RANGE: std::ops::RangeInclusive<i16> = -512..=128;

/// The numbering that a stream had before it began anew.
#[derive(Clone, Copy, Debug)]
struct FormerNumbering {
    highest: u16,
    until: Instant,
}

impl FormerNumbering {
    /// Whether `sequence` is a late packet's, or one of those that were on their way.
    fn has(&self, now: Instant, sequence: u16) -> bool {
        now < self.until && FORMER_RANGE.contains(&diff_u16(sequence, self.highest))
    }
}

/// A packet as it was taken from the wire.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Incoming<'a> {
    pub(crate) info: PacketInfo,
    pub(crate) packet: &'a [u8],
    /// It came as a retransmission (RFC 4588).
    pub(crate) retransmitted: bool,
}

/// What a layer is made from.
#[derive(Clone, Debug)]
pub(crate) struct LayerConfig {
    pub(crate) spatial: u8,
    pub(crate) encoding: Option<Encoding>,
    pub(crate) clock_rate: u32,
    pub(crate) screen_share: bool,
    pub(crate) ring_capacity: usize,
    pub(crate) pli_throttle: Duration,
    /// None: the layer lives from its first packet on.
    pub(crate) tracker: Option<TrackerConfig>,
}

/// The state of one layer.
#[derive(Debug)]
pub(crate) struct Layer {
    config: LayerConfig,
    ssrc: Option<u32>,
    /// Counts how often the publisher began anew: with another ssrc, or other numbers.
    incarnation: u32,
    /// Made when the first packet comes: most tracks never use all their layers.
    ring: Option<PacketRing>,
    unwrapper: SeqUnwrapper,
    /// Added to what the unwrapper says, so that numbers grow even when the publisher begins anew.
    base: ExtSeq,
    /// After a large step: the number that the next packet must have for the step to be believed.
    probation: Option<u16>,
    former: Option<FormerNumbering>,
    batch: Vec<ExtSeq>,
    nack: NackGenerator,
    reception: ReceptionStats,
    tracker: Option<StreamTracker>,
    throttle: Throttle,
    pli_due: bool,
    key_frames: KeyFrameFinder,
    sender_report: Option<SenderReport>,
    /// The number and timestamp of the newest packet with media.
    newest_media: Option<(ExtSeq, u32)>,
    bitrate: LayerBitrateMeter,
    packets: u64,
    bytes: u64,
    duplicates: u64,
    recovered: u64,
    frames: u64,
    key_frame_count: u64,
    plis: u64,
    /// What former incarnations of the stream lost, and asked for.
    lost_before: i64,
    nacks_before: u64,
}

impl Layer {
    pub(crate) fn new(now: Instant, config: LayerConfig) -> Self {
        Self {
            ssrc: config.encoding.as_ref().and_then(|encoding| encoding.ssrc),
            incarnation: 0,
            ring: None,
            unwrapper: SeqUnwrapper::new(),
            base: 0,
            probation: None,
            former: None,
            batch: Vec::with_capacity(BATCH_CAPACITY),
            nack: NackGenerator::new(),
            reception: ReceptionStats::new(config.clock_rate, now),
            tracker: config.tracker.map(StreamTracker::new),
            throttle: Throttle::new(config.pli_throttle),
            pli_due: false,
            key_frames: KeyFrameFinder::default(),
            sender_report: None,
            newest_media: None,
            bitrate: LayerBitrateMeter::new(now, config.screen_share),
            packets: 0,
            bytes: 0,
            duplicates: 0,
            recovered: 0,
            frames: 0,
            key_frame_count: 0,
            plis: 0,
            lost_before: 0,
            nacks_before: 0,
            config,
        }
    }

    pub(crate) fn is_seen(&self) -> bool {
        self.ring.is_some()
    }

    pub(crate) fn is_published(&self) -> bool {
        self.config.encoding.is_some()
    }

    /// What was negotiated for it from now on; none: nothing.
    pub(crate) fn set_encoding(&mut self, encoding: Option<Encoding>) {
        if !self.is_seen() {
            self.ssrc = encoding.as_ref().and_then(|encoding| encoding.ssrc);
        }
        self.config.encoding = encoding;
    }

    pub(crate) fn is_live(&self) -> bool {
        match &self.tracker {
            Some(tracker) => tracker.is_live(),
            None => self.is_seen(),
        }
    }

    /// Whether packets come, though they may be too few for a live layer.
    pub(crate) fn is_sending(&self) -> bool {
        match &self.tracker {
            Some(tracker) => tracker.is_sending(),
            None => self.is_seen(),
        }
    }

    pub(crate) fn batch(&self) -> &[ExtSeq] {
        &self.batch
    }

    pub(crate) fn end_batch(&mut self) {
        self.batch.clear();
    }

    /// The newest key frame that forwarding may begin with: later packets have not taken the slots of
    /// any of its own.
    pub(crate) fn key_frame(&self, now: Instant) -> Option<KeyFrame> {
        let ring = self.ring.as_ref()?;
        let key_frame = self.key_frames.key_frame(now);
        key_frame.filter(|key_frame| !ring.is_too_old(key_frame.first))
    }

    /// Changes when the publisher begins anew: what comes then has nothing to do with what came.
    #[inline]
    pub(crate) fn incarnation(&self) -> u32 {
        self.incarnation
    }

    /// No packet of this incarnation has a lower number, and all of former ones have.
    #[inline]
    pub(crate) fn base(&self) -> ExtSeq {
        self.base
    }

    /// Whether a packet came within `time`.
    pub(crate) fn is_active(&self, now: Instant, time: Duration) -> bool {
        let newest = self.packet(self.highest());
        newest.is_some_and(|(info, _)| now.saturating_duration_since(info.arrival) < time)
    }

    pub(crate) fn sender_report(&self) -> Option<SenderReport> {
        self.sender_report
    }

    #[inline]
    pub(crate) fn packet(&self, ext_seq: ExtSeq) -> Option<(&PacketInfo, &[u8])> {
        self.ring.as_ref()?.get(ext_seq)
    }

    pub(crate) fn highest(&self) -> ExtSeq {
        self.ring.as_ref().map_or(0, PacketRing::highest)
    }

    /// The stream has another ssrc from now on.
    pub(crate) fn set_ssrc(&mut self, now: Instant, ssrc: u32) {
        if self.ssrc.replace(ssrc) != Some(ssrc) && self.is_seen() {
            self.restart(now);
            self.former = None;
        }
    }

    /// Stores a packet with the number that [`Self::unwrap`] gave it.
    pub(crate) fn insert(
        &mut self,
        now: Instant,
        ext_seq: ExtSeq,
        incoming: &Incoming<'_>,
    ) -> Insert {
        let capacity = self.config.ring_capacity;
        let ring = self.ring.get_or_insert_with(|| PacketRing::new(capacity));
        let outcome = ring.insert(ext_seq, incoming.info, incoming.packet);
        match outcome {
            Insert::Stored => self.stored(now, ext_seq, incoming),
            Insert::Duplicate => self.duplicates += 1,
            Insert::Refused => {}
        }
        outcome
    }

    pub(crate) fn handle_sender_report(&mut self, now: Instant, info: &SenderInfo) {
        self.reception.sender_report(now, info.ntp);
        if info.ntp != 0 {
            self.sender_report = Some(SenderReport {
                ntp: info.ntp,
                rtp_timestamp: info.rtp_timestamp,
                arrival: now,
            });
        }
    }

    pub(crate) fn set_rtt(&mut self, rtt: Duration) {
        self.nack.set_rtt(rtt);
    }

    pub(crate) fn set_paused(&mut self, now: Instant, paused: bool) {
        if let Some(tracker) = &mut self.tracker {
            tracker.set_paused(now, paused);
        }
    }

    /// Asks for a key frame unless that was done just now. Returns whether it is asked for.
    pub(crate) fn request_key_frame(&mut self, now: Instant) -> bool {
        if self.ssrc.is_none() || !self.throttle.allow(now) {
            return false;
        }
        self.pli_due = true;
        true
    }

    /// When a key frame may be asked for again, if it was.
    pub(crate) fn next_key_frame_request(&self) -> Option<Instant> {
        self.throttle.next()
    }

    /// Ends the tracker's cycles. Returns whether the layer's life changed.
    pub(crate) fn check(&mut self, now: Instant) -> bool {
        self.tracker
            .as_mut()
            .is_some_and(|tracker| tracker.check(now))
    }

    pub(crate) fn tracker_deadline(&self) -> Option<Instant> {
        self.tracker.as_ref()?.deadline()
    }

    pub(crate) fn is_pli_due(&self) -> bool {
        self.pli_due
    }

    pub(crate) fn nack_deadline(&self) -> Option<Instant> {
        self.nack.next_deadline()
    }

    /// Appends the PLI that is due.
    pub(crate) fn write_pli(&mut self, sender_ssrc: u32, writer: &mut RtcpWriter<'_>) {
        if let Some(ssrc) = self.ssrc.filter(|_| std::mem::take(&mut self.pli_due)) {
            writer.pli(sender_ssrc, ssrc);
            self.plis += 1;
        }
    }

    /// Appends a NACK for what is missing.
    pub(crate) fn write_nack(
        &mut self,
        now: Instant,
        sender_ssrc: u32,
        scratch: &mut Vec<u16>,
        writer: &mut RtcpWriter<'_>,
    ) {
        self.nack.poll(now, scratch);
        if let Some(ssrc) = self.ssrc {
            writer.nack(sender_ssrc, ssrc, scratch.iter().copied());
        }
    }

    pub(crate) fn report_block(&mut self, now: Instant) -> Option<ReportBlock> {
        self.reception.report_block(now, self.ssrc?)
    }

    /// Bits per second of each temporal layer by itself; none of a layer that is not live.
    pub(crate) fn bitrates(&mut self, now: Instant) -> [u64; MAX_TEMPORAL_LAYERS] {
        if self.is_live() {
            self.bitrate.by_layer(now)
        } else {
            [0; MAX_TEMPORAL_LAYERS]
        }
    }

    pub(crate) fn stats(&mut self, now: Instant) -> LayerStats {
        LayerStats {
            spatial: self.config.spatial,
            ssrc: self.ssrc.unwrap_or(0),
            rid: self
                .config
                .encoding
                .as_ref()
                .and_then(|encoding| encoding.rid.clone()),
            live: self.is_live(),
            packets: self.packets,
            bytes: self.bytes,
            packets_lost: self.lost_before + self.reception.lost(),
            packets_recovered: self.recovered,
            duplicates: self.duplicates,
            jitter: self.reception.jitter(),
            bitrate_bps: self.bitrate.bps(now),
            frames: self.frames,
            key_frames: self.key_frame_count,
            nacks_sent: self.nacks_before + self.nack.stats().requested,
            plis_sent: self.plis,
        }
    }

    /// Unwraps a sequence number; none: the packet is refused. A step that cannot be loss is believed
    /// when a second packet confirms it (RFC 3550 A.1), and begins a new incarnation.
    #[inline]
    pub(crate) fn unwrap(
        &mut self,
        now: Instant,
        sequence: u16,
        retransmitted: bool,
    ) -> Option<ExtSeq> {
        if let Some(highest) = self.unwrapper.highest() {
            let ext_seq = self.unwrapper.peek(sequence);
            let back = highest.saturating_sub(ext_seq);
            let ahead = ext_seq.saturating_sub(highest);
            if ahead > MAX_DROPOUT || back > self.config.ring_capacity.max(512) as u64 {
                let is_former = |former: FormerNumbering| former.has(now, sequence);
                if retransmitted || self.former.is_some_and(is_former) {
                    return None;
                }
                let confirmed = self.probation == Some(sequence);
                self.probation = Some(sequence.wrapping_add(1));
                if !confirmed {
                    return None;
                }
                self.restart(now);
            } else if retransmitted && ahead > 0 {
                // Nobody asked for it: it must not make what lies between look lost.
                return None;
            }
        } else if retransmitted {
            return None;
        }
        self.probation = None;
        Some(self.base + self.unwrapper.unwrap(sequence))
    }

    /// The publisher begins anew. Our numbers go on, after a step that nobody takes for loss.
    fn restart(&mut self, now: Instant) {
        self.incarnation = self.incarnation.wrapping_add(1);
        self.former = self.unwrapper.highest().map(|highest| FormerNumbering {
            highest: highest as u16,
            until: now + FORMER_NUMBERS,
        });
        self.base = (self.highest() | 0xffff) + 1;
        self.unwrapper = SeqUnwrapper::new();
        self.probation = None;
        self.lost_before += self.reception.lost();
        self.nacks_before += self.nack.stats().requested;
        let rtt = self.nack.rtt();
        self.nack = NackGenerator::new();
        self.nack.set_rtt(rtt);
        self.reception = ReceptionStats::new(self.config.clock_rate, now);
        self.sender_report = None;
        self.key_frames = KeyFrameFinder::default();
        self.newest_media = None;
        // What was asked of the former incarnation is not asked of this one.
        self.throttle = Throttle::new(self.config.pli_throttle);
        self.pli_due = false;
    }

    fn stored(&mut self, now: Instant, ext_seq: ExtSeq, incoming: &Incoming<'_>) {
        let Incoming {
            info,
            packet,
            retransmitted,
            ..
        } = incoming;
        self.batch.push(ext_seq);
        self.nack.received(now, ext_seq);
        if *retransmitted {
            self.recovered += 1;
        } else {
            // Retransmissions are another stream (RFC 4588 4): reports must not hide the loss.
            let number = ext_seq - self.base;
            let len = packet.len();
            self.reception
                .received(now, number, info.timestamp, len, true);
        }
        self.packets += 1;
        self.bytes += packet.len() as u64;
        self.bitrate.add(now, info.temporal, packet.len());
        if info.is_padding() {
            return;
        }
        if let Some(tracker) = &mut self.tracker {
            tracker.observe(now);
        }
        // By number: timestamps may go anywhere.
        let newest = self.newest_media;
        if newest.is_none_or(|(newest, _)| ext_seq > newest) {
            let same_frame = newest.is_some_and(|(_, newest)| info.timestamp == newest);
            self.frames += u64::from(!same_frame);
            self.newest_media = Some((ext_seq, info.timestamp));
        }
        if let Some(ring) = &self.ring
            && self.key_frames.stored(ext_seq, info, ring)
        {
            self.key_frame_count += u64::from(info.key_frame);
        }
    }
}
