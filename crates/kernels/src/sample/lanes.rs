//! The sums of the sampler for 64-bit CPUs without vectors. Down the columns, a register holds four
//! lanes of 16 bits, if rows start at multiples of eight bytes. Along the rows, a number holds the
//! sum of a column for one output row in its lower half, and that for the next output row in its
//! upper half: one multiplication serves both. The results are the same to the bit as those of the
//! plain loops.
#![allow(unsafe_code)]

use super::area::{self, Sums, Weighted};
use crate::cast;
use crate::scale::AxisFilter;
use crate::simd::Usable;

/// A number in four lanes.
const fn four(value: u64) -> u64 {
    value | value << 16 | value << 32 | value << 48
}

/// The lower byte of each lane.
const BYTES: u64 = four(0xff);
/// The lower half of two lanes of 32 bits.
const HALVES: u64 = 0xffff_0000_ffff;

/// The columns of a group: eight, those with even numbers first.
type Columns = [u64; 2];

/// The bytes of a group as columns.
#[inline(always)]
fn split(bytes: u64) -> Columns {
    [bytes & BYTES, bytes >> 8 & BYTES]
}

/// `byte * fraction / 512` for a byte in each lane.
#[inline(always)]
fn fractions(bytes: u64, fraction: u64) -> u64 {
    let half = |bytes: u64| (bytes & (HALVES & BYTES)).wrapping_mul(fraction) >> 9 & (0x7fff_0000_7fff);
    half(bytes) | half(bytes >> 16) << 16
}

/// The groups of a row, if they can be read at once.
#[inline(always)]
fn groups(row: &[u8]) -> &[u64] {
    // SAFETY: eight bytes are a valid number.
    let (before, groups, _) = unsafe { row.align_to() };
    if cfg!(target_endian = "little") && before.is_empty() { groups } else { &[] }
}

/// The sums of one output row: every fourth number of `half`, from the first on.
pub(super) struct Halves<'o, Row> {
    pub isa: Usable,
    pub bits: u32,
    pub row: Row,
    pub half: &'o mut [u16],
    /// Has room for a sum of each column. Its length is the number of columns.
    pub scratch: &'o mut [i16],
}

/// Writes sums to every fourth number of `half`, or adds them to those numbers if `ADD`.
pub(super) fn spread<const ADD: bool>(sums: &[i16], half: &mut [u16]) {
    for (place, &sum) in half.iter_mut().step_by(4).zip(sums) {
        *place = if ADD { place.wrapping_add_signed(sum) } else { sum.cast_unsigned() };
    }
}

/// Writes what `sum` returns for each of `count` groups of columns, or adds it if `ADD`.
#[inline(always)]
#[allow(clippy::needless_range_loop, reason = "with indices the compiler knows that all slices have them")]
fn write<const ADD: bool>(half: &mut [u16], count: usize, sum: impl Fn(usize) -> Columns) {
    let groups = &mut half.as_chunks_mut::<32>().0[..count];
    for group in 0..count {
        let [even, odd] = sum(group);
        let half = &mut groups[group];
        let mut put = |column: usize, lane: u64| {
            let (place, value) = (&mut half[4 * column], cast::low_quarter(lane));
            *place = if ADD { place.wrapping_add(value) } else { value };
        };
        // Written out, because the compiler does not unroll this.
        put(0, even);
        put(1, odd);
        put(2, even >> 16);
        put(3, odd >> 16);
        put(4, even >> 32);
        put(5, odd >> 32);
        put(6, even >> 48);
        put(7, odd >> 48);
    }
}

/// The sums of whole rows.
#[inline(always)]
fn add_rows<const INNER: usize>(rows: &[&[u64]; INNER], group: usize) -> Columns {
    let mut sums = [0; 2];
    for row in rows {
        let [even, odd] = split(row[group]);
        sums = [sums[0] + even, sums[1] + odd];
    }
    sums
}

/// The fractions of two weighted rows, and the parts of them that are cut off.
#[derive(Clone, Copy)]
struct Rounding {
    shift: u32,
    half: u64,
    kept: u64,
}

impl Rounding {
    const fn new(bits: u32) -> Self {
        let shift = 7 - bits;
        Self { shift, half: four((1 << shift) / 2), kept: four(0xffff >> shift) }
    }

    #[inline(always)]
    const fn apply(self, fractions: u64) -> u64 {
        (fractions + self.half) >> self.shift & self.kept
    }
}

/// The sums of `EDGES` weighted rows and `INNER` whole ones. The weights are multiples of 1/256
/// below one. Returns the number of columns that were computed.
fn sum_bytes<const EDGES: usize, const INNER: usize>(
    edges: [(&[u8], Weighted); EDGES],
    rows: [&[u8]; INNER],
    bits: u32,
    half: &mut [u16],
) -> usize {
    let weights = edges.map(|(_, edge)| u64::from(edge.fraction >> 8));
    let (edge_rows, rows) = (edges.map(|(row, _)| groups(row)), rows.map(groups));
    let count = edge_rows.iter().chain(&rows).map(|row| row.len()).min().unwrap_or(0);
    let (edge_rows, rows) = (edge_rows.map(|row| &row[..count]), rows.map(|row| &row[..count]));
    let rounding = Rounding::new(bits);
    write::<false>(half, count, |group| {
        let sums = add_rows(&rows, group);
        let edges = edge_rows.map(|row| split(row[group]));
        std::array::from_fn(|i| {
            let mut fractions = 0;
            for (edge, weight) in edges.iter().zip(weights) {
                fractions += edge[i].wrapping_mul(weight) >> 1 & four(0x7fff);
            }
            (sums[i] << bits) + rounding.apply(fractions)
        })
    });
    count * 8
}

/// The sums of two weighted rows and `INNER` whole ones. Returns the number of columns that were
/// computed.
fn sum_edged<const INNER: usize>(
    edge_rows: [&[u8]; 2],
    edges: [Weighted; 2],
    rows: [&[u8]; INNER],
    bits: u32,
    half: &mut [u16],
) -> usize {
    let (edge_rows, rows) = (edge_rows.map(groups), rows.map(groups));
    let count = edge_rows.iter().chain(&rows).map(|row| row.len()).min().unwrap_or(0);
    let (edge_rows, rows) = (edge_rows.map(|row| &row[..count]), rows.map(|row| &row[..count]));
    let whole = edges.map(|edge| u64::from(edge.whole) << bits);
    let parts = edges.map(|edge| u64::from(edge.fraction));
    let rounding = Rounding::new(bits);
    write::<false>(half, count, |group| {
        let sums = add_rows(&rows, group);
        let [a, b] = [split(edge_rows[0][group]), split(edge_rows[1][group])];
        std::array::from_fn(|i| {
            let whole = (sums[i] << bits) + a[i].wrapping_mul(whole[0]) + b[i].wrapping_mul(whole[1]);
            whole + rounding.apply(fractions(a[i], parts[0]) + fractions(b[i], parts[1]))
        })
    });
    count * 8
}

impl<'a, Row: Fn(usize) -> &'a [u8]> Sums for Halves<'_, Row> {
    fn edged<const INNER: usize>(&mut self, edges: [Weighted; 2], from: usize) {
        let Self { isa, bits, row, half, scratch } = self;
        let columns = scratch.len();
        let edge_rows = edges.map(|edge| &row(edge.row)[..columns]);
        let rows: [&[u8]; INNER] = std::array::from_fn(|k| &row(from + k)[..columns]);
        let in_bytes = edges.iter().all(|edge| edge.whole == 0 && edge.fraction % 256 == 0);
        let [first, last] = [0, 1].map(|k| (edge_rows[k], edges[k]));
        let done = match (in_bytes, edges.map(|edge| edge.fraction == 0)) {
            (true, [true, _]) => sum_bytes([last], rows, *bits, half),
            (true, [_, true]) => sum_bytes([first], rows, *bits, half),
            (true, _) => sum_bytes([first, last], rows, *bits, half),
            (false, _) => sum_edged(edge_rows, edges, rows, *bits, half),
        };
        let (edge_rows, rows) = (edge_rows.map(|row| &row[done..]), rows.map(|row| &row[done..]));
        let rest = &mut scratch[done..];
        area::sum_edged::<INNER>(*isa, edge_rows, edges, rows, *bits, rest);
        spread::<false>(rest, &mut half[4 * done..]);
    }

    fn plain<const INNER: usize, const ADD: bool>(&mut self, from: usize) {
        let Self { isa, bits, row, half, scratch } = self;
        let rows: [&[u8]; INNER] = std::array::from_fn(|k| &row(from + k)[..scratch.len()]);
        let numbers = rows.map(groups);
        let count = numbers.iter().map(|row| row.len()).min().unwrap_or(0);
        let numbers = numbers.map(|row| &row[..count]);
        write::<ADD>(half, count, |group| add_rows(&numbers, group).map(|sum| sum << *bits));
        let rest = &mut scratch[8 * count..];
        area::sum_whole::<INNER>(*isa, rows.map(|row| &row[8 * count..]), *bits, rest);
        spread::<ADD>(rest, &mut half[32 * count..]);
    }
}

/// Filters two rows of sums along an axis, to floats that still contain the scale of the weights.
/// `sums` has those of both rows, `step` numbers from one sample to the next. No output has more
/// than `used` taps whose weight is not 0.
pub(super) fn along(axis: &AxisFilter, used: usize, sums: &[u64], step: usize, out: [&mut [f32]; 2]) {
    match (used, step) {
        (3, 1) => filter::<3, 1>(axis, used, sums, step, out),
        (3, 2) => filter::<3, 2>(axis, used, sums, step, out),
        (4, 1) => filter::<4, 1>(axis, used, sums, step, out),
        (4, 2) => filter::<4, 2>(axis, used, sums, step, out),
        (5, 1) => filter::<5, 1>(axis, used, sums, step, out),
        (5, 2) => filter::<5, 2>(axis, used, sums, step, out),
        // The motion gate's luma at 720p.
        (10, 1) => filter::<10, 1>(axis, used, sums, step, out),
        _ => filter::<0, 0>(axis, used, sums, step, out),
    }
}

/// [`along`] with `TAPS` taps and a step of `STEP`, or with any numbers of them if these are 0.
#[inline(always)]
fn filter<const TAPS: usize, const STEP: usize>(
    axis: &AxisFilter,
    used: usize,
    sums: &[u64],
    step: usize,
    [upper, lower]: [&mut [f32]; 2],
) {
    let (taps, step) = if TAPS == 0 { (used, step) } else { (TAPS, STEP) };
    let outputs = upper.iter_mut().zip(lower);
    for ((&start, weights), (upper, lower)) in axis.starts.iter().zip(axis.weights.chunks_exact(axis.taps)).zip(outputs)
    {
        let window = &sums[start * step..=(start + taps - 1) * step];
        let mut sum = 0_u64;
        for (tap, &weight) in weights[..taps].iter().enumerate() {
            // No weight is negative, and no sum has more than 15 bits: the lanes stay apart.
            sum += window[tap * step] * u64::from(weight.cast_unsigned());
        }
        *upper = cast::low_half(sum) as f32;
        *lower = cast::low_half(sum >> 32) as f32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scale::{Filter, Span, fir};
    use proptest::prelude::*;

    /// The sums of a row, and whether the other halves of all numbers are as they were.
    fn sums(half: &[u16], length: usize) -> (Vec<i16>, bool) {
        let (numbers, others) = (half.iter().step_by(4), half.iter().enumerate().filter(|(i, _)| i % 4 != 0));
        let rest = half.iter().step_by(4).skip(length).all(|&value| value == 5);
        (
            numbers.take(length).map(|value| value.cast_signed()).collect(),
            rest && others.into_iter().all(|(_, &v)| v == 5),
        )
    }

    proptest! {
        #![proptest_config(crate::testing::config(300))]

        #[test]
        fn lanes_are_single_columns(
            rows in prop::collection::vec(prop::collection::vec(prop_oneof![Just(0), Just(255), any::<u8>()], 90), 8),
            (from, length) in (0..9_usize, 0..80_usize),
            fractions in [prop_oneof![Just(0), Just(0x8000), any::<u16>()], prop_oneof![Just(0), Just(0x4000), any::<u16>()]],
            bits in 0..5_u32,
            whole: bool,
        ) {
            let isa = crate::simd::Usable::new(crate::simd::Isa::Scalar).expect("every CPU has it");
            let rows: [&[u8]; 8] = std::array::from_fn(|k| &rows[k][from..from + length]);
            let edges = [0, 1].map(|row| Weighted { row, ..Weighted::of(u16::from(whole), fractions[row]) });
            let mut expected = vec![0; length];
            area::sum_edged::<4>(isa, [rows[0], rows[1]], edges, [rows[2], rows[3], rows[4], rows[5]], bits, &mut expected);
            let (mut half, mut scratch) = (vec![5; 4 * length + 8], vec![0; length]);
            let mut found = Halves { isa, bits, row: |row| rows[row], half: &mut half, scratch: &mut scratch };
            found.edged::<4>(edges, 2);
            prop_assert_eq!(sums(&half, length), (expected.clone(), true));

            let mut found = Halves { isa, bits, row: |row| rows[row], half: &mut half, scratch: &mut scratch };
            found.plain::<6, true>(1);
            area::add_whole::<6>(isa, std::array::from_fn(|k| rows[1 + k]), bits, &mut expected);
            prop_assert_eq!(sums(&half, length), (expected.clone(), true));

            let mut found = Halves { isa, bits, row: |row| rows[row], half: &mut half, scratch: &mut scratch };
            found.plain::<8, false>(0);
            area::sum_whole::<8>(isa, rows, bits, &mut expected);
            prop_assert_eq!(sums(&half, length), (expected, true));
        }

        #[test]
        fn two_rows_are_single_rows(
            rows in prop::collection::vec([0..32_641_i16, 0..32_641_i16], 1..120),
            (origin, scale) in (-8.0..60.0_f64, prop_oneof![0.2..12.0_f64, Just(2.5), Just(5.0), Just(10.0)]),
            (count, step) in (1..60_usize, 1..5_usize),
        ) {
            let isa = crate::simd::Usable::new(crate::simd::Isa::Scalar).expect("every CPU has it");
            let mut axis = AxisFilter::default();
            let source = rows.len().div_ceil(step);
            axis.build(Span { origin, scale, source, from: 0, count }, Filter::Linear, 4);
            axis.rebase();
            let rows = &rows[axis.first * step..];
            let count_of_source = axis.extent.min(source - axis.first);
            let mut numbers: Vec<u64> = rows.iter().map(|&[a, b]| u64::from(a.unsigned_abs()) | u64::from(b.unsigned_abs()) << 32).collect();
            numbers.resize(numbers.len() + axis.taps * step, 0);
            let mut found = [vec![0.0; count], vec![0.0; count]];
            let [upper, lower] = &mut found;
            along(&axis, axis.used(), &numbers, step, [upper, lower]);
            for (row, found) in found.iter().enumerate() {
                let mut samples: Vec<i16> = rows.iter().map(|sums| sums[row]).collect();
                samples.resize(samples.len() + axis.taps * step, 0);
                let (mut scratch, mut expected) = (vec![0; count_of_source + axis.taps], vec![0.0; count]);
                fir::axis_to_floats(isa, &axis, (&samples, step, count_of_source), &mut scratch, &mut expected);
                prop_assert_eq!(found, &expected);
            }
        }
    }
}
