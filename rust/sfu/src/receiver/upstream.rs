//! What goes back to the publisher: reports, and requests for packets and key frames.

use std::time::{Duration, Instant};

use rtp::rtcp::{ReportBlock, RtcpWriter, SenderInfo};

use super::{REPORT_INTERVAL, Receiver};
use crate::clock::{PublisherClock, SenderReport};
use crate::params::{MAX_SPATIAL_LAYERS, MediaKind};

impl Receiver {
    /// Takes the sender report of one of the ssrcs. `clock` is the one of the publisher's clock
    /// group. Returns false if the ssrc is not one of a layer.
    pub fn handle_sender_report(
        &mut self,
        now: Instant,
        ssrc: u32,
        info: &SenderInfo,
        clock: &mut PublisherClock,
    ) -> bool {
        let Some(binding) = self.bindings.get(ssrc).filter(|binding| !binding.rtx) else {
            return false;
        };
        self.layers[usize::from(binding.layer)].handle_sender_report(now, info);
        if info.ntp != 0 {
            clock.observe(now, info.ntp);
        }
        true
    }

    /// Takes the round trip to the publisher; it paces the requests for lost packets.
    pub fn set_rtt(&mut self, rtt: Duration) {
        for layer in &mut self.layers {
            layer.set_rtt(rtt);
        }
    }

    /// Asks the publisher for a key frame of one layer unless that was done just now. Returns
    /// whether it will be asked; the request is written by [`Self::poll_rtcp`].
    pub fn request_key_frame(&mut self, now: Instant, layer: u8) -> bool {
        if self.config.kind == MediaKind::Audio || !self.config.codecs.iter().any(|c| c.pli) {
            return false;
        }
        let layer = self.layers.get_mut(usize::from(layer));
        layer.is_some_and(|layer| layer.request_key_frame(now))
    }

    /// Asks the publisher for key frames of all live layers, within the throttle.
    pub fn request_key_frames(&mut self, now: Instant) {
        for layer in self.layer_sets.live.iter() {
            self.request_key_frame(now, layer);
        }
    }

    /// Appends what is due to the publisher: a receiver report each second, NACKs, PLIs.
    pub fn poll_rtcp(&mut self, now: Instant, writer: &mut RtcpWriter<'_>) {
        let sender_ssrc = self.config.rtcp_ssrc;
        if self.next_report.is_some_and(|due| due <= now) {
            self.next_report = Some(now + REPORT_INTERVAL);
            let mut blocks = [ReportBlock::default(); MAX_SPATIAL_LAYERS];
            let mut count = 0;
            for block in self
                .layers
                .iter_mut()
                .filter_map(|layer| layer.report_block(now))
            {
                blocks[count] = block;
                count += 1;
            }
            writer.receiver_report(sender_ssrc, &blocks[..count]);
        }
        let nacks = self.sends_nacks();
        for layer in &mut self.layers {
            if nacks {
                layer.write_nack(now, sender_ssrc, &mut self.nack_scratch, writer);
            }
            layer.write_pli(sender_ssrc, writer);
        }
    }

    pub(crate) fn next_key_frame_request(&self, layer: u8) -> Option<Instant> {
        self.layers
            .get(usize::from(layer))?
            .next_key_frame_request()
    }

    pub(crate) fn sender_report(&self, layer: u8) -> Option<SenderReport> {
        self.layers.get(usize::from(layer))?.sender_report()
    }

    pub(super) fn sends_nacks(&self) -> bool {
        let codec = usize::from(self.codec.unwrap_or(0));
        self.config
            .codecs
            .get(codec)
            .is_some_and(|codec| codec.nack)
    }
}
