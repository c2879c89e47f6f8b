//! Redundant audio (RED, RFC 2198) for subscribers that have it and those that do not (LiveKit
//! `redreceiver.go`, `redprimaryreceiver.go`).
//!
//! A publisher's RED is passed on to a subscriber that negotiated it. To another one the plain
//! payloads go, and what the network lost before is taken from the packets after it. Plain Opus can
//! go out as RED; what it repeats is in the publisher's ring.

use rtp::red::{
    MAX_BLOCK_LEN, MAX_OFFSET, RedPayload, RedundantBlock, set_payload_type, write_red,
};
use rtp::seq::ExtSeq;

use crate::packet::PacketInfo;
use crate::receiver::Receiver;

/// Earlier packets that are repeated, or recovered.
pub(crate) const EARLIER: usize = 2;

/// Longer payloads are sent without repeating anything, so that they stay within one datagram.
const MAX_REDUNDANT_LEN: usize = 1100;

/// How one codec of the source goes to the subscriber.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Redundancy {
    /// As it is.
    #[default]
    Unchanged,
    /// It is RED and so is what goes out, with blocks of this payload type.
    Keep {
        /// The subscriber's Opus, if it has any.
        opus: Option<u8>,
    },
    /// It is RED and goes out without it.
    Extract,
    /// It is Opus and goes out as RED.
    Make {
        /// The subscriber's Opus.
        opus: u8,
    },
}

/// The payload of one outgoing packet.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Body<'a> {
    /// The publisher's.
    Whole(&'a [u8]),
    /// RED with blocks of the given payload type.
    Red(&'a [u8], u8),
    /// Opus that goes without RED, under the given payload type.
    Plain(&'a [u8], u8),
    /// Opus of an earlier packet than the one it came in.
    Recovered(&'a [u8]),
    /// Opus with that of the packets before it.
    Made {
        earlier: [RedundantBlock<'a>; EARLIER],
        count: usize,
        primary: &'a [u8],
        opus: u8,
    },
}

impl<'a> Body<'a> {
    /// The payload of the packet `ext_seq` of `layer`. `None` if there is nothing in it to send.
    #[inline]
    pub(crate) fn new(
        redundancy: Redundancy,
        (layer, ext_seq): (u8, ExtSeq),
        info: &PacketInfo,
        packet: &'a [u8],
        source: &'a Receiver,
    ) -> Option<Self> {
        let payload = info.payload(packet);
        match redundancy {
            Redundancy::Unchanged | Redundancy::Keep { opus: None } => Some(Self::Whole(payload)),
            Redundancy::Keep { opus: Some(opus) } => Some(Self::Red(payload, opus)),
            Redundancy::Extract => {
                let primary = RedPayload::parse(payload)?.primary();
                (!primary.is_empty()).then_some(Self::Whole(primary))
            }
            Redundancy::Make { opus } => {
                Some(Self::made((layer, ext_seq), info, payload, opus, source))
            }
        }
    }

    fn made(
        (layer, ext_seq): (u8, ExtSeq),
        info: &PacketInfo,
        primary: &'a [u8],
        opus: u8,
        source: &'a Receiver,
    ) -> Self {
        if primary.len() >= MAX_BLOCK_LEN {
            return Self::Plain(primary, opus);
        }
        let mut earlier = [RedundantBlock::default(); EARLIER];
        let (mut count, mut len) = (0, primary.len());
        for back in (1..=EARLIER as u64).rev() {
            let found = source.packet(layer, ext_seq.wrapping_sub(back));
            let Some((before, packet)) = found.filter(|(before, _)| before.codec == info.codec)
            else {
                continue;
            };
            let data = before.payload(packet);
            let timestamp_offset = info.timestamp.wrapping_sub(before.timestamp);
            let fits = !data.is_empty() && len + data.len() <= MAX_REDUNDANT_LEN;
            if fits && timestamp_offset < MAX_OFFSET {
                earlier[count] = RedundantBlock {
                    timestamp_offset,
                    data,
                };
                count += 1;
                len += data.len();
            }
        }
        Self::Made {
            earlier,
            count,
            primary,
            opus,
        }
    }

    /// The payload type, if it is not the one that was negotiated for the codec.
    #[inline]
    pub(crate) fn payload_type(&self) -> Option<u8> {
        match self {
            Self::Plain(_, opus) => Some(*opus),
            _ => None,
        }
    }

    /// Whether the packet's header extensions are true of it.
    #[inline]
    pub(crate) fn has_extensions(&self) -> bool {
        !matches!(self, Self::Recovered(_))
    }

    /// Writes the payload and returns its length, or `None` if `buf` is too short.
    #[inline]
    pub(crate) fn write(&self, buf: &mut [u8]) -> Option<usize> {
        match *self {
            Self::Whole(bytes) | Self::Plain(bytes, _) | Self::Recovered(bytes) => {
                buf.get_mut(..bytes.len())?.copy_from_slice(bytes);
                Some(bytes.len())
            }
            Self::Red(bytes, opus) => {
                let out = buf.get_mut(..bytes.len())?;
                out.copy_from_slice(bytes);
                set_payload_type(out, opus);
                Some(bytes.len())
            }
            Self::Made {
                earlier,
                count,
                primary,
                opus,
            } => write_red(buf, opus, &earlier[..count], primary),
        }
    }
}
