//! A published track: its layers, and what is sent back to the publisher.
//!
//! A turn of the caller is: [`Receiver::handle_rtp`] for each packet that has arrived, then
//! [`crate::DownTrack::forward`] for each down track, then [`Receiver::end_batch`]. A packet is
//! stored and looked into once; the down tracks read it from the layer's ring.

mod binding;
mod descriptors;
mod inspect;
mod key_frame;
mod layer;
mod layer_sets;
mod renegotiate;
mod spatial;
mod stats;
mod temporal;
mod upstream;

use std::time::{Duration, Instant};

use rtp::RtpHeader;
use rtp::extension::ParsedExtensions;
use rtp::seq::ExtSeq;

pub use stats::LayerStats;

use crate::allocator::{LayerBitrates, PerLayer};
use crate::audio_level::{AudioLevelMeter, AudioWindow};
use crate::down_track::selector::Layers;
use crate::packet::PacketInfo;
use crate::params::{
    CodecParameters, Encoding, HeaderExtension, MAX_SPATIAL_LAYERS, MediaKind, ReceiverConfig,
};
use crate::ring::Insert;
use crate::tracker::TrackerConfig;
use binding::{Bindings, Hints, Unbound};
pub(crate) use descriptors::CurrentStructure;
use inspect::{Inspect, Inspector, PayloadKind};
use key_frame::KeyFrame;
use layer::{Incoming, Layer, LayerConfig};
use spatial::SpatialLayers;

/// Time between two receiver reports (LiveKit `buffer_base.go`).
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// An ssrc that was replaced takes its layer back only after nothing came for this long: until then its
/// packets are late ones.
const REPLACED_SILENCE: Duration = Duration::from_secs(3);

/// After this many packets of one turn the caller should forward before it reads on.
const BATCH_LIMIT: usize = 128;

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RtpOutcome {
    /// It is stored and part of the batch.
    Stored {
        /// Its spatial layer.
        layer: u8,
        /// Its sequence number, unwrapped.
        ext_seq: ExtSeq,
    },
    /// It was there already. It counts for congestion control and is otherwise ignored.
    Duplicate,
    /// A retransmission without media: the publisher probes for bandwidth.
    Probe,
    /// It is too old, too long, nobody asked for it, its number makes no sense, or another ssrc took
    /// the place of its own.
    Refused,
    /// Its ssrc belongs to no layer.
    UnknownSource,
    /// Its payload type was not negotiated.
    UnknownPayloadType,
}

/// A published track.
#[derive(Debug)]
pub struct Receiver {
    config: ReceiverConfig,
    inspector: Inspector,
    bindings: Bindings,
    /// By spatial layer.
    layers: Vec<Layer>,
    /// The layers within the only stream, if it carries several.
    spatial_layers: Option<Box<SpatialLayers>>,
    audio_level: Option<AudioLevelMeter>,
    muted: bool,
    pauses: u32,
    layer_sets: Layers,
    layers_generation: u32,
    layers_reported: bool,
    /// Changes with what was negotiated.
    negotiations: u32,
    /// Codec of the first packet, or of video that of the newest, and when the first came.
    codec: Option<u8>,
    began: Option<Instant>,
    batched: usize,
    next_report: Option<Instant>,
    nack_scratch: Vec<u16>,
}

impl Receiver {
    /// A receiver that has received nothing.
    pub fn new(now: Instant, mut config: ReceiverConfig) -> Self {
        config.encodings = usable(config.encodings);
        let clock_rate = clock_rate(&config);
        let audio_level = (config.kind == MediaKind::Audio)
            .then(|| AudioLevelMeter::new(config.audio_active_level, clock_rate));
        let mut receiver = Self {
            inspector: Inspector::new(&config),
            bindings: Bindings::new(&config.encodings),
            layers: make_layers(now, &config),
            spatial_layers: None,
            audio_level,
            muted: false,
            pauses: 0,
            layer_sets: Layers::default(),
            layers_generation: 0,
            layers_reported: false,
            negotiations: 0,
            codec: None,
            began: None,
            batched: 0,
            next_report: None,
            nack_scratch: Vec::with_capacity(rtp::nack::MAX_OUTSTANDING),
            config,
        };
        receiver.update_layer_sets();
        receiver
    }

    /// Audio or video.
    pub fn kind(&self) -> MediaKind {
        self.config.kind
    }

    /// The publisher's codecs.
    pub fn codecs(&self) -> &[CodecParameters] {
        &self.config.codecs
    }

    /// The publisher's header extensions.
    pub fn header_extensions(&self) -> &[HeaderExtension] {
        &self.config.header_extensions
    }

    /// The codec of what comes, once something has. Audio may come in several at a time: the first one.
    pub fn codec(&self) -> Option<&CodecParameters> {
        self.config.codecs.get(usize::from(self.codec?))
    }

    /// The ssrcs known so far, retransmissions included.
    pub fn ssrcs(&self) -> impl Iterator<Item = u32> {
        self.bindings.iter().map(|binding| binding.ssrc)
    }

    /// Whether a payload type belongs to this track.
    pub fn has_payload_type(&self, payload_type: u8) -> bool {
        self.inspector.payload_kind(payload_type).is_some()
    }

    /// Takes one decrypted packet. `extensions` are parsed with the ids of
    /// [`ReceiverConfig::header_extensions`].
    pub fn handle_rtp(
        &mut self,
        now: Instant,
        header: &RtpHeader,
        extensions: &ParsedExtensions<'_>,
        packet: &[u8],
    ) -> RtpOutcome {
        let Some(kind) = self.inspector.payload_kind(header.payload_type) else {
            return RtpOutcome::UnknownPayloadType;
        };
        let binding = match self.bindings.get(header.ssrc) {
            Some(binding) => binding,
            None => {
                let hints = Hints {
                    rid: extensions.rid,
                    repaired_rid: extensions.repaired_rid,
                    rtx: matches!(kind, PayloadKind::Rtx { .. }),
                };
                let layers = &self.layers;
                let active = |layer| layers[usize::from(layer)].is_active(now, REPLACED_SILENCE);
                match self.bindings.learn(now, header.ssrc, hints, active) {
                    Ok(binding) => binding,
                    Err(Unbound::Unknown) => return RtpOutcome::UnknownSource,
                    Err(Unbound::Replaced) => return RtpOutcome::Refused,
                }
            }
        };
        let payload = header.payload(packet);
        let (codec, sequence, skipped) = match kind {
            PayloadKind::Media { codec } => (codec, header.sequence, 0),
            PayloadKind::Rtx { codec } => match payload.first_chunk() {
                Some(&original) => (codec, u16::from_be_bytes(original), 2),
                None => return RtpOutcome::Probe,
            },
        };
        let layer = &mut self.layers[usize::from(binding.layer)];
        let incarnation = layer.incarnation();
        if !binding.rtx {
            layer.set_ssrc(now, header.ssrc);
        }
        let ext_seq = layer.unwrap(now, sequence, skipped > 0);
        if layer.incarnation() != incarnation {
            self.inspector.restart(binding.layer);
            self.update_layer_sets();
        }
        let Some(ext_seq) = ext_seq else {
            return RtpOutcome::Refused;
        };
        let info = self.inspector.inspect(
            now,
            header,
            extensions,
            packet,
            &Inspect {
                layer: binding.layer,
                codec,
                skipped,
                capture_time: self
                    .layers
                    .iter()
                    .any(|layer| layer.sender_report().is_some()),
            },
        );
        let incoming = Incoming {
            info,
            packet,
            retransmitted: skipped > 0,
        };
        let layer = &mut self.layers[usize::from(binding.layer)];
        let was = (layer.is_seen(), layer.is_live());
        match layer.insert(now, ext_seq, &incoming) {
            Insert::Duplicate => return RtpOutcome::Duplicate,
            Insert::Refused => return RtpOutcome::Refused,
            Insert::Stored => {}
        }
        let is = (layer.is_seen(), layer.is_live());
        self.batched += 1;
        self.note_codec(binding.layer, ext_seq, codec);
        self.began.get_or_insert(now);
        if was != is {
            self.update_layer_sets();
        }
        if info.svc.is_some() {
            self.observe_spatial(now, &info, packet.len());
        }
        self.next_report.get_or_insert(now + REPORT_INTERVAL);
        if let (Some(meter), Some(level)) = (&mut self.audio_level, extensions.audio_level)
            && !info.is_padding()
        {
            meter.observe(level.level, ext_seq, header.timestamp);
        }
        RtpOutcome::Stored {
            layer: binding.layer,
            ext_seq,
        }
    }

    /// Whether so much has come in that it should be forwarded before more is taken.
    pub fn is_batch_full(&self) -> bool {
        self.batched >= BATCH_LIMIT
    }

    /// Whether there is anything to forward.
    pub fn has_batch(&self) -> bool {
        self.batched > 0
    }

    /// Whether any packet of the batch is more than padding.
    #[inline]
    pub fn batch_has_media(&self) -> bool {
        let is_media = |layer: &Layer, &ext_seq: &ExtSeq| {
            let packet = layer.packet(ext_seq);
            packet.is_some_and(|(info, _)| !info.is_padding())
        };
        let mut layers = self.layers.iter();
        layers.any(|layer| layer.batch().iter().any(|at| is_media(layer, at)))
    }

    /// All down tracks have forwarded the batch.
    pub fn end_batch(&mut self) {
        self.batched = 0;
        for layer in &mut self.layers {
            layer.end_batch();
        }
    }

    /// Pauses or resumes the track. While muted it counts and stores, but nothing is forwarded, and
    /// its layers stay as they are.
    pub fn set_muted(&mut self, now: Instant, muted: bool) {
        if muted == self.muted {
            return;
        }
        self.muted = muted;
        self.pauses = self.pauses.wrapping_add(u32::from(muted));
        for layer in &mut self.layers {
            layer.set_paused(now, muted);
        }
        if let Some(spatial) = &mut self.spatial_layers {
            spatial.set_paused(now, muted);
        }
    }

    /// Whether the track is paused.
    pub fn is_muted(&self) -> bool {
        self.muted
    }

    /// When [`Self::handle_timeout`] or [`Self::poll_rtcp`] has something to do. `now` is returned
    /// for what is due at once.
    pub fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let nacks = self.sends_nacks();
        let layers = self.layers.iter().flat_map(|layer| {
            let pli = layer.is_pli_due().then_some(now);
            let nack = layer.nack_deadline().filter(|_| nacks);
            [pli, nack, layer.tracker_deadline()]
        });
        let spatial = self.spatial_layers.as_ref().and_then(|s| s.deadline());
        let others = [self.next_report, spatial];
        layers.chain(others).flatten().min()
    }

    /// Ends the observation cycles of the layers. Returns whether the set of live layers changed.
    pub fn handle_timeout(&mut self, now: Instant) -> bool {
        let mut changed = false;
        for layer in &mut self.layers {
            changed |= layer.check(now);
        }
        if changed {
            self.update_layer_sets();
        }
        let spatial = self.spatial_layers.as_mut();
        let spatial = spatial.is_some_and(|spatial| spatial.check(now));
        self.layers_reported &= !spatial;
        changed || spatial
    }

    /// Ends the observation window of the audio level; `None` if no packet told one.
    pub fn take_audio_level(&mut self) -> Option<AudioWindow> {
        self.audio_level.as_mut()?.take()
    }

    /// Everything counted so far, by layer.
    pub fn stats(&mut self, now: Instant) -> impl Iterator<Item = LayerStats> + use<> {
        let known = |layer: &&mut Layer| layer.is_published();
        let streams = self.layers.iter_mut().filter(known);
        let mut stats: Vec<_> = streams.map(|layer| layer.stats(now)).collect();
        if let Some(spatial) = &mut self.spatial_layers
            && let Some(stream) = stats.pop()
        {
            stats.extend(spatial.stats(now, stream));
        }
        stats.into_iter()
    }

    /// Whether it is a screen share.
    pub fn is_screen_share(&self) -> bool {
        self.config.screen_share
    }

    /// Whether it has several spatial layers.
    pub fn is_multi_layered(&self) -> bool {
        let nested = self.spatial_layers.as_ref();
        self.config.encodings.len() > 1 || nested.is_some_and(|s| s.live().iter().count() > 1)
    }

    /// What sending each layer takes.
    pub fn bitrates(&mut self, now: Instant) -> LayerBitrates {
        if let Some(spatial) = &mut self.spatial_layers {
            return LayerBitrates::new(&spatial.bitrates(now), true);
        }
        let mut own = PerLayer::default();
        for (own, layer) in own.iter_mut().zip(&mut self.layers) {
            *own = layer.bitrates(now);
        }
        LayerBitrates::new(&own, false)
    }

    /// The highest layer that comes within the only stream.
    pub(crate) fn highest_spatial(&self) -> Option<u8> {
        self.spatial_layers.as_ref()?.live().iter().last()
    }

    /// The lowest layer that comes within the only stream.
    pub(crate) fn lowest_spatial(&self) -> Option<u8> {
        self.spatial_layers.as_ref()?.sending().iter().next()
    }

    /// The structure that dependency descriptors refer to now.
    pub(crate) fn structure(&self) -> Option<&CurrentStructure> {
        self.inspector.structure()
    }

    pub(crate) fn pauses(&self) -> u32 {
        self.pauses
    }

    #[inline]
    pub(crate) fn batch(&self, layer: u8) -> &[ExtSeq] {
        let layer = self.layers.get(usize::from(layer));
        layer.map_or(&[], Layer::batch)
    }

    #[inline]
    pub(crate) fn packet(&self, layer: u8, ext_seq: ExtSeq) -> Option<(&PacketInfo, &[u8])> {
        self.layers.get(usize::from(layer))?.packet(ext_seq)
    }

    pub(crate) fn highest(&self, layer: u8) -> ExtSeq {
        let layer = self.layers.get(usize::from(layer));
        layer.map_or(0, Layer::highest)
    }

    pub(crate) fn key_frame(&self, now: Instant, layer: u8) -> Option<KeyFrame> {
        self.layers.get(usize::from(layer))?.key_frame(now)
    }

    /// The packets of the batch that belong to the stream as it is now, not to what it was before
    /// the publisher began anew.
    #[inline]
    pub(crate) fn first_in_batch(&self, layer: u8) -> Option<(usize, ExtSeq)> {
        let layer = self.layers.get(usize::from(layer))?;
        let mut batch = layer.batch().iter().copied().enumerate();
        batch.find(|&(_, ext_seq)| ext_seq >= layer.base())
    }

    /// An encoder that fails is replaced by another, which may be one of another codec.
    #[inline]
    fn note_codec(&mut self, layer: u8, ext_seq: ExtSeq, codec: u8) {
        if self.codec == Some(codec) {
            return;
        }
        let is_newest = ext_seq == self.highest(layer);
        if self.codec.is_none() || self.config.kind == MediaKind::Video && is_newest {
            self.codec = Some(codec);
            self.layers_reported = false;
        }
    }

    fn observe_spatial(&mut self, now: Instant, info: &PacketInfo, len: usize) {
        let screen_share = self.config.screen_share;
        let make = || Box::new(SpatialLayers::new(now, screen_share));
        let layers = self.spatial_layers.get_or_insert_with(make);
        if layers.observe(now, info, len) {
            self.layers_reported = false;
        }
    }
}

/// Those encodings that have a layer; at least one.
fn usable(mut encodings: Vec<Encoding>) -> Vec<Encoding> {
    encodings.retain(|encoding| usize::from(encoding.spatial) < MAX_SPATIAL_LAYERS);
    if encodings.is_empty() {
        encodings.push(Encoding::default());
    }
    encodings
}

fn make_layers(now: Instant, config: &ReceiverConfig) -> Vec<Layer> {
    let spatial = config.encodings.iter().map(|encoding| encoding.spatial);
    let highest = spatial.max().unwrap_or(0);
    let layer = |spatial| make_layer(now, config, spatial);
    (0..=highest).map(layer).collect()
}

fn make_layer(now: Instant, config: &ReceiverConfig, spatial: u8) -> Layer {
    let video = config.kind == MediaKind::Video;
    let config = LayerConfig {
        spatial,
        encoding: encoding_of(&config.encodings, spatial).cloned(),
        clock_rate: clock_rate(config),
        screen_share: config.screen_share,
        ring_capacity: if video {
            config.packet_buffer_video
        } else {
            config.packet_buffer_audio
        },
        pli_throttle: config.pli_throttle[usize::from(spatial)],
        tracker: video.then(|| TrackerConfig::of(spatial, config.screen_share)),
    };
    Layer::new(now, config)
}

fn encoding_of(encodings: &[Encoding], spatial: u8) -> Option<&Encoding> {
    encodings
        .iter()
        .find(|encoding| encoding.spatial == spatial)
}

fn clock_rate(config: &ReceiverConfig) -> u32 {
    let first = config.codecs.first();
    first.map_or(90_000, |codec| codec.clock_rate)
}
