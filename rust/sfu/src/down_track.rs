//! One track on its way to one subscriber.
//!
//! [`DownTrack::forward`] takes what a receiver has stored since the last turn (its *batch*) and
//! writes it, rewritten, into the send batch of the subscriber's transport. Three parts decide how:
//!
//! | part | decides |
//! |---|---|
//! | [`selector`] | which of the source's streams, that is, which layer of simulcast |
//! | [`svc`] | which frames of a stream that carries several layers |
//! | [`redundancy`] | whether audio goes out as RED, or without it |
//! | [`stream`] (numbering, timeline, vp8, history, output, writer) | the packet's new numbers, and its bytes, with the subscriber's playout delay |
//! | [`allocated`] | how much of what the subscriber wants there is room for |
//! | [`silence`] | why nothing is sent |
//! | [`source`] | what happens to the source: it pauses, its layers change, its publisher begins anew |
//! | [`renegotiate`] | what is negotiated anew, on either side |
//! | [`reports`] | sender reports, and what the subscriber's reports say |

mod allocated;
mod history;
mod keyframes;
mod numbering;
mod output;
mod redundancy;
mod renegotiate;
mod reports;
mod rtx_budget;
pub(crate) mod selector;
mod sent_log;
mod silence;
mod source;
mod stats;
mod stream;
mod svc;
mod timeline;
mod trailer;
mod vp8;
mod writer;

use std::time::{Duration, Instant};

use rtp::rtcp::{ReportBlock, RtcpWriter};
use rtp::seq::ExtSeq;

pub use rtx_budget::RtxBudgetConfig;
pub use silence::Silence;
pub use stats::DownTrackStats;

use crate::allocator::Allocation;
use crate::clock::PublisherClock;
use crate::params::{DownTrackConfig, MAX_SPATIAL_LAYERS, MediaKind};
use crate::receiver::Receiver;
use crate::sink::PacketSink;
use keyframes::KeyFrameRequests;
use reports::Reports;
use selector::Selector;
use stream::Stream;
use timeline::Cause;

/// A key frame that arrived this recently may still begin a stream: its packets are in the ring.
/// It saves a subscriber the wait for the next one.
const REPLAY_START: Duration = Duration::from_millis(400);

/// The same for a switch of a running stream, which would have to jump back in time.
const REPLAY_SWITCH: Duration = Duration::from_millis(100);

/// How long a switch waits for the end of the frame being sent.
const FRAME_END_WAIT: Duration = Duration::from_millis(20);

/// How long a switch is put off because the layer is behind, before it happens anyway.
const SWITCH_PATIENCE: Duration = Duration::from_secs(2);

/// A switch that waits for the end of a frame.
#[derive(Clone, Copy, Debug)]
struct PendingSwitch {
    layer: u8,
    key_frame: ExtSeq,
    since: Instant,
}

/// Forwards one receiver's track to one subscriber.
#[derive(Debug)]
pub struct DownTrack {
    config: DownTrackConfig,
    kind: MediaKind,
    /// The highest layers that the subscriber wants; negative: nothing.
    wanted: (i8, i8),
    allocation: Allocation,
    /// The transport can send.
    connected: bool,
    muted: bool,
    selector: Selector,
    stream: Stream,
    requests: KeyFrameRequests,
    reports: Reports,
    pending: Option<PendingSwitch>,
    /// A key frame that turned out too far behind.
    rejected: Option<(u8, ExtSeq)>,
    /// Since when the target differs from what is sent.
    seeking_since: Option<Instant>,
    /// The receiver's pause and layer generations that were seen last.
    source_pauses: u32,
    layers_generation: u32,
    negotiations: u32,
    /// How often the publisher had begun each layer anew.
    incarnations: [u32; MAX_SPATIAL_LAYERS],
    /// The source is paused, or was since the last packet was sent.
    source_muted: bool,
    source_paused: bool,
    reported_layers: (i8, i8),
}

impl DownTrack {
    /// A down track that reads from `source`. It sends nothing before
    /// [`Self::set_connected`].
    pub fn new(now: Instant, config: DownTrackConfig, source: &Receiver) -> Self {
        let mut down_track = Self {
            kind: source.kind(),
            wanted: (config.max_spatial, config.max_temporal),
            allocation: Allocation::Optimal,
            connected: false,
            muted: config.muted,
            selector: Selector::new(config.max_spatial),
            stream: Stream::new(now, &config, source),
            requests: KeyFrameRequests::new(now),
            reports: Reports::new(now),
            pending: None,
            rejected: None,
            seeking_since: None,
            source_pauses: source.pauses(),
            layers_generation: source.layers_generation(),
            negotiations: source.negotiations(),
            incarnations: source.layers().incarnations,
            source_muted: source.is_muted(),
            source_paused: false,
            reported_layers: (-1, -1),
            config,
        };
        down_track.retarget(now, source);
        down_track
    }

    /// Ssrc of the media.
    pub fn ssrc(&self) -> u32 {
        self.config.ssrc
    }

    /// Ssrc of retransmissions, if they have their own.
    pub fn rtx_ssrc(&self) -> Option<u32> {
        self.stream.output().rtx_ssrc()
    }

    /// Whether the subscriber muted it.
    pub fn is_muted(&self) -> bool {
        self.muted
    }

    /// Whether any codec of the source can be sent to the subscriber.
    pub fn is_sendable(&self) -> bool {
        self.stream.output().is_sendable()
    }

    /// The transport became able to send, or lost its connection for good.
    pub fn set_connected(&mut self, now: Instant, connected: bool, source: &Receiver) {
        self.connected = connected;
        self.settle(now, source);
    }

    /// Changes what may be sent: the highest spatial and temporal layer (negative: nothing), and
    /// whether the track is muted.
    pub fn update(
        &mut self,
        now: Instant,
        max_spatial: i8,
        max_temporal: i8,
        muted: bool,
        source: &Receiver,
    ) {
        self.wanted = (max_spatial, max_temporal);
        self.muted = muted;
        self.limit(now, source);
    }

    /// Join step 15: forwards the batch of `source`.
    ///
    /// Nothing is allocated. Packets that find no room in the sink count as sent and can be asked
    /// for again.
    pub fn forward<S: PacketSink + ?Sized>(
        &mut self,
        now: Instant,
        source: &Receiver,
        sink: &mut S,
    ) {
        self.follow_source(now, source);
        if !self.is_sending() || self.source_muted {
            return;
        }
        self.stream.set_now(now);
        match self.kind {
            MediaKind::Audio => self.forward_audio(now, source, sink),
            MediaKind::Video => self.forward_video(now, source, sink),
        }
    }

    /// Sends again what a NACK (RFC 4585 6.2.1) for [`Self::ssrc`] asks for.
    pub fn handle_nack<S: PacketSink + ?Sized>(
        &mut self,
        now: Instant,
        sequences: impl IntoIterator<Item = u16>,
        source: &Receiver,
        sink: &mut S,
    ) {
        if !self.connected || self.muted {
            return;
        }
        self.stream.set_now(now);
        let rtt = self.reports.rtt();
        self.stream.resend(sequences, rtt, source, sink);
    }

    /// The subscriber lost the picture (PLI or FIR): asks the publisher for a key frame, and sends
    /// nothing again of what went out so far.
    pub fn handle_pli(&mut self, now: Instant, source: &mut Receiver) {
        self.reports.count_pli();
        if self.kind == MediaKind::Audio || !self.is_sending() {
            return;
        }
        let rtt = self.reports.rtt();
        if self.selector.current().is_some() && !self.stream.picture_lost(now, rtt) {
            return;
        }
        self.requests.ask_again_now();
        self.request_key_frame(now, source);
    }

    /// Takes a report block (RFC 3550 6.4.1) about [`Self::ssrc`].
    pub fn handle_report_block(&mut self, now: Instant, block: &ReportBlock) {
        let clock_rate = self.stream.output().clock_rate();
        self.reports.handle_report_block(now, block, clock_rate);
        let (highest, jitter) = (block.highest_sequence as u16, self.reports.jitter());
        self.stream
            .handle_report(now, &self.config, highest, jitter);
    }

    /// Takes a round trip measured elsewhere, e.g. by ICE; reports of the subscriber replace it.
    pub fn set_rtt(&mut self, rtt: Duration) {
        self.reports.set_rtt(rtt);
    }

    /// Appends a sender report and the canonical name. Returns false, and appends nothing, while
    /// nothing was sent or the publisher has sent no report that fits what is being sent.
    pub fn write_sender_report(
        &mut self,
        now: Instant,
        source: &Receiver,
        clock: &PublisherClock,
        writer: &mut RtcpWriter<'_>,
    ) -> bool {
        let Some(info) = self.stream.sender_info(now, source, clock) else {
            return false;
        };
        writer.sender_report(self.config.ssrc, &info, &[]);
        writer.sdes_cname(self.config.ssrc, &self.config.cname);
        self.reports.sender_report_sent(now, info.ntp);
        true
    }

    /// Appends a goodbye for the track's ssrcs.
    pub fn write_bye(&self, writer: &mut RtcpWriter<'_>) {
        match self.stream.output().rtx_ssrc() {
            Some(rtx_ssrc) => writer.bye(&[self.config.ssrc, rtx_ssrc]),
            None => writer.bye(&[self.config.ssrc]),
        }
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub fn next_deadline(&self) -> Option<Instant> {
        if !self.is_sending() || self.kind == MediaKind::Audio {
            return None;
        }
        let request = self.wanted_key_frame().map(|_| self.requests.next());
        request.into_iter().chain(self.selector.deadline()).min()
    }

    /// Follows the source's layers and asks for the key frame that the stream waits for. To be
    /// called at [`Self::next_deadline`], and for every down track of a receiver whose layers
    /// changed or that was muted or resumed.
    pub fn handle_timeout(&mut self, now: Instant, source: &mut Receiver) {
        self.follow_source(now, source);
        if self.selector.deadline().is_some_and(|end| end <= now) {
            self.retarget(now, source);
        }
        if self.is_sending() && self.requests.next() <= now {
            self.request_key_frame(now, source);
        }
    }

    /// The spatial and temporal layer being sent if that changed since the last call; (-1, -1) when
    /// nothing is.
    pub fn take_layer_change(&mut self) -> Option<(i8, i8)> {
        let layers = self.layers();
        (std::mem::replace(&mut self.reported_layers, layers) != layers).then_some(layers)
    }

    /// Everything counted so far.
    pub fn stats(&mut self, now: Instant) -> DownTrackStats {
        let (spatial, temporal) = self.layers();
        let mut stats = self.stream.stats(now);
        stats.ssrc = self.config.ssrc;
        self.reports.fill(&mut stats);
        stats.spatial = spatial;
        stats.temporal = temporal;
        (stats.allowed_spatial, stats.allowed_temporal) = self.allowed();
        stats.muted = self.muted;
        stats
    }

    fn layers(&self) -> (i8, i8) {
        match self.selector.current() {
            Some(layer) => {
                let layers = self.stream.layers(layer);
                (layers.spatial as i8, layers.temporal as i8)
            }
            None => (-1, -1),
        }
    }

    fn is_sending(&self) -> bool {
        let open = self.selector.is_open() && self.stream.is_open();
        let open = open || self.kind == MediaKind::Audio;
        self.connected && !self.muted && open && self.is_sendable()
    }

    /// After a change from outside: ends the era if nothing may be sent any more, else looks for
    /// a target.
    fn settle(&mut self, now: Instant, source: &Receiver) {
        if !self.is_sending() {
            self.stop_era();
        }
        self.retarget(now, source);
    }

    fn stop_era(&mut self) {
        self.selector.stop();
        self.pending = None;
        self.seeking_since = None;
        self.requests.ask_again_now();
    }

    /// The layer whose key frame the stream waits for.
    fn wanted_key_frame(&self) -> Option<u8> {
        let target = self.selector.target()?;
        let waiting = self.selector.current() != Some(target) || self.stream.waits_for_key_frame();
        (waiting && self.pending.is_none() && !self.source_muted).then_some(target)
    }

    fn request_key_frame(&mut self, now: Instant, source: &mut Receiver) {
        let Some(layer) = self.wanted_key_frame() else {
            return;
        };
        let refused_until = if source.request_key_frame(now, layer) {
            None
        } else {
            source.next_key_frame_request(layer)
        };
        let rtt = self.reports.rtt();
        self.requests.asked(now, rtt, refused_until);
    }

    fn forward_audio<S: PacketSink + ?Sized>(
        &mut self,
        now: Instant,
        source: &Receiver,
        sink: &mut S,
    ) {
        let Some((index, first)) = source.first_in_batch(0) else {
            return;
        };
        if self.selector.current().is_none() && !self.begin_era(now, 0, first, source) {
            return;
        }
        self.stream.forward_batch(0, index, false, source, sink);
    }

    fn forward_video<S: PacketSink + ?Sized>(
        &mut self,
        now: Instant,
        source: &Receiver,
        sink: &mut S,
    ) {
        let current = self.selector.current();
        if current == self.selector.target() {
            self.pending = None;
        } else if self.pending.is_none() {
            self.pending = self.find_key_frame(now, source);
        }
        let mut done = 0;
        if let Some(layer) = current {
            let to_frame_end = self.pending.is_some();
            let stream = &mut self.stream;
            done = stream.forward_batch(layer, 0, to_frame_end, source, sink);
        }
        let Some(pending) = self.pending else { return };
        let mid_frame = current.is_some_and(|layer| source.layers().live.contains(layer))
            && !self.stream.is_at_frame_end();
        if mid_frame && now.saturating_duration_since(pending.since) < FRAME_END_WAIT {
            return;
        }
        self.pending = None;
        let (layer, first) = (pending.layer, pending.key_frame);
        if self.begin_era(now, layer, first, source) {
            self.stream.replay(layer, first, source, sink);
            return;
        }
        self.rejected = Some((layer, first));
        if let Some(layer) = current {
            self.stream.forward_batch(layer, done, false, source, sink);
        }
    }

    /// A recent key frame of the best layer that brings the stream nearer to its target.
    fn find_key_frame(&self, now: Instant, source: &Receiver) -> Option<PendingSwitch> {
        let replay = match self.selector.current() {
            None => REPLAY_START,
            Some(_) => REPLAY_SWITCH,
        };
        let target = self.selector.target()?;
        let found = source.layers().seen.iter().filter_map(|layer| {
            let key_frame = source.key_frame(now, layer)?;
            let usable = self.selector.wants_key_frame_of(layer)
                && self.stream.may_begin_at(layer, key_frame.first)
                && now.saturating_duration_since(key_frame.since) <= replay
                && self.rejected != Some((layer, key_frame.first));
            usable.then_some(PendingSwitch {
                layer,
                key_frame: key_frame.first,
                since: now,
            })
        });
        found.min_by_key(|found| found.layer.abs_diff(target))
    }

    /// Makes `layer` the one being sent, from its packet `first` on.
    fn begin_era(&mut self, now: Instant, layer: u8, first: ExtSeq, source: &Receiver) -> bool {
        let seeking = self
            .seeking_since
            .map(|since| now.saturating_duration_since(since));
        let cause = match self.selector.current() {
            Some(_) => Cause::Switch {
                force: seeking.is_some_and(|seeking| seeking >= SWITCH_PATIENCE),
            },
            None => Cause::Resume {
                source_paused: self.source_paused,
            },
        };
        if !self.stream.begin_era(layer, first, cause, source) {
            return false;
        }
        self.selector.switch_to(layer);
        self.source_paused = false;
        if self.selector.target() == Some(layer) {
            self.seeking_since = None;
        }
        true
    }
}
