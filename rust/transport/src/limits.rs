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
/// Peer-reflexive addresses one ICE generation may introduce in its life.
pub const PEER_REFLEXIVE: usize = 512;
/// Candidate pairs remembered at a time; the longest unheard one makes room.
pub const PAIRS: usize = 32;
/// Checks held, one per source, until the remote credentials are known.
pub const HELD_CHECKS: usize = 8;
/// Own checks that wait for their answer.
pub const OUTSTANDING_CHECKS: usize = 128;
/// A source is valid this long after its last check (consent lasts 30 s, RFC 7675 5.1).
pub const SOURCE_VALID: Duration = Duration::from_secs(30);
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
/// SCTP streams each way: their ids are smaller than this.
pub const SCTP_STREAMS: u16 = 1_024;
/// Streams an association has at a time. Each DATA chunk makes it go through all of them. Channels
/// that close still have theirs.
pub const SCTP_LIVE_STREAMS: usize = 2 * CHANNELS;
/// How far a TSN may be ahead of the first missing one. Between the two a peer that fills the receive
/// buffer has 950 full chunks, or twice as many of half the size.
pub const SCTP_TSN_DISTANCE: usize = 2_048;
/// Gaps in what was received, so that a SACK with all of them goes into one packet.
pub const SCTP_GAPS: usize = 256;
/// DATA chunks looked at in one packet: more than 59 do not go into 1,200 bytes.
pub const SCTP_DATA_CHUNKS: usize = 64;
/// Chunks of other types looked at in one packet; each may be answered with a packet.
pub const SCTP_CONTROL_CHUNKS: usize = 4;
/// Chunks that may wait to be read. More are refused until some were.
pub const SCTP_HELD_CHUNKS: usize = 4_096;
/// Chunks that the association goes through for the DATA chunks of one packet, the first aside: each
/// one makes it go through all that arrived ahead and all that waits.
pub const SCTP_WORK: usize = 4_096;
/// Fragments of one message. Peers cut at a packet's size, so that the largest message has 66.
pub const SCTP_MESSAGE_PIECES: usize = 512;
/// Bytes of one message that is put together; a longer one is thrown away and costs its channel.
pub const SCTP_MESSAGE_BYTES: usize = 4 * MESSAGE_MAX;
/// Bytes of answers (RFC 9260: SACK, HEARTBEAT ACK, COOKIE ACK…) that a peer may have before it has
/// sent as many; and what it may save up.
pub const SCTP_ANSWER_CREDIT: usize = 4 * 1024;
/// See [`SCTP_ANSWER_CREDIT`].
pub const SCTP_ANSWER_CREDIT_MAX: usize = 64 * 1024;
/// INITs that go unanswered before the SCTP handshake is given up.
pub const SCTP_INIT_RETRANSMITS: usize = 8;
/// User data of one SCTP chunk, so that the DTLS record with it stays below 1200.
pub const SCTP_PAYLOAD: u32 = 1_112;
/// Largest SCTP packet that is sent. With two headers, and the one that `sctp-proto` forgets when it
/// puts two chunks into a packet, this is what becomes of the payload; the record has 37 more.
pub const SCTP_PACKET: usize = SCTP_PAYLOAD as usize + 48;
/// Bytes one channel may hold unsent by default.
pub const CHANNEL_BUFFER: usize = 4 * 1024 * 1024;
