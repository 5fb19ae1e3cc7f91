//! Rows of one block in a NEON register, on 64-bit Arm.
#![allow(unsafe_code)]

use std::arch::aarch64::*;

use super::super::bits::Block;
use super::generic::{Lanes, Rows, WithRows};

/// Eight numbers.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(in super::super) struct I16x8(int16x8_t);

/// The transform of one block after the other.
pub(in super::super) type Neon = WithRows<I16x8>;

// SAFETY: the methods are intrinsics of NEON.
unsafe impl Lanes for I16x8 {
    /// The numbers 0-3, and 4-7.
    type Wide = [int32x4_t; 2];

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: NEON is part of the base of AArch64. The same holds in every method below.
        unsafe { Self(vaddq_s16(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn dot(self, other: Self, [a, b]: [i16; 2]) -> [int32x4_t; 2] {
        // SAFETY: see `add`.
        unsafe {
            [
                vmlal_n_s16(vmull_n_s16(vget_low_s16(self.0), a), vget_low_s16(other.0), b),
                vmlal_high_n_s16(vmull_high_n_s16(self.0, a), other.0, b),
            ]
        }
    }
    #[inline(always)]
    unsafe fn wide_add(a: [int32x4_t; 2], b: [int32x4_t; 2]) -> [int32x4_t; 2] {
        // SAFETY: see `add`.
        unsafe { [vaddq_s32(a[0], b[0]), vaddq_s32(a[1], b[1])] }
    }
    #[inline(always)]
    unsafe fn wide_sub(a: [int32x4_t; 2], b: [int32x4_t; 2]) -> [int32x4_t; 2] {
        // SAFETY: see `add`.
        unsafe { [vsubq_s32(a[0], b[0]), vsubq_s32(a[1], b[1])] }
    }
    #[inline(always)]
    unsafe fn wide_splat(value: i32) -> [int32x4_t; 2] {
        // SAFETY: see `add`.
        unsafe { [vdupq_n_s32(value); 2] }
    }
    #[inline(always)]
    unsafe fn narrow<const SHIFT: i32>(wide: [int32x4_t; 2]) -> Self {
        // SAFETY: see `add`.
        unsafe {
            let [low, high] = [vshrq_n_s32::<SHIFT>(wide[0]), vshrq_n_s32::<SHIFT>(wide[1])];
            Self(vqmovn_high_s32(vqmovn_s32(low), high))
        }
    }
}

// SAFETY: a load reads one row of a block; a store writes eight bytes at each row.
unsafe impl Rows for I16x8 {
    const BLOCKS: usize = 1;

    #[inline(always)]
    unsafe fn load(blocks: &[Block], y: usize) -> Self {
        // SAFETY: a row lies inside its block.
        unsafe { Self(vld1q_s16(blocks[0].0.as_ptr().add(y * 8))) }
    }
    #[inline(always)]
    unsafe fn transpose(rows: [Self; 8]) -> [Self; 8] {
        let [Self(a), Self(b), Self(c), Self(d), Self(e), Self(f), Self(g), Self(h)] = rows;
        // SAFETY: see `add`.
        unsafe {
            let pairs = [[a, b], [c, d], [e, f], [g, h]].map(|[upper, lower]| {
                [vreinterpretq_s32_s16(vtrn1q_s16(upper, lower)), vreinterpretq_s32_s16(vtrn2q_s16(upper, lower))]
            });
            let mut columns = [Self(a); 8];
            for odd in 0..2 {
                let quads = [[0, 1], [2, 3]].map(|[upper, lower]| {
                    [
                        vreinterpretq_s64_s32(vtrn1q_s32(pairs[upper][odd], pairs[lower][odd])),
                        vreinterpretq_s64_s32(vtrn2q_s32(pairs[upper][odd], pairs[lower][odd])),
                    ]
                });
                for second in 0..2 {
                    let [upper, lower] = [quads[0][second], quads[1][second]];
                    columns[second * 2 + odd] = Self(vreinterpretq_s16_s64(vtrn1q_s64(upper, lower)));
                    columns[second * 2 + odd + 4] = Self(vreinterpretq_s16_s64(vtrn2q_s64(upper, lower)));
                }
            }
            columns
        }
    }
    #[inline(always)]
    unsafe fn store(rows: [Self; 8], out: *mut u8, stride: usize) {
        // SAFETY: the caller promises eight writable bytes at each row.
        unsafe {
            for (y, row) in rows.into_iter().enumerate() {
                // Saturated to -128..=127, then moved to 0..=255.
                let bytes = veor_u8(vreinterpret_u8_s8(vqmovn_s16(row.0)), vdup_n_u8(0x80));
                vst1_u8(out.add(y * stride), bytes);
            }
        }
    }
}
