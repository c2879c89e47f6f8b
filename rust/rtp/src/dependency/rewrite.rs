//! A descriptor with another frame number and other active decode targets.

use super::bits::{BitReader, BitWriter};
use super::{DescriptorLayout, FLAGS_END};

const HAS_MASK: u32 = 0x08;

/// Writes the descriptor `value`, which `layout` is of, into `out` with another frame number and
/// with the decode targets of `active` as the active ones. Returns its length: that of `value` and
/// at most 5 bytes more. `None` if it does not fit, or `layout` is of another descriptor.
#[inline]
pub fn rewrite(
    value: &[u8],
    layout: &DescriptorLayout,
    frame_number: u16,
    active: u32,
    out: &mut [u8],
) -> Option<usize> {
    let mut input = BitReader::new(value);
    let mut output = BitWriter::new(out);
    output.write(input.read(8).ok()?, 8)?;
    output.write(frame_number.into(), 16)?;
    let extended = value.len() > 3;
    let flags = match extended {
        true => {
            input.seek(24);
            input.read(5).ok()?
        }
        false => 0,
    };
    output.write(flags | HAS_MASK, 5)?;
    copy(&mut input, FLAGS_END, layout.mask, &mut output)?;
    output.write(active, layout.targets.into())?;
    copy(&mut input, layout.rest.into(), layout.end, &mut output)?;
    Some(output.len())
}

/// Copies the bits from `from` up to `to`.
fn copy(input: &mut BitReader<'_>, from: usize, to: u16, output: &mut BitWriter<'_>) -> Option<()> {
    input.seek(from);
    let mut left = usize::from(to).checked_sub(from)?;
    while left > 0 {
        let count = left.min(32) as u32;
        output.write(input.read(count).ok()?, count)?;
        left -= count as usize;
    }
    Some(())
}
