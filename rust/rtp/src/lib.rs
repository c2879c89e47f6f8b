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
//! | [`rtcp`] | RTCP packets: parse and build | RFC 3550 6, 3611, 4585, 5104 |
//! | [`srtp`] | SRTP and SRTCP | RFC 3711, RFC 7714 |
//! | [`twcc`] | transport-wide congestion control, receiving side | draft-holmer-rmcat-transport-wide-cc-extensions-01 |
//! | [`nack`] | which missing packets to ask for, and when | LiveKit |
//! | [`stats`] | loss, jitter, report blocks | RFC 3550 A |
//! | [`ntp`] | NTP timestamps and round trips | RFC 3550 4, 6.4.1 |
//! | [`codec`] | key frames and frame starts by codec | the codecs' payload formats |
//! | [`red`] | redundant audio: read and write | RFC 2198 |
//! | [`dependency`] | dependency descriptor: parse and rewrite | AV1 RTP specification, appendix A |
//! | [`vp8`], [`vp9`] | payload descriptors | RFC 7741, RFC 9628 |

#![forbid(unsafe_code)]

mod bytes;
pub mod codec;
pub mod dependency;
pub mod extension;
pub mod header;
pub mod nack;
pub mod ntp;
pub mod red;
pub mod rtcp;
pub mod seq;
pub mod srtp;
pub mod stats;
pub mod twcc;
pub mod vp8;
pub mod vp9;

pub use header::RtpHeader;
