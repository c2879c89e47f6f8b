//! One DTLS session: handshake, the peer's certificate against the signalled fingerprint, SRTP keys.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use dimpl::{Dtls, DtlsCertificate, Output};
use rtp::srtp::SrtpProfile;

use crate::fingerprint::Fingerprint;
use crate::srtp_keys::{self, SrtpPair};
use crate::types::{RemoteDtls, TransportError};

/// First retransmission of a flight; LiveKit's 100 ms is less than many round trips.
const FLIGHT_RTO: Duration = Duration::from_millis(200);
/// Retransmissions of a flight: with doubling, 51 s in all.
const FLIGHT_RETRIES: usize = 7;
/// LiveKit's bound on the whole handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(60);
/// Largest datagram of the handshake.
const MTU: usize = 1_200;
/// Datagrams that may wait inside the DTLS engine: our own flights only, since data is drained at
/// once.
const QUEUE_TX: usize = 16;

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

/// The certificate of this process, and the validated configuration that all sessions share (making
/// either costs as much as several handshakes). Cloning is cheap.
#[derive(Clone)]
pub struct DtlsIdentity {
    certificate: Arc<DtlsCertificate>,
    config: Arc<dimpl::Config>,
    fingerprint: Arc<Fingerprint>,
}

impl DtlsIdentity {
    /// Makes a self-signed ECDSA P-256 certificate.
    ///
    /// # Errors
    /// [`TransportError::Certificate`] if the system gives no randomness.
    pub fn generate() -> Result<Self, TransportError> {
        let certificate = dimpl::certificate::generate_self_signed_certificate()
            .map_err(|_generation| TransportError::Certificate)?;
        // No cookie exchange: every source has already proved itself by an ICE check, and it would
        // cost a round trip.
        let config = dimpl::Config::builder()
            .mtu(MTU)
            .max_queue_tx(QUEUE_TX)
            .use_server_cookie(false)
            .require_client_certificate(true)
            .flight_start_rto(FLIGHT_RTO)
            .flight_retries(FLIGHT_RETRIES)
            .handshake_timeout(HANDSHAKE_TIMEOUT)
            .build()
            .map_err(|_configuration| TransportError::Certificate)?;
        let fingerprint = Fingerprint::sha256(&certificate.certificate);
        Ok(DtlsIdentity {
            certificate: Arc::new(certificate),
            config: Arc::new(config),
            fingerprint: Arc::new(fingerprint),
        })
    }

    /// The SHA-256 fingerprint to signal; its text is upper-case hex joined by colons.
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }
}

/// A session whose remote parameters are known.
pub(crate) struct Session {
    dtls: Dtls,
    remote: Fingerprint,
    is_client: bool,
    certificate_verified: bool,
    state: DtlsState,
    reason: String,
    profile: Option<SrtpProfile>,
    srtp: Option<SrtpPair>,
    deadline: Option<Instant>,
    scratch: Vec<u8>,
    /// Datagrams to send, oldest first.
    pub(crate) packets: VecDeque<Vec<u8>>,
    /// Application data received, oldest first.
    pub(crate) data: VecDeque<Bytes>,
}

impl Session {
    pub(crate) fn new(identity: &DtlsIdentity, remote: &RemoteDtls, now: Instant) -> Self {
        let certificate = DtlsCertificate::clone(&identity.certificate);
        let mut dtls = Dtls::new_12(Arc::clone(&identity.config), certificate, now);
        let is_client = !remote.role_is_client;
        dtls.set_active(is_client);
        Session {
            dtls,
            remote: remote.fingerprint.clone(),
            is_client,
            certificate_verified: false,
            state: DtlsState::New,
            reason: String::new(),
            profile: None,
            srtp: None,
            deadline: None,
            scratch: vec![0; 2_048],
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

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.deadline.filter(|_| self.is_active())
    }

    /// There is a path: a client sends its first flight.
    pub(crate) fn start(&mut self, now: Instant) {
        if self.state == DtlsState::New && self.is_client {
            self.state = DtlsState::Connecting;
            self.handle_timeout(now);
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
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
        if self.state == DtlsState::New {
            self.state = DtlsState::Connecting;
        }
        let result = self
            .dtls
            .handle_timeout(now)
            .and_then(|()| self.dtls.handle_packet(packet));
        self.settle(result);
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
            self.end(DtlsState::Failed, &error.to_string());
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
                self.end(DtlsState::Failed, "peer sent no certificate");
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
