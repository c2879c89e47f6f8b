//! Key frames in H.264 (RFC 6184) and H.265 (RFC 7798) payloads.
//!
//! The parameter sets come before the picture, so the first packet of a key frame is the one with
//! the sequence parameter set, or with the intra picture if the sets were given out of band.

use crate::bytes::u16_at;

/// Whether an H.264 payload starts a key frame: a sequence parameter set (7) or an IDR slice (5), on
/// its own, in a STAP-A (24), or as the first fragment of an FU-A (28).
pub(super) fn is_h264_key_frame(payload: &[u8]) -> bool {
    let is_key = |nal: u8| matches!(nal & 0x1f, 5 | 7);
    let Some(&first) = payload.first() else {
        return false;
    };
    match first & 0x1f {
        24 => aggregated(&payload[1..]).any(|unit| unit.first().is_some_and(|&nal| is_key(nal))),
        28 => payload
            .get(1)
            .is_some_and(|&fu| fu & 0x80 != 0 && is_key(fu)),
        _ => is_key(first),
    }
}

/// Whether an H.265 payload starts a key frame: a video or sequence parameter set (32, 33) or an
/// intra random access picture (16 to 23), on its own, in an aggregation packet (48), or as the
/// first fragment of a fragmentation unit (49).
pub(super) fn is_h265_key_frame(payload: &[u8]) -> bool {
    let is_key = |nal_type: u8| matches!(nal_type, 16..=23 | 32 | 33);
    let &[first, _, ..] = payload else {
        return false;
    };
    match first >> 1 & 0x3f {
        48 => aggregated(&payload[2..])
            .any(|unit| unit.first().is_some_and(|nal| is_key(nal >> 1 & 0x3f))),
        49 => payload
            .get(2)
            .is_some_and(|&fu| fu & 0x80 != 0 && is_key(fu & 0x3f)),
        nal_type => is_key(nal_type),
    }
}

/// The units of an aggregation packet, each after its 16-bit length; it ends at one that is cut off.
fn aggregated(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let len = usize::from(u16_at(rest, 0)?);
        let (unit, after) = rest[2..].split_at_checked(len)?;
        rest = after;
        Some(unit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h264() {
        let cases: [(&[u8], bool); 12] = [
            (&[0x67, 0x42], true),
            (&[0x65, 0x88], true),
            (&[0x41, 0x9a], false),
            (&[0x68], false),
            // STAP-A with AUD and SPS, with PPS only, and with a unit that is cut off.
            (&[0x78, 0, 1, 0x09, 0, 1, 0x67], true),
            (&[0x78, 0, 1, 0x68], false),
            (&[0x78, 0, 9, 0x67], false),
            // FU-A: first fragment of an IDR, its second, first of another slice, cut off.
            (&[0x7c, 0x85], true),
            (&[0x7c, 0x05], false),
            (&[0x7c, 0x81], false),
            (&[0x7c], false),
            (&[], false),
        ];
        for (payload, expected) in cases {
            assert_eq!(is_h264_key_frame(payload), expected, "{payload:x?}");
        }
    }

    #[test]
    fn h265() {
        let cases: [(&[u8], bool); 11] = [
            (&[0x40, 0x01], true),
            (&[0x42, 0x01], true),
            (&[0x44, 0x01], false),
            (&[0x26, 0x01], true),
            (&[0x02, 0x01], false),
            (&[0x60, 0x01, 0, 2, 0x40, 0x01], true),
            (&[0x60, 0x01, 0, 2, 0x02, 0x01], false),
            (&[0x62, 0x01, 0x93], true),
            (&[0x62, 0x01, 0x13], false),
            (&[0x62, 0x01], false),
            (&[0x40], false),
        ];
        for (payload, expected) in cases {
            assert_eq!(is_h265_key_frame(payload), expected, "{payload:x?}");
        }
    }
}
