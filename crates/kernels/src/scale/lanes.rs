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

use std::sync::atomic::{Ordering, compiler_fence};

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
/// Samples of a group, which become eight bytes of the output.
const GROUP: usize = 8;
/// Numbers of a row from one group to the next: each has two samples, and the rows alternate.
const GROUP_STEP: usize = GROUP / 2 * ROWS;

/// Rows that were filtered along, and the rows of the source that are being filtered.
///
/// [`ROWS`] rows that are filtered at once are a *bundle*. A *place* is the position of a row among
/// those of all bundles.
#[derive(Clone, Debug, Default)]
pub(super) struct Lanes {
    /// Bundles of rows of samples with [`BIAS`]. Number `i` of a group of eight samples has samples
    /// `i` and `i + 4`, which puts the bytes of the output in order.
    ring: Vec<[u64; ROWS]>,
    /// Numbers per row of the ring, for whole pairs of groups.
    stride: usize,
    /// The samples of two pairs of rows of the source.
    source: [Vec<u64>; ROWS / 2],
    /// The filter along the rows, if it slides over the source.
    steps: Vec<Step>,
}

/// An output of a filter of four taps that slides over the source.
#[derive(Clone, Copy, Debug)]
struct Step {
    weights: [i16; 4],
    /// Where the result is stored, in bytes: that of [`place_of`].
    place: u32,
    /// Whether the next output starts one sample later.
    last: bool,
}

/// Where the sample `index` of the first row of a bundle is, in halves of numbers.
#[inline(always)]
fn place_of(index: usize) -> usize {
    let number = index / GROUP * (GROUP / 2) + index % (GROUP / 2);
    2 * ROWS * number + index / (GROUP / 2) % 2
}

impl Lanes {
    /// Makes room for `bundles` of rows of `values` samples, of which `spread` channels alternate.
    /// They are filtered along `axis`.
    pub(super) fn resize(&mut self, bundles: usize, axis: &AxisFilter, spread: usize) {
        let values = axis.starts.len() * spread;
        self.stride = values.div_ceil(2 * GROUP) * GROUP;
        self.ring.clear();
        // The last row ends after the others.
        self.ring.resize(bundles * self.stride + 1, [0; ROWS]);
        self.steps.clear();
        let slides = axis.taps == 4 && spread <= 2 && axis.starts.first() == Some(&0);
        if slides && axis.starts.windows(2).all(|starts| starts[0] == starts[1] || starts[0] + 1 == starts[1]) {
            let next = axis.starts.iter().skip(1).map(Some).chain([None]);
            let outputs = axis.weights.as_chunks::<4>().0.iter().zip(axis.starts.iter().zip(next));
            self.steps.extend(outputs.enumerate().map(|(output, (&weights, (start, next)))| Step {
                weights,
                place: u32::try_from(4 * place_of(output * spread)).unwrap_or(u32::MAX),
                last: Some(start) != next,
            }));
        }
    }

    /// Filters `count` samples of each row, which lie `step` bytes apart, along the axis of
    /// [`Lanes::resize`]. Writes the results to every `spread`-th sample of the rows of a bundle,
    /// from sample `first` on.
    ///
    /// # Panics
    /// If there are fewer bytes, or no such bundle.
    pub(super) fn along(
        &mut self,
        axis: &AxisFilter,
        rows: [&[u8]; ROWS],
        (step, count): (usize, usize),
        bundle: usize,
        (first, spread): (usize, usize),
    ) {
        let outputs = axis.starts.len();
        let last = first + (outputs.max(1) - 1) * spread;
        assert!(last < 2 * self.stride && first < spread, "room for all");
        let target = self.ring[bundle * self.stride..][..self.stride].as_mut_ptr().cast::<u32>();
        if self.steps.len() == outputs && step <= 2 {
            // SAFETY: the last place lies within the bundle, and places ascend by groups. A second
            // channel follows the first one in the next number.
            let mut slide = Slide { steps: self.steps.iter(), target: target.wrapping_add(place_of(first)) };
            match step {
                1 => slide.run::<1, 4>(rows, count),
                _ => slide.run::<2, 8>(rows, count),
            }
            return;
        }
        for (source, rows) in self.source.iter_mut().zip(rows.as_chunks::<2>().0) {
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
        assert!(outputs * axis.taps <= axis.weights.len(), "weights for all outputs");
        assert!(axis.extent <= count + axis.taps, "the taps of all outputs lie in the source");
        let source = self.source.each_ref().map(|source| source.as_ptr());
        // SAFETY: the taps of all outputs lie below the extent of the axis, which lies in the source;
        // the last output lies within each row of the bundle.
        unsafe {
            match axis.taps {
                4 => filter::<4>(source, axis, target, (first, spread)),
                8 => filter::<8>(source, axis, target, (first, spread)),
                _ => filter::<0>(source, axis, target, (first, spread)),
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

    /// The numbers of the row at a place. Those of other rows of its bundle lie between them.
    fn row(&self, place: usize) -> &[u64] {
        &self.ring.as_flattened()[place / ROWS * self.stride * ROWS + place % ROWS..]
    }
}

/// A filter of four taps that slides over the bytes of the rows of a bundle.
struct Slide<'a> {
    steps: std::slice::Iter<'a, Step>,
    target: *mut u32,
}

/// A sample of each row, two to a number.
type Samples = [u64; ROWS / 2];

impl Slide<'_> {
    /// Filters `count` samples of each row, which lie `STEP` bytes apart, `CHUNK` bytes at a time:
    /// four samples, after which the samples of the window are in the same variables again.
    #[inline(always)]
    #[allow(clippy::needless_range_loop, reason = "with indices the compiler knows that all slices have them")]
    fn run<const STEP: usize, const CHUNK: usize>(&mut self, rows: [&[u8]; ROWS], count: usize) {
        let sample = |position: usize| -> Samples {
            if position >= count {
                return [0; ROWS / 2];
            }
            std::array::from_fn(|pair| {
                u64::from(rows[2 * pair][position * STEP]) | u64::from(rows[2 * pair + 1][position * STEP]) << 32
            })
        };
        let [mut a, mut b, mut c] = [0, 1, 2].map(sample);
        let chunks = rows.map(|row| row.get(3 * STEP..).unwrap_or_default().as_chunks::<CHUNK>().0);
        let whole = chunks.iter().map(|chunks| chunks.len()).min().unwrap_or(0);
        let chunks = chunks.map(|chunks| &chunks[..whole]);
        for chunk in 0..whole {
            let sample = |i: usize| -> Samples {
                std::array::from_fn(|pair| {
                    let [lower, upper] = [chunks[2 * pair][chunk][i], chunks[2 * pair + 1][chunk][i]];
                    u64::from(lower) | u64::from(upper) << 32
                })
            };
            let d = sample(0);
            self.outputs([a, b, c, d]);
            a = sample(STEP);
            self.outputs([b, c, d, a]);
            b = sample(2 * STEP);
            self.outputs([c, d, a, b]);
            c = sample(3 * STEP);
            self.outputs([d, a, b, c]);
        }
        let mut position = 3 + 4 * whole;
        while !self.steps.as_slice().is_empty() {
            let d = sample(position);
            self.outputs([a, b, c, d]);
            (a, b, c) = (b, c, d);
            position += 1;
        }
    }

    /// Computes the outputs that start with the first of four samples.
    #[inline(always)]
    fn outputs(&mut self, window: [Samples; 4]) {
        for step in self.steps.by_ref() {
            let mut sums = [START; ROWS / 2];
            for (samples, weight) in window.iter().zip(&step.weights) {
                let weight = i64::from(*weight).cast_unsigned();
                for (sum, samples) in sums.iter_mut().zip(samples) {
                    *sum = sum.wrapping_add(samples.wrapping_mul(weight));
                }
            }
            // SAFETY: whoever made this guarantees the place.
            unsafe { store(sums, self.target.byte_add(step.place as usize)) };
            if step.last {
                break;
            }
        }
    }
}

/// Stores the result of each row of a bundle, from that of the first row on.
///
/// # Safety
/// The place of the first row exists.
#[inline(always)]
unsafe fn store(sums: Samples, target: *mut u32) {
    for (pair, sum) in sums.into_iter().enumerate() {
        // SAFETY: the places of the other rows follow that of the first one.
        unsafe {
            target.add(4 * pair).write(cast::low_half(sum >> SHIFT & LOWER));
            target.add(4 * pair + 2).write(cast::low_half(sum >> (32 + SHIFT)));
        }
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

    /// Computes whole pairs of groups with `COUNT` taps, of which none is negative, or the first and the last
    /// are not positive (`OUTER`). Returns the number of outputs.
    fn run<const COUNT: usize, const OUTER: bool>(self, out: &mut [u8]) -> usize {
        // SAFETY: bytes are valid in a number, and numbers as bytes.
        let (before, words, _) = unsafe { out.align_to_mut::<u64>() };
        if before.is_empty() {
            self.groups::<COUNT, OUTER, _>(words, |word, bytes| *word = bytes.to_le())
        } else {
            let groups = out.as_chunks_mut::<GROUP>().0;
            self.groups::<COUNT, OUTER, _>(groups, |out, bytes| *out = bytes.to_le_bytes())
        }
    }

    /// Computes pairs of groups, one for each output, and stores their bytes with `store`. Returns
    /// the number of bytes.
    #[inline(always)]
    fn groups<const COUNT: usize, const OUTER: bool, Output>(
        self,
        outputs: &mut [Output],
        store: impl Fn(&mut Output, u64),
    ) -> usize {
        let outputs = outputs.as_chunks_mut::<2>().0;
        let count = outputs.len();
        // Pointers, because the compiler has no register left for a counter.
        let mut rows: [*const [u64; 2 * GROUP_STEP]; COUNT] =
            std::array::from_fn(|tap| self.lanes.row(self.places[tap]).as_chunks().0[..count].as_ptr());
        let factors: [u64; COUNT] = std::array::from_fn(|tap| factor(self.weights[tap]));
        let start = self.start();
        // The sums of numbers `first` and `first + 2` of a pair of groups.
        let lanes = |rows: [*const [u64; 2 * GROUP_STEP]; COUNT], first: usize| {
            let mut sums = [start; 2];
            for tap in 0..COUNT {
                for (i, sum) in sums.iter_mut().enumerate() {
                    // SAFETY: each row has two groups for each pair of outputs.
                    let samples = unsafe { (*rows[tap])[(first + 2 * i) * ROWS] };
                    let negative = OUTER && (tap == 0 || tap + 1 == COUNT);
                    *sum += products(if negative { TWICE - samples } else { samples }, factors[tap]);
                }
            }
            // Otherwise the compiler loads the samples of all numbers first, and then has no
            // registers for the weights.
            compiler_fence(Ordering::AcqRel);
            sums[0] | sums[1] << 16
        };
        for [first, second] in outputs {
            store(first, finished([lanes(rows, 0), lanes(rows, 1)]));
            store(second, finished([lanes(rows, 4), lanes(rows, 5)]));
            rows = rows.map(|row| row.wrapping_add(1));
        }
        2 * GROUP * count
    }

    /// Computes the outputs from `first` on, a multiple of eight, with any number of taps of any
    /// sign.
    fn run_any(self, first: usize, out: &mut [u8]) {
        for (group, out) in out.chunks_mut(GROUP).enumerate().skip(first / GROUP) {
            let mut sums = [self.start(); GROUP / 2];
            for (&place, &weight) in self.places.iter().zip(self.weights) {
                let row = &self.lanes.row(place)[group * GROUP_STEP..];
                for (sum, &samples) in sums.iter_mut().zip(row.iter().step_by(ROWS)) {
                    let samples = if weight < 0 { TWICE - samples } else { samples };
                    *sum += products(samples, factor(weight));
                }
            }
            let lanes = [sums[0] | sums[2] << 16, sums[1] | sums[3] << 16];
            out.copy_from_slice(&finished(lanes).to_le_bytes()[..out.len()]);
        }
    }
}

/// The eight bytes of a group, given the sums for those with even and with odd numbers.
#[inline(always)]
fn finished([mut even, mut odd]: [u64; 2]) -> u64 {
    // Lanes within 0..=255 after the shift have none of these bits: they are larger by 2^15.
    if (even | odd) & four(0x7000) != 0 {
        [even, odd] = [clamped(even), clamped(odd)];
    }
    let [even, odd] = [even >> (ROW_BITS - 2), odd << (10 - ROW_BITS)];
    even ^ (even ^ odd) & four(0xff00)
}

/// Clamps four lanes to those of 0..=255. This is no call, because the loop around it keeps its
/// numbers in registers that a call may change.
#[inline(always)]
fn clamped(sum: u64) -> u64 {
    let ones = four(1);
    let positive = sum >> 15 & ones;
    let above = (sum >> 12 | sum >> 13 | sum >> 14) & positive;
    sum & (positive * 0xffff) | (above * 0xfff)
}

/// Joins the samples of two rows, which lie `STEP` bytes apart.
fn join<const STEP: usize>([lower, upper]: [&[u8]; 2], out: &mut [u64]) {
    // The bytes after the last sample may be missing.
    let Some((last, out)) = out.split_last_mut() else { return };
    let at = |row: &[u8], place: usize| u64::from(row[place]);
    *last = at(lower, out.len() * STEP) | at(upper, out.len() * STEP) << 32;
    let (lower, upper) = (&lower.as_chunks::<STEP>().0[..out.len()], &upper.as_chunks::<STEP>().0[..out.len()]);
    for (out, (lower, upper)) in out.iter_mut().zip(lower.iter().zip(upper)) {
        *out = u64::from(lower[0]) | u64::from(upper[0]) << 32;
    }
}

/// Filters with `TAPS` taps, or with any number if it is 0. Writes the outputs to every `spread`-th
/// sample of each row, from sample `first` on.
///
/// # Safety
/// All taps of all outputs of the axis exist in each source; there is a place for each output.
#[inline(always)]
unsafe fn filter<const TAPS: usize>(
    source: [*const u64; ROWS / 2],
    axis: &AxisFilter,
    target: *mut u32,
    (first, spread): (usize, usize),
) {
    let taps = if TAPS == 0 { axis.taps } else { TAPS };
    let mut weights = axis.weights.as_ptr();
    for (output, &start) in axis.starts.iter().enumerate() {
        // SAFETY: the caller guarantees it.
        unsafe {
            let samples = source.map(|source| source.add(start));
            let mut sums = [START; ROWS / 2];
            for tap in 0..taps {
                let weight = i64::from(*weights.add(tap)).cast_unsigned();
                for (sum, samples) in sums.iter_mut().zip(samples) {
                    *sum = sum.wrapping_add((*samples.add(tap)).wrapping_mul(weight));
                }
            }
            weights = weights.add(taps);
            store(sums, target.add(place_of(first + output * spread)));
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
            lanes.resize(rows.len().div_ceil(ROWS), &axis, spread);
            let bytes = |row: usize| &rows[row][axis.first * step..length];
            let reach = (samples - axis.first).min(axis.extent);
            let mut plain = vec![vec![0; values]; rows.len()];
            for channel in 0..spread {
                for row in (0..rows.len()).step_by(ROWS) {
                    let places = std::array::from_fn(|i| (row + i).min(rows.len() - 1));
                    lanes.along(&axis, places.map(bytes), (step, reach), row / ROWS, (channel, spread));
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
