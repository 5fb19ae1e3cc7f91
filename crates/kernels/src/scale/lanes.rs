//! The scaler for 64-bit CPUs without vectors: a register holds samples in lanes of 32 or 16 bits.
//!
//! *Along a row*, four rows are filtered at once, because they share starts and weights. A number
//! holds a sample of one row in its lower half and that of the next row in its upper half, so that
//! one multiplication serves both. Results are stored with [`BIAS`], which makes them positive: a
//! lane never borrows from the next one.
//!
//! *Down a column*, the upper half of each product counts, as in [`super::fir`]. The product of a
//! weight and two samples, which lie 32 bits apart, has the upper halves of both in fixed places,
//! where they are masked and added. With the bias, the upper half of a product is larger by the
//! weight. For a negative weight, the sample is subtracted from twice the bias and multiplied by the
//! weight's magnitude.
#![allow(unsafe_code)]

use super::axis::AxisFilter;
use super::fixed::{ONE, ROW_BITS};
use crate::cast;

/// The number that stored samples are larger by. Its product with a weight has no lower half.
const BIAS: u64 = 1 << 16;
/// Bits that are cut off when a sum along a row is reduced to [`ROW_BITS`].
const SHIFT: u32 = 14 - ROW_BITS;
/// For each row the bias, and half of the unit that is cut off.
const START: u64 = both((BIAS << SHIFT) + (1 << (SHIFT - 1)));
/// The bits of a result in the lower half, which those of the upper half follow.
const LOWER: u64 = (1 << (32 - SHIFT)) - 1;
/// Twice the bias, in two lanes.
const TWICE: u64 = both(2 * BIAS);
/// The lower half of each of two lanes.
const HALVES: u64 = both(0xffff);
/// The magnitudes of the weights of an output may sum to this, so that no lane overflows.
const MOST: u64 = 3 * ONE.cast_unsigned() as u64 / 2;

/// A number in two lanes of 32 bits.
const fn both(value: u64) -> u64 {
    value | value << 32
}

/// A number in four lanes of 16 bits.
const fn four(value: u64) -> u64 {
    both(value | value << 16)
}

/// Rows that are filtered along at once.
pub(super) const ROWS: usize = 4;

/// Rows that were filtered along, and the rows of the source that are being filtered.
#[derive(Clone, Debug, Default)]
pub(super) struct Lanes {
    /// Rows of samples with [`BIAS`], two to a number.
    ring: Vec<u64>,
    /// Numbers per row of the ring. Even.
    stride: usize,
    /// The samples of two pairs of rows of the source.
    source: [Vec<u64>; 2],
}

impl Lanes {
    /// Makes room for `places` rows of `values` samples.
    pub(super) fn resize(&mut self, places: usize, values: usize) {
        self.stride = values.div_ceil(4) * 2;
        self.ring.clear();
        self.ring.resize(places * self.stride, 0);
    }

    /// Filters `count` samples of each row, which lie `step` bytes apart, along `axis`. Writes the
    /// results to every `spread`-th sample of a place of the ring for each row, from sample `first`
    /// on. Equal rows may have equal places.
    ///
    /// # Panics
    /// If there are fewer bytes, or no such places.
    pub(super) fn along(
        &mut self,
        axis: &AxisFilter,
        rows: [&[u8]; ROWS],
        (step, count): (usize, usize),
        places: [usize; ROWS],
        (first, spread): (usize, usize),
    ) {
        let Self { ring, stride, source } = self;
        for (source, rows) in source.iter_mut().zip(rows.as_chunks::<2>().0) {
            source.clear();
            // Taps of weight 0 may lie past the end of the source.
            source.resize(count + axis.taps, 0);
            match step {
                1 => join::<1>(*rows, &mut source[..count]),
                2 => join::<2>(*rows, &mut source[..count]),
                3 => join::<3>(*rows, &mut source[..count]),
                _ => join::<4>(*rows, &mut source[..count]),
            }
        }
        let outputs = axis.starts.len();
        let last = first + (outputs.max(1) - 1) * spread;
        assert!(outputs * axis.taps <= axis.weights.len(), "weights for all outputs");
        assert!(axis.extent <= count + axis.taps, "the taps of all outputs lie in the source");
        assert!(last < 2 * *stride && places.iter().all(|place| (place + 1) * *stride <= ring.len()), "room for all");
        let targets = places.map(|place| ring[place * *stride..].as_mut_ptr().cast::<u32>().wrapping_add(first));
        let source = source.each_ref().map(|source| source.as_ptr());
        // SAFETY: the taps of all outputs lie below the extent of the axis, which lies in the source;
        // the last output lies within the row of each place.
        unsafe {
            match axis.taps {
                4 => filter::<4>(source, axis, targets, spread),
                8 => filter::<8>(source, axis, targets, spread),
                _ => filter::<0>(source, axis, targets, spread),
            }
        }
    }

    /// The vertical filter of [`super::fir::down_samples`] from rows of the ring to bytes. `bias` is
    /// what it adds to each sum.
    ///
    /// # Panics
    /// If there is no such place, or not one for each weight.
    pub(super) fn down(&self, places: &[usize], weights: &[i16], bias: i16, out: &mut [u8]) {
        assert!(out.len() <= 2 * self.stride && places.len() == weights.len(), "a place for each weight");
        let taps = Taps { lanes: self, places, weights, bias };
        let done = match *weights {
            [only] if only >= 0 => taps.run::<1, false>(out),
            [first, last] if first >= 0 && last >= 0 => taps.run::<2, false>(out),
            [first, middle, last] if first >= 0 && middle >= 0 && last >= 0 => taps.run::<3, false>(out),
            // Catmull-Rom.
            [first, second, third, last] if first <= 0 && second >= 0 && third >= 0 && last <= 0 => {
                taps.run::<4, true>(out)
            }
            _ => 0,
        };
        taps.run_any(done, out);
    }

    /// The first `groups` groups of `SIZE` numbers of a row.
    fn row<const SIZE: usize>(&self, place: usize, groups: usize) -> &[[u64; SIZE]] {
        &self.ring[place * self.stride..].as_chunks().0[..groups]
    }
}

/// An output row of the vertical filter.
#[derive(Clone, Copy)]
struct Taps<'a> {
    lanes: &'a Lanes,
    places: &'a [usize],
    weights: &'a [i16],
    bias: i16,
}

/// The magnitude of a weight in the upper bits, so that products with it have the upper half in the
/// lowest bits of [`cast::upper_half`].
#[inline(always)]
fn factor(weight: i16) -> u64 {
    u64::from(weight.unsigned_abs()) << 48
}

/// The upper halves of the products of two samples and a weight.
#[inline(always)]
fn products(samples: u64, factor: u64) -> u64 {
    cast::upper_half(samples, factor) & HALVES
}

impl Taps<'_> {
    /// The sum of no product: with all of them it is 2^15 more than that of the plain loop.
    fn start(&self) -> u64 {
        let magnitudes: u64 = self.weights.iter().map(|weight| u64::from(weight.unsigned_abs())).sum();
        debug_assert!(magnitudes <= MOST, "{:?}", self.weights);
        both(((1 << 15) - magnitudes).wrapping_add_signed(self.bias.into()))
    }

    /// Computes whole groups of eight outputs with `COUNT` taps, of which none is negative, or the
    /// first and the last are not positive (`OUTER`). Returns the number of outputs: 0 if the output
    /// does not start at a multiple of four bytes.
    fn run<const COUNT: usize, const OUTER: bool>(self, out: &mut [u8]) -> usize {
        // SAFETY: bytes are valid in a number, and numbers as bytes.
        let (before, words, _) = unsafe { out.align_to_mut::<u32>() };
        if !before.is_empty() {
            return 0;
        }
        let words = words.as_chunks_mut::<2>().0;
        let groups = words.len();
        let rows: [&[[u64; 4]]; COUNT] = std::array::from_fn(|tap| self.lanes.row(self.places[tap], groups));
        let factors: [u64; COUNT] = std::array::from_fn(|tap| factor(self.weights[tap]));
        let start = self.start();
        for (group, words) in words.iter_mut().enumerate() {
            for (half, word) in words.iter_mut().enumerate() {
                let mut sums = [start; 2];
                for tap in 0..COUNT {
                    let mut samples = [rows[tap][group][2 * half], rows[tap][group][2 * half + 1]];
                    if OUTER && (tap == 0 || tap + 1 == COUNT) {
                        samples = samples.map(|samples| TWICE - samples);
                    }
                    sums[0] += products(samples[0], factors[tap]);
                    sums[1] += products(samples[1], factors[tap]);
                }
                *word = finished(sums).to_le();
            }
        }
        8 * groups
    }

    /// Computes the outputs from `first` on, a multiple of four, with any number of taps of any sign.
    fn run_any(self, first: usize, out: &mut [u8]) {
        let groups = out.len().div_ceil(4);
        for (group, out) in out.chunks_mut(4).enumerate().skip(first / 4) {
            let mut sums = [self.start(); 2];
            for (&place, &weight) in self.places.iter().zip(self.weights) {
                for (sum, &samples) in sums.iter_mut().zip(&self.lanes.row::<2>(place, groups)[group]) {
                    let samples = if weight < 0 { TWICE - samples } else { samples };
                    *sum += products(samples, factor(weight));
                }
            }
            out.copy_from_slice(&finished(sums).to_le_bytes()[..out.len()]);
        }
    }
}

/// The four bytes of two sums with two lanes each.
#[inline(always)]
fn finished([low, high]: [u64; 2]) -> u32 {
    let sum = low | high << 16;
    // All lanes are within 0..=255 after the shift.
    let sum = if (sum ^ four(1 << 15)) & four(0xf000) == 0 { sum } else { clamped(sum) };
    let bytes = sum >> (ROW_BITS - 2) & four(0xff);
    // The lanes are those of samples 0, 2, 1 and 3.
    cast::low_half(bytes | bytes >> 24)
}

/// Clamps four lanes to those of 0..=255.
#[cold]
fn clamped(sum: u64) -> u64 {
    (0..4).fold(0, |all, lane| {
        let [low, high, ..] = (sum >> (16 * lane)).to_le_bytes();
        all | u64::from(u16::from_le_bytes([low, high]).clamp(1 << 15, (1 << 15) + 0xfff)) << (16 * lane)
    })
}

/// Joins the samples of two rows, which lie `STEP` bytes apart.
fn join<const STEP: usize>([lower, upper]: [&[u8]; 2], out: &mut [u64]) {
    // The bytes after the last sample may be missing.
    let Some((last, out)) = out.split_last_mut() else { return };
    let at = |row: &[u8], place: usize| u64::from(row[place]);
    *last = at(lower, out.len() * STEP) | at(upper, out.len() * STEP) << 32;
    let (lower, upper) = (&lower.as_chunks::<STEP>().0[..out.len()], &upper.as_chunks::<STEP>().0[..out.len()]);
    // Four at a time: the compiler does not unroll this.
    let (groups, rest) = out.as_chunks_mut::<4>();
    let done = 4 * groups.len();
    for (out, (lower, upper)) in groups.iter_mut().zip(lower.as_chunks::<4>().0.iter().zip(upper.as_chunks::<4>().0)) {
        for i in 0..4 {
            out[i] = u64::from(lower[i][0]) | u64::from(upper[i][0]) << 32;
        }
    }
    for (out, (lower, upper)) in rest.iter_mut().zip(lower[done..].iter().zip(&upper[done..])) {
        *out = u64::from(lower[0]) | u64::from(upper[0]) << 32;
    }
}

/// Filters with `TAPS` taps, or with any number if it is 0. Writes the outputs of each row to every
/// `spread`-th place from its target on.
///
/// # Safety
/// All taps of all outputs of the axis exist in each source; there is a place for each output.
#[inline(always)]
unsafe fn filter<const TAPS: usize>(
    source: [*const u64; 2],
    axis: &AxisFilter,
    mut targets: [*mut u32; ROWS],
    spread: usize,
) {
    let taps = if TAPS == 0 { axis.taps } else { TAPS };
    let mut weights = axis.weights.as_ptr();
    for &start in &axis.starts {
        // SAFETY: the caller guarantees it. The places advance past the last one without being used.
        unsafe {
            let samples = source.map(|source| source.add(start));
            let mut sums = [START; 2];
            for tap in 0..taps {
                let weight = i64::from(*weights.add(tap)).cast_unsigned();
                for (sum, samples) in sums.iter_mut().zip(samples) {
                    *sum = sum.wrapping_add((*samples.add(tap)).wrapping_mul(weight));
                }
            }
            weights = weights.add(taps);
            for (sum, targets) in sums.into_iter().zip(targets.as_chunks_mut::<2>().0) {
                targets[0].write(cast::low_half(sum >> SHIFT & LOWER));
                targets[1].write(cast::low_half(sum >> (32 + SHIFT)));
            }
            targets = targets.map(|target| target.wrapping_add(spread));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scale::axis::{Filter, Span};
    use crate::scale::fir;
    use crate::simd::{Isa, Usable};
    use proptest::prelude::*;

    fn row() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(prop_oneof![Just(0), Just(255), any::<u8>()], 200)
    }

    proptest! {
        #![proptest_config(crate::testing::config(300))]

        #[test]
        fn lanes_are_single_samples(
            rows in prop::collection::vec(row(), 9),
            length in 1..200_usize,
            (origin, scale) in (-8.0..60.0_f64, 0.2..4.0_f64),
            (count, step, spread) in (1..80_usize, 1..5_usize, 1..4_usize),
            (down_origin, down_scale, at) in (-3.0..6.0_f64, 0.2..3.0_f64, 0..5_usize),
            cubic: bool,
            from in 0..4_usize,
        ) {
            let scalar = Usable::new(Isa::Scalar).expect("every CPU has it");
            let samples = length.div_ceil(step);
            let filter = if cubic { Filter::Cubic } else { Filter::Linear };
            let (mut axis, mut down) = (AxisFilter::default(), AxisFilter::default());
            axis.build(Span { origin, scale, source: samples, from: 0, count }, filter, 4);
            axis.rebase();
            down.build(Span { origin: down_origin, scale: down_scale, source: rows.len(), from: 0, count: 5 }, filter, 1);
            prop_assume!(down.taps <= fir::SHORT_SUM_ROWS && !cubic || down.taps <= 6);
            let used = down.weights(at).iter().rposition(|&weight| weight != 0).map_or(1, |last| last + 1);
            let (first, weights) = (down.starts[at], &down.weights(at)[..used]);

            let values = count * spread;
            let mut lanes = Lanes::default();
            lanes.resize(rows.len() + 1, values);
            let bytes = |row: usize| &rows[row][axis.first * step..length];
            let reach = (samples - axis.first).min(axis.extent);
            let mut plain = vec![vec![0; values]; rows.len()];
            for channel in 0..spread {
                for row in (0..rows.len()).step_by(ROWS) {
                    let places = std::array::from_fn(|i| (row + i).min(rows.len() - 1));
                    lanes.along(&axis, places.map(bytes), (step, reach), places, (channel, spread));
                }
                for (row, out) in plain.iter_mut().enumerate() {
                    let mut wide = vec![0; reach + axis.taps];
                    fir::widen(bytes(row), step, &mut wide[..reach]);
                    let out = &mut out[channel..];
                    fir::along_to_samples(scalar, &wide, &axis.starts, &axis.weights, axis.taps, out, spread);
                }
            }
            let places: Vec<usize> = (first..first + used).collect();
            let plain: Vec<&[i16]> = places.iter().map(|&row| &plain[row][..]).collect();
            let (mut expected, mut found) = (vec![7; from + values + 1], vec![7; from + values + 1]);
            fir::down_samples(scalar, &plain, weights, &mut expected[from..from + values]);
            let bias = fir::bias(weights.len());
            lanes.down(&places, weights, bias, &mut found[from..from + values]);
            prop_assert_eq!(found, expected);
        }
    }
}
