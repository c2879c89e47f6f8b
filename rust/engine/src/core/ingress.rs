//! RTP that arrives: decrypted, counted for congestion control, given to its receiver.

use std::time::{Duration, Instant};

use rtp::RtpHeader;
use rtp::extension::ParsedExtensions;
use rtp::srtp::SrtpError;
use sfu::RtpOutcome;
use transport::CandidatePair;

use super::Core;
use super::Source;
use super::connection::Connection;
use super::drops::Drop;
use super::table::{Index, Table};
use super::timers::Task;

/// Time between two congestion control feedbacks (pion, and so LiveKit: 100 ms).
const TWCC_INTERVAL: Duration = Duration::from_millis(100);

/// Arrivals after which feedback does not wait.
const TWCC_BATCH: usize = 512;

impl Core {
    /// Takes an SRTP packet of a transport.
    pub(super) fn handle_rtp(
        &mut self,
        now: Instant,
        index: Index,
        pair: CandidatePair,
        bytes: &mut [u8],
    ) {
        #[cfg(test)]
        self.maybe_panic_on(index);
        let Some(connection) = self.connections.get_mut(index) else {
            return;
        };
        let Some(srtp) = connection.transport.srtp_rx() else {
            return self.drops.count(Drop::NoKeys);
        };
        let error = match srtp.unprotect_rtp(bytes) {
            Ok(len) => {
                connection.count_received(bytes.len());
                self.note_received(now, index, pair);
                return self.take_rtp(now, index, &bytes[..len]);
            }
            Err(error) => error,
        };
        connection.srtp_errors += 1;
        self.drops.count(Drop::of_srtp(error));
        // Firefox probes for bandwidth with old packets and wants to hear about them. They are as
        // authentic as any: what a stranger sends is reported to nobody.
        if let SrtpError::Replay { .. } = error
            && let Ok(header) = RtpHeader::parse_encrypted(bytes)
        {
            connection.count_received(bytes.len());
            let extensions = ParsedExtensions::parse(&connection.extensions, &header, bytes);
            self.note_arrival(now, index, &extensions);
        }
    }

    /// Takes a decrypted packet that just arrived.
    fn take_rtp(&mut self, now: Instant, index: Index, packet: &[u8]) {
        let Some(connection) = self.connections.get_mut(index) else {
            return;
        };
        let Ok(header) = RtpHeader::parse(packet) else {
            return self.drops.count(Drop::RtpMalformed);
        };
        let extensions = ParsedExtensions::parse(&connection.extensions, &header, packet);
        self.note_arrival(now, index, &extensions);
        self.deliver(now, index, &header, &extensions, packet);
    }

    /// Takes packets that waited for a receiver of `index` to be created.
    pub(super) fn release_held(&mut self, now: Instant, index: Index) {
        let Some(connection) = self.connections.get_mut(index) else {
            return;
        };
        let map = connection.extensions.clone();
        for (_, packet) in connection.held.take() {
            if let Ok(header) = RtpHeader::parse(&packet) {
                let extensions = ParsedExtensions::parse(&map, &header, &packet);
                self.deliver(now, index, &header, &extensions, &packet);
            }
        }
        self.end_batch(now);
    }

    /// Notes a transport-wide sequence number.
    #[inline]
    fn note_arrival(&mut self, now: Instant, index: Index, extensions: &ParsedExtensions<'_>) {
        let Some(sequence) = extensions.transport_sequence else {
            return;
        };
        let Some(connection) = self.connections.get_mut(index) else {
            return;
        };
        let Some(twcc) = &mut connection.twcc else {
            return;
        };
        twcc.record(now, sequence);
        let due = if twcc.pending() >= TWCC_BATCH {
            now
        } else {
            now + TWCC_INTERVAL
        };
        if connection.next_twcc.is_none_or(|next| due < next) {
            connection.next_twcc = Some(due);
            let task = Task::Reports(connection.id);
            let deadline = connection.reports_deadline();
            self.timers
                .arm(task, &mut connection.reports_timer, deadline);
        }
    }

    /// Gives a packet to its receiver.
    fn deliver(
        &mut self,
        now: Instant,
        index: Index,
        header: &RtpHeader,
        extensions: &ParsedExtensions<'_>,
        packet: &[u8],
    ) {
        let Some(connection) = self.connections.get_mut(index) else {
            return;
        };
        let known = connection.ssrcs_in.get(&header.ssrc).copied();
        let found = known.or_else(|| find_receiver(connection, &self.sources, header, extensions));
        let Some((place, source)) = found.and_then(|at| Some((at, self.sources.get_mut(at)?)))
        else {
            // Padding only: a probe for bandwidth, which is heard already.
            if !header.payload_range().is_empty() {
                let lost = connection.held.push(now, packet);
                (0..lost).for_each(|_| self.drops.count(Drop::NoReceiver));
            }
            return;
        };
        let outcome = source.receiver.handle_rtp(now, header, extensions, packet);
        match outcome {
            RtpOutcome::UnknownSource | RtpOutcome::UnknownPayloadType => {
                return self.drops.count(Drop::UnexpectedMedia);
            }
            RtpOutcome::Refused => self.drops.count(Drop::MediaRefused),
            RtpOutcome::Stored { .. } | RtpOutcome::Duplicate | RtpOutcome::Probe => {}
        }
        if known.is_none() {
            connection.learn_ssrcs(place, [header.ssrc]);
        }
        if !source.touched {
            source.touched = true;
            self.touched.push(place);
        }
        if source.receiver.is_batch_full() {
            self.end_batch(now);
        }
    }
}

/// The receiver of a packet with an unknown ssrc: by mid, otherwise by payload type if that leaves
/// no choice (RFC 8843 9.2).
fn find_receiver(
    connection: &Connection,
    sources: &Table<Source>,
    header: &RtpHeader,
    extensions: &ParsedExtensions<'_>,
) -> Option<Index> {
    let receivers = connection
        .receivers
        .iter()
        .filter_map(|&at| Some((at, sources.get(at)?)));
    if let Some(mid) = extensions.mid {
        let mut receivers = receivers;
        return receivers
            .find(|(_, source)| *source.mid == *mid)
            .map(|(at, _)| at);
    }
    let mut takers =
        receivers.filter(|(_, source)| source.receiver.has_payload_type(header.payload_type));
    match (takers.next(), takers.next()) {
        (Some((at, _)), None) => Some(at),
        _ => None,
    }
}
