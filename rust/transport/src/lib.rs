//! One peer connection, sans-IO: ICE, DTLS, SRTP keys, SCTP and data channels.
//!
//! [`Transport`] is told `now` and bytes and answers with datagrams ([`Transport::poll_transmit`]),
//! events ([`Transport::poll_event`]) and a deadline ([`Transport::next_timeout`]); it opens no
//! socket and reads no clock. The caller demultiplexes by first byte (RFC 7983), keeps the map from
//! addresses to transports, and moves RTP itself with the [`rtp::srtp::SrtpContext`]s that appear
//! once DTLS is connected.
//!
//! | module | what | source |
//! |---|---|---|
//! | [`stun`] | message-integrity and username helpers for demultiplexing | RFC 8489 |
//! | `ice` | full agent (checks by the `is` crate), lite responder, nomination, consent | RFC 8445, RFC 7675 |
//! | `dtls` | one session, certificate against fingerprint | RFC 6347, RFC 8122 |
//! | `srtp_keys` | splitting the exported keying material | RFC 5764 4.2 |
//! | `sctp` | one association, a guard before it, and its data channels | RFC 8831 |
//! | [`dcep`] | data channel establishment messages | RFC 8832 |
//!
//! Bytes from the network never panic here, and nothing that grows with what a peer sends is
//! without a bound (see [`limits`]).

#![forbid(unsafe_code)]

pub mod dcep;
mod dtls;
mod fingerprint;
mod ice;
pub mod limits;
mod sctp;
mod srtp_keys;
pub mod stun;
mod transport;
mod types;

pub use dtls::{DtlsIdentity, DtlsState};
pub use fingerprint::Fingerprint;
pub use ice::IceState;
#[cfg(any(test, feature = "raw-sctp"))]
pub use sctp::{attacks, raw};
pub use transport::Transport;
pub use types::{
    CandidatePair, ChannelOptions, DataError, IceCredentials, LocalCandidate, Protocol,
    RemoteCandidate, RemoteDtls, SctpRefused, SourceError, StunOutcome, Transmit, TransportConfig,
    TransportError, TransportEvent,
};
