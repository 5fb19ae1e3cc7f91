//! Vectors for AArch64 NEON (Advanced SIMD): four lanes, with multiplication by a lane, and a load
//! of four registers.
#![allow(unsafe_code)]

use std::arch::aarch64::*;

use super::single::{Single, single_methods};
use super::vector::Vector;

/// Four numbers in a vector register.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct F32x4(pub(crate) float32x4_t);

// SAFETY: whole loads and stores touch four numbers, their partial forms `count` numbers.
unsafe impl Vector for F32x4 {
    const LANES: usize = 4;
    type Element = f32;
    type Half = F32x4;
    type Group = float32x4_t;
    type Sum = F32x4;

    single_methods!();

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: NEON is part of AArch64. The same holds in every method below.
        unsafe { Self(vdupq_n_f32(value)) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: four numbers are readable.
        unsafe { Self(vld1q_f32(from)) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: four numbers are writable.
        unsafe { vst1q_f32(to, self.0) }
    }
    #[inline(always)]
    unsafe fn load_partial(from: *const f32, count: usize) -> Self {
        // Lane by lane, because a copy of variable length would become a call into the C library.
        // SAFETY: `count` numbers are readable.
        unsafe {
            let zero = vdupq_n_f32(0.0);
            Self(match count {
                0 => zero,
                1 => vld1q_lane_f32::<0>(from, zero),
                2 => vcombine_f32(vld1_f32(from), vdup_n_f32(0.0)),
                3 => vld1q_lane_f32::<2>(from.add(2), vcombine_f32(vld1_f32(from), vdup_n_f32(0.0))),
                _ => vld1q_f32(from),
            })
        }
    }
    #[inline(always)]
    unsafe fn store_partial(self, to: *mut f32, count: usize) {
        // SAFETY: `count` numbers are writable.
        unsafe {
            match count {
                0 => {}
                1 => vst1q_lane_f32::<0>(to, self.0),
                2 => vst1_f32(to, vget_low_f32(self.0)),
                3 => {
                    vst1_f32(to, vget_low_f32(self.0));
                    vst1q_lane_f32::<2>(to.add(2), self.0);
                }
                _ => vst1q_f32(to, self.0),
            }
        }
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: see `splat`.
        unsafe { Self(vaddq_f32(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        // SAFETY: see `splat`.
        unsafe { Self(vmulq_f32(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn fma(self, a: Self, b: Self) -> Self {
        // SAFETY: see `splat`.
        unsafe { Self(vfmaq_f32(self.0, a.0, b.0)) }
    }
    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        // SAFETY: see `splat`.
        unsafe { Self(vmaxq_f32(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn min(self, other: Self) -> Self {
        // SAFETY: see `splat`.
        unsafe { Self(vminq_f32(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn group(from: *const f32) -> Self::Group {
        // SAFETY: a group has four numbers.
        unsafe { vld1q_f32(from) }
    }
    #[inline(always)]
    unsafe fn fma_lane<const LANE: i32>(self, weights: Self, group: Self::Group) -> Self {
        // SAFETY: see `splat`.
        unsafe { Self(vfmaq_laneq_f32::<LANE>(self.0, weights.0, group)) }
    }
}

// SAFETY: no method touches memory.
unsafe impl Single for F32x4 {
    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        // SAFETY: see `splat`.
        unsafe { Self(vsubq_f32(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn div(self, other: Self) -> Self {
        // SAFETY: see `splat`.
        unsafe { Self(vdivq_f32(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn round_and_power_of_two(self) -> (Self, Self) {
        // SAFETY: see `splat`.
        unsafe {
            let n = vcvtnq_s32_f32(self.0);
            let power = vshlq_n_s32::<23>(vaddq_s32(n, vdupq_n_s32(127)));
            (Self(vcvtq_f32_s32(n)), Self(vreinterpretq_f32_s32(power)))
        }
    }
}

/// Loads 64 bytes and advances the address, in one instruction where the compiler takes five. `SET`
/// chooses the registers, so that neighbouring loads need not wait for each other.
///
/// # Safety
/// 64 bytes can be read from `at` on.
#[inline(always)]
pub(crate) unsafe fn load<const SET: usize, T>(at: &mut *const T) -> [uint8x16_t; 4] {
    macro_rules! load {
        ($registers:literal, $a:tt, $b:tt, $c:tt, $d:tt) => {{
            let [a, b, c, d];
            // SAFETY: reads 64 bytes, which the caller guarantees, and changes no other register.
            unsafe {
                std::arch::asm!(
                    concat!("ld1 {{", $registers, "}}, [{at}], #64"),
                    at = inout(reg) *at, out($a) a, out($b) b, out($c) c, out($d) d,
                    options(nostack, readonly, preserves_flags),
                );
            }
            [a, b, c, d]
        }};
    }
    match SET {
        0 => load!("v16.16b, v17.16b, v18.16b, v19.16b", "v16", "v17", "v18", "v19"),
        1 => load!("v20.16b, v21.16b, v22.16b, v23.16b", "v20", "v21", "v22", "v23"),
        2 => load!("v24.16b, v25.16b, v26.16b, v27.16b", "v24", "v25", "v26", "v27"),
        _ => load!("v28.16b, v29.16b, v30.16b, v31.16b", "v28", "v29", "v30", "v31"),
    }
}
