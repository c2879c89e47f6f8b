//! Every bound of this crate in one place. Sizes are bytes.

use std::time::Duration;

/// Largest ICE ufrag or password (RFC 8445 5.3).
pub const ICE_CREDENTIAL_MAX: usize = 256;
/// Largest `remote:local` username that the full agent's encoder can write into its own checks;
/// longer ones are refused in full mode. The lite responder writes none.
pub const ICE_USERNAME_MAX: usize = 128;
/// Largest STUN message looked at.
pub const STUN_MESSAGE_MAX: usize = 1_500;
/// Attributes not understood that an answer names.
pub const STUN_UNKNOWN_ATTRIBUTES: usize = 4;
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
/// Largest datagram of a DTLS handshake.
pub const DTLS_MTU: usize = 1_200;
/// Datagrams that may wait inside the DTLS engine: our own flights only, since data is drained at once.
pub const DTLS_QUEUE: usize = 16;
/// Attempts at a DTLS handshake that somebody may spoil before one more is the last.
pub const DTLS_ATTEMPTS: usize = 64;
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
/// SCTP streams each way: their ids are smaller than this.
pub const SCTP_STREAMS: u16 = 1_024;
/// Streams an association has at a time. Channels that close still have theirs.
pub const SCTP_LIVE_STREAMS: usize = 2 * CHANNELS;
/// How far a TSN may be ahead of the first missing one. Peers begin with a window of 4,900 bytes, each of
/// which may be a message. The receive window does not let them have more than this at a time.
pub const SCTP_TSN_DISTANCE: usize = 8_192;
/// TSNs that a FORWARD-TSN may go on by: those of one packet stay less than half of all apart.
pub const SCTP_FORWARD_DISTANCE: u32 = 1 << 30;
/// DATA chunks looked at in one packet: more do not go into [`SCTP_PACKET`].
pub const SCTP_DATA_CHUNKS: usize = 68;
/// Chunks of other types looked at in one packet; each may be answered with a packet.
pub const SCTP_CONTROL_CHUNKS: usize = 4;
/// Messages that may wait to be read. More are refused until some were.
pub const SCTP_HELD_MESSAGES: usize = 4_096;
/// Fragments of a message that is delivered though something of others is missing before it. Peers cut at
/// a packet's size, so that the largest message has 66; with more it waits.
pub const SCTP_MESSAGE_PIECES: usize = 72;
/// TSNs among which a stream's next message is looked for when one before it arrived and something of
/// others is missing. Further ones wait for that.
pub const SCTP_LOOK_AHEAD: usize = 128;
/// Streams of a FORWARD-TSN for which that is done.
pub const SCTP_FORWARDED_AT_ONCE: usize = 4;
/// Bytes of answers (RFC 9260: SACK, HEARTBEAT ACK, COOKIE ACK…) that a peer may have before it has
/// sent as many; and what it may save up.
pub const SCTP_ANSWER_CREDIT: usize = 4 * 1024;
/// See [`SCTP_ANSWER_CREDIT`].
pub const SCTP_ANSWER_CREDIT_MAX: usize = 64 * 1024;
/// INITs that go unanswered before the SCTP handshake is given up.
pub const SCTP_INIT_RETRANSMITS: usize = 8;
/// User data of one SCTP chunk, so that the DTLS record with it stays below 1200.
pub const SCTP_PAYLOAD: u32 = 1_112;
/// Largest SCTP packet that is sent: as long as `sctp-proto` makes them of one-byte messages, whose
/// padding it does not count. The DTLS record has 37 bytes more.
pub const SCTP_PACKET: usize = 1_360;
/// Chunks of ours that the association has and the peer has not acknowledged; a message may exceed it.
pub const SCTP_IN_FLIGHT: usize = 1_024;
/// With no more than so many on their way the association is asked for packets at any time.
pub const SCTP_UNPACED: usize = 64;
/// With more it is asked that much less often for each: it takes a twentieth of that for one of them.
pub const SCTP_PACE: Duration = Duration::from_micros(2);
/// What a message takes besides its bytes while it is not acknowledged.
pub const MESSAGE_OVERHEAD: usize = 128;
/// Bytes one channel may hold unsent by default.
pub const CHANNEL_BUFFER: usize = 4 * 1024 * 1024;
