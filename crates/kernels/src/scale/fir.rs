//! The loops of the scaler: weighted sums along a row, and down a column. Integer arithmetic throughout, so a result is
//! the same on every machine. Written so that the compiler finds the vector instructions by itself (multiply-add of
//! 16-bit pairs along a row, upper-half multiply down a column).

use super::columns;
use super::fixed::{COLUMN_BITS, ROW_BITS};
use crate::cast;
use crate::simd::Usable;

/// Copies every `step`-th byte of `bytes` to every `spread`-th place of `out`, beginning with the first of each.
pub(crate) fn pick(bytes: &[u8], step: usize, out: &mut [u8], spread: usize) {
    for (target, source) in out.iter_mut().step_by(spread).zip(bytes.iter().step_by(step)) {
        *target = *source;
    }
}

/// Every `step`-th byte as a sample with [`ROW_BITS`].
pub(crate) fn widen(bytes: &[u8], step: usize, out: &mut [i16]) {
    fn strided<const STEP: usize>(bytes: &[u8], out: &mut [i16]) {
        // The last sample's trailing bytes may be missing.
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

/// Every `step`-th sample. The last one's followers may be missing.
pub(crate) fn pick_samples(samples: &[i16], step: usize, out: &mut [i16]) {
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

/// Outputs that are worked on together.
const BLOCK: usize = 16;

/// The weighted sums of [`BLOCK`] outputs. Samples are first brought side by side: then products, and sums of pairs, are
/// plain loops over arrays, which become one multiply-add a vector.
#[inline(always)]
fn block<const TAPS: usize, const SAMPLES: usize>(samples: &[i16], starts: &[usize], weights: &[i16]) -> [i32; BLOCK] {
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

/// The weighted sum of one output, of any number of taps that is a multiple of four.
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

/// For each output `j`, its weighted sum of the samples from `starts[j]` on, given to `store` in order, some at a time.
#[inline(always)]
fn along(samples: &[i16], starts: &[usize], weights: &[i16], taps: usize, mut store: impl FnMut(&[i32])) {
    let (blocks, rest) = starts.as_chunks::<BLOCK>();
    let mut done = 0;
    if matches!(taps, 4 | 8 | 12 | 16 | 20) {
        for (starts, weights) in blocks.iter().zip(weights.chunks_exact(taps * BLOCK)) {
            store(&match taps {
                4 => block::<4, { 4 * BLOCK }>(samples, starts, weights),
                8 => block::<8, { 8 * BLOCK }>(samples, starts, weights),
                // What the still gate has to a cell of 720p, and of 1080p.
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
    /// Along a row, samples in and samples out, both with [`ROW_BITS`]; every `spread`-th of `out` is written.
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

crate::simd::versions! {
    /// Along a row, sums in and weighted sums out, as floats.
    pub(crate) fn along_to_floats(samples: &[i16], starts: &[usize], weights: &[i16], taps: usize, out: &mut [f32]) {
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
    /// Along a row, samples from [`down_bytes`] in and bytes out; every `spread`-th of `out` is written.
    pub(crate) fn along_to_bytes(
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

/// The most rows that are summed in upper halves of products.
pub(crate) const FEW: usize = 8;

/// What is given back of the upper halves' losses: half a step a row, on average.
const GIVEN_BACK: [i16; FEW + 1] = [0, 0, 1, 1, 2, 2, 3, 3, 4];

/// What `weights` make of as many rows of samples, 1 to [`FEW`], as bytes. The upper halves of products are summed: each
/// loses up to one of 16 parts of a value, half of it on average, and that half is given back.
pub(crate) fn down_samples(isa: Usable, rows: &[&[i16]], weights: &[i16], out: &mut [u8]) {
    fn few<const TAPS: usize>(isa: Usable, rows: &[&[i16]], weights: &[i16], out: &mut [u8]) {
        let rows: [&[i16]; TAPS] = std::array::from_fn(|tap| &rows[tap][..out.len()]);
        let weights: [i16; TAPS] = std::array::from_fn(|tap| weights[tap]);
        // By hand where the compiler's own way, products of 32 bits, is twice as slow.
        let done = columns::down_samples(isa, &rows, &weights, 8 + GIVEN_BACK[TAPS], out);
        for x in done..out.len() {
            let mut sum: i16 = 8 + GIVEN_BACK[TAPS];
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

/// What `weights` make of as many rows of bytes, 1 to [`FEW`], as samples with 5 fractional bits. Upper halves of products
/// (see [`down_samples`]).
pub(crate) fn down_bytes(isa: Usable, rows: &[&[u8]], weights: &[i16], out: &mut [i16]) {
    fn few<const TAPS: usize>(isa: Usable, rows: &[&[u8]], weights: &[i16], out: &mut [i16]) {
        let rows: [&[u8]; TAPS] = std::array::from_fn(|tap| &rows[tap][..out.len()]);
        let weights: [i16; TAPS] = std::array::from_fn(|tap| weights[tap]);
        // By hand where the compiler's own way, products of 32 bits, is twice as slow.
        let done = columns::down_bytes(isa, &rows, &weights, GIVEN_BACK[TAPS], out);
        for x in done..out.len() {
            let mut sum: i16 = GIVEN_BACK[TAPS];
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

/// Sums of [`add_bytes`] that began with [`SUMS_BEGIN`] as samples with 5 fractional bits.
pub(crate) fn sums_to_samples(sums: &[i32], out: &mut [i16]) {
    for (target, sum) in out.iter_mut().zip(sums) {
        *target = cast::narrow(*sum >> 9);
    }
}

/// Half of what [`sums_to_samples`] cuts off.
pub(crate) const SUMS_BEGIN: i32 = 1 << 8;

/// Samples from [`down_bytes`] as bytes, where a row is taken as it is; every `spread`-th of `out` is written.
pub(crate) fn samples_to_bytes(samples: &[i16], out: &mut [u8], spread: usize) {
    for (target, &sample) in out.iter_mut().step_by(spread).zip(samples) {
        *target = cast::clamped_i16((sample + (1 << (COLUMN_BITS - 1))) >> COLUMN_BITS);
    }
}
