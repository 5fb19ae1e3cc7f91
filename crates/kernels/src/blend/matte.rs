//! A mask brought to the pixels of an output, row by row.

use super::rows;
use crate::cast;
use crate::component::Channel;
use crate::picture::{PixelRect, Plane, Size};
use crate::scale::plane::{Channels, PlaneScaler};
use crate::scale::{Filter, ScaleError, Span};
use crate::simd::Usable;

/// The values of a mask, row-major: how much of a person each cell is.
#[derive(Clone, Copy, Debug)]
pub enum MaskValues<'a> {
    /// 0 (background) ..= 1 (person). What is outside of that is clamped; what is no number is background.
    Float(&'a [f32]),
    /// 0 (background) ..= 255 (person).
    Byte(&'a [u8]),
}

/// Why values are not the mask they are said to be.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum MaskError {
    /// There is no cell, or not as many values as cells.
    #[error("a mask of {size} has {expected} values and not {found}")]
    Length {
        /// Size of the mask.
        size: Size,
        /// Values it should have.
        expected: u64,
        /// Values there are.
        found: usize,
    },
    /// What it covers is no rectangle.
    #[error("a mask cannot cover the region {0}")]
    PixelRect(PixelRect),
}

/// A borrowed mask: a grid of values over a region of a source picture, checked once.
#[derive(Clone, Copy, Debug)]
pub struct MaskView<'a> {
    values: MaskValues<'a>,
    size: Size,
    covers: PixelRect,
}

impl<'a> MaskView<'a> {
    /// A mask of `size` cells whose grid covers `covers` of the source, in source pixels.
    ///
    /// # Errors
    /// [`MaskError`] where the number of values is another, or `covers` is no rectangle.
    pub fn new(values: MaskValues<'a>, size: Size, covers: PixelRect) -> Result<Self, MaskError> {
        let found = match values {
            MaskValues::Float(values) => values.len(),
            MaskValues::Byte(values) => values.len(),
        };
        let expected = size.area();
        if size.is_empty() || usize::try_from(expected) != Ok(found) {
            return Err(MaskError::Length { size, expected, found });
        }
        if !covers.is_valid() {
            return Err(MaskError::PixelRect(covers));
        }
        Ok(Self { values, size, covers })
    }

    /// Cells across and down.
    pub const fn size(&self) -> Size {
        self.size
    }

    /// What the grid covers, in source pixels.
    pub const fn covers(&self) -> PixelRect {
        self.covers
    }
}

/// How the soft edge of a mask becomes the edge of a matte: smoothstep from `low` to `high`.
///
/// Nets of this kind give 0.60..0.95 on bodies, 0.10..0.35 in hair and under 0.10 on background, so a matte that is the
/// mask itself shows the room through people, and a threshold shows stairs. Published projects take 0.10..0.50 (Jitsi) and
/// 0.50..0.75 (Volcomix); the middle is the default.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Edge {
    /// Up to here all is background.
    pub low: f32,
    /// From here on all is person.
    pub high: f32,
}

impl Default for Edge {
    fn default() -> Self {
        Self { low: 0.25, high: 0.75 }
    }
}

impl Edge {
    /// In steps of a byte, `low` below `high` whatever was asked for.
    pub(super) fn bytes(self) -> (u8, u8) {
        let low = cast::byte(self.low * 255.0).min(254);
        (low, cast::byte(self.high * 255.0).max(low + 1))
    }
}

/// Brings masks to outputs. Owns its tables and a copy of the mask in bytes.
#[derive(Clone, Debug, Default)]
pub struct Matte {
    scaler: PlaneScaler,
    grid: Vec<u8>,
}

impl Matte {
    /// One without tables yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes ready to bring `mask` to an output of `size` that shows `crop` of the source (in its pixels): bilinear
    /// between the centres of cells, area average where there are more cells than pixels. Outside of what the mask
    /// covers all is background. Without an `edge` values stay what they are.
    ///
    /// # Errors
    /// [`ScaleError`] where the crop is no rectangle, the output is empty, or a pixel would take more than 16384 cells.
    pub fn start(
        &mut self,
        mask: &MaskView<'_>,
        crop: PixelRect,
        size: Size,
        edge: Option<Edge>,
    ) -> Result<MatteRows<'_>, ScaleError> {
        if !crop.is_valid() {
            return Err(ScaleError::PixelRect(crop));
        }
        if size.is_empty() {
            return Err(ScaleError::Empty(size));
        }
        self.grid.clear();
        match mask.values {
            MaskValues::Byte(values) => self.grid.extend_from_slice(values),
            MaskValues::Float(values) => self.grid.extend(values.iter().map(|value| cast::byte(value * 255.0))),
        }
        let PixelRect { x, y, width, height } = mask.covers;
        let (x, columns) = span(crop.x, crop.width, size.width, x, width, mask.size.width);
        let (y, rows) = span(crop.y, crop.height, size.height, y, height, mask.size.height);
        let widest = x.scale.max(y.scale);
        let farthest = [x.origin, y.origin].iter().fold(0.0_f64, |most, origin| most.max(origin.abs()));
        if widest > 16_384.0 || farthest > 1e9 {
            return Err(ScaleError::Ratio { region: crop, size });
        }
        let stride_bytes = mask.size.width as usize;
        self.scaler.start(x, y, Filter::Linear, &channels(&self.grid, stride_bytes));
        Ok(MatteRows { matte: self, stride_bytes, columns, rows, edge: edge.map(Edge::bytes) })
    }
}

/// The grid as the scaler takes it.
fn channels(grid: &[u8], stride_bytes: usize) -> Channels<'_> {
    let channel = Channel { data: Plane { data: grid, stride_bytes }, offset: 0, step: 1 };
    Channels { channels: [Some(channel), None, None] }
}

/// Where output samples lie over the grid, and which of them (from, to) have their centre in what it covers.
fn span(
    crop: f32,
    crop_extent: f32,
    count: u32,
    covers: f32,
    covers_extent: f32,
    cells: u32,
) -> (Span, (usize, usize)) {
    let cells_a_pixel = f64::from(cells) / f64::from(covers_extent);
    let scale = f64::from(crop_extent) / f64::from(count) * cells_a_pixel;
    let origin = (f64::from(crop) - f64::from(covers)) * cells_a_pixel;
    let span = Span { origin, scale, source: cells as usize, count: count as usize };
    // A centre at or after 0 and before the last cell's end; a millionth of a cell is rounding.
    let bound = |at: f64| cast::coordinate(cast::floor((at - origin) / scale + 0.5).clamp(0, i64::from(count)));
    (span, (bound(-1e-6), bound(f64::from(cells) + 1e-6)))
}

/// A mask that is being brought to an output, row by row.
#[derive(Debug)]
pub struct MatteRows<'a> {
    matte: &'a mut Matte,
    stride_bytes: usize,
    columns: (usize, usize),
    rows: (usize, usize),
    edge: Option<(u8, u8)>,
}

impl MatteRows<'_> {
    /// The matte of output row `y` into `out`, a value a pixel: 0 is background, 255 person. Returns whether there is
    /// any person in it. Cheapest from top to bottom.
    ///
    /// # Panics
    /// Where the output has no such row, or `out` is not as long as one.
    pub fn row(&mut self, y: usize, out: &mut [u8]) -> bool {
        let (from, to) = self.columns;
        if y < self.rows.0 || y >= self.rows.1 || from >= to {
            out.fill(0);
            return false;
        }
        self.matte.scaler.row(&channels(&self.matte.grid, self.stride_bytes), y, out);
        out[..from].fill(0);
        out[to..].fill(0);
        if let Some((low, high)) = self.edge {
            rows::shape(Usable::chosen(), &mut out[from..to], low, high);
        }
        out[from..to].iter().fold(0, |all, value| all | value) != 0
    }
}
