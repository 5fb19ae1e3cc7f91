//! The oracle of mattes and blending: plain formulas in `f64`.

use super::Edge;
use crate::picture::{Region, Size};
use crate::scale::cast;

/// What `values` (0..=1, row-major, over `covers` of the source) are at pixel (`x`, `y`) of an output of `size` that shows
/// `crop`: bilinear between centres of cells, 0 outside of `covers`. For outputs finer than the mask.
pub fn mask_at(values: &[f64], grid: Size, covers: Region, crop: Region, size: Size, x: u32, y: u32) -> f64 {
    let place = |origin: f32, extent: f32, count: u32, position: u32, covers: f32, covered: f32, cells: u32| {
        let at = f64::from(origin) + (f64::from(position) + 0.5) * f64::from(extent) / f64::from(count);
        (at - f64::from(covers)) / f64::from(covered) * f64::from(cells)
    };
    let column = place(crop.x, crop.width, size.width, x, covers.x, covers.width, grid.width);
    let row = place(crop.y, crop.height, size.height, y, covers.y, covers.height, grid.height);
    if column < 0.0 || row < 0.0 || column >= f64::from(grid.width) || row >= f64::from(grid.height) {
        return 0.0;
    }
    let at = |i: i64, j: i64| {
        let i = cast::coordinate(i.clamp(0, i64::from(grid.width) - 1));
        let j = cast::coordinate(j.clamp(0, i64::from(grid.height) - 1));
        values[j * grid.width as usize + i]
    };
    let (column, row) = (column - 0.5, row - 0.5);
    let (i, j) = (cast::floor(column), cast::floor(row));
    let (right, below) = (column - column.floor(), row - row.floor());
    (at(i, j) * (1.0 - right) + at(i + 1, j) * right) * (1.0 - below)
        + (at(i, j + 1) * (1.0 - right) + at(i + 1, j + 1) * right) * below
}

/// Smoothstep.
pub fn shaped(value: f64, edge: Edge) -> f64 {
    let t = ((value - f64::from(edge.low)) / f64::from(edge.high - edge.low)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

/// `alpha` (0..=1) of the foreground, the rest of the background.
pub fn mix(foreground: f64, background: f64, alpha: f64) -> f64 {
    foreground * alpha + background * (1.0 - alpha)
}
