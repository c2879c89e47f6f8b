//! Redundant audio (RFC 2198): the payload of a packet together with those of some before it.

/// Redundant blocks that are read. Senders put in one or two; a payload with more is refused.
const MAX_BLOCKS: usize = 8;

/// A block is shorter than this many bytes: its length has 10 bits.
pub const MAX_BLOCK_LEN: usize = 1 << 10;

/// A redundant block is less than this many ticks older than the primary one: its offset has 14
/// bits.
pub const MAX_OFFSET: u32 = 1 << 14;

/// A block of an earlier packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RedundantBlock<'a> {
    /// How much older it is, in ticks of the clock.
    pub timestamp_offset: u32,
    /// Its payload.
    pub data: &'a [u8],
}

/// A parsed payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RedPayload<'a> {
    blocks: [RedundantBlock<'a>; MAX_BLOCKS],
    count: usize,
    primary: &'a [u8],
}

impl<'a> RedPayload<'a> {
    /// Parses a payload; `None` if it is cut off or has too many blocks.
    #[inline]
    pub fn parse(payload: &'a [u8]) -> Option<Self> {
        let mut blocks = [RedundantBlock::default(); MAX_BLOCKS];
        let mut lengths = [0; MAX_BLOCKS];
        let mut count = 0;
        let mut rest = payload;
        while *rest.first()? & 0x80 != 0 {
            let header = u32::from_be_bytes(*rest.first_chunk()?);
            blocks.get_mut(count)?.timestamp_offset = header >> 10 & (MAX_OFFSET - 1);
            lengths[count] = header as usize & (MAX_BLOCK_LEN - 1);
            count += 1;
            rest = &rest[4..];
        }
        rest = &rest[1..];
        for (block, len) in blocks.iter_mut().zip(lengths).take(count) {
            (block.data, rest) = rest.split_at_checked(len)?;
        }
        Some(Self {
            blocks,
            count,
            primary: rest,
        })
    }

    /// The packet's own payload.
    pub fn primary(&self) -> &'a [u8] {
        self.primary
    }

    /// The payload of the packet `back` numbers before, if it is here and not empty. Senders leave
    /// none out, so blocks are counted from the last one.
    pub fn earlier(&self, back: usize) -> Option<RedundantBlock<'a>> {
        let index = self.count.checked_sub(back)?;
        let block = self.blocks[..self.count].get(index)?;
        (!block.data.is_empty()).then_some(*block)
    }
}

/// Writes a payload: `earlier` are oldest first, each block said to be of `payload_type`. Returns
/// its length, or `None` if it does not fit or a block cannot be said.
#[inline]
pub fn write_red(
    buf: &mut [u8],
    payload_type: u8,
    earlier: &[RedundantBlock<'_>],
    primary: &[u8],
) -> Option<usize> {
    let mut at = 0;
    for block in earlier {
        if block.timestamp_offset >= MAX_OFFSET || block.data.len() >= MAX_BLOCK_LEN {
            return None;
        }
        let header = u32::from(0x80 | payload_type) << 24
            | block.timestamp_offset << 10
            | block.data.len() as u32;
        buf.get_mut(at..at + 4)?
            .copy_from_slice(&header.to_be_bytes());
        at += 4;
    }
    *buf.get_mut(at)? = payload_type & 0x7f;
    at += 1;
    for data in earlier.iter().map(|block| block.data).chain([primary]) {
        buf.get_mut(at..at + data.len())?.copy_from_slice(data);
        at += data.len();
    }
    Some(at)
}

/// Writes `payload_type` into the headers of all blocks of a payload.
#[inline]
pub fn set_payload_type(payload: &mut [u8], payload_type: u8) {
    let mut at = 0;
    while let Some(header) = payload.get_mut(at) {
        let more = *header & 0x80;
        *header = more | payload_type & 0x7f;
        if more == 0 {
            return;
        }
        at += 4;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn block(timestamp_offset: u32, data: &[u8]) -> RedundantBlock<'_> {
        RedundantBlock {
            timestamp_offset,
            data,
        }
    }

    #[test]
    fn reads_the_layout_of_the_rfc() {
        let payload = [0xef, 0x0f, 0x00, 0x02, 0x6f, 1, 2, 3];
        let red = RedPayload::parse(&payload).unwrap();
        assert_eq!(red.primary(), [3]);
        assert_eq!(red.earlier(1), Some(block(960, &[1, 2])));
        assert_eq!((red.earlier(0), red.earlier(2)), (None, None));
        let cut = |len| RedPayload::parse(&payload[..len]);
        assert!((0..7).all(|len| cut(len).is_none()));
        // The primary block may be empty.
        assert_eq!(cut(7).unwrap().primary(), []);
        assert_eq!(RedPayload::parse(&[0x80; 60]), None);
    }

    #[test]
    fn says_only_what_it_can() {
        let mut buf = [0; 2000];
        let long = [0; MAX_BLOCK_LEN];
        assert_eq!(write_red(&mut buf, 111, &[block(0, &long)], &[]), None);
        assert_eq!(write_red(&mut buf, 111, &[block(1 << 14, &[1])], &[]), None);
        assert_eq!(write_red(&mut buf[..5], 111, &[block(1, &[1])], &[2]), None);
        assert_eq!(write_red(&mut buf, 111, &[], &long), Some(1025));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            first in prop::collection::vec(any::<u8>(), 1..100),
            second in prop::collection::vec(any::<u8>(), 1..100),
            primary: Vec<u8>, offsets in (0..MAX_OFFSET, 0..MAX_OFFSET),
        ) {
            let earlier = [block(offsets.0, &first), block(offsets.1, &second)];
            let mut buf = [0; 1000];
            let len = write_red(&mut buf, 111, &earlier, &primary).unwrap();
            set_payload_type(&mut buf[..len], 109);
            let red = RedPayload::parse(&buf[..len]).unwrap();
            prop_assert_eq!(red.primary(), &primary[..]);
            prop_assert_eq!(red.earlier(1), Some(earlier[1]));
            prop_assert_eq!(red.earlier(2), Some(earlier[0]));
            prop_assert_eq!((buf[0], buf[4], buf[8]), (0x80 | 109, 0x80 | 109, 109));
        }

        #[test]
        fn never_panics(mut payload: Vec<u8>) {
            if let Some(red) = RedPayload::parse(&payload) {
                for back in 0..20 {
                    let _ = red.earlier(back);
                }
            }
            set_payload_type(&mut payload, 111);
        }
    }
}
