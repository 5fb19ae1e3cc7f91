//! The vector of one lane: a plain `f32`.
#![allow(unsafe_code)]

use super::single::{Single, single_methods};
use super::vector::Vector;

// SAFETY: `load` and `store` touch one number, and their partial forms `count` numbers, 0 or 1.
unsafe impl Vector for f32 {
    const LANES: usize = 1;
    type Element = f32;
    type Half = f32;
    type Group = *const f32;
    type Sum = f32;

    single_methods!();

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        value
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller upholds this function's contract.
        unsafe { *from }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller upholds this function's contract.
        unsafe { *to = self }
    }
    #[inline(always)]
    unsafe fn load_partial(from: *const f32, count: usize) -> Self {
        // SAFETY: the caller upholds this function's contract; nothing is read for a count of 0.
        if count > 0 { unsafe { *from } } else { 0.0 }
    }
    #[inline(always)]
    unsafe fn store_partial(self, to: *mut f32, count: usize) {
        if count > 0 {
            // SAFETY: the caller upholds this function's contract.
            unsafe { *to = self }
        }
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        self + other
    }
    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        self * other
    }
    #[inline(always)]
    unsafe fn fma(self, a: Self, b: Self) -> Self {
        // On other architectures `mul_add` may be a call into the C library.
        if cfg!(any(target_arch = "riscv64", target_arch = "aarch64")) { a.mul_add(b, self) } else { self + a * b }
    }
    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        if cfg!(any(target_arch = "riscv64", target_arch = "aarch64")) {
            f32::max(self, other)
        } else if self > other {
            self
        } else {
            other
        }
    }
    #[inline(always)]
    unsafe fn min(self, other: Self) -> Self {
        if cfg!(any(target_arch = "riscv64", target_arch = "aarch64")) {
            f32::min(self, other)
        } else if self < other {
            self
        } else {
            other
        }
    }
    #[inline(always)]
    unsafe fn group(from: *const f32) -> Self::Group {
        from
    }
    #[inline(always)]
    unsafe fn fma_lane<const LANE: i32>(self, weights: Self, group: Self::Group) -> Self {
        // SAFETY: a group has four numbers.
        unsafe { self.fma(weights, *group.offset(LANE as isize)) }
    }
}

// SAFETY: no method touches memory.
unsafe impl Single for f32 {
    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        self - other
    }
    #[inline(always)]
    unsafe fn div(self, other: Self) -> Self {
        self / other
    }
    #[inline(always)]
    unsafe fn round_and_power_of_two(self) -> (Self, Self) {
        // Adding 1.5 * 2^23 leaves the rounded integer in the low bits, for either sign.
        let shifted = self + 12_582_912.0;
        let n = shifted - 12_582_912.0;
        (n, f32::from_bits(shifted.to_bits().wrapping_add(127) << 23))
    }
}
