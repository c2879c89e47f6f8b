//! Data channel establishment messages (RFC 8832 5): bytes to values and back.

use thiserror::Error;

use crate::limits::{LABEL_MAX, PROTOCOL_MAX};

const MESSAGE_ACK: u8 = 0x02;
const MESSAGE_OPEN: u8 = 0x03;
/// Bytes of DATA_CHANNEL_OPEN before the label.
const OPEN_HEADER: usize = 12;
/// Bit of the channel type that says unordered.
const UNORDERED: u8 = 0x80;

/// Whether and how long a message is retransmitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reliability {
    /// Until it is acknowledged.
    Reliable,
    /// At most this many times.
    MaxRetransmits(u32),
    /// At most this many milliseconds.
    MaxLifeTime(u32),
}

/// DATA_CHANNEL_OPEN. The priority is neither read nor meant: it is written as 256 ("below normal",
/// RFC 8831 6.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// Messages arrive in order.
    pub ordered: bool,
    /// Retransmission policy.
    pub reliability: Reliability,
    /// Name of the channel.
    pub label: String,
    /// Registered subprotocol, or empty.
    pub protocol: String,
}

/// One message of the protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// DATA_CHANNEL_OPEN.
    Open(Open),
    /// DATA_CHANNEL_ACK.
    Ack,
}

/// Not a message that can be acted upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum DcepError {
    /// Shorter than it says, or than it can be.
    #[error("truncated")]
    Truncated,
    /// Unknown message or channel type.
    #[error("unknown type {0}")]
    UnknownType(u8),
    /// Label or protocol over the limit.
    #[error("label or protocol too long")]
    TooLong,
    /// Label or protocol is not UTF-8.
    #[error("label or protocol is not UTF-8")]
    NotUtf8,
}

impl Message {
    /// Reads one message.
    ///
    /// # Errors
    /// [`DcepError`] for anything that is not exactly one message within the limits.
    pub fn parse(bytes: &[u8]) -> Result<Self, DcepError> {
        match bytes.first() {
            Some(&MESSAGE_ACK) => Ok(Message::Ack),
            Some(&MESSAGE_OPEN) => Open::parse(bytes).map(Message::Open),
            Some(&other) => Err(DcepError::UnknownType(other)),
            None => Err(DcepError::Truncated),
        }
    }

    /// Writes the message. Labels and protocols over the limit are cut at a character.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Message::Ack => vec![MESSAGE_ACK],
            Message::Open(open) => open.to_bytes(),
        }
    }
}

impl Open {
    fn parse(bytes: &[u8]) -> Result<Self, DcepError> {
        let (header, text) = bytes
            .split_at_checked(OPEN_HEADER)
            .ok_or(DcepError::Truncated)?;
        let parameter = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
        let label_len = usize::from(u16::from_be_bytes([header[8], header[9]]));
        let protocol_len = usize::from(u16::from_be_bytes([header[10], header[11]]));
        let reliability = match header[1] & !UNORDERED {
            0 => Reliability::Reliable,
            1 => Reliability::MaxRetransmits(parameter),
            2 => Reliability::MaxLifeTime(parameter),
            _ => return Err(DcepError::UnknownType(header[1])),
        };
        if label_len > LABEL_MAX || protocol_len > PROTOCOL_MAX {
            return Err(DcepError::TooLong);
        }
        let label = text.get(..label_len).ok_or(DcepError::Truncated)?;
        let protocol = text
            .get(label_len..label_len + protocol_len)
            .ok_or(DcepError::Truncated)?;
        let utf8 =
            |bytes: &[u8]| String::from_utf8(bytes.to_vec()).map_err(|_invalid| DcepError::NotUtf8);
        Ok(Open {
            ordered: header[1] & UNORDERED == 0,
            reliability,
            label: utf8(label)?,
            protocol: utf8(protocol)?,
        })
    }

    fn to_bytes(&self) -> Vec<u8> {
        let (kind, parameter) = match self.reliability {
            Reliability::Reliable => (0, 0),
            Reliability::MaxRetransmits(count) => (1, count),
            Reliability::MaxLifeTime(milliseconds) => (2, milliseconds),
        };
        let kind = if self.ordered { kind } else { kind | UNORDERED };
        let label = cut(&self.label, LABEL_MAX);
        let protocol = cut(&self.protocol, PROTOCOL_MAX);
        let mut bytes = Vec::with_capacity(OPEN_HEADER + label.len() + protocol.len());
        bytes.extend([MESSAGE_OPEN, kind]);
        bytes.extend(256_u16.to_be_bytes());
        bytes.extend(u32::to_be_bytes(parameter));
        bytes.extend((label.len() as u16).to_be_bytes());
        bytes.extend((protocol.len() as u16).to_be_bytes());
        bytes.extend(label.as_bytes());
        bytes.extend(protocol.as_bytes());
        bytes
    }
}

fn cut(text: &str, max: usize) -> &str {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What Chrome sends for `createDataChannel("_lossy", {ordered: false, maxRetransmits: 0})`.
    const LOSSY: &[u8] = b"\x03\x81\x01\x00\x00\x00\x00\x00\x00\x06\x00\x00_lossy";

    #[test]
    fn reads_and_writes_a_browsers_message() {
        let open = Open {
            ordered: false,
            reliability: Reliability::MaxRetransmits(0),
            label: "_lossy".into(),
            protocol: String::new(),
        };
        let message = Message::Open(open);
        assert_eq!(Message::parse(LOSSY), Ok(message.clone()));
        assert_eq!(message.to_bytes(), LOSSY);
    }

    #[test]
    fn every_truncation_is_an_error() {
        for length in 0..LOSSY.len() {
            assert_eq!(Message::parse(&LOSSY[..length]), Err(DcepError::Truncated));
        }
    }

    #[test]
    fn refuses_lies() {
        let mut bytes = LOSSY.to_vec();
        bytes[1] = 0x03;
        assert_eq!(Message::parse(&bytes), Err(DcepError::UnknownType(3)));
        bytes[1] = 0;
        bytes[8] = 0xFF;
        assert_eq!(Message::parse(&bytes), Err(DcepError::TooLong));
        bytes[8] = 0;
        bytes[12] = 0xFF;
        assert_eq!(Message::parse(&bytes), Err(DcepError::NotUtf8));
        assert_eq!(Message::parse(&[0]), Err(DcepError::UnknownType(0)));
    }

    #[test]
    fn long_labels_are_cut_at_a_character() {
        let open = Open {
            ordered: true,
            reliability: Reliability::Reliable,
            label: "é".repeat(LABEL_MAX),
            protocol: String::new(),
        };
        let parsed = Message::parse(&Message::Open(open).to_bytes());
        let Ok(Message::Open(parsed)) = parsed else {
            panic!("{parsed:?}")
        };
        assert_eq!(parsed.label.len(), LABEL_MAX);
    }

    fn reliability() -> impl Strategy<Value = Reliability> {
        prop_oneof![
            Just(Reliability::Reliable),
            any::<u32>().prop_map(Reliability::MaxRetransmits),
            any::<u32>().prop_map(Reliability::MaxLifeTime),
        ]
    }

    proptest! {
        #[test]
        fn round_trips(
            ordered: bool, reliability in reliability(), label in ".{0,100}", protocol in ".{0,20}"
        ) {
            let message = Message::Open(Open { ordered, reliability, label, protocol });
            prop_assert_eq!(Message::parse(&message.to_bytes()), Ok(message));
        }

        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = Message::parse(&bytes);
        }
    }
}
