//! The inverse discrete cosine transform of two blocks side by side (T.81, A.3.3).
//!
//! The arithmetic is that of Loeffler, Ligtenberg and Moschytz with 12 multiplications, in integers
//! with 13 fractional bits: to the bit the "accurate integer" method of libjpeg and libjpeg-turbo
//! (`islow`). Every instruction set gives the same results.

#[cfg(target_arch = "x86_64")]
pub(super) mod avx2;
mod generic;
#[cfg(target_arch = "aarch64")]
pub(super) mod neon;
#[cfg(test)]
pub(super) mod oracle;
#[cfg(any(test, not(target_arch = "x86_64")))]
pub(super) mod portable;
#[cfg(target_arch = "x86_64")]
pub(super) mod sse2;
#[cfg(test)]
mod tests;

use super::bits::Block;
use crate::cast;

/// The last coefficient in coding order of a block whose other coefficients lie in its first four
/// rows and columns.
const LAST_OF_QUARTER: usize = 9;

/// The length of an output of [`transform`] with rows `stride` bytes apart.
pub(super) const fn output_bytes(stride: usize) -> usize {
    7 * stride + 16
}

/// The transform of an instruction set.
///
/// # Safety
/// [`Transform::transform`] writes to nothing but its output.
#[allow(unsafe_code, reason = "the instruction set is the caller's promise")]
pub(super) unsafe trait Transform {
    /// Transforms two blocks to eight rows of 16 samples. `last` are the indices of their last
    /// coefficients in coding order. With `QUARTER`, they are at most [`LAST_OF_QUARTER`].
    ///
    /// # Safety
    /// The target features are enabled, and `out` has at least [`output_bytes`].
    unsafe fn transform<const QUARTER: bool>(blocks: &[Block; 2], last: [usize; 2], out: &mut [u8], stride: usize);
}

/// Transforms two blocks to eight rows of 16 samples: those of the first block and, right of them,
/// those of the second. `last` are the indices of their last coefficients in coding order.
///
/// # Panics
/// If `out` is shorter than [`output_bytes`].
///
/// # Safety
/// The target features of `T` are enabled.
#[allow(unsafe_code, reason = "the instruction set is the caller's promise")]
#[inline(always)]
pub(super) unsafe fn transform<T: Transform>(blocks: &[Block; 2], last: [usize; 2], out: &mut [u8], stride: usize) {
    assert!(out.len() >= output_bytes(stride) && stride >= 16, "an output of {} bytes", out.len());
    let greatest = last[0].max(last[1]);
    if greatest == 0 {
        let values = blocks.each_ref().map(|block| flat(block.0[0]));
        for y in 0..8 {
            let (first, second) = out[y * stride..][..16].split_at_mut(8);
            first.fill(values[0]);
            second.fill(values[1]);
        }
        return;
    }
    // SAFETY: the caller promises the target features, and the output is long enough.
    unsafe {
        if greatest <= LAST_OF_QUARTER {
            T::transform::<true>(blocks, last, out, stride);
        } else {
            T::transform::<false>(blocks, last, out, stride);
        }
    }
}

/// The samples of a block whose only coefficient is `dc`.
#[inline(always)]
fn flat(dc: i16) -> u8 {
    cast::clamped(((i32::from(dc) + 4) >> 3) + 128)
}
