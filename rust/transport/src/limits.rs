//! Every bound of this crate in one place. Sizes are bytes.

use std::time::Duration;

/// Largest ICE ufrag or password (RFC 8445 5.3).
pub const ICE_CREDENTIAL_MAX: usize = 256;
/// Largest `remote:local` username that the full agent's encoder can write into its own checks;
/// longer ones are refused in full mode. The lite responder writes none.
pub const ICE_USERNAME_MAX: usize = 128;
/// Largest STUN message looked at.
pub const STUN_MESSAGE_MAX: usize = 1_500;
/// Remote candidates taken per ICE generation; later ones are ignored.
pub const REMOTE_CANDIDATES: usize = 32;
/// Addresses that checked us without having been signalled, at a time; the least recently used one
/// makes room.
pub const PEER_REFLEXIVE: usize = 16;
/// Remote addresses that made room and that the agent holds until it is made anew.
pub const FORGOTTEN_REMOTES: usize = 64;
/// Addresses of ours that the peer says to see and that the agent holds until it is made anew.
pub const MAPPED_ADDRESSES: usize = 16;
/// Candidate pairs that one ICE generation remembers; the longest unheard one makes room.
pub const PAIRS: usize = 32;
/// Paths on which packets are received; the least recently used one makes room.
pub const PATHS: usize = 32;
/// A path is forgotten when nothing authentic came on it for this long, which is as long as a
/// connection may live without consent.
pub const PATH_LIFETIME: Duration = CONSENT_EXPIRY;
/// Sending stops this long after the peer's last answer (RFC 7675 5.1).
pub const CONSENT_EXPIRY: Duration = Duration::from_secs(30);
/// Transactions of the peer's checks that one ICE generation remembers.
pub const TRANSACTIONS: usize = 64;
/// Checks held, one per source, until the remote credentials are known.
pub const EARLY_CHECKS: usize = 8;
/// Own checks that wait for their answer.
pub const OUTSTANDING_CHECKS: usize = 128;
/// DTLS datagrams held until the check of the path that they came on is answered.
pub const EARLY_DTLS: usize = 4;
/// DTLS datagrams held until the remote fingerprint is known.
pub const HELD_DTLS: usize = 8;
/// DTLS datagrams held until there is a pair to send them on.
pub const HELD_TRANSMITS: usize = 32;
/// Largest data channel message, both ways.
pub const MESSAGE_MAX: usize = 65_535;
/// Largest data channel label (RFC 8832 allows 65535).
pub const LABEL_MAX: usize = 1_024;
/// Largest data channel subprotocol.
pub const PROTOCOL_MAX: usize = 1_024;
/// Data channels open at a time in one transport.
pub const CHANNELS: usize = 64;
/// SCTP receive buffer of one association.
pub const SCTP_RECEIVE_BUFFER: u32 = 1024 * 1024;
/// Payload of one SCTP packet, so that the DTLS record with it stays below 1200.
pub const SCTP_PAYLOAD: u32 = 1_112;
/// Bytes one channel may hold unsent by default.
pub const CHANNEL_BUFFER: usize = 4 * 1024 * 1024;
