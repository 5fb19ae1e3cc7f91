//! The loops of blending for 64-bit Arm, where the compiler's code for the plain loops is slower.
#![allow(unsafe_code)]

use std::arch::aarch64::*;

use crate::simd::{Isa, Usable};

/// Replaces whole vectors of values by their entries in the table, if `isa` has vectors. Returns the
/// values that are left.
pub(super) fn look_up<'a>(isa: Usable, table: &[u8; 256], values: &'a mut [u8]) -> &'a mut [u8] {
    if isa.isa() != Isa::Neon {
        return values;
    }
    let (vectors, rest) = values.as_chunks_mut::<16>();
    // SAFETY: NEON belongs to the base of the architecture; the table has four times 64 entries, and
    // each vector 16 values.
    unsafe {
        let quarters: [uint8x16x4_t; 4] = std::array::from_fn(|i| vld1q_u8_x4(table.as_ptr().add(64 * i)));
        let quarter = vdupq_n_u8(64);
        for values in vectors {
            let mut index = vld1q_u8(values.as_ptr());
            // A lookup outside of a quarter gives 0 in the first, and leaves the result in the others.
            let mut found = vqtbl4q_u8(quarters[0], index);
            for &entries in &quarters[1..] {
                index = vsubq_u8(index, quarter);
                found = vqtbx4q_u8(found, entries, index);
            }
            vst1q_u8(values.as_mut_ptr(), found);
        }
    }
    rest
}
