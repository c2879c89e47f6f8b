//! The trailer that publishers may put after a frame (LiveKit `pkg/sfu/packettrailer`).
//!
//! ```text
//! | frame | elements | length of the trailer, XOR 0xff (1) | "LKTS" (4) |
//! ```
//!
//! The frame's last packet ends with it. Its elements say e.g. when the frame was captured; clients
//! that do not know it would take it for media.

const MAGIC: &[u8] = b"LKTS";

/// Bytes of the trailer at the end of the payload of a frame's last packet; 0 if there is none.
#[inline]
pub(crate) fn trailer_len(payload: &[u8]) -> usize {
    let Some(&[.., len]) = payload.strip_suffix(MAGIC) else {
        return 0;
    };
    let len = usize::from(len ^ 0xff);
    if (MAGIC.len() + 1..=payload.len()).contains(&len) {
        len
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A payload of `frame` bytes and a trailer that says to be `len` bytes long.
    fn payload(frame: usize, len: u8) -> Vec<u8> {
        let mut payload = vec![7; frame];
        payload.push(len ^ 0xff);
        payload.extend(MAGIC);
        payload
    }

    #[test]
    fn its_length_is_before_the_magic() {
        for (payload, expected) in [
            (payload(30, 21), 21),
            (payload(0, 5), 5),
            (payload(10, 15), 15),
            // Longer than the packet, and shorter than its own fields.
            (payload(10, 16), 0),
            (payload(10, 4), 0),
            (payload(10, 0), 0),
            (vec![0xff ^ 5; 20], 0),
            (b"LKTS".to_vec(), 0),
            (b"KTS".to_vec(), 0),
            (Vec::new(), 0),
        ] {
            assert_eq!(trailer_len(&payload), expected, "{payload:?}");
        }
        let mut longest = payload(300, 255);
        assert_eq!(trailer_len(&longest), 255);
        longest.push(0);
        assert_eq!(trailer_len(&longest), 0);
    }
}
