//! A blurred scene background without the people.
//!
//! The radius is a length in the source, so the room is hidden equally well in an output of any
//! size, shape or zoom. The crop and what lies around it, as far as the blur reaches, are reduced to
//! cells of a fraction of the radius. Each cell is weighted by how much it is *not* a person. Three box filters in a row, which approximate a Gaussian, blur
//! the weighted cells, and the same filters blur the weights. The quotient (normalised convolution,
//! Knutsson and Westin, CVPR 1993) keeps the colours of people from spreading into the background.
//! Running sums make the cost independent of the radius.

use super::error::BlendError;
use super::matte::{Edge, MaskView, Matte};
use crate::cast;
use crate::picture::{Picture, PictureMut, PixelFormat, PixelRect, Size, packed_bytes};
use crate::scale::{Filter, ScaleError, Scaler};
use crate::simd::Usable;

/// Cells per radius, in each direction. With fewer, the cells themselves could be seen.
const CELLS_PER_RADIUS: f32 = 4.0;
/// A cell is at most this share of the source's height, so that only what is near a person is left
/// out with the person.
const LARGEST_CELL: f32 = 1.0 / 45.0;
/// Three boxes reach this many times their radius.
const REACH: f32 = 3.0;

/// The thresholds at which a cell counts as a person. They are low, because a cell that is partly a
/// person contains their colours.
const PERSON: Edge = Edge { low: 0.02, high: 0.15 };

/// Computes blurred scene backgrounds. Owns the small picture.
#[derive(Clone, Debug)]
pub struct Blur {
    scaler: Scaler,
    matte: Matte,
    small: Vec<u8>,
    size: Size,
    alpha: Vec<u8>,
    /// Weight of each cell, 0..=255.
    weights: Vec<u16>,
    blurred_weights: Vec<u16>,
    values: Vec<u16>,
    scratch: Vec<u16>,
    column: Vec<i32>,
}

impl Default for Blur {
    fn default() -> Self {
        Self::new()
    }
}

impl Blur {
    /// A blur that has not allocated any memory yet.
    pub fn new() -> Self {
        Self {
            scaler: Scaler::new(Filter::Linear),
            matte: Matte::new(),
            small: Vec::new(),
            size: Size::default(),
            alpha: Vec::new(),
            weights: Vec::new(),
            blurred_weights: Vec::new(),
            values: Vec::new(),
            scratch: Vec::new(),
            column: Vec::new(),
        }
    }

    /// The blurred background behind an output of `format` (NV12 or RGB24) that shows `crop` of
    /// `source`. The result is a small picture, and the part of it that is stretched over the output
    /// ([`super::Backdrop::Stretched`]).
    ///
    /// `radius` is the standard deviation of the blur in source pixels; the three boxes together
    /// have at least this one. Without a `mask`, people are blurred together with the background.
    ///
    /// # Errors
    /// [`BlendError`] if the crop cannot be scaled or the format is not supported.
    pub fn scene_background(
        &mut self,
        source: &Picture<'_>,
        crop: PixelRect,
        mask: Option<&MaskView<'_>>,
        radius: f32,
        format: PixelFormat,
    ) -> Result<(Picture<'_>, PixelRect), BlendError> {
        if !matches!(format, PixelFormat::Nv12 | PixelFormat::Rgb24) {
            return Err(BlendError::Format(format));
        }
        if !crop.is_valid() {
            return Err(ScaleError::PixelRect(crop).into());
        }
        let (source_width, source_height) = (source.size().width as f32, source.size().height as f32);
        let radius = radius.clamp(1.0, source_width.max(source_height));
        let cell = (radius / CELLS_PER_RADIUS).min(source_height * LARGEST_CELL).max(1.0);
        // The crop, and what the blur mixes into it.
        let reach = radius * REACH;
        let axis = |from: f32, extent: f32, source: f32| {
            let (start, end) =
                ((from - reach).max(from.min(0.0)), (from + extent + reach).min((from + extent).max(source)));
            let cells = (((end - start) / cell).ceil()).clamp(2.0, 4096.0);
            (start, end - start, cells)
        };
        let (x, width, columns) = axis(crop.x, crop.width, source_width);
        let (y, height, rows) = axis(crop.y, crop.height, source_height);
        let region = PixelRect::new(x, y, width, height);
        let count = |cells: f32| u32::try_from(cast::index(cells)).unwrap_or(2);
        self.size = Size::new(count(columns), count(rows));
        // Cells per source pixel.
        let (across, down) = (columns / width, rows / height);
        let part = PixelRect::new((crop.x - x) * across, (crop.y - y) * down, crop.width * across, crop.height * down);
        self.small.resize(packed_bytes(format, self.size), 0);
        let mut small = PictureMut::packed(format, self.size, &mut self.small).expect("resized to its bytes");
        let color = self.scaler.scale(source, region, &mut small)?;
        self.weigh(mask, region)?;
        let (width, height) = (self.size.width as usize, self.size.height as usize);
        let boxes = [(radius * across), (radius * down)];
        if format == PixelFormat::Rgb24 {
            self.blur_channels(0, 3, (width, height), boxes.map(box_radius));
        } else {
            self.blur_channels(0, 1, (width, height), boxes.map(box_radius));
            self.halve_weights(width, height);
            let chroma = (width.div_ceil(2), height.div_ceil(2));
            self.blur_channels(width * height, 2, chroma, boxes.map(|radius| box_radius(radius / 2.0)));
        }
        Ok((Picture::packed(format, self.size, color, &self.small).expect("resized to its bytes"), part))
    }

    /// Computes the weights of the cells. A cell has weight 0 if it or a neighbour is a person.
    fn weigh(&mut self, mask: Option<&MaskView<'_>>, crop: PixelRect) -> Result<(), BlendError> {
        let (width, height) = (self.size.width as usize, self.size.height as usize);
        self.weights.clear();
        self.weights.resize(width * height, 255);
        let Some(mask) = mask else { return Ok(()) };
        self.alpha.resize(width, 0);
        let mut rows = self.matte.start(mask, crop, self.size, Some(PERSON))?;
        for y in 0..height {
            if !rows.row(y, &mut self.alpha) {
                continue;
            }
            for (x, &alpha) in self.alpha.iter().enumerate().filter(|&(_, &alpha)| alpha > 0) {
                let background = 255 - u16::from(alpha);
                for row in y.saturating_sub(1)..(y + 2).min(height) {
                    let around = row * width + x.saturating_sub(1)..row * width + (x + 2).min(width);
                    for weight in &mut self.weights[around] {
                        *weight = (*weight).min(background);
                    }
                }
            }
        }
        Ok(())
    }

    /// Reduces the weights of cells to those of chroma: the smallest of each block.
    fn halve_weights(&mut self, width: usize, height: usize) {
        let half = width.div_ceil(2);
        for y in 0..height.div_ceil(2) {
            for x in 0..half {
                let (right, below) = ((2 * x + 1).min(width - 1), (2 * y + 1).min(height - 1));
                let at = |x: usize, y: usize| self.weights[y * width + x];
                // In place: each result is written at or before the next value that is read.
                let least = at(2 * x, 2 * y).min(at(right, 2 * y)).min(at(2 * x, below)).min(at(right, below));
                self.weights[y * half + x] = least;
            }
        }
        self.weights.truncate(half * height.div_ceil(2));
    }

    /// Blurs `channels` interleaved channels of `small` from byte `start` on.
    fn blur_channels(&mut self, start: usize, channels: usize, (width, height): (usize, usize), radius: [usize; 2]) {
        let count = width * height;
        let total: u64 = self.weights.iter().map(|&weight| u64::from(weight)).sum();
        self.blurred_weights.clear();
        self.blurred_weights.extend(self.weights.iter().map(|&weight| weight * 255));
        boxes(&mut self.blurred_weights, &mut self.scratch, &mut self.column, width, radius);
        for channel in 0..channels {
            let cells = &mut self.small[start + channel..];
            self.values.clear();
            let weighted = cells.iter().step_by(channels).zip(&self.weights);
            self.values.extend(weighted.map(|(&value, &weight)| u16::from(value) * weight));
            // The mean of the background is used if no background is within reach, because a person
            // may fill the picture.
            let sum: u64 = self.values.iter().map(|&value| u64::from(value)).sum();
            let mean = if total > 0 { sum as f32 / total as f32 } else { 128.0 };
            boxes(&mut self.values, &mut self.scratch, &mut self.column, width, radius);
            let results = self.values[..count].iter().zip(&self.blurred_weights);
            for (cell, (&value, &weight)) in cells.iter_mut().step_by(channels).zip(results) {
                // The mean counts as much as 1/255 of one cell.
                *cell = cast::byte((f32::from(value) * 255.0 + mean * 255.0) / (f32::from(weight) + 255.0));
            }
        }
    }
}

/// The least radius, in cells, of three boxes that together have a standard deviation of at least
/// `cells`. The variance of a box of `2 r + 1` cells is a twelfth of `(2 r + 1)^2 - 1`.
fn box_radius(cells: f32) -> usize {
    cast::index((((4.0 * cells * cells + 1.0).sqrt() - 1.0) / 2.0).ceil()).clamp(1, 4096)
}

/// Applies three box filters in both directions, in place. `radius` is that along the rows, and that
/// down the columns. Borders are replicated.
fn boxes(values: &mut [u16], scratch: &mut Vec<u16>, column: &mut Vec<i32>, width: usize, radius: [usize; 2]) {
    scratch.resize(values.len(), 0);
    let height = values.len() / width;
    // Running sums of neighbouring columns are added together. Those along a row are a chain of
    // additions, so rows become columns for them.
    for (width, radius) in [(width, radius[1]), (height, radius[0])] {
        box_down(values, scratch, column, width, radius);
        box_down(scratch, values, column, width, radius);
        box_down(values, scratch, column, width, radius);
        transpose(scratch, values, width);
    }
}

/// Turns the columns of a picture of `width` values a row into rows.
fn transpose(values: &[u16], out: &mut [u16], width: usize) {
    let height = values.len() / width;
    for (x, out) in out.chunks_exact_mut(height).enumerate() {
        for (out, value) in out.iter_mut().zip(values[x..].iter().step_by(width)) {
            *out = *value;
        }
    }
}

fn box_down(values: &[u16], out: &mut [u16], column: &mut Vec<i32>, width: usize, radius: usize) {
    let isa = Usable::chosen();
    let last = values.len() / width - 1;
    let row = |y: usize| &values[y * width..(y + 1) * width];
    let inverse = 1.0 / (2 * radius + 1) as f32;
    column.clear();
    column.resize(width, 0);
    for i in 0..=2 * radius {
        tally(width);
        for (sum, &value) in column.iter_mut().zip(row(i.saturating_sub(radius).min(last))) {
            *sum += i32::from(value);
        }
    }
    for (y, out) in out.chunks_exact_mut(width).enumerate() {
        tally(2 * width);
        step_down(isa, row((y + radius + 1).min(last)), row(y.saturating_sub(radius)), inverse, column, out);
    }
}

crate::simd::versions! {
    /// Writes the means of the sums to `out`, and then moves the sums on by a row.
    pub(super) fn step_down(next: &[u16], gone: &[u16], inverse: f32, sums: &mut [i32], out: &mut [u16]) {
        let count = out.len();
        let (next, gone, sums) = (&next[..count], &gone[..count], &mut sums[..count]);
        for x in 0..count {
            // Adding 2^23 leaves the nearest whole number in the low bits of the sum.
            let [low, high, ..] = (sums[x] as f32 * inverse + 8_388_608.0).to_bits().to_le_bytes();
            out[x] = u16::from_le_bytes([low, high]);
            sums[x] += i32::from(next[x]) - i32::from(gone[x]);
        }
    } rvv => super::rvv::step_down
}

#[cfg(test)]
thread_local! {
    /// Number of additions of the box filters on this thread. A test checks that it does not depend
    /// on the radius.
    pub(super) static ADDITIONS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// Counts additions in tests; does nothing otherwise.
#[inline]
fn tally(count: usize) {
    #[cfg(test)]
    ADDITIONS.set(ADDITIONS.get() + count);
    let _ = count;
}
