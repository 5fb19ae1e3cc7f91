//! The matte: a mask at the resolution of an output, row by row.

use std::ops::Range;

use super::rows::{self, Ramp};
use crate::cast;
use crate::component::Channel;
use crate::picture::{PixelRect, Plane, Size};
use crate::scale::plane::{Channels, PlaneScaler};
use crate::scale::{Filter, ScaleError, Span};
use crate::simd::Usable;

/// The values of a mask, row-major: the probability that each cell belongs to a person.
#[derive(Clone, Copy, Debug)]
pub enum MaskValues<'a> {
    /// 0 (background) ..= 1 (person). Other values are clamped, and NaN counts as background.
    Float(&'a [f32]),
    /// 0 (background) ..= 255 (person).
    Byte(&'a [u8]),
}

/// Why values do not form a mask.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum MaskError {
    /// The mask has no cells, or the number of values differs from the number of cells.
    #[error("a mask of {size} requires {expected} values, but {found} were given")]
    Length {
        /// Size of the mask, in cells.
        size: Size,
        /// Number of values that the mask requires.
        expected: u64,
        /// Number of values that were given.
        found: usize,
    },
    /// The region that the mask covers is not a valid rectangle.
    #[error("a mask cannot cover the region {0}: it is empty, not a number, or beyond 65536 pixels")]
    PixelRect(PixelRect),
}

/// A borrowed mask: a grid of values over a region of a source picture. It is checked once, when it
/// is made.
#[derive(Clone, Copy, Debug)]
pub struct MaskView<'a> {
    values: MaskValues<'a>,
    size: Size,
    covers: PixelRect,
}

impl<'a> MaskView<'a> {
    /// A mask of `size` cells whose grid covers the region `covers`, in source pixels.
    ///
    /// # Errors
    /// [`MaskError`] if the number of values is wrong, or if `covers` is not a valid rectangle.
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

    /// Size of the grid, in cells.
    pub const fn size(&self) -> Size {
        self.size
    }

    /// The region that the grid covers, in source pixels.
    pub const fn covers(&self) -> PixelRect {
        self.covers
    }
}

/// The thresholds that turn the soft edge of a mask into the edge of a matte: smoothstep from `low`
/// to `high`.
///
/// Segmentation networks return 0.60..0.95 on bodies, 0.10..0.35 in hair and under 0.10 on
/// background. A matte that equals the mask would show the background through people, and a single
/// threshold would show stairs. Published projects use 0.10..0.50 (Jitsi) and 0.50..0.75
/// (Volcomix); the default lies between them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Edge {
    /// Mask values up to this one are background.
    pub low: f32,
    /// Mask values from this one on are person.
    pub high: f32,
}

impl Default for Edge {
    fn default() -> Self {
        Self { low: 0.25, high: 0.75 }
    }
}

impl Edge {
    /// The thresholds in bytes. `low` is always below `high`, whatever the values are.
    pub(super) fn bytes(self) -> (u8, u8) {
        let low = cast::byte(self.low * 255.0).min(254);
        (low, cast::byte(self.high * 255.0).max(low + 1))
    }
}

/// Brings masks to the resolution of outputs. Owns its tables and a copy of the mask in bytes.
#[derive(Clone, Debug, Default)]
pub struct Matte {
    scaler: PlaneScaler,
    grid: Vec<u8>,
    edge: Option<Ramp>,
}

impl Matte {
    /// A matte that has not computed any tables yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Prepares to bring `mask` to an output of `size` that shows `crop` of the source, in source
    /// pixels. Values are interpolated bilinearly between the centres of cells, or averaged over
    /// area if there are more cells than pixels. Everything outside the region of the mask is
    /// background. Without an `edge` the values are not shaped.
    ///
    /// # Errors
    /// [`ScaleError`] if the crop is not a valid rectangle, the output is empty, or more than 16384
    /// cells would contribute to a pixel.
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
        self.edge = edge.map(Edge::bytes).map(|bytes| match self.edge.take() {
            Some(edge) if edge.is(bytes) => edge,
            _ => Ramp::new(bytes),
        });
        Ok(MatteRows { matte: self, stride_bytes, columns, rows })
    }
}

/// The grid in the form that the scaler takes.
fn channels(grid: &[u8], stride_bytes: usize) -> Channels<'_> {
    let channel = Channel { data: Plane { data: grid, stride_bytes }, offset: 0, step: 1 };
    Channels { channels: [Some(channel), None, None] }
}

/// The positions of output samples over the grid, and the range (first, end) of those whose centre
/// lies in the region of the mask.
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
    let span = Span { origin, scale, source: cells as usize, from: 0, count: count as usize };
    // The centre lies at or after 0 and before the end of the last cell. A millionth of a cell is
    // allowed for rounding.
    let bound = |at: f64| cast::coordinate(cast::floor((at - origin) / scale + 0.5).clamp(0, i64::from(count)));
    (span, (bound(-1e-6), bound(f64::from(cells) + 1e-6)))
}

/// The rows of a mask that is being brought to an output.
#[derive(Debug)]
pub struct MatteRows<'a> {
    matte: &'a mut Matte,
    stride_bytes: usize,
    columns: (usize, usize),
    rows: (usize, usize),
}

impl MatteRows<'_> {
    /// The columns of the output that the mask covers.
    pub(super) fn columns(&self) -> Range<usize> {
        if self.rows.0 < self.rows.1 { self.columns.0..self.columns.1 } else { 0..0 }
    }

    /// Writes the matte of output row `y` to `out`, one value per pixel: 0 is background, 255
    /// person. Returns whether the row has any person in it. Rows in ascending order are fastest.
    ///
    /// # Panics
    /// If the output has no such row, or `out` has another length than a row.
    pub fn row(&mut self, y: usize, out: &mut [u8]) -> bool {
        let (from, to) = self.columns;
        if y < self.rows.0 || y >= self.rows.1 || from >= to {
            out.fill(0);
            return false;
        }
        self.matte.scaler.row(&channels(&self.matte.grid, self.stride_bytes), y, out);
        out[..from].fill(0);
        out[to..].fill(0);
        let shown = &mut out[from..to];
        match &self.matte.edge {
            Some(edge) => edge.shape(Usable::chosen(), shown),
            None => rows::any(shown),
        }
    }
}
