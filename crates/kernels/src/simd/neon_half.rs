//! Vectors for AArch64 NEON with half precision (FEAT_FP16, optional since ARMv8.2): eight lanes.
//!
//! The compiler's type for half precision is not stable, so a vector holds bits, and each operation
//! is one instruction of inline assembly. The compiler still chooses the registers.
#![allow(unsafe_code)]

use std::arch::aarch64::*;
use std::arch::asm;

use super::element::F16;
use super::neon::F32x4;
use super::single::sigmoid;
use super::vector::Vector;

/// Eight numbers of half precision in a vector register.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct F16x8(pub(crate) uint16x8_t);

/// An instruction with two operands.
macro_rules! binary {
    ($instruction:literal, $a:expr, $b:expr) => {{
        let result: uint16x8_t;
        // SAFETY: the caller guarantees that the CPU has half precision; no memory is touched.
        unsafe {
            asm!(
                concat!($instruction, " {result:v}.8h, {a:v}.8h, {b:v}.8h"),
                result = lateout(vreg) result, a = in(vreg) $a.0, b = in(vreg) $b.0,
                options(pure, nomem, nostack, preserves_flags)
            );
        }
        Self(result)
    }};
}

impl F16x8 {
    /// The lanes in single precision.
    #[inline(always)]
    unsafe fn widen(self) -> [F32x4; 2] {
        let (low, high): (float32x4_t, float32x4_t);
        // SAFETY: the instructions are part of the base of AArch64; no memory is touched.
        unsafe {
            asm!("fcvtl {to:v}.4s, {from:v}.4h", to = lateout(vreg) low, from = in(vreg) self.0,
                options(pure, nomem, nostack, preserves_flags));
            asm!("fcvtl2 {to:v}.4s, {from:v}.8h", to = lateout(vreg) high, from = in(vreg) self.0,
                options(pure, nomem, nostack, preserves_flags));
        }
        [F32x4(low), F32x4(high)]
    }

    /// The nearest numbers of half precision.
    #[inline(always)]
    unsafe fn narrow([low, high]: [F32x4; 2]) -> Self {
        let result: uint16x8_t;
        // SAFETY: as above.
        unsafe {
            asm!("fcvtn {to:v}.4h, {low:v}.4s", "fcvtn2 {to:v}.8h, {high:v}.4s",
                to = out(vreg) result, low = in(vreg) low.0, high = in(vreg) high.0,
                options(pure, nomem, nostack, preserves_flags));
        }
        Self(result)
    }
}

// SAFETY: whole loads and stores touch eight numbers, their partial forms `count` numbers.
unsafe impl Vector for F16x8 {
    const LANES: usize = 8;
    type Element = F16;
    type Half = F16x8;
    type Group = uint16x4_t;
    type Sum = [F32x4; 2];

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: NEON is part of AArch64, and the caller guarantees half precision. The same holds
        // in every method below.
        unsafe { Self(vdupq_n_u16(F16::nearest(value).to_bits())) }
    }
    #[inline(always)]
    unsafe fn broadcast(from: *const F16) -> Self {
        // SAFETY: a number is readable.
        unsafe { Self(vld1q_dup_u16(from.cast())) }
    }
    #[inline(always)]
    unsafe fn load(from: *const F16) -> Self {
        // SAFETY: eight numbers are readable.
        unsafe { Self(vld1q_u16(from.cast())) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut F16) {
        // SAFETY: eight numbers are writable.
        unsafe { vst1q_u16(to.cast(), self.0) }
    }
    #[inline(always)]
    unsafe fn load_partial(from: *const F16, count: usize) -> Self {
        if count >= 8 {
            // SAFETY: eight numbers are readable.
            return unsafe { Self::load(from) };
        }
        // By powers of two, because a copy of variable length would become a call into the C
        // library.
        let mut lanes = [0_u16; 8];
        let (mut at, mut to) = (from.cast::<u8>(), lanes.as_mut_ptr().cast::<u8>());
        for bytes in [8_usize, 4, 2] {
            if 2 * count & bytes != 0 {
                // SAFETY: the parts make up `count` numbers, fewer than eight.
                unsafe {
                    match bytes {
                        8 => to.cast::<[u8; 8]>().write(at.cast::<[u8; 8]>().read()),
                        4 => to.cast::<[u8; 4]>().write(at.cast::<[u8; 4]>().read()),
                        _ => to.cast::<[u8; 2]>().write(at.cast::<[u8; 2]>().read()),
                    }
                    (at, to) = (at.add(bytes), to.add(bytes));
                }
            }
        }
        // SAFETY: there are eight lanes.
        unsafe { Self(vld1q_u16(lanes.as_ptr())) }
    }
    #[inline(always)]
    unsafe fn store_partial(self, to: *mut F16, count: usize) {
        if count >= 8 {
            // SAFETY: eight numbers are writable.
            return unsafe { self.store(to) };
        }
        // SAFETY: the parts make up `count` numbers, fewer than eight.
        unsafe {
            let mut to = to.cast::<u16>();
            let mut lanes = self.0;
            if count & 4 != 0 {
                vst1_u16(to, vget_low_u16(lanes));
                lanes = vextq_u16::<4>(lanes, lanes);
                to = to.add(4);
            }
            if count & 2 != 0 {
                vst1q_lane_u16::<0>(to, lanes);
                vst1q_lane_u16::<1>(to.add(1), lanes);
                lanes = vextq_u16::<2>(lanes, lanes);
                to = to.add(2);
            }
            if count & 1 != 0 {
                vst1q_lane_u16::<0>(to, lanes);
            }
        }
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        binary!("fadd", self, other)
    }
    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        binary!("fmul", self, other)
    }
    #[inline(always)]
    unsafe fn fma(self, a: Self, b: Self) -> Self {
        let mut result = self.0;
        // SAFETY: see `splat`.
        unsafe {
            asm!("fmla {result:v}.8h, {a:v}.8h, {b:v}.8h",
                result = inout(vreg) result, a = in(vreg) a.0, b = in(vreg) b.0,
                options(pure, nomem, nostack, preserves_flags));
        }
        Self(result)
    }
    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        binary!("fmax", self, other)
    }
    #[inline(always)]
    unsafe fn min(self, other: Self) -> Self {
        binary!("fmin", self, other)
    }
    #[inline(always)]
    unsafe fn group(from: *const F16) -> Self::Group {
        // SAFETY: a group has four numbers.
        unsafe { vld1_u16(from.cast()) }
    }
    #[inline(always)]
    unsafe fn fma_lane<const LANE: i32>(self, weights: Self, group: Self::Group) -> Self {
        let mut result = self.0;
        // SAFETY: see `splat`. A lane of 16 bits can only be taken from the first 16 registers.
        unsafe {
            asm!("fmla {result:v}.8h, {weights:v}.8h, {group:v}.h[{lane}]",
                result = inout(vreg) result, weights = in(vreg) weights.0, group = in(vreg_low16) group,
                lane = const LANE, options(pure, nomem, nostack, preserves_flags));
        }
        Self(result)
    }
    #[inline(always)]
    unsafe fn sigmoid(self) -> Self {
        // SAFETY: see `splat`.
        unsafe { Self::narrow(self.widen().map(|half| sigmoid(half))) }
    }
    #[inline(always)]
    unsafe fn to_sum(self) -> Self::Sum {
        // SAFETY: see `splat`.
        unsafe { self.widen() }
    }
    #[inline(always)]
    unsafe fn add_sums(a: Self::Sum, b: Self::Sum) -> Self::Sum {
        // SAFETY: see `splat`.
        unsafe { [a[0].add(b[0]), a[1].add(b[1])] }
    }
    #[inline(always)]
    unsafe fn add_sum_to(sum: Self::Sum, to: *mut f32, count: usize) {
        let [low, high] = sum;
        // SAFETY: the parts make up `count` numbers.
        unsafe {
            F32x4::add_sum_to(low, to, count.min(4));
            if count > 4 {
                F32x4::add_sum_to(high, to.add(4), count - 4);
            }
        }
    }
}
