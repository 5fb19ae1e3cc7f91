//! Vectors for x86-64 with AVX2 and FMA: eight lanes.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::single::{Single, single_methods};
use super::vector::Vector;

/// Eight numbers in a YMM register.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct F32x8(pub(super) __m256);

/// A mask with the first `count` of eight lanes set.
#[inline(always)]
unsafe fn mask(count: usize) -> __m256i {
    static MASKS: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];
    // SAFETY: count is at most 8, so 8 numbers from 8 - count lie inside the table.
    unsafe { _mm256_loadu_si256(MASKS.as_ptr().add(8 - count.min(8)).cast()) }
}

// SAFETY: whole loads and stores touch eight numbers; partial ones touch only the numbers whose
// mask is set.
unsafe impl Vector for F32x8 {
    const LANES: usize = 8;
    type Element = f32;
    type Half = F32x8;
    type Group = *const f32;
    type Sum = F32x8;

    single_methods!();

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: the caller guarantees that AVX is enabled. The same holds in every method below.
        unsafe { Self(_mm256_set1_ps(value)) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: eight numbers are readable.
        unsafe { Self(_mm256_loadu_ps(from)) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: eight numbers are writable.
        unsafe { _mm256_storeu_ps(to, self.0) }
    }
    #[inline(always)]
    unsafe fn load_partial(from: *const f32, count: usize) -> Self {
        // SAFETY: only the first `count` numbers are read.
        unsafe { Self(_mm256_maskload_ps(from, mask(count))) }
    }
    #[inline(always)]
    unsafe fn store_partial(self, to: *mut f32, count: usize) {
        // SAFETY: only the first `count` numbers are written.
        unsafe { _mm256_maskstore_ps(to, mask(count), self.0) }
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: see `splat`.
        unsafe { Self(_mm256_add_ps(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        // SAFETY: see `splat`.
        unsafe { Self(_mm256_mul_ps(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn fma(self, a: Self, b: Self) -> Self {
        // SAFETY: see `splat`; FMA is enabled too.
        unsafe { Self(_mm256_fmadd_ps(a.0, b.0, self.0)) }
    }
    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        // SAFETY: see `splat`.
        unsafe { Self(_mm256_max_ps(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn min(self, other: Self) -> Self {
        // SAFETY: see `splat`.
        unsafe { Self(_mm256_min_ps(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn group(from: *const f32) -> Self::Group {
        from
    }
    #[inline(always)]
    unsafe fn fma_lane<const LANE: i32>(self, weights: Self, group: Self::Group) -> Self {
        // SAFETY: a group has four numbers.
        unsafe { self.fma(weights, Self(_mm256_set1_ps(*group.offset(LANE as isize)))) }
    }
}

// SAFETY: no method touches memory.
unsafe impl Single for F32x8 {
    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        // SAFETY: see `splat`.
        unsafe { Self(_mm256_sub_ps(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn div(self, other: Self) -> Self {
        // SAFETY: see `splat`.
        unsafe { Self(_mm256_div_ps(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn round_and_power_of_two(self) -> (Self, Self) {
        // SAFETY: see `splat`; AVX2 is enabled too.
        unsafe {
            let n = _mm256_cvtps_epi32(self.0);
            let power = _mm256_slli_epi32::<23>(_mm256_add_epi32(n, _mm256_set1_epi32(127)));
            (Self(_mm256_cvtepi32_ps(n)), Self(_mm256_castsi256_ps(power)))
        }
    }
}
