//! Vectors for x86-64 with AVX-512 F, VL, DQ and BW: sixteen lanes. The half vector has eight
//! lanes.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::avx2::F32x8;
use super::single::{Single, single_methods};
use super::vector::Vector;

/// Sixteen numbers in a ZMM register.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct F32x16(__m512);

/// A mask with the first `count` of sixteen lanes set.
#[inline(always)]
fn mask(count: usize) -> __mmask16 {
    u16::MAX.checked_shr(16 - u32::try_from(count.min(16)).unwrap_or(16)).unwrap_or(0)
}

// SAFETY: whole loads and stores touch sixteen numbers; partial ones touch only the numbers whose
// mask bit is set.
unsafe impl Vector for F32x16 {
    const LANES: usize = 16;
    type Element = f32;
    type Half = F32x8;
    type Group = *const f32;
    type Sum = F32x16;

    single_methods!();

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: the caller guarantees that AVX-512 is enabled. The same holds in every method
        // below.
        unsafe { Self(_mm512_set1_ps(value)) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: sixteen numbers are readable.
        unsafe { Self(_mm512_loadu_ps(from)) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: sixteen numbers are writable.
        unsafe { _mm512_storeu_ps(to, self.0) }
    }
    #[inline(always)]
    unsafe fn load_partial(from: *const f32, count: usize) -> Self {
        // SAFETY: only the first `count` numbers are read.
        unsafe { Self(_mm512_maskz_loadu_ps(mask(count), from)) }
    }
    #[inline(always)]
    unsafe fn store_partial(self, to: *mut f32, count: usize) {
        // SAFETY: only the first `count` numbers are written.
        unsafe { _mm512_mask_storeu_ps(to, mask(count), self.0) }
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: see `splat`.
        unsafe { Self(_mm512_add_ps(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        // SAFETY: see `splat`.
        unsafe { Self(_mm512_mul_ps(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn fma(self, a: Self, b: Self) -> Self {
        // SAFETY: see `splat`.
        unsafe { Self(_mm512_fmadd_ps(a.0, b.0, self.0)) }
    }
    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        // SAFETY: see `splat`.
        unsafe { Self(_mm512_max_ps(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn min(self, other: Self) -> Self {
        // SAFETY: see `splat`.
        unsafe { Self(_mm512_min_ps(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn group(from: *const f32) -> Self::Group {
        from
    }
    #[inline(always)]
    unsafe fn fma_lane<const LANE: i32>(self, weights: Self, group: Self::Group) -> Self {
        // SAFETY: a group has four numbers.
        unsafe { self.fma(weights, Self(_mm512_set1_ps(*group.offset(LANE as isize)))) }
    }
}

// SAFETY: no method touches memory.
unsafe impl Single for F32x16 {
    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        // SAFETY: see `splat`.
        unsafe { Self(_mm512_sub_ps(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn div(self, other: Self) -> Self {
        // SAFETY: see `splat`.
        unsafe { Self(_mm512_div_ps(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn round_and_power_of_two(self) -> (Self, Self) {
        // SAFETY: see `splat`.
        unsafe {
            let n = _mm512_cvtps_epi32(self.0);
            let power = _mm512_slli_epi32::<23>(_mm512_add_epi32(n, _mm512_set1_epi32(127)));
            (Self(_mm512_cvtepi32_ps(n)), Self(_mm512_castsi512_ps(power)))
        }
    }
}
