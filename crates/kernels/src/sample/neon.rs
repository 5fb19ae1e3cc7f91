//! The loops of the sampler for 64-bit Arm. The results are the same to the bit as those of the
//! plain loops.
#![allow(unsafe_code)]

use std::arch::aarch64::*;

use super::Conversion;
use super::area::Weighted;
use crate::simd::neon::load;
use crate::simd::{Isa, Usable};

/// Whether these loops may run. NEON belongs to the base of the architecture, but another
/// instruction set may have been asked for.
pub(super) fn available(isa: Usable) -> bool {
    isa.isa() == Isa::Neon
}

/// A number of fractional bits as the count of a shift.
///
/// # Panics
/// If it is more than 7.
fn fractional(bits: u32) -> i16 {
    assert!(bits < 8, "sums have at most seven fractional bits");
    i16::try_from(bits).unwrap_or(0)
}

/// The sums of whole rows with `bits` fractional bits, plus what `out` holds if `ADD` is set.
/// Returns the number of columns that were computed.
///
/// # Panics
/// If a row is shorter than `out`.
pub(super) fn sum<const INNER: usize, const ADD: bool>(rows: [&[u8]; INNER], bits: u32, out: &mut [i16]) -> usize {
    assert!(rows.iter().all(|row| row.len() >= out.len()), "every row must be as long as the output");
    let blocks = out.as_chunks_mut::<64>().0;
    let done = blocks.len() * 64;
    let mut rows = rows.map(<[u8]>::as_ptr);
    // SAFETY: there are 64 outputs in a block, and as many bytes in each row.
    unsafe {
        let shift = vdupq_n_s16(fractional(bits));
        for out in blocks {
            let mut sums = [vdupq_n_u16(0); 8];
            for (index, row) in rows.iter_mut().enumerate() {
                let bytes = if index % 2 == 0 { load::<0, _>(row) } else { load::<1, _>(row) };
                for (sums, bytes) in sums.as_chunks_mut::<2>().0.iter_mut().zip(bytes) {
                    *sums = if index == 0 {
                        [vmovl_u8(vget_low_u8(bytes)), vmovl_high_u8(bytes)]
                    } else {
                        [vaddw_u8(sums[0], vget_low_u8(bytes)), vaddw_high_u8(sums[1], bytes)]
                    };
                }
            }
            for (sums, out) in sums.as_chunks::<4>().0.iter().zip(out.as_chunks_mut::<32>().0) {
                let [a, b, c, d] = sums.map(|sum| vreinterpretq_s16_u16(vshlq_u16(sum, shift)));
                let mut sums = int16x8x4_t(a, b, c, d);
                if ADD {
                    let before = vld1q_s16_x4(out.as_ptr());
                    sums = int16x8x4_t(
                        vaddq_s16(a, before.0),
                        vaddq_s16(b, before.1),
                        vaddq_s16(c, before.2),
                        vaddq_s16(d, before.3),
                    );
                }
                vst1q_s16_x4(out.as_mut_ptr(), sums);
            }
        }
    }
    done
}

/// The sums of two weighted rows and of whole ones, with `bits` fractional bits. Returns the number
/// of columns that were computed.
///
/// # Panics
/// If a row is shorter than `out`.
pub(super) fn sum_edged<const INNER: usize>(
    edge_rows: [&[u8]; 2],
    edges: [Weighted; 2],
    rows: [&[u8]; INNER],
    bits: u32,
    out: &mut [i16],
) -> usize {
    assert!(rows.iter().chain(&edge_rows).all(|row| row.len() >= out.len()), "rows as long as the output");
    let [first, second] = edges;
    let whole = first.whole != 0 || second.whole != 0;
    let fine = first.fraction % 256 != 0 || second.fraction % 256 != 0;
    // SAFETY: no row is shorter than the output.
    unsafe {
        match (whole, fine, first.fraction, second.fraction) {
            // An edge that counts nothing, or is among the whole rows, is not read.
            (false, false, _, 0) => edged::<INNER, 1, false, false>([edge_rows[0]], [first], rows, bits, out),
            (false, false, 0, _) => edged::<INNER, 1, false, false>([edge_rows[1]], [second], rows, bits, out),
            (false, ..) => edged::<INNER, 2, false, true>(edge_rows, edges, rows, bits, out),
            (true, ..) => edged::<INNER, 2, true, true>(edge_rows, edges, rows, bits, out),
        }
    }
}

/// [`sum_edged`] for `EDGES` weighted rows. `WHOLE`: whether their weights may be 1 or more. `FINE`:
/// whether their fractions have more than eight bits.
///
/// # Safety
/// No row is shorter than `out`.
#[target_feature(enable = "neon")]
unsafe fn edged<const INNER: usize, const EDGES: usize, const WHOLE: bool, const FINE: bool>(
    edge_rows: [&[u8]; EDGES],
    edges: [Weighted; EDGES],
    rows: [&[u8]; INNER],
    bits: u32,
    out: &mut [i16],
) -> usize {
    let (blocks, _) = out.as_chunks_mut::<16>();
    let done = blocks.len() * 16;
    let (up, down) = (vdupq_n_s16(fractional(bits)), vdupq_n_s16(fractional(bits) - 7));
    let half = vdupq_n_u16((1 << (7 - bits)) / 2);
    for (block, out) in blocks.iter_mut().enumerate() {
        let bytes = |row: &[u8]| {
            // SAFETY: no row is shorter than the output.
            let bytes = unsafe { vld1q_u8(row.as_ptr().add(16 * block)) };
            [vget_low_u8(bytes), vget_high_u8(bytes)]
        };
        let edge_bytes = edge_rows.map(bytes);
        let row_bytes = rows.map(bytes);
        let mut sums = [vdupq_n_s16(0); 2];
        for (side, sum) in sums.iter_mut().enumerate() {
            let mut fractions = half;
            let mut whole = vdupq_n_u16(0);
            for row in row_bytes {
                whole = vaddw_u8(whole, row[side]);
            }
            whole = vshlq_u16(whole, up);
            for (bytes, edge) in edge_bytes.iter().zip(&edges) {
                let [low, high] = edge.fraction.to_le_bytes();
                // The product without its last eight bits.
                let mut product = vmull_u8(bytes[side], vdup_n_u8(high));
                if FINE {
                    product = vsraq_n_u16::<8>(product, vmull_u8(bytes[side], vdup_n_u8(low)));
                }
                fractions = vsraq_n_u16::<1>(fractions, product);
                if WHOLE {
                    whole = vmlaq_n_u16(whole, vmovl_u8(bytes[side]), edge.whole << bits);
                }
            }
            *sum = vreinterpretq_s16_u16(vaddq_u16(whole, vshlq_u16(fractions, down)));
        }
        // SAFETY: there are 16 outputs.
        unsafe { vst1q_s16_x2(out.as_mut_ptr(), int16x8x2_t(sums[0], sums[1])) };
    }
    done
}

/// The three channels of a row from three rows of components: in rows of their own, or in one row,
/// one pixel after the other.
///
/// # Panics
/// If a row of components has fewer values than the output has pixels, or the rows of the output
/// have different lengths.
pub(super) fn convert<const ROWS: usize>(
    conversions: &[Conversion; 3],
    components: [&[f32]; 3],
    mut out: [&mut [f32]; ROWS],
) {
    assert!(matches!(ROWS, 1 | 3), "one row or three");
    // Values from one pixel to the next.
    let step = if ROWS == 3 { 1 } else { 3 };
    let count = out[0].len() / step;
    assert!(components.iter().all(|row| row.len() >= count), "components for all outputs");
    assert!(out.iter().all(|row| row.len() == count * step), "rows of the same length");
    let done = count - count % 4;
    // SAFETY: four values exist in each row from `x` on, and four pixels in the output.
    unsafe {
        let [zero, most] = [0.0, 255.0].map(|value| vdupq_n_f32(value));
        let to = out.each_mut().map(|row| row.as_mut_ptr());
        for x in (0..done).step_by(4) {
            let [a, b, c] = components.map(|row| vld1q_f32(row.as_ptr().add(x)));
            let values = conversions.each_ref().map(|conversion| {
                let [first, second, third] = conversion.weights;
                let sum = vaddq_f32(vmulq_n_f32(a, first), vmulq_n_f32(b, second));
                let sum = vaddq_f32(vaddq_f32(sum, vmulq_n_f32(c, third)), vdupq_n_f32(conversion.offset));
                let value = vminq_f32(vmaxq_f32(sum, zero), most);
                vaddq_f32(vmulq_n_f32(value, conversion.gain), vdupq_n_f32(conversion.shift))
            });
            if ROWS == 3 {
                for (to, value) in to.iter().zip(values) {
                    vst1q_f32(to.add(x), value);
                }
            } else {
                vst3q_f32(to[0].add(3 * x), float32x4x3_t(values[0], values[1], values[2]));
            }
        }
    }
    for x in done..count {
        for (channel, conversion) in conversions.iter().enumerate() {
            let value = conversion.value(components.map(|row| row[x]));
            if ROWS == 3 {
                out[channel][x] = value;
            } else {
                out[0][3 * x + channel] = value;
            }
        }
    }
}
