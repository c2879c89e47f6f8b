//! What makes up for loss: packets sent again, fillers, and audio taken from redundancy. And what
//! looks like it: padding.

use std::time::Duration;

use rtp::red::RedPayload;
use rtp::seq::ExtSeq;

use super::Stream;
use crate::down_track::history::{Patch, Sent};
use crate::down_track::numbering::Place;
use crate::down_track::output::{Media, PayloadTypes};
use crate::down_track::redundancy::{Body, EARLIER};
use crate::packet::PacketInfo;
use crate::receiver::Receiver;
use crate::sink::PacketSink;

impl Stream {
    /// Sends those of the packets before `ext_seq`, a packet of RED, that have not come. Should
    /// they come yet, they are not sent again: a sequence number has one content.
    pub(super) fn recover<S: PacketSink + ?Sized>(
        &mut self,
        ext_seq: ExtSeq,
        (info, packet): (&PacketInfo, &[u8]),
        types: PayloadTypes,
        source: &Receiver,
        sink: &mut S,
    ) {
        let (Some(era), Some(red)) = (self.era, RedPayload::parse(info.payload(packet))) else {
            return;
        };
        for back in (1..=EARLIER).rev() {
            let missing = ext_seq.wrapping_sub(back as u64);
            let Some(block) = red.earlier(back) else {
                continue;
            };
            if source.packet(era.layer, missing).is_some() || !self.may_recover(missing) {
                continue;
            }
            let out = match self.numbering.place(missing) {
                Place::Next => self.numbering.take(missing),
                Place::Late { out, .. } => out,
                Place::Nowhere => continue,
            };
            self.numbering.take_late(out);
            self.recovered.set(missing, true);
            let timestamp = info.timestamp.wrapping_sub(block.timestamp_offset);
            let timestamp = self.timeline.munge(timestamp);
            if out > self.highest_media {
                self.highest_media = out;
                self.timeline.sent(timestamp, info.arrival);
            }
            let sent = Sent::media(missing, era.layer, timestamp, false, Patch::None);
            let body = Body::Recovered(block.data);
            let media = Some(Media { info, packet, body });
            match self.output.send(&sent.numbered(out), types, media, sink) {
                Some(bytes) => self.count(bytes, block.data.len()),
                None => self.dropped += 1,
            }
        }
    }

    /// Whether a packet was not sent from another one's redundancy.
    #[inline]
    pub(super) fn may_recover(&self, ext_seq: ExtSeq) -> bool {
        self.recovered.get(ext_seq).is_none() && !self.recovered.is_forgotten(ext_seq)
    }

    /// Sends a packet without payload in the place of one that was missing and, now that it is
    /// here, turns out not to be wanted. The subscriber stops asking for it.
    pub(super) fn fill<S: PacketSink + ?Sized>(
        &mut self,
        layer: u8,
        out: u64,
        ext_seq: ExtSeq,
        sink: &mut S,
    ) {
        let Some(types) = self.output.any_payload_types() else {
            return;
        };
        self.numbering.take_late(out);
        let sent = Sent::filler(ext_seq, layer, self.timeline.last_timestamp());
        let sent = self.history.push(out, sent);
        match self.output.send(&sent, types, None, sink) {
            Some(bytes) => self.count(bytes, 0),
            None => self.dropped += 1,
        }
    }

    /// Sends again the packets with the outgoing `sequences`, within the budget if there is one.
    pub(crate) fn resend<S: PacketSink + ?Sized>(
        &mut self,
        sequences: impl IntoIterator<Item = u16>,
        rtt: Duration,
        source: &Receiver,
        sink: &mut S,
    ) {
        let Some(mut budget) = self.rtx_budget.take() else {
            for sequence in sequences {
                self.resend_one(sequence, rtt, source, sink);
            }
            return;
        };
        let requested = budget.newest_first(sequences, self.history.highest() as u16);
        for &sequence in &requested {
            if budget.has_room() {
                budget.spend(self.resend_one(sequence, rtt, source, sink));
            } else {
                self.nacks += 1;
                let is_due = self.history.is_due(sequence, self.now_ms(), rtt);
                budget.capped += u64::from(is_due);
            }
        }
        budget.done(requested);
        self.rtx_budget = Some(budget);
    }

    /// Returns how many bytes were sent.
    fn resend_one<S: PacketSink + ?Sized>(
        &mut self,
        sequence: u16,
        rtt: Duration,
        source: &Receiver,
        sink: &mut S,
    ) -> usize {
        self.nacks += 1;
        let Some(sent) = self.history.request(sequence, self.now_ms(), rtt) else {
            return 0;
        };
        self.repeated_nacks += u64::from(sent.is_repeat());
        let Some(bytes) = self.send_again(&sent, source, sink) else {
            return 0;
        };
        self.retransmissions += 1;
        self.bitrate.add(self.now, bytes);
        bytes
    }

    fn now_ms(&self) -> u32 {
        self.now.saturating_duration_since(self.created).as_millis() as u32
    }

    /// Sends packets of nothing but padding, about `bytes` in all, as retransmissions of nothing
    /// (RFC 4588 has no use for them, so receivers drop them once they are counted). Without a stream
    /// of retransmissions they go into the stream itself, if it is `between_frames`: receivers take
    /// frames apart at a hole in their numbers. Returns how many bytes were sent.
    pub(crate) fn send_padding<S: PacketSink + ?Sized>(
        &mut self,
        bytes: usize,
        between_frames: bool,
        sink: &mut S,
    ) -> usize {
        let timestamp = self.timeline.last_timestamp();
        let mut sent = 0;
        while sent < bytes {
            let padding = match self.output.rtx_ssrc() {
                Some(_) => self.output.send_padding(timestamp, sink),
                None if between_frames => self.insert_padding(timestamp, sink),
                None => None,
            };
            let Some(len) = padding else { break };
            sent += len;
        }
        sent
    }

    /// Sends a packet of padding with a number of the stream, which must have begun. It is not in the
    /// history: nobody needs it again.
    fn insert_padding<S: PacketSink + ?Sized>(
        &mut self,
        timestamp: u32,
        sink: &mut S,
    ) -> Option<usize> {
        if self.packets == 0 {
            return None;
        }
        let out = self.numbering.first_free();
        let len = self.output.send_padding_as(out, timestamp, sink)?;
        self.numbering.insert();
        self.count(len, 0);
        Some(len)
    }

    fn send_again<S: PacketSink + ?Sized>(
        &mut self,
        sent: &Sent,
        source: &Receiver,
        sink: &mut S,
    ) -> Option<usize> {
        if sent.filler {
            let types = self.output.any_payload_types()?;
            return self.output.send_again(sent, types, None, sink);
        }
        let (info, packet) = source.packet(sent.layer, sent.ext_seq)?;
        let types = self.output.payload_types(info.codec)?;
        let place = (sent.layer, sent.ext_seq);
        let body = Body::new(types.redundancy, place, info, packet, source)?;
        let media = Some(Media { info, packet, body });
        self.output.send_again(sent, types, media, sink)
    }
}
