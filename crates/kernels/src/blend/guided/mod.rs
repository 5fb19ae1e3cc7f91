//! A matte whose edge follows the picture: the fast guided filter (He and Sun, "Fast Guided
//! Filter", arXiv:1505.00996, 2015), with colour as the guide.
//!
//! The output is divided into *cells* of a few pixels. In windows of cells, the mask is fitted as a
//! linear function of the colours, and the fits are averaged. Every pixel then applies the
//! interpolated fit of its cell to its own luma. Chroma varies slowly and is folded into the
//! offsets of the cells.
//!
//! So the work on windows is done some ten thousand times instead of a million times. What remains
//! per pixel is a product and a sum, on rows that the compositor scales anyway. No matte of full
//! size is ever stored.
//!
//! The pixels at the outline of a person mix the colours of the person with those of the
//! background. So the cells also hold the colours of the person, averaged over cells that are
//! certainly a person, and pixels that are partly background take these colours instead.
//!
//! The parameters were chosen by measurement: see `docs/design/edges.md`.

use std::ops::Range;

use super::fit::{self, COLORS, Cells, LANES, MARGIN, MOMENTS, RADIUS, SMOOTH};
use super::matte::{Edge, MaskView, Matte};
use super::rows::Ramp;
use crate::cast;
use crate::convert::Affine;
use crate::picture::{Picture, PixelFormat, PixelRect, Size};
use crate::scale::{Filter, ScaleError, Scaler};
use crate::simd::Usable;

/// The thresholds that turn the filtered mask into the matte. The filter softens edges for which it
/// finds no edge in the picture, and these thresholds harden them.
const FILTERED_EDGE: Edge = Edge { low: 0.3, high: 0.7 };

/// Zeros on both sides of each row of cells, so that windows need not be cut at the border.
const PAD: usize = 16;

/// Refines masks for outputs. Owns its cells.
#[derive(Clone, Debug)]
pub struct GuidedMatte {
    isa: Usable,
    scaler: Scaler,
    matte: Matte,
    /// Shapes the filtered mask.
    edge: Ramp,
    /// Pixels per cell in each direction; even.
    factor: usize,
    width: usize,
    height: usize,
    /// The range of cells that contain a part of a person.
    columns: Range<usize>,
    lines: Range<usize>,
    /// Width of the output, in pixels.
    pixels: usize,
    planes: [Vec<f32>; 4],
    rows: [Vec<u8>; 3],
    /// The sums down the columns, the sums of windows, and the number of columns of each window: of
    /// those of the mask, and of those of the fits.
    down: Vec<f32>,
    sums: Vec<f32>,
    counts: [Vec<f32>; 2],
    fits: Vec<f32>,
    fit_rows: [Vec<f32>; 2 * SMOOTH + 1],
    weights: Vec<f32>,
    gains: Vec<i16>,
    offsets: Vec<i16>,
    cell_row: Vec<i16>,
    pixel_rows: [Vec<i16>; 2],
    /// The colours of the person per cell: Y and CbCr for NV12, or RGB. `person_rows` are the rows
    /// of pixels that were last made of them.
    person: [Vec<u8>; 2],
    person_rows: [Vec<u8>; 2],
    held: [Option<usize>; 2],
}

impl Default for GuidedMatte {
    fn default() -> Self {
        Self::new()
    }
}

/// Number of cells in a window of radius `reach` around `at`, of `count` cells.
fn reached(at: usize, reach: usize, count: usize) -> f32 {
    let (from, to) = (at.saturating_sub(reach), (at + reach + 1).min(count));
    u16::try_from(to - from).map_or(1.0, f32::from)
}

/// `range`, widened by `by` on both sides, within `0..count`.
fn widened(range: &Range<usize>, by: usize, count: usize) -> Range<usize> {
    range.start.saturating_sub(by)..(range.end + by).min(count)
}

/// The first `count` values of `memory`, which grows if it is shorter and never shrinks.
fn sized<T: Clone>(memory: &mut Vec<T>, count: usize, value: T) -> &mut [T] {
    if memory.len() < count {
        memory.resize(count, value);
    }
    &mut memory[..count]
}

impl GuidedMatte {
    /// A matte that has not allocated any cells yet.
    pub fn new() -> Self {
        Self::on(Usable::chosen())
    }

    /// A matte that runs on `isa`. The results are the same on every instruction set.
    pub fn on(isa: Usable) -> Self {
        Self {
            isa,
            scaler: Scaler::on(Filter::Linear, isa),
            matte: Matte::new(),
            edge: Ramp::new(FILTERED_EDGE.bytes()),
            factor: 2,
            width: 0,
            height: 0,
            columns: 0..0,
            lines: 0..0,
            pixels: 0,
            planes: Default::default(),
            rows: Default::default(),
            down: Vec::new(),
            sums: Vec::new(),
            counts: Default::default(),
            fits: Vec::new(),
            fit_rows: Default::default(),
            weights: Vec::new(),
            gains: Vec::new(),
            offsets: Vec::new(),
            cell_row: Vec::new(),
            pixel_rows: Default::default(),
            person: Default::default(),
            person_rows: Default::default(),
            held: [None; 2],
        }
    }

    /// Pixels per cell for outputs of this height: a cell is about 1/180 of the height.
    pub(super) fn factor_of(height: u32) -> u32 {
        let factor = (height + 180) / 360 * 2;
        [2, 4, 6, 8, 12].into_iter().rfind(|&known| known <= factor).unwrap_or(2)
    }

    /// Prepares to bring `mask` to an output of `size` that shows `crop` of `source`. `edge` shapes
    /// the mask before it is filtered. If a `format` (NV12 or RGB24) is given, the colours of the
    /// person are computed too, for [`GuidedMatte::restore_colors`].
    ///
    /// # Errors
    /// The same as [`Matte::start`], and if the source cannot be scaled.
    pub fn start(
        &mut self,
        mask: &MaskView<'_>,
        source: &Picture<'_>,
        crop: PixelRect,
        size: Size,
        edge: Edge,
        format: Option<PixelFormat>,
    ) -> Result<(), ScaleError> {
        let factor = Self::factor_of(size.height);
        let cells = Size::new(size.width.div_ceil(factor), size.height.div_ceil(factor));
        // Cells at the right and the lower border may reach beyond the output.
        let grown = |extent: f32, cells: u32, count: u32| extent * (cells * factor) as f32 / count.max(1) as f32;
        let (wide, high) = (grown(crop.width, cells.width, size.width), grown(crop.height, cells.height, size.height));
        let covered = PixelRect::new(crop.x, crop.y, wide, high);
        (self.factor, self.pixels) = (factor as usize, size.width as usize);
        self.resize(cells.width as usize, cells.height as usize);
        self.take_mask(mask, covered, cells, edge)?;
        if self.lines.is_empty() {
            return Ok(());
        }
        self.take_colors(source, covered, cells)?;
        self.filter();
        if let Some(format) = format {
            self.find_person_colors(format, source);
        }
        Ok(())
    }

    fn stride(&self) -> usize {
        self.width + 2 * PAD
    }

    fn resize(&mut self, width: usize, height: usize) {
        let changed = (self.width, self.height) != (width, height);
        (self.width, self.height) = (width, height);
        let stride = self.stride();
        for plane in self.planes.iter_mut().filter(|_| changed) {
            plane.clear();
            plane.resize(stride * height, 0.0);
        }
        self.weights.resize(stride * height, 0.0);
        for plane in [&mut self.gains, &mut self.offsets] {
            plane.clear();
            plane.resize((self.width + 2) * height, 0);
        }
        self.weights.fill(0.0);
        self.held = [None; 2];
    }

    /// Reads the mask of every cell, and finds the range of cells with a person.
    fn take_mask(
        &mut self,
        mask: &MaskView<'_>,
        covered: PixelRect,
        cells: Size,
        edge: Edge,
    ) -> Result<(), ScaleError> {
        let (width, stride) = (self.width, self.stride());
        let row = &mut self.rows[0];
        row.resize(width.max(row.len()), 0);
        let (mut columns, mut lines) = (width..0, self.height..0);
        let mut matte = self.matte.start(mask, covered, cells, Some(edge))?;
        for (y, cells) in self.planes[3].chunks_exact_mut(stride).enumerate() {
            let cells = &mut cells[PAD..PAD + width];
            if !matte.row(y, &mut row[..width]) {
                cells.fill(0.0);
                continue;
            }
            for (cell, &value) in cells.iter_mut().zip(row.iter()) {
                *cell = f32::from(value);
            }
            let first = row[..width].iter().position(|&value| value > 0).unwrap_or(width);
            let last = row[..width].iter().rposition(|&value| value > 0).map_or(0, |last| last + 1);
            columns = columns.start.min(first)..columns.end.max(last);
            lines = lines.start.min(y)..y + 1;
        }
        (self.columns, self.lines) = if lines.is_empty() { (0..0, 0..0) } else { (columns, lines) };
        Ok(())
    }

    /// Reads the colours of the cells that any window uses.
    fn take_colors(&mut self, source: &Picture<'_>, covered: PixelRect, cells: Size) -> Result<(), ScaleError> {
        let (width, stride) = (self.width, self.stride());
        // Scaling to twice the cells in each direction gives chroma at the resolution of the cells.
        let size = Size::new(2 * cells.width, 2 * cells.height);
        let mut picture = self.scaler.start(*source, covered, size, PixelFormat::Nv12)?;
        let [upper, lower, chroma] = &mut self.rows;
        for row in [&mut *upper, &mut *lower, &mut *chroma] {
            row.resize((2 * width).max(row.len()), 0);
        }
        let (upper, lower, chroma) = (&mut upper[..2 * width], &mut lower[..2 * width], &mut chroma[..2 * width]);
        let [luma, blue, red, _] = &mut self.planes;
        for y in widened(&self.lines, 2 * RADIUS + SMOOTH, self.height) {
            picture.row(0, 2 * y, upper);
            picture.row(0, 2 * y + 1, lower);
            picture.row(1, y, chroma);
            let cells = y * stride + PAD..y * stride + PAD + width;
            fit::halve(self.isa, upper, lower, &mut luma[cells.clone()]);
            fit::split_chroma(self.isa, chroma, &mut blue[cells.clone()], &mut red[cells]);
        }
        Ok(())
    }

    /// Computes gains and offsets from the colours and the mask.
    fn filter(&mut self) {
        let (width, height, stride, isa) = (self.width, self.height, self.stride(), self.isa);
        // Farther from the mask all fits are zero.
        let (columns, lines) = (widened(&self.columns, RADIUS, width), widened(&self.lines, RADIUS, height));
        let (out_columns, out_lines) = (widened(&columns, SMOOTH, width), widened(&lines, SMOOTH, height));
        let (count, out_count) = (columns.len(), out_columns.len());
        // Whole vectors: results past the last column are not used.
        let (whole, out_whole) = (count.next_multiple_of(LANES), out_count.next_multiple_of(LANES));
        let (padded, fit_stride) = (whole + MARGIN, out_whole + MARGIN);
        // The rows of fits start where the first window of the result starts.
        let margin = columns.start + SMOOTH - out_columns.start;
        let Self { planes, down, sums, counts, fits, fit_rows, gains, offsets, weights, rows, cell_row, edge, .. } =
            self;
        let [fit_counts, counts] = counts;
        let (fit_counts, counts) = (sized(fit_counts, whole, 1.0), sized(counts, out_whole, 1.0));
        for (x, columns) in columns.clone().zip(fit_counts.iter_mut()) {
            *columns = reached(x, RADIUS, width);
        }
        for (x, columns) in out_columns.clone().zip(counts.iter_mut()) {
            *columns = reached(x, SMOOTH, width);
        }
        let down = sized(down, MOMENTS * padded, 0.0);
        down.fill(0.0);
        let sums = sized(sums, (MOMENTS * whole).max(4 * fit_stride), 0.0);
        let fits = sized(fits, 4 * whole.max(out_whole), 0.0);
        for row in &mut *fit_rows {
            sized(row, 4 * fit_stride, 0.0).fill(0.0);
        }
        let [mask, ..] = rows;
        let mask = sized(mask, out_whole, 0);
        let row_results = sized(cell_row, 2 * out_whole, 0);
        // The padding stands for the columns outside.
        let cells = |y: usize, from: usize, count: usize| -> Cells<'_> {
            planes.each_ref().map(|plane| &plane[y * stride + PAD + from..][..count])
        };
        let moments = |y: usize| -> Cells<'_> {
            planes.each_ref().map(|plane| &plane[y * stride + PAD + columns.start - RADIUS..][..padded])
        };
        let mut entered = lines.start.saturating_sub(RADIUS);
        let mut left = entered;
        let mut fitted = lines.start;
        for y in out_lines.clone() {
            while fitted < (y + SMOOTH + 1).min(lines.end) {
                while entered < (fitted + RADIUS + 1).min(height) {
                    fit::add_moments::<false>(isa, moments(entered), down);
                    entered += 1;
                }
                while left + RADIUS < fitted {
                    fit::add_moments::<true>(isa, moments(left), down);
                    left += 1;
                }
                let sums = &mut sums[..MOMENTS * whole];
                fit::sum_along::<{ 2 * RADIUS + 1 }>(isa, down, MOMENTS, sums);
                let rows = reached(fitted, RADIUS, height);
                let fits = &mut fits[..4 * whole];
                fit::fit(isa, sums, fit_counts, rows, fits);
                let row = &mut fit_rows[fitted % (2 * SMOOTH + 1)][..4 * fit_stride];
                for (fits, row) in fits.chunks_exact(whole).zip(row.chunks_exact_mut(fit_stride)) {
                    row[margin..margin + count].copy_from_slice(&fits[..count]);
                }
                fitted += 1;
            }
            let sum = &mut sums[..4 * fit_stride];
            sum.fill(0.0);
            for near in widened(&(y..y + 1), SMOOTH, height) {
                if lines.contains(&near) {
                    fit::add(isa, &fit_rows[near % (2 * SMOOTH + 1)][..4 * fit_stride], sum);
                }
            }
            let fits = &mut fits[..4 * out_whole];
            fit::sum_along::<{ 2 * SMOOTH + 1 }>(isa, sum, 4, fits);
            let rows = reached(y, SMOOTH, height);
            let (row_gains, row_offsets) = row_results.split_at_mut(out_whole);
            let cells = cells(y, out_columns.start, out_whole);
            fit::finish(isa, fits, counts, rows, cells, row_gains, row_offsets, mask);
            for (plane, row) in [(&mut *gains, row_gains), (&mut *offsets, row_offsets)] {
                let plane = &mut plane[y * (width + 2)..(y + 1) * (width + 2)];
                plane[1 + out_columns.start..1 + out_columns.end].copy_from_slice(&row[..out_count]);
                (plane[0], plane[width + 1]) = (plane[1], plane[width]);
            }
            edge.shape(isa, mask);
            fit::weigh(isa, mask, &mut weights[y * stride + PAD + out_columns.start..][..out_count]);
        }
        (self.columns, self.lines) = (out_columns, out_lines);
    }

    /// Computes the colours of the person around each cell, in the format of an output.
    fn find_person_colors(&mut self, format: PixelFormat, source: &Picture<'_>) {
        let (width, height, stride, isa) = (self.width, self.height, self.stride(), self.isa);
        let (columns, lines) = (self.columns.clone(), self.lines.clone());
        let count = columns.len();
        let whole = count.next_multiple_of(LANES);
        let padded = whole + MARGIN;
        let rgb = format == PixelFormat::Rgb24;
        let Self { planes, weights, down, sums, person, rows, .. } = self;
        let down = sized(down, COLORS * padded, 0.0);
        down.fill(0.0);
        let sums = sized(sums, COLORS * whole, 0.0);
        for (plane, channels) in person.iter_mut().zip(if rgb { [3, 0] } else { [1, 2] }) {
            sized(plane, channels * width * height, 0);
        }
        let [colors, ..] = rows;
        let colors = sized(colors, (COLORS - 1) * whole, 0);
        let from = PAD + columns.start - RADIUS;
        let cells = |y: usize, from: usize, count: usize| -> Cells<'_> {
            planes.each_ref().map(|plane| &plane[y * stride + from..][..count])
        };
        let to_rgb = Affine::to_rgb(source.color());
        let (mut entered, mut left) = (lines.start, lines.start);
        for y in lines.clone() {
            while entered < (y + RADIUS + 1).min(lines.end) {
                let weights = &weights[entered * stride + from..][..padded];
                fit::add_colors::<false>(isa, cells(entered, from, padded), weights, down);
                entered += 1;
            }
            while left + RADIUS < y {
                let weights = &weights[left * stride + from..][..padded];
                fit::add_colors::<true>(isa, cells(left, from, padded), weights, down);
                left += 1;
            }
            fit::sum_along::<{ 2 * RADIUS + 1 }>(isa, down, COLORS, sums);
            fit::mean_colors(isa, sums, cells(y, PAD + columns.start, whole), colors);
            let (luma, chroma) = colors.split_at(whole);
            let (blue, red) = chroma.split_at(whole);
            let at = y * width + columns.start;
            if rgb {
                let out = person[0][3 * at..3 * (at + count)].as_chunks_mut::<3>().0;
                for (out, ((&y, &cb), &cr)) in out.iter_mut().zip(luma.iter().zip(blue).zip(red)) {
                    *out = to_rgb.apply_bytes([y, cb, cr]);
                }
            } else {
                person[0][at..at + count].copy_from_slice(&luma[..count]);
                let out = person[1][2 * at..2 * (at + count)].as_chunks_mut::<2>().0;
                for (out, (&cb, &cr)) in out.iter_mut().zip(blue.iter().zip(red)) {
                    *out = [cb, cr];
                }
            }
        }
    }

    /// The rows of the output that may contain a person.
    pub fn rows(&self) -> Range<usize> {
        self.lines.start * self.factor..self.lines.end * self.factor
    }

    /// The pixels of these rows that may contain a person.
    pub(super) fn columns(&self) -> Range<usize> {
        self.columns.start * self.factor..(self.columns.end * self.factor).min(self.pixels)
    }

    /// Writes the matte of output row `y` to `out`, one value per pixel, from the `luma` of its
    /// pixels. Returns whether the row has any person in it.
    ///
    /// # Panics
    /// If a slice is shorter than a row.
    pub fn row(&mut self, y: usize, luma: &[u8], out: &mut [u8]) -> bool {
        if !self.rows().contains(&y) {
            out.fill(0);
            return false;
        }
        self.filtered_row(y, luma, out);
        let matte = &mut out[self.columns()];
        self.edge.shape(self.isa, matte)
    }

    /// The filtered mask of a row that may contain a person, before it is shaped.
    fn filtered_row(&mut self, y: usize, luma: &[u8], out: &mut [u8]) {
        let (factor, active) = (self.factor, self.columns());
        let Self { isa, width, height, gains, offsets, cell_row, pixel_rows, columns, .. } = self;
        // The two rows of cells between which the row of pixels lies. Their centres are `factor`
        // apart.
        let along = 2 * y + 1 + factor;
        let (lower, phase) = (along / (2 * factor), along % (2 * factor));
        let (upper, lower) = (lower.saturating_sub(1), lower.min(*height - 1));
        let weight = i32::try_from(phase * 32_768 / (2 * factor)).unwrap_or(0);
        // From the cell before the first one to the cell after the last one.
        let count = columns.len() + 2;
        cell_row.resize(count.max(cell_row.len()), 0);
        for (plane, pixels) in [gains, offsets].into_iter().zip(&mut *pixel_rows) {
            let row = |y: usize| &plane[y * (*width + 2) + columns.start..][..count];
            fit::between(*isa, row(upper), row(lower), weight, &mut cell_row[..count]);
            let length = (count - 1) * factor;
            pixels.resize(length.max(pixels.len()), 0);
            let (cells, pixels) = (&cell_row[..count], &mut pixels[..length]);
            match factor {
                2 => fit::expand::<2>(*isa, cells, pixels),
                4 => fit::expand::<4>(*isa, cells, pixels),
                6 => fit::expand::<6>(*isa, cells, pixels),
                8 => fit::expand::<8>(*isa, cells, pixels),
                _ => fit::expand::<12>(*isa, cells, pixels),
            }
        }
        out[..active.start].fill(0);
        out[active.end..].fill(0);
        let [gains, offsets] = pixel_rows.each_ref().map(|row| &row[factor / 2..]);
        fit::apply(*isa, gains, offsets, &luma[active.clone()], &mut out[active]);
    }

    /// Replaces the colours of pixels that are partly background by the colours of the person. The
    /// samples are those of row `y` of plane `plane`, as [`crate::scale::ScaledRows::row`] writes
    /// them; `alpha` has one value per sample.
    ///
    /// # Panics
    /// If [`GuidedMatte::start`] was called with another format, or a slice is shorter than a row.
    pub fn restore_colors(&mut self, format: PixelFormat, plane: usize, y: usize, alpha: &[u8], samples: &mut [u8]) {
        let chroma = format == PixelFormat::Nv12 && plane == 1;
        let channels = if chroma { 2 } else { format.plane_extent(0, Size::new(1, 1)).0 };
        // Samples per cell.
        let across = if chroma { self.factor / 2 } else { self.factor };
        let line = y / across;
        if !self.lines.contains(&line) {
            return;
        }
        let (from, count) = (self.columns.start * across * channels, self.columns.len() * across * channels);
        let Self { isa, width, columns, person, person_rows, held, .. } = self;
        let row = &mut person_rows[plane];
        if held[plane] != Some(line) {
            held[plane] = Some(line);
            row.resize(count.max(row.len()), 0);
            let cells = &person[plane][(line * *width + columns.start) * channels..][..columns.len() * channels];
            repeat(cells, channels, across, &mut row[..count]);
        }
        let end = (from + count).min(samples.len());
        fit::restore_colors(*isa, &row[..end - from], &alpha[from..end], &mut samples[from..end]);
    }
}

/// Repeats each cell of `channels` bytes `times` times.
fn repeat(cells: &[u8], channels: usize, times: usize, out: &mut [u8]) {
    // With both numbers known, the copies are not calls into the C library.
    fn of<const CHANNELS: usize, const TIMES: usize>(cells: &[u8], out: &mut [u8]) {
        let cells = cells.as_chunks::<CHANNELS>().0;
        for (cell, out) in cells.iter().zip(out.as_chunks_mut::<CHANNELS>().0.as_chunks_mut::<TIMES>().0) {
            *out = [*cell; TIMES];
        }
    }
    match (channels, times) {
        (1, 2) => of::<1, 2>(cells, out),
        (1, 4) => of::<1, 4>(cells, out),
        (1, 6) => of::<1, 6>(cells, out),
        (1, 8) => of::<1, 8>(cells, out),
        (1, 12) => of::<1, 12>(cells, out),
        (2, 1) => of::<2, 1>(cells, out),
        (2, 2) => of::<2, 2>(cells, out),
        (2, 3) => of::<2, 3>(cells, out),
        (2, 4) => of::<2, 4>(cells, out),
        (2, 6) => of::<2, 6>(cells, out),
        (3, 2) => of::<3, 2>(cells, out),
        (3, 4) => of::<3, 4>(cells, out),
        (3, 6) => of::<3, 6>(cells, out),
        (3, 8) => of::<3, 8>(cells, out),
        (3, 12) => of::<3, 12>(cells, out),
        _ => {
            for (cell, out) in cells.chunks_exact(channels).zip(out.chunks_exact_mut(channels * times)) {
                out.chunks_exact_mut(channels).for_each(|sample| sample.copy_from_slice(cell));
            }
        }
    }
}

/// The luma of a row of `RGB24`, by the map `to_ycc`.
pub(super) fn luma_of_rgb(to_ycc: &Affine, rgb: &[u8], out: &mut [u8]) {
    for (out, pixel) in out.iter_mut().zip(rgb.as_chunks::<3>().0) {
        *out = cast::byte(to_ycc.apply(pixel.map(f32::from))[0]);
    }
}

#[cfg(test)]
mod tests;
