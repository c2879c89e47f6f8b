//! Values of the header extensions that an SFU reads or writes itself.

use std::time::Duration;

use crate::bytes::{u16_at, u64_at};

/// Client-to-mixer audio level (RFC 6464).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AudioLevel {
    /// Level below overload: 0 is loudest, 127 is silence, in units of -1 dBov.
    pub level: u8,
    /// Whether the sender believes that there is voice in the packet.
    pub voice: bool,
}

impl AudioLevel {
    /// Parses the first byte; the two-byte form may carry padding after it.
    #[inline]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let &byte = value.first()?;
        Some(Self {
            level: byte & 0x7f,
            voice: byte & 0x80 != 0,
        })
    }

    /// The value on the wire.
    pub const fn to_bytes(self) -> [u8; 1] {
        [(self.voice as u8) << 7 | self.level & 0x7f]
    }
}

/// Absolute capture time
/// (<http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time>).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbsCaptureTime {
    /// When the first frame in the packet was captured, on the capturer's NTP clock (UQ32.32).
    pub ntp: u64,
    /// Offset between the capturer's and the sender's clock (Q32.32 seconds), if given.
    pub clock_offset: Option<i64>,
}

impl AbsCaptureTime {
    /// Parses the 8-byte or the 16-byte form.
    #[inline]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let clock_offset = match value.len() {
            8 => None,
            16 => Some(u64_at(value, 8)? as i64),
            _ => return None,
        };
        let ntp = u64_at(value, 0)?;
        Some(Self { ntp, clock_offset })
    }

    /// The 8-byte form, without the clock offset: a middlebox that does not estimate the offset
    /// must not forward it.
    pub const fn to_short_bytes(self) -> [u8; 8] {
        self.ntp.to_be_bytes()
    }
}

/// Playout delay limits (<http://www.webrtc.org/experiments/rtp-hdrext/playout-delay>), in units
/// of 10 ms, at most 4,095 (40.95 s).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlayoutDelay {
    /// Least delay, in units of 10 ms.
    pub min: u16,
    /// Greatest delay, in units of 10 ms.
    pub max: u16,
}

impl PlayoutDelay {
    /// Parses the three bytes: 12 bits each.
    #[inline]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let &[a, b, c] = value else { return None };
        Some(Self {
            min: u16::from(a) << 4 | u16::from(b >> 4),
            max: u16::from(b & 0x0f) << 8 | u16::from(c),
        })
    }

    /// The value on the wire; limits above 4,095 are cut off.
    pub fn to_bytes(self) -> [u8; 3] {
        let (min, max) = (self.min.min(0xfff), self.max.min(0xfff));
        [
            (min >> 4) as u8,
            ((min & 0x0f) << 4) as u8 | (max >> 8) as u8,
            max as u8,
        ]
    }
}

/// Absolute send time (<http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time>) of a moment
/// given as the time since any fixed epoch: 24 bits, 6.18 fixed-point seconds, wrapping every 64 s.
#[inline]
pub fn abs_send_time(since_epoch: Duration) -> [u8; 3] {
    let seconds = (since_epoch.as_secs() & 0x3f) as u32;
    let fraction = (u64::from(since_epoch.subsec_nanos()) << 18) / 1_000_000_000;
    let [_, a, b, c] = (seconds << 18 | fraction as u32).to_be_bytes();
    [a, b, c]
}

/// The 24-bit number of an absolute send time.
#[inline]
pub(super) fn parse_abs_send_time(value: &[u8]) -> Option<u32> {
    let &[a, b, c] = value else { return None };
    Some(u32::from_be_bytes([0, a, b, c]))
}

/// The transport-wide sequence number
/// (draft-holmer-rmcat-transport-wide-cc-extensions-01 2); the second version of the extension
/// has a feedback request after it.
#[inline]
pub(super) fn parse_transport_sequence(value: &[u8]) -> Option<u16> {
    u16_at(value, 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn audio_level_bits() {
        let level = AudioLevel::parse(&[0x80 | 30]).unwrap();
        assert_eq!((level.level, level.voice), (30, true));
        assert_eq!(level.to_bytes(), [0x80 | 30]);
        assert_eq!(AudioLevel::parse(&[]), None);
    }

    #[test]
    fn abs_send_time_is_6_18_fixed_point() {
        assert_eq!(
            abs_send_time(Duration::from_millis(1500)),
            [0x06, 0x00, 0x00]
        );
        assert_eq!(abs_send_time(Duration::from_secs(64)), [0, 0, 0]);
        let just_before = Duration::new(63, 999_999_999);
        assert_eq!(abs_send_time(just_before), [0xff, 0xff, 0xff]);
        assert_eq!(parse_abs_send_time(&[0x06, 0, 1]), Some(0x06_0001));
        assert_eq!(parse_abs_send_time(&[0, 1]), None);
    }

    #[test]
    fn playout_delay_saturates() {
        let delay = PlayoutDelay {
            min: 5000,
            max: 5000,
        };
        assert_eq!(delay.to_bytes(), [0xff, 0xff, 0xff]);
    }

    #[test]
    fn abs_capture_time_forms() {
        let mut value = [0u8; 16];
        value[7] = 9;
        value[8..].copy_from_slice(&(-2i64).to_be_bytes());
        let long = AbsCaptureTime::parse(&value).unwrap();
        assert_eq!((long.ntp, long.clock_offset), (9, Some(-2)));
        let short = AbsCaptureTime::parse(&long.to_short_bytes()).unwrap();
        assert_eq!((short.ntp, short.clock_offset), (9, None));
        assert_eq!(AbsCaptureTime::parse(&value[..9]), None);
    }

    proptest! {
        #[test]
        fn playout_delay_round_trips(min in 0u16..4096, max in 0u16..4096) {
            let delay = PlayoutDelay { min, max };
            prop_assert_eq!(PlayoutDelay::parse(&delay.to_bytes()), Some(delay));
        }
    }
}
