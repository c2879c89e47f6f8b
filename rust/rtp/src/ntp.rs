//! NTP timestamps as RTCP uses them: 64 bits, 32.32 fixed-point seconds since 1900 (RFC 3550 4).

use std::time::Duration;

/// Seconds between the NTP epoch (1900) and the Unix epoch (1970).
const UNIX_EPOCH: u64 = 2_208_988_800;

/// The NTP timestamp of a moment given as the time since the Unix epoch.
pub fn from_unix(since_epoch: Duration) -> u64 {
    from_duration(since_epoch).wrapping_add(UNIX_EPOCH << 32)
}

/// A duration as 32.32 fixed-point seconds, wrapping at 2^32 s and rounded down: what to add to a
/// timestamp to move it on.
pub fn from_duration(duration: Duration) -> u64 {
    let fraction = (u64::from(duration.subsec_nanos()) << 32) / 1_000_000_000;
    duration.as_secs() << 32 | fraction
}

/// 32.32 fixed-point seconds as a duration.
pub fn to_duration(fixed: u64) -> Duration {
    let nanos = ((fixed & 0xffff_ffff) * 1_000_000_000) >> 32;
    Duration::new(fixed >> 32, nanos as u32)
}

/// The middle 32 bits of a timestamp, 16.16 seconds: the LSR field and its like.
pub const fn middle_32(ntp: u64) -> u32 {
    (ntp >> 16) as u32
}

/// A duration in 1/65,536 s, the unit of the DLSR field, saturating.
pub fn delay_32(duration: Duration) -> u32 {
    let delay = duration.as_nanos() * 65_536 / 1_000_000_000;
    u32::try_from(delay).unwrap_or(u32::MAX)
}

/// The round trip that a report block or a DLRR block tells of (RFC 3550 6.4.1): `now` is the
/// middle 32 bits of our clock at arrival, `last` and `delay` are the block's two fields.
///
/// `None` if no report was received yet (`last` is 0), or if the result is negative because the
/// clocks' grain or a lying peer made `delay` longer than the time since.
pub fn round_trip(now: u32, last: u32, delay: u32) -> Option<Duration> {
    if last == 0 {
        return None;
    }
    let rtt = now.wrapping_sub(last).wrapping_sub(delay) as i32;
    u64::try_from(rtt).ok().map(|rtt| to_duration(rtt << 16))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unix_epoch_is_70_years_after_the_ntp_epoch() {
        let half = Duration::from_millis(500);
        assert_eq!(from_unix(half), 2_208_988_800 << 32 | 1 << 31);
    }

    #[test]
    fn durations_round_trip_within_a_nanosecond() {
        for nanos in [0, 1, 999_999_999, 1_000_000_001, 123_456_789_012] {
            let duration = Duration::from_nanos(nanos);
            let back = to_duration(from_duration(duration));
            assert!(duration - back <= Duration::from_nanos(1), "{duration:?}");
        }
        assert_eq!(to_duration(u64::MAX).as_secs(), u64::from(u32::MAX));
    }

    /// The example of RFC 3550 6.4.1, figure 2.
    #[test]
    fn rfc3550_round_trip_example() {
        let (now, last, delay) = (0xb710_8000, 0xb705_2000, 0x0005_4000);
        let rtt = round_trip(now, last, delay);
        assert_eq!(rtt, Some(Duration::from_millis(6_125)));
        assert_eq!(middle_32(0xb44d_b705_2000_0000), last);
        assert_eq!(delay_32(Duration::from_millis(5_250)), delay);
    }

    #[test]
    fn impossible_round_trips_are_none() {
        assert_eq!(round_trip(100, 0, 0), None);
        assert_eq!(round_trip(100, 90, 11), None);
        assert_eq!(round_trip(5, u32::MAX - 4, 10), Some(Duration::ZERO));
        assert_eq!(delay_32(Duration::from_secs(1 << 20)), u32::MAX);
    }
}
