//! The two transforms: AES-GCM (RFC 7714) and AES-CM with HMAC-SHA1-80 (RFC 3711).

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{EncryptingKey, EncryptionContext};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use aws_lc_rs::iv::FixedLength;

use super::kdf::{Label, Prf, aes_ctr};
use super::{RTCP_CLEAR_LEN, RTCP_ENCRYPTED, SrtpError, SrtpProfile};

/// Tag length of AES-GCM, in bytes.
const GCM_TAG: usize = 16;

/// Tag length of HMAC-SHA1-80, in bytes.
const SHA1_TAG: usize = 10;

/// Length of the SRTCP word with the E bit and the index, in bytes.
const WORD: usize = 4;

/// The session keys of SRTP or of SRTCP.
///
/// The sealing functions take the packet with the room for the tail, and fill it. The opening
/// functions take a packet that was checked to be long enough, and return the plain length.
pub(super) enum Cipher {
    Gcm(Gcm),
    Cm(Box<Cm>),
}

impl Cipher {
    /// Derives the session keys.
    pub(super) fn derive(
        profile: SrtpProfile,
        prf: &Prf,
        key: Label,
        auth: Label,
        salt: Label,
    ) -> Result<Self, SrtpError> {
        Ok(match profile {
            SrtpProfile::Aes128CmSha1_80 => Self::Cm(Box::new(Cm::new(
                &prf.derive::<16>(key)?,
                prf.derive(salt)?,
                &prf.derive::<20>(auth)?,
            )?)),
            SrtpProfile::AeadAes128Gcm => {
                Self::Gcm(Gcm::new(&prf.derive::<16>(key)?, prf.derive(salt)?)?)
            }
            SrtpProfile::AeadAes256Gcm => {
                Self::Gcm(Gcm::new(&prf.derive::<32>(key)?, prf.derive(salt)?)?)
            }
        })
    }

    #[inline]
    pub(super) fn seal_rtp(
        &self,
        buf: &mut [u8],
        header_len: usize,
        ssrc: u32,
        index: u64,
    ) -> Result<(), SrtpError> {
        match self {
            Self::Gcm(gcm) => gcm.seal_rtp(buf, header_len, ssrc, index),
            Self::Cm(cm) => cm.seal_rtp(buf, header_len, ssrc, index),
        }
    }

    #[inline]
    pub(super) fn open_rtp(
        &self,
        packet: &mut [u8],
        header_len: usize,
        ssrc: u32,
        index: u64,
    ) -> Result<usize, SrtpError> {
        match self {
            Self::Gcm(gcm) => gcm.open_rtp(packet, header_len, ssrc, index),
            Self::Cm(cm) => cm.open_rtp(packet, header_len, ssrc, index),
        }
    }

    /// The word of an SRTCP packet with its E bit and index.
    pub(super) fn rtcp_word(&self, packet: &[u8]) -> u32 {
        let word_end = match self {
            Self::Gcm(_) => packet.len(),
            Self::Cm(_) => packet.len() - SHA1_TAG,
        };
        read_word(packet, word_end)
    }

    pub(super) fn seal_rtcp(&self, buf: &mut [u8], ssrc: u32, index: u32) -> Result<(), SrtpError> {
        match self {
            Self::Gcm(gcm) => gcm.seal_rtcp(buf, ssrc, index),
            Self::Cm(cm) => cm.seal_rtcp(buf, ssrc, index),
        }
    }

    /// Opens an encrypted SRTCP packet whose index word says `index`.
    pub(super) fn open_rtcp(
        &self,
        packet: &mut [u8],
        ssrc: u32,
        index: u32,
    ) -> Result<usize, SrtpError> {
        match self {
            Self::Gcm(gcm) => gcm.open_rtcp(packet, ssrc, index),
            Self::Cm(cm) => cm.open_rtcp(packet, ssrc, index),
        }
    }
}

/// The word that ends at `end`.
fn read_word(packet: &[u8], end: usize) -> u32 {
    let mut word = [0; WORD];
    word.copy_from_slice(&packet[end - WORD..end]);
    u32::from_be_bytes(word)
}

/// AES-GCM with a 16-byte tag.
pub(super) struct Gcm {
    key: LessSafeKey,
    salt: [u8; 12],
}

impl Gcm {
    /// A session key of 16 or 32 bytes and a session salt.
    pub(super) fn new(key: &[u8], salt: [u8; 12]) -> Result<Self, SrtpError> {
        let algorithm = if key.len() == 32 {
            &AES_256_GCM
        } else {
            &AES_128_GCM
        };
        let key = UnboundKey::new(algorithm, key).map_err(|_| SrtpError::Key)?;
        let key = LessSafeKey::new(key);
        Ok(Self { key, salt })
    }

    /// The nonce of RFC 7714 8.1 and 9.1: two zero bytes, SSRC and a 48-bit index (SRTCP: two zero
    /// bytes and the 31-bit index), xor the salt.
    #[inline]
    fn nonce(&self, ssrc: u32, index: u64) -> Nonce {
        let mut block = [0; 16];
        block[..12].copy_from_slice(&self.salt);
        let salt = u128::from_be_bytes(block);
        let iv = u128::from(ssrc) << 80 | u128::from(index) << 32;
        let mut nonce = [0; 12];
        nonce.copy_from_slice(&(salt ^ iv).to_be_bytes()[..12]);
        Nonce::assume_unique_for_key(nonce)
    }

    #[inline]
    fn seal(&self, nonce: Nonce, aad: &[u8], text: &mut [u8]) -> Result<[u8; 16], SrtpError> {
        let tag = self
            .key
            .seal_in_place_separate_tag(nonce, Aad::from(aad), text)
            .map_err(|_| SrtpError::Key)?;
        let mut bytes = [0; GCM_TAG];
        bytes.copy_from_slice(tag.as_ref());
        Ok(bytes)
    }

    #[inline]
    fn open(&self, nonce: Nonce, aad: &[u8], text_and_tag: &mut [u8]) -> Result<(), SrtpError> {
        self.key
            .open_in_place(nonce, Aad::from(aad), text_and_tag)
            .map(drop)
            .map_err(|_| SrtpError::Authentication)
    }

    #[inline]
    pub(super) fn seal_rtp(
        &self,
        buf: &mut [u8],
        header_len: usize,
        ssrc: u32,
        index: u64,
    ) -> Result<(), SrtpError> {
        let (packet, tail) = buf.split_at_mut(buf.len() - GCM_TAG);
        let (header, payload) = packet.split_at_mut(header_len);
        let tag = self.seal(self.nonce(ssrc, index), header, payload)?;
        tail.copy_from_slice(&tag);
        Ok(())
    }

    #[inline]
    pub(super) fn open_rtp(
        &self,
        packet: &mut [u8],
        header_len: usize,
        ssrc: u32,
        index: u64,
    ) -> Result<usize, SrtpError> {
        let (header, text_and_tag) = packet.split_at_mut(header_len);
        self.open(self.nonce(ssrc, index), header, text_and_tag)?;
        Ok(packet.len() - GCM_TAG)
    }

    /// RFC 7714 9: packet, tag, index word. The word is authenticated after the clear header.
    pub(super) fn seal_rtcp(&self, buf: &mut [u8], ssrc: u32, index: u32) -> Result<(), SrtpError> {
        let (packet, tail) = buf.split_at_mut(buf.len() - GCM_TAG - WORD);
        let (header, text) = packet.split_at_mut(RTCP_CLEAR_LEN);
        let word = (index | RTCP_ENCRYPTED).to_be_bytes();
        let mut aad = [0; RTCP_CLEAR_LEN + WORD];
        aad[..RTCP_CLEAR_LEN].copy_from_slice(header);
        aad[RTCP_CLEAR_LEN..].copy_from_slice(&word);
        let tag = self.seal(self.nonce(ssrc, u64::from(index)), &aad, text)?;
        tail[..GCM_TAG].copy_from_slice(&tag);
        tail[GCM_TAG..].copy_from_slice(&word);
        Ok(())
    }

    pub(super) fn open_rtcp(
        &self,
        packet: &mut [u8],
        ssrc: u32,
        index: u32,
    ) -> Result<usize, SrtpError> {
        let plain_len = packet.len() - GCM_TAG - WORD;
        let (header, rest) = packet.split_at_mut(RTCP_CLEAR_LEN);
        let (text_and_tag, word) = rest.split_at_mut(plain_len + GCM_TAG - RTCP_CLEAR_LEN);
        let mut aad = [0; RTCP_CLEAR_LEN + WORD];
        aad[..RTCP_CLEAR_LEN].copy_from_slice(header);
        aad[RTCP_CLEAR_LEN..].copy_from_slice(word);
        self.open(self.nonce(ssrc, u64::from(index)), &aad, text_and_tag)?;
        Ok(plain_len)
    }
}

/// AES-128 in counter mode with HMAC-SHA1-80.
pub(super) struct Cm {
    key: EncryptingKey,
    salt: [u8; 14],
    auth: hmac::Key,
}

impl Cm {
    /// The session's cipher key, salt and authentication key.
    pub(super) fn new(key: &[u8; 16], salt: [u8; 14], auth: &[u8]) -> Result<Self, SrtpError> {
        let key = aes_ctr(key)?;
        let auth = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, auth);
        Ok(Self { key, salt, auth })
    }

    /// Applies the key stream (RFC 3711 4.1.1): `IV = salt * 2^16 ^ ssrc * 2^64 ^ index * 2^16`.
    #[inline]
    fn apply(&self, text: &mut [u8], ssrc: u32, index: u64) -> Result<(), SrtpError> {
        let mut block = [0; 16];
        block[..14].copy_from_slice(&self.salt);
        let salt = u128::from_be_bytes(block);
        let iv = salt ^ u128::from(ssrc) << 64 ^ u128::from(index) << 16;
        let context = EncryptionContext::Iv128(FixedLength::from(iv.to_be_bytes()));
        self.key
            .less_safe_encrypt(text, context)
            .map(drop)
            .map_err(|_| SrtpError::Key)
    }

    #[inline]
    fn tag(&self, parts: [&[u8]; 2]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.auth);
        parts.iter().for_each(|part| context.update(part));
        context.sign()
    }

    #[inline]
    fn verify(&self, parts: [&[u8]; 2], tag: &[u8]) -> Result<(), SrtpError> {
        verify_slices_are_equal(&self.tag(parts).as_ref()[..SHA1_TAG], tag)
            .map_err(|_| SrtpError::Authentication)
    }

    #[inline]
    pub(super) fn seal_rtp(
        &self,
        buf: &mut [u8],
        header_len: usize,
        ssrc: u32,
        index: u64,
    ) -> Result<(), SrtpError> {
        let (packet, tail) = buf.split_at_mut(buf.len() - SHA1_TAG);
        self.apply(&mut packet[header_len..], ssrc, index)?;
        let roc = ((index >> 16) as u32).to_be_bytes();
        tail.copy_from_slice(&self.tag([packet, &roc]).as_ref()[..SHA1_TAG]);
        Ok(())
    }

    #[inline]
    pub(super) fn open_rtp(
        &self,
        packet: &mut [u8],
        header_len: usize,
        ssrc: u32,
        index: u64,
    ) -> Result<usize, SrtpError> {
        let plain_len = packet.len() - SHA1_TAG;
        let (packet, tag) = packet.split_at_mut(plain_len);
        let roc = ((index >> 16) as u32).to_be_bytes();
        self.verify([packet, &roc], tag)?;
        self.apply(&mut packet[header_len..], ssrc, index)?;
        Ok(plain_len)
    }

    /// RFC 3711 3.4: packet, index word, tag over both.
    pub(super) fn seal_rtcp(&self, buf: &mut [u8], ssrc: u32, index: u32) -> Result<(), SrtpError> {
        let (packet, tail) = buf.split_at_mut(buf.len() - WORD - SHA1_TAG);
        self.apply(&mut packet[RTCP_CLEAR_LEN..], ssrc, u64::from(index))?;
        let (word, tag) = tail.split_at_mut(WORD);
        word.copy_from_slice(&(index | RTCP_ENCRYPTED).to_be_bytes());
        tag.copy_from_slice(&self.tag([packet, word]).as_ref()[..SHA1_TAG]);
        Ok(())
    }

    pub(super) fn open_rtcp(
        &self,
        packet: &mut [u8],
        ssrc: u32,
        index: u32,
    ) -> Result<usize, SrtpError> {
        let plain_len = packet.len() - SHA1_TAG - WORD;
        let (packet, tail) = packet.split_at_mut(plain_len);
        let (word, tag) = tail.split_at(WORD);
        self.verify([packet, word], tag)?;
        self.apply(&mut packet[RTCP_CLEAR_LEN..], ssrc, u64::from(index))?;
        Ok(plain_len)
    }
}
