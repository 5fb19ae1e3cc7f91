//! Exact area averages down the columns: rows of bytes are summed, each with the share that the
//! output row covers.
//!
//! A window is as high as an output row, but at least one source row high, which makes it linear
//! interpolation. Rows that lie wholly within the window are simply added. Only the first and the
//! last row are weighted, with 16 fractional bits. Sums have 16 bits with as many fractional bits
//! as fit, so a 128-bit register holds eight columns.

#[cfg(target_arch = "arm")]
use super::armv7 as neon;
#[cfg(target_arch = "aarch64")]
use super::neon;
use crate::cast;
use crate::scale::Span;
use crate::simd::Usable;

/// The largest number of rows whose sum fits 15 bits: 255 * 128 = 32640.
const SHORT: f64 = 128.0;

/// Whole rows that are summed at once: one more than a row of 256x144 needs of a 1280x720 picture.
pub(super) const AT_ONCE: usize = 6;

/// A row with its weight: `whole`, plus `fraction` of 65536.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Weighted {
    pub row: usize,
    pub whole: u16,
    pub fraction: u16,
}

impl Weighted {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a float's `as` saturates")]
    fn new(row: usize, weight: f64) -> Self {
        let scaled = (weight * 65_536.0).round() as u32;
        Self { row, whole: (scaled >> 16) as u16, fraction: (scaled & 0xffff) as u16 }
    }

    /// A weight of row 0.
    #[cfg(test)]
    pub(super) fn of(whole: u16, fraction: u16) -> Self {
        Self { row: 0, whole, fraction }
    }
}

/// The source rows of one output row.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    /// The first and the last row, if they are not covered exactly once.
    edges: Option<[Weighted; 2]>,
    /// The rows that are covered exactly once: first, and end.
    inner: (usize, usize),
}

/// Sums the rows of a window, several at a time.
pub(super) trait Sums {
    /// Sums two weighted rows and `INNER` whole ones, from row `from` on.
    fn edged<const INNER: usize>(&mut self, edges: [Weighted; 2], from: usize);

    /// Sums `INNER` whole rows, and adds the previous sums if `ADD`.
    fn plain<const INNER: usize, const ADD: bool>(&mut self, from: usize);
}

/// The windows of all output rows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Windows {
    windows: Vec<Window>,
    /// Fractional bits of the sums.
    bits: u32,
    height: f64,
    wide: Vec<u32>,
}

impl Windows {
    /// Computes the windows of `span`.
    pub(super) fn build(&mut self, span: Span) {
        self.height = span.scale.max(1.0);
        self.bits = (0..8_u32).rev().find(|&bits| self.height * f64::from(1 << bits) <= SHORT).unwrap_or(0);
        let last = i64::try_from(span.source).unwrap_or(i64::MAX) - 1;
        self.windows.clear();
        for j in 0..span.count {
            let center = span.center(j);
            let (top, bottom) = (center - self.height / 2.0, center + self.height / 2.0);
            // The border rows replace everything beyond them.
            let from = cast::floor(top).clamp(0, last);
            let to = (-cast::floor(-bottom) - 1).clamp(from, last);
            self.windows.push(window(from, to, top, bottom, self.height));
        }
    }

    /// The sum that a mean of 1 results in.
    #[expect(clippy::cast_possible_truncation, reason = "from 64 to 128")]
    pub(super) fn unit(&self) -> f32 {
        if self.height > SHORT { SHORT as f32 } else { (self.height * f64::from(1 << self.bits)) as f32 }
    }

    /// Writes the sums of output row `j`, one per column. `row` returns source rows of at least as
    /// many bytes.
    pub(super) fn sum<'a>(&mut self, isa: Usable, j: usize, row: impl Fn(usize) -> &'a [u8], out: &mut [i16]) {
        if let Some((edges, inner)) = self.tall(j) {
            self.sum_tall(edges, inner, row, out);
            return;
        }
        self.passes(j, &mut InOrder { isa, bits: self.bits, row, out });
    }

    /// [`Windows::sum`] to one half of numbers, as [`super::lanes::Halves`] has them. `scratch` has
    /// room for a sum of each column.
    #[cfg(target_arch = "riscv64")]
    pub(super) fn sum_half<'a>(
        &mut self,
        isa: Usable,
        j: usize,
        row: impl Fn(usize) -> &'a [u8],
        half: &mut [u16],
        scratch: &mut [i16],
    ) {
        if let Some((edges, inner)) = self.tall(j) {
            self.sum_tall(edges, inner, row, scratch);
            super::lanes::spread::<false>(scratch, half);
            return;
        }
        self.passes(j, &mut super::lanes::Halves { isa, bits: self.bits, row, half, scratch });
    }

    /// The rows of a window that has more of them than 16 bits hold.
    fn tall(&self, j: usize) -> Option<(Option<[Weighted; 2]>, std::ops::Range<usize>)> {
        let Window { edges, inner: (from, to) } = self.windows[j];
        (self.height > SHORT).then_some((edges, from..to))
    }

    /// Passes the rows of the window of output row `j` to `sums`, which is not a tall one.
    fn passes(&self, j: usize, sums: &mut impl Sums) {
        let Window { edges, inner: (from, to) } = self.windows[j];
        let inner = to - from;
        let first = inner.min(AT_ONCE);
        match (edges, first) {
            (Some(edges), 0) => sums.edged::<0>(edges, from),
            (Some(edges), 1) => sums.edged::<1>(edges, from),
            (Some(edges), 2) => sums.edged::<2>(edges, from),
            (Some(edges), 3) => sums.edged::<3>(edges, from),
            (Some(edges), 4) => sums.edged::<4>(edges, from),
            (Some(edges), 5) => sums.edged::<5>(edges, from),
            (Some(edges), _) => sums.edged::<6>(edges, from),
            (None, 1) => sums.plain::<1, false>(from),
            (None, 2) => sums.plain::<2, false>(from),
            (None, 3) => sums.plain::<3, false>(from),
            (None, 4) => sums.plain::<4, false>(from),
            (None, 5) => sums.plain::<5, false>(from),
            (None, _) => sums.plain::<6, false>(from),
        }
        let mut next = from + first;
        while next < to {
            match to - next {
                1 => sums.plain::<1, true>(next),
                2 => sums.plain::<2, true>(next),
                3 => sums.plain::<3, true>(next),
                4 => sums.plain::<4, true>(next),
                5 => sums.plain::<5, true>(next),
                _ => sums.plain::<6, true>(next),
            }
            next += AT_ONCE;
        }
    }

    /// Sums windows of more rows than 16 bits hold.
    #[expect(clippy::cast_possible_truncation, reason = "a float's `as` saturates, and sums stay below 32768")]
    fn sum_tall<'a>(
        &mut self,
        edges: Option<[Weighted; 2]>,
        inner: std::ops::Range<usize>,
        row: impl Fn(usize) -> &'a [u8],
        out: &mut [i16],
    ) {
        let wide = &mut self.wide;
        wide.clear();
        wide.resize(out.len(), 0);
        let mut add = |index: usize, weight: u32| {
            for (sum, &byte) in wide.iter_mut().zip(row(index)) {
                *sum += u32::from(byte) * weight;
            }
        };
        for edge in edges.into_iter().flatten() {
            add(edge.row, u32::from(edge.whole) << 8 | u32::from(edge.fraction) >> 8);
        }
        for index in inner {
            add(index, 256);
        }
        let scale = SHORT as f32 / (self.height as f32 * 256.0);
        for (target, &sum) in out.iter_mut().zip(wide.iter()) {
            *target = (sum as f32 * scale + 0.5) as i16;
        }
    }
}

fn window(from: i64, to: i64, top: f64, bottom: f64, height: f64) -> Window {
    #[expect(clippy::cast_precision_loss, reason = "coordinates are below 2^24")]
    let (first, last) = ((from + 1) as f64 - top, bottom - to as f64);
    let (from, to) = (cast::coordinate(from), cast::coordinate(to));
    let near = |weight: f64, whole: f64| (weight - whole).abs() < 1.0 / 131_072.0;
    if from == to {
        if near(height, 1.0) {
            return Window { edges: None, inner: (from, from + 1) };
        }
        return Window { edges: Some([Weighted::new(from, height), Weighted::new(from, 0.0)]), inner: (from, from) };
    }
    // A window that starts or ends at the edge of a row needs no weighting there.
    let inner = (from + usize::from(!near(first, 1.0)), to + usize::from(near(last, 1.0)));
    let edge = |row: usize, weight: f64| Weighted::new(row, if near(weight, 1.0) { 0.0 } else { weight });
    if near(first, 1.0) && near(last, 1.0) {
        return Window { edges: None, inner };
    }
    Window { edges: Some([edge(from, first), edge(to, last)]), inner }
}

/// Sums that are written in the order of the columns.
struct InOrder<'o, Row> {
    isa: Usable,
    bits: u32,
    row: Row,
    out: &'o mut [i16],
}

impl<'a, Row: Fn(usize) -> &'a [u8]> Sums for InOrder<'_, Row> {
    fn edged<const INNER: usize>(&mut self, edges: [Weighted; 2], from: usize) {
        let Self { isa, bits, row, out } = self;
        let edge_rows: [&[u8]; 2] = std::array::from_fn(|k| &row(edges[k].row)[..out.len()]);
        let rows: [&[u8]; INNER] = std::array::from_fn(|k| &row(from + k)[..out.len()]);
        #[cfg(target_arch = "riscv64")]
        if super::rvv::available(*isa) {
            return super::rvv::sum(*isa, &rows, Some((edge_rows, edges)), *bits, out, false);
        }
        #[cfg(any(target_arch = "aarch64", target_arch = "arm"))]
        let done = if neon::available(*isa) { neon::sum_edged(edge_rows, edges, rows, *bits, out) } else { 0 };
        #[cfg(not(any(target_arch = "aarch64", target_arch = "arm")))]
        let done = 0;
        let (edge_rows, rows) = (edge_rows.map(|row| &row[done..]), rows.map(|row| &row[done..]));
        sum_edged::<INNER>(*isa, edge_rows, edges, rows, *bits, &mut out[done..]);
    }

    fn plain<const INNER: usize, const ADD: bool>(&mut self, from: usize) {
        let Self { isa, bits, row, out } = self;
        let rows: [&[u8]; INNER] = std::array::from_fn(|k| &row(from + k)[..out.len()]);
        #[cfg(target_arch = "riscv64")]
        if super::rvv::available(*isa) {
            return super::rvv::sum(*isa, &rows, None, *bits, out, ADD);
        }
        #[cfg(any(target_arch = "aarch64", target_arch = "arm"))]
        let done = if neon::available(*isa) { neon::sum::<INNER, ADD>(rows, *bits, out) } else { 0 };
        #[cfg(not(any(target_arch = "aarch64", target_arch = "arm")))]
        let done = 0;
        let (rows, out) = (rows.map(|row| &row[done..]), &mut out[done..]);
        if ADD {
            add_whole::<INNER>(*isa, rows, *bits, out);
        } else {
            sum_whole::<INNER>(*isa, rows, *bits, out);
        }
    }
}

crate::simd::versions! {
    /// Sums two weighted rows and `INNER` whole ones, each as long as `out`.
    pub(super) fn sum_edged<const INNER: usize>(
        edge_rows: [&[u8]; 2],
        edges: [Weighted; 2],
        rows: [&[u8]; INNER],
        bits: u32,
        out: &mut [i16],
    ) {
        let (edge_rows, rows) = (edge_rows.map(|row| &row[..out.len()]), rows.map(|row| &row[..out.len()]));
        let [whole_a, whole_b] = edges.map(|edge| edge.whole << bits);
        let [part_a, part_b] = edges.map(|edge| u32::from(edge.fraction));
        let (drop, half) = (8 - bits, 1_u16 << (7 - bits));
        for x in 0..out.len() {
            let (a, b) = (u16::from(edge_rows[0][x]), u16::from(edge_rows[1][x]));
            let fractions = upper(a, part_a) / 2 + upper(b, part_b) / 2;
            let mut sum: u16 = 0;
            for row in rows {
                sum += u16::from(row[x]);
            }
            let whole = (sum << bits).wrapping_add(a.wrapping_mul(whole_a)).wrapping_add(b.wrapping_mul(whole_b));
            out[x] = whole.wrapping_add((fractions + half / 2) >> (drop - 1)).cast_signed();
        }
    }
}

/// `byte * fraction / 65536` with 8 fractional bits.
#[inline(always)]
fn upper(byte: u16, fraction: u32) -> u16 {
    ((u32::from(byte << 8) * fraction) >> 16) as u16
}

crate::simd::versions! {
    /// The sums of whole rows, each as long as `out`.
    pub(super) fn sum_whole<const INNER: usize>(rows: [&[u8]; INNER], bits: u32, out: &mut [i16]) {
        let rows = rows.map(|row| &row[..out.len()]);
        for (x, sum) in out.iter_mut().enumerate() {
            *sum = whole(rows, bits, x);
        }
    }
}

crate::simd::versions! {
    /// Adds the sums of whole rows, each as long as `out`.
    pub(super) fn add_whole<const INNER: usize>(rows: [&[u8]; INNER], bits: u32, out: &mut [i16]) {
        let rows = rows.map(|row| &row[..out.len()]);
        for (x, sum) in out.iter_mut().enumerate() {
            *sum = sum.wrapping_add(whole(rows, bits, x));
        }
    }
}

#[inline(always)]
fn whole<const INNER: usize>(rows: [&[u8]; INNER], bits: u32, x: usize) -> i16 {
    let mut sum: u16 = 0;
    for row in rows {
        sum += u16::from(row[x]);
    }
    (sum << bits).cast_signed()
}
