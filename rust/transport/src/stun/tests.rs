use proptest::prelude::*;

use super::*;
use crate::limits::STUN_MESSAGE_MAX;

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
        let message = Message::parse(&bytes).unwrap();
        assert!(message.verify("password"));
        assert_eq!(Check::of(&message), Some(check));
        assert_eq!(message.trans_id(), id);
        assert_eq!(local_ufrag(&bytes).unwrap().len(), 63);
    }
}

/// Reaches [`STUN_MESSAGE_MAX`].
#[test]
fn what_is_larger_than_any_check_is_not_looked_at() {
    let mut bytes = request("ours:theirs");
    assert!(Message::parse(&bytes).is_some());
    bytes.resize(STUN_MESSAGE_MAX + 1, 0);
    assert!(Message::parse(&bytes).is_none());
}

/// A message made attribute by attribute.
pub(crate) fn written(
    kind: [u8; 2],
    id: [u8; 12],
    attributes: &[(u16, &[u8])],
    pwd: &str,
) -> Vec<u8> {
    let mut bytes = vec![kind[0], kind[1], 0, 0];
    bytes.extend(MAGIC_COOKIE);
    bytes.extend(id);
    for (kind, value) in attributes {
        bytes.extend(kind.to_be_bytes());
        bytes.extend((value.len() as u16).to_be_bytes());
        bytes.extend(*value);
        // Padding may be anything (RFC 8489 14).
        bytes.resize(bytes.len().next_multiple_of(4), 0xA5);
    }
    sign(&mut bytes, pwd);
    bytes
}

fn made(kind: [u8; 2], attributes: &[(u16, &[u8])]) -> Vec<u8> {
    written(kind, [7; 12], attributes, "password")
}

#[test]
fn what_we_sign_is_what_the_crate_signs() {
    let bytes = request("ours:theirs");
    let mut ours = bytes[..bytes.len() - 32].to_vec();
    sign(&mut ours, "password");
    assert_eq!(ours, bytes);
}

#[test]
fn a_check_may_say_little() {
    let username = (USERNAME, &b"ours:theirs"[..]);
    let role = 0x1234_5678_9ABC_DEF0_u64.to_be_bytes();
    let full = [
        (0x8022, &b"libpeer \xFF esp32"[..]),
        (0x802A, &role),
        (0x0024, &[0, 1, 0, 2, 0, 0, 0, 0]),
        (0x0025, &[9, 9]),
        (0xC057, &[1]),
        username,
    ];
    let bytes = made([0, 1], &full);
    let message = Message::parse(&bytes).unwrap();
    assert!(message.verify("password") && !message.verify("another"));
    assert_eq!(message.split_username(), Some(("ours", "theirs")));
    assert_eq!(message.priority(), Some(0x0001_0002));
    assert_eq!(message.controlling(), Some(u64::from_be_bytes(role)));
    assert!(message.use_candidate() && message.unknown_attributes().is_empty());
    // Without FINGERPRINT, and with something behind it.
    let mut bare = made([0, 1], &[username]);
    bare.truncate(bare.len() - 8);
    let length = bare.len() as u16 - 20;
    bare[2..4].copy_from_slice(&length.to_be_bytes());
    bare.extend([0; 3]);
    let message = Message::parse(&bare).unwrap();
    assert!(message.verify("password") && message.is_binding_request());
    assert_eq!((message.priority(), Check::of(&message)), (None, None));
    // Roles and priorities that cannot be read are none.
    let odd = [
        username,
        (0x8029, &[1; 7]),
        (0x802A, &[1; 4]),
        (0x0024, &[1; 3]),
    ];
    let bytes = made([0, 1], &odd);
    let message = Message::parse(&bytes).unwrap();
    assert!(message.verify("password") && message.controlled().is_none());
    assert_eq!((message.priority(), message.controlling()), (None, None));
    // Whoever claims both roles controls.
    let bytes = made([0, 1], &[username, (0x8029, &role), (0x802A, &role)]);
    let message = Message::parse(&bytes).unwrap();
    assert!(message.controlled().is_none() && message.controlling().is_some());
}

#[test]
fn an_answer_may_lack_the_mapped_address() {
    for (attributes, seen) in [
        (&[][..], None),
        (&[(0x0001, &[0, 1, 0, 9, 192, 0, 2, 1][..])], None),
        (&[(0x0020, &[0, 3, 0, 9, 1, 2, 3, 4][..])], None),
        (&[(0x0020, &[0, 2, 0, 9, 1, 2, 3, 4][..])], None),
        (
            &[(0x0020, &[0, 1, 0x21, 0x1B, 0xE1, 0x12, 0xA6, 0x43][..])],
            Some("192.0.2.1:9"),
        ),
    ] {
        let bytes = made([1, 1], attributes);
        let message = Message::parse(&bytes).unwrap();
        assert!(message.is_successful_binding_response() && message.verify("password"));
        let seen = seen.map(|seen| seen.parse().unwrap());
        assert_eq!(message.mapped_address(), seen);
    }
    for address in ["[2001:db8::1]:9", "192.0.2.1:65535"] {
        let bytes = success(TransId::new(), address.parse().unwrap(), "x").unwrap();
        let message = Message::parse(&bytes).unwrap();
        assert_eq!(message.mapped_address(), Some(address.parse().unwrap()));
    }
}

#[test]
fn what_follows_the_integrity_does_not_count() {
    let mut bytes = made([0, 1], &[(USERNAME, b"ours:theirs")]);
    bytes.extend([0x00, 0x25, 0, 0]);
    bytes.extend([0x7F, 0xFF, 0, 0]);
    let length = bytes.len() as u16 - 20;
    bytes[2..4].copy_from_slice(&length.to_be_bytes());
    let message = Message::parse(&bytes).unwrap();
    assert!(message.verify("password") && !message.use_candidate());
    assert!(message.unknown_attributes().is_empty());
}

#[test]
fn what_is_no_message_is_none() {
    let good = made([0, 1], &[(USERNAME, b"ours:theirs")]);
    assert!(Message::parse(&good).is_some());
    assert!(Message::parse(&good[..good.len() - 1]).is_none());
    for (at, value) in [(0, 0xFF), (3, good[3] - 1), (4, 0), (23, 0xFF)] {
        let mut bytes = good.clone();
        bytes[at] = value;
        assert!(Message::parse(&bytes).is_none(), "{at}");
    }
    let mut short = good.clone();
    short[3] -= 4;
    let message = Message::parse(&short).unwrap();
    assert!(
        message.verify("password"),
        "the fingerprint is not looked at"
    );
}

/// Reaches [`crate::limits::STUN_UNKNOWN_ATTRIBUTES`].
#[test]
fn attributes_that_must_be_understood_are_named() {
    let username = (USERNAME, &b"ours:theirs"[..]);
    for count in 1..=9_u16 {
        let mut attributes = vec![username];
        attributes.extend((0..count).map(|kind| (0x7F00 + kind, &[][..])));
        let bytes = made([0, 1], &attributes);
        let message = Message::parse(&bytes).unwrap();
        let unknown = message.unknown_attributes();
        assert_eq!(unknown[0], 0x7F00);
        assert_eq!(unknown.len(), usize::from(count).min(4));
        let answer = unknown_attributes(message.trans_id(), unknown, "password").unwrap();
        assert!(answer.len() * 2 <= bytes.len() * 3);
        let answer = Message::parse(&answer).unwrap();
        assert!(answer.verify("password"));
        assert_eq!(answer.error_code(), Some(420));
        assert_eq!(answer.trans_id(), message.trans_id());
    }
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
        let _ = Message::parse(&bytes);
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
        let _ = Message::parse(&bytes);
    }
}
