//! RTCP that is sent: to publishers reports, NACKs, PLIs and congestion control feedback, to
//! subscribers sender reports and goodbyes.

use std::time::{Duration, Instant};

use rtp::rtcp::RtcpWriter;

use super::Core;
use super::connection::RTCP_SSRC;
#[cfg(test)]
use super::guard::Point;
use super::table::Index;
use super::timers::Task;
use crate::api::Id;

/// Time between two sender reports of a stream (LiveKit `downtrack.go`).
const SENDER_REPORT_INTERVAL: Duration = Duration::from_secs(3);

/// A compound packet is sent once it is this long, so that it fits any path.
const COMPOUND_LEN: usize = 1_000;

impl Core {
    /// The timer of a receiver.
    pub(super) fn run_receiver(&mut self, now: Instant, at: Instant, id: Id) {
        let Some(index) = self.sources.find(id) else {
            return;
        };
        let Some(source) = self.sources.get_mut(index) else {
            return;
        };
        if !source.timer.fire(at) {
            return;
        }
        let Some(transport) = self.connections.get(source.connection).map(|c| c.id) else {
            return;
        };
        self.guard(now, transport, |core| core.drive_receiver(now, index));
    }

    fn drive_receiver(&mut self, now: Instant, at: Index) {
        let Some(source) = self.sources.get_mut(at) else {
            return;
        };
        if source.receiver.handle_timeout(now) {
            self.follow_source(now, at);
        }
        let Some(source) = self.sources.get_mut(at) else {
            return;
        };
        source
            .receiver
            .poll_rtcp(now, &mut RtcpWriter::new(&mut self.compound));
        if let Some(connection) = self.connections.get_mut(source.connection) {
            connection.send_rtcp(&mut self.egress, &mut self.compound);
        }
        self.compound.clear();
        self.follow_receiver(now, at);
    }

    /// The timer of a transport's sender reports and congestion control feedback.
    pub(super) fn run_reports(&mut self, now: Instant, at: Instant, id: Id) {
        let Some(index) = self.connections.find(id) else {
            return;
        };
        let connection = self.connections.get_mut(index);
        if !connection.is_some_and(|connection| connection.reports_timer.fire(at)) {
            return;
        }
        self.guard(now, id, |core| core.drive_reports(now, index));
    }

    fn drive_reports(&mut self, now: Instant, index: Index) {
        let is_due = |due: Option<Instant>| due.is_some_and(|due| due <= now);
        let Some(connection) = self.connections.get_mut(index) else {
            return;
        };
        let (sender_reports, twcc) = (
            is_due(connection.next_sender_reports),
            is_due(connection.next_twcc),
        );
        if twcc {
            connection.next_twcc = None;
            self.send_twcc(now, index);
        }
        if sender_reports {
            self.send_sender_reports(now, index);
        }
        if let Some(connection) = self.connections.get_mut(index) {
            let deadline = connection.reports_deadline();
            let task = Task::Reports(connection.id);
            self.timers
                .arm(task, &mut connection.reports_timer, deadline);
        }
    }

    fn send_twcc(&mut self, now: Instant, index: Index) {
        let Some(connection) = self.connections.get_mut(index) else {
            return;
        };
        let Some(twcc) = &mut connection.twcc else {
            return;
        };
        let media_ssrc = connection.ssrcs_in.keys().next().copied().unwrap_or(0);
        let mut feedback = Vec::new();
        twcc.build_feedback(now, RTCP_SSRC, media_ssrc, &mut feedback);
        // One packet after the other: together they may be too long for the path.
        let mut rest = feedback.as_slice();
        while let [_, _, high, low, ..] = *rest {
            let len = 4 * (usize::from(u16::from_be_bytes([high, low])) + 1);
            let Some((packet, others)) = rest.split_at_checked(len) else {
                break;
            };
            self.compound.extend_from_slice(packet);
            connection.send_rtcp(&mut self.egress, &mut self.compound);
            rest = others;
        }
    }

    fn send_sender_reports(&mut self, now: Instant, index: Index) {
        let Some(connection) = self.connections.get_mut(index) else {
            return;
        };
        connection.next_sender_reports = None;
        // By number: the list stays where it is.
        let mut number = 0;
        while let Some(&at) = connection.down_tracks.get(number) {
            number += 1;
            let Some(subscription) = self.subscriptions.get_mut(at) else {
                continue;
            };
            let Some(source) = subscription.source.and_then(|at| self.sources.get(at)) else {
                continue;
            };
            let Some(group) = self.clocks.get(&source.clock_group) else {
                continue;
            };
            #[cfg(test)]
            if self.panic_at == Some(Point::SenderReport(subscription.id)) {
                self.panic_at = None;
                panic!("injected");
            }
            let mut writer = RtcpWriter::new(&mut self.compound);
            let track = &mut subscription.track;
            subscription.reported |=
                track.write_sender_report(now, &source.receiver, &group.clock, &mut writer);
            if self.compound.len() >= COMPOUND_LEN {
                connection.send_rtcp(&mut self.egress, &mut self.compound);
            }
        }
        connection.send_rtcp(&mut self.egress, &mut self.compound);
        if !connection.down_tracks.is_empty() {
            connection.want_sender_reports(now + SENDER_REPORT_INTERVAL);
        }
    }

    /// Says goodbye for the ssrcs of some down tracks of a transport.
    pub(super) fn send_bye(&mut self, index: Index, down_tracks: &[Index]) {
        let Some(connection) = self.connections.get_mut(index) else {
            return;
        };
        for &at in down_tracks {
            let Some(subscription) = self.subscriptions.get(at) else {
                continue;
            };
            if self.compound.is_empty() {
                RtcpWriter::new(&mut self.compound).receiver_report(RTCP_SSRC, &[]);
            }
            subscription
                .track
                .write_bye(&mut RtcpWriter::new(&mut self.compound));
            if self.compound.len() >= COMPOUND_LEN {
                connection.send_rtcp(&mut self.egress, &mut self.compound);
            }
        }
        connection.send_rtcp(&mut self.egress, &mut self.compound);
    }
}
