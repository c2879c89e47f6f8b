//! Key derivation (RFC 3711 4.3) with AES-CM as the pseudo-random function (RFC 6188 for AES-256),
//! for a key derivation rate of zero.

use aws_lc_rs::cipher::{AES_128, AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;

use super::SrtpError;

/// What a key is derived for (RFC 3711 4.3.1, 4.3.2).
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub(super) enum Label {
    RtpKey = 0,
    RtpAuth = 1,
    RtpSalt = 2,
    RtcpKey = 3,
    RtcpAuth = 4,
    RtcpSalt = 5,
}

/// The pseudo-random function of one master key and salt.
pub(super) struct Prf {
    key: EncryptingKey,
    /// The master salt as the block `salt * 2^16`; a 96-bit salt is padded on the right (RFC 7714
    /// 11).
    salt: [u8; 16],
}

impl Prf {
    /// `master_salt` has 12 or 14 bytes.
    pub(super) fn new(master_key: &[u8], master_salt: &[u8]) -> Result<Self, SrtpError> {
        let mut salt = [0; 16];
        salt.get_mut(..master_salt.len())
            .ok_or(SrtpError::Key)?
            .copy_from_slice(master_salt);
        let key = aes_ctr(master_key)?;
        Ok(Self { key, salt })
    }

    /// Derives `N` bytes for `label`.
    pub(super) fn derive<const N: usize>(&self, label: Label) -> Result<[u8; N], SrtpError> {
        let mut iv = self.salt;
        iv[7] ^= label as u8;
        let mut out = [0; N];
        let context = EncryptionContext::Iv128(FixedLength::from(iv));
        self.key
            .less_safe_encrypt(&mut out, context)
            .map_err(|_| SrtpError::Key)?;
        Ok(out)
    }
}

/// An expanded AES-CTR key of 16 or 32 bytes.
pub(super) fn aes_ctr(key: &[u8]) -> Result<EncryptingKey, SrtpError> {
    let algorithm = if key.len() == 32 { &AES_256 } else { &AES_128 };
    UnboundCipherKey::new(algorithm, key)
        .and_then(EncryptingKey::ctr)
        .map_err(|_| SrtpError::Key)
}
