//! A client's certificate flight before anything of it is believed. Not in upstream.
//!
//! Certificate, ClientKeyExchange and CertificateVerify come in the clear, and whoever can send from the
//! client's address can write such messages too. They stay in the queue until all three are there, and
//! are consumed only when the signature holds over the transcript with them, which nobody makes who has
//! not seen this server's random value. Otherwise they are discarded, as RFC 6347 4.1.2.7 has it for
//! records that are not authentic, and the client sends its flight again.

use std::panic::{RefUnwindSafe, UnwindSafe};

use crate::buffer::Buf;
use crate::dtls12::engine::Engine;
use crate::dtls12::incoming::{Incoming, Record};
use crate::dtls12::message::{Body, Certificate, CertificateVerify, ContentType};
use crate::dtls12::message::{DigitallySigned, MessageType};
use crate::{CertificateError, CryptoError, Error};

/// Says whether a leaf certificate (DER) is the one that is expected.
pub type CertificateCheck = Box<dyn Fn(&[u8]) -> bool + Send + Sync + UnwindSafe + RefUnwindSafe>;

/// Messages of the flight, in order.
const FLIGHT: [MessageType; 3] = [
    MessageType::Certificate,
    MessageType::ClientKeyExchange,
    MessageType::CertificateVerify,
];
/// Largest message of the flight: a chain of certificates.
const MESSAGE_MAX: u32 = 32 * 1024;
/// Signatures by certificates that are not expected which are verified; more are discarded unseen.
const STRANGERS: usize = 16;

/// What is known of the flight.
#[derive(Default)]
pub(crate) struct ClientFlight {
    expected: Option<CertificateCheck>,
    /// It is awaited.
    awaited: bool,
    /// It was consumed.
    read: bool,
    /// Flights that were discarded, and why the last one was.
    rejected: usize,
    rejection: Option<Error>,
    /// Signatures by certificates that are not expected.
    strangers: usize,
}

/// A message in the queue.
enum Found {
    Complete,
    Incomplete,
    /// Fragments that do not belong to one message.
    Confused,
}

impl Engine {
    pub fn set_certificate_check(&mut self, check: CertificateCheck) {
        self.client_flight.expected = Some(check);
    }

    /// Why the last flight was discarded.
    pub fn rejection(&self) -> Option<&Error> {
        self.client_flight.rejection.as_ref()
    }

    /// A flight is awaited of which nothing is authentic before all of it is there.
    pub fn await_client_flight(&mut self) {
        self.client_flight.awaited = true;
    }

    /// The flight was consumed. Messages in the clear that nobody waits for are discarded.
    pub fn end_client_flight(&mut self) {
        self.client_flight.awaited = false;
        self.client_flight.read = true;
        self.queue_rx.iter().for_each(discard_messages_in_the_clear);
    }

    /// Whether nothing but ChangeCipherSpec can still come in the clear.
    pub fn has_read_client_flight(&self) -> bool {
        self.client_flight.read
    }

    /// Of a datagram that comes between the flight and encryption only what is no message counts.
    pub fn insert_behind_client_flight(&mut self, incoming: Incoming) {
        discard_messages_in_the_clear(&incoming);
        if incoming.records().iter().all(Record::is_handled) {
            return self.recycle_incoming(incoming);
        }
        if self.queue_rx.len() >= self.config().max_queue_rx() {
            self.discard_queue();
        }
        self.queue_rx.push_back(incoming);
    }

    pub fn awaits_client_flight(&self) -> bool {
        self.client_flight.awaited
    }

    /// Whether the flight is there and the signature holds. `signed` becomes what it covers. Takes
    /// nothing from the queue but what is no such flight.
    pub fn verify_client_flight(&mut self, signed: &mut Buf) -> bool {
        match self.judge_client_flight(signed) {
            Ok(is_there) => is_there,
            Err(error) => {
                debug!("Discarding a client flight: {}", error);
                self.discard_queue();
                self.client_flight.rejected += 1;
                self.client_flight.rejection = Some(error);
                false
            }
        }
    }

    fn judge_client_flight(&mut self, signed: &mut Buf) -> Result<bool, Error> {
        signed.clear();
        signed.extend_from_slice(&self.transcript);
        let mut message = Buf::new();
        let mut leaf = Vec::new();
        for (seq, wanted) in (self.peer_handshake_seq_no()..).zip(FLIGHT) {
            match self.peek_handshake(seq, wanted, &mut message) {
                Found::Complete => {}
                Found::Incomplete => return Ok(false),
                Found::Confused => {
                    return Err(Error::SecurityError(
                        crate::SecurityError::ClientFinishedVerificationFailed,
                    ));
                }
            }
            if wanted == MessageType::Certificate {
                leaf = leaf_of(&message[HEADER..])?;
            }
            if wanted != MessageType::CertificateVerify {
                signed.extend_from_slice(&message);
            }
        }
        let is_expected = |check: &CertificateCheck| check(&leaf);
        if !self.client_flight.expected.as_ref().is_none_or(is_expected) {
            self.client_flight.strangers += 1;
            if self.client_flight.strangers > STRANGERS {
                let error = CertificateError::NoClientCertificateForVerification;
                return Err(Error::CertificateError(error));
            }
        }
        let body = &message[HEADER..];
        let (_, verify) = CertificateVerify::parse(body, 0).map_err(|_| invalid_signature())?;
        let signature = &body[verify.signed.signature_range.clone()];
        let digitally_signed = DigitallySigned {
            algorithm: verify.signed.algorithm,
            signature_range: 0..signature.len(),
        };
        self.crypto_context()
            .verify_signature(signed, &digitally_signed, signature, &leaf)
            .map_err(Error::CryptoError)?;
        Ok(true)
    }

    /// Puts a message together as it goes into the transcript. Takes nothing from the queue.
    fn peek_handshake(&self, seq: u16, wanted: MessageType, message: &mut Buf) -> Found {
        message.clear();
        let fragments = self
            .queue_rx
            .iter()
            .flat_map(|incoming| incoming.records().iter())
            .flat_map(|record| {
                record
                    .handshakes()
                    .iter()
                    .map(move |h| (h, record.buffer()))
            })
            .filter(|(h, _)| !h.is_handled() && h.header.message_seq == seq);
        let mut length = None;
        let mut end = 0;
        for (fragment, buffer) in fragments {
            let header = &fragment.header;
            let whole = *length.get_or_insert(header.length);
            let is_of_one = header.msg_type == wanted && header.length == whole;
            let Body::Fragment(range) = &fragment.body else {
                return Found::Confused;
            };
            if !is_of_one || whole > MESSAGE_MAX || header.fragment_offset < end {
                return Found::Confused;
            }
            if header.fragment_offset > end {
                return Found::Incomplete;
            }
            if message.is_empty() {
                message.push(wanted.as_u8());
                message.extend_from_slice(&whole.to_be_bytes()[1..]);
                message.extend_from_slice(&seq.to_be_bytes());
                message.extend_from_slice(&[0; 3]);
                message.extend_from_slice(&whole.to_be_bytes()[1..]);
            }
            message.extend_from_slice(&buffer[range.clone()]);
            end += header.fragment_length;
        }
        match length == Some(end) {
            true => Found::Complete,
            false => Found::Incomplete,
        }
    }

    /// Whether a datagram goes into the queue of a flight that is awaited. Copies do not; what
    /// contradicts what is there takes its place, for the client will send its flight again, and
    /// whoever else wrote it will not always be the last.
    pub fn admit_to_client_flight(&mut self, incoming: &Incoming) -> bool {
        let first = self.peer_handshake_seq_no();
        let is_of_flight = |record: &Record| {
            let epoch = record.record().sequence.epoch;
            let mut handshakes = record.handshakes().iter();
            epoch != 0
                || handshakes
                    .all(|h| h.header.message_seq.wrapping_sub(first) < FLIGHT.len() as u16)
        };
        if !incoming.records().iter().all(is_of_flight) {
            return false;
        }
        let same_place = self
            .queue_rx
            .iter()
            .find(|known| key(known) == key(incoming));
        let is_copy = same_place.map(|known| in_the_clear(known).eq(in_the_clear(incoming)));
        match is_copy {
            Some(true) => return false,
            Some(false) => self.discard_queue(),
            None if self.queue_rx.len() >= self.config().max_queue_rx() => self.discard_queue(),
            None => {}
        }
        true
    }
}

fn discard_messages_in_the_clear(incoming: &Incoming) {
    let records = incoming.records().iter();
    for record in records.filter(|record| record.record().sequence.epoch == 0) {
        for handshake in record.handshakes() {
            handshake.set_handled();
        }
        let is_handshake = record.record().content_type == ContentType::Handshake;
        if is_handshake && record.handshakes().is_empty() {
            record.set_handled();
        }
    }
}

/// Length of a handshake header.
const HEADER: usize = 12;

fn key(incoming: &Incoming) -> Option<(u16, u32)> {
    let header = &incoming.first().first_handshake()?.header;
    Some((header.message_seq, header.fragment_offset))
}

/// What records in the clear hold, without their own numbers, which are others each time.
fn in_the_clear(incoming: &Incoming) -> impl Iterator<Item = &[u8]> {
    let records = incoming.records().iter();
    records
        .filter(|record| record.record().sequence.epoch == 0)
        .map(|record| record.record().fragment(record.buffer()))
}

fn leaf_of(body: &[u8]) -> Result<Vec<u8>, Error> {
    let (_, certificate) = Certificate::parse(body, 0).map_err(|_| invalid_signature())?;
    let leaf = certificate
        .certificate_list
        .first()
        .ok_or(Error::CertificateError(
            CertificateError::NoClientCertificateReceived,
        ))?;
    Ok(body[leaf.0.clone()].to_vec())
}

fn invalid_signature() -> Error {
    Error::CryptoError(CryptoError::CertificateParseFailed)
}
