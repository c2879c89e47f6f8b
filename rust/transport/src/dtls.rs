//! One DTLS session: handshake, the peer's certificate against the signalled fingerprint, SRTP keys.
//!
//! Until it is complete a handshake is in the clear, and whoever can send from the peer's address can
//! write into it. A server therefore looks at datagrams before the engine does: alerts are remembered
//! and not obeyed, a ClientHello of somebody else takes the place of one that was not followed up, and
//! what the engine finds fatal ends the attempt, not the session. All attempts share one time limit.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use dimpl::{CertificateError, Dtls, DtlsCertificate, Output};
use rtp::srtp::SrtpProfile;

use crate::fingerprint::Fingerprint;
use crate::limits;
use crate::srtp_keys::{self, SrtpPair};
use crate::types::{RemoteDtls, TransportError};

/// First retransmission of a flight; LiveKit's 100 ms is less than many round trips.
const FLIGHT_RTO: Duration = Duration::from_millis(200);
/// Retransmissions of a flight: with doubling, 51 s in all.
const FLIGHT_RETRIES: usize = 7;
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
            .mtu(limits::DTLS_MTU)
            .max_queue_tx(limits::DTLS_QUEUE)
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

/// What a datagram of a handshake begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum First {
    /// A ClientHello, or the first fragment of one, with this random value.
    Hello([u8; 32]),
    /// Another fragment of a ClientHello.
    Fragment,
    /// Another record of a handshake.
    Other,
    /// An alert in the clear.
    Alert,
    /// No record that belongs here.
    Garbage,
}

impl First {
    /// RFC 6347 4.1 and 4.2.2: type, version, epoch, sequence number, length; then message type, length,
    /// number and fragment, version, random value.
    fn of(packet: &[u8]) -> Self {
        const ALERT: u8 = 21;
        const HANDSHAKE: u8 = 22;
        const CLIENT_HELLO: u8 = 1;
        let [kind @ 20..=23, 254, 253 | 255, 0, epoch @ 0..=1, ..] = *packet else {
            return Self::Garbage;
        };
        if packet.len() < 14 {
            return Self::Garbage;
        }
        match (kind, epoch) {
            (ALERT, 0) => Self::Alert,
            (HANDSHAKE, 0) if packet[13] == CLIENT_HELLO && packet.get(19..22) != Some(&[0; 3]) => {
                Self::Fragment
            }
            (HANDSHAKE, 0) if packet[13] == CLIENT_HELLO => {
                let random = packet.get(27..59).and_then(|random| random.try_into().ok());
                random.map_or(Self::Garbage, Self::Hello)
            }
            _ => Self::Other,
        }
    }
}

/// What is wrong with a certificate is not mended by another attempt.
fn is_about_certificate(error: &dimpl::Error) -> bool {
    matches!(error, dimpl::Error::CertificateError(_))
}

fn engine(identity: &DtlsIdentity, is_client: bool, now: Instant) -> Dtls {
    let certificate = DtlsCertificate::clone(&identity.certificate);
    let mut dtls = Dtls::new_12(Arc::clone(&identity.config), certificate, now);
    dtls.set_active(is_client);
    dtls
}

impl Session {
    pub(crate) fn new(identity: &DtlsIdentity, remote: &RemoteDtls, now: Instant) -> Self {
        let is_client = !remote.role_is_client;
        Session {
            dtls: engine(identity, is_client, now),
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
            let reason = match self.attempt.alerted {
                true => "handshake timed out after a fatal alert",
                false => "handshake timed out",
            };
            return self.end(DtlsState::Failed, reason);
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
        self.dtls = engine(&self.identity, self.is_client, now);
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
            let reason = match error {
                // It offered one of another kind, perhaps RSA, and was told that we do not take that.
                dimpl::Error::CertificateError(CertificateError::NoClientCertificateReceived) => {
                    "the peer has no ECDSA certificate".to_owned()
                }
                error => error.to_string(),
            };
            self.end(DtlsState::Failed, &reason);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn session(
        now: Instant,
        own: &DtlsIdentity,
        remote: &DtlsIdentity,
        is_client: bool,
    ) -> Session {
        let remote = RemoteDtls {
            fingerprint: remote.fingerprint().clone(),
            role_is_client: !is_client,
        };
        let mut session = Session::new(own, &remote, now);
        session.start(now);
        session
    }

    /// A hello of somebody else, records that might belong to its handshake, then the peer's hello.
    #[test]
    fn records_behind_the_hello_of_somebody_else_do_not_bind_the_server_to_it() {
        let now = Instant::now();
        let identities = [(); 3].map(|()| DtlsIdentity::generate().unwrap());
        let [own, peers, foreign] = &identities;
        for seed in 0..50_u8 {
            let mut server = session(now, own, peers, false);
            let mut client = session(now, peers, own, true);
            let foreign_hello = session(now, foreign, own, true).packets.pop_front();
            server.handle_packet(now, &foreign_hello.unwrap());
            assert!(!server.packets.is_empty());
            let (kind, epoch, len) = ([20, 22, 23][usize::from(seed % 3)], seed % 2, 20 + seed);
            let mut record = vec![kind, 254, 253, 0, epoch, 0, 0, 0, 0, 0, 9, 0, len];
            record.extend((0..len).map(|at| at.wrapping_mul(2 * seed + 3) ^ 0x55));
            assert_eq!(First::of(&record), First::Other);
            server.handle_packet(now, &record);
            // The peer sees no answer to what it has not sent.
            server.packets.clear();
            while let Some(packet) = client.packets.pop_front() {
                server.handle_packet(now, &packet);
                while let Some(packet) = server.packets.pop_front() {
                    client.handle_packet(now, &packet);
                }
            }
            let states = (server.state(), client.state());
            assert_eq!(
                states,
                (DtlsState::Connected, DtlsState::Connected),
                "{seed}"
            );
        }
    }

    /// Once the peer has shown its certificate, nobody else's hello takes its place.
    #[test]
    fn a_hello_of_somebody_else_does_not_end_what_the_peer_goes_on_with() {
        let now = Instant::now();
        let identities = [(); 3].map(|()| DtlsIdentity::generate().unwrap());
        let [own, peers, foreign] = &identities;
        let mut server = session(now, own, peers, false);
        let mut client = session(now, peers, own, true);
        let mut foreign_hellos = 0;
        while let Some(packet) = client.packets.pop_front() {
            // Each record by itself, so that the certificate does not come with all the rest.
            let mut rest = &packet[..];
            while !rest.is_empty() {
                let len = 13 + usize::from(u16::from_be_bytes([rest[11], rest[12]]));
                server.handle_packet(now, &rest[..len]);
                rest = &rest[len..];
                if server.certificate_verified && server.state() == DtlsState::Connecting {
                    let foreign_hello = session(now, foreign, own, true).packets.pop_front();
                    server.handle_packet(now, &foreign_hello.unwrap());
                    foreign_hellos += 1;
                }
            }
            while let Some(packet) = server.packets.pop_front() {
                client.handle_packet(now, &packet);
            }
        }
        let states = (server.state(), client.state());
        assert_eq!(states, (DtlsState::Connected, DtlsState::Connected));
        assert!(foreign_hellos > 0 && server.attempts == 0);
    }

    #[test]
    fn what_datagrams_begin_with() {
        let mut hello = vec![
            22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 60, 1, 0, 0, 90, 0, 0,
        ];
        hello.extend([0, 0, 0, 0, 0, 48, 254, 253]);
        hello.extend([7; 32]);
        assert_eq!(First::of(&hello), First::Hello([7; 32]));
        assert_eq!(First::of(&hello[..58]), First::Garbage);
        // A long one comes in pieces.
        hello[21] = 48;
        assert_eq!(First::of(&hello), First::Fragment);
        hello[13] = 11;
        assert_eq!(First::of(&hello), First::Other);
        hello[4] = 1;
        assert_eq!(First::of(&hello), First::Other);
        hello[4] = 2;
        assert_eq!(First::of(&hello), First::Garbage);
        hello[4] = 0;
        hello[0] = 21;
        assert_eq!(First::of(&hello), First::Alert);
        hello[1] = 3;
        assert_eq!(First::of(&hello), First::Garbage);
        assert_eq!(First::of(&[]), First::Garbage);
    }
}
