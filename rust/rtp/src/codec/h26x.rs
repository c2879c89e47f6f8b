//! Where a decoder can begin in H.264 (RFC 6184) and H.265 (RFC 7798) payloads.
//!
//! A key frame is an intra picture (IDR, IRAP) after its parameter sets, unless those were given out
//! of band. The sets come first, in packets of their own or aggregated with others; delimiters and
//! SEI may come before them. LiveKit begins at an SPS of H.264 and at an SPS or PPS of H.265
//! (`buffer/helpers.go`).

use super::EntryPoint;
use crate::bytes::u16_at;

/// What an H.264 payload has for a decoder to begin with: a sequence parameter set (7) or an IDR
/// slice (5), on its own, in a STAP-A (24), or as the first fragment of an FU-A (28).
pub(super) fn h264_entry_point(payload: &[u8]) -> EntryPoint {
    let of_unit = |nal: u8| match nal & 0x1f {
        7 => EntryPoint::ParameterSets,
        5 => EntryPoint::Picture,
        _ => EntryPoint::None,
    };
    let Some(&first) = payload.first() else {
        return EntryPoint::None;
    };
    match first & 0x1f {
        24 => best_of(&payload[1..], of_unit),
        28 => match payload.get(1) {
            Some(&fu) if fu & 0x80 != 0 => of_unit(fu),
            _ => EntryPoint::None,
        },
        _ => of_unit(first),
    }
}

/// What an H.265 payload has for a decoder to begin with: a video or sequence parameter set (32, 33)
/// or an intra random access picture (16 to 23), on its own, in an aggregation packet (48), or as
/// the first fragment of a fragmentation unit (49).
pub(super) fn h265_entry_point(payload: &[u8]) -> EntryPoint {
    let of_type = |nal_type: u8| match nal_type {
        32 => EntryPoint::ParameterSets,
        33 => EntryPoint::LaterSets,
        16..=23 => EntryPoint::Picture,
        _ => EntryPoint::None,
    };
    let of_unit = |nal: u8| of_type(nal >> 1 & 0x3f);
    let &[first, _, ..] = payload else {
        return EntryPoint::None;
    };
    match first >> 1 & 0x3f {
        48 => best_of(&payload[2..], of_unit),
        49 => match payload.get(2) {
            Some(&fu) if fu & 0x80 != 0 => of_type(fu & 0x3f),
            _ => EntryPoint::None,
        },
        nal_type => of_type(nal_type),
    }
}

/// The best of the units of an aggregation packet, told by their first bytes.
fn best_of(bytes: &[u8], of_unit: impl Fn(u8) -> EntryPoint) -> EntryPoint {
    let units = aggregated(bytes).filter_map(|unit| unit.first());
    units.fold(EntryPoint::None, |best, &nal| best.max(of_unit(nal)))
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
        use EntryPoint::{None, ParameterSets, Picture};
        let cases: [(&[u8], EntryPoint); 14] = [
            (&[0x67, 0x42], ParameterSets),
            (&[0x65, 0x88], Picture),
            (&[0x41, 0x9a], None),
            (&[0x68], None),
            // STAP-A with AUD and SPS, with PPS only, with all of a key frame, with PPS and IDR, and
            // with a unit that is cut off.
            (&[0x78, 0, 1, 0x09, 0, 1, 0x67], ParameterSets),
            (&[0x78, 0, 1, 0x68], None),
            (&[0x78, 0, 1, 0x67, 0, 1, 0x68, 0, 1, 0x65], ParameterSets),
            (&[0x78, 0, 1, 0x68, 0, 1, 0x65], Picture),
            (&[0x78, 0, 9, 0x67], None),
            // FU-A: first fragment of an IDR, its second, first of another slice, cut off.
            (&[0x7c, 0x85], Picture),
            (&[0x7c, 0x05], None),
            (&[0x7c, 0x81], None),
            (&[0x7c], None),
            (&[], None),
        ];
        for (payload, expected) in cases {
            assert_eq!(h264_entry_point(payload), expected, "{payload:x?}");
        }
    }

    #[test]
    fn h265() {
        use EntryPoint::{LaterSets, None, ParameterSets, Picture};
        let cases: [(&[u8], EntryPoint); 13] = [
            (&[0x40, 0x01], ParameterSets),
            (&[0x42, 0x01], LaterSets),
            (&[0x44, 0x01], None),
            (&[0x26, 0x01], Picture),
            (&[0x02, 0x01], None),
            (
                &[0x60, 0x01, 0, 2, 0x40, 0x01, 0, 2, 0x42, 0x01],
                ParameterSets,
            ),
            (&[0x60, 0x01, 0, 2, 0x42, 0x01, 0, 2, 0x26, 0x01], LaterSets),
            (&[0x60, 0x01, 0, 2, 0x02, 0x01], None),
            (&[0x62, 0x01, 0x93], Picture),
            (&[0x62, 0x01, 0xa0], ParameterSets),
            (&[0x62, 0x01, 0x13], None),
            (&[0x62, 0x01], None),
            (&[0x40], None),
        ];
        for (payload, expected) in cases {
            assert_eq!(h265_entry_point(payload), expected, "{payload:x?}");
        }
    }
}
