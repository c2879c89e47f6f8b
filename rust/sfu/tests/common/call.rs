//! One publisher and one subscriber.

use std::time::Instant;

use lkpy_sfu::{DownTrack, DownTrackConfig, PublisherClock, Receiver};
use rtp::rtcp::{self, Packet, RtcpWriter, SenderInfo};

use super::{FRAME, PublishedLayer, Sink, down_track_config, receive, receiver_config};

/// Ssrc of the down track.
pub const SSRC: u32 = 0x2_0010;

/// A key frame on a layer, as [`Call::frames`] wants it.
pub const KEY: Option<bool> = Some(true);

/// Another frame.
pub const DELTA: Option<bool> = Some(false);

/// One publisher and one subscriber.
pub struct Call {
    pub now: Instant,
    pub receiver: Receiver,
    pub layers: Vec<PublishedLayer>,
    pub down_track: DownTrack,
    pub sink: Sink,
    pub clock: PublisherClock,
}

impl Call {
    pub fn new(layers: u8) -> Self {
        Self::with(layers, |_| {})
    }

    /// A publisher whose temporal layers only dependency descriptors tell.
    pub fn described(layers: u8) -> Self {
        let mut call = Self::new(layers);
        let layers = call.layers.iter_mut();
        layers.for_each(|layer| layer.described = true);
        call
    }

    pub fn with(layers: u8, change: impl FnOnce(&mut DownTrackConfig)) -> Self {
        let now = Instant::now();
        let receiver = Receiver::new(now, receiver_config(layers));
        let mut config = down_track_config(now, SSRC);
        change(&mut config);
        let mut down_track = DownTrack::new(now, config, &receiver);
        down_track.set_connected(now, true, &receiver);
        Self {
            now,
            receiver,
            layers: (0..layers).map(PublishedLayer::new).collect(),
            down_track,
            sink: Sink::default(),
            clock: PublisherClock::new(),
        }
    }

    /// A frame of `packets` packets on each layer for which `key` says something.
    pub fn frames(&mut self, key: &[Option<bool>], packets: usize) {
        self.now += FRAME;
        for (layer, key) in self.layers.iter_mut().zip(key) {
            match key {
                Some(key) => {
                    for published in layer.frame(*key, packets) {
                        receive(&mut self.receiver, self.now, &published.bytes);
                    }
                }
                None => layer.timestamp = layer.timestamp.wrapping_add(2970),
            }
        }
        self.forward();
    }

    pub fn forward(&mut self) {
        self.down_track
            .forward(self.now, &self.receiver, &mut self.sink);
        self.receiver.end_batch();
        self.receiver.handle_timeout(self.now);
        if self
            .down_track
            .next_deadline()
            .is_some_and(|due| due <= self.now)
        {
            self.down_track.handle_timeout(self.now, &mut self.receiver);
        }
    }

    /// The layers for which the publisher is asked for a key frame now.
    pub fn asked(&mut self) -> Vec<u32> {
        let mut buf = Vec::new();
        self.receiver
            .poll_rtcp(self.now, &mut RtcpWriter::new(&mut buf));
        let plis = rtcp::parse(&buf).filter_map(|packet| match packet {
            Ok(Packet::Pli { media_ssrc, .. }) => Some(media_ssrc),
            _ => None,
        });
        plis.collect()
    }

    /// Layer and frame of what was sent since the last call, each frame once.
    pub fn sent(&mut self) -> Vec<(u8, u32)> {
        let origins = self.sink.sent.drain(..).filter_map(|sent| sent.origin());
        let mut frames: Vec<_> = origins.map(|origin| (origin.layer, origin.frame)).collect();
        frames.dedup();
        frames
    }

    pub fn update(&mut self, max_spatial: i8, max_temporal: i8, muted: bool) {
        self.down_track
            .update(self.now, max_spatial, max_temporal, muted, &self.receiver);
    }

    pub fn nack(&mut self, sequences: &[u16]) {
        let sequences = sequences.iter().copied();
        self.down_track
            .handle_nack(self.now, sequences, &self.receiver, &mut self.sink);
    }

    pub fn sender_report(&mut self) -> Option<SenderInfo> {
        let mut buf = Vec::new();
        let mut writer = RtcpWriter::new(&mut buf);
        let written =
            self.down_track
                .write_sender_report(self.now, &self.receiver, &self.clock, &mut writer);
        assert_eq!(written, !buf.is_empty());
        match rtcp::parse(&buf).next()? {
            Ok(Packet::SenderReport { ssrc, info, .. }) => {
                assert_eq!(ssrc, SSRC);
                Some(info)
            }
            other => panic!("{other:?}"),
        }
    }
}
