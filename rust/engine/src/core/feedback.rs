//! RTCP that arrives: sender reports of publishers, reports and requests of subscribers.

use std::time::Instant;

use rtp::rtcp::{self, Nack, Packet, ReportBlocks, SenderInfo};
use transport::CandidatePair;

use super::Core;
use super::drops::Drop;
use super::forward::FIRST_SENDER_REPORT;
use super::table::Index;
use super::timers::Task;

impl Core {
    /// Takes an SRTCP packet of a transport.
    pub(super) fn handle_rtcp(
        &mut self,
        now: Instant,
        index: Index,
        pair: CandidatePair,
        bytes: &mut [u8],
    ) {
        let Some(connection) = self.connections.get_mut(index) else {
            return;
        };
        let Some(srtp) = connection.transport.srtp_rx() else {
            return self.drops.count(Drop::NoKeys);
        };
        let len = match srtp.unprotect_rtcp(bytes) {
            Ok(len) => len,
            Err(error) => {
                connection.srtp_errors += 1;
                return self.drops.count(Drop::of_srtp(error));
            }
        };
        connection.count_received(bytes.len());
        self.note_received(now, index, pair);
        for packet in rtcp::parse(&bytes[..len]) {
            match packet {
                Ok(packet) => self.handle_rtcp_packet(now, index, packet),
                Err(_) => self.drops.count(Drop::RtcpMalformed),
            }
        }
    }

    fn handle_rtcp_packet(&mut self, now: Instant, index: Index, packet: Packet<'_>) {
        match packet {
            Packet::SenderReport {
                ssrc,
                info,
                reports,
            } => {
                self.handle_sender_report(now, index, ssrc, &info);
                self.handle_report_blocks(now, index, reports);
            }
            Packet::ReceiverReport { reports, .. } => {
                self.handle_report_blocks(now, index, reports);
            }
            Packet::Nack(nack) => self.handle_nack(now, index, nack),
            Packet::Pli { media_ssrc, .. } => self.handle_pli(now, index, media_ssrc),
            Packet::Fir(fir) => {
                let named = fir.entries().map(|entry| entry.ssrc);
                let unnamed = fir.entries().next().is_none().then_some(fir.media_ssrc);
                for ssrc in named.chain(unnamed) {
                    self.handle_pli(now, index, ssrc);
                }
            }
            Packet::Remb(remb) => self.handle_remb(now, index, remb),
            // A publisher's stream that ends stops sending, which is what counts. Bandwidth is not
            // estimated from transport-cc feedback.
            Packet::Sdes(_)
            | Packet::Bye(_)
            | Packet::TransportCc(_)
            | Packet::Xr(_)
            | Packet::Unknown { .. } => {}
        }
    }

    fn handle_sender_report(&mut self, now: Instant, index: Index, ssrc: u32, info: &SenderInfo) {
        let Some(connection) = self.connections.get(index) else {
            return;
        };
        let Some(&at) = connection.ssrcs_in.get(&ssrc) else {
            return;
        };
        let Some(source) = self.sources.get_mut(at) else {
            return;
        };
        let clock = &mut self.clocks.entry(source.clock_group).or_default().clock;
        if !source.receiver.handle_sender_report(now, ssrc, info, clock) {
            return;
        }
        // Subscribers that have not been told what the time is are told soon.
        for &at in &source.down_tracks {
            let Some(subscription) = self.subscriptions.get(at) else {
                continue;
            };
            if !subscription.reported
                && let Some(connection) = self.connections.get_mut(subscription.connection)
            {
                connection.want_sender_reports(now + FIRST_SENDER_REPORT);
                let deadline = connection.reports_deadline();
                let task = Task::Reports(connection.id);
                self.timers
                    .arm(task, &mut connection.reports_timer, deadline);
            }
        }
    }

    fn handle_report_blocks(&mut self, now: Instant, index: Index, reports: ReportBlocks<'_>) {
        for block in reports.iter() {
            let Some(at) = self.find_outgoing(index, block.ssrc) else {
                continue;
            };
            if let Some(subscription) = self.subscriptions.get_mut(at)
                && subscription.track.ssrc() == block.ssrc
            {
                subscription.track.handle_report_block(now, &block);
            }
        }
    }

    fn handle_nack(&mut self, now: Instant, index: Index, nack: Nack<'_>) {
        let Some(at) = self.find_outgoing(index, nack.media_ssrc) else {
            return;
        };
        let (Some(subscription), Some(connection)) = (
            self.subscriptions.get_mut(at),
            self.connections.get_mut(index),
        ) else {
            return;
        };
        let source = subscription.source.and_then(|at| self.sources.get(at));
        if let (Some(source), Some(mut sink)) = (source, connection.sink(&mut self.egress))
            && subscription.track.ssrc() == nack.media_ssrc
        {
            let track = &mut subscription.track;
            track.handle_nack(now, nack.sequences(), &source.receiver, &mut sink);
        }
    }

    /// A request for a picture. Small receivers name no stream (ssrc 0): all of them are meant.
    fn handle_pli(&mut self, now: Instant, index: Index, media_ssrc: u32) {
        if let Some(at) = self.find_outgoing(index, media_ssrc) {
            return self.request_picture(now, at);
        }
        if media_ssrc != 0 {
            return;
        }
        let Some(connection) = self.connections.get_mut(index) else {
            return;
        };
        if connection.allows_unaddressed_pli(now) {
            for at in connection.down_tracks.clone() {
                self.request_picture(now, at);
            }
        }
    }

    fn request_picture(&mut self, now: Instant, at: Index) {
        let Some(subscription) = self.subscriptions.get_mut(at) else {
            return;
        };
        let Some(source_at) = subscription.source else {
            return;
        };
        if let Some(source) = self.sources.get_mut(source_at) {
            subscription.track.handle_pli(now, &mut source.receiver);
        }
        self.follow_down_track(at);
        self.follow_receiver(now, source_at);
    }

    fn find_outgoing(&self, index: Index, ssrc: u32) -> Option<Index> {
        self.connections.get(index)?.ssrcs_out.get(&ssrc).copied()
    }
}
