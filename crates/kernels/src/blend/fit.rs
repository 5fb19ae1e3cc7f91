//! The loops of the guided filter, which work on one row of cells each. Sums are of whole numbers
//! that floats represent exactly, so running sums do not drift, and the results are the same on
//! every machine.

use crate::cast;

/// Radius of the windows in which the mask is fitted to the colours, in cells.
pub(super) const RADIUS: usize = 3;
/// Radius of the windows over which the fits are averaged, in cells.
pub(super) const SMOOTH: usize = 2;

/// The number that is added to the variance of luma, in squared levels. It sets how large a
/// difference in brightness still counts as noise.
pub(super) const NOISE_LUMA: f32 = 325.0;
/// The number that is added to the variances of Cb and Cr, whose differences are smaller.
pub(super) const NOISE_CHROMA: f32 = 11.0;

/// Number of sums per window: Y, Cb, Cr and the mask; the mask times each colour; and the products
/// of colours.
pub(super) const MOMENTS: usize = 13;
/// Number of sums for the colours of a person: the weights, and the weighted colours.
pub(super) const COLORS: usize = 4;

/// A row of cells: Y, Cb, Cr (centred on 0) and the mask (0..=255).
pub(super) type Cells<'a> = [&'a [f32]; 4];

/// Cells that are computed together. Rows are padded to a multiple of this.
pub(super) const LANES: usize = 8;

/// Neighbouring cells. Operations are written for all of them at once, so that the compiler uses
/// one register.
#[derive(Clone, Copy)]
struct Lanes([f32; LANES]);

macro_rules! lane_by_lane {
    ($($operation:ident::$method:ident),*) => {$(
        impl std::ops::$operation for Lanes {
            type Output = Self;

            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                Self(std::array::from_fn(|i| std::ops::$operation::$method(self.0[i], other.0[i])))
            }
        }
    )*};
}

lane_by_lane!(Add::add, Sub::sub, Mul::mul, Div::div);

impl Lanes {
    #[inline(always)]
    const fn splat(value: f32) -> Self {
        Self([value; LANES])
    }

    /// The cells from `x` on.
    #[inline(always)]
    fn of(row: &[f32], x: usize) -> Self {
        let row = &row[x..x + LANES];
        Self(std::array::from_fn(|i| row[i]))
    }

    #[inline(always)]
    fn at_least(self, least: f32) -> Self {
        Self(std::array::from_fn(|i| if self.0[i] > least { self.0[i] } else { least }))
    }

    #[inline(always)]
    fn at_most(self, most: f32) -> Self {
        Self(std::array::from_fn(|i| if self.0[i] < most { self.0[i] } else { most }))
    }

    /// The nearest whole numbers of values within 16 bits. Adding a large number leaves them in the
    /// low bits of the sum.
    #[inline(always)]
    fn rounded(self) -> [i16; LANES] {
        std::array::from_fn(|i| {
            let [low, high, ..] = (self.0[i] + 12_582_912.0).to_bits().to_le_bytes();
            i16::from_le_bytes([low, high])
        })
    }
}

/// The rows that [`sum_along`] reads are this much longer than those it writes.
pub(super) const MARGIN: usize = LANES;

/// `count` vectors of a row.
#[inline(always)]
fn vectors(row: &[f32], count: usize) -> &[[f32; LANES]] {
    &row.as_chunks().0[..count]
}

/// The `ROWS` rows of `all`, and the number of vectors of each.
#[inline(always)]
fn rows_of<const ROWS: usize>(all: &mut [f32]) -> ([&mut [[f32; LANES]]; ROWS], usize) {
    let stride = all.len() / ROWS;
    let count = stride / LANES;
    let mut rows = all.chunks_exact_mut(stride.max(1));
    (std::array::from_fn(|_| &mut rows.next().unwrap_or_default().as_chunks_mut().0[..count]), count)
}

/// Adds the values to vector `x` of the sums, or subtracts them.
#[inline(always)]
fn add_to<const ROWS: usize>(sums: &mut [&mut [[f32; LANES]]; ROWS], x: usize, values: &[Lanes; ROWS], subtract: bool) {
    for k in 0..ROWS {
        let sum = Lanes(sums[k][x]);
        sums[k][x] = if subtract { sum - values[k] } else { sum + values[k] }.0;
    }
}

crate::simd::versions! {
    /// Adds the moments of a row to the sums of the columns, or subtracts them. There are `MOMENTS`
    /// rows of sums, whose length is a multiple of [`LANES`].
    pub(super) fn add_moments<const SUBTRACT: bool>(cells: Cells<'_>, columns: &mut [f32]) {
        let (mut sums, count) = rows_of::<MOMENTS>(columns);
        let [y, b, r, p] = cells;
        let (ys, bs, rs, ps) = (vectors(y, count), vectors(b, count), vectors(r, count), vectors(p, count));
        for x in 0..count {
            let (y, b, r, p) = (Lanes(ys[x]), Lanes(bs[x]), Lanes(rs[x]), Lanes(ps[x]));
            let all = [y, b, r, p, y * p, b * p, r * p, y * y, y * b, y * r, b * b, b * r, r * r];
            add_to(&mut sums, x, &all, SUBTRACT);
        }
    } rvv => super::rvv::add_moments
}

crate::simd::versions! {
    /// Adds the colours of a row to the sums of the columns, weighted by `weights`, or subtracts
    /// them.
    pub(super) fn add_colors<const SUBTRACT: bool>(cells: Cells<'_>, weights: &[f32], columns: &mut [f32]) {
        let (mut sums, count) = rows_of::<COLORS>(columns);
        let [y, b, r, _] = cells;
        let (ys, bs, rs, weights) =
            (vectors(y, count), vectors(b, count), vectors(r, count), vectors(weights, count));
        for x in 0..count {
            let weight = Lanes(weights[x]);
            let all = [weight, weight * Lanes(ys[x]), weight * Lanes(bs[x]), weight * Lanes(rs[x])];
            add_to(&mut sums, x, &all, SUBTRACT);
        }
    } rvv => super::rvv::add_colors
}

crate::simd::versions! {
    /// Sums `WINDOW` neighbours, at most [`MARGIN`] + 1, in each of the `rows` rows of `padded`.
    /// The rows of `out` are [`MARGIN`] shorter.
    pub(super) fn sum_along<const WINDOW: usize>(padded: &[f32], rows: usize, out: &mut [f32]) {
        let (from, to) = (padded.len() / rows, out.len() / rows);
        for (padded, out) in padded.chunks_exact(from).zip(out.chunks_exact_mut(to)) {
            for (x, out) in out.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
                let near = &padded[x * LANES..x * LANES + LANES + MARGIN];
                let mut sum = Lanes::splat(0.0);
                for k in 0..WINDOW {
                    sum = sum + Lanes::of(near, k);
                }
                *out = sum.0;
            }
        }
    } rvv => super::rvv::sum_along
}

crate::simd::versions! {
    /// Fits the mask as a linear function of the colours, from the sums over windows (`MOMENTS`
    /// rows). This is least squares with the variance of the noise added (He, Sun and Tang, "Guided
    /// Image Filtering", TPAMI 2013, equation 19). `columns` are the columns of each window, all of
    /// which have `height` rows. The rows of `out` are three gains and an offset.
    pub(super) fn fit(sums: &[f32], columns: &[f32], height: f32, out: &mut [f32]) {
        let stride = columns.len();
        for x in (0..stride).step_by(LANES) {
            let one = Lanes::splat(1.0) / (Lanes::of(columns, x) * Lanes::splat(height));
            let mut mean = [one; MOMENTS];
            for (k, mean) in mean.iter_mut().enumerate() {
                *mean = Lanes::of(sums, k * stride + x) * one;
            }
            let [y, b, r, p, yp, bp, rp, yy, yb, yr, bb, br, rr] = mean;
            let (cy, cb, cr) = (yp - y * p, bp - b * p, rp - r * p);
            let (yy, yb, yr) = (yy - y * y + Lanes::splat(NOISE_LUMA), yb - y * b, yr - y * r);
            let (bb, br) = (bb - b * b + Lanes::splat(NOISE_CHROMA), br - b * r);
            let rr = rr - r * r + Lanes::splat(NOISE_CHROMA);
            // The inverse of a symmetric matrix from its cofactors.
            let (iyy, iyb, iyr) = (bb * rr - br * br, yr * br - yb * rr, yb * br - yr * bb);
            let (ibb, ibr, irr) = (yy * rr - yr * yr, yb * yr - yy * br, yy * bb - yb * yb);
            let determinant = (yy * iyy + yb * iyb + yr * iyr).at_least(1.0);
            let scale = Lanes::splat(1.0) / determinant;
            let gy = (iyy * cy + iyb * cb + iyr * cr) * scale;
            let gb = (iyb * cy + ibb * cb + ibr * cr) * scale;
            let gr = (iyr * cy + ibr * cb + irr * cr) * scale;
            let fits = [gy, gb, gr, p - gy * y - gb * b - gr * r];
            for k in 0..4 {
                out[k * stride + x..k * stride + x + LANES].copy_from_slice(&fits[k].0);
            }
        }
    } rvv => super::rvv::fit
}

/// Fractional bits of the gain of luma.
pub(super) const GAIN_BITS: i32 = 10;
/// Fractional bits of the offsets, in levels.
pub(super) const OFFSET_BITS: i32 = 2;
/// The limit of gains and offsets: the difference of two must fit 16 bits.
pub(super) const LARGEST: f32 = 16_383.0;

/// The factor of numbers with so many fractional bits.
pub(super) const fn scale(bits: i32) -> f32 {
    (1 << bits) as f32
}

crate::simd::versions! {
    /// Turns summed fits (four rows) into the values that rows of pixels need: the gain of luma, and
    /// the mask value at a luma of 128 with the chroma of the cell. A sum is that of `height` rows,
    /// and of a number of columns. Writes the mask value of the cell itself to `mask`, 0..=255.
    pub(super) fn finish(
        fits: &[f32],
        columns: &[f32],
        height: f32,
        cells: Cells<'_>,
        gains: &mut [i16],
        offsets: &mut [i16],
        mask: &mut [u8],
    ) {
        let stride = columns.len();
        let (gains, offsets) = (&mut gains[..stride], &mut offsets[..stride]);
        let mask = &mut mask[..stride];
        let fixed = |value: Lanes, bits: i32| {
            let scaled = value * Lanes::splat(scale(bits));
            scaled.at_most(LARGEST).at_least(-LARGEST).rounded()
        };
        for x in (0..stride).step_by(LANES) {
            let one = Lanes::splat(1.0) / (Lanes::of(columns, x) * Lanes::splat(height));
            let (gain, blue) = (Lanes::of(fits, x), Lanes::of(fits, stride + x));
            let (red, rest) = (Lanes::of(fits, 2 * stride + x), Lanes::of(fits, 3 * stride + x));
            let (y, b, r) = (Lanes::of(cells[0], x), Lanes::of(cells[1], x), Lanes::of(cells[2], x));
            let (gain, offset) = (gain * one, (blue * b + red * r + rest) * one);
            gains[x..x + LANES].copy_from_slice(&fixed(gain, GAIN_BITS));
            offsets[x..x + LANES].copy_from_slice(&fixed(offset, OFFSET_BITS));
            let own = (gain * y + offset).at_least(0.0).at_most(255.0).rounded();
            for i in 0..LANES {
                mask[x + i] = cast::clamped_i16(own[i]);
            }
        }
    } rvv => super::rvv::finish
}

crate::simd::versions! {
    /// The colours of the person around each cell as bytes (`COLORS - 1` rows of `out`): the mean
    /// of cells that are certainly a person. If there are none, the cell's own colours.
    pub(super) fn mean_colors(sums: &[f32], cells: Cells<'_>, out: &mut [u8]) {
        let stride = out.len() / (COLORS - 1);
        for x in (0..stride).step_by(LANES) {
            // The cell itself counts as much as 1/255 of a cell.
            let weights = Lanes::of(sums, x) + Lanes::splat(1.0);
            for channel in 0..COLORS - 1 {
                let (weighted, own) = (Lanes::of(sums, (channel + 1) * stride + x), Lanes::of(cells[channel], x));
                let mean = (weighted + own) / weights + Lanes::splat(128.0);
                let bytes = mean.at_least(0.0).at_most(255.0).rounded();
                let out = &mut out[channel * stride + x..channel * stride + x + LANES];
                for i in 0..LANES {
                    out[i] = cast::clamped_i16(bytes[i]);
                }
            }
        }
    } rvv => super::rvv::mean_colors
}

crate::simd::versions! {
    /// Interpolates a row between two rows of cells, with a `weight` of the lower row in units of
    /// 1/32768.
    pub(super) fn between(upper: &[i16], lower: &[i16], weight: i32, out: &mut [i16]) {
        let count = out.len();
        let (upper, lower) = (&upper[..count], &lower[..count]);
        for x in 0..count {
            let step = (i32::from(lower[x]) - i32::from(upper[x])) * weight;
            out[x] = upper[x].wrapping_add(cast::narrow((step + (1 << 14)) >> 15));
        }
    } rvv => super::rvv::between
}

/// The weights of the right one of two cells in the `D` pixels between their centres, in units of
/// 1/32768.
#[inline(always)]
pub(super) fn weights<const D: usize>() -> [i16; D] {
    std::array::from_fn(|k| i16::try_from((2 * k + 1) * 16_384 / D).unwrap_or(i16::MAX))
}

crate::simd::versions! {
    /// Interpolates cells to pixels, with `D` pixels between the centres of two neighbouring cells.
    pub(super) fn expand<const D: usize>(cells: &[i16], out: &mut [i16]) {
        let weights = weights::<D>();
        let pixels = out.as_chunks_mut::<D>().0;
        let count = pixels.len();
        let (left, right) = (&cells[..count], &cells[1..count + 1]);
        for x in 0..count {
            let step = right[x].wrapping_sub(left[x]);
            for k in 0..D {
                // The upper half of the product has lost one bit to the sign, so it is doubled.
                pixels[x][k] = left[x].wrapping_add(2 * cast::high(i32::from(step) * i32::from(weights[k])));
            }
        }
    } rvv => super::rvv::expand
}

crate::simd::versions! {
    /// Computes the mask of a row of pixels from gains, offsets and luma.
    pub(super) fn apply(gains: &[i16], offsets: &[i16], luma: &[u8], out: &mut [u8]) {
        let count = out.len();
        let (gains, offsets, luma) = (&gains[..count], &offsets[..count], &luma[..count]);
        for x in 0..count {
            // Luma with 8 fractional bits, centred on 0.
            let centered = (i16::from(luma[x]) - 128) << 8;
            let product = cast::high(i32::from(centered) * i32::from(gains[x]));
            out[x] = cast::clamped_i16(product.saturating_add(offsets[x]).saturating_add(2) >> OFFSET_BITS);
        }
    } rvv => super::rvv::apply
}

/// Up to this alpha (of 255) a pixel takes only the colours of the person. Above it, its own colour
/// has an increasing share.
pub(super) const OWN_COLOR: u8 = 204;

crate::simd::versions! {
    /// Replaces the colours of pixels that are partly background by those in `person`, completely
    /// up to an alpha of [`OWN_COLOR`].
    pub(super) fn restore_colors(person: &[u8], alpha: &[u8], samples: &mut [u8]) {
        let count = samples.len();
        let (person, alpha) = (&person[..count], &alpha[..count]);
        for x in 0..count {
            // 0..=255 in steps of five.
            let own = (u16::from(alpha[x]).saturating_sub(u16::from(OWN_COLOR))) * 5;
            let mixed = u16::from(samples[x]) * own + u16::from(person[x]) * (255 - own) + 128;
            samples[x] = ((mixed + (mixed >> 8)) >> 8).to_le_bytes()[0];
        }
    } rvv => super::rvv::restore_colors
}

crate::simd::versions! {
    /// Weights of cells in the colours of the person, 0..=255, from their shaped mask. A weight is 0
    /// if the cell is partly background.
    pub(super) fn weigh(mask: &[u8], weights: &mut [f32]) {
        for (weight, mask) in weights.iter_mut().zip(mask) {
            *weight = f32::from(mask.saturating_sub(OWN_COLOR)) * 5.0;
        }
    } rvv => super::rvv::weigh
}

crate::simd::versions! {
    /// The means of two by two samples, centred on 0.
    pub(super) fn halve(upper: &[u8], lower: &[u8], out: &mut [f32]) {
        let blocks = upper.as_chunks::<2>().0.iter().zip(lower.as_chunks::<2>().0);
        for (out, (a, b)) in out.iter_mut().zip(blocks) {
            let sum = u16::from(a[0]) + u16::from(a[1]) + u16::from(b[0]) + u16::from(b[1]);
            *out = f32::from((sum + 2) >> 2) - 128.0;
        }
    } rvv => super::rvv::halve
}

crate::simd::versions! {
    /// Splits interleaved chroma into two rows, centred on 0.
    pub(super) fn split_chroma(chroma: &[u8], blue: &mut [f32], red: &mut [f32]) {
        for ((pair, blue), red) in chroma.as_chunks::<2>().0.iter().zip(blue).zip(red) {
            (*blue, *red) = (cast::centered(pair[0]), cast::centered(pair[1]));
        }
    } rvv => super::rvv::split_chroma
}

crate::simd::versions! {
    /// Adds a row to sums of the same length.
    pub(super) fn add(row: &[f32], sums: &mut [f32]) {
        for (sum, value) in sums.iter_mut().zip(row) {
            *sum += value;
        }
    } rvv => super::rvv::add
}
