//! What a demultiplexer needs to know about a STUN message before it has found the transport, and
//! the few encodings shared inside this crate (RFC 8489).

use std::net::SocketAddr;

mod message;
#[cfg(test)]
pub(crate) mod tests;

use is::stun::{StunMessage, StunMessageBuilder, TransId};
use is::{DefaultSha1HmacProvider, Sha1HmacProvider};

pub(crate) use self::message::Message;

/// Length of the fixed header.
const HEADER: usize = 20;
const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xA4, 0x42];
/// More than a check with the longest username takes (232), which is more than an answer.
const ENCODED_MAX: usize = 256;
/// Comprehension-required attribute USERNAME.
const USERNAME: u16 = 0x0006;
const MESSAGE_INTEGRITY: u16 = 0x0008;

/// Whether these bytes have the shape of a STUN header (RFC 8489 6.3).
pub fn is_stun(packet: &[u8]) -> bool {
    packet.len() >= HEADER && packet[0] < 4 && packet[4..8] == MAGIC_COOKIE
}

/// Whether these bytes begin like a Binding request (RFC 8489 5).
pub fn is_binding_request(packet: &[u8]) -> bool {
    is_stun(packet) && packet[..2] == [0, 1]
}

/// The ufrag of the receiving side: what precedes the colon in the USERNAME of a Binding request.
///
/// Nothing is verified: use it to find the transport, then ask [`crate::Transport::accepts_stun`].
pub fn local_ufrag(packet: &[u8]) -> Option<&str> {
    if !is_binding_request(packet) {
        return None;
    }
    let mut rest = &packet[HEADER..];
    while let [t0, t1, l0, l1, body @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*l0, *l1]));
        match u16::from_be_bytes([*t0, *t1]) {
            USERNAME => {
                let username = std::str::from_utf8(body.get(..length)?).ok()?;
                return Some(username.split_once(':')?.0);
            }
            MESSAGE_INTEGRITY => return None,
            _ => rest = body.get(length.next_multiple_of(4)..)?,
        }
    }
    None
}

pub(crate) fn hmac(key: &[u8], payloads: &[&[u8]]) -> [u8; 20] {
    DefaultSha1HmacProvider.sha1_hmac(key, payloads)
}

/// A success response to the request `id` from `remote`.
pub(crate) fn success(id: TransId, remote: SocketAddr, pwd: &str) -> Option<Vec<u8>> {
    encode(StunMessage::binding_reply(id, remote), pwd)
}

/// 487 Role Conflict (RFC 8445 7.3.1.1).
pub(crate) fn role_conflict(id: TransId, pwd: &str) -> Option<Vec<u8>> {
    encode(StunMessage::binding_role_conflict_reply(id), pwd)
}

/// 420 Unknown Attribute (RFC 8489 6.3.1), which names them.
pub(crate) fn unknown_attributes(id: TransId, kinds: &[u16], pwd: &str) -> Option<Vec<u8>> {
    const UNKNOWN_ATTRIBUTES: u16 = 0x000A;
    const FINGERPRINT: usize = 8;
    const INTEGRITY: usize = 24;
    let message = StunMessageBuilder::new().binding().failure();
    let message = message.error_code(420, "Unknown Attribute").build(id);
    // The crate knows no UNKNOWN-ATTRIBUTES: they go before what the crate puts last, made anew.
    let mut bytes = encode(message, pwd)?;
    bytes.truncate(bytes.len() - INTEGRITY - FINGERPRINT);
    bytes.extend(UNKNOWN_ATTRIBUTES.to_be_bytes());
    bytes.extend((2 * kinds.len() as u16).to_be_bytes());
    bytes.extend(kinds.iter().flat_map(|kind| kind.to_be_bytes()));
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    sign(&mut bytes, pwd);
    Some(bytes)
}

/// Appends MESSAGE-INTEGRITY and FINGERPRINT (RFC 8489 14.5, 14.7) to a message.
fn sign(bytes: &mut Vec<u8>, pwd: &str) {
    const FINGERPRINT: u16 = 0x8028;
    const FINGERPRINT_XOR: u32 = 0x5354_554E;
    let set_length = |bytes: &mut Vec<u8>, more: usize| {
        let length = (bytes.len() - HEADER + more) as u16;
        bytes[2..4].copy_from_slice(&length.to_be_bytes());
    };
    set_length(bytes, 24);
    let integrity = hmac(pwd.as_bytes(), &[bytes]);
    bytes.extend(MESSAGE_INTEGRITY.to_be_bytes());
    bytes.extend((integrity.len() as u16).to_be_bytes());
    bytes.extend(integrity);
    set_length(bytes, 8);
    let fingerprint = crc32(bytes) ^ FINGERPRINT_XOR;
    bytes.extend(FINGERPRINT.to_be_bytes());
    bytes.extend(4_u16.to_be_bytes());
    bytes.extend(fingerprint.to_be_bytes());
}

/// CRC-32 of ISO HDLC (ITU V.42). For messages that are rare.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            crc >> 1 ^ (0xEDB8_8320 & (crc & 1).wrapping_neg())
        })
    })
}

/// What our checks of one pair have in common (RFC 8445 7.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Check {
    pub(crate) priority: u32,
    pub(crate) controlling: bool,
    pub(crate) tie_breaker: u64,
    /// USE-CANDIDATE.
    pub(crate) nominates: bool,
}

impl Check {
    /// What a Binding request says; None if it says no role.
    pub(crate) fn of(request: &Message<'_>) -> Option<Self> {
        let controlling = request.controlling();
        Some(Check {
            priority: request.priority().unwrap_or_default(),
            controlling: controlling.is_some(),
            tie_breaker: controlling.or(request.controlled())?,
            nominates: request.use_candidate(),
        })
    }

    /// Another check like it.
    pub(crate) fn request(&self, id: TransId, username: &str, pwd: &str) -> Option<Vec<u8>> {
        let (controlling, tie_breaker) = (self.controlling, self.tie_breaker);
        let (priority, nominates) = (self.priority, self.nominates);
        let message = StunMessage::binding_request(
            username,
            id,
            controlling,
            tie_breaker,
            priority,
            nominates,
        );
        encode(message, pwd)
    }
}

fn encode(message: StunMessage<'_>, pwd: &str) -> Option<Vec<u8>> {
    let mut bytes = vec![0; ENCODED_MAX];
    let length = message
        .to_bytes(Some(pwd.as_bytes()), &mut bytes, hmac)
        .ok()?;
    bytes.truncate(length);
    Some(bytes)
}
