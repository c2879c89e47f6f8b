//! Key frames in AV1 payloads (AV1 RTP specification 4.4).

/// Whether a payload starts a coded video sequence: the aggregation header's N bit, which a packet
/// that continues an OBU (Z) cannot have.
pub(super) fn is_key_frame(payload: &[u8]) -> bool {
    let starts_sequence = |header: &u8| header & 0x88 == 0x08;
    payload.len() > 1 && payload.first().is_some_and(starts_sequence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_n_bit_without_the_z_bit() {
        assert!(is_key_frame(&[0x18, 0x0a]));
        assert!(is_key_frame(&[0x08, 0x0a]));
        assert!(!is_key_frame(&[0x88, 0x0a]));
        assert!(!is_key_frame(&[0x10, 0x32]));
        assert!(!is_key_frame(&[0x08]));
        assert!(!is_key_frame(&[]));
    }
}
