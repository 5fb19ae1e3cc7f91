//! The loops of the scaler: weighted sums along a row, and down a column. All arithmetic is on
//! integers, so the results are the same on every machine.
//!
//! The loops are written so that the compiler finds the vector instructions: multiply-add of 16-bit
//! pairs along a row, and multiplications that keep the upper half down a column.

#[cfg(target_arch = "arm")]
use super::armv7 as neon;
use super::axis::AxisFilter;
use super::columns;
use super::fixed::{COLUMN_BITS, ROW_BITS};
#[cfg(target_arch = "aarch64")]
use super::neon;
use crate::cast;
use crate::simd::Usable;

/// Copies every `step`-th byte of `bytes` to every `spread`-th place of `out`, starting with the
/// first of each.
pub(crate) fn pick(bytes: &[u8], step: usize, out: &mut [u8], spread: usize) {
    for (target, source) in out.iter_mut().step_by(spread).zip(bytes.iter().step_by(step)) {
        *target = *source;
    }
}

/// Converts every `step`-th byte to a sample with [`ROW_BITS`].
pub(crate) fn widen(bytes: &[u8], step: usize, out: &mut [i16]) {
    fn strided<const STEP: usize>(bytes: &[u8], out: &mut [i16]) {
        // The bytes after the last sample may be missing.
        let Some((last, out)) = out.split_last_mut() else { return };
        for (target, pixel) in out.iter_mut().zip(bytes.chunks_exact(STEP)) {
            *target = i16::from(pixel[0]) << ROW_BITS;
        }
        *last = i16::from(bytes[out.len() * STEP]) << ROW_BITS;
    }
    match step {
        1 => strided::<1>(bytes, out),
        2 => strided::<2>(bytes, out),
        3 => strided::<3>(bytes, out),
        _ => strided::<4>(bytes, out),
    }
}

/// Copies every `step`-th sample. The samples after the last copied one may be missing.
fn pick_samples(samples: &[i16], step: usize, out: &mut [i16]) {
    fn strided<const STEP: usize>(samples: &[i16], out: &mut [i16]) {
        let Some((last, out)) = out.split_last_mut() else { return };
        for (target, group) in out.iter_mut().zip(samples.as_chunks::<STEP>().0) {
            *target = group[0];
        }
        *last = samples[out.len() * STEP];
    }
    match step {
        1 => strided::<1>(samples, out),
        2 => strided::<2>(samples, out),
        3 => strided::<3>(samples, out),
        _ => strided::<4>(samples, out),
    }
}

/// Outputs that are computed together.
const BLOCK: usize = 16;

/// Whether the base of the target has vectors that the compiler uses for the plain loops.
const HAS_VECTORS: bool = !cfg!(target_arch = "riscv64");

/// The weighted sums of [`BLOCK`] outputs. The samples are copied side by side first. The products
/// and the sums of pairs are then plain loops over arrays, which compile to one multiply-add per
/// vector.
#[inline(always)]
fn block<const TAPS: usize, const SAMPLES: usize>(samples: &[i16], starts: &[usize], weights: &[i16]) -> [i32; BLOCK] {
    if !HAS_VECTORS {
        let mut sums = [0; BLOCK];
        for (sum, (&start, weights)) in sums.iter_mut().zip(starts.iter().zip(weights.as_chunks::<TAPS>().0)) {
            *sum = single(&samples[start..start + TAPS], weights);
        }
        return sums;
    }
    let mut side_by_side = [0; SAMPLES];
    for (target, &start) in side_by_side.as_chunks_mut::<TAPS>().0.iter_mut().zip(starts) {
        target.copy_from_slice(&samples[start..start + TAPS]);
    }
    let mut pairs = [0; SAMPLES];
    let weights = &weights[..SAMPLES];
    for i in 0..SAMPLES / 2 {
        pairs[i] = i32::from(side_by_side[2 * i]) * i32::from(weights[2 * i])
            + i32::from(side_by_side[2 * i + 1]) * i32::from(weights[2 * i + 1]);
    }
    std::array::from_fn(|i| pairs[i * TAPS / 2..(i + 1) * TAPS / 2].iter().sum())
}

/// The weighted sum of one output. The number of taps is a multiple of four.
#[inline(always)]
fn single(samples: &[i16], weights: &[i16]) -> i32 {
    let mut sum = 0;
    for (samples, weights) in samples.as_chunks::<4>().0.iter().zip(weights.as_chunks::<4>().0) {
        for (&sample, &weight) in samples.iter().zip(weights) {
            sum += i32::from(sample) * i32::from(weight);
        }
    }
    sum
}

/// Computes for each output `j` the weighted sum of the samples from `starts[j]` on. Passes the
/// sums to `store` in order, in groups.
#[inline(always)]
fn along(samples: &[i16], starts: &[usize], weights: &[i16], taps: usize, mut store: impl FnMut(&[i32])) {
    let (blocks, rest) = starts.as_chunks::<BLOCK>();
    let mut done = 0;
    if matches!(taps, 4 | 8 | 12 | 16 | 20) {
        for (starts, weights) in blocks.iter().zip(weights.chunks_exact(taps * BLOCK)) {
            store(&match taps {
                4 => block::<4, { 4 * BLOCK }>(samples, starts, weights),
                8 => block::<8, { 8 * BLOCK }>(samples, starts, weights),
                // The motion gate uses these numbers of taps for each of its cells at 720p and at
                // 1080p.
                12 => block::<12, { 12 * BLOCK }>(samples, starts, weights),
                16 => block::<16, { 16 * BLOCK }>(samples, starts, weights),
                _ => block::<20, { 20 * BLOCK }>(samples, starts, weights),
            });
        }
        done = starts.len() - rest.len();
    }
    for (&start, weights) in starts[done..].iter().zip(weights[done * taps..].chunks_exact(taps)) {
        store(&[single(&samples[start..], weights)]);
    }
}

crate::simd::versions! {
    /// Filters along a row from samples to samples, both with [`ROW_BITS`]. Every `spread`-th place
    /// of `out` is written.
    pub(crate) fn along_to_samples(
        samples: &[i16],
        starts: &[usize],
        weights: &[i16],
        taps: usize,
        out: &mut [i16],
        spread: usize,
    ) {
        let mut done = 0;
        along(samples, starts, weights, taps, |sums| {
            let to = &mut out[done * spread..];
            done += sums.len();
            let finished = |sum: i32| cast::narrow((sum + (1 << 13)) >> 14);
            match spread {
                1 => to.iter_mut().zip(sums).for_each(|(to, &sum)| *to = finished(sum)),
                2 => to.chunks_mut(2).zip(sums).for_each(|(to, &sum)| to[0] = finished(sum)),
                _ => to.chunks_mut(3).zip(sums).for_each(|(to, &sum)| to[0] = finished(sum)),
            }
        });
    }
}

/// The samples of an axis side by side: the first `count` of those that lie `step` apart, followed
/// by zeros, for taps of weight 0 past the end of the source.
fn side_by_side<'a>(samples: &[i16], step: usize, count: usize, taps: usize, scratch: &'a mut [i16]) -> &'a [i16] {
    pick_samples(samples, step, &mut scratch[..count]);
    scratch[count..count + taps].fill(0);
    scratch
}

/// Filters every `step`-th of the samples of [`down_bytes`] along an axis, to bytes. The source has
/// `count` samples. Every `spread`-th place of `out` is written. `scratch` has room for the samples
/// and the taps of an output.
pub(crate) fn axis_to_bytes(
    isa: Usable,
    axis: &AxisFilter,
    (samples, step, count): (&[i16], usize, usize),
    scratch: &mut [i16],
    out: &mut [u8],
    spread: usize,
) {
    #[cfg(target_arch = "riscv64")]
    if axis.indexed.to_bytes(samples, step, out, spread) {
        return;
    }
    let samples = side_by_side(samples, step, count, axis.taps, scratch);
    along_to_bytes(isa, samples, &axis.starts, &axis.weights, axis.taps, out, spread);
}

/// Filters every `step`-th sample of a row of sums along an axis, to floats that still contain the
/// scale of the weights. The source has `count` samples. `scratch` is as in [`axis_to_bytes`].
pub(crate) fn axis_to_floats(
    isa: Usable,
    axis: &AxisFilter,
    (samples, step, count): (&[i16], usize, usize),
    scratch: &mut [i16],
    out: &mut [f32],
) {
    #[cfg(target_arch = "riscv64")]
    if axis.indexed.to_floats(samples, step, out) {
        return;
    }
    #[cfg(any(target_arch = "aarch64", target_arch = "arm"))]
    if neon::available(isa) && neon::to_floats(axis, samples, step, out) {
        return;
    }
    let samples = if step == 1 { samples } else { side_by_side(samples, step, count, axis.taps, scratch) };
    along_to_floats(isa, samples, &axis.starts, &axis.weights, axis.taps, out);
}

/// As [`axis_to_floats`] for two channels that alternate. Returns `false`, and writes nothing, where
/// that is not faster than one channel at a time.
pub(crate) fn pair_to_floats(isa: Usable, axis: &AxisFilter, samples: &[i16], out: [&mut [f32]; 2]) -> bool {
    #[cfg(any(target_arch = "aarch64", target_arch = "arm"))]
    if neon::available(isa) {
        return neon::pair_to_floats(axis, samples, out);
    }
    let _ = (isa, axis, samples, out);
    false
}

crate::simd::versions! {
    /// Filters along a row of sums. The results are floats that still contain the scale of the
    /// weights.
    fn along_to_floats(samples: &[i16], starts: &[usize], weights: &[i16], taps: usize, out: &mut [f32]) {
        let mut done = 0;
        along(samples, starts, weights, taps, |sums| {
            let to = &mut out[done..done + sums.len()];
            done += sums.len();
            for (to, &sum) in to.iter_mut().zip(sums) {
                *to = sum as f32;
            }
        });
    }
}

crate::simd::versions! {
    /// Filters along a row from samples of [`down_bytes`] to bytes. Every `spread`-th place of
    /// `out` is written.
    fn along_to_bytes(
        samples: &[i16],
        starts: &[usize],
        weights: &[i16],
        taps: usize,
        out: &mut [u8],
        spread: usize,
    ) {
        let mut done = 0;
        along(samples, starts, weights, taps, |sums| {
            let to = &mut out[done * spread..];
            done += sums.len();
            let finished = |sum: i32| cast::clamped((sum + (1 << (13 + COLUMN_BITS))) >> (14 + COLUMN_BITS));
            match spread {
                1 => to.iter_mut().zip(sums).for_each(|(to, &sum)| *to = finished(sum)),
                2 => to.chunks_mut(2).zip(sums).for_each(|(to, &sum)| to[0] = finished(sum)),
                _ => to.chunks_mut(3).zip(sums).for_each(|(to, &sum)| to[0] = finished(sum)),
            }
        });
    }
}

/// The largest number of rows for which only the upper halves of products are summed.
pub(crate) const SHORT_SUM_ROWS: usize = 8;

/// Compensation for the truncated lower halves of products: half a unit per row on average.
const COMPENSATION: [i16; SHORT_SUM_ROWS + 1] = [0, 0, 1, 1, 2, 2, 3, 3, 4];

/// What [`down_samples`] adds to the sum of so many rows: half of what the shift cuts off, and the
/// compensation.
pub(crate) fn bias(rows: usize) -> i16 {
    (1 << (ROW_BITS - 3)) + COMPENSATION[rows]
}

/// The vertical filter from 1 to [`SHORT_SUM_ROWS`] rows of samples to bytes. It sums the upper
/// halves of the products. Each product loses up to one unit of 1/16 of a value, on average half a
/// unit, and [`COMPENSATION`] adds the average back.
pub(crate) fn down_samples(isa: Usable, rows: &[&[i16]], weights: &[i16], out: &mut [u8]) {
    #[cfg(target_arch = "riscv64")]
    if super::rvv::available(isa) {
        return super::rvv::down_samples(isa, rows, weights, bias(weights.len()), out);
    }
    fn few<const TAPS: usize>(isa: Usable, rows: &[&[i16]], weights: &[i16], out: &mut [u8]) {
        let rows: [&[i16]; TAPS] = std::array::from_fn(|tap| &rows[tap][..out.len()]);
        let weights: [i16; TAPS] = std::array::from_fn(|tap| weights[tap]);
        // The explicit version is used where the compiler makes 32-bit products of this loop, which
        // is twice as slow.
        let done = columns::down_samples(isa, &rows, &weights, bias(TAPS), out);
        for x in done..out.len() {
            let mut sum = bias(TAPS);
            for tap in 0..TAPS {
                sum = sum.wrapping_add(cast::high(i32::from(rows[tap][x]) * i32::from(weights[tap])));
            }
            out[x] = cast::clamped_i16(sum >> (ROW_BITS - 2));
        }
    }
    match weights.len() {
        1 => few::<1>(isa, rows, weights, out),
        2 => few::<2>(isa, rows, weights, out),
        3 => few::<3>(isa, rows, weights, out),
        4 => few::<4>(isa, rows, weights, out),
        5 => few::<5>(isa, rows, weights, out),
        6 => few::<6>(isa, rows, weights, out),
        7 => few::<7>(isa, rows, weights, out),
        _ => few::<8>(isa, rows, weights, out),
    }
}

/// The vertical filter from 1 to [`SHORT_SUM_ROWS`] rows of bytes to samples with 5 fractional
/// bits. It sums the upper halves of products, see [`down_samples`].
pub(crate) fn down_bytes(isa: Usable, rows: &[&[u8]], weights: &[i16], out: &mut [i16]) {
    #[cfg(target_arch = "riscv64")]
    if super::rvv::available(isa) {
        return super::rvv::down_bytes(isa, rows, weights, COMPENSATION[weights.len()], out);
    }
    fn few<const TAPS: usize>(isa: Usable, rows: &[&[u8]], weights: &[i16], out: &mut [i16]) {
        let rows: [&[u8]; TAPS] = std::array::from_fn(|tap| &rows[tap][..out.len()]);
        let weights: [i16; TAPS] = std::array::from_fn(|tap| weights[tap]);
        // The explicit version is used where the compiler makes 32-bit products of this loop, which
        // is twice as slow.
        let done = columns::down_bytes(isa, &rows, &weights, COMPENSATION[TAPS], out);
        for x in done..out.len() {
            let mut sum: i16 = COMPENSATION[TAPS];
            for tap in 0..TAPS {
                sum = sum.wrapping_add(cast::high((i32::from(rows[tap][x]) << 7) * i32::from(weights[tap])));
            }
            out[x] = sum;
        }
    }
    match weights.len() {
        1 => few::<1>(isa, rows, weights, out),
        2 => few::<2>(isa, rows, weights, out),
        3 => few::<3>(isa, rows, weights, out),
        4 => few::<4>(isa, rows, weights, out),
        5 => few::<5>(isa, rows, weights, out),
        6 => few::<6>(isa, rows, weights, out),
        7 => few::<7>(isa, rows, weights, out),
        _ => few::<8>(isa, rows, weights, out),
    }
}

crate::simd::versions! {
    /// Adds `weight` times a row of bytes to sums with 14 fractional bits.
    pub(crate) fn add_bytes(row: &[u8], weight: i16, sums: &mut [i32]) {
        let weight = i32::from(weight);
        for (sum, &sample) in sums.iter_mut().zip(row) {
            *sum += i32::from(sample) * weight;
        }
    }
}

/// Converts sums of [`add_bytes`] that started with [`SUMS_START`] to samples with 5 fractional
/// bits.
pub(crate) fn sums_to_samples(sums: &[i32], out: &mut [i16]) {
    for (target, sum) in out.iter_mut().zip(sums) {
        *target = cast::narrow(*sum >> 9);
    }
}

/// Half of the unit that [`sums_to_samples`] cuts off, for rounding.
pub(crate) const SUMS_START: i32 = 1 << 8;

/// Converts every `step`-th of `count` samples of [`down_bytes`] to bytes, for rows that are not
/// filtered along. Every `spread`-th place of `out` is written.
pub(crate) fn samples_to_bytes(samples: &[i16], step: usize, count: usize, out: &mut [u8], spread: usize) {
    for (target, &sample) in out.iter_mut().step_by(spread).zip(samples.iter().step_by(step).take(count)) {
        *target = cast::clamped_i16((sample + (1 << (COLUMN_BITS - 1))) >> COLUMN_BITS);
    }
}
