//! Checks made by hand: by whoever knows the passwords, from wherever it likes.

use is::stun::{StunMessage, TransId};
use is::{DefaultSha1HmacProvider, Sha1HmacProvider};

use crate::peers::credentials;

/// A controlling agent's check of `ours` as the peer `theirs` would send it.
pub fn check(id: TransId, ours: &str, theirs: &str, nominates: bool) -> Vec<u8> {
    let username = format!("{}:{}", credentials(ours).ufrag, credentials(theirs).ufrag);
    let message = StunMessage::binding_request(&username, id, true, 7, 1_845_501_695, nominates);
    encode(message, &credentials(ours).pwd)
}

/// A new one.
pub fn new_check(ours: &str, theirs: &str, nominates: bool) -> Vec<u8> {
    check(TransId::new(), ours, theirs, nominates)
}

pub fn is_answer(packet: &[u8]) -> bool {
    packet[..2] == [1, 1]
}

pub fn is_check(packet: &[u8]) -> bool {
    packet[..2] == [0, 1]
}

pub fn is_dtls(packet: &[u8]) -> bool {
    (20..64).contains(&packet[0])
}

fn encode(message: StunMessage<'_>, pwd: &str) -> Vec<u8> {
    let mut bytes = vec![0; 300];
    let hmac = |key: &[u8], data: &[&[u8]]| DefaultSha1HmacProvider.sha1_hmac(key, data);
    let length = message
        .to_bytes(Some(pwd.as_bytes()), &mut bytes, hmac)
        .unwrap();
    bytes.truncate(length);
    bytes
}
