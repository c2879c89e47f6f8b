//! RTP header extensions (RFC 8285): framing, negotiated ids, and values.

mod map;
mod values;

pub use map::{ExtensionKind, ExtensionMap, ParsedExtensions};
pub use values::{AbsCaptureTime, AudioLevel, PlayoutDelay, abs_send_time};

/// Profile word of the one-byte form (RFC 8285 4.2).
pub const ONE_BYTE_PROFILE: u16 = 0xbede;

/// Profile word of the two-byte form (RFC 8285 4.3) with appbits zero.
pub const TWO_BYTE_PROFILE: u16 = 0x1000;

/// Iterates over the elements of a header extension block as `(id, value)`.
///
/// It stops at the first element that claims more bytes than are left, and, in the one-byte form,
/// at id 15 and at id 0 with a length (RFC 8285 4.2); elements before that are valid. Padding is
/// skipped. A block with another profile has no elements.
#[derive(Clone, Debug)]
pub struct ExtensionIter<'a> {
    rest: &'a [u8],
    two_byte: bool,
}

impl<'a> ExtensionIter<'a> {
    /// Iterates over `block`, the elements after the extension's first word.
    #[inline]
    pub fn new(profile: u16, block: &'a [u8]) -> Self {
        let two_byte = profile & 0xfff0 == TWO_BYTE_PROFILE;
        let known = two_byte || profile == ONE_BYTE_PROFILE;
        let rest = if known { block } else { &[] };
        Self { rest, two_byte }
    }

    #[inline]
    fn finish(&mut self) -> Option<(u8, &'a [u8])> {
        self.rest = &[];
        None
    }
}

impl<'a> Iterator for ExtensionIter<'a> {
    type Item = (u8, &'a [u8]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (&first, rest) = self.rest.split_first()?;
            if first == 0 {
                self.rest = rest;
                continue;
            }
            let (id, len, rest) = if self.two_byte {
                let Some((&len, rest)) = rest.split_first() else {
                    return self.finish();
                };
                (first, usize::from(len), rest)
            } else {
                (first >> 4, usize::from(first & 0x0f) + 1, rest)
            };
            if !self.two_byte && (id == 0 || id == 15) {
                return self.finish();
            }
            let Some((value, rest)) = rest.split_at_checked(len) else {
                return self.finish();
            };
            self.rest = rest;
            return Some((id, value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn elements(profile: u16, block: &[u8]) -> Vec<(u8, Vec<u8>)> {
        ExtensionIter::new(profile, block)
            .map(|(id, value)| (id, value.to_vec()))
            .collect()
    }

    #[test]
    fn one_byte_elements_with_padding_between() {
        let block = [0x10, 0xaa, 0, 0, 0x31, 1, 2, 0];
        assert_eq!(
            elements(ONE_BYTE_PROFILE, &block),
            [(1, vec![0xaa]), (3, vec![1, 2])]
        );
    }

    #[test]
    fn two_byte_elements_may_be_empty() {
        let block = [0, 20, 0, 15, 2, 7, 8, 0];
        let expected = [(20, vec![]), (15, vec![7, 8])];
        assert_eq!(elements(TWO_BYTE_PROFILE, &block), expected);
        assert_eq!(elements(TWO_BYTE_PROFILE | 0xf, &block), expected);
    }

    #[test]
    fn one_byte_id_15_ends_the_block() {
        let block = [0x10, 0xaa, 0xf0, 1, 0x20, 2, 0, 0];
        assert_eq!(elements(ONE_BYTE_PROFILE, &block), [(1, vec![0xaa])]);
    }

    #[test]
    fn one_byte_id_0_with_a_length_ends_the_block() {
        let block = [0x10, 0xaa, 0x02, 1, 2, 3, 0x20, 2];
        assert_eq!(elements(ONE_BYTE_PROFILE, &block), [(1, vec![0xaa])]);
    }

    #[test]
    fn an_element_longer_than_the_block_ends_it() {
        assert_eq!(
            elements(ONE_BYTE_PROFILE, &[0x10, 0xaa, 0x23, 1]),
            [(1, vec![0xaa])]
        );
        assert_eq!(elements(TWO_BYTE_PROFILE, &[1, 3, 0, 0]), []);
        assert_eq!(elements(TWO_BYTE_PROFILE, &[0, 0, 0, 1]), []);
    }

    #[test]
    fn an_unknown_profile_has_no_elements() {
        assert_eq!(elements(0x1234, &[0x10, 0xaa, 0, 0]), []);
    }

    proptest! {
        #[test]
        fn never_panics_and_ends(profile: u16, block: Vec<u8>) {
            for profile in [profile, ONE_BYTE_PROFILE, TWO_BYTE_PROFILE] {
                prop_assert!(ExtensionIter::new(profile, &block).count() <= block.len());
            }
        }
    }
}
