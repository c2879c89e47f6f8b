//! SRTP and SRTCP (RFC 3711) with AES-CM/HMAC-SHA1 (RFC 3711) and AES-GCM (RFC 7714).
//!
//! One [`SrtpContext`] holds the keys of one direction of one DTLS association and the state of
//! each stream in it. Keys are expanded once; packets are transformed in place; nothing is
//! allocated except once for each new stream.
//!
//! What arrives is authenticated before anything else is said about it: whether it is a replay, or
//! belongs to a stream too many, is told only of packets that the peer itself made.

mod cipher;
mod kdf;
mod replay;
mod streams;

use rustc_hash::FxHashMap;
use thiserror::Error;

use crate::header::{HeaderError, RtpHeader};
use cipher::Cipher;
use kdf::{Label, Prf};
use streams::{Received, Standing, next_rtcp_index, rtp_index};

/// Longest tail that [`SrtpContext::protect_rtp`] adds to a packet, in bytes.
pub const MAX_RTP_OVERHEAD: usize = 16;

/// Longest tail that [`SrtpContext::protect_rtcp`] adds to a packet, in bytes.
pub const MAX_RTCP_OVERHEAD: usize = 20;

/// Most streams that a context receives in its life, for RTP and for RTCP each. Packets of further
/// streams are refused: forgetting a stream altogether would open it to replays. A simulcast camera
/// with retransmissions has six, so this is more than ten thousand of them one after the other.
pub const MAX_RECEIVED_STREAMS: usize = 1 << 16;

/// Bytes at the start of an RTCP packet that stay in the clear: header word and sender's SSRC.
const RTCP_CLEAR_LEN: usize = 8;

/// The E bit of the SRTCP index word: the packet is encrypted.
const RTCP_ENCRYPTED: u32 = 1 << 31;

/// A DTLS-SRTP protection profile (RFC 5764 4.1.2, RFC 7714 14.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SrtpProfile {
    /// SRTP_AES128_CM_HMAC_SHA1_80.
    Aes128CmSha1_80,
    /// SRTP_AEAD_AES_128_GCM.
    AeadAes128Gcm,
    /// SRTP_AEAD_AES_256_GCM.
    AeadAes256Gcm,
}

impl SrtpProfile {
    /// Length of the master key, in bytes.
    pub const fn key_len(self) -> usize {
        match self {
            Self::Aes128CmSha1_80 | Self::AeadAes128Gcm => 16,
            Self::AeadAes256Gcm => 32,
        }
    }

    /// Length of the master salt, in bytes.
    pub const fn salt_len(self) -> usize {
        match self {
            Self::Aes128CmSha1_80 => 14,
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 12,
        }
    }

    /// Length of the authentication tag, in bytes.
    pub const fn tag_len(self) -> usize {
        match self {
            Self::Aes128CmSha1_80 => 10,
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 16,
        }
    }
}

/// Why a packet was not protected or unprotected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SrtpError {
    /// Not an RTP packet.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// Too short to be an SRTP or SRTCP packet, or the buffer has no room for the tag.
    #[error("packet or buffer too short")]
    TooShort,
    /// A packet with this index was accepted before, or the index is older than the replay window
    /// can tell. The packet is authentic, and decrypted.
    #[error("replayed packet {seq} of ssrc {ssrc}")]
    Replay {
        /// The packet's SSRC.
        ssrc: u32,
        /// The RTP sequence number; for SRTCP, the low 16 bits of the index.
        seq: u16,
    },
    /// The authentication tag is wrong.
    #[error("authentication failed")]
    Authentication,
    /// SRTCP without the E bit: authenticated but readable, which WebRTC does not allow (RFC 8827
    /// 6.5).
    #[error("SRTCP is not encrypted")]
    Unencrypted,
    /// The context has [`MAX_RECEIVED_STREAMS`] streams and this authentic packet is of another.
    #[error("too many streams")]
    TooManyStreams,
    /// The packet index would repeat under the same key (2^48 RTP or 2^31 RTCP packets).
    #[error("key is used up")]
    KeyExhausted,
    /// The master key or salt does not have the profile's length, or the cipher refused it.
    #[error("wrong key or salt")]
    Key,
}

/// The keys and streams of one direction: use one context to protect and another to unprotect.
pub struct SrtpContext {
    profile: SrtpProfile,
    rtp_cipher: Cipher,
    rtcp_cipher: Cipher,
    received_rtp: Received<{ streams::RTP_WORDS }>,
    received_rtcp: Received<{ streams::RTCP_WORDS }>,
    /// The highest SRTP index sent of each stream.
    sent_rtp: FxHashMap<u32, u64>,
    /// The number of SRTCP packets sent of each stream.
    sent_rtcp: FxHashMap<u32, u32>,
}

impl SrtpContext {
    /// Derives the session keys (RFC 3711 4.3, key derivation rate 0).
    pub fn new(
        profile: SrtpProfile,
        master_key: &[u8],
        master_salt: &[u8],
    ) -> Result<Self, SrtpError> {
        if master_key.len() != profile.key_len() || master_salt.len() != profile.salt_len() {
            return Err(SrtpError::Key);
        }
        let prf = Prf::new(master_key, master_salt)?;
        let rtp_cipher =
            Cipher::derive(profile, &prf, Label::RtpKey, Label::RtpAuth, Label::RtpSalt)?;
        let rtcp_cipher = Cipher::derive(
            profile,
            &prf,
            Label::RtcpKey,
            Label::RtcpAuth,
            Label::RtcpSalt,
        )?;
        Ok(Self {
            profile,
            rtp_cipher,
            rtcp_cipher,
            received_rtp: Received::default(),
            received_rtcp: Received::default(),
            sent_rtp: FxHashMap::default(),
            sent_rtcp: FxHashMap::default(),
        })
    }

    /// The profile the context was created with.
    pub const fn profile(&self) -> SrtpProfile {
        self.profile
    }

    /// Encrypts and authenticates an RTP packet in place and returns its new length.
    ///
    /// `buf` holds the packet in its first `plain_len` bytes, of which `header_len` are header with
    /// CSRCs and extensions, followed by room for the tag ([`MAX_RTP_OVERHEAD`] is always enough).
    ///
    /// The rollover counter is estimated as a receiver would, so a packet may be sent again, late.
    /// With AES-GCM such a packet must be the same, byte for byte: two different packets with one
    /// SSRC and sequence number share a nonce and give the authentication key away. A stream
    /// should start at a sequence number below 2^15, or a receiver that misses the packets before
    /// the first wrap gets the rollover counter wrong.
    #[inline]
    pub fn protect_rtp(
        &mut self,
        buf: &mut [u8],
        header_len: usize,
        plain_len: usize,
    ) -> Result<usize, SrtpError> {
        let len = plain_len + self.profile.tag_len();
        if header_len < 12 || plain_len < header_len || buf.len() < len {
            return Err(SrtpError::TooShort);
        }
        let seq = u16::from_be_bytes([buf[2], buf[3]]);
        let ssrc = u32::from_be_bytes([buf[8], buf[9], buf[10], buf[11]]);
        let highest = self.sent_rtp.get_mut(&ssrc);
        let before = highest.as_deref().copied();
        let index = rtp_index(before, seq).ok_or(SrtpError::KeyExhausted)?;
        self.rtp_cipher
            .seal_rtp(&mut buf[..len], header_len, ssrc, index)?;
        match highest {
            Some(highest) => *highest = index.max(*highest),
            None => drop(self.sent_rtp.insert(ssrc, index)),
        }
        Ok(len)
    }

    /// Verifies and decrypts an SRTP packet in place and returns the length of the plain packet.
    ///
    /// After [`SrtpError::Replay`] and [`SrtpError::TooManyStreams`] the packet is authentic and was
    /// decrypted; after any other error its contents are unspecified. A packet that fails leaves no
    /// state behind.
    #[inline]
    pub fn unprotect_rtp(&mut self, packet: &mut [u8]) -> Result<usize, SrtpError> {
        let header = RtpHeader::parse_encrypted(packet)?;
        let header_len = header.header_len();
        let (ssrc, seq) = (header.ssrc, header.sequence);
        if packet.len() < header_len + self.profile.tag_len() {
            return Err(SrtpError::TooShort);
        }
        let highest = self.received_rtp.highest(ssrc);
        let index = rtp_index(highest, seq).ok_or(SrtpError::KeyExhausted)?;
        let len = self.rtp_cipher.open_rtp(packet, header_len, ssrc, index)?;
        match self.received_rtp.accept(ssrc, index) {
            Standing::New => Ok(len),
            Standing::Replay => Err(SrtpError::Replay { ssrc, seq }),
            Standing::NoRoom => Err(SrtpError::TooManyStreams),
        }
    }

    /// Encrypts and authenticates a compound RTCP packet in place and returns its new length.
    ///
    /// `buf` holds the packet in its first `plain_len` bytes, followed by room for index and tag
    /// ([`MAX_RTCP_OVERHEAD`] is always enough).
    pub fn protect_rtcp(&mut self, buf: &mut [u8], plain_len: usize) -> Result<usize, SrtpError> {
        let len = plain_len + self.profile.tag_len() + 4;
        if plain_len < RTCP_CLEAR_LEN || buf.len() < len {
            return Err(SrtpError::TooShort);
        }
        let ssrc = u32::from_be_bytes([buf[4], buf[5], buf[6], buf[7]]);
        let sent = self.sent_rtcp.entry(ssrc).or_default();
        let index = next_rtcp_index(sent).ok_or(SrtpError::KeyExhausted)?;
        self.rtcp_cipher.seal_rtcp(&mut buf[..len], ssrc, index)?;
        Ok(len)
    }

    /// Verifies and decrypts an SRTCP packet in place and returns the length of the plain packet.
    ///
    /// After [`SrtpError::Replay`] and [`SrtpError::TooManyStreams`] the packet is authentic and was
    /// decrypted; after any other error its contents are unspecified.
    pub fn unprotect_rtcp(&mut self, packet: &mut [u8]) -> Result<usize, SrtpError> {
        if packet.len() < RTCP_CLEAR_LEN + self.profile.tag_len() + 4 {
            return Err(SrtpError::TooShort);
        }
        let ssrc = u32::from_be_bytes([packet[4], packet[5], packet[6], packet[7]]);
        let word = self.rtcp_cipher.rtcp_word(packet);
        if word & RTCP_ENCRYPTED == 0 {
            return Err(SrtpError::Unencrypted);
        }
        let index = word & !RTCP_ENCRYPTED;
        let len = self.rtcp_cipher.open_rtcp(packet, ssrc, index)?;
        match self.received_rtcp.accept(ssrc, u64::from(index)) {
            Standing::New => Ok(len),
            Standing::Replay => {
                let seq = index as u16;
                Err(SrtpError::Replay { ssrc, seq })
            }
            Standing::NoRoom => Err(SrtpError::TooManyStreams),
        }
    }
}

impl std::fmt::Debug for SrtpContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SrtpContext")
            .field("profile", &self.profile)
            .field("received_rtp", &self.received_rtp.len())
            .field("received_rtcp", &self.received_rtcp.len())
            .field("sent_rtp", &self.sent_rtp.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
