//! The certificate of this process and what all sessions are configured with.

use std::sync::Arc;
use std::time::Duration;

use dimpl::DtlsCertificate;

use super::HANDSHAKE_TIMEOUT;
use super::verify::VERIFIER;
use crate::fingerprint::Fingerprint;
use crate::limits;
use crate::types::TransportError;

/// First retransmission of a flight; LiveKit's 100 ms is less than many round trips.
const FLIGHT_RTO: Duration = Duration::from_millis(200);
/// Retransmissions of a flight: with doubling, 51 s in all.
const FLIGHT_RETRIES: usize = 7;

/// The certificate of this process, and the validated configuration that all sessions share (making
/// either costs as much as several handshakes). Cloning is cheap.
#[derive(Clone)]
pub struct DtlsIdentity {
    pub(super) certificate: Arc<DtlsCertificate>,
    pub(super) config: Arc<dimpl::Config>,
    pub(super) fingerprint: Arc<Fingerprint>,
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
        let provider = dimpl::crypto::CryptoProvider {
            signature_verification: &VERIFIER,
            ..dimpl::crypto::aws_lc_rs::default_provider()
        };
        let config = dimpl::Config::builder()
            .with_crypto_provider(provider)
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
