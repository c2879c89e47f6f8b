//! Reading and writing single bits, the first one highest.

use super::DescriptorError;

/// Reads bits from the front of a slice.
#[derive(Clone, Debug)]
pub(super) struct BitReader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> BitReader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// How many bits were read.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Goes on at the bit `at`.
    pub(super) fn seek(&mut self, at: usize) {
        self.at = at;
    }

    pub(super) fn flag(&mut self) -> Result<bool, DescriptorError> {
        Ok(self.read(1)? != 0)
    }

    /// The next `count` bits, at most 32.
    pub(super) fn read(&mut self, count: u32) -> Result<u32, DescriptorError> {
        let mut value = 0u64;
        let mut left = count as usize;
        while left > 0 {
            let &byte = self
                .bytes
                .get(self.at / 8)
                .ok_or(DescriptorError::Truncated)?;
            let unread = 8 - self.at % 8;
            let taken = unread.min(left);
            let part = u64::from(byte) >> (unread - taken) & ((1 << taken) - 1);
            value = value << taken | part;
            self.at += taken;
            left -= taken;
        }
        Ok(value as u32)
    }

    /// A number below `limit`, which is at least 1 (`ns(n)` of the AV1 specification).
    pub(super) fn below(&mut self, limit: u32) -> Result<u32, DescriptorError> {
        let width = u32::BITS - limit.leading_zeros();
        let short = (1 << width) - limit;
        let value = self.read(width - 1)?;
        if value < short {
            return Ok(value);
        }
        Ok((value << 1) - short + self.read(1)?)
    }
}

/// Writes bits into a slice.
#[derive(Debug)]
pub(super) struct BitWriter<'a> {
    bytes: &'a mut [u8],
    at: usize,
}

impl<'a> BitWriter<'a> {
    pub(super) fn new(bytes: &'a mut [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Appends the low `count` bits of `value`; `None` if they do not fit.
    pub(super) fn write(&mut self, value: u32, count: u32) -> Option<()> {
        let mut left = count as usize;
        while left > 0 {
            let byte = self.bytes.get_mut(self.at / 8)?;
            let free = 8 - self.at % 8;
            let taken = free.min(left);
            let part = (value >> (left - taken)) as u8 & (0xff >> (8 - taken));
            if free == 8 {
                *byte = 0;
            }
            *byte |= part << (free - taken);
            self.at += taken;
            left -= taken;
        }
        Some(())
    }

    /// Bytes begun.
    pub(super) fn len(&self) -> usize {
        self.at.div_ceil(8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_below_a_limit_take_as_few_bits_as_they_can() {
        // Of five values, three take two bits and two take three.
        let mut reader = BitReader::new(&[0b0001_1011, 0b1100_0000]);
        let read: Vec<_> = (0..4).map(|_| reader.below(5).unwrap()).collect();
        assert_eq!((read, reader.at()), (vec![0, 1, 2, 4], 9));
        assert_eq!(BitReader::new(&[]).below(1), Ok(0));
    }

    #[test]
    fn written_bits_are_read_again() {
        let mut bytes = [0xff; 8];
        let mut writer = BitWriter::new(&mut bytes);
        let fields = [(1, 1), (0x1234, 16), (5, 3), (0, 2), (0xffff_ffff, 32)];
        for (value, count) in fields {
            writer.write(value, count).unwrap();
        }
        assert_eq!(writer.len(), 7);
        let mut reader = BitReader::new(&bytes);
        for (value, count) in fields {
            assert_eq!(reader.read(count), Ok(value));
        }
        assert_eq!(
            BitReader::new(&[1]).read(9),
            Err(DescriptorError::Truncated)
        );
        assert_eq!(BitWriter::new(&mut [0]).write(0, 9), None);
    }
}
