//! The vocabulary of the transport: what goes in and what comes out.

use std::net::SocketAddr;
use std::time::Duration;

use thiserror::Error;

use crate::dtls::DtlsState;
use crate::fingerprint::Fingerprint;
use crate::ice::IceState;
use crate::limits;

/// How datagrams travel. TCP is framed by the caller (RFC 4571).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// One datagram is one packet.
    Udp,
    /// ICE-TCP (RFC 6544), passive side.
    Tcp,
}

impl Protocol {
    /// The name in SDP: `udp` or `tcp`.
    pub fn as_str(self) -> &'static str {
        match self {
            Protocol::Udp => "udp",
            Protocol::Tcp => "tcp",
        }
    }
}

/// Two addresses between which packets flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CandidatePair {
    /// Our address, one of [`TransportConfig::local_candidates`].
    pub local: SocketAddr,
    /// The peer's address as seen here.
    pub remote: SocketAddr,
    /// UDP or TCP.
    pub protocol: Protocol,
}

/// ICE credentials of one side (RFC 8445 5.3): up to 256 characters each.
#[derive(Clone, PartialEq, Eq)]
pub struct IceCredentials {
    /// Username fragment.
    pub ufrag: String,
    /// Password.
    pub pwd: String,
}

impl std::fmt::Debug for IceCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IceCredentials")
            .field("ufrag", &self.ufrag)
            .finish_non_exhaustive()
    }
}

/// An address on which this transport receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalCandidate {
    /// The address that is given to [`crate::Transport::handle_stun`] as `local` for packets which
    /// arrive here (behind a 1:1 NAT the private one: what is advertised does not matter here).
    pub addr: SocketAddr,
    /// UDP or TCP.
    pub protocol: Protocol,
}

/// A remote candidate (RFC 8839 5.1) with its address resolved. Only UDP ones are checked: the
/// peer opens TCP connections to us, never the other way round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteCandidate {
    /// Transport address.
    pub addr: SocketAddr,
    /// UDP or TCP.
    pub protocol: Protocol,
    /// Candidate priority (RFC 8445 5.1.2).
    pub priority: u32,
    /// Foundation, up to 32 `ice-char`.
    pub foundation: String,
    /// `host`, `srflx`, `prflx` or `relay`.
    pub kind: String,
}

/// DTLS parameters of the remote side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteDtls {
    /// Fingerprint that the remote certificate must have.
    pub fingerprint: Fingerprint,
    /// The *remote* side is the DTLS client (`a=setup:active`), so this side is the server.
    pub role_is_client: bool,
}

/// How to make a [`crate::Transport`].
#[derive(Debug, Clone)]
pub struct TransportConfig {
    /// Our ICE credentials.
    pub local_ice: IceCredentials,
    /// Answer checks only (RFC 8445 2.5). Implies the controlled role.
    pub ice_lite: bool,
    /// The ICE role (RFC 8445 6.1.1).
    pub controlling: bool,
    /// Where this transport receives.
    pub local_candidates: Vec<LocalCandidate>,
    /// Connected becomes disconnected after this long in which nothing authentic was received on the
    /// selected pair.
    pub disconnected_after: Duration,
    /// Disconnected becomes failed after this much longer. Checking becomes failed after both.
    pub failed_after: Duration,
    /// Bytes one data channel may hold unsent before messages are refused.
    pub channel_buffer: usize,
}

impl TransportConfig {
    /// A full, controlled agent with LiveKit's timeouts (10 s and 5 s).
    pub fn new(local_ice: IceCredentials, local_candidates: Vec<LocalCandidate>) -> Self {
        TransportConfig {
            local_ice,
            ice_lite: false,
            controlling: false,
            local_candidates,
            disconnected_after: Duration::from_secs(10),
            failed_after: Duration::from_secs(5),
            channel_buffer: limits::CHANNEL_BUFFER,
        }
    }
}

/// A datagram to send. It is never RTP: those are the caller's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transmit {
    /// UDP or TCP.
    pub protocol: Protocol,
    /// Send from this address.
    pub local: SocketAddr,
    /// Send to this address.
    pub remote: SocketAddr,
    /// The payload of the datagram.
    pub bytes: Vec<u8>,
}

impl Transmit {
    /// A datagram to the peer on `pair`.
    pub(crate) fn on(pair: CandidatePair, bytes: Vec<u8>) -> Self {
        Transmit {
            protocol: pair.protocol,
            local: pair.local,
            remote: pair.remote,
            bytes,
        }
    }

    /// The pair that it travels on.
    pub fn pair(&self) -> CandidatePair {
        CandidatePair {
            local: self.local,
            remote: self.remote,
            protocol: self.protocol,
        }
    }
}

/// What became of a STUN message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StunOutcome {
    /// It is not for this transport, its MESSAGE-INTEGRITY is wrong, or no peer can be where it is
    /// from. Nothing was done.
    Refused,
    /// It is authentic but no news: a retransmission, a copy from another address, an answer nobody
    /// waits for. At most it was answered, and nothing is kept for its source.
    Ignored,
    /// It was acted upon; more may be expected between these addresses.
    Accepted,
}

/// Why a packet that is not STUN is not looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
pub enum SourceError {
    /// The peer has not proved that it is there.
    #[error("no ICE check was answered on this path")]
    Unvalidated,
    /// Nothing authentic came for [`limits::PATH_LIFETIME`].
    #[error("nothing authentic came on this path for too long")]
    Expired,
}

/// What happened, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TransportEvent {
    /// The ICE state or the selected pair changed.
    Ice {
        /// The state now.
        state: IceState,
        /// The selected pair, while there is one.
        pair: Option<CandidatePair>,
    },
    /// The DTLS state changed.
    Dtls {
        /// The state now.
        state: DtlsState,
        /// The negotiated SRTP profile, once connected and if there is one.
        profile: Option<rtp::srtp::SrtpProfile>,
        /// Why it failed, or empty.
        reason: String,
    },
    /// A data channel is usable, whoever opened it.
    ChannelOpened {
        /// SCTP stream.
        stream_id: u16,
        /// Label, as the opener chose it.
        label: String,
        /// Subprotocol, usually empty.
        protocol: String,
        /// Messages arrive in order.
        ordered: bool,
        /// Retransmissions per message, None without a limit.
        max_retransmits: Option<u16>,
        /// Milliseconds a message may be retransmitted, None without a limit.
        max_packet_life_time: Option<u16>,
    },
    /// The channel is gone: reset by either side, or SCTP ended.
    ChannelClosed {
        /// SCTP stream.
        stream_id: u16,
    },
    /// One whole message.
    Data {
        /// SCTP stream.
        stream_id: u16,
        /// The message.
        bytes: Vec<u8>,
        /// Sent as binary, not as text.
        binary: bool,
    },
}

/// What was refused of an SCTP peer, by cause. All but `discarded` and `unanswered` count chunks that
/// were dropped as the network might have: a peer sends them again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SctpRefused {
    /// Packets and chunks that are malformed, or not allowed where they stand.
    pub malformed: u64,
    /// What ordinary peers send too: what overtook the chunk before it, copies of what has been answered,
    /// and types of chunks that may be skipped.
    pub ignored: u64,
    /// Further ahead than [`limits::SCTP_TSN_DISTANCE`].
    pub too_far: u64,
    /// More streams than [`limits::SCTP_LIVE_STREAMS`], or an id beyond [`limits::SCTP_STREAMS`].
    pub too_many_streams: u64,
    /// More to be read than [`limits::SCTP_HELD_MESSAGES`].
    pub too_much_held: u64,
    /// More chunks in a packet than may be looked at.
    pub too_costly: u64,
    /// For a stream whose reset is under way, or whose last generation is not read yet.
    pub closing: u64,
    /// Messages larger than [`limits::MESSAGE_MAX`].
    pub too_large: u64,
    /// Chunks acknowledged and thrown away: of messages without a beginning or an end, or that come twice.
    pub discarded: u64,
    /// Answers not sent: the peer had not sent as much, or they were larger than a packet.
    pub unanswered: u64,
    /// Times that the association acknowledged something else than it was told of. It costs nothing, but
    /// should not happen.
    pub disagreed: u64,
}

impl SctpRefused {
    /// How often anything was refused that there was no need to send.
    pub fn total(&self) -> u64 {
        let all: u64 = self.by_cause().iter().map(|&(_, count)| count).sum();
        all - self.disagreed - self.ignored
    }

    /// The counts with their names in statistics.
    pub fn by_cause(&self) -> [(&'static str, u64); 11] {
        [
            ("malformed", self.malformed),
            ("ignored", self.ignored),
            ("too_far", self.too_far),
            ("too_many_streams", self.too_many_streams),
            ("too_much_held", self.too_much_held),
            ("too_costly", self.too_costly),
            ("closing", self.closing),
            ("too_large", self.too_large),
            ("discarded", self.discarded),
            ("unanswered", self.unanswered),
            ("disagreed", self.disagreed),
        ]
    }
}

/// How to open a data channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelOptions {
    /// Up to [`limits::LABEL_MAX`] bytes.
    pub label: String,
    /// Up to [`limits::PROTOCOL_MAX`] bytes.
    pub protocol: String,
    /// Deliver in order.
    pub ordered: bool,
    /// Retransmissions per message, None without a limit.
    pub max_retransmits: Option<u16>,
    /// The stream that both sides have agreed on: it is open without DCEP (RFC 8832 1). None: we choose
    /// one, and the peer is told.
    pub negotiated: Option<u16>,
}

/// A parameter was refused; nothing changed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TransportError {
    /// Empty or longer than RFC 8445 allows, or too long together for the full agent.
    #[error("ICE credentials are empty or too long")]
    IceCredentials,
    /// Not a fingerprint of an accepted hash function.
    #[error("fingerprint is malformed or of an unaccepted hash function: {0}")]
    Fingerprint(String),
    /// The transport is closed.
    #[error("transport is closed")]
    Closed,
    /// The certificate could not be made.
    #[error("certificate could not be generated")]
    Certificate,
    /// Label or protocol too long, or too many channels.
    #[error("data channel refused: {0}")]
    Channel(&'static str),
}

/// A message was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum DataError {
    /// The channel holds as much unsent data as it may.
    #[error("data channel buffer is full ({buffered} bytes)")]
    Full {
        /// Bytes that the channel holds.
        buffered: usize,
    },
    /// There is no such channel.
    #[error("no such data channel")]
    Unknown,
    /// The channel is not open yet.
    #[error("data channel is not open yet")]
    NotReady,
    /// Larger than [`limits::MESSAGE_MAX`].
    #[error("message is too large")]
    TooLarge,
}
