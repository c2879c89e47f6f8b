//! Big-endian reads that return `None` past the end.

/// The big-endian 16-bit number at `at`.
#[inline]
pub(crate) fn u16_at(buf: &[u8], at: usize) -> Option<u16> {
    let bytes = buf.get(at..)?.first_chunk()?;
    Some(u16::from_be_bytes(*bytes))
}

/// The big-endian 32-bit number at `at`.
#[inline]
pub(crate) fn u32_at(buf: &[u8], at: usize) -> Option<u32> {
    let bytes = buf.get(at..)?.first_chunk()?;
    Some(u32::from_be_bytes(*bytes))
}

/// The big-endian 64-bit number at `at`.
#[inline]
pub(crate) fn u64_at(buf: &[u8], at: usize) -> Option<u64> {
    let bytes = buf.get(at..)?.first_chunk()?;
    Some(u64::from_be_bytes(*bytes))
}
