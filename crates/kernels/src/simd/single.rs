//! What only vectors of single precision can do, and the sigmoid, which is computed by it.
#![allow(unsafe_code)]

use super::vector::Vector;

/// A vector of single-precision numbers.
///
/// # Safety
/// As for [`Vector`].
pub unsafe trait Single: Vector<Element = f32> {
    /// `self - other`.
    ///
    /// # Safety
    /// The instruction set's target features are enabled.
    unsafe fn sub(self, other: Self) -> Self;

    /// `self / other`.
    ///
    /// # Safety
    /// The instruction set's target features are enabled.
    unsafe fn div(self, other: Self) -> Self;

    /// Rounds each lane to the nearest integer `n` and returns `(n, 2^n)`. Lanes must be within
    /// -126..=126.
    ///
    /// # Safety
    /// The instruction set's target features are enabled.
    unsafe fn round_and_power_of_two(self) -> (Self, Self);
}

/// `1 / (1 + e^-x)`, within 3e-7 of the exact value everywhere.
///
/// # Safety
/// The instruction set's target features are enabled.
#[inline(always)]
pub unsafe fn sigmoid<V: Single>(x: V) -> V {
    // SAFETY: the caller upholds this function's contract; no memory is touched.
    unsafe {
        // e^-x = 2^n * e^r with n = round(-x / ln 2) and |r| <= ln 2 / 2. Beyond +-87 the result is
        // 0 or 1 in `f32`.
        let x = V::splat(0.0).sub(x).max(V::splat(-87.0)).min(V::splat(87.0));
        let (n, power) = x.mul(V::splat(std::f32::consts::LOG2_E)).round_and_power_of_two();
        // ln 2 is split into two parts, so that n * ln 2 is subtracted without losing the low bits
        // of r.
        let r = x.fma(n, V::splat(-0.693_359_4)).fma(n, V::splat(2.121_944_4e-4));
        // A polynomial of degree 5 through the Chebyshev nodes of +-ln 2 / 2; its relative error is
        // under 1.7e-7.
        let mut p = V::splat(0.008_369_184);
        for coefficient in [0.041_917_76, 0.166_665_05, 0.499_988_68, 1.0, 1.000_000_1] {
            p = V::splat(coefficient).fma(p, r);
        }
        let one = V::splat(1.0);
        one.div(one.fma(p, power))
    }
}

/// The methods of [`Vector`] that are the same for all vectors of single precision.
macro_rules! single_methods {
    () => {
        #[inline(always)]
        unsafe fn broadcast(from: *const f32) -> Self {
            // SAFETY: the caller upholds this function's contract.
            unsafe { Self::splat(*from) }
        }
        #[inline(always)]
        unsafe fn sigmoid(self) -> Self {
            // SAFETY: as above.
            unsafe { $crate::simd::single::sigmoid(self) }
        }
        #[inline(always)]
        unsafe fn to_sum(self) -> Self {
            self
        }
        #[inline(always)]
        unsafe fn add_sums(a: Self, b: Self) -> Self {
            // SAFETY: as above.
            unsafe { a.add(b) }
        }
        #[inline(always)]
        unsafe fn add_sum_to(sum: Self, to: *mut f32, count: usize) {
            // SAFETY: as above.
            unsafe {
                if count >= Self::LANES {
                    Self::load(to).add(sum).store(to);
                } else {
                    Self::load_partial(to, count).add(sum).store_partial(to, count);
                }
            }
        }
    };
}

pub(super) use single_methods;
