//! The horizontal filter for 64-bit CPUs without vectors: one multiplication of 64 bits adds two
//! taps.
//!
//! With `p = a + (b << 32)` of two samples and `w = v + (u << 32)` of two weights, bits 32 to 63 of
//! `p * w` hold `a * u + b * v`, and the lower half holds `a * v`, which is of no use. Its sign
//! would change the upper half by one, so each sum starts with half of the upper unit.

use super::axis::AxisFilter;
use super::fixed::ROW_BITS;

/// Half of the unit that is cut off when a sum of bytes is reduced to [`ROW_BITS`], in the upper
/// half, and half of the upper half's unit.
const START: u64 = (1 << (32 + 13 - ROW_BITS)) + (1 << 31);
/// Bytes of a sum below the result: 32 bits, and the bits that are cut off.
const BELOW: usize = 5;
const _: () = assert!(8 * BELOW == 32 + 14 - ROW_BITS as usize, "whole bytes are cut off");

/// The weights of an axis in pairs, and a row of samples in pairs.
#[derive(Clone, Debug, Default)]
pub(super) struct Paired {
    /// For each output, and each two taps: the first weight in the upper half, the second below.
    weights: Vec<u64>,
    /// Each sample in the lower half, with the next one in the upper half.
    samples: Vec<u64>,
}

impl Paired {
    /// Prepares for an axis whose number of taps is a multiple of four.
    pub(super) fn build(&mut self, axis: &AxisFilter) {
        self.weights.clear();
        let pairs = axis.weights.as_chunks::<2>().0.iter();
        self.weights
            .extend(pairs.map(|&[first, second]| ((i64::from(first) << 32) + i64::from(second)).cast_unsigned()));
    }

    /// Filters `count` samples that lie `step` bytes apart, to samples with [`ROW_BITS`] in every
    /// `spread`-th place of `out`. `axis` is that of [`Paired::build`].
    ///
    /// # Panics
    /// If there are fewer bytes, or fewer places than outputs.
    pub(super) fn run(
        &mut self,
        axis: &AxisFilter,
        bytes: &[u8],
        step: usize,
        count: usize,
        out: &mut [i16],
        spread: usize,
    ) {
        self.samples.clear();
        // Taps of weight 0 may lie past the end of the source.
        self.samples.resize(count + axis.taps, 0);
        let samples = &mut self.samples[..count];
        match step {
            1 => pair::<1>(bytes, samples),
            2 => pair::<2>(bytes, samples),
            3 => pair::<3>(bytes, samples),
            _ => pair::<4>(bytes, samples),
        }
        let Self { weights, samples } = self;
        match axis.taps {
            4 => filter::<2>(samples, &axis.starts, weights, out, spread),
            8 => filter::<4>(samples, &axis.starts, weights, out, spread),
            taps => {
                let outputs = axis.starts.iter().zip(weights.chunks_exact(taps / 2));
                for ((&start, weights), out) in outputs.zip(out.iter_mut().step_by(spread)) {
                    let pairs = samples[start..].iter().step_by(2).zip(weights);
                    *out = finished(
                        pairs.fold(START, |sum, (pair, weights)| sum.wrapping_add(pair.wrapping_mul(*weights))),
                    );
                }
            }
        }
    }
}

/// Pairs the samples that lie `STEP` bytes apart.
fn pair<const STEP: usize>(bytes: &[u8], out: &mut [u64]) {
    // The bytes after the last sample may be missing.
    let Some((last, out)) = out.split_last_mut() else { return };
    let mut next = u64::from(bytes[out.len() * STEP]);
    *last = next;
    for (pair, sample) in out.iter_mut().zip(bytes.chunks_exact(STEP)).rev() {
        let sample = u64::from(sample[0]);
        *pair = sample | next << 32;
        next = sample;
    }
}

/// Filters with `2 * PAIRS` taps.
fn filter<const PAIRS: usize>(samples: &[u64], starts: &[usize], weights: &[u64], out: &mut [i16], spread: usize) {
    let outputs = starts.iter().zip(weights.as_chunks::<PAIRS>().0);
    for ((&start, weights), out) in outputs.zip(out.iter_mut().step_by(spread)) {
        let window = &samples[start..start + 2 * PAIRS];
        let mut sum = START;
        for (pair, weights) in weights.iter().enumerate() {
            sum = sum.wrapping_add(window[2 * pair].wrapping_mul(*weights));
        }
        *out = finished(sum);
    }
}

/// The result of a sum.
#[inline(always)]
fn finished(sum: u64) -> i16 {
    let bytes = sum.to_le_bytes();
    i16::from_le_bytes([bytes[BELOW], bytes[BELOW + 1]])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scale::axis::{Filter, Span};
    use crate::scale::fir;
    use crate::simd::Usable;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(crate::testing::config(300))]

        #[test]
        fn two_taps_at_once_are_two_taps(
            bytes in prop::collection::vec(prop_oneof![Just(0), Just(255), any::<u8>()], 1..200),
            (origin, scale) in (-8.0..60.0_f64, 0.2..4.0_f64),
            (count, step, spread) in (1..80_usize, 1..5_usize, 1..4_usize),
            cubic: bool,
        ) {
            let samples = bytes.len().div_ceil(step);
            let mut axis = AxisFilter::default();
            let filter = if cubic { Filter::Cubic } else { Filter::Linear };
            axis.build(Span { origin, scale, source: samples, from: 0, count }, filter, 4);
            axis.rebase();
            let (bytes, samples) = (&bytes[axis.first * step..], (samples - axis.first).min(axis.extent));
            let mut expected = vec![7; (count - 1) * spread + 1];
            let mut found = expected.clone();
            let mut row = vec![0; samples + axis.taps];
            fir::widen(bytes, step, &mut row[..samples]);
            fir::along_to_samples(Usable::chosen(), &row, &axis.starts, &axis.weights, axis.taps, &mut expected, spread);
            let mut paired = Paired::default();
            paired.build(&axis);
            paired.run(&axis, bytes, step, samples, &mut found, spread);
            prop_assert_eq!(found, expected);
        }
    }
}
