//! Where a decoder can begin in AV1 payloads (AV1 RTP specification 4.4).

use super::EntryPoint;

/// Whether a payload starts a coded video sequence, and so has its header: the aggregation header's N
/// bit, which a packet that continues an OBU (Z) cannot have.
pub(super) fn entry_point(payload: &[u8]) -> EntryPoint {
    let starts_sequence = |header: &u8| header & 0x88 == 0x08;
    match payload.len() > 1 && payload.first().is_some_and(starts_sequence) {
        true => EntryPoint::ParameterSets,
        false => EntryPoint::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_n_bit_without_the_z_bit() {
        let starts = |payload| entry_point(payload) == EntryPoint::ParameterSets;
        assert!(starts(&[0x18, 0x0a]));
        assert!(starts(&[0x08, 0x0a]));
        assert!(!starts(&[0x88, 0x0a]));
        assert!(!starts(&[0x10, 0x32]));
        assert!(!starts(&[0x08]));
        assert!(!starts(&[]));
    }
}
