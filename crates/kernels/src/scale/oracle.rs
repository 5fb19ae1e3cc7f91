//! The oracle of the scaler: for each output sample, a double loop over the source in `f64`,
//! without rounding. It is slow and meant for tests.

use super::axis::Filter;
use crate::component::{Component, components, value};
use crate::picture::{Picture, PixelRect, Size};

/// The share of a source sample in an output sample, not yet normalised. `offset` is the distance
/// of their centres in source samples, `scale` the source samples per output sample.
fn weight(offset: f64, scale: f64, filter: Filter) -> f64 {
    let width = scale.max(1.0);
    let (left, right) = (offset - 0.5, offset + 0.5);
    let area = (right.min(width / 2.0) - left.max(-width / 2.0)).max(0.0) / width;
    if filter == Filter::Linear || scale >= 1.25 {
        return area;
    }
    let d = offset.abs() / width;
    let cubic = if d < 1.0 {
        1.5 * d.powi(3) - 2.5 * d.powi(2) + 1.0
    } else if d < 2.0 {
        -0.5 * d.powi(3) + 2.5 * d.powi(2) - 4.0 * d + 2.0
    } else {
        0.0
    };
    // Normalised, because the samples of a widened cubic do not sum to its width exactly.
    let sum: f64 = (-12..=12)
        .map(|i| {
            let d = (offset - offset.round() + f64::from(i)).abs() / width;
            if d < 1.0 {
                1.5 * d.powi(3) - 2.5 * d.powi(2) + 1.0
            } else if d < 2.0 {
                -0.5 * d.powi(3) + 2.5 * d.powi(2) - 4.0 * d + 2.0
            } else {
                0.0
            }
        })
        .sum();
    let share = if scale > 1.0 { (scale - 1.0) / 0.25 } else { 0.0 };
    share * area + (1.0 - share) * cubic / sum
}

/// All samples of component `index` (0 is luma or red) of the crop at `size`, with one sample per
/// `subsampled` pixels in each direction. Row-major with `ceil(width / subsampled)` samples per
/// row, neither rounded nor clamped.
pub fn component(
    source: &Picture<'_>,
    index: usize,
    crop: PixelRect,
    size: Size,
    subsampled: u32,
    filter: Filter,
) -> Vec<f64> {
    let Component { across, down, .. } = components(source.format())[index];
    let (across, down) = (i64::try_from(across).unwrap_or(1), i64::try_from(down).unwrap_or(1));
    let mut out = Vec::new();
    for row in 0..size.height.div_ceil(subsampled) {
        let y = taps(crop.y, crop.height, size.height, row, subsampled, down, filter);
        for column in 0..size.width.div_ceil(subsampled) {
            let x = taps(crop.x, crop.width, size.width, column, subsampled, across, filter);
            let mut sum = 0.0;
            for &(i, weight_y) in &y {
                for &(j, weight_x) in &x {
                    sum += weight_x * weight_y * f64::from(at(source, index, j * across, i * down));
                }
            }
            out.push(sum);
        }
    }
    out
}

/// A sample, given the first pixel that it covers, with the border of its own plane replicated.
fn at(source: &Picture<'_>, index: usize, x: i64, y: i64) -> u8 {
    value(source, index, x, y)
}

fn taps(
    origin: f32,
    extent: f32,
    count: u32,
    position: u32,
    subsampled: u32,
    covers: i64,
    filter: Filter,
) -> Vec<(i64, f64)> {
    #[expect(clippy::cast_precision_loss, reason = "1 or 2")]
    let covers = covers as f64;
    let scale = f64::from(extent) / f64::from(count) * f64::from(subsampled) / covers;
    let center = f64::from(origin) / covers + (f64::from(position) + 0.5) * scale;
    let reach = 2.0 * scale.max(1.0) + 1.0;
    let (from, to) = (crate::cast::floor(center - reach), crate::cast::floor(center + reach));
    #[expect(clippy::cast_precision_loss, reason = "coordinates are below 2^24")]
    let all = (from..=to).map(|i| (i, weight(i as f64 + 0.5 - center, scale, filter)));
    all.filter(|&(_, weight)| weight != 0.0).collect()
}
