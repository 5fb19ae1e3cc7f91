//! One number after the other, for CPUs without vectors.
#![allow(unsafe_code)]

use super::super::bits::Block;
use super::Transform;
use super::generic::{FIRST, Lanes, SECOND, pass};
use crate::cast;

// SAFETY: no method has a precondition.
unsafe impl Lanes for i16 {
    type Wide = i32;

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        self.wrapping_add(other)
    }
    #[inline(always)]
    unsafe fn dot(self, other: Self, factors: [i16; 2]) -> i32 {
        let [a, b] = factors.map(i32::from);
        (i32::from(self) * a).wrapping_add(i32::from(other) * b)
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
    #[expect(clippy::cast_possible_truncation, reason = "clamped first")]
    unsafe fn narrow<const SHIFT: i32>(wide: i32) -> Self {
        (wide >> SHIFT).clamp(Self::MIN.into(), Self::MAX.into()) as Self
    }
}

/// The transform by columns, then by rows.
pub(in super::super) struct Portable;

// SAFETY: the transform has no precondition.
unsafe impl Transform for Portable {
    #[inline(always)]
    unsafe fn transform<const QUARTER: bool>(blocks: &[Block; 2], out: &mut [u8], stride: usize) {
        assert!(out.len() >= super::output_bytes(stride) && stride >= 16, "an output of {} bytes", out.len());
        let used = if QUARTER { 4 } else { 8 };
        for (index, block) in blocks.iter().enumerate() {
            // By rows.
            let mut between = [0_i16; 64];
            for x in 0..used {
                let mut column = [0_i16; 8];
                for (y, value) in column.iter_mut().enumerate().take(used) {
                    *value = block.0[y * 8 + x];
                }
                let result = if column[1..used].iter().all(|value| *value == 0) {
                    [column[0].saturating_mul(4); 8]
                } else {
                    // SAFETY: single numbers need no target feature.
                    unsafe { pass::<i16, QUARTER, FIRST>(column) }
                };
                for (y, value) in result.into_iter().enumerate() {
                    between[y * 8 + x] = value;
                }
            }
            for (y, row) in between.as_chunks::<8>().0.iter().enumerate() {
                // SAFETY: as above.
                let samples = unsafe { pass::<i16, QUARTER, SECOND>(*row) };
                let bytes = samples.map(|value| cast::clamped_i16(value.saturating_add(128)));
                out[y * stride + index * 8..][..8].copy_from_slice(&bytes);
            }
        }
    }
}
