//! Compares the loops of blending on every instruction set with the plain ones: at every width up to
//! a few vectors, at every alignment of a byte, and with the extreme values.

use super::fit::{self, COLORS, LANES, MARGIN, MOMENTS};
use super::{blur, rows};
use crate::cast;
use crate::simd::{Isa, Usable};
use crate::testing::Canvas;
use crate::{PixelFormat, Size};

/// Widths in samples, and for rows of floats in vectors of [`LANES`].
const WIDTHS: std::ops::Range<usize> = 1..150;
const VECTORS: std::ops::Range<usize> = 1..20;

/// `count` bytes of noise, of which some are extreme.
fn bytes(count: usize, seed: u64) -> Vec<u8> {
    let width = u32::try_from(count).expect("small");
    let mut bytes = Canvas::noise(PixelFormat::Grey, Size::new(width, 1), 0, seed).bytes.remove(0);
    for (i, byte) in bytes.iter_mut().enumerate() {
        *byte = match i % 7 {
            0 => 0,
            1 => 255,
            _ => *byte,
        };
    }
    bytes
}

/// `count` whole numbers within `-limit..=limit`.
fn whole(count: usize, seed: u64, limit: i16) -> Vec<i16> {
    let pairs = bytes(2 * count, seed);
    let pairs = pairs.as_chunks::<2>().0;
    pairs.iter().map(|&pair| i16::from_le_bytes(pair).clamp(-limit, limit)).collect()
}

fn floats(count: usize, seed: u64, limit: i16) -> Vec<f32> {
    whole(count, seed, limit).into_iter().map(f32::from).collect()
}

/// Calls `run` with every instruction set of this CPU, and checks that it returns the same each time.
fn same<T: PartialEq + std::fmt::Debug>(name: &str, width: usize, mut run: impl FnMut(Usable) -> T) {
    let expected = run(Usable::new(Isa::Scalar).expect("every CPU has it"));
    for isa in Isa::available() {
        let found = run(Usable::new(isa).expect("available"));
        assert!(found == expected, "{name} on {isa}, {width} wide: {found:?} and not {expected:?}");
    }
}

#[test]
fn rows_of_bytes() {
    for width in WIDTHS {
        // The values start at any address.
        let from = width % 5;
        let all: [Vec<u8>; 4] = std::array::from_fn(|i| bytes(from + 2 * width, (width * 4 + i) as u64));
        let [a, b, c, d] = all.each_ref().map(|row| &row[from..]);
        same("blend", width, |isa| {
            let mut out = d.to_vec();
            rows::blend(isa, &a[..width], &b[..width], &c[..width], &mut out[..width]);
            out
        });
        same("restore_colors", width, |isa| {
            let mut out = d.to_vec();
            fit::restore_colors(isa, &a[..width], &c[..width], &mut out[..width]);
            out
        });
        same("chroma_alpha", width, |isa| {
            let mut out = d.to_vec();
            rows::chroma_alpha(isa, &a[..width], &b[..width], &mut out[..width.next_multiple_of(2)]);
            out
        });
        for (low, high) in [(0, 1), (0, 255), (77, 179), (254, 255), (5, 38)] {
            same("shape", width, |isa| {
                let mut out = a.to_vec();
                let any = rows::Ramp::new((low, high)).shape(isa, &mut out[..width]);
                assert_eq!(any, out[..width].iter().any(|&value| value > 0));
                out
            });
        }
        same("halve", width, |isa| {
            let mut out = vec![1.0; width + 1];
            fit::halve(isa, &a[..2 * width], &b[..2 * width], &mut out[..width]);
            out
        });
        same("split_chroma", width, |isa| {
            let mut out = [vec![1.0; width + 1], vec![1.0; width + 1]];
            let [blue, red] = &mut out;
            fit::split_chroma(isa, &a[..2 * width], &mut blue[..width], &mut red[..width]);
            out
        });
        same("weigh", width, |isa| {
            let mut out = vec![1.0; width + 1];
            fit::weigh(isa, &a[..width], &mut out[..width]);
            out
        });
    }
}

#[test]
fn rows_of_cells_become_pixels() {
    fn expand<const D: usize>(cells: &[i16]) {
        let count = cells.len() - 1;
        same("expand", count, |isa| {
            let mut out = vec![7; count * D + 1];
            fit::expand::<D>(isa, cells, &mut out[..count * D]);
            out
        });
    }
    for width in WIDTHS {
        let seed = 3 * width as u64;
        let (upper, lower) = (whole(width, seed, 16_383), whole(width, seed + 1, 16_383));
        for weight in [0, 1, 4096, 20_001, 32_767] {
            same("between", width, |isa| {
                let mut out = vec![7; width + 1];
                fit::between(isa, &upper, &lower, weight, &mut out[..width]);
                out
            });
        }
        let cells = whole(width + 1, seed, 16_383);
        expand::<2>(&cells);
        expand::<4>(&cells);
        expand::<6>(&cells);
        expand::<12>(&cells);
        let (gains, offsets) = (whole(width, seed, 16_383), whole(width, seed + 1, i16::MAX));
        let luma = bytes(width, seed + 2);
        same("apply", width, |isa| {
            let mut out = vec![7; width + 1];
            fit::apply(isa, &gains, &offsets, &luma, &mut out[..width]);
            out
        });
    }
}

#[test]
fn rows_of_sums() {
    for vectors in VECTORS {
        let (width, seed) = (vectors * LANES, 7 * vectors as u64);
        let cells: [Vec<f32>; 4] = std::array::from_fn(|k| floats(width + MARGIN, seed + k as u64, 128));
        let cells = cells.each_ref().map(|row| &row[..width]);
        let sums = floats(MOMENTS * (width + MARGIN), seed + 4, 9000);
        same("add_moments", width, |isa| {
            let mut both = [sums[..MOMENTS * width].to_vec(), sums[..MOMENTS * width].to_vec()];
            fit::add_moments::<false>(isa, cells, &mut both[0]);
            fit::add_moments::<true>(isa, cells, &mut both[1]);
            both
        });
        same("add_colors", width, |isa| {
            let mut both = [sums[..COLORS * width].to_vec(), sums[..COLORS * width].to_vec()];
            fit::add_colors::<false>(isa, cells, cells[3], &mut both[0]);
            fit::add_colors::<true>(isa, cells, cells[3], &mut both[1]);
            both
        });
        let fractions: Vec<f32> = sums.iter().map(|sum| sum / 7.0).collect();
        same("sum_along", width, |isa| {
            let mut out = [vec![1.0; MOMENTS * width], vec![1.0; 4 * width]];
            fit::sum_along::<7>(isa, &sums, MOMENTS, &mut out[0]);
            fit::sum_along::<5>(isa, &fractions[..4 * (width + MARGIN)], 4, &mut out[1]);
            out
        });
        same("add", width, |isa| {
            let mut out = sums[width..2 * width - 3].to_vec();
            fit::add(isa, &fractions[..width - 3], &mut out);
            out
        });
    }
}

#[test]
fn fits_and_colours() {
    for vectors in VECTORS {
        let (width, seed) = (vectors * LANES, 7 * vectors as u64);
        let cells: [Vec<f32>; 4] = std::array::from_fn(|k| floats(width, seed + k as u64, 128));
        let cells = cells.each_ref().map(|row| &row[..]);
        let columns: Vec<f32> = (0..width).map(|x| if x % 9 < 3 { 4.0 } else { 7.0 }).collect();
        let mut sums = floats(MOMENTS * width, seed + 4, 9000);
        // Windows without any variance, and those with some.
        for (i, sum) in sums.iter_mut().enumerate() {
            *sum = if i % width % 3 == 0 { 49.0 } else { *sum };
        }
        same("fit", width, |isa| {
            let mut out = vec![1.0; 4 * width];
            fit::fit(isa, &sums, &columns, 7.0, &mut out);
            out.into_iter().map(f32::to_bits).collect::<Vec<_>>()
        });
        let fits: Vec<f32> = sums.iter().map(|sum| sum / 100.0).collect();
        same("finish", width, |isa| {
            let (mut gains, mut offsets) = (vec![7; width + 1], vec![7; width + 1]);
            let mut mask = vec![7; width + 1];
            fit::finish(isa, &fits[..4 * width], &columns, 5.0, cells, &mut gains, &mut offsets, &mut mask);
            (gains, offsets, mask)
        });
        let weighted: Vec<f32> = sums.iter().map(|sum| sum.abs()).collect();
        same("mean_colors", width, |isa| {
            let mut out = vec![7; (COLORS - 1) * width];
            fit::mean_colors(isa, &weighted[..COLORS * width], cells, &mut out);
            out
        });
    }
}

#[test]
fn running_sums() {
    for width in WIDTHS {
        let seed = 5 * width as u64;
        let wide =
            |seed: u64| -> Vec<u16> { whole(width, seed, i16::MAX).into_iter().map(i16::unsigned_abs).collect() };
        let (next, gone) = (wide(seed), wide(seed + 1));
        let sums: Vec<i32> = wide(seed + 2).iter().map(|&value| i32::from(value) * 5000 / 3).collect();
        let mean = |&sum: &i32| u16::try_from(cast::index(sum as f32 / 5001.0 + 0.5)).expect("16 bits");
        let expected: Vec<u16> = sums.iter().map(mean).collect();
        same("step_down", width, |isa| {
            let (mut sums, mut out) = (sums.clone(), vec![7; width]);
            blur::step_down(isa, &next, &gone, 1.0 / 5001.0, &mut sums, &mut out);
            for (found, expected) in out.iter().zip(&expected) {
                assert!(found.abs_diff(*expected) <= 1, "{found} and not {expected}");
            }
            (sums, out)
        });
    }
}
