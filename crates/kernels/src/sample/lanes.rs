//! The sums of the sampler for 64-bit CPUs without vectors: a register holds four lanes of 16 bits.
//! The results are the same to the bit as those of the plain loops. They need rows whose bytes start
//! at multiples of eight; for other rows nothing is computed.
#![allow(unsafe_code)]

use super::area::Weighted;

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

/// Eight columns in their order, four to a number.
#[inline(always)]
fn in_order([even, odd]: Columns) -> Columns {
    let spread = |half: u64| (half | half << 16) & HALVES;
    let join = |even: u64, odd: u64| spread(even & 0xffff_ffff) | spread(odd & 0xffff_ffff) << 16;
    [join(even, odd), join(even >> 32, odd >> 32)]
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

/// Writes what `sum` returns for each group of columns, or adds it if `ADD`. Returns the number of
/// columns that were written.
#[inline(always)]
fn write<const ADD: bool>(out: &mut [i16], count: usize, sum: impl Fn(usize) -> Columns) -> usize {
    // SAFETY: four numbers are one number of 64 bits, and the other way round.
    let (before, words, _) = unsafe { out.align_to_mut::<u64>() };
    if !before.is_empty() {
        return 0;
    }
    let groups = words.as_chunks_mut::<2>().0;
    let count = count.min(groups.len());
    for (group, out) in groups[..count].iter_mut().enumerate() {
        let sums = in_order(sum(group));
        *out = if ADD { [out[0].wrapping_add(sums[0]), out[1].wrapping_add(sums[1])] } else { sums };
    }
    count * 8
}

/// The sums of whole rows with `bits` fractional bits, plus what `out` holds if `ADD` is set.
/// Returns the number of columns that were computed.
pub(super) fn sum<const INNER: usize, const ADD: bool>(rows: [&[u8]; INNER], bits: u32, out: &mut [i16]) -> usize {
    let rows = rows.map(groups);
    let count = rows.iter().map(|row| row.len()).min().unwrap_or(0);
    let rows = rows.map(|row| &row[..count]);
    write::<ADD>(out, count, |group| add_rows(&rows, group).map(|sum| sum << bits))
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

/// The sums of two weighted rows and `INNER` whole ones. Returns the number of columns that were
/// computed.
pub(super) fn sum_edged<const INNER: usize>(
    edge_rows: [&[u8]; 2],
    edges: [Weighted; 2],
    rows: [&[u8]; INNER],
    bits: u32,
    out: &mut [i16],
) -> usize {
    let (edge_rows, rows) = (edge_rows.map(groups), rows.map(groups));
    let count = edge_rows.iter().chain(&rows).map(|row| row.len()).min().unwrap_or(0);
    let (edge_rows, rows) = (edge_rows.map(|row| &row[..count]), rows.map(|row| &row[..count]));
    let whole = edges.map(|edge| u64::from(edge.whole) << bits);
    let parts = edges.map(|edge| u64::from(edge.fraction));
    let (shift, half) = (7 - bits, four((1 << (7 - bits)) / 2));
    let kept = four(0xffff >> shift);
    write::<false>(out, count, |group| {
        let sums = add_rows(&rows, group);
        let [a, b] = [split(edge_rows[0][group]), split(edge_rows[1][group])];
        std::array::from_fn(|i| {
            let fractions = fractions(a[i], parts[0]) + fractions(b[i], parts[1]) + half;
            let whole = (sums[i] << bits) + a[i].wrapping_mul(whole[0]) + b[i].wrapping_mul(whole[1]);
            whole + (fractions >> shift & kept)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::area;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(crate::testing::config(300))]

        #[test]
        fn lanes_are_single_columns(
            rows in prop::collection::vec(prop::collection::vec(prop_oneof![Just(0), Just(255), any::<u8>()], 90), 8),
            (from, length) in (0..9_usize, 0..80_usize),
            fractions in any::<[u16; 2]>(),
            bits in 0..5_u32,
            whole: bool,
            add: bool,
        ) {
            let scalar = crate::simd::Usable::new(crate::simd::Isa::Scalar).expect("every CPU has it");
            let rows: [&[u8]; 8] = std::array::from_fn(|k| &rows[k][from..from + length]);
            let edges = fractions.map(|fraction| Weighted::of(u16::from(whole), fraction));
            let (mut found, mut expected) = (vec![5; length], vec![5; length]);
            let (edge_rows, inner) = ([rows[0], rows[1]], [rows[2], rows[3], rows[4], rows[5]]);
            area::sum_edged::<4>(scalar, edge_rows, edges, inner, bits, &mut expected);
            let done = sum_edged(edge_rows, edges, inner, bits, &mut found);
            prop_assert_eq!(&found[..done], &expected[..done]);
            prop_assert!(found[done..].iter().all(|&value| value == 5), "nothing else was written");
            prop_assert!(done + 8 > length || rows.iter().any(|row| row.as_ptr().addr() % 8 != 0), "{} columns", done);

            let (mut found, mut expected) = (vec![5; length], vec![5; length]);
            let done = if add {
                area::add_whole::<8>(scalar, rows, bits, &mut expected);
                sum::<8, true>(rows, bits, &mut found)
            } else {
                area::sum_whole::<8>(scalar, rows, bits, &mut expected);
                sum::<8, false>(rows, bits, &mut found)
            };
            prop_assert_eq!(&found[..done], &expected[..done]);
            prop_assert!(found[done..].iter().all(|&value| value == 5), "nothing else was written");
        }
    }
}
