//! Receivers and down tracks: commands about them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use sfu::{
    CodecParameters, DownTrack, DownTrackConfig, Encoding, HeaderExtension, MediaKind, Receiver,
    ReceiverConfig, RtxBudgetConfig,
};

use super::connection::RTCP_SSRC;
#[cfg(test)]
use super::guard::Point;
use super::table::Index;
use super::timers::{Armed, Task};
use super::watch::Flow;
use super::{Core, Source, Subscription, not_found};
use crate::api::{self, Code, CreateDownTrack, CreateReceiver, EngineError, Event, Id, RtpCodec};

type Outcome = Result<(), EngineError>;

impl Core {
    pub(super) fn create_receiver(&mut self, now: Instant, create: CreateReceiver) -> Outcome {
        if self.sources.find(create.receiver).is_some() {
            return Ok(());
        }
        let index = self.find_connection(create.transport)?;
        let receiver = Receiver::new(now, self.receiver_config(&create));
        let Some(connection) = self.connections.get_mut(index) else {
            return Err(not_found("transport", create.transport));
        };
        connection.expect_feedback(now, &create.codecs);
        connection.add_extensions(&create.header_extensions);
        let mut source = Source {
            id: create.receiver,
            connection: index,
            mid: create.mid.into_bytes().into_boxed_slice(),
            clock_group: create.clock_group,
            receiver,
            down_tracks: Vec::new(),
            flow: Flow::default(),
            wanted_at: None,
            quiet: None,
            touched: false,
            timer: Armed::default(),
        };
        if let Some(rtt) = connection.rtt {
            source.receiver.set_rtt(rtt);
        }
        let ssrcs: Vec<_> = source.receiver.ssrcs().collect();
        let at = self.sources.insert(create.receiver, source);
        connection.receivers.push(at);
        connection.learn_ssrcs(at, ssrcs);
        self.clocks.entry(create.clock_group).or_default().receivers += 1;
        self.schedule_audio_levels(now);
        self.schedule_watch(now);
        self.guard(now, create.transport, |core| core.release_held(now, index));
        self.attribute_drops(Some(index));
        self.follow_receiver(now, at);
        Ok(())
    }

    pub(super) fn update_receiver(&mut self, now: Instant, id: Id, muted: bool) -> Outcome {
        let at = self.find_source(id)?;
        if let Some(source) = self.sources.get_mut(at) {
            source.receiver.set_muted(now, muted);
        }
        self.follow_source(now, at);
        Ok(())
    }

    pub(super) fn renegotiate_receiver(
        &mut self,
        now: Instant,
        id: Id,
        numbered: &[RtpCodec],
        extensions: &[api::HeaderExtension],
        expected: &[api::Encoding],
    ) -> Outcome {
        let at = self.find_source(id)?;
        let Some(source) = self.sources.get_mut(at) else {
            return Err(not_found("receiver", id));
        };
        let (codecs, header_extensions) = (codecs(numbered), header_extensions(extensions));
        let (index, receiver) = (source.connection, &mut source.receiver);
        let ssrcs = receiver.renegotiate(now, codecs, header_extensions, encodings(expected));
        let ssrcs: Vec<_> = ssrcs.collect();
        if let Some(connection) = self.connections.get_mut(index) {
            connection.expect_feedback(now, numbered);
            connection.add_extensions(extensions);
            connection.learn_ssrcs(at, ssrcs);
            let transport = connection.id;
            self.guard(now, transport, |core| core.release_held(now, index));
        }
        self.follow_source(now, at);
        Ok(())
    }

    pub(super) fn renegotiate_down_track(
        &mut self,
        now: Instant,
        id: Id,
        numbered: &[RtpCodec],
        extensions: &[api::HeaderExtension],
    ) -> Outcome {
        let found = self.subscriptions.find(id);
        let at = found.ok_or_else(|| not_found("down track", id))?;
        let Some(subscription) = self.subscriptions.get_mut(at) else {
            return Err(not_found("down track", id));
        };
        if let Some(source) = subscription.source.and_then(|at| self.sources.get(at)) {
            let (codecs, header_extensions) = (codecs(numbered), header_extensions(extensions));
            let track = &mut subscription.track;
            track.renegotiate(now, codecs, header_extensions, &source.receiver);
        }
        self.follow_down_track(at);
        self.reallocate(now, at);
        Ok(())
    }

    pub(super) fn request_key_frame(&mut self, now: Instant, id: Id) -> Outcome {
        let at = self.find_source(id)?;
        if let Some(source) = self.sources.get_mut(at) {
            source.receiver.request_key_frames(now);
        }
        self.follow_receiver(now, at);
        Ok(())
    }

    /// Forgets a receiver. Its down tracks stop, and stay until they are closed.
    pub(super) fn close_receiver(&mut self, now: Instant, id: Id) {
        let Some(at) = self.sources.find(id) else {
            return;
        };
        let Some(source) = self.sources.remove(id) else {
            return;
        };
        if let Some(connection) = self.connections.get_mut(source.connection) {
            connection.receivers.retain(|&other| other != at);
            connection.ssrcs_in.retain(|_, other| *other != at);
        }
        if let Some(group) = self.clocks.get_mut(&source.clock_group) {
            group.receivers -= 1;
            if group.receivers == 0 {
                self.clocks.remove(&source.clock_group);
            }
        }
        for &at in &source.down_tracks {
            let Some(subscription) = self.subscriptions.get_mut(at) else {
                continue;
            };
            subscription.source = None;
            subscription
                .track
                .set_connected(now, false, &source.receiver);
            self.follow_down_track(at);
        }
    }

    pub(super) fn create_down_track(&mut self, now: Instant, create: CreateDownTrack) -> Outcome {
        if self.subscriptions.find(create.down_track).is_some() {
            return Ok(());
        }
        let index = self.find_connection(create.transport)?;
        let source_at = self.sources.find(create.receiver).ok_or_else(|| {
            let receiver = create.receiver;
            let message = format!("receiver {receiver} is closed or on another worker");
            EngineError::new(Code::FailedPrecondition, message)
        })?;
        let (Some(connection), Some(source)) = (
            self.connections.get_mut(index),
            self.sources.get_mut(source_at),
        ) else {
            return Err(not_found("transport", create.transport));
        };
        let ssrcs = std::iter::once(create.ssrc).chain(create.rtx_ssrc);
        if let Some(ssrc) = ssrcs
            .clone()
            .find(|ssrc| connection.ssrcs_out.contains_key(ssrc))
        {
            let message = format!("ssrc {ssrc} is in use on transport {}", create.transport);
            return Err(EngineError::new(Code::InvalidArgument, message));
        }
        let rtx_budget = match source.receiver.kind() {
            MediaKind::Audio => self.config.rtx_budget_audio,
            MediaKind::Video => self.config.rtx_budget_video,
        };
        let track = DownTrack::new(
            now,
            down_track_config(&create, rtx_budget, connection.epoch),
            &source.receiver,
        );
        if !track.is_sendable() {
            let message = "the subscriber has none of the receiver's codecs";
            return Err(EngineError::new(Code::FailedPrecondition, message));
        }
        let mut subscription = Subscription {
            id: create.down_track,
            connection: index,
            source: Some(source_at),
            track,
            flow: Flow::default(),
            reported: false,
            timer: Armed::default(),
        };
        let track = &mut subscription.track;
        if let Some(rtt) = connection.rtt {
            track.set_rtt(rtt);
        }
        if connection.can_send {
            track.set_connected(now, true, &source.receiver);
        }
        let at = self.subscriptions.insert(create.down_track, subscription);
        source.down_tracks.push(at);
        connection.down_tracks.push(at);
        connection.ssrcs_out.extend(ssrcs.map(|ssrc| (ssrc, at)));
        self.follow_down_track(at);
        self.allocate_to(now, at);
        Ok(())
    }

    pub(super) fn update_down_track(
        &mut self,
        now: Instant,
        id: Id,
        (max_spatial, max_temporal): (i8, i8),
        muted: bool,
    ) -> Outcome {
        let found = self.subscriptions.find(id);
        let at = found.ok_or_else(|| not_found("down track", id))?;
        let Some(subscription) = self.subscriptions.get_mut(at) else {
            return Err(not_found("down track", id));
        };
        if let Some(source) = subscription.source.and_then(|at| self.sources.get(at)) {
            let track = &mut subscription.track;
            track.update(now, max_spatial, max_temporal, muted, &source.receiver);
        }
        self.follow_down_track(at);
        self.reallocate(now, at);
        Ok(())
    }

    /// Forgets a down track. Its media section may carry another track next, so nothing is said:
    /// some receivers (aiortc's) take a goodbye for the end of the whole section.
    pub(super) fn close_down_track(&mut self, now: Instant, id: Id) {
        let Some(at) = self.subscriptions.find(id) else {
            return;
        };
        let Some(mut subscription) = self.subscriptions.remove(id) else {
            return;
        };
        if let Some(source) = subscription.source.and_then(|at| self.sources.get_mut(at)) {
            source.down_tracks.retain(|&other| other != at);
        }
        if let Some(connection) = self.connections.get_mut(subscription.connection) {
            connection.down_tracks.retain(|&other| other != at);
            connection.ssrcs_out.retain(|_, other| *other != at);
            connection.retransmissions += subscription.track.stats(now).retransmissions;
        }
        self.deallocate(now, subscription.connection, id);
    }

    /// A transport became able to send, or lost that ability.
    pub(super) fn connect_down_tracks(&mut self, now: Instant, index: Index, connected: bool) {
        let Some(connection) = self.connections.get(index) else {
            return;
        };
        for at in connection.down_tracks.clone() {
            let Some(subscription) = self.subscriptions.get_mut(at) else {
                continue;
            };
            if let Some(source) = subscription.source.and_then(|at| self.sources.get(at)) {
                subscription
                    .track
                    .set_connected(now, connected, &source.receiver);
            }
            self.follow_down_track(at);
            self.reallocate(now, at);
        }
    }

    fn schedule_audio_levels(&mut self, now: Instant) {
        if self.next_audio_levels.is_none() && self.sources.len() > 0 {
            let next = now + self.config.audio_interval;
            self.next_audio_levels = Some(next);
            self.timers
                .arm(Task::AudioLevels, &mut self.audio_timer, Some(next));
        }
    }

    /// Ends an observation window of audio levels.
    pub(super) fn run_audio_levels(&mut self, now: Instant, at: Instant) {
        if !self.audio_timer.fire(at) {
            return;
        }
        self.next_audio_levels = None;
        self.schedule_audio_levels(now);
        let mut levels = Vec::new();
        let mut panicked = Vec::new();
        for source in self.sources.iter_mut() {
            let take = AssertUnwindSafe(|| {
                #[cfg(test)]
                assert_ne!(self.panic_at, Some(Point::AudioLevel(source.id)));
                source.receiver.take_audio_level()
            });
            match catch_unwind(take) {
                Ok(Some(window)) => levels.push((source.id, window.level, window.active_ms)),
                Ok(None) => {}
                Err(_) => panicked.push(source.connection),
            }
        }
        for index in panicked {
            if let Some(id) = self.connections.get(index).map(|c| c.id) {
                self.abandon(now, id);
            }
        }
        if !levels.is_empty() {
            self.events.push(Event::AudioLevels {
                worker: self.worker,
                levels,
            });
        }
    }

    fn find_source(&self, id: Id) -> Result<Index, EngineError> {
        self.sources
            .find(id)
            .ok_or_else(|| not_found("receiver", id))
    }

    fn receiver_config(&self, create: &CreateReceiver) -> ReceiverConfig {
        ReceiverConfig {
            kind: create.kind,
            codecs: codecs(&create.codecs),
            header_extensions: header_extensions(&create.header_extensions),
            encodings: encodings(&create.encodings),
            screen_share: create.screen_share,
            packet_buffer_video: self.config.packet_buffer_video,
            packet_buffer_audio: self.config.packet_buffer_audio,
            pli_throttle: self.config.pli_throttle,
            audio_active_level: self.config.audio_active_level,
            rtcp_ssrc: RTCP_SSRC,
        }
    }
}

fn encodings(encodings: &[api::Encoding]) -> Vec<Encoding> {
    let encoding = |encoding: &api::Encoding| Encoding {
        spatial: encoding.spatial,
        rid: encoding.rid.clone(),
        ssrc: encoding.ssrc,
        rtx_ssrc: encoding.rtx_ssrc,
    };
    encodings.iter().map(encoding).collect()
}

fn down_track_config(
    create: &CreateDownTrack,
    rtx_budget: Option<RtxBudgetConfig>,
    epoch: Instant,
) -> DownTrackConfig {
    DownTrackConfig {
        mid: create.mid.clone(),
        ssrc: create.ssrc,
        rtx_ssrc: create.rtx_ssrc,
        cname: create.cname.clone(),
        codecs: codecs(&create.codecs),
        header_extensions: header_extensions(&create.header_extensions),
        max_spatial: create.max_spatial,
        max_temporal: create.max_temporal,
        muted: create.muted,
        translate_red: create.translate_red,
        playout_delay: create.playout_delay,
        strip_trailer: create.strip_trailer,
        rtx_budget,
        epoch,
    }
}

fn codecs(codecs: &[RtpCodec]) -> Vec<CodecParameters> {
    let codec = |codec: &RtpCodec| CodecParameters {
        payload_type: codec.payload_type,
        mime_type: codec.mime_type.clone(),
        clock_rate: codec.clock_rate,
        rtx_payload_type: codec.rtx_payload_type,
        fmtp: codec.fmtp.clone(),
        nack: codec.nack,
        pli: codec.pli,
    };
    codecs.iter().map(codec).collect()
}

fn header_extensions(extensions: &[api::HeaderExtension]) -> Vec<HeaderExtension> {
    let extension = |extension: &api::HeaderExtension| HeaderExtension {
        id: extension.id,
        uri: extension.uri.clone(),
    };
    extensions.iter().map(extension).collect()
}
