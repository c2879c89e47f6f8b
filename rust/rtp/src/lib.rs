//! RTP, RTCP, SRTP and codec descriptors: bytes in, bytes out.
//!
//! Everything here is pure: functions are given bytes and, where time matters, a `now`; there are
//! no sockets and no clock. Parsers borrow from the packet and never allocate; parsers of packets
//! from the network never panic, whatever the bytes.
//!
//! | module | what | source |
//! |---|---|---|
//! | [`header`] | RTP header: parse and write | RFC 3550 5.1 |
//! | [`extension`] | header extensions: framing, ids, values | RFC 8285 and the extensions' own |
//! | [`seq`] | unwrapping and comparing sequence numbers and timestamps | RFC 3550 A.1 |
//! | [`srtp`] | SRTP and SRTCP | RFC 3711, RFC 7714 |

#![forbid(unsafe_code)]

mod bytes;
pub mod extension;
pub mod header;
pub mod seq;
pub mod srtp;

pub use header::RtpHeader;
