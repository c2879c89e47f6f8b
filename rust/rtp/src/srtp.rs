//! SRTP and SRTCP (RFC 3711) with AES-CM/HMAC-SHA1 (RFC 3711) and AES-GCM (RFC 7714).
//!
//! One [`SrtpContext`] holds the keys of one direction of one DTLS association and the state of
//! each stream in it. Keys are expanded once; packets are transformed in place; nothing is
//! allocated except once for each new stream.

mod cipher;
mod kdf;
mod replay;
mod streams;

use thiserror::Error;

use crate::header::{HeaderError, RtpHeader};
use cipher::Cipher;
use kdf::{Label, Prf};
use streams::{RtcpStream, RtpStream, Streams};

/// Longest tail that [`SrtpContext::protect_rtp`] adds to a packet, in bytes.
pub const MAX_RTP_OVERHEAD: usize = 16;

/// Longest tail that [`SrtpContext::protect_rtcp`] adds to a packet, in bytes.
pub const MAX_RTCP_OVERHEAD: usize = 20;

/// Most streams that a context receives, for RTP and for RTCP each. Packets of further streams
/// are refused: evicting a stream would open it to replays.
pub const MAX_RECEIVED_STREAMS: usize = 1024;

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
    /// can tell. Found before decrypting, so the packet was not authenticated.
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
    /// The context has [`MAX_RECEIVED_STREAMS`] streams and this is another one.
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
    rtp_streams: Streams<RtpStream>,
    rtcp_streams: Streams<RtcpStream>,
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
            rtp_streams: Streams::default(),
            rtcp_streams: Streams::default(),
        })
    }

    /// The profile the context was created with.
    pub const fn profile(&self) -> SrtpProfile {
        self.profile
    }

    /// Forgets the state of `ssrc`, so that it no longer counts as a stream.
    ///
    /// Never use the SSRC again under the same key: its packet indices would start over, which
    /// repeats AES-GCM nonces when sending and accepts replays when receiving.
    pub fn forget_stream(&mut self, ssrc: u32) {
        self.rtp_streams.remove(ssrc);
        self.rtcp_streams.remove(ssrc);
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
        let stream = self.rtp_streams.get_or_insert(ssrc);
        let index = stream.next_index(seq).ok_or(SrtpError::KeyExhausted)?;
        self.rtp_cipher
            .seal_rtp(&mut buf[..len], header_len, ssrc, index)?;
        stream.sent(index);
        Ok(len)
    }

    /// Verifies and decrypts an SRTP packet in place and returns the length of the plain packet.
    ///
    /// After an error other than [`SrtpError::Replay`] the contents of `packet` are unspecified.
    /// A packet that fails leaves no state behind.
    #[inline]
    pub fn unprotect_rtp(&mut self, packet: &mut [u8]) -> Result<usize, SrtpError> {
        let header = RtpHeader::parse_encrypted(packet)?;
        let header_len = header.header_len();
        let (ssrc, seq) = (header.ssrc, header.sequence);
        if packet.len() < header_len + self.profile.tag_len() {
            return Err(SrtpError::TooShort);
        }
        let index = match self.rtp_streams.get(ssrc) {
            Some(stream) => {
                let index = stream.next_index(seq).ok_or(SrtpError::KeyExhausted)?;
                if stream.is_replay(index) {
                    return Err(SrtpError::Replay { ssrc, seq });
                }
                index
            }
            None if self.rtp_streams.len() >= MAX_RECEIVED_STREAMS => {
                return Err(SrtpError::TooManyStreams);
            }
            None => u64::from(seq),
        };
        let len = self.rtp_cipher.open_rtp(packet, header_len, ssrc, index)?;
        self.rtp_streams.get_or_insert(ssrc).received(index);
        Ok(len)
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
        let stream = self.rtcp_streams.get_or_insert(ssrc);
        let index = stream.next_index().ok_or(SrtpError::KeyExhausted)?;
        self.rtcp_cipher.seal_rtcp(&mut buf[..len], ssrc, index)?;
        Ok(len)
    }

    /// Verifies and decrypts an SRTCP packet in place and returns the length of the plain packet.
    ///
    /// After an error other than [`SrtpError::Replay`] the contents of `packet` are unspecified.
    pub fn unprotect_rtcp(&mut self, packet: &mut [u8]) -> Result<usize, SrtpError> {
        if packet.len() < RTCP_CLEAR_LEN + self.profile.tag_len() + 4 {
            return Err(SrtpError::TooShort);
        }
        let ssrc = u32::from_be_bytes([packet[4], packet[5], packet[6], packet[7]]);
        let index = self.rtcp_cipher.rtcp_index(packet);
        match self.rtcp_streams.get(ssrc) {
            Some(stream) if stream.is_replay(index) => {
                let seq = index as u16;
                return Err(SrtpError::Replay { ssrc, seq });
            }
            None if self.rtcp_streams.len() >= MAX_RECEIVED_STREAMS => {
                return Err(SrtpError::TooManyStreams);
            }
            _ => {}
        }
        let len = self.rtcp_cipher.open_rtcp(packet, ssrc)?;
        self.rtcp_streams.get_or_insert(ssrc).received(index);
        Ok(len)
    }
}

impl std::fmt::Debug for SrtpContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SrtpContext")
            .field("profile", &self.profile)
            .field("rtp_streams", &self.rtp_streams.len())
            .field("rtcp_streams", &self.rtcp_streams.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
