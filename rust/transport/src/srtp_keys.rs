//! From exported keying material to SRTP contexts (RFC 5764 4.2).

use rtp::srtp::{SrtpContext, SrtpProfile};

/// The two directions of one connection.
pub(crate) struct SrtpPair {
    pub(crate) rx: SrtpContext,
    pub(crate) tx: SrtpContext,
}

/// Our name for the negotiated profile, None for one that SRTP here does not speak.
pub(crate) fn profile(negotiated: dimpl::SrtpProfile) -> Option<SrtpProfile> {
    match negotiated {
        dimpl::SrtpProfile::AES128_CM_SHA1_80 => Some(SrtpProfile::Aes128CmSha1_80),
        dimpl::SrtpProfile::AEAD_AES_128_GCM => Some(SrtpProfile::AeadAes128Gcm),
        dimpl::SrtpProfile::AEAD_AES_256_GCM => Some(SrtpProfile::AeadAes256Gcm),
        _ => None,
    }
}

/// Splits the exporter's output (client key, server key, client salt, server salt) and expands both
/// directions. None if the material is too short or the cipher refuses it.
pub(crate) fn derive(profile: SrtpProfile, material: &[u8], is_client: bool) -> Option<SrtpPair> {
    let (key_len, salt_len) = (profile.key_len(), profile.salt_len());
    if material.len() < 2 * (key_len + salt_len) {
        return None;
    }
    let (keys, salts) = material.split_at(2 * key_len);
    let (client_key, server_key) = keys.split_at(key_len);
    let (client_salt, server_salt) = salts[..2 * salt_len].split_at(salt_len);
    let client = SrtpContext::new(profile, client_key, client_salt).ok()?;
    let server = SrtpContext::new(profile, server_key, server_salt).ok()?;
    let (rx, tx) = if is_client {
        (server, client)
    } else {
        (client, server)
    };
    Some(SrtpPair { rx, tx })
}
