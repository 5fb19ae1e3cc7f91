//! The transform, written once over vectors of rows.
#![allow(unsafe_code)]

use std::marker::PhantomData;

use super::super::bits::Block;
use super::Transform;

/// Bits after the binary point of the factors.
const FRACTION: i32 = 13;
/// Additional bits of the result of the first pass.
const BETWEEN: i32 = 2;
/// The bits that the first pass removes.
pub(super) const FIRST: i32 = FRACTION - BETWEEN;
/// The bits that the second pass removes. The transform has a factor of 8.
pub(super) const SECOND: i32 = FRACTION + BETWEEN + 3;

/// `factor` with [`FRACTION`] bits after the binary point.
#[expect(clippy::cast_possible_truncation, reason = "rounded by the half")]
const fn fixed(factor: f64) -> i16 {
    (factor * 8192.0 + 0.5) as i16
}

const ONE: i16 = 8192;
const F0_298: i16 = fixed(0.298_631_336);
const F0_390: i16 = fixed(0.390_180_644);
const F0_541: i16 = fixed(0.541_196_100);
const F0_765: i16 = fixed(0.765_366_865);
const F0_899: i16 = fixed(0.899_976_223);
const F1_175: i16 = fixed(1.175_875_602);
const F1_501: i16 = fixed(1.501_321_110);
const F1_847: i16 = fixed(1.847_759_065);
const F1_961: i16 = fixed(1.961_570_560);
const F2_053: i16 = fixed(2.053_119_869);
const F2_562: i16 = fixed(2.562_915_447);
const F3_072: i16 = fixed(3.072_711_026);

/// Numbers of 16 bits, each of another column: one, or as many as a vector has.
///
/// # Safety
/// The methods may only be called where the target features of the instruction set are enabled.
pub(super) unsafe trait Lanes: Copy {
    /// As many numbers of 32 bits.
    type Wide: Copy;

    /// `self + other`, wrapping around.
    ///
    /// # Safety
    /// The target features are enabled.
    unsafe fn add(self, other: Self) -> Self;

    /// `self * factors[0] + other * factors[1]`, wrapping around.
    ///
    /// # Safety
    /// The target features are enabled.
    unsafe fn dot(self, other: Self, factors: [i16; 2]) -> Self::Wide;

    /// `a + b`, wrapping around.
    ///
    /// # Safety
    /// The target features are enabled.
    unsafe fn wide_add(a: Self::Wide, b: Self::Wide) -> Self::Wide;

    /// `a - b`, wrapping around.
    ///
    /// # Safety
    /// The target features are enabled.
    unsafe fn wide_sub(a: Self::Wide, b: Self::Wide) -> Self::Wide;

    /// `value` in each number.
    ///
    /// # Safety
    /// The target features are enabled.
    unsafe fn wide_splat(value: i32) -> Self::Wide;

    /// The numbers shifted right by `SHIFT` bits, saturated to 16 bits.
    ///
    /// # Safety
    /// The target features are enabled.
    unsafe fn narrow<const SHIFT: i32>(wide: Self::Wide) -> Self;
}

/// A row of eight numbers of each of [`Rows::BLOCKS`] blocks.
///
/// # Safety
/// As [`Lanes`]. [`Rows::load`] reads, and [`Rows::store`] writes, only what their documentation
/// names.
pub(super) unsafe trait Rows: Lanes {
    /// The blocks that a vector has a row of: 1 or 2.
    const BLOCKS: usize;

    /// Row `y`, below 8, of the first [`Rows::BLOCKS`] blocks of `blocks`.
    ///
    /// # Safety
    /// The target features are enabled, and there are as many blocks.
    unsafe fn load(blocks: &[Block], y: usize) -> Self;

    /// Exchanges the rows and columns of each block.
    ///
    /// # Safety
    /// The target features are enabled.
    unsafe fn transpose(rows: [Self; 8]) -> [Self; 8];

    /// Adds 128 to each number, saturates it to 0..=255 and writes it as a byte: row `y` of the
    /// first block to `out + y * stride`, that of the second behind it.
    ///
    /// # Safety
    /// The target features are enabled, and 8 bytes for each block can be written at each row.
    unsafe fn store(rows: [Self; 8], out: *mut u8, stride: usize);
}

/// One pass over the columns. With `QUARTER`, the last four rows are zero. The lowest `SHIFT` bits
/// of the results are to be removed. Half of what they stand for is added, for rounding.
///
/// # Safety
/// The target features of `V` are enabled.
#[inline(always)]
pub(super) unsafe fn pass<V: Lanes, const QUARTER: bool, const SHIFT: i32>(row: [V; 8]) -> [V::Wide; 8] {
    // SAFETY: the caller promises the target features.
    unsafe {
        // Closures would not be inlined into code with other target features.
        let half = V::wide_splat(1 << (SHIFT - 1));
        let (even, odd) = if QUARTER {
            let even = [
                row[0].dot(row[2], [ONE, F0_541 + F0_765]),
                row[0].dot(row[2], [ONE, F0_541]),
                row[0].dot(row[2], [ONE, -F0_541]),
                row[0].dot(row[2], [ONE, -F0_541 - F0_765]),
            ];
            let odd = [
                row[1].dot(row[3], [F1_501 - F0_899 + F1_175 - F0_390, F1_175]),
                row[1].dot(row[3], [F1_175, F3_072 - F2_562 + F1_175 - F1_961]),
                row[1].dot(row[3], [F1_175 - F0_390, F1_175 - F2_562]),
                row[1].dot(row[3], [F1_175 - F0_899, F1_175 - F1_961]),
            ];
            (even, odd)
        } else {
            let sum = row[0].dot(row[4], [ONE, ONE]);
            let difference = row[0].dot(row[4], [ONE, -ONE]);
            let outer = row[2].dot(row[6], [F0_541 + F0_765, F0_541]);
            let inner = row[2].dot(row[6], [F0_541, F0_541 - F1_847]);
            let even = [
                V::wide_add(sum, outer),
                V::wide_add(difference, inner),
                V::wide_sub(difference, inner),
                V::wide_sub(sum, outer),
            ];
            let (a, b) = (row[7].add(row[3]), row[5].add(row[1]));
            let (mixed_a, mixed_b) = (a.dot(b, [F1_175 - F1_961, F1_175]), a.dot(b, [F1_175, F1_175 - F0_390]));
            let odd = [
                V::wide_add(row[1].dot(row[7], [F1_501 - F0_899, -F0_899]), mixed_b),
                V::wide_add(row[3].dot(row[5], [F3_072 - F2_562, -F2_562]), mixed_a),
                V::wide_add(row[5].dot(row[3], [F2_053 - F2_562, -F2_562]), mixed_b),
                V::wide_add(row[7].dot(row[1], [F0_298 - F0_899, -F0_899]), mixed_a),
            ];
            (even, odd)
        };
        let mut out = [half; 8];
        for index in 0..4 {
            let even = V::wide_add(even[index], half);
            out[index] = V::wide_add(even, odd[index]);
            out[7 - index] = V::wide_sub(even, odd[index]);
        }
        out
    }
}

/// Removes `SHIFT` bits, and saturates to 16 bits.
///
/// # Safety
/// The target features of `V` are enabled.
#[inline(always)]
unsafe fn narrow<V: Lanes, const SHIFT: i32>(wide: [V::Wide; 8]) -> [V; 8] {
    // SAFETY: the caller promises the target features.
    unsafe {
        let mut out = [V::narrow::<SHIFT>(wide[0]); 8];
        for (out, wide) in out.iter_mut().zip(wide) {
            *out = V::narrow::<SHIFT>(wide);
        }
        out
    }
}

/// The transform with vectors of rows.
pub(in super::super) struct WithRows<V>(PhantomData<V>);

// SAFETY: a store writes 8 bytes for each block at each row.
unsafe impl<V: Rows> Transform for WithRows<V> {
    #[inline(always)]
    unsafe fn transform<const QUARTER: bool>(blocks: &[Block; 2], _: [usize; 2], out: &mut [u8], stride: usize) {
        for (index, blocks) in blocks.chunks_exact(V::BLOCKS).enumerate() {
            // SAFETY: the caller promises the target features and the length of the output. There are
            // `BLOCKS` blocks.
            unsafe {
                let zero = V::narrow::<1>(V::wide_splat(0));
                let used = if QUARTER { 4 } else { 8 };
                let mut rows = [zero; 8];
                for (y, row) in rows.iter_mut().enumerate().take(used) {
                    *row = V::load(blocks, y);
                }
                let columns = V::transpose(narrow::<V, FIRST>(pass::<V, QUARTER, FIRST>(rows)));
                let samples = V::transpose(narrow::<V, SECOND>(pass::<V, QUARTER, SECOND>(columns)));
                V::store(samples, out.as_mut_ptr().add(index * 8), stride);
            }
        }
    }
}
