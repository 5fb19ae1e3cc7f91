//! The loops of the scaler: weighted sums along a row, and down a column. Integer arithmetic throughout, so a result is
//! the same on every machine. Written so that the compiler finds the vector instructions by itself (multiply-add of
//! 16-bit pairs along a row, upper-half multiply down a column).

use super::cast;

/// Fractional bits of samples that were brought from a byte for the horizontal pass.
pub(crate) const ROW_BITS: u32 = 6;
/// Fractional bits of what the vertical pass makes of bytes, for the horizontal pass after it.
const COLUMN_BITS: u32 = 5;

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
#[inline]
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
#[inline]
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
#[inline]
fn along(samples: &[i16], starts: &[usize], weights: &[i16], taps: usize, mut store: impl FnMut(&[i32])) {
    let (blocks, rest) = starts.as_chunks::<BLOCK>();
    let mut done = 0;
    if taps == 4 || taps == 8 {
        for (starts, weights) in blocks.iter().zip(weights.chunks_exact(taps * BLOCK)) {
            let sums = if taps == 4 {
                block::<4, { 4 * BLOCK }>(samples, starts, weights)
            } else {
                block::<8, { 8 * BLOCK }>(samples, starts, weights)
            };
            store(&sums);
        }
        done = starts.len() - rest.len();
    }
    for (&start, weights) in starts[done..].iter().zip(weights[done * taps..].chunks_exact(taps)) {
        store(&[single(&samples[start..], weights)]);
    }
}

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

/// What `weights` make of as many rows of samples, as bytes. The upper halves of products are summed: each loses up to
/// one of 16 parts of a value, half of it on average, and that half is given back.
pub(crate) fn down_samples<'a>(row: impl Fn(usize) -> &'a [i16], weights: &[i16], out: &mut [u8]) {
    fn few<'a, const TAPS: usize>(row: impl Fn(usize) -> &'a [i16], weights: &[i16], out: &mut [u8]) {
        let rows: [&[i16]; TAPS] = std::array::from_fn(|tap| &row(tap)[..out.len()]);
        let weights: [i32; TAPS] = std::array::from_fn(|tap| i32::from(weights[tap]));
        let bias = 8 + [0, 0, 1, 1, 2][TAPS];
        for x in 0..out.len() {
            let mut sum: i16 = bias;
            for tap in 0..TAPS {
                sum = sum.wrapping_add(cast::high(i32::from(rows[tap][x]) * weights[tap]));
            }
            out[x] = cast::clamped_i16(sum >> (ROW_BITS - 2));
        }
    }
    match weights.len() {
        1 => few::<1>(row, weights, out),
        2 => few::<2>(row, weights, out),
        3 => few::<3>(row, weights, out),
        4 => few::<4>(row, weights, out),
        _ => {
            for (x, target) in out.iter_mut().enumerate() {
                let mut sum = 1 << (13 + ROW_BITS);
                for (tap, &weight) in weights.iter().enumerate() {
                    sum += i32::from(row(tap)[x]) * i32::from(weight);
                }
                *target = cast::clamped(sum >> (14 + ROW_BITS));
            }
        }
    }
}

/// What `weights` make of as many rows of bytes, as samples with 5 fractional bits. Up to eight rows in upper-half
/// products (see [`down_samples`]); more are summed in full in `wide`.
pub(crate) fn down_bytes<'a>(row: impl Fn(usize) -> &'a [u8], weights: &[i16], wide: &mut Vec<i32>, out: &mut [i16]) {
    fn few<'a, const TAPS: usize>(row: impl Fn(usize) -> &'a [u8], weights: &[i16], out: &mut [i16]) {
        let rows: [&[u8]; TAPS] = std::array::from_fn(|tap| &row(tap)[..out.len()]);
        let weights: [i32; TAPS] = std::array::from_fn(|tap| i32::from(weights[tap]));
        let bias = [0, 0, 1, 1, 2, 2, 3, 3, 4][TAPS];
        for x in 0..out.len() {
            let mut sum: i16 = bias;
            for tap in 0..TAPS {
                sum = sum.wrapping_add(cast::high((i32::from(rows[tap][x]) << 7) * weights[tap]));
            }
            out[x] = sum;
        }
    }
    match weights.len() {
        1 => few::<1>(row, weights, out),
        2 => few::<2>(row, weights, out),
        3 => few::<3>(row, weights, out),
        4 => few::<4>(row, weights, out),
        5 => few::<5>(row, weights, out),
        6 => few::<6>(row, weights, out),
        7 => few::<7>(row, weights, out),
        8 => few::<8>(row, weights, out),
        _ => {
            wide.clear();
            wide.resize(out.len(), 1 << 8);
            for (tap, &weight) in weights.iter().enumerate() {
                let weight = i32::from(weight);
                for (sum, &sample) in wide.iter_mut().zip(row(tap)) {
                    *sum += i32::from(sample) * weight;
                }
            }
            for (target, sum) in out.iter_mut().zip(wide.iter()) {
                *target = cast::narrow(*sum >> 9);
            }
        }
    }
}

/// Samples from [`down_bytes`] as bytes, where a row is taken as it is; every `spread`-th of `out` is written.
pub(crate) fn samples_to_bytes(samples: &[i16], out: &mut [u8], spread: usize) {
    for (target, &sample) in out.iter_mut().step_by(spread).zip(samples) {
        *target = cast::clamped_i16((sample + (1 << (COLUMN_BITS - 1))) >> COLUMN_BITS);
    }
}
