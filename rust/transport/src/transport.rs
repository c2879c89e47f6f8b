//! The façade: ICE, DTLS and SCTP of one peer connection, wired together.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rtp::srtp::SrtpContext;

use crate::dtls::{DtlsIdentity, DtlsState, Session};
use crate::ice::Ice;
use crate::limits;
use crate::sctp::Sctp;
use crate::types::{
    CandidatePair, ChannelOptions, DataError, IceCredentials, RemoteCandidate, RemoteDtls,
    SctpRefused, SourceError, StunOutcome, Transmit, TransportConfig, TransportError,
    TransportEvent,
};

/// One peer connection.
///
/// After any call, drain [`poll_transmit`](Self::poll_transmit) and
/// [`poll_event`](Self::poll_event) and look at [`next_timeout`](Self::next_timeout) again. `now`
/// never goes back.
pub struct Transport {
    ice: Ice,
    identity: DtlsIdentity,
    session: Option<Session>,
    dtls_reported: DtlsState,
    /// DTLS datagrams that arrived before the remote fingerprint.
    held_dtls: Vec<Vec<u8>>,
    /// DTLS datagrams that overtook the answer to our check of the path.
    early_dtls: VecDeque<(CandidatePair, Vec<u8>)>,
    /// DTLS datagrams that wait for a pair.
    held_transmits: VecDeque<Vec<u8>>,
    sctp: Sctp,
    transmits: VecDeque<Transmit>,
    events: VecDeque<TransportEvent>,
    closed: bool,
}

impl Transport {
    /// Makes a transport that waits for the remote parameters.
    pub fn new(config: TransportConfig, identity: &DtlsIdentity, now: Instant) -> Self {
        Transport {
            sctp: Sctp::new(config.channel_buffer),
            ice: Ice::new(config, now),
            identity: identity.clone(),
            session: None,
            dtls_reported: DtlsState::New,
            held_dtls: Vec::new(),
            early_dtls: VecDeque::new(),
            held_transmits: VecDeque::new(),
            transmits: VecDeque::new(),
            events: VecDeque::new(),
            closed: false,
        }
    }

    /// Sets the remote parameters. ICE credentials that differ from those set before begin the
    /// remote half of a restart; DTLS parameters are taken once. A lite remote needs nothing from
    /// us but that we control ([`TransportConfig::controlling`]).
    ///
    /// # Errors
    /// [`TransportError`] if the credentials have impossible lengths or the transport is closed.
    pub fn set_remote(
        &mut self,
        now: Instant,
        ice: IceCredentials,
        dtls: &RemoteDtls,
    ) -> Result<(), TransportError> {
        self.check_open()?;
        self.ice.set_remote(now, ice)?;
        if self.session.is_none() {
            let mut session = Session::new(&self.identity, dtls, now);
            for packet in std::mem::take(&mut self.held_dtls) {
                session.handle_packet(now, &packet);
            }
            self.session = Some(session);
        }
        self.pump(now);
        Ok(())
    }

    /// Adds a trickled remote candidate (RFC 8838) of the current ICE generation. More than
    /// [`limits::REMOTE_CANDIDATES`] are ignored, as are those that nothing may be sent to.
    pub fn add_remote_candidate(&mut self, now: Instant, candidate: &RemoteCandidate) {
        if !self.closed {
            self.ice.add_remote_candidate(now, candidate);
            self.pump(now);
        }
    }

    /// Changes the local ICE credentials (RFC 8445 9). Packets keep flowing on the old pair until
    /// one of the new generation is selected. The same credentials again change nothing.
    ///
    /// # Errors
    /// [`TransportError`] if the credentials have impossible lengths or the transport is closed.
    pub fn restart_ice(
        &mut self,
        now: Instant,
        local: IceCredentials,
    ) -> Result<(), TransportError> {
        self.check_open()?;
        self.ice.restart(now, local)?;
        self.pump(now);
        Ok(())
    }

    /// The local ufrags under which checks may arrive: during a restart the old one too.
    pub fn local_ufrags(&self) -> impl Iterator<Item = &str> {
        self.ice.local_ufrags()
    }

    /// Whether a STUN message is for this transport and its MESSAGE-INTEGRITY is right. Changes
    /// nothing: ask before making any state for its source.
    pub fn accepts_stun(&self, packet: &[u8]) -> bool {
        !self.closed && self.ice.accepts(packet)
    }

    /// Takes a STUN message that arrived between these addresses. No state is made for the source of
    /// one that is not [accepted](StunOutcome::Accepted).
    pub fn handle_stun(&mut self, now: Instant, pair: CandidatePair, packet: &[u8]) -> StunOutcome {
        if self.closed {
            return StunOutcome::Refused;
        }
        let outcome = self.ice.handle_stun(now, pair, packet);
        if outcome != StunOutcome::Refused {
            self.pump(now);
        }
        outcome
    }

    /// Whether packets on `pair` that are not STUN may be looked at: the peer has proved that it is
    /// there, and something authentic came on it lately. DTLS is checked by
    /// [`handle_dtls`](Self::handle_dtls); SRTP and SRTCP are to be checked by the caller.
    ///
    /// # Errors
    /// [`SourceError`] if they are to be dropped.
    #[inline]
    pub fn check_source(&self, now: Instant, pair: CandidatePair) -> Result<(), SourceError> {
        if self.closed {
            return Err(SourceError::Unvalidated);
        }
        self.ice.check_source(now, pair)
    }

    /// Notes that an authentic packet arrived on `pair`: SRTP or SRTCP that was decrypted. It keeps
    /// the path, though nobody checks it. Returns whether there are events to take; cheap enough to
    /// be called for every packet.
    #[inline]
    pub fn note_received(&mut self, now: Instant, pair: CandidatePair) -> bool {
        let has_changes = !self.closed && self.ice.receive(now, pair);
        if has_changes {
            self.pump(now);
        }
        has_changes
    }

    /// The paths on which packets are received, the most recently used first; at most
    /// [`limits::PATHS`].
    pub fn paths(&self) -> impl Iterator<Item = CandidatePair> {
        self.ice.paths()
    }

    /// Takes a DTLS datagram that arrived between these addresses. One that overtook the answer to
    /// our check waits for it, of which there are [`limits::EARLY_DTLS`] at most.
    ///
    /// # Errors
    /// [`SourceError`] if the source is not valid; the datagram was dropped.
    pub fn handle_dtls(
        &mut self,
        now: Instant,
        pair: CandidatePair,
        packet: &[u8],
    ) -> Result<(), SourceError> {
        match self.check_source(now, pair) {
            Ok(()) => self.take_dtls(now, pair, packet),
            Err(SourceError::Unvalidated) if !self.closed && self.ice.is_checking(pair) => {
                if self.early_dtls.len() >= limits::EARLY_DTLS {
                    self.early_dtls.pop_front();
                }
                self.early_dtls.push_back((pair, packet.to_vec()));
            }
            Err(error) => return Err(error),
        }
        self.pump(now);
        Ok(())
    }

    /// The keys for what arrives, once DTLS is connected.
    pub fn srtp_rx(&mut self) -> Option<&mut SrtpContext> {
        Some(&mut self.session.as_mut()?.srtp()?.rx)
    }

    /// The keys for what is sent, once DTLS is connected.
    pub fn srtp_tx(&mut self) -> Option<&mut SrtpContext> {
        Some(&mut self.session.as_mut()?.srtp()?.tx)
    }

    /// The pair to send on: local address, remote address and protocol. None before one is
    /// selected, and after ICE failed or the transport was closed.
    pub fn send_to(&self) -> Option<CandidatePair> {
        if self.closed {
            return None;
        }
        self.ice.selected()
    }

    /// Round trip of the last answered check on the selected pair; never known to a lite agent.
    pub fn rtt(&self) -> Option<Duration> {
        self.ice.rtt()
    }

    /// Runs what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.closed {
            return;
        }
        self.ice.handle_timeout(now);
        // Most often it is ICE alone that has something to do.
        let is_due = |deadline: Option<Instant>| deadline.is_some_and(|at| at <= now);
        if let Some(session) = &mut self.session
            && is_due(session.next_timeout())
        {
            session.handle_timeout(now);
        }
        if is_due(self.sctp.next_timeout()) {
            self.sctp.handle_timeout(now);
        }
        self.pump(now);
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) at the latest.
    pub fn next_timeout(&mut self) -> Option<Instant> {
        if self.closed {
            return None;
        }
        let dtls = self.session.as_ref().and_then(Session::next_timeout);
        [self.ice.next_timeout(), dtls, self.sctp.next_timeout()]
            .into_iter()
            .flatten()
            .min()
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<TransportEvent> {
        self.events.pop_front()
    }

    /// Opens a data channel as soon as SCTP is up; answered by [`TransportEvent::ChannelOpened`]
    /// with the stream that was chosen.
    ///
    /// # Errors
    /// [`TransportError::Channel`] if a limit is exceeded or SCTP has ended.
    pub fn open_channel(
        &mut self,
        now: Instant,
        options: ChannelOptions,
    ) -> Result<(), TransportError> {
        self.check_open()?;
        self.sctp.open_channel(now, options)?;
        self.pump(now);
        Ok(())
    }

    /// Sends one message on an open channel.
    ///
    /// # Errors
    /// [`DataError`]; the message was not taken.
    pub fn send_data(
        &mut self,
        now: Instant,
        stream_id: u16,
        bytes: &[u8],
        binary: bool,
    ) -> Result<(), DataError> {
        if self.closed {
            return Err(DataError::Unknown);
        }
        let result = self.sctp.send(now, stream_id, bytes, binary);
        self.pump(now);
        result
    }

    /// Bytes that wait on a channel to be sent or acknowledged; None if there is no such channel.
    pub fn buffered(&mut self, stream_id: u16) -> Option<usize> {
        self.sctp.buffered(stream_id)
    }

    /// Whether the remote description has a section for data. Without one no SCTP is sent unasked: some
    /// peers take it for something else.
    pub fn expect_data(&mut self, now: Instant, expected: bool) {
        self.sctp.expect_data(now, expected);
        self.flush_sctp();
    }

    /// What was refused of the peer's SCTP, by cause.
    pub fn sctp_refused(&self) -> SctpRefused {
        self.sctp.refused()
    }

    /// The common header of the SCTP packets that are sent and the TSN of the next DATA chunk, for packets
    /// made by hand.
    #[cfg(any(test, feature = "raw-sctp"))]
    pub fn raw_sctp(&self) -> Option<([u8; 12], u32)> {
        self.sctp.raw_header()
    }

    /// Sends an SCTP packet made by hand.
    #[cfg(any(test, feature = "raw-sctp"))]
    pub fn send_raw_sctp(&mut self, now: Instant, packet: &[u8]) {
        if let Some(session) = &mut self.session {
            session.send(packet);
        }
        self.pump(now);
    }

    /// Leaves incoming messages in SCTP (`true`), so that its window closes and the peer waits, or
    /// takes them out again.
    pub fn pause_data(&mut self, now: Instant, paused: bool) {
        if !self.closed {
            self.sctp.pause(now, paused);
            self.pump(now);
        }
    }

    /// The same for the reliable channels alone.
    pub fn pause_reliable_data(&mut self, now: Instant, paused: bool) {
        if !self.closed {
            self.sctp.pause_reliable(now, paused);
            self.pump(now);
        }
    }

    /// Says goodbye (SCTP SHUTDOWN, DTLS close_notify) and stops. Datagrams remain to be sent but
    /// no event follows. Does nothing the second time.
    pub fn close(&mut self, now: Instant) {
        if self.closed {
            return;
        }
        self.sctp.close(now);
        self.flush_sctp();
        if let Some(session) = &mut self.session {
            session.close();
        }
        self.flush_dtls();
        self.closed = true;
        self.events.clear();
    }

    fn check_open(&self) -> Result<(), TransportError> {
        if self.closed {
            Err(TransportError::Closed)
        } else {
            Ok(())
        }
    }

    fn take_dtls(&mut self, now: Instant, pair: CandidatePair, packet: &[u8]) {
        match &mut self.session {
            Some(session) => {
                let progress = |session: &Session| {
                    (session.state(), session.packets.len(), session.data.len())
                };
                let before = progress(session);
                session.handle_packet(now, packet);
                // What is not authentic, or no step of the handshake, leaves no trace.
                if progress(session) != before {
                    self.ice.receive(now, pair);
                }
            }
            None if self.held_dtls.len() < limits::HELD_DTLS => {
                self.held_dtls.push(packet.to_vec());
            }
            None => {}
        }
    }

    /// Takes the DTLS datagrams whose path has become valid.
    fn release_early_dtls(&mut self, now: Instant) {
        for _ in 0..self.early_dtls.len() {
            let Some((pair, packet)) = self.early_dtls.pop_front() else {
                return;
            };
            if self.ice.check_source(now, pair).is_ok() {
                self.take_dtls(now, pair, &packet);
            } else {
                self.early_dtls.push_back((pair, packet));
            }
        }
    }

    /// Carries what one layer has put out to the next.
    fn pump(&mut self, now: Instant) {
        self.release_early_dtls(now);
        while let Some(change) = self.ice.changes.pop_front() {
            self.events.push_back(TransportEvent::Ice {
                state: change.state,
                pair: change.pair,
            });
        }
        self.transmits.append(&mut self.ice.transmits);
        if self.ice.selected().is_some()
            && let Some(session) = &mut self.session
        {
            session.start(now);
        }
        self.report_dtls(now);
        while let Some(data) = self.session.as_mut().and_then(|s| s.data.pop_front()) {
            self.sctp.handle_packet(now, data);
        }
        self.flush_sctp();
        self.flush_dtls();
        // Sending may have ended the session.
        self.report_dtls(now);
        self.events.append(&mut self.sctp.events);
    }

    fn report_dtls(&mut self, now: Instant) {
        let Some(session) = &self.session else {
            return;
        };
        let state = session.state();
        if state == self.dtls_reported {
            return;
        }
        let event = |state| TransportEvent::Dtls {
            state,
            profile: session.profile().filter(|_| state == DtlsState::Connected),
            reason: session.reason().to_owned(),
        };
        if self.dtls_reported == DtlsState::New && state == DtlsState::Connected {
            self.events.push_back(event(DtlsState::Connecting));
        }
        self.events.push_back(event(state));
        self.dtls_reported = state;
        match state {
            DtlsState::Connected => self.sctp.start(now, session.is_client()),
            DtlsState::Closed | DtlsState::Failed => self.sctp.end(),
            DtlsState::New | DtlsState::Connecting => {}
        }
    }

    fn flush_sctp(&mut self) {
        let Some(session) = &mut self.session else {
            return;
        };
        while let Some(packet) = self.sctp.packets.pop_front() {
            session.send(&packet);
        }
    }

    fn flush_dtls(&mut self) {
        if let Some(session) = &mut self.session {
            if session.take_began_anew() {
                self.held_transmits.clear();
            }
            self.held_transmits.append(&mut session.packets);
        }
        match self.send_to() {
            Some(pair) => {
                let datagrams = self.held_transmits.drain(..);
                self.transmits
                    .extend(datagrams.map(|bytes| Transmit::on(pair, bytes)));
            }
            None => {
                // The oldest are the ones that will be retransmitted first.
                let excess = self
                    .held_transmits
                    .len()
                    .saturating_sub(limits::HELD_TRANSMITS);
                self.held_transmits.drain(..excess);
            }
        }
    }
}

#[cfg(test)]
mod tests;
