//! What a demultiplexer needs to know about a STUN message before it has found the transport, and
//! the few encodings shared inside this crate (RFC 8489).

use std::net::SocketAddr;

use is::stun::{StunMessage, TransId};
use is::{DefaultSha1HmacProvider, Sha1HmacProvider};

use crate::limits::STUN_MESSAGE_MAX;

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

/// Parses what is not larger than any STUN message of ICE can be.
pub(crate) fn parse(packet: &[u8]) -> Option<StunMessage<'_>> {
    if !is_stun(packet) || packet.len() > STUN_MESSAGE_MAX {
        return None;
    }
    StunMessage::parse(packet).ok()
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
    pub(crate) fn of(request: &StunMessage<'_>) -> Option<Self> {
        let controlling = request.ice_controlling();
        Some(Check {
            priority: request.prio().unwrap_or_default(),
            controlling: controlling.is_some(),
            tie_breaker: controlling.or(request.ice_controlled())?,
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn request(username: &str) -> Vec<u8> {
        let message = StunMessage::binding_request(username, TransId::new(), true, 1, 1, true);
        let mut bytes = vec![0; 600];
        let length = message
            .to_bytes(Some(b"password"), &mut bytes, hmac)
            .unwrap();
        bytes.truncate(length);
        bytes
    }

    #[test]
    fn finds_the_ufrag() {
        assert_eq!(local_ufrag(&request("ours:theirs")), Some("ours"));
        assert_eq!(local_ufrag(&request("colonless")), None);
        assert_eq!(local_ufrag(&request(":theirs")), Some(""));
        let mut answer = success(TransId::new(), "192.0.2.1:1".parse().unwrap(), "x").unwrap();
        assert_eq!(local_ufrag(&answer), None);
        assert!(is_stun(&answer));
        answer[4] = 0;
        assert!(!is_stun(&answer));
    }

    #[test]
    fn a_check_is_repeated_as_it_was() {
        let username = "u".repeat(crate::limits::ICE_USERNAME_MAX / 2 - 1);
        let username = format!("{username}:{username}");
        for (controlling, nominates) in [(true, true), (false, false)] {
            let check = Check {
                priority: 1_853_824_767,
                controlling,
                tie_breaker: u64::MAX - 1,
                nominates,
            };
            let id = TransId::new();
            let bytes = check.request(id, &username, "password").unwrap();
            let message = parse(&bytes).unwrap();
            assert!(message.verify(b"password", hmac));
            assert_eq!(Check::of(&message), Some(check));
            assert_eq!(message.trans_id(), id);
            assert_eq!(local_ufrag(&bytes).unwrap().len(), 63);
        }
    }

    /// Reaches [`STUN_MESSAGE_MAX`].
    #[test]
    fn what_is_larger_than_any_check_is_not_looked_at() {
        let mut bytes = request("ours:theirs");
        assert!(parse(&bytes).is_some());
        bytes.resize(STUN_MESSAGE_MAX + 1, 0);
        assert!(parse(&bytes).is_none());
    }

    /// Row T12.
    #[test]
    fn answers_are_not_larger_than_their_requests_by_half() {
        let id = TransId::new();
        let request = request("ufragufr:ufrag").len();
        let v6 = success(id, "[2001:db8::1]:9".parse().unwrap(), "x").unwrap();
        assert!(v6.len() * 2 <= request * 3);
        assert!(role_conflict(id, "x").unwrap().len() * 2 <= request * 3);
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = local_ufrag(&bytes);
            let _ = parse(&bytes);
        }

        #[test]
        fn never_panics_on_a_damaged_request(
            at in 0usize..92, value: u8, length in 0usize..100
        ) {
            let mut bytes = request("ours:theirs");
            let at = at.min(bytes.len() - 1);
            bytes[at] = value;
            bytes.truncate(length);
            let _ = local_ufrag(&bytes);
            let _ = parse(&bytes);
        }
    }
}
