//! One DTLS session: handshake, the peer's certificate against the signalled fingerprint, SRTP keys.
//!
//! Until it is complete a handshake is in the clear, and whoever can send from the peer's address can
//! write into it. A server therefore looks at datagrams before the engine does: alerts are remembered
//! and not obeyed, a ClientHello of somebody else takes the place of one that was not followed up, and
//! what the engine finds fatal ends the attempt, not the session. The engine believes a certificate when
//! the signature over the handshake holds, and forgets it otherwise: the peer sends it again. All
//! attempts share one time limit.

mod first;
mod identity;
#[cfg(test)]
mod key_tests;
#[cfg(test)]
mod spoof_tests;
#[cfg(test)]
mod tests;
mod verify;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use dimpl::{CertificateError, Dtls, DtlsCertificate, Output};
use rtp::srtp::SrtpProfile;

use self::first::First;
pub use self::identity::DtlsIdentity;
use crate::fingerprint::Fingerprint;
use crate::limits;
use crate::srtp_keys::{self, SrtpPair};
use crate::types::RemoteDtls;

/// LiveKit's bound on the whole handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(60);

/// RTCDtlsTransportState (W3C webrtc-pc).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DtlsState {
    /// Nothing was sent or received.
    New,
    /// The handshake is running.
    Connecting,
    /// Keys are agreed and the certificate is the signalled one.
    Connected,
    /// Either side closed.
    Closed,
    /// The handshake failed or the certificate is not the signalled one.
    Failed,
}

/// A session whose remote parameters are known.
pub(crate) struct Session {
    dtls: Dtls,
    identity: DtlsIdentity,
    attempt: Attempt,
    /// The handshake fails then, whatever was tried until then.
    give_up: Option<Instant>,
    /// Attempts that came to nothing.
    attempts: usize,
    remote: Fingerprint,
    is_client: bool,
    certificate_verified: bool,
    state: DtlsState,
    reason: String,
    profile: Option<SrtpProfile>,
    srtp: Option<SrtpPair>,
    deadline: Option<Instant>,
    scratch: Vec<u8>,
    began_anew: bool,
    /// Datagrams to send, oldest first.
    pub(crate) packets: VecDeque<Vec<u8>>,
    /// Application data received, oldest first.
    pub(crate) data: VecDeque<Bytes>,
}

/// What a client has shown of itself in this attempt at a handshake.
#[derive(Default)]
struct Attempt {
    /// The random value of its ClientHello.
    random: Option<[u8; 32]>,
    /// A fatal alert came, from it or from anybody.
    alerted: bool,
}

/// What is wrong with a certificate is not mended by another attempt.
fn is_about_certificate(error: &dimpl::Error) -> bool {
    matches!(error, dimpl::Error::CertificateError(_))
}

/// For whoever reads why a handshake failed.
fn text(error: &dimpl::Error) -> String {
    match error {
        dimpl::Error::CertificateError(CertificateError::NoClientCertificateReceived) => {
            "the peer sent no certificate".to_owned()
        }
        error => error.to_string(),
    }
}

fn engine(identity: &DtlsIdentity, remote: &Fingerprint, is_client: bool, now: Instant) -> Dtls {
    let certificate = DtlsCertificate::clone(&identity.certificate);
    let mut dtls = Dtls::new_12(Arc::clone(&identity.config), certificate, now);
    dtls.set_active(is_client);
    let remote = remote.clone();
    dtls.set_certificate_check(Box::new(move |certificate| remote.matches(certificate)));
    dtls
}

impl Session {
    pub(crate) fn new(identity: &DtlsIdentity, remote: &RemoteDtls, now: Instant) -> Self {
        let is_client = !remote.role_is_client;
        Session {
            dtls: engine(identity, &remote.fingerprint, is_client, now),
            identity: identity.clone(),
            attempt: Attempt::default(),
            give_up: None,
            attempts: 0,
            remote: remote.fingerprint.clone(),
            is_client,
            certificate_verified: false,
            state: DtlsState::New,
            reason: String::new(),
            profile: None,
            srtp: None,
            deadline: None,
            scratch: vec![0; 2_048],
            began_anew: false,
            packets: VecDeque::new(),
            data: VecDeque::new(),
        }
    }

    pub(crate) fn state(&self) -> DtlsState {
        self.state
    }

    /// Why the session failed, or empty.
    pub(crate) fn reason(&self) -> &str {
        &self.reason
    }

    pub(crate) fn is_client(&self) -> bool {
        self.is_client
    }

    /// The negotiated SRTP profile.
    pub(crate) fn profile(&self) -> Option<SrtpProfile> {
        self.profile
    }

    /// The SRTP keys, while connected.
    pub(crate) fn srtp(&mut self) -> Option<&mut SrtpPair> {
        self.srtp.as_mut()
    }

    /// Whether the handshake has begun anew since the last call: what was to be sent and is not sent yet
    /// is for nobody.
    pub(crate) fn take_began_anew(&mut self) -> bool {
        std::mem::take(&mut self.began_anew)
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let give_up = self.give_up.filter(|_| self.state == DtlsState::Connecting);
        let next = [self.deadline, give_up].into_iter().flatten().min();
        next.filter(|_| self.is_active())
    }

    /// There is a path: a client sends its first flight.
    pub(crate) fn start(&mut self, now: Instant) {
        if self.state == DtlsState::New && self.is_client {
            self.state = DtlsState::Connecting;
            self.give_up = Some(now + HANDSHAKE_TIMEOUT);
            self.handle_timeout(now);
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.state == DtlsState::Connecting && self.give_up.is_some_and(|at| at <= now) {
            let reason = match (self.dtls.rejection(), self.attempt.alerted) {
                (Some(error), _) => format!("handshake timed out: {}", text(error)),
                (None, true) => "handshake timed out after a fatal alert".to_owned(),
                (None, false) => "handshake timed out".to_owned(),
            };
            return self.end(DtlsState::Failed, &reason);
        }
        if self.is_active() && self.state != DtlsState::New {
            let result = self.dtls.handle_timeout(now);
            self.settle(result);
        }
    }

    pub(crate) fn handle_packet(&mut self, now: Instant, packet: &[u8]) {
        // A client has nothing to receive before it has sent.
        if !self.is_active() || (self.state == DtlsState::New && self.is_client) {
            return;
        }
        if self.state != DtlsState::Connected && !self.admits(now, packet) {
            return;
        }
        if self.state == DtlsState::New {
            self.state = DtlsState::Connecting;
            self.give_up = Some(now + HANDSHAKE_TIMEOUT);
        }
        let result = self
            .dtls
            .handle_timeout(now)
            .and_then(|()| self.dtls.handle_packet(packet));
        let may_try_again = self.state == DtlsState::Connecting
            && !self.is_client
            && self.attempts < limits::DTLS_ATTEMPTS;
        match result {
            Err(error) if may_try_again && !is_about_certificate(&error) => {
                self.drain();
                self.try_again(now);
            }
            result => self.settle(result),
        }
    }

    /// Whether the engine may see a datagram of a handshake that is not complete.
    fn admits(&mut self, now: Instant, packet: &[u8]) -> bool {
        match First::of(packet) {
            First::Garbage => false,
            First::Alert => {
                self.attempt.alerted = true;
                false
            }
            First::Other => self.is_client || self.attempt.random.is_some(),
            First::Hello(_) | First::Fragment if self.is_client => false,
            First::Fragment => true,
            First::Hello(random) => {
                let is_other = self.attempt.random.is_some_and(|known| known != random);
                // Who shows the signalled certificate goes on with the handshake; anybody can send
                // records that only look so.
                let went_on = self.certificate_verified;
                if is_other && (went_on || self.attempts >= limits::DTLS_ATTEMPTS) {
                    return false;
                }
                if is_other {
                    self.try_again(now);
                }
                self.attempt.random = Some(random);
                true
            }
        }
    }

    /// Forgets the handshake so far: the client's next ClientHello begins another.
    fn try_again(&mut self, now: Instant) {
        self.attempts += 1;
        self.attempt = Attempt {
            alerted: self.attempt.alerted,
            ..Attempt::default()
        };
        self.dtls = engine(&self.identity, &self.remote, self.is_client, now);
        self.packets.clear();
        self.began_anew = true;
        self.deadline = None;
        self.certificate_verified = false;
        self.profile = None;
    }

    /// Encrypts one datagram of application data.
    pub(crate) fn send(&mut self, data: &[u8]) {
        if self.state == DtlsState::Connected {
            let result = self.dtls.send_application_data(data).map(|_taken| ());
            self.settle(result);
        }
    }

    /// Sends close_notify if the handshake was complete. Does nothing the second time.
    pub(crate) fn close(&mut self) {
        if self.state == DtlsState::Connected {
            let result = self.dtls.close();
            self.settle(result);
        }
        if self.is_active() {
            self.end(DtlsState::Closed, "");
        }
    }

    fn is_active(&self) -> bool {
        !matches!(self.state, DtlsState::Closed | DtlsState::Failed)
    }

    fn end(&mut self, state: DtlsState, reason: &str) {
        self.state = state;
        self.reason = reason.to_owned();
        self.srtp = None;
    }

    /// Collects the engine's output after a call; every error of the engine is final.
    fn settle(&mut self, result: Result<(), dimpl::Error>) {
        self.drain();
        if let Err(error) = result
            && self.is_active()
        {
            self.end(DtlsState::Failed, &text(&error));
        }
    }

    fn drain(&mut self) {
        let mut handshake_done = false;
        let mut buffer = std::mem::take(&mut self.scratch);
        // After a close_notify there may still be ours to send; after a failure nothing is.
        while self.state != DtlsState::Failed {
            match self.dtls.poll_output(&mut buffer) {
                Output::Packet(packet) => self.packets.push_back(packet.to_vec()),
                Output::BufferTooSmall { needed } => buffer.resize(needed, 0),
                Output::PeerCert(certificate) => {
                    self.certificate_verified = self.remote.matches(certificate);
                    if !self.certificate_verified {
                        self.end(
                            DtlsState::Failed,
                            "certificate does not match the fingerprint",
                        );
                    }
                }
                Output::KeyingMaterial(material, profile) => self.set_keys(&material, profile),
                Output::Connected => handshake_done = true,
                Output::ApplicationData(data) => self.data.push_back(Bytes::copy_from_slice(data)),
                Output::CloseNotify => self.end(DtlsState::Closed, ""),
                Output::Timeout(at) => {
                    self.deadline = Some(at);
                    break;
                }
                _ => {}
            }
        }
        self.scratch = buffer;
        if handshake_done && self.is_active() {
            if self.certificate_verified {
                self.state = DtlsState::Connected;
            } else {
                self.end(DtlsState::Failed, "the peer sent no certificate");
            }
        }
        if !self.certificate_verified {
            self.data.clear();
        }
    }

    fn set_keys(&mut self, material: &[u8], negotiated: dimpl::SrtpProfile) {
        if !self.certificate_verified {
            return;
        }
        self.profile = srtp_keys::profile(negotiated);
        self.srtp = self
            .profile
            .and_then(|profile| srtp_keys::derive(profile, material, self.is_client));
    }
}
