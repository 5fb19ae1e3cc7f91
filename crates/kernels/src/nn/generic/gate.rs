//! The product of packed weights with a gate on the input's channels.
#![allow(unsafe_code)]

use crate::simd::Vector;

/// `to[k][n] = from[k][n] * factors[k]` for `depth` rows of `width` numbers.
///
/// # Safety
/// The pointers are valid for these numbers, `from` and `to` do not overlap, and the target features
/// are enabled. `width` is a multiple of the lanes of `V::Half`.
#[inline(always)]
pub unsafe fn gate_block<V: Vector>(
    from: *const V::Element,
    to: *mut V::Element,
    width: usize,
    factors: *const V::Element,
    depth: usize,
) {
    // SAFETY: the caller upholds this function's contract.
    unsafe {
        for k in 0..depth {
            let (from, to) = (from.add(k * width), to.add(k * width));
            let mut n = 0;
            let factor = V::broadcast(factors.add(k));
            while n + V::LANES <= width {
                V::load(from.add(n)).mul(factor).store(to.add(n));
                n += V::LANES;
            }
            let factor = V::Half::broadcast(factors.add(k));
            while n < width {
                V::Half::load(from.add(n)).mul(factor).store(to.add(n));
                n += V::Half::LANES;
            }
        }
    }
}
