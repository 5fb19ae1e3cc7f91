//! The oracle of mattes and blending: plain formulas in `f64`.

use super::matte::Edge;
use crate::cast;
use crate::picture::{PixelRect, Size};

/// The mask value at pixel (`x`, `y`) of an output of `size` that shows `crop`. `values` are 0..=1,
/// row-major, over `covers` of the source. Values are interpolated bilinearly between the centres
/// of cells, and are 0 outside `covers`. Valid for outputs that are finer than the mask.
pub fn mask_at(values: &[f64], grid: Size, covers: PixelRect, crop: PixelRect, size: Size, x: u32, y: u32) -> f64 {
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

/// The smoothstep function between the thresholds of `edge`.
pub fn shaped(value: f64, edge: Edge) -> f64 {
    let t = ((value - f64::from(edge.low)) / f64::from(edge.high - edge.low)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

/// Mixes `alpha` (0..=1) of the foreground with the rest of the background.
pub fn mix(foreground: f64, background: f64, alpha: f64) -> f64 {
    foreground * alpha + background * (1.0 - alpha)
}

/// The guided filter by its definition, on cells. `channels` are Y, Cb, Cr (with any zero point)
/// and the mask, row-major in `grid`. `noise` is added to the variances of the colours. The windows
/// of the fits have a radius of `radius` cells, and those of the averages `smooth`; both are cut at
/// the border. Returns a gain for each colour and an offset, for each cell.
pub fn guided_fits(channels: [&[f64]; 4], grid: Size, noise: [f64; 3], [radius, smooth]: [i64; 2]) -> Vec<[f64; 4]> {
    let (width, height) = (i64::from(grid.width), i64::from(grid.height));
    let window = |x: i64, y: i64, reach: i64| {
        let rows = (y - reach).max(0)..(y + reach + 1).min(height);
        rows.flat_map(move |j| {
            ((x - reach).max(0)..(x + reach + 1).min(width)).map(move |i| cast::coordinate(j * width + i))
        })
    };
    let cells = || (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
    let fit = |(x, y): (i64, i64)| {
        let mean = |value: &dyn Fn(usize) -> f64| {
            let all: Vec<f64> = window(x, y, radius).map(value).collect();
            #[expect(clippy::cast_precision_loss, reason = "a window of a few cells")]
            let count = all.len() as f64;
            all.iter().sum::<f64>() / count
        };
        let means: [f64; 4] = std::array::from_fn(|k| mean(&|i| channels[k][i]));
        let covariance = |a: usize, b: usize| mean(&|i| (channels[a][i] - means[a]) * (channels[b][i] - means[b]));
        let mut rows: [[f64; 4]; 3] =
            std::array::from_fn(|a| std::array::from_fn(|b| covariance(a, b) + if a == b { noise[a] } else { 0.0 }));
        // Gaussian elimination; the matrix is positive definite.
        for pivot in 0..3 {
            for other in 0..3 {
                if other != pivot {
                    let (from, times) = (rows[pivot], rows[other][pivot] / rows[pivot][pivot]);
                    for (value, from) in rows[other].iter_mut().zip(from) {
                        *value -= times * from;
                    }
                }
            }
        }
        let gains: [f64; 3] = std::array::from_fn(|k| rows[k][3] / rows[k][k]);
        let offset = means[3] - (0..3).map(|k| gains[k] * means[k]).sum::<f64>();
        [gains[0], gains[1], gains[2], offset]
    };
    let fits: Vec<[f64; 4]> = cells().map(fit).collect();
    cells()
        .map(|(x, y)| {
            let near: Vec<[f64; 4]> = window(x, y, smooth).map(|i| fits[i]).collect();
            #[expect(clippy::cast_precision_loss, reason = "a window of a few cells")]
            let count = near.len() as f64;
            std::array::from_fn(|k| near.iter().map(|fit| fit[k]).sum::<f64>() / count)
        })
        .collect()
}

/// `cells` at the centre of pixel (`x`, `y`), with `factor` pixels per cell in each direction:
/// bilinear, with the border replicated.
pub fn between_cells(cells: &[f64], grid: Size, factor: usize, x: usize, y: usize) -> f64 {
    let at = |value: usize| u32::try_from(value).unwrap_or(0);
    let pixels = Size::new(grid.width * at(factor), grid.height * at(factor));
    let whole = PixelRect::of_size(grid);
    mask_at(cells, grid, whole, whole, pixels, at(x), at(y))
}
