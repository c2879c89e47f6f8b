//! A STUN message as it came (RFC 8489 5, 14).
//!
//! Small stacks write messages that say less than RFC 8445 asks for, or say it in more bytes. What is
//! needed to act is required, the rest may be absent or have any length: an attribute that cannot be
//! read counts as absent. Only MESSAGE-INTEGRITY makes a message worth acting upon.

use std::net::SocketAddr;

use aws_lc_rs::constant_time;
use is::stun::{StunMessage, TransId};

use super::{HEADER, MAGIC_COOKIE, MESSAGE_INTEGRITY, USERNAME, hmac, is_stun};
use crate::limits::{STUN_MESSAGE_MAX, STUN_UNKNOWN_ATTRIBUTES};

const ERROR_CODE: u16 = 0x0009;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
const PRIORITY: u16 = 0x0024;
const USE_CANDIDATE: u16 = 0x0025;
const ICE_CONTROLLED: u16 = 0x8029;
const ICE_CONTROLLING: u16 = 0x802A;
/// Length of a SHA-1 HMAC.
const INTEGRITY_LENGTH: usize = 20;

/// The first bits of a message type of the Binding method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Request,
    Success,
    Failure,
    /// Indications, and other methods.
    Other,
}

/// What ICE needs of a message, nothing of which is verified before [`Message::verify`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Message<'a> {
    packet: &'a [u8],
    class: Class,
    username: Option<&'a str>,
    /// Where the MESSAGE-INTEGRITY attribute begins.
    integrity: Option<usize>,
    error_code: Option<u16>,
    mapped_address: Option<&'a [u8]>,
    priority: Option<u32>,
    controlled: Option<u64>,
    controlling: Option<u64>,
    use_candidate: bool,
    unknown: [u16; STUN_UNKNOWN_ATTRIBUTES],
    unknown_count: usize,
}

impl<'a> Message<'a> {
    /// None if it has not the form of a STUN message, or is larger than any of ICE can be. What follows
    /// it in its datagram is ignored.
    pub(crate) fn parse(packet: &'a [u8]) -> Option<Self> {
        if !is_stun(packet) || packet.len() > STUN_MESSAGE_MAX {
            return None;
        }
        let length = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
        if !length.is_multiple_of(4) {
            return None;
        }
        let packet = packet.get(..HEADER + length)?;
        let mut message = Message {
            packet,
            class: match [packet[0], packet[1]] {
                [0x00, 0x01] => Class::Request,
                [0x01, 0x01] => Class::Success,
                [0x01, 0x11] => Class::Failure,
                _ => Class::Other,
            },
            username: None,
            integrity: None,
            error_code: None,
            mapped_address: None,
            priority: None,
            controlled: None,
            controlling: None,
            use_candidate: false,
            unknown: [0; STUN_UNKNOWN_ATTRIBUTES],
            unknown_count: 0,
        };
        let mut at = HEADER;
        // What follows MESSAGE-INTEGRITY is not authentic (RFC 8489 14.5).
        while at < packet.len() && message.integrity.is_none() {
            let [t0, t1, l0, l1] = *packet.get(at..)?.first_chunk()?;
            let length = usize::from(u16::from_be_bytes([l0, l1]));
            let value = packet.get(at + 4..at + 4 + length)?;
            message.note(at, u16::from_be_bytes([t0, t1]), value);
            at += 4 + length.next_multiple_of(4);
        }
        Some(message)
    }

    /// Of attributes that come twice the first counts (RFC 8489 14).
    fn note(&mut self, at: usize, kind: u16, value: &'a [u8]) {
        match kind {
            USERNAME => self.username = self.username.or(std::str::from_utf8(value).ok()),
            MESSAGE_INTEGRITY if value.len() == INTEGRITY_LENGTH => self.integrity = Some(at),
            ERROR_CODE => {
                let code = |v: &[u8]| Some(u16::from(v.get(2)? & 7) * 100 + u16::from(*v.get(3)?));
                self.error_code = self.error_code.or_else(|| code(value));
            }
            XOR_MAPPED_ADDRESS => self.mapped_address = self.mapped_address.or(Some(value)),
            PRIORITY => {
                let first = value.first_chunk().copied().map(u32::from_be_bytes);
                self.priority = self.priority.or(first);
            }
            USE_CANDIDATE => self.use_candidate = true,
            ICE_CONTROLLED => self.controlled = self.controlled.or_else(|| tie_breaker(value)),
            ICE_CONTROLLING => self.controlling = self.controlling.or_else(|| tie_breaker(value)),
            _ if !is_known(kind) && self.unknown_count < STUN_UNKNOWN_ATTRIBUTES => {
                self.unknown[self.unknown_count] = kind;
                self.unknown_count += 1;
            }
            _ => {}
        }
    }

    pub(crate) fn is_binding_request(&self) -> bool {
        self.class == Class::Request
    }

    pub(crate) fn is_successful_binding_response(&self) -> bool {
        self.class == Class::Success
    }

    /// The code of an error response.
    pub(crate) fn error_code(&self) -> Option<u16> {
        self.error_code.filter(|_| self.class == Class::Failure)
    }

    pub(crate) fn trans_id(&self) -> TransId {
        let mut header = [0; HEADER];
        header.copy_from_slice(&self.packet[..HEADER]);
        // A Binding indication, the least that the crate parses.
        header[..4].copy_from_slice(&[0x00, 0x11, 0, 0]);
        match StunMessage::parse(&header) {
            Ok(message) => message.trans_id(),
            Err(_) => unreachable!("an indication without attributes is a message"),
        }
    }

    /// The receiver's ufrag and the sender's.
    pub(crate) fn split_username(&self) -> Option<(&'a str, &'a str)> {
        self.username?.split_once(':')
    }

    pub(crate) fn priority(&self) -> Option<u32> {
        self.priority
    }

    /// The tie breaker of a sender that controls.
    pub(crate) fn controlling(&self) -> Option<u64> {
        self.controlling
    }

    /// The tie breaker of a sender that is controlled. Who claims both roles controls.
    pub(crate) fn controlled(&self) -> Option<u64> {
        self.controlled.filter(|_| self.controlling.is_none())
    }

    pub(crate) fn use_candidate(&self) -> bool {
        self.use_candidate
    }

    /// XOR-MAPPED-ADDRESS (RFC 8489 14.2).
    pub(crate) fn mapped_address(&self) -> Option<SocketAddr> {
        let (head, address) = self.mapped_address?.split_first_chunk::<4>()?;
        let [_, family, p0, p1] = *head;
        let mask = &self.packet[4..HEADER];
        debug_assert_eq!(mask[..4], MAGIC_COOKIE);
        let port = u16::from_be_bytes([p0 ^ mask[0], p1 ^ mask[1]]);
        match family {
            1 => Some((unmask::<4>(address, mask)?, port).into()),
            2 => Some((unmask::<16>(address, mask)?, port).into()),
            _ => None,
        }
    }

    /// The first attributes that have to be understood and are not.
    pub(crate) fn unknown_attributes(&self) -> &[u16] {
        &self.unknown[..self.unknown_count]
    }

    /// Whether MESSAGE-INTEGRITY was made with this password (RFC 8489 14.5).
    #[must_use]
    pub(crate) fn verify(&self, pwd: &str) -> bool {
        let Some(at) = self.integrity else {
            return false;
        };
        let value = at + 4..at + 4 + INTEGRITY_LENGTH;
        let covered = (value.end - HEADER) as u16;
        let (kind, rest) = (&self.packet[..2], &self.packet[4..at]);
        let actual = hmac(pwd.as_bytes(), &[kind, &covered.to_be_bytes(), rest]);
        constant_time::verify_slices_are_equal(&actual, &self.packet[value]).is_ok()
    }
}

fn tie_breaker(value: &[u8]) -> Option<u64> {
    value.first_chunk().copied().map(u64::from_be_bytes)
}

fn unmask<const N: usize>(address: &[u8], mask: &[u8]) -> Option<[u8; N]> {
    let mut bytes: [u8; N] = *address.first_chunk()?;
    bytes
        .iter_mut()
        .zip(mask)
        .for_each(|(byte, mask)| *byte ^= mask);
    Some(bytes)
}

/// Whether an attribute may be ignored: it need not be understood, or the IANA registry of STUN
/// attributes has it.
fn is_known(kind: u16) -> bool {
    matches!(kind, 0x0001..=0x000D | 0x0010 | 0x0012..=0x001E | 0x0020 | 0x0022 | 0x0024..=0x0027 | 0x002A)
        || kind >= 0x8000
}
