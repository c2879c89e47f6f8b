//! What is looked at in a datagram before the engine sees it.

/// What a datagram of a handshake begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum First {
    /// A ClientHello, or the first fragment of one, with this random value.
    Hello([u8; 32]),
    /// Another fragment of a ClientHello.
    Fragment,
    /// Another record of a handshake.
    Other,
    /// An alert in the clear.
    Alert,
    /// No record that belongs here.
    Garbage,
}

impl First {
    /// RFC 6347 4.1 and 4.2.2: type, version, epoch, sequence number, length; then message type, length,
    /// number and fragment, version, random value.
    pub(super) fn of(packet: &[u8]) -> Self {
        const ALERT: u8 = 21;
        const HANDSHAKE: u8 = 22;
        const CLIENT_HELLO: u8 = 1;
        let [kind @ 20..=23, 254, 253 | 255, 0, epoch @ 0..=1, ..] = *packet else {
            return Self::Garbage;
        };
        if packet.len() < 14 {
            return Self::Garbage;
        }
        match (kind, epoch) {
            (ALERT, 0) => Self::Alert,
            (HANDSHAKE, 0) if packet[13] == CLIENT_HELLO && packet.get(19..22) != Some(&[0; 3]) => {
                Self::Fragment
            }
            (HANDSHAKE, 0) if packet[13] == CLIENT_HELLO => {
                let random = packet.get(27..59).and_then(|random| random.try_into().ok());
                random.map_or(Self::Garbage, Self::Hello)
            }
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_datagrams_begin_with() {
        let mut hello = vec![
            22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 60, 1, 0, 0, 90, 0, 0,
        ];
        hello.extend([0, 0, 0, 0, 0, 48, 254, 253]);
        hello.extend([7; 32]);
        assert_eq!(First::of(&hello), First::Hello([7; 32]));
        assert_eq!(First::of(&hello[..58]), First::Garbage);
        // A long one comes in pieces.
        hello[21] = 48;
        assert_eq!(First::of(&hello), First::Fragment);
        hello[13] = 11;
        assert_eq!(First::of(&hello), First::Other);
        hello[4] = 1;
        assert_eq!(First::of(&hello), First::Other);
        hello[4] = 2;
        assert_eq!(First::of(&hello), First::Garbage);
        hello[4] = 0;
        hello[0] = 21;
        assert_eq!(First::of(&hello), First::Alert);
        hello[1] = 3;
        assert_eq!(First::of(&hello), First::Garbage);
        assert_eq!(First::of(&[]), First::Garbage);
    }
}
