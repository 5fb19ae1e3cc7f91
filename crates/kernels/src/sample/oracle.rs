//! The oracle of the sampler: for each value of the tensor, plain loops over every pixel of the
//! rectangle in `f64`.
//!
//! It works on whole pixels: each has the luma of its position and the chroma of its block. If a
//! component is enlarged (the grid is finer than its samples), the mean is taken over the width of
//! one sample instead, which is linear interpolation.

use super::spec::{ChannelLayout, ChannelOrder, SampleSpec};
use crate::component::{components, value};
use crate::picture::{Picture, PixelFormat, PixelRect, Range};

/// The shares of pixels, `(pixel, share)`, whose mean is sample `position` of the grid. A sample of
/// the component covers `covered` pixels, and the window is never narrower.
pub(super) fn shares(origin: f32, extent: f32, count: u32, position: u32, covered: usize) -> Vec<(i64, f64)> {
    let scale = f64::from(extent) / f64::from(count);
    let center = f64::from(origin) + (f64::from(position) + 0.5) * scale;
    #[expect(clippy::cast_precision_loss, reason = "1 or 2")]
    let half = scale.max(covered as f64) / 2.0;
    let (from, to) = (crate::cast::floor(center - half), crate::cast::floor(center + half));
    #[expect(clippy::cast_precision_loss, reason = "coordinates are below 2^24")]
    let share = |i: i64| ((i + 1) as f64).min(center + half) - (i as f64).max(center - half);
    (from..=to).map(|i| (i, share(i).max(0.0) / (2.0 * half))).collect()
}

/// The mean of component `index` over the window of pixel (`x`, `y`) of the grid. `covers` is the
/// region that the grid covers.
pub fn component(source: &Picture<'_>, covers: PixelRect, spec: &SampleSpec, index: usize, x: u32, y: u32) -> f64 {
    let component = components(source.format())[index];
    // A block that extends beyond a picture of odd size counts as whole, so blocks are replicated.
    let clamp = |i: i64, count: u32, covered: usize| {
        let covered = i64::try_from(covered).unwrap_or(1);
        i.clamp(0, (i64::from(count) + covered - 1) / covered * covered - 1)
    };
    let mut sum = 0.0;
    for (i, down) in shares(covers.y, covers.height, spec.size.height, y, component.down) {
        for (j, across) in shares(covers.x, covers.width, spec.size.width, x, component.across) {
            let j = clamp(j, source.size().width, component.across);
            let i = clamp(i, source.size().height, component.down);
            sum += down * across * f64::from(value(source, index, j, i));
        }
    }
    sum
}

/// The map from components to R'G'B' as formulas in `f64`.
pub fn to_rgb(source: &Picture<'_>, [a, b, c]: [f64; 3]) -> [f64; 3] {
    if source.format().is_rgb() {
        return [a, b, c];
    }
    let limited = source.color().range == Range::Limited;
    let (black, luma, chroma) = if limited { (16.0, 219.0, 224.0) } else { (0.0, 255.0, 255.0) };
    let (kr, kb) = source.color().matrix.weights();
    let (kr, kb) = (f64::from(kr), f64::from(kb));
    let y = (a - black) / luma;
    let grey = source.format() == PixelFormat::Grey;
    let (cb, cr) = if grey { (0.0, 0.0) } else { ((b - 128.0) / chroma, (c - 128.0) / chroma) };
    let red = y + 2.0 * (1.0 - kr) * cr;
    let blue = y + 2.0 * (1.0 - kb) * cb;
    let green = (y - kr * red - kb * blue) / (1.0 - kr - kb);
    [red * 255.0, green * 255.0, blue * 255.0]
}

/// The whole tensor for a grid that covers `covers` of `source`.
pub fn sample(source: &Picture<'_>, covers: PixelRect, spec: &SampleSpec) -> Vec<f64> {
    let (width, height) = (spec.size.width as usize, spec.size.height as usize);
    let mut out = vec![0.0; 3 * width * height];
    for (y, row) in (0..spec.size.height).enumerate() {
        for (x, column) in (0..spec.size.width).enumerate() {
            let all = [0, 1, 2].map(|index| component(source, covers, spec, index, column, row));
            let mut colors = to_rgb(source, all);
            if spec.order == ChannelOrder::Bgr {
                colors.reverse();
            }
            for (channel, color) in colors.into_iter().enumerate() {
                let place = match spec.layout {
                    ChannelLayout::Planar => (channel * height + y) * width + x,
                    ChannelLayout::Interleaved => (y * width + x) * 3 + channel,
                };
                let value = color.clamp(0.0, 255.0) / 255.0;
                out[place] = (value - f64::from(spec.mean[channel])) / f64::from(spec.std[channel]);
            }
        }
    }
    out
}
