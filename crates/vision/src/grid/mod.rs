//! Resamples a grid of values over one part of the frame to a grid over another part.
//!
//! The interpolation is bilinear. Cell centres are at half integers, so that a grid and its
//! enlargement have the same centre. Border values extend outwards by half a cell. The functions
//! write to the caller's memory and allocate nothing.

use portraitd_media::{Size, UnitRect};

/// The number of columns that are processed together. Their taps are on the stack and fit in the
/// first-level cache.
const TILE: usize = 64;

/// A grid over a part of the frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Lattice {
    /// Width and height in cells.
    pub size: Size,
    /// The part of the frame that the grid covers, in fractions; not empty.
    pub covers: UnitRect,
}

/// Fills `out`, `[height, width]` of the grid `to`, with the values `[height, width]` of the grid
/// `from`. Cells of `to` whose centre is outside `from` become `outside`.
///
/// # Panics
/// If a slice does not have as many values as its grid has cells.
pub(super) fn resample(values: &[f32], from: Lattice, out: &mut [f32], to: Lattice, outside: f32) {
    let (out_width, width, height) = (to.size.width as usize, from.size.width as usize, from.size.height as usize);
    assert_eq!(values.len(), width * height);
    assert_eq!(out.len(), out_width * to.size.height as usize);
    if out.is_empty() {
        return;
    }
    let mut columns = [Tap::OUTSIDE; TILE];
    let mut left = 0;
    while left < out_width {
        let right = out_width.min(left + TILE);
        let columns = &mut columns[..right - left];
        for (offset, tap) in columns.iter_mut().enumerate() {
            let at = to.covers.x + to.covers.width * ((left + offset) as f32 + 0.5) / out_width as f32;
            *tap = Tap::at(at, from.covers.x, from.covers.width, width);
        }
        for (y, row) in out.chunks_exact_mut(out_width).enumerate() {
            let at = to.covers.y + to.covers.height * (y as f32 + 0.5) / to.size.height as f32;
            let tap = Tap::at(at, from.covers.y, from.covers.height, height);
            let row = &mut row[left..right];
            if tap.outside {
                row.fill(outside);
                continue;
            }
            let upper = &values[tap.low * width..][..width];
            let lower = &values[tap.high * width..][..width];
            for (pixel, column) in row.iter_mut().zip(columns.iter()) {
                let low = mix(upper[column.low], lower[column.low], tap.weight);
                let high = mix(upper[column.high], lower[column.high], tap.weight);
                *pixel = if column.outside { outside } else { mix(low, high, column.weight) };
            }
        }
        left = right;
    }
}

/// The two cells of an axis between which a point lies, and the weight of the second.
#[derive(Clone, Copy)]
struct Tap {
    low: usize,
    high: usize,
    weight: f32,
    outside: bool,
}

impl Tap {
    const OUTSIDE: Self = Self { low: 0, high: 0, weight: 0.0, outside: true };

    /// The tap of the point `at` of an axis on which `cells` cells cover `extent` from `start`.
    fn at(at: f32, start: f32, extent: f32, cells: usize) -> Self {
        let along = (at - start) / extent;
        if cells == 0 || !(0.0..=1.0).contains(&along) {
            return Self::OUTSIDE;
        }
        let position = (along * cells as f32 - 0.5).clamp(0.0, (cells - 1) as f32);
        let low = floor_to_index(position).min(cells - 1);
        Self { low, high: (low + 1).min(cells - 1), weight: position - low as f32, outside: false }
    }
}

fn mix(from: f32, to: f32, weight: f32) -> f32 {
    from + (to - from) * weight
}

/// The integer part of a position that is not negative.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positions are clamped to the grid")]
fn floor_to_index(position: f32) -> usize {
    position as usize
}

#[cfg(test)]
mod tests;
