//! One number after the other, for CPUs without vectors.
#![allow(unsafe_code)]

use super::super::bits::Block;
use super::super::headers::ZIGZAG;
use super::generic::{FIRST, Lanes, SECOND, pass};
use super::{LAST_OF_QUARTER, Transform};
use crate::cast;

// SAFETY: no method has a precondition.
unsafe impl Lanes for i16 {
    type Wide = i32;

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        self.wrapping_add(other)
    }
    #[inline(always)]
    unsafe fn dot(self, other: Self, [a, b]: [i16; 2]) -> i32 {
        (i32::from(self) * i32::from(a)).wrapping_add(i32::from(other) * i32::from(b))
    }
    #[inline(always)]
    unsafe fn wide_add(a: i32, b: i32) -> i32 {
        a.wrapping_add(b)
    }
    #[inline(always)]
    unsafe fn wide_sub(a: i32, b: i32) -> i32 {
        a.wrapping_sub(b)
    }
    #[inline(always)]
    unsafe fn wide_splat(value: i32) -> i32 {
        value
    }
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "compared, or clamped first")]
    unsafe fn narrow<const SHIFT: i32>(wide: i32) -> Self {
        let value = wide >> SHIFT;
        let cut = value as Self;
        if i32::from(cut) == value { cut } else { value.clamp(Self::MIN.into(), Self::MAX.into()) as Self }
    }
}

/// For each index of a last coefficient in coding order, the columns up to the last one that is not
/// zero.
const COLUMNS: [u8; 64] = {
    let mut columns = [1; 64];
    let mut k = 1;
    while k < 64 {
        let column = ZIGZAG[k] % 8 + 1;
        columns[k] = if column > columns[k - 1] { column } else { columns[k - 1] };
        k += 1;
    }
    columns
};

/// The transform by columns, then by rows.
pub(in super::super) struct Portable;

// SAFETY: the transform has no precondition.
unsafe impl Transform for Portable {
    #[inline(always)]
    unsafe fn transform<const QUARTER: bool>(blocks: &[Block; 2], last: [usize; 2], out: &mut [u8], stride: usize) {
        for (number, (block, last)) in blocks.iter().zip(last).enumerate() {
            let out = &mut out[number * 8..];
            if QUARTER || last <= LAST_OF_QUARTER {
                transform::<true>(block, last, out, stride);
            } else {
                transform::<false>(block, last, out, stride);
            }
        }
    }
}

/// Transforms a block to eight rows of eight samples. With `QUARTER`, only the coefficients of its
/// first four rows and columns are not zero.
fn transform<const QUARTER: bool>(block: &Block, last: usize, out: &mut [u8], stride: usize) {
    let used = if QUARTER { 4 } else { 8 };
    // By rows.
    let mut between = [0_i16; 64];
    for x in 0..usize::from(COLUMNS[last]).min(used) {
        let mut column = [0_i16; 8];
        for (y, value) in column.iter_mut().enumerate().take(used) {
            *value = block.0[y * 8 + x];
        }
        if column[1..used].iter().all(|value| *value == 0) {
            let value = column[0].saturating_mul(4);
            for y in 0..8 {
                between[y * 8 + x] = value;
            }
        } else {
            // SAFETY: single numbers need no target feature.
            unsafe {
                let wide = pass::<i16, QUARTER, FIRST>(column);
                for y in 0..8 {
                    between[y * 8 + x] = i16::narrow::<FIRST>(wide[y]);
                }
            }
        }
    }
    for (y, row) in between.as_chunks::<8>().0.iter().enumerate() {
        // SAFETY: as above.
        let samples = unsafe { pass::<i16, QUARTER, SECOND>(*row) };
        for (to, sample) in out[y * stride..][..8].iter_mut().zip(samples) {
            *to = byte((sample >> SECOND) + 128);
        }
    }
}

/// A sample, clamped to 0..=255. Most need no clamping.
#[inline(always)]
fn byte(sample: i32) -> u8 {
    u8::try_from(sample).unwrap_or_else(|_| cast::clamped(sample))
}
